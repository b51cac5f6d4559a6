"""Which registries the user called insecure."""

from __future__ import annotations

import pytest

from tiffin.builder.errors import UsageError
from tiffin.builder.registry.insecure import checked_pattern, is_insecure


@pytest.mark.parametrize(
    ("pattern", "registry", "expected"),
    [
        ("reg.corp:5000", "reg.corp:5000", True),
        ("reg.corp:5000", "reg.corp:5001", False),
        ("reg.corp:5000", "reg.corp", False),
        ("reg.corp", "reg.corp:5000", True),
        ("reg.corp", "areg.corp", False),
        ("REG.corp", "reg.Corp:1", True),
        ("http://reg.corp:5000/", "reg.corp:5000", True),
        ("*.corp", "reg.corp:5000", True),
        ("*.corp", "corp", False),
        ("*.corp:5000", "a.b.corp:5000", True),
        ("*.corp:5000", "a.b.corp:443", False),
        ("reg-*.corp:*", "reg-1.corp:9", True),
        ("*", "anything:1", True),
        ("10.0.0.0/8", "10.1.2.3:5000", True),
        ("10.0.0.0/8", "11.1.2.3:5000", False),
        ("127.0.0.0/8", "localhost:5000", True),
        ("10.1.2.3/8", "10.9.9.9", True),
        ("fd00::/8", "[fd00::1]:5000", True),
        ("::1/128", "[::1]:5000", True),
        ("[fd00::1]:5000", "[fd00::1]:5000", True),
        ("[fd00::1]", "[fd00::1]:5000", True),
        ("10.0.0.0/8", "no-such-host.invalid", False),
        ("reg[0].corp", "reg0.corp", None),
        ("reg.corp/team", "reg.corp", None),
        ("10.0.0.0/99", "10.0.0.1", None),
        ("reg.corp:http", "reg.corp", None),
        ("", "reg.corp", None),
    ],
)
def test_patterns(pattern: str, registry: str, expected: bool | None) -> None:
    if expected is None:
        with pytest.raises(UsageError, match="neither a host nor a network"):
            checked_pattern(pattern, "--insecure-registry")
        return
    assert is_insecure(registry, [checked_pattern(pattern, "--insecure-registry")]) == expected
