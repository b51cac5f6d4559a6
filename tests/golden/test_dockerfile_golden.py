"""Dockerfiles and what is read in them: tests/golden/dockerfile/NAME/{Dockerfile,plan.json}.

`pytest --update-golden` writes the plans anew; read the diff.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tiffin.builder.dockerfile.lint import check_options, lint
from tiffin.builder.dockerfile.parser import Instruction, parse
from tiffin.builder.errors import DockerfileError, DockerfileErrors

CASES = Path(__file__).parent / "dockerfile"
NAMES = sorted(path.parent.name for path in CASES.glob("*/Dockerfile"))


def read(data: bytes) -> dict[str, object]:
    """What a Dockerfile says, or all that is wrong with it."""
    try:
        dockerfile = parse(data, "Dockerfile")
        warnings = lint(dockerfile, check_options(dockerfile))
    except DockerfileError as exc:
        return {"errors": [str(error) for error in (exc.errors if isinstance(exc, DockerfileErrors) else (exc,))]}
    return {
        "directives": dict(dockerfile.directives),
        "instructions": [shown(node) for node in dockerfile.instructions],
        "warnings": [f"{warning.span.first_line}: {warning.rule}: {warning.message}" for warning in warnings],
    }


def shown(node: Instruction) -> dict[str, object]:
    """An instruction without what is empty in most."""
    result: dict[str, object] = {
        "lines": f"{node.span.first_line}-{node.span.last_line}",
        "keyword": node.keyword,
        "value": node.value,
    }
    if node.flags:
        result["flags"] = [[flag.name, flag.value] for flag in node.flags]
    if node.json is not None:
        result["json"] = list(node.json)
    if node.heredocs:
        result["heredocs"] = [
            {"name": each.name, "fd": each.fd, "expand": each.expand, "content": each.content} for each in node.heredocs
        ]
    if node.comments:
        result["comments"] = list(node.comments)
    return result


@pytest.mark.parametrize("name", NAMES)
def test_plan(name: str, pytestconfig: pytest.Config) -> None:
    plan = CASES / name / "plan.json"
    text = json.dumps(read((CASES / name / "Dockerfile").read_bytes()), indent=2, ensure_ascii=False) + "\n"
    if pytestconfig.getoption("--update-golden"):
        plan.write_text(text, encoding="utf-8")
    assert plan.read_text(encoding="utf-8") == text


def test_there_are_cases() -> None:
    assert len(NAMES) > 10
