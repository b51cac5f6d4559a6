"""What build checks are made of: findings, stages as they stand in the file, names that instructions set."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise

from tiffin.builder.dockerfile.parser import Dockerfile, Instruction
from tiffin.builder.dockerfile.words import parse_args, parse_name_values
from tiffin.builder.errors import DockerfileError, Span
from tiffin.cache.foundation.frozen import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class LintWarning:
    """One finding."""

    rule: str
    message: str
    span: Span


Finding = tuple[Instruction, LintWarning]
Check = Callable[[Dockerfile], Iterator[Finding]]


def finding(node: Instruction, rule: str, message: str) -> Finding:
    return node, LintWarning(rule=rule, message=message, span=node.span)


@dataclass(frozen=True, slots=True, kw_only=True)
class LintStage:
    """A stage as far as it matters here. `name` as written, "" for none."""

    head: Instruction
    words: tuple[str, ...]
    body: tuple[Instruction, ...]

    @property
    def name(self) -> str:
        return self.words[2] if len(self.words) == 3 else ""


def stages(dockerfile: Dockerfile) -> Iterator[LintStage]:
    nodes = dockerfile.instructions
    starts = [index for index, node in enumerate(nodes) if node.keyword == "FROM"]
    for start, end in pairwise([*starts, len(nodes)]):
        yield LintStage(head=nodes[start], words=tuple(nodes[start].value.split()), body=nodes[start + 1 : end])


def named(nodes: Iterable[Instruction], *keywords: str) -> Iterator[Instruction]:
    return (node for node in nodes if node.keyword in keywords)


def names_of(node: Instruction) -> list[str]:
    """Return the names an ARG or ENV sets; none when it is malformed, which its own class tells."""
    try:
        if node.keyword == "ARG":
            return [name for name, _ in parse_args(node.value, node.escape)]
        return [name for name, _ in parse_name_values(node.value, node.keyword, node.escape)]
    except DockerfileError:
        return []
