"""One line for each path of a tree, times included where a rule fixes them."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import replace

from tests.conformance.nodes import RECENT_TIME, Node, member_of

UNLISTED = ("bin", "proc", "sys", "dev", "etc")
MADE_BY_RUN = 0


def archive_bytes(members: Sequence[tuple[str, Node]]) -> bytes:
    """A tar of `members`, in their order."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, node in members:
            archive.addfile(member_of(name, node), io.BytesIO(node.data))
    return stream.getvalue()


def listing(tree: Mapping[str, Node]) -> dict[str, str]:
    """By path the line that tells it."""
    return {
        f"/{path}": _line(node)
        for path, node in sorted(tree.items())
        if path.split("/")[0] not in UNLISTED and path != "."
    }


def _line(node: Node) -> str:
    if node.kind == "hard":
        return node.line()
    time = "now" if node.mtime >= RECENT_TIME else str(node.mtime)
    return f"{replace(node, mtime=RECENT_TIME).line()} @{time}"
