"""FROM: what a stage starts from."""

from __future__ import annotations

import re

from tiffin.builder.dockerfile.parser import Instruction
from tiffin.builder.errors import DockerfileError, Span
from tiffin.builder.instructions.flags import flags_of
from tiffin.cache.foundation.frozen import dataclass

SCRATCH = "scratch"
_STAGE_NAME = r"[a-z][a-z0-9-_.]*"


@dataclass(frozen=True, slots=True, kw_only=True)
class From:
    """FROM [--platform=P] image [AS name]; only the global ARGs expand in it."""

    image: str  # unexpanded
    platform: str  # unexpanded, "" when not given
    name: str  # lower case, "" when not given
    span: Span

    @classmethod
    def parse(cls, node: Instruction) -> From:
        flags = flags_of(node, texts=("platform",))
        words = node.value.split()
        if len(words) not in (1, 3) or (len(words) == 3 and words[1].lower() != "as"):
            raise DockerfileError(
                "FROM requires either one or three arguments", span=node.span, remedy="write FROM IMAGE [AS NAME]"
            )
        name = words[2].lower() if len(words) == 3 else ""
        if name and not re.fullmatch(_STAGE_NAME, name):
            raise DockerfileError(
                f'invalid name for build stage: "{words[2]}", name can\'t start with a number or contain symbols',
                span=node.span,
                remedy="use letters, digits, '-', '_' and '.'",
            )
        return cls(image=words[0], platform=flags.text("platform"), name=name, span=node.span)
