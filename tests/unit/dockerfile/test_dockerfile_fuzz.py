"""Whatever is written, the answer is a result or an error with a place; patterns agree with a plain matcher."""

from __future__ import annotations

import contextlib
import posixpath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fuzz import fuzzing, texts
from tiffin.builder.dockerfile import parser
from tiffin.builder.dockerfile.expand import Lexer
from tiffin.builder.dockerfile.ignore import IgnoreRules
from tiffin.builder.dockerfile.lines import read_lines
from tiffin.builder.dockerfile.lint import CheckOptions, lint
from tiffin.builder.dockerfile.parser import KEYWORDS, Dockerfile, parse, parse_trigger
from tiffin.builder.dockerfile.words import parse_args, parse_name_values, split_flags, split_words
from tiffin.builder.errors import ContextError, DockerfileError, DockerfileErrors, Span
from tiffin.cache.foundation.frozen import replace

quick = fuzzing(150)

PIECES = st.sampled_from(
    [
        *KEYWORDS, " ", " ", "\n", "\n", "\r\n", "\\\n", "\\ \n", "`\n", "\\", "`", "#", "# escape=`\n",
        "# check=skip=a\n",
        "<<E", "<<-'E F'", "\nE\n", "<< E", "$((", "))", "[", "]", '["a"]', "[1]", '"', "'", "--a=b ", "--", "a=b", "a",
        "$x", "${x:-", "}", "\t", "\x0b", "\x1c", "\xa0", "\u2028", "\ue000", "é", "\ufeff", "CMD", "AS", "\0", "µ",
    ]
)  # fmt: skip
LINES = st.tuples(st.sampled_from([*KEYWORDS, "run", "Copy"]), st.text("aZ 09\\`\"'#$={}<>[],-", max_size=30)).map(
    " ".join
)
DOCKERFILES = st.one_of(
    st.lists(PIECES, max_size=40).map(lambda pieces: "".join(pieces).encode()),
    st.binary(max_size=200),
    texts(200).map(lambda text: text.encode("utf-8", "replace")),
)


def parsed(data: bytes) -> Dockerfile | None:
    """The Dockerfile, or None after checking that the errors are as they must be."""
    try:
        return parse(data, "F")
    except DockerfileError as exc:
        for error in exc.errors if isinstance(exc, DockerfileErrors) else (exc,):
            assert error.span is not None, error
            assert error.remedy
            error.span.text.encode()
        return None


@quick
@given(DOCKERFILES)
def test_parser_reads_or_refuses(data: bytes) -> None:
    dockerfile = parsed(data)
    if dockerfile is None:
        return
    count = len(data.decode("utf-8", "surrogateescape").split("\n"))
    last = 0
    for node in dockerfile.instructions:
        assert last < node.span.first_line <= node.span.last_line <= count, "spans overlap or lie outside the file"
        last = node.span.last_line
        assert node.keyword in KEYWORDS
        f"{node.raw_with_heredocs}{node.value_without_heredocs}{node.json}".encode()
        if node.keyword == "ONBUILD" and node.raw:
            parse_trigger(node.raw_with_heredocs, "F", node.span, escape=node.escape)
    lint(dockerfile, CheckOptions())


@quick
@given(st.one_of(DOCKERFILES, st.lists(LINES).map(lambda lines: "\n".join(lines).encode())))
def test_plain_lines_are_split_as_the_library_splits_them(data: bytes) -> None:
    lines = read_lines(data, "F")
    plain = replace(lines, lines=tuple(filter(parser._is_plain, lines.lines)))
    assert parser._split(plain) == parser._split_by_library(plain)


@quick
@given(DOCKERFILES)
def test_parsing_its_own_lines_changes_nothing(data: bytes) -> None:
    """Comments, blank lines and continuations carry no meaning: without them the instructions are the same."""
    dockerfile = parsed(data)
    if dockerfile is None:
        return
    head = f"# escape={dockerfile.escape}\n"
    again = parsed((head + "".join(f"{node.span.text}\n" for node in dockerfile.instructions)).encode())
    assert again is not None
    want = [(node.keyword, node.flags, node.value, node.json, node.heredocs) for node in dockerfile.instructions]
    assert [(node.keyword, node.flags, node.value, node.json, node.heredocs) for node in again.instructions] == want


@quick
@given(st.lists(PIECES, max_size=20).map("".join) | texts(80), st.sampled_from("\\`"))
def test_triggers_and_words_are_read_or_refused(text: str, escape: str) -> None:
    span = Span(file="F", first_line=3, last_line=3)
    try:
        assert parse_trigger(text, "F", span, escape=escape).span == span
    except DockerfileError as exc:
        assert exc.span == span
    plain = "".join(split_words(text, escape))
    assert "".join(plain.split()) == "".join(text.split()), "a word lost or gained a character"
    split_flags(text, escape)
    with contextlib.suppress(DockerfileError):
        parse_args(text, escape)
    with contextlib.suppress(DockerfileError):
        parse_name_values(text, "ENV", escape)


