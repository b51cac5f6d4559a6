"""Which paths of a source tree a COPY or ADD means, and the digest of what they hold (the content part of its key)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from builder.dockerfile.glob import match_component
from builder.dockerfile.suggest import did_you_mean
from builder.errors import BuildError, Span
from builder.layer.index import Entry, new_entry
from builder.solver.trees import ROOT, DirectoryTree, SourceTree

_WILDCARDS = frozenset("*?[\\")


@dataclass(frozen=True, slots=True, kw_only=True)
class Selected:
    """A path a source pattern means: `entry` is what is there, links followed; `name` is what it will be called."""

    name: str
    entry: Entry
    contents_only: bool  # the pattern ended in a slash, so the directory's own mode does not count


def select(tree: SourceTree, patterns: Sequence[str], *, span: Span) -> list[Selected]:
    """The paths `patterns` mean, in order; a literal that is not there is a BuildError, a wildcard may match nothing."""
    return [selected for pattern in patterns for selected in _select(tree, pattern, span)]


def _select(tree: SourceTree, pattern: str, span: Span) -> Iterator[Selected]:
    parts = _clean(pattern)
    literal = 0
    while literal < len(parts) and not _WILDCARDS & set(parts[literal]):
        literal += 1
    ends_in_slash = pattern.endswith("/")
    if literal == len(parts):
        path = tree.resolve("/".join(parts) or ROOT)
        entry = _root_entry() if path == ROOT else tree.lookup(path)
        if entry is None:
            raise _not_found(tree, pattern, "/".join(parts), span)
        yield Selected(name=parts[-1] if parts else "", entry=entry, contents_only=ends_in_slash)
        return
    start = tree.resolve("/".join(parts[:literal]) or ROOT)
    for path in _matches(tree, start, parts[literal:]):
        name = path.rsplit("/", 1)[-1]
        target = tree.lookup(tree.resolve(path))
        if target is not None:
            yield Selected(name=name, entry=target, contents_only=ends_in_slash)


def _clean(pattern: str) -> list[str]:
    """The components of a source, ".." clamped at the root."""
    parts: list[str] = []
    for part in pattern.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return parts


def _matches(tree: SourceTree, directory: str, parts: list[str]) -> Iterator[str]:
    """Paths below `directory` that match component by component; symlinked directories are not walked."""
    entry = _root_entry() if directory == ROOT else tree.lookup(directory)
    if entry is None or entry.kind != "dir":
        return
    for child in tree.children(directory):
        if not match_component(parts[0], child.path.rsplit("/", 1)[-1]):
            continue
        if len(parts) == 1:
            yield child.path
        else:
            yield from _matches(tree, child.path, parts[1:])


def _root_entry() -> Entry:
    return new_entry(ROOT, "dir", 0o755)


def _not_found(tree: SourceTree, pattern: str, path: str, span: Span) -> BuildError:
    if isinstance(tree, DirectoryTree) and tree.is_ignored(path):
        return BuildError(
            f'"{pattern}" not found: .dockerignore excludes it', span=span, remedy="add a line with ! before it there"
        )
    parent, _, name = path.rpartition("/")
    directory = tree.resolve(parent or ROOT)
    known = tree.lookup(directory) if directory != ROOT else _root_entry()
    near = ""
    if known is not None and known.kind == "dir":
        near = did_you_mean(name, [child.path.rsplit("/", 1)[-1] for child in tree.children(directory)])
    return BuildError(
        f'"{pattern}" not found', span=span, remedy=near or "check the path; it is relative to the source's root"
    )


def walk(tree: SourceTree, entry: Entry) -> Iterator[tuple[str, Entry]]:
    """`entry` as "" and everything below it by its path relative to it, parents first, sorted."""
    yield "", entry
    if entry.kind != "dir":
        return
    strip = 0 if entry.path == ROOT else len(entry.path) + 1
    pending = list(reversed(tree.children(entry.path)))
    while pending:
        child = pending.pop()
        yield child.path[strip:], child
        if child.kind == "dir":
            pending += reversed(tree.children(child.path))


def content_digest(tree: SourceTree, selected: Sequence[Selected], *, with_owners: bool) -> str:
    """SHA-256 (hex) over what a copy of `selected` would bring: never times, owners only if they are kept."""
    hasher = hashlib.sha256()
    for item in selected:
        _feed(hasher, "source", item.name if item.entry.kind != "dir" else "")
        for relative, entry in walk(tree, item.entry):
            if relative == "" and entry.kind == "dir" and item.contents_only:
                continue
            owner = f"{entry.uid}:{entry.gid}" if with_owners else ""
            _feed(hasher, relative, entry.kind, f"{entry.mode:o}", owner, entry.link, entry.digest)
            if entry.xattrs:
                _feed(hasher, *(f"{name}={value.hex()}" for name, value in entry.xattrs))
            if entry.kind in ("char", "block"):
                _feed(hasher, f"{entry.major}:{entry.minor}")
    return hasher.hexdigest()


def _feed(hasher: hashlib._Hash, *fields: str) -> None:
    """Length-framed, so that no two lists of fields give the same bytes."""
    for text in fields:
        data = text.encode("utf-8", "surrogateescape")
        hasher.update(b"%d:" % len(data))
        hasher.update(data)
