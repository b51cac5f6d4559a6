"""What a policy pins an image to.

In OPA pin_image is a function that notes its calls. Here each rule that calls it in its body has a twin, which gives
the digest where all else of the body is true. Where it is called otherwise (from a function, in an expression) a digest
counts that is allowed if the call with it is true, and is not if no call is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from tiffin.builder.policy.rego.functions import PIN_IMAGE
from tiffin.builder.policy.rego.rules_text import bodies_in, statements_of, without_comments

PINNED = "tiffin_pinned"
_CALL = re.compile(rf"{PIN_IMAGE}\s*\((?P<image>[^,()]+),(?P<digest>.+)\)", re.DOTALL)
_ANY_CALL = re.compile(rf"(?<![\w.]){PIN_IMAGE}\s*\(")


def twins_of(modules: Sequence[tuple[str, str]]) -> tuple[list[str], bool]:
    """Return rules that give what is pinned, and whether they stand for all calls."""
    rules: list[str] = []
    calls = 0
    for _, text in modules:
        plain = without_comments(text)
        calls += len(_ANY_CALL.findall(plain))
        rules += [rule for head, body in bodies_in(plain) if "(" not in head for rule in _twins(body)]
    return rules, len(rules) == calls


def _twins(body: str) -> Iterator[str]:
    statements = statements_of(body)
    for at, statement in enumerate(statements):
        call = _CALL.fullmatch(statement)
        if call is not None:
            own = [f"{call['image'].strip()} == input.image", f"tiffin_digest := {call['digest'].strip()}"]
            lines = "\n    ".join([*statements[:at], *own, *statements[at + 1 :]])
            yield f"{PINNED} contains tiffin_digest if {{\n    {lines}\n}}"
