"""Keys are pinned: a change here makes every record of every machine unfindable, so it has to be meant."""

from __future__ import annotations

import itertools

import pytest

from tiffin.cache.errors import DigestError
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.keys import KeyPart, step_key


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ((), "sha256:fb5f175e521f9a52d116850f8bcb2c78033f52defe41d1a2f8eacdea7277e06c"),
        (
            (KeyPart("op", "run"), KeyPart("argv", '["/bin/sh","-c","true"]')),
            "sha256:f12368475d0a4822681f81cbcd42d9fc511a054137ae55f1ed8ec49f912751ec",
        ),
    ],
)
def test_pinned_vectors(parts: tuple[KeyPart, ...], expected: str) -> None:
    assert str(step_key(parts)) == expected


def test_no_two_lists_share_a_key() -> None:
    lists = [
        [KeyPart("a", "bc")],
        [KeyPart("ab", "c")],
        [KeyPart("a", "b"), KeyPart("c", "")],
        [KeyPart("a", "b"), KeyPart("", "c")],
        [KeyPart("c", ""), KeyPart("a", "b")],
        [KeyPart("a", "1:b")],
        [],
    ]
    keys = [step_key(parts) for parts in lists]
    assert all(one != other for one, other in itertools.combinations(keys, 2))


def test_undecodable_names_have_keys() -> None:
    assert step_key([KeyPart("path", "\udcff")]) != step_key([KeyPart("path", "?")])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sha256",
        "sha256:",
        "sha256:" + "A" * 64,
        "sha256:" + "a" * 63,
        "md5:" + "a" * 32,
        "sha256:../" + "a" * 61,
        "sha512:" + "a" * 64,
    ],
)
def test_what_is_no_digest_is_refused(text: str) -> None:
    with pytest.raises(DigestError, match="invalid digest"):
        Digest.parse(text)
