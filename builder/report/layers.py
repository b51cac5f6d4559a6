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
    hidden: set[str] = set()  # paths that a layer above has, or removes
    closed: set[str] = set()  # directories of which nothing shows that lies below
    trees: list[SizeNode] = []
    for table in reversed(tables):
        root = SizeNode(name="/")
        for entry in table.entries:
            if entry.kind == "file":
                root.add(entry.path, entry.size, wasted=entry.path in hidden or _is_closed(entry.path, closed))
        trees.append(root)
        hidden.update(entry.path for entry in table.entries if entry.kind != "dir")
        closed.update(entry.path for entry in table.entries if _closes(entry))
    return trees[::-1]


def _closes(entry: Entry) -> bool:
    return entry.opaque if entry.kind == "dir" else True


def _is_closed(path: str, closed: set[str]) -> bool:
    if ROOT in closed:
        return True
    parts = path.split("/")
    return any("/".join(parts[:length]) in closed for length in range(1, len(parts)))


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
