"""Tests of policies in Rego: rules called test_… of the policy and of files beside it.

regopy 1.5 cannot evaluate `decision` before `with input as`, so the statements of a test are evaluated one by one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tiffin.builder.errors import UsageError
from tiffin.builder.policy.rego.corrections import corrected
from tiffin.builder.policy.rego.functions import Answers, Functions
from tiffin.builder.policy.rego.policy import Modules, RegoPolicy, read_modules, values_of
from tiffin.builder.policy.rego.rules_text import TEXT, bodies_in, statements_of, without_comments, without_rules

PREFIX = "test_"
BOUND = "tiffin_bound"  # values of a test's variables, as data
_STATEMENT = "tiffin_statement"
_NAME = r"[A-Za-z_]\w*"
_WITH_INPUT = re.compile(
    rf"(?:(?P<bound>{_NAME})\s*:=\s*)?(?P<negated>not\s+)?(?P<asked>{_NAME}[\w.\[\]\"]*)\s+"
    r"with\s+input\s+as\s+(?P<document>\{.*\})",
    re.DOTALL,
)


def run_tests(policy: RegoPolicy, files: Sequence[Path], only: str = "") -> list[tuple[str, bool]]:
    """Return the tests of a policy and of `files`, and which pass. Raises UsageError."""
    modules = [*policy.modules, *(module for file in files for module in read_modules(file))]
    modules = list(dict(modules).items())
    trial = _Trial(policy, modules)
    found: dict[str, bool] = {}
    for _, text in modules:
        package = re.search(r"^package\s+(\S+)", text, re.MULTILINE)
        for name, body in bodies_in(without_comments(text)):
            if name.startswith(PREFIX) and only in name and package is not None:
                found[name] = trial.passes(package[1], body)
    return list(found.items())


class _Trial:
    """Evaluates statements of tests."""

    def __init__(self, policy: RegoPolicy, modules: Modules) -> None:
        self._policy = policy
        self._functions = Functions(modules, Path(policy.name).parent)
        self._answers = Answers(pins=self._functions.digests(None))  # a test pins nothing
        self._modules = [
            (name, without_rules(without_comments(text), PREFIX)) for name, text in self._functions.modules
        ]

    def passes(self, package: str, body: str) -> bool:
        """Whether all statements of a test are true."""
        bound: dict[str, Any] = {}
        return all(self._is_true(package, statement, bound) for statement in statements_of(body))

    def _is_true(self, package: str, statement: str, bound: dict[str, Any]) -> bool:
        match = _WITH_INPUT.fullmatch(statement)
        if match is None:
            return self._value(package, statement, {}, bound, is_body=True) is True
        document = self._value(package, match["document"], {}, bound)
        value = self._value(package, match["asked"], document, bound)
        if match["bound"]:
            bound[match["bound"]] = value
            return value is not None
        return (value not in (None, False)) is not bool(match["negated"])

    def _value(self, package: str, text: str, document: Any, bound: dict[str, Any], *, is_body: bool = False) -> Any:
        """Return the value of a term, or whether a statement is true; None for undefined. Raises UsageError."""
        for name in bound:
            text = _renamed(text, name)
        rule = f"{_STATEMENT} if {{\n{text}\n}}" if is_body else f'{_STATEMENT} := {{"value": {text}}}'
        modules = [*self._modules, (_STATEMENT, corrected(f"package {package}\n\n{rule}\n"))]
        interpreter = self._policy.interpreter(modules, self._answers, {BOUND: bound}, self._functions)
        interpreter.set_input(document)
        found = values_of(interpreter, f"data.{package}.{_STATEMENT}")
        if found is None:
            raise UsageError(f"regopy cannot evaluate: {text}", remedy="write the test in simpler terms")
        if not found:
            return None
        return found[0] if is_body else found[0].get("value")


def _renamed(text: str, name: str) -> str:
    """Return a statement with a variable as data; texts stay."""
    pattern = re.compile(rf"{TEXT}|(?<![\w.\"]){name}(?!\w)")
    return pattern.sub(lambda found: f"data.{BOUND}.{name}" if found[0] == name else found[0], text)
