"""The layers of an image as trees of sizes: what each brings, and what of it a later layer hides again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tiffin.builder.layer.index import Entry, LayerIndex
from tiffin.builder.layer.paths import ROOT
from tiffin.cache.foundation.frozen import dataclass, field

MAX_SHARE = 1000  # a node that has less than this part of the image is counted with its siblings
MAX_NODES = 1500  # of all layers together


@dataclass(slots=True, kw_only=True)
class SizeNode:
    """A file or directory of a layer. Sizes are bytes of content; `wasted` of these are hidden by later layers."""

    name: str
    size: int = 0
    wasted: int = 0
    files: int = 0
    children: dict[str, SizeNode] = field(default_factory=dict)

    def add(self, path: str, size: int, *, wasted: bool) -> None:
        """Count a file in every directory that it is in."""
        node = self
        for name in ("", *path.split("/")):
            node = node.children.setdefault(name, SizeNode(name=name)) if name else node
            node.size += size
            node.wasted += size if wasted else 0
            node.files += 1


def size_trees(tables: Sequence[LayerIndex]) -> list[SizeNode]:
    """Return the tree of each layer, the lowest first."""
    trees = [SizeNode(name="/") for _ in tables]
    for number, entry, is_hidden in files_of(tables):
        trees[number].add(entry.path, entry.size, wasted=is_hidden)
    return trees


def files_of(tables: Sequence[LayerIndex]) -> Iterator[tuple[int, Entry, bool]]:
    """Yield the files of all layers, the highest layer first: its index, the file, and whether nothing of it shows in
    the image, as layers above have something else under all of its names.
    """
    hidden: set[str] = set()  # paths that a layer above has, or removes
    closed: set[str] = set()  # directories of which nothing shows that lies below
    for number in range(len(tables) - 1, -1, -1):
        table = tables[number]
        known: dict[str, bool] = {}  # of directories: whether they are closed

        def is_hidden(entry: Entry, known: dict[str, bool] = known) -> bool:
            return entry.path in hidden or _is_closed(entry.path, closed, known)

        links = (entry for entry in table.entries if entry.kind == "hardlink")
        shown = {entry.link for entry in links if not is_hidden(entry)}  # by another name
        for entry in table.entries:
            if entry.kind == "file":
                yield number, entry, entry.path not in shown and is_hidden(entry)
        hidden.update(entry.path for entry in table.entries if entry.kind != "dir")
        closed.update(entry.path for entry in table.entries if _closes(entry))


def _closes(entry: Entry) -> bool:
    return entry.opaque if entry.kind == "dir" else True


def _is_closed(path: str, closed: set[str], known: dict[str, bool]) -> bool:
    """Whether `path` is in a closed directory; `known` remembers directories."""
    parent = path.rpartition("/")[0]
    if parent not in known:
        parts = parent.split("/") if parent else []
        known[parent] = ROOT in closed or any("/".join(parts[: end + 1]) in closed for end in range(len(parts)))
    return known[parent]


def pruned(trees: Sequence[SizeNode]) -> list[dict[str, object]]:
    """Return trees as the page shows them: small things are counted together, so that a page stays small."""
    total = sum(tree.size for tree in trees)
    least = max(1, total // MAX_SHARE)
    while sum(_count(tree, least) for tree in trees) > MAX_NODES:
        least *= 2
    return [_shown(tree, least) for tree in trees]


def _count(node: SizeNode, least: int) -> int:
    return 1 + sum(_count(child, least) for child in node.children.values() if child.size >= least)


def _shown(node: SizeNode, least: int) -> dict[str, object]:
    shown: dict[str, object] = {"name": node.name, "value": node.size, "wasted": node.wasted, "files": node.files}
    kept = sorted((child for child in node.children.values() if child.size >= least), key=lambda child: -child.size)
    children = [_shown(child, least) for child in kept]
    rest = list(_rest(node, least))
    if kept and rest:
        size, wasted = sum(child.size for child in rest), sum(child.wasted for child in rest)
        count = sum(child.files for child in rest)
        children.append({"name": f"{count} smaller files", "value": size, "wasted": wasted, "files": count})
    if children:
        shown["children"] = children
    return shown


def _rest(node: SizeNode, least: int) -> Iterator[SizeNode]:
    return (child for child in node.children.values() if child.size < least)
