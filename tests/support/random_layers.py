"""Random trees, and random layers over them: all that a layer can do to a tree."""

from __future__ import annotations

import io
import random
import struct
from functools import partial

from tiffin.builder.layer.change import Change
from tiffin.builder.layer.index import Entry, LayerIndex, Located, MergedTree, new_entry

CAPABILITY = ("security.capability", struct.pack("<5I", 0x02000001, 1 << 13, 0, 0, 0))
NANOSECONDS = 1_000_000_000
ODD_NAMES = (
    "a b", "-", "--x", "a-b", "a.b", "caf\u00e9", "\u65e5\u672c", "new\nline", "tab\t", "q'\"", "back\\slash",
    "wh.x", "x.wh.", "%41", "*", "l" * 200, "Z", "~",
)  # fmt: skip
NOT_UTF_8 = "raw\udcff"  # which buildah and containers/storage take for damage in some versions


class RandomLayers:
    """Makes the changes of a base and of a layer over it. `privileged`: other owners, device nodes, capabilities."""

    def __init__(self, seed: int, *, privileged: bool = True, names: tuple[str, ...] = ODD_NAMES) -> None:
        self.random = random.Random(seed)
        self._privileged = privileged
        self._names = names
        self._number = 0

    def base(self) -> list[Change]:
        """Return the changes of a lowest layer."""
        changes: dict[str, Change] = {}
        self._grow(changes, [""], self.random.randint(10, 40))
        return list(changes.values())

    def over(self, base: list[Change], *, implied: bool = False) -> list[Change]:
        """Return the changes of a layer over `base`; `implied`: it tells of none of its directories that are there."""
        below = MergedTree([LayerIndex([change.entry for change in base])])
        tree = {located.entry.path: located for located in below.walk()}
        changes: dict[str, Change] = {}
        gone: set[str] = set()
        for path in self.random.sample(sorted(tree), min(len(tree), self.random.randint(2, 12))):
            if not any(_within(path, other) or _within(other, path) for other in (*gone, *changes)):
                self._alter(changes, gone, tree[path], tree)
        places = [""] + [
            path
            for path, located in tree.items()
            if located.entry.kind == "dir" and not any(_within(path, other) for other in gone)
        ]
        places += [path for path, change in changes.items() if change.entry.kind == "dir"]
        self._grow(changes, list(dict.fromkeys(places)), self.random.randint(5, 60))
        for path in list(changes):
            parent = path.rpartition("/")[0]
            while parent:
                if parent not in changes:
                    entry = tree[parent].entry
                    moved = entry if implied else entry._replace(mtime_ns=self._time())
                    changes[parent] = Change(moved, None, implied)
                parent = parent.rpartition("/")[0]
        return list(changes.values())

    def _alter(self, changes: dict[str, Change], gone: set[str], located: Located, tree: dict[str, Located]) -> None:
        """Remove a path, replace it, empty it, or change what it is like."""
        path, kind = located.entry.path, located.entry.kind
        act = self.random.choice(["remove", "replace", "opaque", "look", "fill"])
        if kind == "dir" and act == "look":
            changes[path] = Change(self._directory(path))
            return
        gone.add(path)
        if act == "remove":
            changes[path] = Change(new_entry(path, "whiteout", 0))
        elif act in ("opaque", "fill"):
            changes[path] = Change(self._directory(path)._replace(opaque=kind == "dir"))
            if act == "fill":
                self._grow(changes, [path], self.random.randint(1, 8))
        else:
            self._make(changes, path)

    def _grow(self, changes: dict[str, Change], places: list[str], count: int) -> None:
        """Add paths to directories, old and new ones."""
        for _ in range(count):
            place = self.random.choice(places)
            path = f"{place}/{self._name()}".lstrip("/")
            if path in changes:
                continue
            if self.random.random() < 0.3:
                changes[path] = Change(self._directory(path))
                places.append(path)
            else:
                self._make(changes, path)
                entry = changes[path].entry
                if entry.kind != "symlink" and self.random.random() < 0.2:
                    self._link(changes, entry, places)

    def _link(self, changes: dict[str, Change], entry: Entry, places: list[str]) -> None:
        for _ in range(self.random.randint(1, 3)):
            other = f"{self.random.choice(places)}/{self._name()}".lstrip("/")
            if other not in changes:
                changes[other] = Change(new_entry(other, "hardlink", 0)._replace(link=entry.path))

    def _name(self) -> str:
        self._number += 1
        if self.random.random() < 0.3:
            return f"{self.random.choice(self._names)}{self._number}"
        return f"{self.random.choice('abcdef')}{self._number}"

    def _make(self, changes: dict[str, Change], path: str) -> None:
        """Add something that is no directory."""
        kinds = ["file"] * 8 + ["symlink", "symlink", "fifo"] + (["char", "block"] if self._privileged else [])
        kind = self.random.choice(kinds)
        entry = self._looks(new_entry(path, kind, self.random.choice([0o644, 0o600, 0o755, 0o4755, 0o2711, 0o444, 0])))
        data = b""
        if kind == "symlink":
            entry = entry._replace(mode=0o777, link=self.random.choice(["a", "../b", "/etc/x", "l" * 150, "no\u00eb"]))
        elif kind in ("char", "block"):
            entry = entry._replace(major=1, minor=self.random.choice([3, 5]))
        elif kind == "file":
            data = self.random.randbytes(self.random.choice([0, 1, 10, 511, 512, 513, 5000]))
            if self.random.random() < 0.1:
                data = b"head" + bytes(200_000) + b"tail"
            attributes = [("user.note", self.random.randbytes(8))] if self.random.random() < 0.1 else []
            if self._privileged and self.random.random() < 0.1:
                attributes.append(CAPABILITY)
            entry = entry._replace(size=len(data), xattrs=tuple(sorted(attributes)))
        changes[path] = Change(entry, partial(io.BytesIO, data) if data else None)

    def _directory(self, path: str) -> Entry:
        mode = self.random.choice([0o755, 0o700, 0o1777, 0o2775, 0o555, 0o750])
        entry = self._looks(new_entry(path, "dir", mode))
        return entry._replace(xattrs=(("user.dir", b"1"),)) if self.random.random() < 0.1 else entry

    def _looks(self, entry: Entry) -> Entry:
        owner = self.random.choice([(0, 0), (0, 0), (1000, 1000), (33, 5)]) if self._privileged else (0, 0)
        return entry._replace(uid=owner[0], gid=owner[1], mtime_ns=self._time())

    def _time(self) -> int:
        return self.random.randint(0, 2_000_000_000) * NANOSECONDS


def _within(path: str, place: str) -> bool:
    return path == place or path.startswith(f"{place}/")
