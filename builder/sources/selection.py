"""Which paths of a source tree a COPY or ADD means, and the digest of what they hold (the content part of its key)."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from tiffin.builder.dockerfile.glob import match_component, match_path
from tiffin.builder.dockerfile.ignore import IgnoreRules
from tiffin.builder.dockerfile.suggest import did_you_mean
from tiffin.builder.errors import BuildError, ContextError, RegistryError, Span
from tiffin.builder.instructions.base import Step
from tiffin.builder.instructions.ops import CopyOp, Input
from tiffin.builder.layer.index import Entry, new_entry
from tiffin.builder.sources.directory_tree import DirectoryTree
from tiffin.builder.sources.trees import ROOT, SourceTree
from tiffin.cache.foundation.frozen import dataclass, replace
from tiffin.cache.foundation.sha256 import LateSha256, short_sha256

_WILDCARDS = frozenset("*?[\\")
_ESCAPED = r"(?s)\\(.)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Selected:
    """A path a source pattern means: `entry` is what is there, links followed; `name` is what it will be called.

    `hidden` are the --exclude patterns. With --parents `name` is the path below the pivot, and `parents` are the
    directories on the way there, outermost first, by that path; else they are empty. `pattern` is the number of the
    source as written.
    """

    name: str
    entry: Entry
    contents_only: bool = False  # the pattern ended in a slash, so the directory's own mode does not count
    hidden: IgnoreRules | None = None
    parents: tuple[tuple[str, Entry], ...] | None = None
    pattern: int = 0


def select(
    tree: SourceTree, patterns: Sequence[str], *, span: Span, exclude: Sequence[str] = (), parents: bool = False
) -> list[Selected]:
    """Return the paths `patterns` mean, in order; a literal that is not there is a BuildError, a wildcard may match
    nothing.

    `exclude` counts from each source; a file is known to it by its name.
    """
    try:
        hidden = IgnoreRules.of_patterns(exclude, "--exclude") if exclude else None
    except ContextError as exc:
        raise BuildError(exc.message, span=span, remedy=exc.remedy) from exc
    finder = _select_with_parents if parents else _select
    result = []
    for number, pattern in enumerate(patterns):
        for item in finder(tree, pattern, span):
            if hidden is None or item.entry.kind == "dir" or not hidden.matches(item.name):
                result.append(replace(item, hidden=hidden, pattern=number))
    return result


def _select(tree: SourceTree, pattern: str, span: Span) -> Iterator[Selected]:
    parts = _clean(pattern)
    literal = _literal_length(parts)
    ends_in_slash = pattern.endswith("/")
    if literal == len(parts):
        entry, plain = _literal(tree, parts, pattern, span, follow_last=True)
        yield Selected(name=plain[-1] if plain else "", entry=entry, contents_only=ends_in_slash)
        return
    start = tree.resolve("/".join(parts[:literal]) or ROOT)
    if start != ROOT and tree.lookup(start) is None:
        raise _not_found(tree, "/".join(parts[:literal]), "/".join(parts[:literal]), span)
    for path in _matches(tree, start, parts[literal:]):
        name = path.rsplit("/", 1)[-1]
        target = tree.lookup(tree.resolve(path))
        if target is None:
            raise BuildError(
                f'"{path}", which "{pattern}" matches, is a link to a missing file: not found',
                span=span,
                remedy="remove the link, or leave it out by .dockerignore",
            )
        yield Selected(name=name, entry=target, contents_only=ends_in_slash)


def _select_with_parents(tree: SourceTree, pattern: str, span: Span) -> Iterator[Selected]:
    """Yield `--parents`: a pattern is looked for below its pivot (`/./`), `**` is any number of directories, links
    stay.
    """
    above, pivot, below = pattern.lstrip("/").partition("/./")
    if not pivot:
        above, below = "", above
    base = tree.resolve("/".join(_clean(above)) or ROOT)
    parts = _clean(below)
    literal = _literal_length(parts)
    if literal == len(parts):
        root = [] if base == ROOT else base.split("/")
        entry, _ = _literal(tree, [*root, *parts], pattern, span, follow_last=False)
        found: Iterable[Entry] = (entry,)
    else:
        start = "/".join(([] if base == ROOT else [base]) + parts[:literal]) or ROOT
        found = _tree_matches(tree, start, "/".join(parts), strip=_strip(base))
    for entry in found:
        name = "" if entry.path == ROOT else entry.path[_strip(base) :]
        yield Selected(name=name, entry=entry, parents=tuple(_way_to(tree, base, name)))


def _way_to(tree: SourceTree, base: str, name: str) -> Iterator[tuple[str, Entry]]:
    parts = name.split("/")
    for count in range(1, len(parts)):
        relative = "/".join(parts[:count])
        entry = tree.lookup(relative if base == ROOT else f"{base}/{relative}")
        if entry is not None:
            yield relative, entry


def _tree_matches(tree: SourceTree, start: str, pattern: str, *, strip: int) -> Iterator[Entry]:
    """Yield entries at or below `start` whose path after `strip` characters matches; what a match holds comes with
    it.
    """
    entry = _root_entry() if start == ROOT else tree.lookup(start)
    if entry is None or entry.kind != "dir":
        return
    pending = list(reversed(tree.children(start)))
    while pending:
        child = pending.pop()
        if match_path(pattern, child.path[strip:]):
            yield child
        elif child.kind == "dir":
            pending += reversed(tree.children(child.path))


def _strip(directory: str) -> int:
    """Return how many characters stand before a path relative to `directory`."""
    return 0 if directory == ROOT else len(directory) + 1


def _literal_length(parts: Sequence[str]) -> int:
    """Return how many components at the beginning are not patterns; a pattern that is only escaped counts as one."""
    length = 0
    while length < len(parts) and not _WILDCARDS & set(re.sub(_ESCAPED, "", parts[length])):
        length += 1
    return length


def _literal(
    tree: SourceTree, parts: Sequence[str], pattern: str, span: Span, *, follow_last: bool
) -> tuple[Entry, list[str]]:
    """Return what a source without wildcards names, and its components without escapes."""
    plain = [re.sub(_ESCAPED, r"\1", part) for part in parts]
    path = tree.resolve("/".join(plain) or ROOT, follow_last=follow_last)
    entry = _root_entry() if path == ROOT else tree.lookup(path)
    if entry is None:
        raise _not_found(tree, pattern, "/".join(plain), span)
    return entry, plain


def _clean(pattern: str) -> list[str]:
    """Return the components of a source, ".." clamped at the root."""
    parts: list[str] = []
    for part in pattern.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return parts


def _matches(tree: SourceTree, directory: str, parts: list[str]) -> Iterator[str]:
    """Yield paths below `directory` that match component by component; symlinked directories are not walked."""
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
    itself = tree.lookup(f"{directory}/{name}" if directory != ROOT else name)
    if itself is not None and itself.kind == "symlink":
        return BuildError(
            f'"{pattern}" not found: it is a link to "{itself.link}", which is not in the source',
            span=span,
            remedy="bring there what it leads to: no link leads out of a source",
        )
    near = ""
    if known is not None and known.kind == "dir":
        near = did_you_mean(name, [child.path.rsplit("/", 1)[-1] for child in tree.children(directory)])
    return BuildError(
        f'"{pattern}" not found', span=span, remedy=near or "check the path; it is relative to the source's root"
    )


def walk(
    tree: SourceTree,
    item: Selected,
    *,
    start: Entry | None = None,
    enters: Callable[[str], bool] = lambda relative: True,
) -> Iterator[tuple[str, Entry]]:
    """Yield the selected entry as "" and everything below it by its path relative to it, parents first, sorted.

    `start`: only what is below that directory. `enters` is asked after each directory whether to go on in it.
    """
    entry = item.entry if start is None else start
    if start is None:
        yield "", entry
    if entry.kind != "dir":
        return
    strip = _strip(item.entry.path)
    above = f"{item.name}/" if item.parents is not None and item.name else ""
    pending = list(reversed(tree.children(entry.path)))
    while pending:
        child = pending.pop()
        relative = child.path[strip:]
        path = above + relative
        may_pass = child.kind == "dir" and item.hidden is not None and item.hidden.may_descend(path)
        if item.hidden is not None and item.hidden.matches(path) and not may_pass:
            continue
        yield relative, child
        if child.kind == "dir" and enters(relative):
            pending += reversed(tree.children(child.path))


def content_digest(tree: SourceTree, selected: Sequence[Selected], *, with_owners: bool) -> str:
    """Return the SHA-256 (hex) of what a copy of `selected` would bring: never times, owners only if they are kept."""
    if not isinstance(tree, DirectoryTree) or any(item.hidden or item.parents is not None for item in selected):
        return _content_digest(tree, selected, with_owners=with_owners)
    what = repr((with_owners, [(item.name, item.contents_only) for item in selected]))
    return tree.digest(
        [item.entry for item in selected], what, lambda: _content_digest(tree, selected, with_owners=with_owners)
    )


def _content_digest(tree: SourceTree, selected: Sequence[Selected], *, with_owners: bool) -> str:
    hasher = LateSha256()
    for item in selected:
        _feed(hasher, "source", item.name if item.entry.kind != "dir" or item.parents is not None else "")
        for relative, entry in item.parents or ():
            _feed(hasher, relative, f"{entry.mode:o}", f"{entry.uid}:{entry.gid}" if with_owners else "")
        for relative, entry in walk(tree, item):
            if relative == "" and entry.kind == "dir" and item.contents_only:
                continue
            mode, owner = f"{entry.mode:o}", f"{entry.uid}:{entry.gid}" if with_owners else ""
            kind, link, digest = entry.kind, entry.link, entry.digest
            text = (  # what _feed makes of these, for very many files
                f"{len(relative)}:{relative}{len(kind)}:{kind}{len(mode)}:{mode}{len(owner)}:{owner}"
                f"{len(link)}:{link}{len(digest)}:{digest}"
            )
            if text.isascii():
                hasher.update(text.encode())
            else:
                _feed(hasher, relative, kind, mode, owner, link, digest)
            if entry.xattrs:
                _feed(hasher, *(f"{name}={value.hex()}" for name, value in entry.xattrs))
            if entry.kind in ("char", "block"):
                _feed(hasher, f"{entry.major}:{entry.minor}")
    return hasher.hexdigest()


def listing_of(tree: SourceTree, selected: Sequence[Selected], limit: int) -> dict[str, str] | None:
    """Return what a copy of `selected` would bring, by path: a short fingerprint each; None for more than `limit`
    paths.
    """
    result: dict[str, str] = {}
    for item in selected:
        for relative, entry in walk(tree, item):
            if relative == "" and entry.kind == "dir" and item.contents_only:
                continue
            if len(result) == limit:
                return None
            fields = (entry.kind, f"{entry.mode:o}", entry.link, entry.digest, repr(entry.xattrs))
            data = "\n".join(fields).encode("utf-8", "surrogateescape")
            result[entry.path] = short_sha256(data)[:16]
    return result


def _feed(hasher: LateSha256, *fields: str) -> None:
    """Hash fields with their lengths, so that no two lists of fields give the same bytes."""
    for text in fields:
        data = text.encode("utf-8", "surrogateescape")
        hasher.update(b"%d:" % len(data))
        hasher.update(data)


@contextlib.contextmanager
def at_step(step: Step) -> Iterator[None]:
    """Say which step an error of the network belongs to."""
    try:
        yield
    except (RegistryError, BuildError) as exc:
        raise BuildError(exc.message, span=step.span, remedy=exc.remedy) from exc


def content_of(tree: SourceTree, step: Step, item: Input, *, with_owners: bool) -> str:
    """Return the digest of what `step` reads of `tree`."""
    return content_digest(tree, select_for(tree, step, item), with_owners=with_owners)


def select_for(tree: SourceTree, step: Step, item: Input) -> list[Selected]:
    """Return the paths of `tree` that an input of `step` means."""
    op = step.op
    if isinstance(op, CopyOp):
        return select(tree, item.paths, span=step.span, exclude=op.exclude, parents=op.parents)
    paths = tuple(
        re.sub(r"([*?\[\\])", r"\\\1", path) for path in item.paths
    )  # a mount's source is not a valid pattern
    return select(tree, paths, span=step.span)
