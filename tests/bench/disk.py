"""A file system of its own for a benchmark: ext4 with a journal in a sparse file.

On a file system without a journal ext4 looks at every lately deleted inode before it makes a new one, so that a cold
build right after `reset` is several times slower than the same build a minute later, whoever builds. A new file system
also means that every run starts with the same layout.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

SIZE_BYTES = 40 << 30  # sparse


@contextlib.contextmanager
def own_file_system(folder: Path) -> Iterator[Path]:
    """A mounted directory in `folder`, unmounted with the block; `folder` itself where nothing can be mounted."""
    image, mounted = folder / "disk", folder / "d"
    mounted.mkdir()
    with image.open("xb") as stream:
        stream.truncate(SIZE_BYTES)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", "-E", "nodiscard", str(image)], check=True)
    done = subprocess.run(["mount", "-o", "loop,noatime", str(image), str(mounted)], capture_output=True, check=False)
    if done.returncode:
        yield folder
        return
    try:
        yield mounted
    finally:
        subprocess.run(["umount", str(mounted)], check=True)
