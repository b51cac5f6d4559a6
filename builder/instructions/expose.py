"""EXPOSE: ports that the image says it serves."""

from __future__ import annotations

import re

from tiffin.builder.dockerfile.parser import Instruction
from tiffin.builder.errors import DockerfileError, Span
from tiffin.builder.instructions import findings
from tiffin.builder.instructions.base import StageScope, at
from tiffin.builder.instructions.flags import flags_of
from tiffin.builder.instructions.metadata import require_value
from tiffin.cache.values import dataclass

MAX_PORT = 65535


@dataclass(frozen=True, slots=True, kw_only=True)
class Expose:
    """EXPOSE port[-port][/proto] …; sorted as written, then expanded, then split; the history keeps that order."""

    text: str
    span: Span

    @classmethod
    def parse(cls, node: Instruction) -> Expose:
        flags_of(node)
        return cls(text=require_value(node), span=node.span)

    def apply(self, scope: StageScope) -> None:
        words: list[str] = []
        for word in sorted(self.text.split()):
            with at(self.span):
                words += scope.lexer.process_words(word, scope.env)
        ports = [port for word in words for port in self._ports(scope, word)]
        both = tuple(sorted({*scope.config.exposed_ports, *ports}))
        scope.configure(f"EXPOSE [{' '.join(ports)}]", exposed_ports=both)

    def _ports(self, scope: StageScope, word: str) -> list[str]:
        host, colon, container = word.rpartition(":")  # a host mapping is read and forgotten
        match = re.fullmatch(r"(\d+)(?:-(\d+))?(?:/([A-Za-z]*))?", container)
        written = (match[3] or "tcp") if match else ""
        protocol = written.lower()
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if protocol not in ("tcp", "udp", "sctp") or not 0 <= first <= last <= MAX_PORT:
            raise DockerfileError(
                f'invalid port "{word}" in EXPOSE',
                span=self.span,
                remedy="write PORT[-PORT][/tcp|udp|sctp] with ports from 0 to 65535",
            )
        findings.exposed_port(scope, word, written, self.span, mapped=bool(colon and host.strip(":")))
        return [f"{port}/{protocol}" for port in range(first, last + 1)]
