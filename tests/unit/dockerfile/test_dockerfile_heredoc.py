"""Heredocs: section 1.4, after the cases of BuildKit's parser and integration tests."""

from __future__ import annotations

import pytest

from tiffin.builder.dockerfile.expand import Lexer
from tiffin.builder.dockerfile.parser import Instruction, parse, parse_trigger
from tiffin.builder.errors import DockerfileError


def only(text: str) -> Instruction:
    (node,) = parse(text.encode(), "F").instructions
    return node


# id: text, then name, fd, expand, content of each heredoc
HEREDOCS: dict[str, tuple[str, list[tuple[str, int, bool, str]]]] = {
    "empty": ("RUN <<EMPTY\nEMPTY\n", [("EMPTY", 0, True, "")]),
    "descriptor": ("RUN 3<<E\nE\n", [("E", 3, True, "")]),
    "in quotes": ('RUN "<<EOF"\n', []),
    "in single quotes": ("RUN '<<EOF'\n", []),
    "indented": ("RUN <<E\n\tfoo\n\tbar\nE\n", [("E", 0, True, "\tfoo\n\tbar\n")]),
    "tabs stripped": ("RUN <<-E\n\t\tfoo\n\tbar\n\tE\n", [("E", 0, True, "foo\nbar\n")]),
    "blanks are not stripped": ("RUN <<-E\n  foo\n E\nE\n", [("E", 0, True, "  foo\n E\n")]),
    "quoted": ("RUN <<-'E'\n\t$X\nE\n", [("E", 0, False, "$X\n")]),
    "double quoted": ('COPY <<"E" /\n$X\nE\n', [("E", 0, False, "$X\n")]),
    "partly quoted": ("RUN <<eo'f'\nx\neof\n", [("eof", 0, False, "x\n")]),
    "escaped quote": ("RUN <<eo\\'f\nx\neo'f\n", [("eo'f", 0, True, "x\n")]),
    "quoted blank": ("RUN <<'one two'\nx\none two\n", [("one two", 0, False, "x\n")]),
    "dollar": ("RUN <<$EOF\n$EOF\n", [("$EOF", 0, True, "")]),
    "blank before the word": ("RUN <<  E  > foo\nE\n", [("E", 0, True, "")]),
    "dash after a blank": ("RUN << -E\n-E\n", [("-E", 0, True, "")]),
    "comments are content": ("RUN <<E\n# c\nx # y\nE\n", [("E", 0, True, "# c\nx # y\n")]),
    "instructions are content": ("RUN <<E\nFROM x\nE\n", [("E", 0, True, "FROM x\n")]),
    "escapes are content": ("RUN <<E\na \\\nE\n", [("E", 0, True, "a \\\n")]),
    "blank lines are content": ("RUN <<E\n\na\n\nE\n", [("E", 0, True, "\na\n\n")]),
    "after flags": ("RUN --mount=type=cache,target=/x <<E\na\nE\n", [("E", 0, True, "a\n")]),
    "two": ("COPY <<A <<B /d\n1\nA\n2\nB\n", [("A", 0, True, "1\n"), ("B", 0, True, "2\n")]),
    "crossed": ("COPY <<X <<Y /d\nY\nX\nX\nY\n", [("X", 0, True, "Y\n"), ("Y", 0, True, "X\n")]),
    "with a program": ("RUN <<E python3\nprint()\nE\n", [("E", 0, True, "print()\n")]),
    "file name": ("COPY <<file.txt /d\na\nfile.txt\n", [("file.txt", 0, True, "a\n")]),
    "several descriptors": (
        "RUN <<E 3<<I 4<<J awk -f -\n1\nE\n2\nI\n3\nJ\n",
        [("E", 0, True, "1\n"), ("I", 3, True, "2\n"), ("J", 4, True, "3\n")],
    ),
    "over lines": (
        "RUN cat <<A | tr a b > ./x; \\\n\tcat <<B > ./y\n1\nA\n2\nB\n",
        [("A", 0, True, "1\n"), ("B", 0, True, "2\n")],
    ),
    "here string": ("RUN cat <<<EOF\n", []),
    "no word": ("RUN cat <<\n", []),
    "shift": ("RUN echo $((1 <<2)) $((1 << 2)) $((x<<y))\n", []),
    "shift in nested parentheses": ("RUN echo $(( (1 <<2) + $((1 <<3)) ))\n", []),
    "arithmetic command": ("RUN ((x = 1 <<2)); true\n", []),
    "heredoc after a shift": ("RUN x=$((1 <<2)); cat <<E\na\nE\n", [("E", 0, True, "a\n")]),
    "in a command substitution": ("RUN x=$( cat <<E )\na\nE\n", [("E", 0, True, "a\n")]),
    "in the middle of a word": ("RUN a<<b\n", []),
    "shell operator ends the word": ("RUN cat <<E|sh\na\nE\n", [("E", 0, True, "a\n")]),
    "redirection ends the word": ("RUN cat <<E>x\na\nE\n", [("E", 0, True, "a\n")]),
    "operators are plain in COPY": ("COPY <<a&b /d\n1\na&b\n", [("a&b", 0, True, "1\n")]),
    "open quote": ("RUN echo it's <<E\n", []),
    "JSON form": ('RUN ["<<EOF"]\n', []),
    "JSON form of COPY": ('COPY ["<<EOF", "<<X"]\n', []),
    "brackets in shell form": ("RUN [ -f x ] || cat <<E\na\nE\n", [("E", 0, True, "a\n")]),
    "other instructions": ("USER <<INVALID\n", []),
    "crlf in RUN": ("RUN <<E\r\na\r\nE\r\n", [("E", 0, True, "a\n")]),
    "crlf in COPY": ("COPY <<E /d\r\na\r\nE\r\n", [("E", 0, True, "a\r\n")]),
    "last line without newline": ("RUN <<E\na\nE", [("E", 0, True, "a\n")]),
    "trigger": ("ONBUILD RUN <<E\na\nE\n", [("E", 0, True, "a\n")]),
    "trigger in lower case": ("onbuild copy <<E /d\na\nE\n", [("E", 0, True, "a\n")]),
}


