"""From a parsed Dockerfile to stages of checked instructions, all faults told at once."""

from __future__ import annotations

from collections.abc import Sequence

from tiffin.builder.dockerfile.parser import Dockerfile, Instruction, together
from tiffin.builder.errors import DockerfileError, DockerfileErrors
from tiffin.builder.instructions.base import InstructionClass
from tiffin.builder.instructions.from_instruction import From
from tiffin.builder.instructions.keywords import KEYWORDS
from tiffin.builder.instructions.variables import Arg
from tiffin.cache.foundation.frozen import dataclass

Body = list[tuple[InstructionClass, bool]]  # with whether #!COMMIT stands at its end


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One stage as written: its FROM and its parsed instructions."""

    head: From
    body: Sequence[tuple[InstructionClass, bool]]


def read_stages(dockerfile: Dockerfile) -> tuple[list[Arg], list[Stage]]:
    """Parse every instruction, telling all faults at once."""
    errors: list[DockerfileError] = [*dockerfile.faults]
    global_args: list[Arg] = []
    heads: list[tuple[From | None, Body]] = []
    for node in dockerfile.instructions:
        try:
            _sort_in(node, global_args, heads)
        except DockerfileErrors as exc:
            errors += exc.errors
        except DockerfileError as exc:
            errors.append(exc)
    if errors:
        raise together(errors)
    if not heads:
        raise DockerfileError("dockerfile contains no stages to build", remedy="add a FROM instruction")
    return global_args, [Stage(head=head, body=tuple(body)) for head, body in heads if head]


def _sort_in(
    node: Instruction,
    global_args: list[Arg],
    heads: list[tuple[From | None, Body]],
) -> None:
    if node.keyword == "FROM":
        heads.append((None, []))  # so that what follows a faulty FROM is not said to stand before any
        heads[-1] = (From.parse(node), heads[-1][1])
        return
    parsed = KEYWORDS[node.keyword].parse(node)
    if heads:
        heads[-1][1].append((parsed, node.commit))
    elif isinstance(parsed, Arg):
        global_args.append(parsed)
    else:
        raise DockerfileError(
            f"no build stage in current context: {node.keyword} before the first FROM",
            span=node.span,
            remedy="only ARG may come before FROM",
        )
