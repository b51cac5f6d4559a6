"""Hashes that begin without OpenSSL are the same."""

from __future__ import annotations

import hashlib

import pytest

from tiffin.cache.foundation.sha256 import SHORT_BYTES, LateSha256, hasher, short_sha256


@pytest.mark.thorough
@pytest.mark.parametrize(
    "sizes", [[], [0], [1, 2], [SHORT_BYTES], [SHORT_BYTES, 1], [SHORT_BYTES + 1, 0, 5], [9] * 40_000]
)
def test_pieces_of_any_length_give_the_hash_of_the_whole(sizes: list[int]) -> None:
    late, whole = LateSha256(), b""
    for number, size in enumerate(sizes):
        late.update(bytes([number % 251]) * size)
        whole += bytes([number % 251]) * size
    assert late.hexdigest() == late.hexdigest() == hashlib.sha256(whole).hexdigest() == short_sha256(whole)


@pytest.mark.parametrize(("algorithm", "size"), [("sha256", 3), ("sha256", None), ("sha512", 3), ("sha256", 1 << 30)])
def test_a_hasher_is_of_its_algorithm(algorithm: str, size: int | None) -> None:
    made = hasher(algorithm, size)
    made.update(b"abc")
    assert made.hexdigest() == hashlib.new(algorithm, b"abc").hexdigest()
