"""YAML of compose files: text to values with places, anchors and merge keys followed, each key once; and back.

What a plain word means is YAML 1.2's choice: `yes` and `on` are words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

from tiffin.builder.compose.places import Map, Override, Place, Reset, Seq, wrong
from tiffin.builder.errors import ComposeError

MAX_VALUES = 100_000  # of one file, aliases followed: a few lines of aliases of aliases stand for billions
MAX_DEPTH = 100
MERGE = "tag:yaml.org,2002:merge"
_STRING = "tag:yaml.org,2002:str"
_RESOLVER = yaml.resolver.Resolver()
_INTEGER = re.compile(r"[-+]?(?:0b[01_]+|0o?[0-7_]+|0x[0-9a-fA-F_]+|0|[1-9][0-9_]*)")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_WORDS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf"), float("inf")),
    "-.inf": float("-inf"),
    ".nan": float("nan"),
}


def read_yaml(text: str, file: str) -> Iterator[Map]:
    """Yield the documents of a compose file; empty ones are left out. Raises ComposeError."""
    loader = (yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader)(text)
    reader = _Reader(file)
    try:
        while loader.check_node():
            node = loader.get_node()
            value = reader.value(node)
            if value is None:
                continue
            if not isinstance(value, Map):
                raise wrong("the top of a compose file is a mapping", reader.place(node), remedy="begin with services:")
            yield value
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        place = Place(file, mark.line + 1) if mark is not None else Place(file, 1)
        raise wrong(f"this is not YAML: {exc.problem or exc}", place, remedy="correct it") from exc
    except yaml.YAMLError as exc:
        raise wrong(f"this is not YAML: {' '.join(str(exc).split())}", Place(file, 1), remedy="correct it") from exc
    finally:
        loader.dispose()


class _Reader:
    """Turns nodes into values."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._count = 0
        self._open: list[yaml.Node] = []

    def place(self, node: yaml.Node) -> Place:
        return Place(self._file, node.start_mark.line + 1)

    def value(self, node: yaml.Node) -> Any:
        """Return the value of a node. Raises ComposeError."""
        self._count += 1
        if self._count > MAX_VALUES or len(self._open) > MAX_DEPTH:
            raise wrong("this file holds too much", self.place(node), remedy="use fewer aliases of aliases")
        if any(node is other for other in self._open):
            raise wrong("an alias stands for what it is a part of", self.place(node), remedy="break the cycle")
        if node.tag == "!reset":
            return Reset()
        self._open.append(node)
        try:
            value = self._plain(node)
        finally:
            self._open.pop()
        return Override(value) if node.tag == "!override" else value

    def _plain(self, node: yaml.Node) -> Any:
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node)
        if isinstance(node, yaml.SequenceNode):
            return Seq((self.value(item), self.place(item)) for item in node.value)
        assert isinstance(node, yaml.ScalarNode)
        if node.style or (
            node.tag == _STRING and _RESOLVER.resolve(yaml.ScalarNode, node.value, (True, False)) != _STRING
        ):
            return node.value  # in quotes, or with a tag that says that it is a text
        return plain_value(node.value)

    def _mapping(self, node: yaml.MappingNode) -> Map:
        own = Map()
        merged = Map()
        for key_node, value_node in node.value:
            if _is_merge(key_node):
                self._merge(value_node, merged)
                continue
            place = self.place(key_node)
            if not isinstance(key_node, yaml.ScalarNode):
                raise wrong("a key is a word, not a list or a mapping", place, remedy="write KEY: VALUE")
            key = key_node.value
            if key in own:
                raise wrong(
                    f'key "{key}" stands here twice, first on line {own.place(key).line}', place, remedy="keep one"
                )
            own.put(key, self.value(value_node), place)
        for key, value, place in merged.entries():
            if key not in own:
                own.put(key, value, place)
        return own

    def _merge(self, node: yaml.Node, merged: Map) -> None:
        """Add what a merge key names; of several the first counts."""
        nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
        for item in nodes:
            value = self.value(item)
            value = value.value if isinstance(value, Override) else value
            if not isinstance(value, Map):
                raise wrong("<< merges mappings", self.place(item), remedy="name an anchor of a mapping")
            for key, entry, place in value.entries():
                if key not in merged:
                    merged.put(key, entry, place)


def _is_merge(key: yaml.Node) -> bool:
    return key.tag == MERGE or (isinstance(key, yaml.ScalarNode) and key.value == "<<" and not key.style)


def plain_value(text: str) -> Any:
    """Return what a word without quotes is: nothing, true or false, a number, or itself."""
    if text in _WORDS:
        return _WORDS[text]
    if not text[:1].isdigit() and text[:1] not in "+-.":
        return text
    if _INTEGER.fullmatch(text):
        digits = text.replace("_", "")
        sign, digits = (-1, digits[1:]) if digits[0] == "-" else (1, digits.removeprefix("+"))
        if len(digits) > 1 and digits[0] == "0" and digits[1].isdecimal():
            digits = f"0o{digits[1:]}"  # as YAML 1.1 has it, and file modes are written
        return sign * int(digits, 0)
    return float(text) if _FLOAT.fullmatch(text) else text


def write_yaml(document: object) -> str:
    """Return plain values as YAML."""
    text: str = yaml.dump(
        document, Dumper=_Dumper, sort_keys=False, default_flow_style=False, allow_unicode=True, width=1 << 20
    )
    return text


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]
    """Writes what `read_yaml`, and YAML 1.1 readers too, take for the same values."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write what is there twice twice."""
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        """Indent lists below their key."""
        super().increase_indent(flow, False)


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    style = "|" if "\n" in text else '"' if not isinstance(plain_value(text), str) else None
    return dumper.represent_scalar(_STRING, text, style=style)


_Dumper.add_representer(str, _text)
_Dumper.add_representer(Map, lambda dumper, value: dumper.represent_dict(value.items()))
_Dumper.add_representer(Seq, lambda dumper, value: dumper.represent_list(value))

__all__ = ["ComposeError", "plain_value", "read_yaml", "write_yaml"]
