"""Words, the pairs of ENV and LABEL, ARG, durations, suggestions."""

from __future__ import annotations

import pytest

from tiffin.builder.dockerfile.durations import format_duration, parse_duration
from tiffin.builder.dockerfile.suggest import did_you_mean
from tiffin.builder.dockerfile.words import is_legacy_form, parse_args, parse_name_values, split_words
from tiffin.builder.errors import DockerfileError

SPLIT = {
    "blanks": (" a \t b ", ["a", "b"]),
    "quotes stay": ("a='b c' d", ["a='b c'", "d"]),
    "double quotes": ('a="b \\" c" d', ['a="b \\" c"', "d"]),
    "escape in single quotes is text": ("'a\\' b", ["'a\\'", "b"]),
    "escaped blank": ("a\\ b c", ["a\\ b", "c"]),
    "open quote": ("a 'b c", ["a", "'b c"]),
    "empty quotes": ("'' a", ["''", "a"]),
    "nothing": ("  ", []),
}


@pytest.mark.parametrize(("text", "expected"), SPLIT.values(), ids=SPLIT)
def test_words(text: str, expected: list[str]) -> None:
    assert split_words(text) == expected


PAIRS = {
    "one": ("a=b", [("a", "b")]),
    "several": ("a=b c=d", [("a", "b"), ("c", "d")]),
    "quoted": ("a='b c' \"d\"=e", [("a", "'b c'"), ('"d"', "e")]),
    "empty value": ("a= b=", [("a", ""), ("b", "")]),
    "equals in the value": ("a=b=c", [("a", "b=c")]),
    "old form": ("a b", [("a", "b")]),
    "old form keeps the rest": ("A b=c d  'e'", [("A", "b=c d  'e'")]),
    "old form with a tab": ("A\t b", [("A", "b")]),
    "old form with an equals sign apart": ("a = b", [("a", "= b")]),
}


@pytest.mark.parametrize(("text", "expected"), PAIRS.values(), ids=PAIRS)
def test_pairs(text: str, expected: list[tuple[str, str]]) -> None:
    assert list(parse_name_values(text, "ENV")) == expected
    assert is_legacy_form(text) is ("=" not in split_words(text)[0])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "ENV requires at least one argument"),
        ("a", "ENV must have two arguments"),
        ("a=b c", 'can\'t find = in "c"'),
        ("=b", "ENV names can not be blank"),
    ],
)
def test_bad_pairs(text: str, message: str) -> None:
    with pytest.raises(DockerfileError, match=message):
        parse_name_values(text, "ENV")


def test_args() -> None:
    assert parse_args("a b= c='d e'") == (("a", None), ("b", ""), ("c", "'d e'"))
    with pytest.raises(DockerfileError, match="ARG names can not be blank"):
        parse_args("=x")


DURATIONS = {
    "0": (0, "0s"),
    "30s": (30 * 10**9, "30s"),
    "1m30s": (90 * 10**9, "1m30s"),
    "1h": (3600 * 10**9, "1h0m0s"),
    "1.5s": (1_500_000_000, "1.5s"),
    "500ms": (500 * 10**6, "500ms"),
    "1.5us": (1500, "1.5µs"),
    "7ns": (7, "7ns"),
    ".5m": (30 * 10**9, "30s"),
    "-2s": (-2 * 10**9, "-2s"),
    "+2s": (2 * 10**9, "2s"),
    "100h10m0.01s": (100 * 3600 * 10**9 + 600 * 10**9 + 10**7, "100h10m0.01s"),
}


@pytest.mark.parametrize(("text", "value", "shown"), [(text, *rest) for text, rest in DURATIONS.items()])
def test_durations(text: str, value: int, shown: str) -> None:
    assert parse_duration(text) == value
    assert format_duration(value) == shown
    assert parse_duration(shown) == value


@pytest.mark.parametrize("text", ["", "1", "s", "1x", "1s ", "1..5s", "--1s", "1s-1s", "٣s", "1e3s", "9" * 40 + "h"])
def test_bad_durations(text: str) -> None:
    with pytest.raises(DockerfileError, match="invalid duration"):
        parse_duration(text)


def test_suggestions() -> None:
    assert did_you_mean("bulid", ["build", "test"]) == 'did you mean "build"?'
    assert did_you_mean("--MONT", ["--mount"]) == 'did you mean "--mount"?'
    assert did_you_mean("zzz", ["build"]) == ""
    assert did_you_mean("", ["build"]) == ""
