"""Expansion: section 1.3, with the vectors of BuildKit's lexer tests where they say more."""

from __future__ import annotations

import pytest

from tiffin.builder.dockerfile.expand import Lexer
from tiffin.builder.errors import DockerfileError

ENV = {
    "PWD": "/home",
    "SHELL": "bash",
    "KOREAN": "한국어",
    "NULL": "",
    "BAR": "x",
    "FOO": "xxyy",
    "PATHS": "/tmp/tmp/bar.txt",
}

WORDS = {
    "plain": ("hello", "hello"),
    "single quotes": ("he'll'o", "hello"),
    "variable in single quotes": ("he'$PWD'", "he$PWD"),
    "escape in single quotes": ("'he\\'llo", "he\\llo"),
    "double quotes": ('he"l$PWD"o', "hel/homeo"),
    "single inside double": ("\"'$PWD'\"", "'/home'"),
    "escaped quote": ('he\\"llo', 'he"llo'),
    "escaped quote in double": ('"he\\"llo"', 'he"llo'),
    "other escape in double": ('"he\\llo \\\\ \\$PWD"', "he\\llo \\ $PWD"),
    "escape outside": ("he\\llo \\'", "hello '"),
    "escape at the end": ("hello\\", "hello"),
    "escaped dollar": ("\\$PWD", "$PWD"),
    "blanks stay": ("  a  b ", "  a  b "),
    "name": ("$PWD.", "/home."),
    "unset": ("a$NONE", "a"),
    "name ends": ("he$PWDx/$PWD/x", "he//home/x"),
    "braces": ("he${PWD}x", "he/homex"),
    "unicode value": ("$KOREAN.", "한국어."),
    "positional": ("a$1b $12c", "ab c"),
    "special": ("$$ $@ $* $# $? $- $! $0x", "       x"),
    "dollar alone": ("$", "$"),
    "dollar before others": ("$. $/ $% $,", "$. $/ $% $,"),
    "dollar before a quote": ("$'a'", "$a"),
    "special in braces": ("${*}${@}${1}", ""),
    "positional with a default": ("${1:-x}${@:-y}", "xy"),
    "default when unset": ("${NONE:-x}${NONE-y}", "xy"),
    "default when empty": ("${NULL:-x}${NULL-y}", "x"),
    "no default when set": ("${PWD:-x}${PWD-y}", "/home/home"),
    "other when set": ("${PWD:+x}${PWD+y}", "xy"),
    "other when empty": ("${NULL:+x}${NULL+y}", "y"),
    "other when unset": ("${NONE:+x}${NONE+y}", ""),
    "message unused": ("${PWD:?no}${PWD?no}${NULL?no}", "/home/home"),
    "empty default": ("${NONE:-}", ""),
    "nested": ("${NONE:-${NULL:-${PWD}x}}", "/homex"),
    "nested without braces": ("${NONE:-$PWD/a}", "/home/a"),
    "default with blanks and quotes": ("${NONE:-a 'b }' \"c\"}", "a b } c"),
    "escaped brace in a default": ("${NONE:-a\\}b}", "a}b"),
    "variant idiom": ("linux-arm${BAR:+-${BAR}}", "linux-arm-x"),
    "shortest prefix": ("${FOO#*x*y}", "y"),
    "shortest prefix star": ("${FOO#*}", "xxyy"),
    "longest prefix": ("${FOO##*x}", "yy"),
    "longest prefix star": ("${FOO##*}", ""),
    "no pattern": ("${FOO#}${FOO##}${FOO%}${FOO%%}", "xxyy" * 4),
    "pattern from a variable": ("${FOO#$BAR}", "xyy"),
    "pattern from an empty variable": ("${FOO#$NULL}${FOO%%$NULL}", "xxyyxxyy"),
    "prefix that does not match": ("${FOO#y}", "xxyy"),
    "shortest suffix": ("${PATHS%/*}", "/tmp/tmp"),
    "longest suffix": ("${PATHS%%/*}", ""),
    "base name": ("${PATHS##*/}", "bar.txt"),
    "suffix without match": ("${NONE:-.}${FOO%x}${NONE:-.}", ".xxyy."),
    "question mark": ("${FOO#?}${FOO%??}", "xyyxx"),
    "quoted pattern": ('${FOO#"x"}', "xyy"),
    "replace first": ("${PATHS/tmp/a}", "/a/tmp/bar.txt"),
    "replace all": ("${PATHS//tmp/a}", "/a/a/bar.txt"),
    "replace a slash": ("${PATHS//\\//-}", "-tmp-tmp-bar.txt"),
    "replacement keeps its escapes": ("${PWD//\\//\\/}", "\\/home"),
    "replace by nothing": ("${PATHS//\\/tmp/}", "/bar.txt"),
    "replace the longest": ("${FOO/x*y/a}", "a"),
    "replace the longest, everywhere": ("${FOO//*/r}", "r"),
    "replace nothing": ("${FOO/$NULL/ww}", "wwxxyy"),
    "replace nothing everywhere": ("${FOO//$NULL/-}", "-x-x-y-y-"),
    "replace nothing by nothing": ("${FOO///}", "xxyy"),
    "replace in the unset": ("${NONE//a/b}", ""),
    "dollar in a replacement": ("${FOO/x/\\\\1}", "\\\\1xyy"),
}


