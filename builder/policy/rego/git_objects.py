"""Commits and annotated tags as git keeps them: what buildx's documents have of them, and what of them is signed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone

from tiffin.builder.errors import BuildError
from tiffin.cache.foundation.frozen import dataclass

PGP, SSH = b"-----BEGIN PGP SIGNATURE-----", b"-----BEGIN SSH SIGNATURE-----"
_SIGNATURE_HEADERS = (b"gpgsig", b"gpgsig-sha256")
_PERSON = r"(?P<name>.*)<(?P<email>[^<>]*)>\s*(?:(?P<seconds>-?\d+) (?P<sign>[+-])(?P<hours>\d\d)(?P<minutes>\d\d))?.*"


@dataclass(frozen=True, slots=True, kw_only=True)
class GitObject:
    """A commit or a tag: its header's lines by name, its message, its signature (armored; b"" for none), and the bytes
    that are signed.
    """

    headers: Mapping[str, Sequence[str]]
    message: str
    signature: bytes
    signed: bytes

    def first(self, name: str) -> str:
        """Return a line of the header, "" where there is none."""
        return next(iter(self.headers.get(name, ())), "")


def read_commit(data: bytes) -> GitObject:
    """Read a commit; its signature is a line of its header. Raises BuildError."""
    head, _, body = data.partition(b"\n\n")
    signature: list[bytes] = []
    rest: list[bytes] = []
    inside = False
    for line in head.split(b"\n"):
        name, _, value = line.partition(b" ")
        inside = name in _SIGNATURE_HEADERS or (inside and not name)
        if not inside:
            rest.append(line)
        elif not signature or not name:  # the first, with the lines that go on
            signature.append(value)
    signed = b"\n".join(rest) + b"\n\n" + body if b"\n\n" in data else data
    return _object(rest, body, b"\n".join(signature), signed, ("tree", "author", "committer"))


def read_tag(data: bytes) -> GitObject:
    """Read an annotated tag; its signature ends its message. Raises BuildError."""
    head, _, body = data.partition(b"\n\n")
    starts = [found.start() for kind in (PGP, SSH) for found in re.finditer(rb"^" + kind + rb"$", body, re.MULTILINE)]
    start = min(starts, default=len(body))
    signature = body[start:]
    signed = data[: len(data) - len(signature)]
    return _object(head.split(b"\n"), body[:start], signature, signed, ("object", "type", "tag"))


def commit_fields(found: GitObject, signature: Mapping[str, object]) -> dict[str, object]:
    """Return what buildx calls a commit; empty members are left out there, too."""
    return {
        "tree": found.first("tree"),
        "parents": list(found.headers.get("parent", ())),
        "author": _person(found.first("author")),
        "committer": _person(found.first("committer")),
        "message": found.message,
        **signature,
    }


def tag_fields(found: GitObject, signature: Mapping[str, object]) -> dict[str, object]:
    """Return what buildx calls a tag."""
    return {
        "object": found.first("object"),
        "type": found.first("type"),
        "tag": found.first("tag"),
        "tagger": _person(found.first("tagger")),
        "message": found.message,
        **signature,
    }


def _object(lines: Sequence[bytes], body: bytes, signature: bytes, signed: bytes, needed: Sequence[str]) -> GitObject:
    headers: dict[str, list[str]] = {}
    for line in lines:
        name, space, value = line.decode(errors="replace").partition(" ")
        if name and space:
            headers.setdefault(name, []).append(value)
    missing = [name for name in needed if name not in headers]
    if missing:
        raise BuildError(f"an object of git has no {missing[0]}", remedy="see git fsck in that repository")
    message = body.decode(errors="replace").removesuffix("\n")
    return GitObject(headers=headers, message=message, signature=signature, signed=signed)


def _person(text: str) -> dict[str, str]:
    found = re.fullmatch(_PERSON, text, re.DOTALL)
    if found is None:
        return {"name": text} if text else {}
    fields = {"name": found["name"].strip(), "email": found["email"].strip()}
    if found["seconds"]:
        east = timedelta(hours=int(found["hours"]), minutes=int(found["minutes"]))
        zone = timezone(east if found["sign"] == "+" else -east) if east < timedelta(days=1) else UTC
        try:
            moment = datetime.fromtimestamp(int(found["seconds"]), zone)
        except (OverflowError, OSError, ValueError):
            return fields
        fields["when"] = moment.isoformat().replace("+00:00", "Z")
    return {name: value for name, value in fields.items() if value}
