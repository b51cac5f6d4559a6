"""Go's modules: what the linker notes in each program of the modules that it was built from."""

from __future__ import annotations

from collections.abc import Iterable

from tiffin.builder.sbom.catalogers.cataloger import Cataloger, Source
from tiffin.builder.sbom.elf import MAGIC, Elf
from tiffin.builder.sbom.facts import Fact, Package

SECTION = ".go.buildinfo"
_MAGIC = b"\xff Go buildinf:"
_INLINE, _BIG_ENDIAN = 2, 1  # flags
_FRAME = 16  # bytes around the text of the modules
_MAX_TEXT_BYTES = 16 << 20
DEVELOPED = "(devel)"  # the version of what was built from a folder


def read(source: Source) -> Iterable[Fact]:
    """Yield the modules of a program, and Go's own library."""
    if source.file.read(4) != MAGIC:
        return []
    elf = Elf(source.file)
    data = elf.read(SECTION)
    if data is None or not data.startswith(_MAGIC):
        return []
    version, modules = _texts(elf, data)
    return list(_packages(version, modules))


def _texts(elf: Elf, data: bytes) -> tuple[str, str]:
    """Return Go's version and the text of the modules; before 1.18 the section points to them."""
    if data[15] & _INLINE:
        version, after = _counted(data, 32)
        modules, _ = _counted(data, after)
    else:
        order = "big" if data[15] & _BIG_ENDIAN else "little"
        width = data[14]
        version, modules = (
            _pointed(elf, int.from_bytes(data[start : start + width], order), width, order)  # type: ignore[arg-type]
            for start in (16, 16 + width)
        )
    text = modules[_FRAME:-_FRAME] if len(modules) > 2 * _FRAME and modules[-_FRAME - 1 : -_FRAME] == b"\n" else b""
    return version.decode("utf-8", "replace"), text.decode("utf-8", "replace")


def _counted(data: bytes, start: int) -> tuple[bytes, int]:
    """Return the text at `start`, its length before it in groups of seven bits, and where it ends."""
    length = shift = 0
    while True:
        byte = data[start]
        start += 1
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return data[start : start + length], start + length


def _pointed(elf: Elf, address: int, width: int, order: str) -> bytes:
    head = elf.at_address(address, 2 * width)
    start, length = (
        int.from_bytes(head[place : place + width], order)  # type: ignore[arg-type]
        for place in (0, width)
    )
    return elf.at_address(start, min(length, _MAX_TEXT_BYTES))


def _packages(go: str, text: str) -> Iterable[Package]:
    if go.startswith("go"):
        yield Package(type="golang", name="stdlib", version=go.removeprefix("go").partition(" ")[0])
    found: list[tuple[str, str]] = []
    revision = ""
    for line in text.split("\n"):
        kind, *rest = line.split("\t")
        if kind in ("mod", "dep") and len(rest) >= 2:
            found.append((rest[0], rest[1]))
        elif kind == "=>" and len(rest) >= 2 and found:
            is_folder = rest[0].startswith((".", "/")) or not rest[1]  # it has no version, whatever go writes there
            found[-1] = found[-1] if is_folder else (rest[0], rest[1])
        elif kind == "build" and rest and rest[0].startswith("vcs.revision="):
            revision = rest[0].partition("=")[2]
    for path, version in found:
        namespace, _, name = path.rpartition("/")
        known = revision if version in (DEVELOPED, "") else version
        yield Package(type="golang", namespace=namespace, name=name, version=known)


CATALOGER = Cataloger(name="golang", read=read, reads_programs=True)
