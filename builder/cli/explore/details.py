"""Files and layers as text."""

from __future__ import annotations

import stat
from collections.abc import Sequence

from tiffin.builder.api.explore.image import ExploredImage, ExploredLayer, Waste
from tiffin.builder.api.explore.tree import ADDED, CHANGED, MARKS, REMOVED, SAME, FileNode
from tiffin.builder.cli.explore.files import FileList
from tiffin.builder.plain_text import rfc3339, shown_name, size_text

SIGNS = {ADDED: "+", CHANGED: "~", REMOVED: "-", SAME: " "}
_TYPES = {
    "dir": stat.S_IFDIR, "file": stat.S_IFREG, "hardlink": stat.S_IFREG, "symlink": stat.S_IFLNK, "char": stat.S_IFCHR,
    "block": stat.S_IFBLK, "fifo": stat.S_IFIFO,
}  # fmt: skip
MODE_WIDTH, OWNER_WIDTH, WASTED_WIDTH = 68, 56, 46  # columns from which a line has room for these
DIGEST_WIDTH = 19
MAX_TIME_NS = 253402300800 * 10**9  # of the year 10000


def file_line(node: FileNode, depth: int, *, is_open: bool, width: int, is_wasted: bool) -> str:
    """Return the line of a path: mark, mode, owner and size as far as `width` has room for them, and the name."""
    sign = SIGNS[node.mark] if node.mark != SAME or not node.touched else "."
    columns = [sign]
    if width >= MODE_WIDTH:
        columns.append(mode_text(node))
    if width >= OWNER_WIDTH:
        columns.append(f"{node.entry.uid}:{node.entry.gid}".rjust(11))
    size = size_text(node.size) if node.entry.kind in ("file", "dir") or node.size else ""
    columns.append(size.rjust(7))
    if width >= WASTED_WIDTH:
        columns.append("wasted" if is_wasted else "      ")
    fold = ("▾ " if is_open else "▸ ") if node.children else "  "
    return f"{' '.join(columns)} {'  ' * depth}{fold}{label_of(node)}"


def label_of(node: FileNode) -> str:
    """Return the name of a path, and where a link leads."""
    name = shown_name(node.name) + ("/" if node.entry.kind == "dir" and node.parent is not None else "")
    if node.entry.kind == "symlink":
        return f"{name} -> {shown_name(node.entry.link)}"
    if node.entry.kind == "hardlink":
        return f"{name} = /{shown_name(node.entry.link)}"
    if node.entry.kind in ("char", "block"):
        return f"{name} ({node.entry.kind} {node.entry.major}:{node.entry.minor})"
    return name


def mode_text(node: FileNode) -> str:
    """Return kind and mode as ls writes them."""
    return stat.filemode(_TYPES.get(node.entry.kind, 0) | node.entry.mode)


def about_layer(layer: ExploredLayer) -> str:
    """Return what is known of a layer, in lines."""
    packed = f"packed {size_text(layer.packed_bytes)}\n" if layer.packed_bytes else ""
    base = f"of {shown_name(layer.origin.base)}\n" if layer.origin.base else ""
    text = "\n".join(shown_name(line) for line in layer.origin.text.splitlines())
    return f"{shown_name(layer.origin.shown)}\n{base}{packed}{layer.origin.diff_id}\n{text}"


def about_file(node: FileNode, layers: Sequence[ExploredLayer]) -> str:
    """Return what is known of a path, in lines."""
    entry = node.entry
    lines = [shown_name(node.path), f"{entry.kind} {mode_text(node)} {entry.uid}:{entry.gid} {node.size} bytes"]
    lines.append(f"{node.mark}{': ' if node.differs else ''}{', '.join(node.differs)}")
    if node.layer:
        lines.append(f"from layer {node.layer}: {shown_name(layers[node.layer - 1].origin.shown)}")
    lines += [f"below it {node.touched} touched"] if node.touched else []
    lines += [f"xattr {shown_name(name)} {value.hex()}" for name, value in entry.xattrs]
    lines += [f"of {rfc3339(entry.mtime_ns // 10**9)}"] if 0 <= entry.mtime_ns < MAX_TIME_NS else []
    return "\n".join(lines)


def title_text(image: ExploredImage, waste: Waste | None) -> str:
    """Return what is known of an image, in one line."""
    words = [shown_name(image.name), image.digest[:DIGEST_WIDTH], image.platform, f"{len(image.layers)} layers"]
    if waste is not None:
        total, wasted = sum(waste.sizes), sum(waste.wasted)
        share = f" ({100 * wasted / total:.1f} %)" if wasted else ""
        words += [f"{size_text(total)} unpacked", f"{size_text(wasted)} wasted{share}"]
    return "  ".join(words)


def told_of(files: FileList) -> list[str]:
    """Return which files are listed, and how, in a few words each."""
    told = [f'filter "{shown_name(files.text)}"'] if files.text else []
    if files.marks != frozenset(MARKS):
        told.append(f"only {', '.join(mark for mark in MARKS if mark in files.marks) or 'nothing'}")
    told += ["only wasted"] if files.hidden is not None else []
    return [*told, "by size"] if files.by_size else told
