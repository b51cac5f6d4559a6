"""The files of an image up to one of its layers, as a tree that tells what that layer did."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tiffin.builder.api.steps.blame import differences
from tiffin.builder.errors import ImageError
from tiffin.builder.layer.index import Entry, LayerIndex, new_entry
from tiffin.builder.layer.paths import ROOT, resolve_links

ADDED, CHANGED, REMOVED, SAME = "added", "changed", "removed", "unchanged"
MARKS = (ADDED, CHANGED, REMOVED, SAME)
AGAIN = "the same again"  # a file that a layer has although it is below just so
DIRECTORY_MODE = 0o755


class FileNode:
    """A path of an image. No value class: an image has a hundred thousand of them.

    `layer`: from which its content comes, 1 the lowest; `mark`: what the last layer did, `differs`: to what of it;
    `size`: bytes of content in it and below it, of what is removed those that were there; `touched`: how many paths
    below it the last layer added, changed or removed.
    """

    __slots__ = ("children", "differs", "entry", "layer", "mark", "name", "parent", "size", "touched")

    def __init__(self, name: str, entry: Entry, layer: int, mark: str, parent: FileNode | None) -> None:
        self.name = name
        self.entry = entry
        self.layer = layer
        self.mark = mark
        self.parent = parent
        self.differs: tuple[str, ...] = ()
        self.children: dict[str, FileNode] = {}
        self.size = 0
        self.touched = 0

    @property
    def path(self) -> str:
        """Return where it is in the image."""
        return "/" if self.entry.path == ROOT else f"/{self.entry.path}"

    def walk(self) -> Iterator[FileNode]:
        """Yield it and all below it, parents first."""
        pending = [self]
        while pending:
            node = pending.pop()
            yield node
            pending.extend(node.children.values())


def tree_of(tables: Sequence[LayerIndex]) -> FileNode:
    """Return the root of what these layers have, bottom first, marked by what the last one did; what it removed is
    there, too.
    """
    root = FileNode("/", new_entry(ROOT, "dir", DIRECTORY_MODE), 0, SAME, None)  # 0: no layer told of it yet
    for number, table in enumerate(tables, 1):
        _Layer(root, table, number, is_last=number == len(tables)).apply()
    _sum_up(root)
    return root


def find(root: FileNode, path: str) -> FileNode | None:
    """Return what is at a path of the image, links not followed."""
    node: FileNode | None = root
    for name in path.strip("/").split("/"):
        if node is None or not name:
            break
        node = node.children.get(name)
    return node


def follow(root: FileNode, node: FileNode) -> FileNode | None:
    """Return where a symlink leads inside the image, None where there is nothing."""

    def link_of(path: str) -> str | None:
        found = find(root, path)
        return found.entry.link if found is not None and found.entry.kind == "symlink" else None

    try:
        return find(root, resolve_links(node.entry.path, link_of))
    except ImageError:  # around in circles
        return None


class _Layer:
    """One layer on its way into the tree of those below it."""

    def __init__(self, root: FileNode, table: LayerIndex, number: int, *, is_last: bool) -> None:
        self._root = root
        self._table = table
        self._number = number
        self._is_last = is_last
        self._directories: dict[str, FileNode] = {"": root}

    def apply(self) -> None:
        """Do to the tree what the layer does: first what it hides, as it hides nothing of its own."""
        for entry in self._table.entries:
            if entry.opaque:
                self._hide(entry.path)
        for entry in self._table.entries:
            if entry.path == ROOT:
                self._set(self._root, entry)
            elif entry.kind == "whiteout":
                self._remove(entry.path)
            else:
                self._put(entry)

    def _hide(self, path: str) -> None:
        node = self._root if path == ROOT else find(self._root, path)
        if node is not None:
            self._drop_children(node)

    def _remove(self, path: str) -> None:
        node = find(self._root, path)
        if node is None or node.parent is None:
            return
        if self._is_last:
            self._drop_children(node)
            node.mark = REMOVED
        else:
            del node.parent.children[node.name]

    def _drop_children(self, node: FileNode) -> None:
        if not self._is_last:
            node.children = {}
            return
        for child in node.children.values():
            for item in child.walk():
                item.mark = REMOVED

    def _put(self, entry: Entry) -> None:
        above, _, name = entry.path.rpartition("/")
        parent = self._directories.get(above) or self._directory(above)
        node = parent.children.get(name)
        if node is None:
            mark = ADDED if self._is_last else SAME
            parent.children[name] = FileNode(name, entry, self._number, mark, parent)
        elif entry.path not in self._table.implied or node.entry.kind != "dir" or node.mark == REMOVED:
            self._set(node, entry)

    def _set(self, node: FileNode, entry: Entry) -> None:
        """Have an entry take the place of another of its path."""
        before, was_removed, is_told = node.entry, node.mark == REMOVED, node.layer > 0
        if before.kind == "dir" and entry.kind != "dir":
            self._drop_children(node)
        node.entry, node.layer = entry, self._number
        if self._is_last and is_told:
            node.differs = differences(before, entry)
            if not node.differs and (was_removed or entry.kind == "file"):
                node.differs = (AGAIN,)
            node.mark = CHANGED if node.differs else SAME

    def _directory(self, path: str) -> FileNode:
        """Return a directory that the layer puts something in; one that no layer told of is made."""
        node = self._root
        place = ""
        for name in path.split("/"):
            place = f"{place}/{name}" if place else name
            child = node.children.get(name)
            if child is None:
                mark = ADDED if self._is_last else SAME
                child = FileNode(name, new_entry(place, "dir", DIRECTORY_MODE), self._number, mark, node)
                node.children[name] = child
            elif child.entry.kind != "dir":
                self._set(child, new_entry(place, "dir", DIRECTORY_MODE))
            elif child.mark == REMOVED:
                child.mark = SAME
            node = child
        self._directories[path] = node
        return node


def _sum_up(root: FileNode) -> None:
    """Set sizes and counts of what is below: deepest first, without recursion, as a path may be long."""
    for node in reversed(list(root.walk())):
        if node.entry.kind == "file":
            node.size += node.entry.size
        parent = node.parent
        if parent is not None:
            if node.mark != REMOVED or parent.mark == REMOVED:
                parent.size += node.size
            parent.touched += node.touched + (node.mark != SAME)
