"""RUN: shell form, exec form, and heredocs."""

from __future__ import annotations

from dataclasses import dataclass

from builder.dockerfile.parser import Instruction
from builder.errors import DockerfileError, Span
from builder.instructions.base import InlineFile, RunOp, StageScope, flags_of

NETWORKS = ("default", "host", "none")
SCRIPT_DIRECTORY = "/dev/pipes"  # where BuildKit shows a heredoc that is a script of its own


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """RUN command | ["executable", …] | <<EOF. The shell, not tiffin, expands variables."""

    words: tuple[str, ...] | None  # exec form
    text: str  # shell form, with heredoc bodies where a shell must read them
    script: InlineFile | None
    shown: str
    network: str | None
    span: Span

    @classmethod
    def parse(cls, node: Instruction) -> Run:
        flags = flags_of(node, known=("network",), later=("mount", "security", "device"))
        network = flags.get("network") or None
        if network is not None and network not in NETWORKS:
            raise DockerfileError(
                f'unknown network "{network}" in RUN --network', span=node.span, remedy=f"use {', '.join(NETWORKS)}"
            )
        value = node.value.strip()
        if not value and node.json is None:
            raise DockerfileError("RUN requires at least one argument", span=node.span, remedy="write RUN COMMAND")
        script, text = cls._heredoc(node)
        return cls(words=node.json, text=text, script=script, shown=f"RUN {value}", network=network, span=node.span)

    @staticmethod
    def _heredoc(node: Instruction) -> tuple[InlineFile | None, str]:
        """A lone heredoc is the shell's program, or a script of its own when it begins with #!."""
        if not node.heredocs:
            return None, node.value.strip()
        only = len(node.heredocs) == 1 and node.is_lone_heredoc
        if not only:
            return None, node.raw_with_heredocs.strip("\n")
        heredoc = node.heredocs[0]
        if heredoc.content.startswith("#!"):
            data = heredoc.content.encode("utf-8", "surrogateescape")
            return InlineFile(name=heredoc.name, data=data), ""
        return None, heredoc.content

    def argv(self, scope: StageScope) -> tuple[str, ...]:
        if self.words is not None:
            return self.words
        if self.script:
            return (f"{SCRIPT_DIRECTORY}/{self.script.name}",)
        return (*scope.shell, self.text)

    def apply(self, scope: StageScope) -> None:
        argv = self.argv(scope)
        network = self.network or scope.planner.run_network
        op = RunOp(
            argv=argv,
            env=tuple(f"{name}={value}" for name, value in scope.env.items()),
            cwd=scope.workdir,
            user=scope.config.user,
            network="host" if network == "default" else network,
            script=self.script,
            proxies=tuple(f"{name}={value}" for name, value in scope.planner.proxies.items() if name not in scope.env),
        )
        shown = [] if not scope.args else [f"|{len(scope.args)}"]
        for name in scope.args:
            shown.append(f"{name}={scope.env.get(name, '')}")
        scope.add_step(op, text=self.shown, created_by=" ".join(["RUN", *shown, *argv]) + " # buildkit", span=self.span)