@pytest.mark.parametrize(("word", "expected"), WORDS.values(), ids=WORDS)
def test_words(word: str, expected: str) -> None:
    assert Lexer().process_word(word, ENV) == expected


@pytest.mark.parametrize(
    ("word", "env", "expected"),
    [
        (r"${F#()[]{\}^$.\*\?|\\}", {"F": "()[]{}^$.*?|\\x"}, "x"),
        (r"${F%%\**}", {"F": "xx**"}, "xx"),
        (r"${F%%\**\*}", {"F": "a***yy*"}, "a"),
        (r"${F#?\?}", {"F": "???y"}, "?y"),
        ("${F/$N/.} - ${F//$N/.}", {"F": "/foo*/*/*.txt", "N": "\\*/"}, "/foo.*/*.txt - /foo..*.txt"),
        ("${F/$N/$R} - ${F//$N/$R}", {"F": "/a/foo/b/c.txt", "N": "/?/", "R": "/"}, "/foo/b/c.txt - /foo/c.txt"),
        ("${F/$N/$R}", {"F": "http://a.de", "N": "http://", "R": "https://"}, "https://a.de"),
        ("${F#*a}", {"F": "1\n2a3"}, "3"),
        ("${F%%.*}", {"F": "v1.2.3"}, "v1"),
        ("${F%s}", {"F": "%s%s"}, "%s%"),
    ],
)
def test_patterns(word: str, env: dict[str, str], expected: str) -> None:
    assert Lexer().process_word(word, env) == expected


