"""--call: which question about a build is asked."""

from __future__ import annotations

from tiffin.builder.errors import UsageError

CALLS = ("build", "check", "explain", "outline", "targets")
LINT, CHECK = "lint", "check"  # what BuildKit calls the checks, and what command lines do


def parse_call(text: str) -> tuple[str, bool]:
    """Parse --call NAME[,format=json|text]: the name, and whether JSON is wanted. Raises UsageError."""
    name, *options = text.split(",")
    name = CHECK if name == LINT else name
    if name not in CALLS:
        from tiffin.builder.dockerfile.suggest import did_you_mean

        raise UsageError(f'--call "{name}" is unknown', remedy=did_you_mean(name, CALLS) or f"use {', '.join(CALLS)}")
    form = "text"
    for option in options:
        key, _, value = option.partition("=")
        if key != "format" or value not in ("json", "text"):
            raise UsageError(f'--call "{text}": "{option}" is unknown', remedy="use format=json or format=text")
        form = value
    return name, form == "json"
