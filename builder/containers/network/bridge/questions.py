"""DNS messages, as far as a network's own names need them: one question, and answers to it (RFC 1035).

By hand and not by a library, as these fifty lines are all that is needed, in a process that is to be small.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from ipaddress import IPv6Address, ip_address

from tiffin.cache.foundation.frozen import dataclass

A, PTR, AAAA, ANY_KIND = 1, 12, 28, 255
INTERNET = 1
NO_ERROR, SERVER_FAILURE, NO_SUCH_NAME = 0, 2, 3
HEADER_BYTES, MAX_NAME_BYTES = 12, 255
RESPONSE, AUTHORITATIVE, RECURSION_WANTED, RECURSION_HAD = 0x8000, 0x0400, 0x0100, 0x0080
SECONDS_TO_LIVE = 600  # docker's
REVERSE, REVERSE6 = ".in-addr.arpa", ".ip6.arpa"
DIGITS_OF_IPV6 = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a message asks: `name` in small letters without the last dot; `section` is how the message writes it."""

    number: int
    flags: int
    name: str
    kind: int
    section: bytes

    @classmethod
    def parse(cls, data: bytes) -> Question | None:
        """Return the question of a message, None for what is none, or not a single one."""
        if len(data) < HEADER_BYTES:
            return None
        number, flags, count = struct.unpack_from(">HHH", data)
        if flags & RESPONSE or count != 1:
            return None
        labels, place = [], HEADER_BYTES
        while place < len(data) and 0 < data[place] < 64:
            labels.append(data[place + 1 : place + 1 + data[place]])
            place += 1 + data[place]
        end = place + 5
        if place - HEADER_BYTES > MAX_NAME_BYTES or end > len(data) or data[place]:
            return None
        kind = struct.unpack_from(">H", data, place + 1)[0]
        name = b".".join(labels).decode("ascii", "replace").lower()
        return cls(number=number, flags=flags, name=name, kind=kind, section=data[HEADER_BYTES:end])

    @property
    def reversed_address(self) -> str:
        """The address whose name is asked for, "" where it is something else."""
        if self.kind != PTR:
            return ""
        if self.name.endswith(REVERSE):
            return ".".join(reversed(self.name.removesuffix(REVERSE).split(".")))
        digits = self.name.removesuffix(REVERSE6).replace(".", "")[::-1]
        if not self.name.endswith(REVERSE6) or not re.fullmatch(f"[0-9a-f]{{{DIGITS_OF_IPV6}}}", digits):
            return ""
        return str(IPv6Address(int(digits, 16)))

    def answer(self, addresses: Sequence[str]) -> bytes:
        """Return the answer that a name has addresses; where another kind is asked for, that there is none of it."""
        found = [(A if number.version == 4 else AAAA, number.packed) for number in map(ip_address, addresses)]
        return self._response(NO_ERROR, [row for row in found if self.kind in (row[0], ANY_KIND)])

    def answer_name(self, name: str) -> bytes:
        """Return the answer that an address has a name."""
        labels = b"".join(bytes((len(label),)) + label.encode() for label in name.split(".") if 0 < len(label) < 64)
        return self._response(NO_ERROR, [(PTR, labels + b"\0")])

    def refuse(self, code: int) -> bytes:
        """Return an answer without anything."""
        return self._response(code, [])

    def _response(self, code: int, records: Sequence[tuple[int, bytes]]) -> bytes:
        flags = RESPONSE | AUTHORITATIVE | RECURSION_HAD | (self.flags & RECURSION_WANTED) | code
        data = struct.pack(">HHHHHH", self.number, flags, 1, len(records), 0, 0) + self.section
        for kind, value in records:
            data += struct.pack(">HHHIH", 0xC000 | HEADER_BYTES, kind, INTERNET, SECONDS_TO_LIVE, len(value)) + value
        return data
