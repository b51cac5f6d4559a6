"""The picture of the last benchmark is the one of its figures."""

from __future__ import annotations

import json

from tests.bench.bars import SOURCE, TARGET, drawing


def test_the_picture_is_that_of_the_last_run() -> None:
    assert TARGET.read_text() == drawing(json.loads(SOURCE.read_text())), "run python -m tests.bench.bars"


def test_bars_are_as_long_as_the_medians_and_ours_comes_first() -> None:
    text = drawing({"seconds": {"cold": {"docker": [4.0, 9.0, 2.0], "tiffin": [2.0]}, "grow-10k": {"tiffin": [1.0]}}})
    assert text.index('width="210.0"') < text.index('width="420.0"'), "half of the longest, and before it"
    assert "2.00 s" in text and "4.00 s" in text and "1.00 s" not in text
