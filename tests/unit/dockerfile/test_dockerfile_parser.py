"""Physical lines to instructions: sections 1.1 and 1.2 of the language, and the faults of dockerfile-parse."""

from __future__ import annotations

import time

import pytest

from tiffin.builder.dockerfile.parser import Instruction, parse, parse_trigger
from tiffin.builder.errors import DockerfileError, DockerfileErrors, Span

HERE = Span(file="F", first_line=7, last_line=7)


def only(text: str | bytes) -> Instruction:
    """The one instruction of `text`."""
    (node,) = parse(text if isinstance(text, bytes) else text.encode(), "F").instructions
    return node


def values(text: str | bytes) -> list[tuple[str, str]]:
    parsed = parse(text if isinstance(text, bytes) else text.encode(), "F")
    return [(node.keyword, node.value) for node in parsed.instructions]


def fault(text: str | bytes) -> DockerfileError:
    with pytest.raises(DockerfileError) as caught:
        parse(text if isinstance(text, bytes) else text.encode(), "F")
    return caught.value


LINES = {
    "byte order mark": (b"\xef\xbb\xbfFROM a\n", [("FROM", "a")]),
    "crlf": ("FROM a\r\nRUN b \\\r\n  c\r\n", [("FROM", "a"), ("RUN", "b   c")]),
    "no newline at the end": ("FROM a\nRUN b", [("FROM", "a"), ("RUN", "b")]),
    "lower case keyword": ("from a", [("FROM", "a")]),
    "leading blanks": ("  \tFROM a", [("FROM", "a")]),
    "comments": ("# c\nFROM a # b\n  # c\nRUN c #d", [("FROM", "a # b"), ("RUN", "c #d")]),
    "blanks of a continuation are kept": ("RUN a\\\n  b", [("RUN", "a  b")]),
    "blanks after the escape": ("RUN a \\ \t\n b", [("RUN", "a  b")]),
    "escaped escape is no continuation": ("RUN a \\\\\nRUN b", [("RUN", "a \\\\"), ("RUN", "b")]),
    "comment inside a continuation": ("RUN a \\\n# x\n  # y\n b", [("RUN", "a  b")]),
    "empty line inside a continuation": ("RUN a \\\n\n  \n b", [("RUN", "a  b")]),
    "comment then escape at its end": ("RUN a \\\n# x \\\n b", [("RUN", "a  b")]),
    "escape on a line of its own": ("RUN a \\\n\\\nb", [("RUN", "a b")]),
    "begins with an escape": ("\\\nRUN a", [("RUN", "a")]),
    "last escape": ("FROM a\nRUN b \\", [("FROM", "a"), ("RUN", "b")]),
    "last escape and newline": ("FROM a\nRUN b \\\n", [("FROM", "a"), ("RUN", "b")]),
    "lone keyword": ("FROM a\nRUN", [("FROM", "a"), ("RUN", "")]),
    "lone escape at the end": ("FROM a\n\\", [("FROM", "a")]),
    "keyword on a line of its own": ("RUN \\\n a", [("RUN", "a")]),
    "tab after the keyword": ("RUN\ta", [("RUN", "a")]),
    "other blanks inside": ("RUN a\x0bb\x0cc\xa0d\x85e", [("RUN", "a\x0bb\x0cc\xa0d\x85e")]),
    "directive-like comment later": ("FROM a\n# escape=`\nRUN b \\\n c", [("FROM", "a"), ("RUN", "b  c")]),
    "hash starts a continuation's word": ("RUN a \\\n b#c", [("RUN", "a  b#c")]),
    "a line that begins in another script": ("RUN échö ☕\n", [("RUN", "échö ☕")]),
    "latin-1 in a comment": (b"# caf\xe9\nFROM a\nRUN a \\\n#\xe9\n b", [("FROM", "a"), ("RUN", "a  b")]),
}


@pytest.mark.parametrize(("text", "expected"), LINES.values(), ids=LINES)
def test_lines(text: str | bytes, expected: list[tuple[str, str]]) -> None:
    assert values(text) == expected


def test_spans_hold_the_original_lines() -> None:
    first, second, third = parse(b"FROM a\n\nRUN x \\\n# c\n\n y\nCOPY <<E /\nbody\nE\n", "F").instructions
    assert (first.span.first_line, first.span.last_line) == (1, 1)
    assert (second.span.first_line, second.span.last_line) == (3, 6)
    assert second.span.text == "RUN x \\\n# c\n\n y"
    assert (second.empty_until, first.empty_until) == (6, 0)
    assert (third.span.first_line, third.span.last_line) == (7, 9)
    assert str(third.span) == "F:7"


def test_comments_directly_above_belong_to_an_instruction() -> None:
    nodes = parse(b"# escape=`\n# lost\n#\n#one\n\n# two\nFROM a\nRUN b\n", "F").instructions
    assert [node.comments for node in nodes] == [("one", "two"), ()]


