"""Sections of ELF programs, read where they lie: nothing else of a program is read."""

from __future__ import annotations

import struct
from typing import BinaryIO

MAGIC = b"\x7fELF"
MAX_SECTIONS = 10_000
MAX_SECTION_BYTES = 64 << 20
MAX_NAMES_BYTES = 1 << 20
NO_BITS = 8  # a section that takes no room in the file


class Elf:
    """An ELF file. Raises ValueError for one that is damaged."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        head = self._at(0, 64)
        if len(head) < 52 or not head.startswith(MAGIC):
            raise ValueError("it is not an ELF file")
        self.is_64 = head[4] == 2
        self.order = "<" if head[5] == 1 else ">"
        if self.is_64:
            (offset,) = struct.unpack_from(f"{self.order}Q", head, 0x28)
            size, count, names = struct.unpack_from(f"{self.order}HHH", head, 0x3A)
        else:
            (offset,) = struct.unpack_from(f"{self.order}I", head, 0x20)
            size, count, names = struct.unpack_from(f"{self.order}HHH", head, 0x2E)
        self._names = b""
        self._rows = self._table(offset, size, count, names) if offset and count else []

    def read(self, name: str) -> bytes | None:
        """Return the content of a section, None where there is none."""
        at = self._names.find(b"\0%b\0" % name.encode())
        found = next((row for row in self._rows if at >= 0 and row[0] == at + 1 and row[1] != NO_BITS), None)
        return self._at(found[4], min(found[5], MAX_SECTION_BYTES)) if found is not None else None

    def at_address(self, address: int, size: int) -> bytes:
        """Return what will be in memory at an address."""
        for _, kind, _, start, offset, length in self._rows:
            if kind != NO_BITS and start and start <= address < start + length:
                return self._at(offset + address - start, min(size, MAX_SECTION_BYTES))
        return b""

    def _table(self, offset: int, size: int, count: int, names: int) -> list[tuple[int, ...]]:
        """Return the sections: name, kind, flags, address, offset, size."""
        form = f"{self.order}IIQQQQ" if self.is_64 else f"{self.order}IIIIII"
        if count > MAX_SECTIONS or size < struct.calcsize(form):
            raise ValueError("its table of sections is damaged")
        table = self._at(offset, size * count)
        if len(table) < size * count or names >= count:
            raise ValueError("its table of sections is damaged")
        rows = [struct.unpack_from(form, table, number * size) for number in range(count)]
        self._names = self._at(rows[names][4], min(rows[names][5], MAX_NAMES_BYTES))
        return rows

    def _at(self, offset: int, size: int) -> bytes:
        try:
            self._file.seek(offset)
        except (OSError, OverflowError) as exc:
            raise ValueError("it points beyond its end") from exc
        parts = []
        while size > 0 and (data := self._file.read(size)):
            parts.append(data)
            size -= len(data)
        return b"".join(parts)
