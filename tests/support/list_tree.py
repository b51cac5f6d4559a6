"""Print what is below a directory as JSON: every path with all that a layer can tell of it. A program without imports
of ours, for other users and namespaces.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import sys
from typing import Any

HIDDEN = ("trusted.overlay.", "user.overlay.", "security.selinux", "user.containers.")


def listing(root: bytes) -> dict[str, Any]:
    """By path; a name that is not text has surrogates."""
    found: dict[str, Any] = {}
    names: dict[tuple[int, int], list[str]] = {}
    for folder, folders, files in os.walk(root):
        for name in folders + files:
            place = os.path.join(folder, name)
            path = os.fsdecode(os.path.relpath(place, root))
            st = os.lstat(place)
            is_folder, is_file = stat.S_ISDIR(st.st_mode), stat.S_ISREG(st.st_mode)
            if not is_folder:
                names.setdefault((st.st_dev, st.st_ino), []).append(path)
            found[path] = {
                "mode": oct(st.st_mode),
                "owner": [st.st_uid, st.st_gid],
                "size": st.st_size if is_file else 0,
                "time": st.st_mtime_ns,
                "device": st.st_rdev,
                "link": os.fsdecode(os.readlink(place)) if stat.S_ISLNK(st.st_mode) else "",
                "content": _digest(place) if is_file else "",
                "xattrs": _xattrs(place),
                "names": None if is_folder else (st.st_dev, st.st_ino),
            }
    for entry in found.values():
        entry["names"] = sorted(names[entry["names"]]) if entry["names"] else []
    return found


def _digest(place: bytes) -> str:
    with open(place, "rb") as stream:
        return hashlib.sha256(stream.read()).hexdigest()


def _xattrs(place: bytes) -> dict[str, str]:
    return {
        name: os.getxattr(place, name, follow_symlinks=False).hex()
        for name in os.listxattr(place, follow_symlinks=False)
        if not name.startswith(HIDDEN)
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(listing(os.fsencode(sys.argv[1]))))
