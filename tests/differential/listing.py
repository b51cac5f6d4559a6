"""One line for each path of a tree, times included where a rule fixes them."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import replace

from tests.conformance.nodes import RECENT_TIME, Node, member_of

UNLISTED = ("bin", "proc", "sys", "dev", "etc")


def archive_bytes(members: Sequence[tuple[str, Node]]) -> bytes:
    """A tar of `members`, in their order."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, node in members:
            archive.addfile(member_of(name, node), io.BytesIO(node.data))
    return stream.getvalue()


def listing(tree: Mapping[str, Node]) -> dict[str, str]:
    """By path the line that tells it."""
    alone = {
        path: replace(tree[node.target], target="")
        for path, node in tree.items()
        if node.kind == "hard" and tree[node.target].kind == "fifo"  # GNU tar tells them one by one
    }
    return {
        f"/{path}": _line(alone.get(path, node))
        for path, node in sorted(tree.items())
        if path.split("/")[0] not in UNLISTED and path != "."
    }


def _line(node: Node) -> str:
    if node.kind == "hard":
        return node.line()
    time = "now" if node.mtime >= RECENT_TIME else str(node.mtime)
    return f"{replace(node, mtime=RECENT_TIME).line()} @{time}"


def differences(wanted: Mapping[str, str], got: Mapping[str, str], *, has_link: bool) -> list[str]:
    """Where two listings differ. The time of a directory that something was put into is left out (docs/differences.md);
    `has_link`: also those of directories that COPY --link made.
    """
    return [
        f"{path}\n    BuildKit {wanted.get(path)}\n    tiffin   {got.get(path)}"
        for path in sorted({*wanted, *got})
        if wanted.get(path) != got.get(path)
        and not _is_kept_time(wanted.get(path, ""), got.get(path, ""))
        and not (has_link and _is_kept_time(got.get(path, ""), wanted.get(path, "")))
    ]


def _is_kept_time(wanted: str, got: str) -> bool:
    """Whether both are the same directory, which BuildKit changed by putting something into it."""
    return wanted.startswith("dir ") and wanted.endswith("@now") and wanted.rpartition("@")[0] == got.rpartition("@")[0]
