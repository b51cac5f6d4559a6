"""The answer to a whole question as one row."""

from __future__ import annotations

import pytest

from tiffin.cache.shared.batch import answer, answered, batch_key

ROWS = {"a": b"1", "b": b"2"}


def test_an_answer_gives_the_rows_it_has() -> None:
    data = answer(["a", "b", "c"], ROWS)
    assert answered(data, ["a", "b", "c"]) == ROWS
    assert answered(data, ["b", "d"]) == {"b": b"2"}


def test_the_order_of_a_question_does_not_count() -> None:
    assert batch_key(["a", "b"]) == batch_key(["b", "a"]) != batch_key(["a"])


@pytest.mark.parametrize("data", [None, b"", b"no json", b"[]", b"3", b'{"a": 3}', b"[" * 100_000])
def test_what_is_no_answer_gives_nothing(data: bytes | None) -> None:
    assert answered(data, ["a", "b"]) == {}
