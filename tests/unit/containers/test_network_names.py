"""Questions to the name server of a network."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiffin.builder.containers.network.bridge.questions import NO_SUCH_NAME, Question

HEAD = struct.pack(">HHHHHH", 7, 0x0100, 1, 0, 0, 0)


def asked(name: str, kind: int) -> bytes:
    labels = b"".join(bytes((len(part),)) + part.encode() for part in name.split("."))
    return HEAD + labels + b"\0" + struct.pack(">HH", kind, 1)


def test_an_address_is_answered() -> None:
    question = Question.parse(asked("Web.Back", 1))
    assert question is not None and question.name == "web.back"
    answer = question.answer(["172.18.0.2", "172.18.0.3"])
    number, flags, questions, answers = struct.unpack_from(">HHHH", answer)
    assert (number, questions, answers) == (7, 1, 2) and flags & 0x8000
    assert answer.startswith(asked("Web.Back", 1)[12:], 12)
    assert answer.endswith(bytes((0, 4, 172, 18, 0, 3)))


def test_another_kind_has_no_answer_but_the_name_is_there() -> None:
    question = Question.parse(asked("web", 28))
    assert question is not None
    assert struct.unpack_from(">HHHH", question.answer(["172.18.0.2"]))[1] & 0xF == 0
    assert struct.unpack_from(">HHHH", question.answer(["172.18.0.2"]))[3] == 0
    assert struct.unpack_from(">HHHH", question.refuse(NO_SUCH_NAME))[1] & 0xF == NO_SUCH_NAME


def test_addresses_of_both_families_are_answered_to_whom_asks_for_them() -> None:
    addresses = ["172.18.0.2", "fd00::2", "fd00::3"]
    for kind, count in ((1, 1), (28, 2), (255, 3), (15, 0)):
        question = Question.parse(asked("web", kind))
        assert question is not None
        answer = question.answer(addresses)
        assert struct.unpack_from(">HHHH", answer)[3] == count
    (question,) = [Question.parse(asked("web", 28))]
    assert question is not None and question.answer(["fd00::2"]).endswith(b"\0\x10\xfd" + bytes(14) + b"\2")


def test_a_name_is_answered_for_an_address_of_ipv6() -> None:
    name = f"{'.'.join(reversed(f'{0xFD000077 << 96 | 0x2A:032x}'))}.ip6.arpa"
    question = Question.parse(asked(name, 12))
    assert question is not None and question.reversed_address == "fd00:77::2a"
    for other in (name[2:], f"1.{name}", name.replace("d", "x")):
        question = Question.parse(asked(other, 12))
        assert question is not None and question.reversed_address == ""


def test_a_name_is_answered_for_an_address() -> None:
    question = Question.parse(asked("2.0.18.172.in-addr.arpa", 12))
    assert question is not None and question.reversed_address == "172.18.0.2"
    assert question.answer_name("web.back").endswith(b"\3web\4back\0")


@pytest.mark.parametrize(
    "data", [b"", HEAD, HEAD + b"\x3fa", HEAD + b"\xc0\x0c\0\1\0\1", struct.pack(">HHHHHH", 7, 0x8180, 1, 0, 0, 0)]
)
def test_what_is_no_question_is_none(data: bytes) -> None:
    assert Question.parse(data) is None


@given(st.binary(max_size=300))
def test_nothing_that_is_sent_does_harm(data: bytes) -> None:
    question = Question.parse(HEAD + data)
    assert question is None or question.answer(["10.0.0.1"])
