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


def link_destinations(dockerfile: str) -> frozenset[str]:
    """The destinations of COPY --link, and what is on the way to them."""
    found = set()
    for line in dockerfile.splitlines():
        if "--link" in line:
            parts = line.split()[-1].strip("/").split("/")
            found |= {"/" + "/".join(parts[:count]) for count in range(1, len(parts) + 1)}
    return frozenset(found)


def differences(wanted: Mapping[str, str], got: Mapping[str, str], *, linked: frozenset[str]) -> list[str]:
    """Where two listings differ.

    Left out is what docs/differences.md lists: the time of a directory that something was put into, and how directories
    look that are destinations of COPY --link or on the way to one, `linked`.
    """
    return [
        f"{path}\n    BuildKit {wanted.get(path)}\n    tiffin   {got.get(path)}"
        for path in sorted({*wanted, *got})
        if wanted.get(path) != got.get(path)
        and not _is_kept_time(wanted.get(path, ""), got.get(path, ""))
        and not (linked and _is_kept_time(got.get(path, ""), wanted.get(path, "")))
        and not (path in linked and wanted.get(path, "").startswith("dir ") and got.get(path, "").startswith("dir "))
    ]


def _is_kept_time(wanted: str, got: str) -> bool:
    """Whether both are the same directory, which BuildKit changed by putting something into it."""
    return wanted.startswith("dir ") and wanted.endswith("@now") and wanted.rpartition("@")[0] == got.rpartition("@")[0]
