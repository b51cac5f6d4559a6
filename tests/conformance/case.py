"""The corpus: cases/AREA.py (what is built) and expected/AREA.json (what real builders made of it)."""

from __future__ import annotations

import importlib
import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from tests.conformance.images import Result
from tests.conformance.nodes import Table, read_table, write_folder

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One build and what must come of it.

    name          unique in its area
    rule          what it holds: a section, row or test idea of the reference of the Dockerfile language, or a sentence
    dockerfile    text; `{http}` stands for the address of the file server
    context       name of a table in contexts.toml; `files` are added to it, False takes one away
    files         files of the context (see nodes.py)
    beside        files next to the context, for named contexts and -f; the build runs in the folder that holds both
    flags         of the build command; a last word "context" or "-" is the context itself
    env, stdin    environment and standard input of the build command
    error         the build must fail with a message in which this regular expression is found
    stance        why tiffin differs from BuildKit on purpose; `expect` or `error` then says how
    old           what the newest BuildKit of Debian cannot show, lacks or does otherwise; `expect` then gives the
                  reference's facts
    expect        config, history, tree: replaces what the oracle said; `config_changes` and `tree_changes` replace
                  single keys (None takes one away), `history_changes` entries by their text
    no_oracle     no other builder is asked (with `stance` or `old`)
    """

    name: str
    rule: str
    dockerfile: str
    area: str = ""
    context: str = ""
    files: Table = field(default_factory=dict)
    beside: Table = field(default_factory=dict)
    flags: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    stdin: str = ""
    error: str = ""
    stance: str = ""
    old: str = ""
    no_oracle: bool = False
    expect: Mapping[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return f"{self.area}-{self.name}"

    def write(self, folder: Path, http: str) -> Path:
        """Write the files; returns the folder to run in, whose `context` is the build context."""
        work = folder / "work"
        common = cast(Table, contexts()[self.context]) if self.context else {}
        files = {name: content for name, content in {**common, **self.files}.items() if content is not False}
        if self.dockerfile:
            files["Dockerfile"] = self.dockerfile.replace("{http}", http)
        write_folder(read_table(files), work / "context")
        if self.beside:
            write_folder(read_table(self.beside), work / "beside")
            for path in (work / "beside").iterdir():
                path.rename(work / path.name)
            (work / "beside").rmdir()
        return work

    def argv(self, work: Path) -> list[str]:
        """The words after `build`.

        The context by its full path: BuildKit takes a relative one for the same as last time.
        """
        flags = [str(work / flag) if flag == "context" else flag for flag in self.flags]
        return flags if self.flags[-1:] in (("-",), ("context",)) else [*flags, str(work / "context")]

    def expected(self, oracle: Result | None) -> Result:
        """What tiffin must make, given what BuildKit made."""
        if self.error:
            return {"error": self.error}
        result: Result = {} if oracle is None or "error" in oracle else dict(oracle)
        for key, value in self.expect.items():
            if key == "history_changes":
                assert set(value) <= set(result["history"]), (
                    f"{self.id}: {set(value) - set(result['history'])} is not there"
                )
                result["history"] = [value.get(entry, entry) for entry in result["history"]]
            elif key.endswith("_changes"):
                changed = {**result.get(key.removesuffix("_changes"), {}), **value}
                result[key.removesuffix("_changes")] = {
                    name: item for name, item in changed.items() if item is not None
                }
            else:
                result[key] = value
        return {"config": {}, "history": [], "tree": {}, **result}


def contexts() -> Table:
    """The shared contexts."""
    return tomllib.loads((HERE / "contexts.toml").read_text())


def bases() -> Mapping[str, Table]:
    """The base images by name."""
    return cast(Mapping[str, Table], tomllib.loads((HERE / "bases.toml").read_text()))


def table(
    name: str, rule: str, dockerfile: str, rows: Mapping[str, str | tuple[str, str] | Mapping[str, Any]], **common: Any
) -> list[Case]:
    """Many cases of one kind: `@@` in the Dockerfile is a row's text.

    A row is that text, a pair of it and the error it must give, or a mapping with it as "put" and other fields of Case.
    """
    cases = []
    for key, row in rows.items():
        values: dict[str, Any] = {"put": row} if isinstance(row, str) else {}
        if isinstance(row, tuple):
            values = {"put": row[0], "error": row[1]}
        values |= row if isinstance(row, Mapping) else {}
        text = values.pop("dockerfile", dockerfile).replace("@@", values.pop("put", ""))
        files = {**common.get("files", {}), **values.get("files", {})}
        cases.append(Case(name=f"{name}-{key}", rule=rule, dockerfile=text, **{**common, **values, "files": files}))
    return cases


def areas() -> list[str]:
    return sorted(path.stem for path in (HERE / "cases").glob("*.py"))


def load(area: str) -> list[Case]:
    """The cases of an area, checked."""
    module = importlib.import_module(f"tests.conformance.cases.{area}")
    cases = [replace(case, area=area) for case in module.CASES]
    for case in cases:
        assert not case.expect or case.stance or case.old, f"{case.id}: expect without a reason"
        re.compile(case.error)
    names = [case.name for case in cases]
    assert len(names) == len(set(names)), f"{area}: twice: {sorted({n for n in names if names.count(n) > 1})}"
    return cases


def read_expected(area: str) -> dict[str, Any]:
    """What the oracles said, by the names of cases."""
    path = HERE / "expected" / f"{area}.json"
    return cast("dict[str, Any]", json.loads(path.read_text())) if path.exists() else {}
