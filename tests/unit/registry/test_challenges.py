"""WWW-Authenticate as registries and the proxies before them send it."""

from __future__ import annotations

import time

import pytest

from tiffin.builder.registry.auth.challenges import parse_challenges

BEARER = ("bearer", {"realm": "https://a/t", "service": "s", "scope": "a:b:c,d"})
BASIC = ("basic", {"realm": "r"})


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ('Bearer realm="https://a/t",service="s",scope="a:b:c,d"', [BEARER]),
        ("basic Realm=r", [BASIC]),
        ('Basic realm="r", Bearer realm="https://a/t", service="s", scope="a:b:c,d"', [BASIC, BEARER]),
        ('Bearer realm="https://a/t",service="s",scope="a:b:c,d",Basic realm="r"', [BEARER, BASIC]),
        ('Negotiate, NTLM, Basic realm="r"', [("negotiate", {}), ("ntlm", {}), BASIC]),
        ('Negotiate YIIBhg+/a==, Basic realm="r"', [("negotiate", {}), BASIC]),
        ('Bearer , Basic realm = "r"', [("bearer", {}), BASIC]),
        ('Bearer realm="a\\"b, Basic realm=c"', [("bearer", {"realm": 'a"b, Basic realm=c'})]),
        ('Digest realm="r", nonce="x==", algorithm=MD5, Basic realm="r"',
         [("digest", {"realm": "r", "nonce": "x==", "algorithm": "MD5"}), BASIC]),
        ('Basic realm="r",,  ,Basic realm="r"', [BASIC, BASIC]),
        ('Basic realm="r", realm="other"', [BASIC]),
        ("", []),
        ('="', []),
        ('Bearer realm="never closed', [("bearer", {}), ("realm", {}), ("never", {})]),
    ],
)  # fmt: skip
def test_challenges_are_a_list(header: str, expected: list[tuple[str, dict[str, str]]]) -> None:
    assert [(challenge.scheme, dict(challenge.parameters)) for challenge in parse_challenges(header)] == expected


@pytest.mark.parametrize("piece", ['a="', "a,", ' a="\\', "=", "a b "])
def test_long_headers_take_no_time(piece: str) -> None:
    before = time.process_time()
    parse_challenges("Bearer " + piece * 30_000)
    assert time.process_time() - before < 5
