"""JSON without Python's module for it is read and written as that does."""

from __future__ import annotations

import json
import math

import pytest

from tiffin.cache.foundation import json_text

TEXTS = (
    "null", " \t\n\r[1, 2.5, -1e3, true, false, null] \n", '{"a": {"b": ["\\u00e9\\ud83d\\ude00", "é"]}, "a": 2}', '""',
    "123456789012345678901234567890", "1E400", '"\\ud800"', "[Infinity, -Infinity]",
)  # fmt: skip
WRONG = (
    "", " ", "{", '{"a"}', "[1,]", "[1] x", "nul", '"a', '"\t"', "1 2", "[1]\0", "\x0b1", "01", "+1",
    "'a'", '{"a":1,}', "NaNs", "[" * 100_000,
)  # fmt: skip
VALUES: tuple[object, ...] = (
    None, True, 1, 1.5, -0.0, 1e300, "é\ud800\n\"\\\x7f", [], {},
    {"b": [1, (2, "x")], "a": {"c": None}}, {1: 2, None: 3},
    math.inf, [math.nan],
)  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
def test_reads_the_same(text: str) -> None:
    assert json_text.loads(text) == json.loads(text)
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32-be"):
        data = text.encode(encoding)
        assert json_text.loads(data) == json.loads(data)


@pytest.mark.parametrize("text", WRONG, ids=range(len(WRONG)))
def test_refuses_the_same_in_the_same_words(text: str) -> None:
    for data in (text, text.encode()):
        with pytest.raises((ValueError, RecursionError)) as wanted:
            json.loads(data)
        with pytest.raises(type(wanted.value)) as found:
            json_text.loads(data)
        assert str(found.value) == str(wanted.value)


def test_constants_are_left_to_who_asks() -> None:
    assert math.isnan(json_text.loads("NaN"))
    assert json_text.loads("[NaN, -Infinity]", parse_constant=str.lower) == ["nan", "-infinity"]


@pytest.mark.parametrize("value", VALUES, ids=repr)
@pytest.mark.parametrize("ensure_ascii", [True, False])
@pytest.mark.parametrize("separators", [(", ", ": "), (",", ":")])
def test_writes_the_same(value: object, ensure_ascii: bool, separators: tuple[str, str]) -> None:
    wanted = json.dumps(value, ensure_ascii=ensure_ascii, separators=separators)
    assert json_text.dumps(value, ensure_ascii=ensure_ascii, separators=separators) == wanted


def test_sorts_names() -> None:
    value = {"b": {"d": 1, "c": 2}, "a": 3}
    assert json_text.dumps(value, sort_keys=True) == json.dumps(value, sort_keys=True)


def test_what_is_not_json_cannot_be_written() -> None:
    with pytest.raises(TypeError) as wanted:
        json.dumps([{1}])
    with pytest.raises(TypeError) as found:
        json_text.dumps([{1}])
    assert str(found.value) == str(wanted.value)
    circle: list[object] = []
    circle.append(circle)
    with pytest.raises(ValueError, match="Circular"):
        json_text.dumps(circle)
