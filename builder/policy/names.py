"""Patterns of names."""

from __future__ import annotations

import re
from functools import cache

from tiffin.builder.policy.facts import Subject


def matches(pattern: str, subject: Subject) -> bool:
    """Whether a subject has such a name: `*` stands for what has no slash, `**` for anything."""
    names = [subject.full_name()]
    if subject.reference is not None:
        names += [subject.reference.name, f"{subject.reference.name}:{subject.reference.tag}"]
    return any(_compiled(pattern).fullmatch(name) for name in names)


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"(\*\*|\*)", pattern)
    return re.compile("".join({"**": ".*", "*": "[^/]*"}.get(part) or re.escape(part) for part in parts))
