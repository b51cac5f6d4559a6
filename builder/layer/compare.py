"""Whether an unpacked tree still is the layer that its table of contents tells of.

Packing the tree again tells so only of layers that tiffin packed: others have their own order, headers and padding.
What a file system may not keep (attributes it has no place for, times beyond its range) is not a change.
"""

from __future__ import annotations

from tiffin.builder.layer.index import Entry, LayerIndex

NANOSECONDS = 1_000_000_000
# what every file system keeps (ext4 the least: 1901 to 2446)
FIRST_TIME, LAST_TIME = -(2**31) * NANOSECONDS, (2**33) * NANOSECONDS


def first_change(table: LayerIndex, tree: LayerIndex) -> str:
    """Return the first path that differs and how, "" if none does. Both have digests of files."""
    wanted = {entry.path: entry for entry in table.entries if not _says_nothing(entry, table)}
    for entry in table.entries:
        found = tree.get(entry.path)
        if entry.path in wanted and found is None:
            return f'"{entry.path}" is gone'
        if found is not None and entry.path in wanted and (what := _difference(entry, found)):
            return f'"{entry.path}" has another {what}'
    extra = next((entry.path for entry in tree.entries if entry.path not in wanted), "")
    return f'"{extra}" was not in it' if extra else ""


def _says_nothing(entry: Entry, table: LayerIndex) -> bool:
    """Whether it is a whiteout below a directory that hides everything anyhow: trees need none."""
    path = entry.path
    while entry.kind == "whiteout" and (path := path.rpartition("/")[0]):
        parent = table.get(path)
        if parent is not None and parent.opaque:
            return True
    return False


def _difference(entry: Entry, found: Entry) -> str:
    if entry.kind != found.kind:
        return "type"
    if entry.kind == "whiteout":
        return ""
    if entry.link != found.link:
        return "target"
    if entry.kind == "hardlink":
        return ""  # the rest is told of its first name
    if (entry.uid, entry.gid) != (found.uid, found.gid):
        return "owner"
    if entry.kind != "symlink" and entry.mode != found.mode:
        return "mode"
    if (entry.size, entry.digest) != (found.size, found.digest):
        return "content"
    if (entry.major, entry.minor, entry.opaque) != (found.major, found.minor, found.opaque):
        return "kind"
    if entry.mtime_ns != found.mtime_ns and FIRST_TIME <= entry.mtime_ns < LAST_TIME:
        return "time"
    kept = dict(found.xattrs)
    return "" if all(kept.get(name, value) == value for name, value in entry.xattrs) else "attribute"
