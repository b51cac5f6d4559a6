"""How long it is to the end of a build."""

from __future__ import annotations

import graphlib

import pytest

from tiffin.builder.farm.critical_path import ranks


def test_ranks_follow_the_longest_way_to_the_end() -> None:
    seconds = {"a": 1.0, "b": 10.0, "c": 2.0, "end": 5.0, "alone": 3.0}
    needs = {"b": ["a"], "c": ["a"], "end": ["b", "c"]}
    assert ranks(seconds, needs) == {"a": 16.0, "b": 15.0, "c": 7.0, "end": 5.0, "alone": 3.0}


def test_a_circle_is_refused() -> None:
    with pytest.raises(graphlib.CycleError):
        ranks({"a": 1.0, "b": 1.0}, {"a": ["b"], "b": ["a"]})