WORD = st.text(alphabet="ab_1$${{}}:-+?#%/*'\"\\` .é\n", max_size=40)


@quick
@given(WORD, st.dictionaries(st.sampled_from(["a", "b", "ab", "_"]), WORD, max_size=3), st.sampled_from("\\`"))
def test_expansion_ends_or_refuses(word: str, env: dict[str, str], escape: str) -> None:
    lexer = Lexer(escape)
    try:
        expansion = lexer.expand(word, env)
    except DockerfileError as exc:
        assert exc.remedy
    else:
        assert expansion.used <= set(env)
        assert not expansion.unset & set(env)
        assert lexer.process_word(word, env) == expansion.text
        assert "".join("".join(expansion.words).split()) == "".join(expansion.text.split())
    try:
        lexer.expand_body(word, env)
    except DockerfileError as exc:
        assert exc.remedy


@quick
@given(st.text(alphabet="abc \n.é-", max_size=40))
def test_text_without_special_characters_expands_to_itself(text: str) -> None:
    assert Lexer().process_word(text, {}) == text
    assert Lexer().process_words(text, {}) == text.split()


@quick
@given(texts(30))
def test_single_quotes_keep_everything(text: str) -> None:
    plain = text.replace("'", "")
    assert Lexer().process_word(f"'{plain}'", {"a": "b"}) == plain


COMPONENT = st.text(alphabet="ab*?", min_size=1, max_size=4)
PATTERN = st.lists(COMPONENT | st.just("**"), min_size=1, max_size=4).map("/".join)
PATH = st.lists(st.text(alphabet="ab", min_size=1, max_size=3), min_size=1, max_size=5).map("/".join)


def plainly_matches(pattern: str, path: str) -> bool:
    """moby/patternmatcher's meaning of a pattern of letters, `*`, `?` and `**`, without any cleverness."""
    if pattern.startswith("**") and not set("*?") & set(pattern[2:]) and not pattern[2:].startswith("/"):
        return path.endswith(pattern[2:])
    return _plainly(pattern, path)


def _plainly(pattern: str, path: str) -> bool:
    if not pattern:
        return not path
    if pattern.startswith("**"):
        rest = pattern[2:].removeprefix("/")
        starts = [0, *(index + 1 for index, char in enumerate(path) if char == "/")]
        return not rest or any(_plainly(rest, path[start:]) for start in starts)
    if pattern[0] == "*":
        return _plainly(pattern[1:], path) or (path[:1] not in ("", "/") and _plainly(pattern, path[1:]))
    if pattern[0] == "?":
        return path[:1] not in ("", "/") and _plainly(pattern[1:], path[1:])
    return path[:1] == pattern[0] and _plainly(pattern[1:], path[1:])


def plainly_ignored(lines: list[str], path: str) -> bool:
    parts = path.split("/")
    above = ["/".join(parts[: count + 1]) for count in range(len(parts))]
    held = [False] * len(lines)  # what matched a directory matches all below it
    ignored = False
    for each in above:
        ignored = False
        for number, line in enumerate(lines):
            negated = line.startswith("!")
            tried = ignored or not negated  # an exception that would change nothing is not tried
            pattern = posixpath.normpath(line.removeprefix("!"))
            if held[number] or (tried and plainly_matches(pattern, each)):
                held[number], ignored = True, not negated
    return ignored


@pytest.mark.thorough
@fuzzing(400)
@given(
    st.lists(st.tuples(st.sampled_from(["", "", "!"]), PATTERN).map("".join), max_size=5),
    st.lists(PATH, min_size=1, max_size=4),
)
def test_ignore_rules_agree_with_a_plain_matcher(lines: list[str], paths: list[str]) -> None:
    rules = IgnoreRules.parse("\n".join(lines), "f")
    for path in paths:
        assert rules.matches(path) is plainly_ignored(lines, path)
        rule = rules.rule_for(path)
        assert rules.matches(path) is (rule is not None and not rule.negated)
        parts = path.split("/")
        for count in range(1, len(parts)):
            if not rules.matches(path):
                assert rules.may_descend("/".join(parts[:count])), "a walk would miss an included path"


@quick
@given(st.text(alphabet="ab*?[]^-\\!/.# \n\r\ufeffé\u2028", max_size=40), PATH)
def test_ignore_file_is_read_or_refused(text: str, path: str) -> None:
    try:
        rules = IgnoreRules.parse(text, "f")
    except ContextError as exc:
        assert str(exc).startswith("f:")
    else:
        rule = rules.rule_for(path)
        assert rules.matches(path) is (rule is not None and not rule.negated)
        rules.may_descend(path)
