"""Print the folder in memory in which the files of quick tests may lie, or nothing where there is none that will do.

They make and remove tens of thousands of files: a disk took a third of the time of ci/check. What they try has to work
there as it does on a disk: programs, extended attributes, access lists.
"""

from __future__ import annotations

import contextlib
import os
import struct
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

PLACE = Path("/dev/shm")
MIN_FREE_BYTES = 256 << 20  # 10 MiB are in use at once
ACCESS_LIST = struct.pack("=I" + 4 * "HHI", 2, 1, 7, 2**32 - 1, 4, 5, 2**32 - 1, 16, 7, 2**32 - 1, 32, 5, 2**32 - 1)


def will_do(place: Path) -> bool:
    """Tell whether files in a folder can be all that tests make of them."""
    with contextlib.suppress(OSError), tempfile.TemporaryDirectory(dir=place) as folder:
        os.setxattr(folder, "user.tiffin", b"1")
        os.setxattr(folder, "system.posix_acl_default", ACCESS_LIST)
        room = os.statvfs(folder)
        return not room.f_flag & os.ST_NOEXEC and room.f_bavail * room.f_frsize >= MIN_FREE_BYTES
    return False


def main(arguments: Sequence[str]) -> int:
    """Print it; another folder may be asked about."""
    place = Path(arguments[0]) if arguments else PLACE
    if will_do(place):
        print(place)  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
