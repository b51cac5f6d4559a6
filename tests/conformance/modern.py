"""What BuildKit does otherwise since the release Debian has (2020): texts of the history, and no mount point stays."""

from __future__ import annotations

import ast
import json
import posixpath
import re
from collections.abc import Iterator, Mapping

from tests.conformance.images import Result

_HEALTH = re.compile(r'HEALTHCHECK &\{\[(.*)\] "(\S+)" "(\S+)" "(\S+)" (\'.*\')\}')


def modern(result: Result, dockerfile: str) -> Result:
    """The result as today's BuildKit tells it."""
    if "history" not in result:
        return result
    flags = dict(_copies(dockerfile))
    history = [_entry(flags.get(text, text)) for text in result["history"]]
    return {**result, "history": history, "tree": _without_stubs(result["tree"], dockerfile)}


def _without_stubs(tree: Mapping[str, str], dockerfile: str) -> dict[str, str]:
    """The tree without the empty files and directories that mounts of RUN left, and what was made to hold them."""
    left = dict(tree)
    folders = {"/", *re.findall(r"(?m)^WORKDIR (\S+)", dockerfile), *re.findall(r"mkdir (\S+)", dockerfile)}
    workdir = next(iter(re.findall(r"(?m)^WORKDIR (\S+)", dockerfile)), "/")
    for mount in re.findall(r"--mount=(\S+)", dockerfile):
        options = dict(option.partition("=")[::2] for option in mount.split(","))
        target = options.get("target") or options.get("dst") or options.get("destination") or ""
        if options.get("type") == "secret" and not target:
            target = f"/run/secrets/{options.get('id')}"
        path = posixpath.normpath(posixpath.join(workdir, target))
        while path not in folders and not any(name.startswith(path + "/") for name in left):
            if path in left and not left[path].startswith("dir") and not left[path].endswith('""'):
                break
            left.pop(path, None)
            path = posixpath.dirname(path)
    return left


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
