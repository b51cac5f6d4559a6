"""The bodies of COPY and ADD heredocs."""

from __future__ import annotations

from collections.abc import Mapping

from builder.dockerfile.expand import Lexer


def expand_body(content: str, env: Mapping[str, str]) -> str:
    """Variables expanded; raises DockerfileError without a span."""
    return Lexer().expand_body(content, env)
