"""Nearest known names, for errors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def did_you_mean(word: str, candidates: Sequence[str]) -> str:
    """Return `did you mean "X"?`, or nothing when no candidate is near."""
    near = nearest(word, candidates)
    return f'did you mean "{near}"?' if near else ""


def almost(word: str, candidates: Iterable[str]) -> str:
    """Return the candidate nearest to `word` by fewer than three edits, the first of equals; nothing if it is one
    itself.
    """
    found, least = "", 3
    for candidate in candidates:
        if candidate == word:
            return ""
        distance = _edits(word, candidate, least)
        if distance < least:
            found, least = candidate, distance
    return found


def _edits(first: str, second: str, enough: int) -> int:
    """Return how many insertions, deletions and replacements lead from one to the other; `enough` or more are not
    counted out.
    """
    if abs(len(first) - len(second)) >= enough:
        return enough
    row = list(range(len(second) + 1))
    for number, char in enumerate(first, start=1):
        above, row = row, [number]
        for index, other in enumerate(second):
            row.append(min(above[index] + (char != other), above[index + 1] + 1, row[index] + 1))
    return row[-1]


def nearest(word: str, candidates: Sequence[str]) -> str:
    """Return the candidate that is like `word`, or nothing."""
    if not word:
        return ""
    from difflib import get_close_matches

    near = get_close_matches(word.lower(), [candidate.lower() for candidate in candidates], n=1)
    for candidate in candidates:
        if near and candidate.lower() == near[0]:
            return candidate
    return ""