FAULTS = {
    "bad substitution": ("${}", "syntax error: bad substitution"),
    "brace": ("${{x}", "syntax error: bad substitution"),
    "colon": ("${:x}", "syntax error: bad substitution"),
    "open": ("${PWD", "syntax error: missing '}'"),
    "open at once": ("${", "syntax error: missing '}'"),
    "open with a default": ("${PWD:-x", "syntax error: missing '}'"),
    "open pattern": ("${PWD%x", "syntax error: missing '}'"),
    "open replacement": ("${PWD/x/y", "syntax error: missing '}'"),
    "no replacement": ("${PWD//ww}", "syntax error: missing '/' in ${}"),
    "assign": ("${PWD=y}", "unsupported modifier (=) in substitution"),
    "assign null": ("${PWD:=y}", "unsupported modifier (:=) in substitution"),
    "colon pattern": ("${PWD:#y}", "unsupported modifier (:#) in substitution"),
    "colon suffix": ("${PWD:%y}", "unsupported modifier (:%) in substitution"),
    "substring": ("${PWD:1:2}", "unsupported modifier (:1) in substitution"),
    "indirect": ("${!PWD}", "unsupported modifier (P) in substitution"),
    "upper case": ("${PWD^^}", "unsupported modifier (^) in substitution"),
    "single quote": ("'a", "unexpected end of statement while looking for matching single-quote"),
    "double quote": ('"a', "unexpected end of statement while looking for matching double-quote"),
    "escaped quote": ('"a\\"', "unexpected end of statement while looking for matching double-quote"),
    "unknown escape": ("${PWD#\\a}", "invalid pattern (\\a) in substitution: invalid escape '\\a'"),
    "unset": ("${NONE?}", "NONE: is not allowed to be unset"),
    "unset, null": ("${NONE:?}", "NONE: is not allowed to be unset"),
    "empty": ("${NULL:?}", "NULL: is not allowed to be empty"),
    "message": ("${NONE:?message here$BAR}", "NONE: message herex"),
    "deep": ("${a:-" * 1000 + "}" * 1000, "substitutions nested more than 64 deep"),
}


@pytest.mark.parametrize(("word", "message"), FAULTS.values(), ids=FAULTS)
def test_faults(word: str, message: str) -> None:
    with pytest.raises(DockerfileError) as caught:
        Lexer().process_word(word, ENV)
    assert message in caught.value.message
    assert caught.value.remedy


def test_required_variable_says_only_its_message() -> None:
    with pytest.raises(DockerfileError) as caught:
        Lexer().process_word("${FOO:?custom error}", {})
    assert caught.value.message == "FOO: custom error"


def test_other_escape() -> None:
    lexer = Lexer("`")
    assert lexer.process_word('c:\\x\\$PWD `$PWD "`""', ENV) == 'c:\\x\\/home $PWD "'
    assert lexer.process_word("${F#`*}", {"F": "*a"}) == "a"


SPLIT = {
    "blanks": ("  a \t b ", ["a", "b"]),
    "value holds several": ("80 $PORTS", ["80", "81", "82"]),
    "quoted value holds one": ('"$PORTS"', ["81 82"]),
    "quotes": ("a'b c'd \"e f\"", ["ab cd", "e f"]),
    "escaped blank": ("a\\ b c", ["a b", "c"]),
    "nothing": ("", []),
    "unset": ("$NONE a", ["a"]),
    "empty quotes": ("'' a", ["a"]),
    "parts join": ("a$PORTS'b c'", ["a81", "82b c"]),
}


@pytest.mark.parametrize(("text", "expected"), SPLIT.values(), ids=SPLIT)
def test_splitting_comes_after_expansion(text: str, expected: list[str]) -> None:
    assert Lexer().process_words(text, {"PORTS": "81 82"}) == expected


@pytest.mark.parametrize(
    ("word", "used", "unset"),
    [
        ("x", set(), set()),
        ("x ${UNUSED}", set(), {"UNUSED"}),
        ("${FOO-aaa} ${BAR-bbb} ${BAZ-ccc}", {"FOO", "BAR"}, {"BAZ"}),
        ("${FOO:+aaa} ${BAZ:+$BAR}", {"FOO", "BAR"}, {"BAZ"}),
        ("${FOO/$BAR/$NULL}", {"FOO", "BAR", "NULL"}, set()),
        ("\"$FOO\" '$BAZ'", {"FOO"}, set()),
    ],
)
def test_names_asked_for_are_told(word: str, used: set[str], unset: set[str]) -> None:
    expansion = Lexer().expand(word, ENV)
    assert (set(expansion.used), set(expansion.unset)) == (used, unset)


def test_hostile_pattern_takes_no_time() -> None:
    value = "a" * 2000
    assert Lexer().process_word("${V##" + "*a" * 30 + "*b}", {"V": value}) == value
    assert Lexer().process_word("${V%" + "*a" * 30 + "b*}", {"V": value}) == value
