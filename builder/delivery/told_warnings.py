"""Findings of build checks as the metadata of buildx have them."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence

from tiffin.builder.dockerfile.lint_base import LintWarning

URL = "https://docs.docker.com/go/dockerfile/rule/"


def told_warnings(findings: Sequence[LintWarning]) -> list[dict[str, object]]:
    """Return them by the names of BuildKit's VertexWarning; texts are base64, as Go encodes bytes."""
    return [
        {
            "level": 1,
            "short": b64encode(f"{found.rule}: {found.message} (line {found.span.first_line})".encode()).decode(),
            "url": f"{URL}{_words_of(found.rule)}/",
            "sourceInfo": {"filename": found.span.file, "language": "Dockerfile"},
            "range": [{"start": {"line": found.span.first_line}, "end": {"line": found.span.last_line}}],
        }
        for found in findings
    ]


def _words_of(rule: str) -> str:
    return "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in rule).lstrip("-")