@pytest.mark.parametrize(("text", "expected"), HEREDOCS.values(), ids=HEREDOCS)
def test_heredocs(text: str, expected: list[tuple[str, int, bool, str]]) -> None:
    found = [(each.name, each.fd, each.expand, each.content) for each in only(text).heredocs]
    assert found == expected


def test_instruction_after_a_heredoc_is_read() -> None:
    nodes = parse(b"RUN <<E\nx\nE\nRUN y\n", "F").instructions
    assert [node.value for node in nodes] == ["<<E", "y"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("RUN cat <<-E > x\n\ta\n\tE\n", "cat <<-E > x\n\ta\nE\n"),  # the end as BuildKit writes it
        ("RUN --network=none cat <<A <<'B'\n1\nA\n$2\nB\n", "cat <<A <<'B'\n1\nA\n$2\nB\n"),
        ("RUN a\n", "a"),
        ("ONBUILD RUN --network=none cat <<E\n1\nE\n", "RUN --network=none cat <<E\n1\nE\n"),
    ],
)
def test_shell_gets_the_text_as_written(text: str, expected: str) -> None:
    assert only(text).raw_with_heredocs == expected


@pytest.mark.parametrize(
    ("text", "lone"),
    [
        ("RUN <<E\nE\n", True),
        ("RUN --network=none << 'E F'\nE F\n", True),
        ("RUN <<E sh\nE\n", False),
        ("RUN <<A <<B\nA\nB\n", False),
        ("RUN <<E;\nE\n", False),
        ("RUN a\n", False),
    ],
)
def test_lone_heredoc(text: str, lone: bool) -> None:
    assert only(text).is_lone_heredoc is lone


def test_markers_are_no_words_of_copy() -> None:
    assert only("COPY a <<'x y' << z /d\nx y\nz\n").value_without_heredocs.split() == ["a", "/d"]


def test_trigger_keeps_its_heredoc() -> None:
    node = only("ONBUILD COPY <<A <<B /d\n1\nA\n2\nB\n")
    trigger = parse_trigger(node.raw_with_heredocs, "F", node.span)
    assert trigger.keyword == "COPY"
    assert [each.content for each in trigger.heredocs] == ["1\n", "2\n"]


BODIES = {
    "variables": ("Hello ${name} $name!\n", "Hello world world!\n"),
    "quotes are text": ("'$name' \"${name}\"\n", "'world' \"world\"\n"),
    "open quote": ("it's\n", "it's\n"),
    "escaped dollar": ("\\$name\n", "$name\n"),
    "escaped escape": ("\\\\\n", "\\\n"),
    "escaped newline": ("\\\n", "\n"),  # slashfile1 of BuildKit's testCopyHeredocSpecialSymbols
    "default with quotes": ("${none:-'x'}\n", "'x'\n"),
    "unset": ("a${none}b\n", "ab\n"),
}


@pytest.mark.parametrize(("content", "expected"), BODIES.values(), ids=BODIES)
def test_body_expansion(content: str, expected: str) -> None:
    assert Lexer().expand_body(content, {"name": "world"}) == expected


def test_body_with_an_error_is_refused() -> None:
    with pytest.raises(DockerfileError, match="name: say it"):
        Lexer().expand_body("${name:?say it}", {})
