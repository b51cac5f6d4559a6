"""What is noted of a layer that not every machine can hold."""

from __future__ import annotations

import pytest

from tiffin.builder.layer.demands import Demands, Owned, demands_of
from tiffin.builder.layer.index import Entry, new_entry

RANGE = (65537, 65537)


def owned(path: str, uid: int, gid: int, kind: str = "file") -> Entry:
    return new_entry(path, kind, 0o644)._replace(uid=uid, gid=gid)


def test_usual_layers_demand_nothing() -> None:
    usual = [owned("a", 0, 0), owned("b", 33, 999), owned("dev/null", 0, 0, "char"), new_entry("c", "whiteout", 0)]
    assert demands_of(usual) == Demands()
    assert demands_of(usual).encode() == b""


@pytest.mark.parametrize(
    ("uid", "gid", "limits", "is_beyond"),
    [
        (65536, 65536, RANGE, False),
        (65537, 0, RANGE, True),
        (0, 65537, RANGE, True),
        (1000, 1000, (1001, 1001), False),
        (1001, 0, (1001, 1001), True),
        (1 << 31, 5, (1 << 32, 1 << 32), False),
        (70000, 0, (65537, 1 << 32), True),
        (70000, 0, (1 << 32, 65537), False),
    ],
)
def test_owners_beyond_an_id_map(uid: int, gid: int, limits: tuple[int, int], is_beyond: bool) -> None:
    found = demands_of([owned("x", 1000, 1000), owned("y", uid, gid), owned("z", 5, 5)])
    beyond = Demands.decode(found.encode()).beyond(limits)
    assert beyond == (Owned(path="y", uid=uid, gid=gid) if is_beyond else None)


def test_nodes_count_where_a_command_sees_them() -> None:
    assert demands_of([owned("dev/sda", 0, 6, "block"), owned("r/dev/null", 0, 0, "char")]).device == "r/dev/null"
    assert demands_of([owned("devices", 0, 0, "char")]).device == "devices"


def test_malformed_notes() -> None:
    for data in (b"", b"[]", b"{}", b"[1,2,3]", b"\xff", b"[[1],null,3]"):
        with pytest.raises(ValueError):
            Demands.decode(data)
