"""Every attack of the catalogue is tried by some test."""

from __future__ import annotations

import re

from tests.attacks.catalogue import ATTACKS
from tests.conftest import CHECKOUT

_MARK = re.compile(r"mark\.attack\(([^)]*)\)")


def tried() -> dict[str, set[str]]:
    """Files by the attacks they are marked with."""
    result: dict[str, set[str]] = {}
    for path in (CHECKOUT / "tests").rglob("*.py"):
        for found in _MARK.findall(path.read_text()):
            for number in re.findall(r'"([^"]*)"', found):
                result.setdefault(number, set()).add(path.name)
    return result


def test_every_attack_is_tried() -> None:
    found = tried()
    assert sorted(found.keys() - ATTACKS.keys()) == [], "marks of attacks that are not in the catalogue"
    assert [number for number in ATTACKS if number not in found] == [], "nobody tries these attacks"
