"""Which files of an image are listed, and in which order: folded directories, filters, search."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from fnmatch import translate

from tiffin.builder.api.explore.tree import MARKS, SAME, FileNode, find

_SIZE = re.compile(r"([<>])(\d+(?:\.\d+)?)([kmgt]?)i?b?", re.I)
_UNITS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "t": 1000**4}
_GLOB = frozenset("*?[")
Test = Callable[[FileNode], bool]


class FileList:
    """The lines of a tree: nodes with their depths. What is changed here shows in the next `lines`."""

    def __init__(self, root: FileNode) -> None:
        self.root = root
        self.opened: set[str] = {root.path}  # directories whose content is listed
        self.closed: set[str] = set()  # of those that a filter opens
        self.marks = frozenset(MARKS)  # that are listed
        self.text = ""  # of the filter
        self.by_size = False
        self.hidden: frozenset[tuple[int, str]] | None = None  # where only what is wasted is listed

    @property
    def is_filtered(self) -> bool:
        """Whether something is left out."""
        return bool(self.text) or self.marks != frozenset(MARKS) or self.hidden is not None

    def use(self, root: FileNode) -> None:
        """List other files, folded and filtered alike."""
        self.root = root

    def filter(self, text: str) -> None:
        """List only what matches, all of it unfolded."""
        self.text, self.closed = text, set()

    def toggle_mark(self, mark: str) -> None:
        """List what has a mark, or leave it out."""
        self.marks ^= {mark}

    def toggle_wasted(self, hidden: frozenset[tuple[int, str]]) -> None:
        """List only the files that are hidden, by layer and path, or all again."""
        self.hidden = hidden if self.hidden is None else None

    def toggle_order(self) -> None:
        """Sort by size, or by name."""
        self.by_size = not self.by_size

    def leave_nothing_out(self) -> None:
        """End all filters."""
        self.text, self.marks, self.hidden = "", frozenset(MARKS), None

    def toggle(self, node: FileNode) -> bool:
        """Open or close a directory; return whether there was something to open or close."""
        if not node.children:
            return False
        chosen = self.closed if self.is_filtered else self.opened
        chosen.symmetric_difference_update({node.path})
        return True

    def is_open(self, node: FileNode) -> bool:
        """Whether the content of a directory is listed."""
        return node.path not in self.closed if self.is_filtered else node.path in self.opened

    def open_all(self, *, is_open: bool) -> None:
        """Open every directory, or close all but the root."""
        directories = {node.path for node in self.root.walk() if node.children}
        self.opened = directories if is_open else {self.root.path}
        self.closed = set() if is_open else directories - {self.root.path}

    def reveal(self, node: FileNode) -> None:
        """Open the directories that a path is in."""
        above = node.parent
        while above is not None:
            self.opened.add(above.path)
            self.closed.discard(above.path)
            above = above.parent

    def nearest(self, path: str) -> FileNode:
        """Return what is at a path, or the directory that it would be in."""
        while (node := find(self.root, path)) is None:
            path = path.rpartition("/")[0]
        return node

    def lines(self) -> list[tuple[FileNode, int]]:
        """Return what is listed, with how deep it lies."""
        kept = self._kept() if self.is_filtered else None
        found: list[tuple[FileNode, int]] = []
        pending = [(self.root, 0)]
        while pending:
            node, depth = pending.pop()
            found.append((node, depth))
            if node.children and self.is_open(node):
                children = (child for child in node.children.values() if kept is None or id(child) in kept)
                pending += [(child, depth + 1) for child in sorted(children, key=self._order, reverse=True)]
        return found

    def next_match(self, text: str, after: FileNode, step: int) -> FileNode | None:
        """Return the next path after (`step` 1) or before (-1) one that passes as a filter would have it, of those
        that are not left out, in the order of paths, around the end; None where there is none.
        """
        tests, kept = tests_of(text), self._kept() if self.is_filtered else None
        found = sorted(
            (
                node
                for node in self.root.walk()
                if node.parent is not None
                and (kept is None or id(node) in kept)
                and tests
                and all(test(node) for test in tests)
            ),
            key=place_of,
        )
        here = place_of(after)
        if step > 0:
            return next((node for node in found if place_of(node) > here), found[0] if found else None)
        return next((node for node in reversed(found) if place_of(node) < here), found[-1] if found else None)

    def _order(self, node: FileNode) -> tuple[int, str]:
        """Return by what siblings are sorted; the first of them has the least."""
        return (-node.size if self.by_size else 0, node.name)

    def _kept(self) -> set[int]:
        """Return the ids of the nodes that pass the filters, and of those above them."""
        tests = tests_of(self.text)
        kept: set[int] = set()
        for node in self.root.walk():
            if node.children and not self.text:
                passes = node.mark in self.marks and node.mark != SAME and self.hidden is None
            else:
                passes = node.mark in self.marks and all(test(node) for test in tests)
                passes = passes and (self.hidden is None or (node.layer, node.entry.path) in self.hidden)
            above: FileNode | None = node if passes else None
            while above is not None and id(above) not in kept:
                kept.add(id(above))
                above = above.parent
        return kept


def number_of(lines: Sequence[tuple[FileNode, int]], node: FileNode | None) -> int:
    """Return the line of a path, or of the nearest above it that is listed."""
    wanted: dict[int, int] = {}  # how far above it lies what is listed
    while node is not None:
        wanted[id(node)] = len(wanted)
        node = node.parent
    found = ((wanted[id(item)], number) for number, (item, _) in enumerate(lines) if id(item) in wanted)
    return min(found, default=(0, 0))[1]


def tests_of(text: str) -> Sequence[Test]:
    """Return what a filter demands: words, of which each has to be in the path, patterns with * ? [ ], and sizes as
    >10MB.
    """
    return [_test_of(word) for word in text.split()]


def _test_of(word: str) -> Test:
    size = _SIZE.fullmatch(word)
    if size is not None:
        limit = float(size[2]) * _UNITS[size[3].lower()]
        if size[1] == ">":
            return lambda node: node.size > limit
        return lambda node: node.size < limit
    wanted = word.casefold()
    if _GLOB & set(word):
        pattern = re.compile(translate(wanted if wanted.startswith(("/", "*")) else f"*/{wanted}"))
        return lambda node: pattern.match(node.path.casefold()) is not None
    return lambda node: wanted in node.path.casefold()


def place_of(node: FileNode) -> str:
    """Return by what paths are sorted as they are listed."""
    return node.entry.path.replace("/", "\0") if node.parent is not None else ""
