"""CRC-64 of ISO 3309 (Go's crc64.ISO), which tar-split has of every file, on Python's own large integers.

Its polynomial is x^64 + x^4 + x^3 + x + 1, and squaring a polynomial of bits spreads it out: x^(64k) is
x^(4k) + x^(3k) + x^k + 1 for every power of two k. So what is long is folded onto its half by a few shifts, each one
loop in C over all of it.
"""

from __future__ import annotations

BITS = 64
PIECE_BYTES = 1 << 17  # more at once is no faster, as it does not fit a processor's cache
ONES = (1 << BITS) - 1


class Crc64:
    """The checksum of data that comes in pieces."""

    def __init__(self) -> None:
        self._register = ONES

    def update(self, data: bytes) -> None:
        """Add data at the end."""
        for start in range(0, len(data), PIECE_BYTES):
            piece = data[start : start + PIECE_BYTES]
            self._register = _folded(int.from_bytes(piece, "little") ^ self._register, 8 * len(piece) + BITS)

    def digest(self) -> bytes:
        """Return the checksum of all data until now as Go writes it: the highest byte first."""
        return (self._register ^ ONES).to_bytes(8, "big")


def _folded(value: int, length: int) -> int:
    """Return the remainder of a polynomial of `length` coefficients; bit 0 of `value` is the highest."""
    while length > BITS:
        k = 1 << ((length - 1) // BITS).bit_length() - 1
        high = length - BITS * k  # how many coefficients are folded
        reach = max(BITS * k, high + 4 * k)
        upper = (value & ((1 << high) - 1)) << reach - high - 4 * k
        upper ^= upper << k
        value = (value >> high) << reach - BITS * k ^ upper ^ upper << 3 * k  # times (1 + x^k) (1 + x^3k)
        length = reach
    return value
