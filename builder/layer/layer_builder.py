"""The rules by which a tar's entries become a layer: one place decides for indexing and for unpacking.

- A name repeated counts once, the last; a directory over a directory keeps what is in it.
- Parents a tar leaves out are root's, mode 0755, time 0, and are in the index too, as they are in the unpacked tree;
  the index says that they are implied: a directory that lower layers have there keeps its owner, mode and time.
- An entry below a symlink of the same layer goes where the link leads inside the root, as containerd has it (a layer
  with `bin -> usr/bin` and `bin/foo`); below anything else that is not a directory it is an ImageError.
- Whiteouts speak of lower layers only: one beside a directory of the same name makes that directory opaque, one beside
  anything else says nothing more.
- A hardlink leads to something the same layer had before, never to a directory, and never through the process's cwd.
- The root's own entry and opaque marker are left out: overlayfs takes neither from a lower directory.
"""

from __future__ import annotations

from typing import NamedTuple

from tiffin.builder.errors import ImageError
from tiffin.builder.layer.change import regrouped
from tiffin.builder.layer.index import Entry, LayerIndex, linked_entry, located, new_entry
from tiffin.builder.layer.paths import ROOT, resolve_links

NEW_PARENT_MODE = 0o755
_HOSTILE = "the layer is damaged or hostile"


class _Group:
    """The names of one file; the first added and still there holds its entry, the others link to it."""

    def __init__(self, path: str) -> None:
        self.names = {path: None}

    @property
    def holder(self) -> str:
        return next(iter(self.names))


class Placed(NamedTuple):
    """What an entry means for a tree: remove what `replaces` says, make `parents`, then make `entry`."""

    entry: Entry
    parents: list[Entry]
    replaces: Entry | None  # what is at the path and must go first
    merges: bool  # the directory is there


