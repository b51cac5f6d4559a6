"""Expressions of bake files: operators, templates, loops, splats; what is wrong with a text, and where."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest

from tiffin.builder.bake.functions.table import call_builtin
from tiffin.builder.bake.hcl.bodies import read_hcl
from tiffin.builder.bake.hcl.faults import ExpressionError
from tiffin.builder.bake.hcl.parser import parse_expression, parse_template
from tiffin.builder.bake.hcl.types import convert, read_type
from tiffin.builder.bake.hcl.values import Set, number_text, plain
from tiffin.builder.errors import BakeError

VALUES = {
    "a": "x",
    "none": None,
    "list": ["p", "q"],
    "map": {"k": {"z": "1"}, "j": {"z": "2"}},
    "rows": [{"n": "1", "s": ["a"]}, {"n": "2", "s": ["b"]}],
    "three": Decimal(3),
}


class Scope:
    def variable(self, name: str, line: int) -> Any:
        if name not in VALUES:
            raise ExpressionError(f"no {name}", line)
        return VALUES[name]

    def call(self, name: str, arguments: Sequence[Any], line: int) -> Any:
        return call_builtin(name, arguments)


def value(text: str) -> Any:
    return plain(parse_expression(text, "f.hcl", 1).value(Scope()))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1 + 2 * 3", 7),
        ("(1 + 2) * 3", 9),
        ("10 - 2 - 3", 5),
        ("7 % 4", 3),
        ("1 / 4", 0.25),
        ("-three + 1", -2),
        ("- 4", -4),
        ("-123456789012345678901234567890123 + 1", -123456789012345678901234567890122),
        ('"2" + 1', 3),
        ("1.5e3", 1500),
        ("1 < 2 && 2 <= 2 && 3 > 2 && 3 >= 3", True),
        ("1 == 1 || nothing", True),
        ("false && nothing", False),
        ('1 == "1"', False),
        ("none == null", True),
        ('a != "x"', False),
        ("!true || false", False),
        ('a == "x" ? [1] : null', [1]),
        ('true ? 3 : "4"', "3"),
        ("true ? 3 : nothing", 3),
        ("false ? 3 : true ? 4 : 5", 4),
        ("[1,\n 2, # two\n]", [1, 2]),
        ('{ a = 1, b: 2\n (a) = 3\n "q${a}" = 4 }', {"a": 1, "b": 2, "x": 3, "qx": 4}),
        ("{}", {}),
        ("list[1]", "q"),
        ("list.0", "p"),
        ('list["1"]', "q"),
        ("map.k.z", "1"),
        ('map["j"].z', "2"),
        ("rows[*].n", ["1", "2"]),
        ("rows.*.n", ["1", "2"]),
        ("rows[*].s[0]", ["a", "b"]),
        ("a[*]", ["x"]),
        ("none[*]", []),
        ('[for x in list : "i-${x}"]', ["i-p", "i-q"]),
        ("[for i, x in list : i]", [0, 1]),
        ('[for x in list : x if x != "q"]', ["p"]),
        ("{for k, v in map : k => v.z}", {"k": "1", "j": "2"}),
        ('{for x in [1, 2, 3] : x > 1 ? "b" : "s" => x...}', {"s": [1], "b": [2, 3]}),
        ("max([1, 5, 2]...)", 5),
        ("max(\n 1,\n 2,\n)", 2),
        ("core::a::max(1, 2)", 2),
        ("try(nothing, map.q, 5)", 5),
        ("can(map.q)", False),
        ("can(map.k)", True),
        ('convert("12", number)', 12),
        ("(1 +\n 2)", 3),
        ("/* one */ 1 // two", 1),
        ('a == /* here */ "x"', True),
    ],
)
def test_an_expression_has_a_value(text: str, expected: Any) -> None:
    found = value(text)
    assert found == expected
    assert type(found) is type(expected) or isinstance(found, (int, float))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('"a${a}b"', "axb"),
        ('"${list}"', ["p", "q"]),
        ('"${three}%"', "3%"),
        ('""', ""),
        (r'"a\nb\tc\"d\\eé\U0001f355"', 'a\nb\tc"d\\eé🍕'),
        ('"$${a} %%{if} $ % $a 100%"', "${a} %{if} $ % $a 100%"),
        ('"${"in${a}ner"}"', "inxner"),
        ('"a  ${~ a ~}  b"', "axb"),
        ('"%{ if a == "x" }yes%{ else }no%{ endif }"', "yes"),
        ('"%{ if a != "x" }yes%{ endif }"', ""),
        ('"%{ for x in list }<${x}>%{ endfor }"', "<p><q>"),
        ('"%{ for i, x in list }${i}${x}%{ endfor }"', "0p1q"),
        ("<<EOT\nFROM ${a}\n  RUN y\nEOT", "FROM x\n  RUN y\n"),
        ("<<-EOT\n    a\n      b ${a}\n\n    c\n  EOT", "a\n  b x\n\nc\n"),
        ("<<E\nE", ""),
        ('<<EOT\n"quoted" \\n stays\nEOT', '"quoted" \\n stays\n'),
        ("<<EOT\n%{ for x in list ~}\n- ${x}\n%{ endfor ~}\nEOT", "- p\n- q\n"),
    ],
)
def test_a_text_is_filled_in(text: str, expected: Any) -> None:
    assert value(text) == expected


def test_a_template_of_json_has_no_quotes() -> None:
    assert parse_template('x "${a}"', "f.json", 1).value(Scope()) == 'x "x"'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('"a', "no end"),
        (r'"\q"', "not an escape"),
        ("[1 2]", 'needs ","'),
        ("{a = 1 b = 2}", "comma or a line"),
        ("1 +", "expression is needed"),
        ("<<EOT\nx\n", "no end EOT"),
        ("f(1", "no end"),
        ("f(a..., 1)", "no end"),
        ("a ? 1", 'needs ":"'),
        ("[for x of list : x]", "needs in"),
        ('"%{ while }"', "no directive"),
        ('"%{ if true }"', "needs %{ endif }"),
        ('"%{ endif }"', "no beginning"),
        ("a.", "needs a name"),
        ("1 2", "ends before"),
        ("1e99999", "is not a number"),
        ("(" * 400 + "1", "nested too deeply"),
    ],
)
def test_what_is_no_expression_is_refused_with_its_place(text: str, message: str) -> None:
    with pytest.raises(BakeError, match=message.replace("{", r"\{").replace("+", r"\+")) as caught:
        parse_expression(text, "f.hcl", 7)
    assert caught.value.span is not None
    assert caught.value.span.file == "f.hcl"
    assert caught.value.span.first_line >= 7


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("list[5]", "no element 5"),
        ("list[0.5]", "whole number"),
        ("map.q", 'no attribute "q"'),
        ("a.b", 'type string has no attribute "b"'),
        ("none.b", "null has no attribute"),
        ("three[0]", "no elements"),
        ("1 / 0", "division by zero"),
        ("1 % 0", "division by zero"),
        ("1e3000 * 1e3000", "too large a number"),
        ('"x${none}"', "null value"),
        ('"a${list}"', "type tuple"),
        ("list + 1", "number is required"),
        ('"z" + 1', "number is required"),
        ("three && true", "bool is required"),
        ("none ? 1 : 2", "condition is null"),
        ("[for x in a : x]", "needs a list"),
        ('{for x in list : "k" => x}', "two items"),
        ("{(none) = 1}", "key is null"),
        ("max(a...)", "not a list"),
        ("try(nothing)", "no expression of try"),
        ("max()", "at least one number"),
    ],
)
def test_what_has_no_value_is_told(text: str, message: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        value(text)
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("kind", "given", "expected"),
    [
        ("string", "12", "12"),
        ("number", '"12"', 12),
        ("bool", '"true"', True),
        ("any", "[1]", [1]),
        ("list(string)", "[1, true]", ["1", "true"]),
        ("set(string)", '["b", "a", "b"]', ["a", "b"]),
        ("set(number)", "[3, 1]", [1, 3]),
        ("map(number)", '{a = "1"}', {"a": 1}),
        ("tuple([string, number])", '[1, "2"]', ["1", 2]),
        ("object({a = string, b = optional(number)})", "{a = 1}", {"a": "1", "b": None}),
        ("list(string)", "null", None),
    ],
)
def test_a_value_is_made_to_fit_a_type(kind: str, given: str, expected: Any) -> None:
    wanted = read_type(parse_expression(kind, "f.hcl", 1))
    assert plain(convert(parse_expression(given, "f.hcl", 1).value(Scope()), wanted)) == expected


@pytest.mark.parametrize(
    ("kind", "given", "message"),
    [
        ("string", "[1]", "string required"),
        ("number", '"x"', "a number is required"),
        ("list(number)", '["x"]', "element 0"),
        ("list(number)", '"x"', "list of number required"),
        ("map(number)", "[]", "map of number required"),
        ("tuple([string])", "[]", "tuple of 1"),
        ("object({a = string, b = bool})", "{}", '"a", "b" are required'),
        ("object({a = string})", "[]", "object required"),
        ("boolean", "1", "not the name of a type"),
        ('lower("bool")', "1", "not the name of a type"),
        ("object({(a) = string})", "1", "no plain name"),
    ],
)
def test_what_fits_no_type_is_refused(kind: str, given: str, message: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        convert(parse_expression(given, "f.hcl", 1).value(Scope()), read_type(parse_expression(kind, "f.hcl", 1)))
    assert message in caught.value.message


def test_numbers_keep_their_digits() -> None:
    assert number_text(Decimal("0.1") + Decimal("0.2")) == "0.3"
    assert number_text(Decimal("100")) == "100"
    assert len(number_text(parse_expression("1 / 3", "f", 1).value(Scope()))) > 100


def test_sets_hold_each_value_once() -> None:
    assert Set([{"a": Decimal(1)}, {"a": Decimal(1)}, "x"]) == [{"a": Decimal(1)}, "x"]


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ('target "a" {\n  tags = ["x"\n}\n', 3, "list"),
        ('target "a" {\n  x = 1\n  x = 2\n}\n', 3, "set twice, first on line 2"),
        ('target "a" {\n', 1, "no end"),
        ("target a b = 3\n", 1, "after target comes"),
        ('target "a" { x = 1 y = 2 }', 1, "it goes on"),
        ('target "a" { x = 1\n}', 1, "it goes on"),
        ('target "a" { b {} }', 1, "in a block of one line"),
        ('target "a" {\n  x = 1 }\n', 2, "ends before"),
        ('target "a" {} target "b" {}\n', 1, "ends before"),
        ("= 3", 1, "needs a name"),
    ],
)
def test_what_is_no_file_is_refused_with_its_line(text: str, line: int, message: str) -> None:
    with pytest.raises(BakeError, match=message) as caught:
        read_hcl(text, "docker-bake.hcl")
    assert caught.value.span is not None
    assert caught.value.span.first_line == line


def test_a_file_has_attributes_and_blocks() -> None:
    body = read_hcl('a = 1\r\n# c\ntarget "x" {}\ntarget y { z = 2 }\nfor = "q"\n', "f.hcl")
    assert set(body.attributes) == {"a", "for"}
    assert [(block.kind, block.label, block.line) for block in body.blocks] == [("target", "x", 3), ("target", "y", 4)]
