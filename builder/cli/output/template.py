"""Go templates as docker's --format has them (text/template): fields, pipelines, if, range, with, variables, functions.

What it does not know is refused by name. Values are what JSON knows, and Nil.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from tiffin.builder.cli.output.template_printf import Nil, print_value
from tiffin.builder.cli.output.template_values import MISSING, call, is_true
from tiffin.builder.errors import UsageError
from tiffin.cache.foundation.frozen import dataclass

_OPEN, _CLOSE = "{{", "}}"
_TOKEN = re.compile(
    r"""\s*(?: (?P<string>"(?:[^"\\]|\\.)*"|`[^`]*`) | '(?P<rune>[^'\\])'
    | (?P<number>[-+]?(?:0[xXbBoO][0-9A-Fa-f_]+|\d[\d_]*(?:\.\d+)?(?:[eE][-+]?\d+)?)) | (?P<field>(?:\.[A-Za-z_]\w*)+)
    | (?P<variable>\$\w*) | (?P<word>[A-Za-z_]\w*) | (?P<mark>:=|=|[|(),.]) )""",
    re.VERBOSE,
)
GO_NAMES = {"ID": "Id", "APIVersion": "ApiVersion"}  # members of docker's structs that are called otherwise in its JSON
MAPS_OF_USERS = ("Labels", "Annotations", "Attributes", "ExposedPorts", "Volumes")  # any name may be asked of them
Value = object


@dataclass(frozen=True, slots=True, kw_only=True)
class _Token:
    kind: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Term:
    """An operand, and the fields taken from it."""

    kind: str  # dot, variable, literal, function, pipeline
    value: object
    fields: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pipeline:
    commands: tuple[tuple[_Term, ...], ...]
    variables: tuple[str, ...] = ()
    declares: bool = True  # := makes variables, = changes those that are there


@dataclass(frozen=True, slots=True, kw_only=True)
class _Node:
    """Text, an action, a call of another template, or a block of one of the keywords with its two branches."""

    kind: str  # text, action, template, if, range, with
    text: str = ""
    pipeline: _Pipeline | None = None
    body: tuple[_Node, ...] = ()
    otherwise: tuple[_Node, ...] = ()


class _Leave(Exception):
    """{{break}} or {{continue}}."""


class _Scope:
    """The variables of a block, and those around it."""

    def __init__(self, outer: _Scope | None, own: dict[str, Value] | None = None) -> None:
        self._outer = outer
        self.own = own or {}

    def holder(self, name: str) -> _Scope | None:
        """Return the innermost scope that has a variable."""
        if name in self.own or self._outer is None:
            return self if name in self.own else None
        return self._outer.holder(name)


class Template:
    """A parsed template; raises UsageError for what it cannot be."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._pieces = _split(text)
        self._position = 0
        self._templates: dict[str, tuple[_Node, ...]] = {}
        self._nodes, end = self._block()
        if end:
            raise self._error(f"unexpected {{{{{end}}}}}")

    def render(self, document: Value) -> str:
        """Return the text for a document; raises UsageError for a member it has not."""
        result: list[str] = []
        try:
            self._run(self._nodes, document, _Scope(None, {"$": document}), result)
        except _Leave as exc:
            raise self._error(f"{{{{{exc}}}}} outside {{{{range}}}}") from exc
        except RecursionError as exc:
            raise self._error("templates call each other without end") from exc
        return "".join(result)

    # -- parsing ---------------------------------------------------------------------------------------------------

    def _error(self, reason: str) -> UsageError:
        return UsageError(
            f"--format {self._text}: {reason}", remedy="see docs/differences.md for the functions of templates"
        )

    def _block(self) -> tuple[tuple[_Node, ...], str]:
        """Return nodes up to the end, an `end` or an `else`, which is returned."""
        nodes: list[_Node] = []
        while self._position < len(self._pieces):
            is_action, text = self._pieces[self._position]
            self._position += 1
            if not is_action:
                nodes.append(_Node(kind="text", text=text))
                continue
            word, _, rest = text.partition(" ")
            if text == "end" or word == "else":
                return tuple(nodes), text
            if text in ("break", "continue"):
                nodes.append(_Node(kind=text))
            elif word in ("if", "range", "with"):
                nodes.append(self._keyword(word, rest))
            elif word in ("define", "template", "block"):
                nodes += self._named(word, rest)
            elif not text.startswith("/*"):
                nodes.append(_Node(kind="action", pipeline=self._pipeline(text)))
        return tuple(nodes), ""

    def _keyword(self, word: str, rest: str) -> _Node:
        pipeline = self._pipeline(rest)
        body, end = self._block()
        otherwise: tuple[_Node, ...] = ()
        inner, _, condition = end.removeprefix("else ").partition(" ")
        if end.startswith(("else if ", "else with ")):
            return _Node(kind=word, pipeline=pipeline, body=body, otherwise=(self._keyword(inner, condition),))
        if end == "else":
            otherwise, end = self._block()
        if end != "end":
            raise self._error(f"{{{{{word}}}}} without {{{{end}}}}")
        return _Node(kind=word, pipeline=pipeline, body=body, otherwise=otherwise)

    def _named(self, word: str, rest: str) -> list[_Node]:
        """Return a template with a name: it is made, called, or both; what is called gets a value, or none."""
        match = re.match(r"""\s*("(?:[^"\\]|\\.)*"|`[^`]*`)\s*(.*)$""", rest, re.DOTALL)
        if match is None or (word == "define" and match[2]) or (word == "block" and not match[2]):
            raise self._error(f"{{{{{word}}}}} needs a name" + ("" if word == "define" else " and a value"))
        name = _unquoted(match[1])
        if word != "template":
            self._templates[name], end = self._block()
            if end != "end":
                raise self._error(f"{{{{{word}}}}} without {{{{end}}}}")
        if word == "define":
            return []
        return [_Node(kind="template", text=name, pipeline=self._pipeline(match[2]) if match[2] else None)]

    def _pipeline(self, text: str) -> _Pipeline:
        tokens, position = [], 0
        while position < len(text.rstrip()):
            match = _TOKEN.match(text, position)
            if match is None:
                raise self._error(f'cannot read "{text[position:].strip()}"')
            tokens.append(_Token(kind=str(match.lastgroup), text=match[str(match.lastgroup)]))
            position = match.end()
        pipeline = self._terms(tokens)
        if tokens:
            raise self._error(f'unexpected "{tokens[0].text}"')
        return pipeline

    def _terms(self, tokens: list[_Token]) -> _Pipeline:
        """Return commands up to the end or a closing parenthesis; takes what it reads from `tokens`."""
        variables: list[str] = []
        declares = True
        marks = [token.text for token in tokens[:4]]
        if len(marks) > 1 and marks[1] in (":=", "="):
            variables, declares, tokens[:2] = [marks[0]], marks[1] == ":=", []
        elif len(marks) == 4 and marks[1] == "," and marks[3] == ":=":
            variables, tokens[:4] = [marks[0], marks[2]], []
        commands: list[tuple[_Term, ...]] = []
        terms: list[_Term] = []
        while tokens and tokens[0].text != ")":
            token = tokens.pop(0)
            if token.kind == "mark" and token.text == "|":
                commands.append(tuple(terms))
                terms = []
            else:
                terms.append(self._term(token, tokens))
        commands.append(tuple(terms))
        if not all(commands):
            raise self._error("an empty command")
        return _Pipeline(commands=tuple(commands), variables=tuple(variables), declares=declares)

    def _term(self, token: _Token, tokens: list[_Token]) -> _Term:
        match token.kind:
            case "field":
                return _Term(kind="dot", value=None, fields=tuple(token.text[1:].split(".")))
            case "variable":
                return _Term(kind="variable", value=token.text, fields=self._fields(tokens))
            case "string":
                return _Term(kind="literal", value=_unquoted(token.text))
            case "rune":
                return _Term(kind="literal", value=ord(token.text))
            case "number":
                return _Term(kind="literal", value=_number(token.text))
            case "word" if token.text in ("true", "false", "nil"):
                return _Term(kind="literal", value={"true": True, "false": False}.get(token.text))
            case "word":
                return _Term(kind="function", value=token.text)
            case _ if token.text == ".":
                return _Term(kind="dot", value=None)
            case _ if token.text == "(":
                inner = self._terms(tokens)
                if not tokens or tokens.pop(0).text != ")":
                    raise self._error("a parenthesis is not closed")
                return _Term(kind="pipeline", value=inner, fields=self._fields(tokens))
        raise self._error(f'unexpected "{token.text}"')

    @staticmethod
    def _fields(tokens: list[_Token]) -> tuple[str, ...]:
        return tuple(tokens.pop(0).text[1:].split(".")) if tokens and tokens[0].kind == "field" else ()

    # -- running ---------------------------------------------------------------------------------------------------

    def _run(self, nodes: Sequence[_Node], dot: Value, names: _Scope, out: list[str]) -> None:
        for node in nodes:
            if node.kind in ("break", "continue"):
                raise _Leave(node.kind)
            if node.pipeline is None:
                if node.kind == "template":
                    self._invoke(node.text, None, out)
                else:
                    out.append(node.text)
                continue
            value = self._value(node.pipeline, dot, names)
            match node.kind:
                case "action":
                    self._bind(node.pipeline, names, value)
                    out.append("" if node.pipeline.variables else print_value(value))
                case "template":
                    self._invoke(node.text, value, out)
                case "range":
                    self._range(node, value, dot, names, out)
                case kind:
                    inner = _Scope(names)
                    self._bind(node.pipeline, inner, value)
                    branch = node.body if is_true(value) else node.otherwise
                    self._run(branch, value if kind == "with" and is_true(value) else dot, inner, out)

    def _invoke(self, name: str, value: Value, out: list[str]) -> None:
        if name not in self._templates:
            raise self._error(f'template "{name}" is not defined')
        self._run(self._templates[name], value, _Scope(None, {"$": value}), out)

    def _range(self, node: _Node, value: Value, dot: Value, names: _Scope, out: list[str]) -> None:
        assert node.pipeline is not None
        items: list[tuple[Value, Value]] = []
        if isinstance(value, Mapping):
            items = sorted(value.items())
        elif isinstance(value, list | tuple):
            items = list(enumerate(value))
        elif isinstance(value, int) and not isinstance(value, bool):
            items = [(number, number) for number in range(value)]
        elif value is not None and not isinstance(value, Nil):
            raise self._error(f"cannot range over {print_value(value)}")
        for key, item in items:
            given = (key, item) if len(node.pipeline.variables) == 2 else (item,)
            try:
                self._run(node.body, item, _Scope(names, dict(zip(node.pipeline.variables, given, strict=False))), out)
            except _Leave as exc:
                if str(exc) == "break":
                    break
        if not items:
            self._run(node.otherwise, dot, _Scope(names), out)

    def _bind(self, pipeline: _Pipeline, names: _Scope, value: Value) -> None:
        for name in pipeline.variables:
            scope = names if pipeline.declares else names.holder(name)
            if scope is None:
                raise self._error(f'undefined variable "{name}"')
            scope.own[name] = value

    def _value(self, pipeline: _Pipeline, dot: Value, names: _Scope) -> Value:
        value: Value = MISSING
        for terms in pipeline.commands:
            passed = () if value is MISSING else (value,)
            if terms[0].kind == "function":
                arguments = [self._operand(term, dot, names) for term in terms[1:]]
                value = self._call(str(terms[0].value), (*arguments, *passed))
            elif terms[0].kind == "literal" and terms[0].value is None:
                raise self._error("nil is not a command")
            elif len(terms) > 1 or passed:
                raise self._error("arguments are given to something that is not a function")
            else:
                value = self._operand(terms[0], dot, names)
        return value

    def _call(self, name: str, arguments: Sequence[Value]) -> Value:
        try:
            return call(name, arguments)
        except KeyError as exc:
            raise self._error(f'function "{name}" is not supported') from exc
        except (TypeError, ValueError, IndexError) as exc:
            raise self._error(f"error calling {name}: {exc}") from exc

    def _operand(self, term: _Term, dot: Value, names: _Scope) -> Value:
        value: Value
        match term.kind:
            case "dot":
                value = dot
            case "variable":
                scope = names.holder(str(term.value))
                if scope is None:
                    raise self._error(f'undefined variable "{term.value}"')
                value = scope.own[str(term.value)]
            case "pipeline":
                assert isinstance(term.value, _Pipeline)
                value = self._value(term.value, dot, names)
            case "function":
                value = self._call(str(term.value), ())
            case _:
                value = term.value
        before = ""
        for name in term.fields:
            value = self._field(value, name, before)
            before = name
        return value

    def _field(self, value: Value, name: str, before: str) -> Value:
        if before in MAPS_OF_USERS and (isinstance(value, Mapping | Nil) or value is None):
            return value.get(name, MISSING) if isinstance(value, Mapping) else MISSING
        if not isinstance(value, Mapping):
            raise self._error(f'there is no "{name}" in {print_value(value)}')
        others = (GO_NAMES.get(name, name), name[:1].lower() + name[1:], name.lower())
        name = next((spelling for spelling in (name, *others) if spelling in value), name)
        if name not in value:
            raise self._error(f'there is no "{name}"; there are {", ".join(sorted(value))}')
        found: Value = value[name]
        return found


def _unquoted(text: str) -> str:
    unquoted: str = text[1:-1] if text[0] == "`" else json.loads(text, strict=False)
    return unquoted


def _number(text: str) -> int | float:
    try:
        return int(text, 0)
    except ValueError:
        return float(text)


def _split(text: str) -> list[tuple[bool, str]]:
    """Return text and actions in order, as (is an action, its text)."""
    pieces: list[tuple[bool, str]] = []
    position, trims = 0, False
    while True:
        start = text.find(_OPEN, position)
        plain = text[position : start if start >= 0 else len(text)]
        plain = plain.lstrip() if trims else plain
        if start < 0:
            pieces.append((False, plain))
            return pieces
        end = text.find(_CLOSE, start)
        if end < 0:
            raise UsageError(f"--format {text}: an action is not closed", remedy="write {{ … }}")
        action = text[start + 2 : end]
        if re.match(r"-\s", action):
            action, plain = action[1:], plain.rstrip()
        trims = bool(re.search(r"\s-$", action))
        action = action[:-1] if trims else action
        pieces += [
            (False, plain),
            (True, " ".join(action.split()) if '"' not in action and "`" not in action else action.strip()),
        ]
        position = end + 2
