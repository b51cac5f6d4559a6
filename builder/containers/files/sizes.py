"""How many bytes are in the files of a tree, as docker counts them."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path


def size_of_files(tree: Path) -> int:
    """Return the bytes in regular files below `tree`; one with several names counts once. What vanishes is left out."""
    total, seen, pending = 0, set(), [os.fspath(tree)]
    while pending:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(pending.pop()) as items:
            for item in items:
                with contextlib.suppress(FileNotFoundError):
                    st = item.stat(follow_symlinks=False)
                    if stat.S_ISDIR(st.st_mode):
                        pending.append(item.path)
                    elif stat.S_ISREG(st.st_mode) and st.st_ino not in seen:
                        total += st.st_size
                        if st.st_nlink > 1:
                            seen.add(st.st_ino)
    return total
