"""WORKDIR: the directory of what follows, made if it is missing."""

from __future__ import annotations

from tiffin.builder.dockerfile.parser import Instruction
from tiffin.builder.errors import DockerfileError, Span
from tiffin.builder.instructions import findings
from tiffin.builder.instructions.base import StageScope, absolute, go_quoted
from tiffin.builder.instructions.flags import flags_of
from tiffin.builder.instructions.ops import WorkdirOp
from tiffin.cache.foundation.frozen import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Workdir:
    """WORKDIR path: relative to the one before; makes it, owned by the current USER."""

    text: str
    span: Span

    @classmethod
    def parse(cls, node: Instruction) -> Workdir:
        flags_of(node)
        value = node.value.strip()
        if not value:
            raise DockerfileError("WORKDIR requires exactly one argument", span=node.span, remedy="write WORKDIR PATH")
        return cls(text=value, span=node.span)

    def apply(self, scope: StageScope) -> None:
        text = scope.expand(self.text, self.span)
        if not (scope.workdir_set or text.startswith("/")):
            findings.relative_workdir(scope, go_quoted(text), self.span)
        path = absolute(text, scope.workdir)
        shown = text if text.startswith("/") else path  # an absolute path is told as it was written
        step = WorkdirOp(path=path, user=scope.config.user) if path != "/" else None
        scope.set_workdir(shown, step=step, span=self.span)
