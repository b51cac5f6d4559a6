"""What BuildKit does otherwise since the newest release that Debian has: a text of the history."""

from __future__ import annotations

import ast
import re

from tests.conformance.images import Result

_HEALTH = re.compile(r'HEALTHCHECK &\{\[(.*)\] "(\S+)" "(\S+)" "(\S+)" "(\S+)" (\'.*\')\}')


def modern(result: Result) -> Result:
    """The result as the BuildKit of the reference tells it."""
    if "history" not in result:
        return result
    return {**result, "history": [_entry(text) for text in result["history"]]}


def _entry(text: str) -> str:
    match = _HEALTH.match(text)
    if not match:
        return text
    test = " ".join(ast.literal_eval(word) for word in re.findall(r'"(?:[^"\\]|\\.)*"', match[1]))
    times = f"Interval:{match[2]} Timeout:{match[3]} StartPeriod:{match[4]} StartInterval:{match[5]}"
    retries = ord(ast.literal_eval(match[6]))
    return f"HEALTHCHECK {{Test:[{test}] {times} Retries:{retries}}}{text[match.end() :]}"
