"""How much the state directory takes, where most of it has been measured before."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from tiffin.builder.api.session import Session
from tiffin.builder.api.storage.prune import size_on_disk
from tiffin.cache.store.snapshots import PREFIX

SIZES = "sizes"  # of unpacked layers, in the table of the state directory: [inode, time of change, bytes] by place


def state_size(session: Session) -> int:
    """Return bytes on disk of the state directory, as `size_on_disk` does; the namespace was entered where there may be
    files of other owners.

    An unpacked layer is never written to, so it is measured once.
    """
    root, layers = session.state.root, session.state.layers
    known = _known(session)
    seen: dict[str, list[int]] = {}
    total = sum(_size(path) for path in root.iterdir() if path != layers) + _own_size(layers)
    for folder in layers.iterdir():
        total += _own_size(folder)
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):  # others work meanwhile
            for path in folder.iterdir():
                if not path.name.startswith(PREFIX):
                    total += _size(path)
                    continue
                st, place = path.lstat(), f"{folder.name}/{path.name}"
                row = known.get(place)
                if row is None or row[:2] != [st.st_ino, st.st_ctime_ns]:
                    row = [st.st_ino, st.st_ctime_ns, _size(path)]
                seen[place] = row
                total += row[2]
    if seen != known:
        session.table.set(SIZES, json.dumps(seen, separators=(",", ":")).encode())
    return total


def _size(path: Path) -> int:
    below = size_on_disk(path) if path.is_dir() and not path.is_symlink() else 0
    return below + _own_size(path)


def _own_size(path: Path) -> int:
    try:
        return path.lstat().st_blocks * 512
    except FileNotFoundError:  # others work meanwhile
        return 0


def _known(session: Session) -> dict[str, list[int]]:
    try:
        found = json.loads(session.table.get(SIZES) or b"{}")
    except ValueError:
        return {}
    rows = found.items() if isinstance(found, dict) else ()
    return {
        place: row
        for place, row in rows
        if isinstance(row, list) and len(row) == 3 and all(isinstance(number, int) for number in row)
    }
