"""Our values behave as the standard library's frozen dataclasses do."""

from __future__ import annotations

from typing import ClassVar

import pytest

from tiffin.cache.foundation.frozen import FrozenError, asdict, dataclass, field, fields, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A point."""

    kind: ClassVar[str] = "point"
    x: int
    y: int = 0
    tags: tuple[str, ...] = field(default_factory=tuple)
    secret: str = field(default="", repr=False)

    @property
    def sum(self) -> int:
        return self.x + self.y


@dataclass(slots=True)
class Pair:
    left: int
    right: list[int] = field(default_factory=list)


def test_members_defaults_and_methods() -> None:
    point = Point(x=1)
    assert (point.x, point.y, point.tags, point.sum, Point.kind) == (1, 0, (), 1, "point")
    assert fields(point) == ("x", "y", "tags", "secret") and Point.__doc__ == "A point."
    assert not hasattr(point, "__dict__")


def test_equality_hash_and_text() -> None:
    assert Point(x=1) == Point(x=1, y=0) != Point(x=2)
    assert hash(Point(x=1)) == hash(Point(x=1)) and Point(x=1) != (1, 0, (), "")  # type: ignore[comparison-overlap]
    assert repr(Point(x=1, secret="s")) == "Point(x=1, y=0, tags=())"
    assert Pair(1).right is not Pair(1).right


def test_frozen_values_do_not_change() -> None:
    with pytest.raises(FrozenError):
        Point(x=1).x = 2  # type: ignore[misc]
    with pytest.raises(FrozenError):
        del Point(x=1).x
    pair = Pair(1)
    pair.left = 2
    assert pair == Pair(left=2)
    with pytest.raises(TypeError):
        hash(pair)


@pytest.mark.parametrize(
    ("arguments", "named", "message"),
    [
        ((), {}, "needs x"),
        ((1,), {}, "positional"),
        ((), {"x": 1, "z": 2}, "has no z"),
    ],
)
def test_wrong_arguments(arguments: tuple[int, ...], named: dict[str, int], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        Point(*arguments, **named)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="two values for left"):
        Pair(1, left=2)  # type: ignore[misc]


def test_replace_and_asdict() -> None:
    point = replace(Point(x=1, tags=("a",)), y=5)
    assert point == Point(x=1, y=5, tags=("a",))
    with pytest.raises(TypeError):
        replace(point, z=1)
    assert asdict(Pair(1, [2])) == {"left": 1, "right": [2]}
    assert asdict({"p": (point,)}) == {"p": [{"x": 1, "y": 5, "tags": ["a"], "secret": ""}]}


def test_inheritance_and_matching() -> None:
    @dataclass(frozen=True, slots=True, kw_only=True)
    class Above(Point):
        z: int = 9

    above = Above(x=1, z=2)
    assert (above.sum, above.z) == (1, 2) and above != Point(x=1)
    match above:
        case Above(x=1, z=z):
            assert z == 2
        case _:
            raise AssertionError
