"""Make tars of members told by the fields of TarInfo, for tests of ADD."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping, Sequence

Members = Sequence[tuple[str, Mapping[str, object]]]
TIME = 1_500_000_000


def data(content: bytes, **fields: object) -> Mapping[str, object]:
    """Tell a file."""
    return {"data": content, **fields}


def archive(members: Members) -> bytes:
    """Make a tar of members in this order: `data`, or fields of TarInfo."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, fields in members:
            member = tarfile.TarInfo(name)
            member.mode, member.mtime = 0o755, TIME
            content = fields.get("data", b"")
            assert isinstance(content, bytes)
            for key, value in fields.items():
                setattr(member, "size" if key == "data" else key, len(content) if key == "data" else value)
            tar.addfile(member, io.BytesIO(content))
    return stream.getvalue()
