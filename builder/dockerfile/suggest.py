"""Nearest known names, for errors."""

from __future__ import annotations

from collections.abc import Sequence


def did_you_mean(word: str, candidates: Sequence[str]) -> str:
    """`did you mean "X"?`, or nothing when no candidate is near."""
    near = nearest(word, candidates)
    return f'did you mean "{near}"?' if near else ""


def nearest(word: str, candidates: Sequence[str]) -> str:
    """The candidate that is like `word`, or nothing."""
    if not word:
        return ""
    from difflib import get_close_matches

    near = get_close_matches(word.lower(), [candidate.lower() for candidate in candidates], n=1)
    for candidate in candidates:
        if near and candidate.lower() == near[0]:
            return candidate
    return ""
