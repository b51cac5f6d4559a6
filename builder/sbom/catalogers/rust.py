"""Rust's crates: what cargo-auditable puts into a program."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable

from tiffin.builder.sbom.catalogers.cataloger import Cataloger, Source
from tiffin.builder.sbom.elf import MAGIC, Elf
from tiffin.builder.sbom.facts import Fact, Package

SECTION = ".dep-v0"
MAX_BYTES = 8 << 20  # of what is in the section, unpacked
REGISTRY, RUNTIME = "crates.io", "runtime"


def read(source: Source) -> Iterable[Fact]:
    """Yield the crates that a program was built of; what only its build used is not in it."""
    if source.file.read(4) != MAGIC:
        return []
    data = Elf(source.file).read(SECTION)
    if data is None:
        return []
    unpacker = zlib.decompressobj()
    try:
        text = unpacker.decompress(data, MAX_BYTES)
    except zlib.error as exc:
        raise ValueError(f"its audit data are damaged: {exc}") from exc
    if unpacker.unconsumed_tail:
        raise ValueError(f"its audit data are larger than {MAX_BYTES} bytes")
    return [
        Package(type="cargo", name=str(row["name"]), version=str(row["version"]), qualifiers=_place(str(row["source"])))
        for row in json.loads(text)["packages"]
        if row.get("kind", RUNTIME) == RUNTIME
    ]


def _place(source: str) -> tuple[tuple[str, str], ...]:
    return () if source in (REGISTRY, "local", "git", "registry") else (("source", source),)


CATALOGER = Cataloger(name="rust", read=read, reads_programs=True)
