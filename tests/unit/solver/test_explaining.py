"""Why a step ran: the part of its key that differs from the nearest record, in words."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from tiffin.builder.solver.explain import MAX_NAMED, Explainer, decode_listing, encode_listing
from tiffin.cache.backend import MAX_PART_CHARACTERS, StepRecord
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.keys import KeyPart

BELOW = Digest.of(b"below")
RUN = (KeyPart("op", "run"), KeyPart("argv", '["make"]'), KeyPart("env", '["A=1","B=2"]'), KeyPart("user", ""))
COPY = (KeyPart("op", "copy"), KeyPart("dest", "/x"), KeyPart("content", "old"))


def record(parts: Sequence[KeyPart], text: str, *, created: str = "2026-01-01T00:00:00Z") -> StepRecord:
    return StepRecord(
        diff_id=Digest.of(b"x"), parent_chain=BELOW, created=created, seconds=0.0, parts=tuple(parts), layer=None,
        empty=False, description=text,
    )  # fmt: skip


def reasons(
    known: Sequence[StepRecord],
    text: str,
    parts: Sequence[KeyPart],
    below: Digest | None = BELOW,
    **kept: dict[str, str],
) -> list[str]:
    files = {f"listing:{name}": encode_listing(listing) for name, listing in kept.items() if name == "old"}
    return Explainer(known, files.get).reasons(text, parts, below, {"new": kept["new"]} if "new" in kept else {})


def changed(parts: Sequence[KeyPart], name: str, value: str) -> list[KeyPart]:
    return [KeyPart(name, value) if part.name == name else part for part in parts]


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        (changed(RUN, "user", "www"), ["user was nothing, is www"]),
        (changed(RUN, "env", '["A=2","C=3"]'), ["environment: A changed, B is gone, C is new"]),
        ([*RUN, KeyPart("mount", "[]")], ["its mounts changed"]),
        ([*RUN, KeyPart("script", "x")], ["the text of its heredoc changed"]),
        ([*RUN, KeyPart("from", "x")], ["the stage or image it copies from changed"]),
        ([*RUN, KeyPart("epoch", "5")], ["epoch was nothing, is 5"]),
        (RUN, ["its layer is no longer available"]),
    ],
)
def test_each_part_has_its_words(parts: Sequence[KeyPart], says: list[str]) -> None:
    assert reasons([record(RUN, "RUN make")], "RUN make", parts) == says


def test_files_are_named_where_the_listing_was_kept_and_many_are_counted() -> None:
    new = changed(COPY, "content", "new")
    known = [record(COPY, "COPY . /x")]
    assert reasons(known, "COPY . /x", new) == ["the content of its files changed"]
    reported = reasons(known, "COPY . /x", new, old={"a": "1", "b": "1"}, new={"a": "2", "c": "1"})
    assert reported == ["files: a changed, b is gone, c is new"]
    many = {f"f{number}": "1" for number in range(MAX_NAMED + 3)}
    assert reasons(known, "COPY . /x", new, old={}, new=many)[0].endswith("f4 is new and 3 more")


def test_the_nearest_record_is_of_the_same_text_then_of_the_same_kind() -> None:
    near = record(changed(RUN, "user", "near"), "RUN make")
    far = record([KeyPart("op", "run"), KeyPart("argv", "?"), KeyPart("env", "?"), KeyPart("user", "far")], "RUN make")
    assert reasons([far, near], "RUN make", RUN) == ["user was near, is nothing"]
    other_text = reasons([record(RUN, "RUN cmake")], "RUN make", changed(RUN, "user", "x"))
    assert len(other_text) == 1 and "user" in other_text[0]


def test_a_record_that_has_little_in_common_explains_nothing() -> None:
    strange = record([KeyPart("op", "run"), KeyPart("argv", "?"), KeyPart("env", "?"), KeyPart("user", "?")], "RUN it")
    assert reasons([strange], "RUN make", RUN) == ["no record of such a step is known"]
    assert reasons([], "RUN make", RUN) == ["no record of such a step is known"]


def test_of_equals_the_newest_is_compared() -> None:
    old = record(changed(RUN, "user", "old"), "RUN make", created="2026-01-01T00:00:00Z")
    new = record(changed(RUN, "user", "new"), "RUN make", created="2026-01-02T00:00:00Z")
    assert "new" in reasons([new, old], "RUN make", RUN)[0] and "new" in reasons([old, new], "RUN make", RUN)[0]


@pytest.mark.parametrize("below", [None, Digest.of(b"other")])
def test_what_is_below_is_told_where_nothing_of_its_own_changed(below: Digest | None) -> None:
    assert reasons([record(RUN, "RUN make")], "RUN make", RUN, below) == ["what is below it changed"]


def test_long_parts_are_compared_as_far_as_they_were_kept_and_shown_short() -> None:
    long = "x" * (MAX_PART_CHARACTERS + 5)
    known = record(changed(RUN, "argv", long[:MAX_PART_CHARACTERS]), "RUN make")
    assert reasons([known], "RUN make", changed(RUN, "argv", long)) == ["its layer is no longer available"]
    assert len(reasons([known], "RUN make", changed(RUN, "argv", "y" * 500))[0]) < 200


def test_a_list_of_variables_that_was_cut_names_none() -> None:
    cut = record(changed(RUN, "env", '["A=1"'), "RUN make")
    assert reasons([cut], "RUN make", RUN)[0].startswith("environment: ")


@pytest.mark.parametrize("data", [b"", b"nonsense", json.dumps({"a": 1}).encode()])
def test_a_listing_that_is_none_is_none(data: bytes) -> None:
    assert decode_listing(data) is None
    assert decode_listing(encode_listing({"a": "1"})) == {"a": "1"}
