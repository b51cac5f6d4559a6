"""What `--call check`, `outline` and `targets` say: the corpus (calls/*.txt) and answers in a form that compares.

A file of the corpus has a case after each line `=== NAME` or `=== NAME | FLAGS`: a Dockerfile, then other files after
`--- PATH`.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

HERE = Path(__file__).parent
EXPECTED = HERE / "expected/calls.json"
CALLS = ("check", "outline", "targets")
Answer = dict[str, Any]  # by call: findings, or the document; "error" and "lines" where it failed


@dataclass(frozen=True, slots=True, kw_only=True)
class CallCase:
    """A Dockerfile with its context."""

    name: str
    flags: Sequence[str]
    files: Mapping[str, str]

    def write(self, folder: Path) -> Path:
        for name, text in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return folder

    def argv(self, call: str, folder: Path) -> list[str]:
        return ["build", "--call", f"{call},format=json", *self.flags, str(folder)]


def corpus() -> list[CallCase]:
    """All cases."""
    cases = []
    for path in sorted((HERE / "calls").glob("*.txt")):
        for text in re.split(r"^=== ", path.read_text(), flags=re.MULTILINE)[1:]:
            title, _, body = text.partition("\n")
            name, _, flags = title.partition(" | ")
            first, *others = re.split(r"^--- (.*)\n", body, flags=re.MULTILINE)
            files = {"Dockerfile": first, **dict(zip(others[::2], others[1::2], strict=True))}
            cases.append(CallCase(name=f"{path.stem}-{name}", flags=shlex.split(flags), files=files))
    return cases


def expected() -> dict[str, Answer]:
    """What BuildKit said, by name."""
    return cast("dict[str, Answer]", json.loads(EXPECTED.read_text()))


def write_expected(answers: Mapping[str, Answer]) -> None:
    """One line for each case."""
    rows = [f"{json.dumps(name)}: {json.dumps(answer, ensure_ascii=False)}" for name, answer in sorted(answers.items())]
    EXPECTED.write_text("{\n" + ",\n".join(rows) + "\n}\n")


def read_answer(call: str, stdout: str, stderr: str) -> Any:
    """The answer to a call, without what no two builders share."""
    if not stdout.strip():
        return {"error": _error(stderr)}
    document = json.loads(stdout)
    if call == "check":
        return _read_check(document)
    assert document.pop("sources")
    if call == "targets":
        return _with_lines(document["targets"] or [])
    document.pop("cache", None)  # BuildKit has the field, and leaves it empty
    answer = _with_lines(document)
    for items in filter(lambda value: isinstance(value, list), answer.values()):
        items.sort(key=lambda item: (item["location"], item.get("name", "")))  # those of one line are in no order
    return answer


def _read_check(document: Mapping[str, Any]) -> Any:
    found = [[item["ruleName"], _lines(item["location"]), item["detail"]] for item in document["warnings"] or ()]
    answer: dict[str, Any] = {"found": sorted({json.dumps(item) for item in found})}
    answer["found"] = [json.loads(item) for item in answer["found"]]
    if error := document.get("buildError"):
        answer |= {"error": _error(error["message"]), "lines": _lines(error.get("location", {}))}
    return answer


def _with_lines(value: Any) -> Any:
    """`value` with locations as lines."""
    if isinstance(value, list):
        return [_with_lines(item) for item in value]
    if isinstance(value, dict):
        return {key: _lines(item) if key == "location" else _with_lines(item) for key, item in value.items()}
    return value


def _lines(location: Mapping[str, Any]) -> list[int]:
    return sorted(
        {
            line
            for item in location.get("ranges") or ()
            for line in range(item["start"].get("line", 0), item["end"].get("line", 0) + 1)
        }
    )


def _error(text: str) -> str:
    lines = [line for line in text.strip().splitlines() if re.match(r"(?i)error", line)] or text.strip().splitlines()
    message = re.sub(r"^(ERROR: |failed to build: |failed to solve: )+", "", lines[0] if lines else "")
    return re.sub(r"(dial tcp|lookup|failed to do request).*", "…", message)