class LayerTable:
    """Collects a layer's entries in the order of its tar."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._children: dict[str, set[str]] = {}  # directory -> paths in it
        self._groups: dict[str, _Group] = {}  # by every name of files with more than one
        self._opaque: set[str] = set()
        self._implied: set[str] = set()
        self._resolved: dict[str, str] = {}  # parents seen since a symlink changed; bounded

    def place(self, entry: Entry) -> Placed | None:
        """Take the next entry; None if it changes nothing. Raises ImageError."""
        path = self._real(entry.path)
        if path == ROOT:
            return None
        parents = self._parents(path)
        entry = entry if entry.path == path else entry._replace(path=path)
        if entry.kind == "hardlink":
            linked = self._hardlink(entry)
            if linked is None:
                return None
            entry = linked
        before = self._entries.get(path)
        merges = False
        if before is not None:
            if entry.kind == "whiteout":
                if before.kind == "dir":
                    self._opaque.add(path)
                return None
            merges = before.kind == entry.kind == "dir"
            if not merges:
                self._remove(before)
            if entry.kind == "dir" and before.kind == "whiteout":
                self._opaque.add(path)
        self._implied.discard(path)
        self._add(entry)
        return Placed(entry, parents, None if merges else before, merges)

    def set_digest(self, path: str, digest: str) -> None:
        """Set the digest of the file just placed."""
        entry = self._entries[path]
        self._entries[path] = located(entry, digest, entry.offset)

    def hide_lower(self, path: str) -> None:
        """Take an opaque marker."""
        self._opaque.add(self._real(f"{path}/x").rpartition("/")[0] or ROOT)

    def opaque_paths(self) -> list[str]:
        """Return the directories that hide what lower layers have below them."""
        return [path for path in self._opaque if path in self._entries and self._entries[path].kind == "dir"]

    def missing_opaque(self) -> list[Entry]:
        """Make the directories that only an opaque marker speaks of; returns them and their parents."""
        made = []
        for path in sorted(self._opaque):
            if path != ROOT and path not in self._entries:
                made += self._parents(f"{path}/x")
        return made

    def index(self) -> LayerIndex:
        """Return the table of contents."""
        self.missing_opaque()
        for path in self.opaque_paths():
            self._entries[path] = self._entries[path]._replace(opaque=True)
        for path, group in self._groups.items():
            if path != group.holder:
                self._entries[path] = self._entries[path]._replace(link=group.holder)
        return LayerIndex(regrouped(list(self._entries.values()))[0], self._implied - self._opaque)

    # -- paths -----------------------------------------------------------------------------------------------------

    def _real(self, path: str) -> str:
        """Return `path` with the symlinks among its parents followed, inside the root and this layer."""
        parent, _, name = path.rpartition("/")
        if not parent:
            return path
        known = self._entries.get(parent)
        if known is not None and known.kind == "dir":
            return path
        resolved = self._resolved.get(parent)
        if resolved is None:
            resolved = resolve_links(parent, self._link_text)
            if len(self._resolved) > 1000:
                self._resolved.clear()
            self._resolved[parent] = resolved
        return name if resolved == ROOT else f"{resolved}/{name}"

    def _link_text(self, path: str) -> str | None:
        entry = self._entries.get(path)
        return entry.link if entry is not None and entry.kind == "symlink" else None

    def _parents(self, path: str) -> list[Entry]:
        """Make missing parents; returns their entries, highest first."""
        parent = path.rpartition("/")[0]
        known = self._entries.get(parent)
        if not parent or (known is not None and known.kind == "dir"):
            return []
        if known is not None and known.kind != "whiteout":
            raise ImageError(f'"{path}" lies below "{parent}", which is not a directory', remedy=_HOSTILE)
        made = self._parents_above(parent)
        if known is not None:
            self._remove(known)
            self._opaque.add(parent)
        entry = new_entry(parent, "dir", NEW_PARENT_MODE)
        self._add(entry)
        self._implied.add(parent)
        return [*made, entry]

    def _parents_above(self, path: str) -> list[Entry]:
        """Do what `_parents` does without recursing as deep as a hostile path goes."""
        missing = []
        parent = path.rpartition("/")[0]
        while parent and parent not in self._entries:
            missing.append(parent)
            parent = parent.rpartition("/")[0]
        made = []
        if parent and self._entries[parent].kind != "dir":
            made += self._parents(f"{parent}/x")
        for directory in reversed(missing):
            entry = new_entry(directory, "dir", NEW_PARENT_MODE)
            self._add(entry)
            self._implied.add(directory)
            made.append(entry)
        return made

    # -- entries ---------------------------------------------------------------------------------------------------

    def _add(self, entry: Entry) -> None:
        self._entries[entry.path] = entry
        self._children.setdefault(entry.path.rpartition("/")[0], set()).add(entry.path)
        if entry.kind == "symlink":
            self._resolved.clear()
        elif entry.kind == "hardlink":
            group = self._groups.setdefault(entry.link, _Group(entry.link))
            group.names[entry.path] = None
            self._groups[entry.path] = group

    def _hardlink(self, entry: Entry) -> Entry | None:
        """Return the entry with its target looked up; None if it is a name of that file already."""
        target = self._entries.get(self._real(entry.link))
        if target is not None and target.kind == "hardlink":
            target = self._entries[self._groups[target.path].holder]
        if target is None or target.kind in ("dir", "whiteout") or target.path.startswith(f"{entry.path}/"):
            raise ImageError(
                f'hardlink "{entry.path}" leads to "{entry.link}", which is not a file of its layer', remedy=_HOSTILE
            )
        return linked_entry(target, entry.path, target.path) if target.path != entry.path else None

    def _remove(self, entry: Entry) -> None:
        """Forget `entry` and all below it; files that have other names live on under those."""
        self._children[entry.path.rpartition("/")[0]].discard(entry.path)
        pending = [entry]
        while pending:
            gone = pending.pop()
            pending += [self._entries[path] for path in self._children.pop(gone.path, ())]
            del self._entries[gone.path]
            self._opaque.discard(gone.path)
            self._implied.discard(gone.path)
            if gone.kind == "symlink":
                self._resolved.clear()
            group = self._groups.pop(gone.path, None)
            if group is not None:
                was_holder = group.holder == gone.path
                del group.names[gone.path]
                if was_holder and group.names:
                    self._entries[group.holder] = gone._replace(path=group.holder)
