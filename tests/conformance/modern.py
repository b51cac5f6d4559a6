"""What BuildKit words otherwise since the release Debian has (2020): only texts of the history, never a result."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator

from tests.conformance.images import Result

_HEALTH = re.compile(r'HEALTHCHECK &\{\[(.*)\] "(\S+)" "(\S+)" "(\S+)" (\'.*\')\}')


def modern(result: Result, dockerfile: str) -> Result:
    """The result as today's BuildKit tells it."""
    if "history" in result:
        flags = dict(_copies(dockerfile))
        return {**result, "history": [_entry(flags.get(text, text)) for text in result["history"]]}
    return result


def _copies(dockerfile: str) -> Iterator[tuple[str, str]]:
    """How a COPY was told and how it is told now: with its flags (those without variables)."""
    for line in re.sub(r"\\\n\s*", "", dockerfile).splitlines():
        match = re.fullmatch(r"(COPY|ADD) ((?:--\S* +)+)([^-].*)", line)
        if match and "$" not in match[2]:
            flags = match[2].replace('"', "").split()
            shown = [
                flag for name in ("--chown=", "--chmod=") for flag in flags if flag.startswith(name) and flag != name
            ]
            words = " ".join(json.loads(match[3])) if match[3].startswith("[") else match[3]
            yield f"{match[1]} {words} # buildkit", " ".join([match[1], *shown, words]) + " # buildkit"


def _entry(text: str) -> str:
    if match := re.fullmatch(r"EXPOSE map\[(.*)\](.*)", text):
        return f"EXPOSE [{' '.join(item.removesuffix(':{}') for item in match[1].split())}]{match[2]}"
    if match := _HEALTH.match(text):
        test = " ".join(ast.literal_eval(word) for word in re.findall(r'"(?:[^"\\]|\\.)*"', match[1]))
        retries = ord(ast.literal_eval(match[5]))
        times = f"Interval:{match[2]} Timeout:{match[3]} StartPeriod:{match[4]} StartInterval:0s"
        return f"HEALTHCHECK {{Test:[{test}] {times} Retries:{retries}}}{text[match.end() :]}"
    return text