DIRECTIVES = {
    "escape": ("# escape=`\nENV P=c:\\x\nRUN a `\n b", {"escape": "`"}, [("ENV", "P=c:\\x"), ("RUN", "a  b")]),
    "case and blanks": ("#  EsCaPe =  ` \nRUN a\\\nRUN b", {"escape": "`"}, [("RUN", "a\\"), ("RUN", "b")]),
    "all three": (
        "# syntax=docker/dockerfile:1\n# check=skip=A;error=true\n# escape=\\\nRUN a",
        {"syntax": "docker/dockerfile:1", "check": "skip=A;error=true", "escape": "\\"},
        [("RUN", "a")],
    ),
    "after a shebang": ("#!/usr/bin/env x\n# escape=`\nRUN a", {}, [("RUN", "a")]),
    "after a comment": ("# hi\n# escape=`\nRUN a \\\n b", {}, [("RUN", "a  b")]),
    "after an unknown key": ("# foo=1\n# escape=`\nRUN a \\\n b", {}, [("RUN", "a  b")]),
    "after a blank line": ("\n# escape=`\nRUN a \\\n b", {}, [("RUN", "a  b")]),
    "without a value": ("# escape=\nRUN a \\\n b", {}, [("RUN", "a  b")]),
    "with byte order mark": ("\ufeff# escape=`\nRUN a\\\nRUN b", {"escape": "`"}, [("RUN", "a\\"), ("RUN", "b")]),
}


@pytest.mark.parametrize(("text", "directives", "expected"), DIRECTIVES.values(), ids=DIRECTIVES)
def test_directives(text: str, directives: dict[str, str], expected: list[tuple[str, str]]) -> None:
    assert parse(text.encode(), "F").directives == directives
    assert values(text) == expected


FLAGS = {
    "value": ("RUN --mount=type=bind,target=/x a", [("mount", "type=bind,target=/x")], "a"),
    "several": ("COPY --from=a --link b c", [("from", "a"), ("link", None)], "b c"),
    "repeated": ("COPY --exclude=a --exclude=b c d", [("exclude", "a"), ("exclude", "b")], "c d"),
    "empty value": ("COPY --from= a b", [("from", "")], "a b"),
    "quoted value": ("RUN --mount='type=x,y z' a", [("mount", "type=x,y z")], "a"),
    "double quotes inside": ('RUN --mount=id="a b"c d', [("mount", "id=a bc")], "d"),
    "escaped blank": ("RUN --mount=a\\ b c", [("mount", "a b")], "c"),
    "double dash ends": ("RUN --a=1 -- --b c", [("a", "1")], "--b c"),
    "single dash is no flag": ("RUN -x --y", [], "-x --y"),
    "later dashes are no flags": ("RUN a --b", [], "a --b"),
    "odd name": ("RUN ---x a", [("-x", None)], "a"),
    "over lines": ("RUN --a=1 \\\n  --b=2 \\\n c", [("a", "1"), ("b", "2")], "c"),
    "nothing else": ("HEALTHCHECK --interval=5s", [("interval", "5s")], ""),
}


@pytest.mark.parametrize(("text", "flags", "value"), FLAGS.values(), ids=FLAGS)
def test_flags(text: str, flags: list[tuple[str, str | None]], value: str) -> None:
    node = only(text)
    assert [(flag.name, flag.value) for flag in node.flags] == flags
    assert node.value == value


JSON = {
    "exec form": ('RUN ["a", "b c"]', ("a", "b c")),
    "over lines": ('CMD ["a", \\\n "b"]', ("a", "b")),
    "empty": ("CMD []", ()),
    "after flags": ('COPY --from=x ["a b", "c"]', ("a b", "c")),
    "healthcheck": ('HEALTHCHECK --retries=2 CMD ["a"]', ("a",)),
    "healthcheck with a tab": ('HEALTHCHECK cmd\t["a"]', ("a",)),
    "healthcheck of another kind": ('HEALTHCHECK NONE ["a"]', None),
    "escapes": ('RUN ["\\u00e9\\n", "\\ud83d\\ude00"]', ("é\n", "😀")),
    "half a surrogate pair": ('RUN ["\\ud83d"]', ("\ufffd",)),
    "single quotes": ("RUN ['a']", None),
    "text after it": ('RUN ["echo","hello"]this is invalid', None),
    "windows path": ('RUN ["c:\\x"]', None),
    "unclosed": ('ENTRYPOINT ["a"', None),
    "not a constant of JSON": ("RUN [NaN]", None),
    "test command": ("RUN [ -f x ] && a", None),
    "object": ('RUN {"a": 1}', None),
    "no JSON form": ('ENV ["a", "b"]', None),
    "deep": ("RUN " + "[" * 50_000, None),
}


@pytest.mark.parametrize(("text", "expected"), JSON.values(), ids=JSON)
def test_json_form(text: str, expected: tuple[str, ...] | None) -> None:
    assert only(text).json == expected


FAULTS = {
    "empty": ("", "the Dockerfile cannot be empty; begin with FROM"),
    "only comments": ("# a\n\n", "file with no instructions; begin with FROM"),
    "unknown": (
        "FROM a\nFNTRYPOINT x\n",
        'F:2: unknown instruction: FNTRYPOINT; did you mean "ENTRYPOINT"?',
    ),
    "number in JSON": (
        'CMD ["a", 1]',
        "F:1: when using JSON array syntax, arrays must be comprised of strings only; "
        "put double quotes around every element",
    ),
    "null in JSON": ("RUN [null]", "arrays must be comprised of strings only"),
    "nested JSON": ('COPY [["a"], "b"]', "arrays must be comprised of strings only"),
    "heredoc that does not end": (
        "FROM a\nRUN <<EOF\nx",
        'F:2: unterminated heredoc "EOF"; end it with a line EOF',
    ),
    "second escape": (
        "# escape=`\n# escape=`\nFROM a",
        "F:2: only one escape parser directive can be used; remove one of them",
    ),
    "bad escape": ("# syntax=x\n# escape=x\nFROM a", "F:2: invalid escape token 'x' does not match ` or \\; "),
    "long line": ("RUN " + "a" * 65532, "F:1: dockerfile line greater than max allowed size of 65535; split the line"),
    "latin-1": (b"FROM a\nRUN caf\xe9", "F:2: the instruction is not UTF-8 text; save the Dockerfile as UTF-8"),
    "utf-16": ("FROM a\n".encode("utf-16-le"), "F:1: the instruction contains a NUL byte"),
    "trigger of a trigger": ("ONBUILD ONBUILD RUN a", "F:1: chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"),
    "FROM as a trigger": ("ONBUILD FROM a", "F:1: FROM isn't allowed as an ONBUILD trigger"),
    "MAINTAINER as a trigger": ("ONBUILD MAINTAINER a", "F:1: MAINTAINER isn't allowed as an ONBUILD trigger"),
    "unknown trigger": ("ONBUILD RUM a", 'F:1: ONBUILD: unknown instruction: RUM; did you mean "RUN"?'),
    "JSON in a trigger": ("ONBUILD CMD [1]", "F:1: ONBUILD: when using JSON array syntax"),
}


@pytest.mark.parametrize(("text", "message"), FAULTS.values(), ids=FAULTS)
def test_faults_name_line_and_remedy(text: str | bytes, message: str) -> None:
    error = fault(text)
    assert message in str(error)
    assert error.remedy
    assert error.span is not None


def test_longest_line_passes() -> None:
    assert len(only("RUN " + "a" * 65531).value) == 65531


def test_all_faults_are_told_together_in_order() -> None:
    error = fault("FROM a\nRUM x\nCMD [1]\nONBUILD FROM b\n# c\nVOLUM /x\nRUN <<EOF\n")
    assert isinstance(error, DockerfileErrors)
    assert [each.span.first_line for each in error.errors if each.span] == [2, 3, 4, 6, 7]
    assert str(error).count("\n") == 4


def test_fault_in_a_continued_instruction_has_its_whole_range() -> None:
    span = fault("FROM a\n\nRUM x \\\n  y\n").span
    assert span == Span(file="F", first_line=3, last_line=4, text="RUM x \\\n  y")


def test_trigger_is_read_at_the_place_of_its_onbuild() -> None:
    node = parse_trigger("COPY --from=a b c", "F", HERE)
    assert (node.keyword, node.value, node.span) == ("COPY", "b c", HERE)


@pytest.mark.parametrize("text", ["", "# x", "RUN a\nRUN b", "RUN <<E\nx"])
def test_trigger_that_is_not_one_instruction_is_refused(text: str) -> None:
    with pytest.raises(DockerfileError) as caught:
        parse_trigger(text, "F", HERE)
    assert caught.value.span == HERE


def test_trigger_has_no_directives() -> None:
    with pytest.raises(DockerfileError, match="exactly one instruction"):
        parse_trigger("# escape=`\nRUN a\nRUN b", "F", HERE)
    assert parse_trigger("# escape=`\nRUN a \\\n b", "F", HERE).value == "a  b"


def test_trigger_follows_the_escape_of_its_file() -> None:
    (node,) = parse(b"# escape=`\nONBUILD COPY a c:\\\\\n", "F").instructions
    assert node.raw_with_heredocs == "COPY a c:\\\\"
    assert parse_trigger("RUN a `\n b", "F", HERE, escape="`").value == "a  b"


def test_hundred_lines_take_few_milliseconds() -> None:
    text = b"FROM a\n" + b'RUN apt-get update && \\\n  apt-get install -y x\nENV A=b C="d e"\n' * 33
    parse(text, "F")
    started = time.process_time()
    parse(text, "F")
    assert time.process_time() - started < 0.05  # about 1 ms; generous for a busy machine
