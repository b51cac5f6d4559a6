"""Build checks on the parsed file, and on its plan: section 4."""

from __future__ import annotations

import pytest

from tests.unit.solver.test_plan_fuzz import base
from tiffin.builder.dockerfile.lint import CheckOptions, check_options, filtered, lint
from tiffin.builder.dockerfile.lint_base import LintWarning
from tiffin.builder.dockerfile.parser import parse
from tiffin.builder.errors import DockerfileError
from tiffin.builder.oci.spec import Platform
from tiffin.builder.plan.plan_options import PlanOptions
from tiffin.builder.plan.planner import make_plan


def found(text: str) -> list[tuple[int, str, str]]:
    dockerfile = parse(text.encode(), "F")
    options = check_options(dockerfile)
    planning: list[LintWarning] = []
    plan_options = PlanOptions(platform=Platform.parse("linux/amd64"), checks_only=True)
    make_plan(dockerfile, plan_options, base, planning)
    warnings = sorted(
        [*lint(dockerfile, options), *filtered(dockerfile, options, planning)],
        key=lambda warning: warning.span.first_line,
    )
    return [(warning.span.first_line, warning.rule, warning.message) for warning in warnings]


def rules(text: str) -> list[tuple[int, str]]:
    return [(line, rule) for line, rule, _ in found(text)]


MESSAGES = [
    ("FROM a AS Builder", "StageNameCasing", "Stage name 'Builder' should be lowercase"),
    ("FROM a as b", "FromAsCasing", "'as' and 'FROM' keywords' casing do not match"),
    ("FROM a\nRUN x \\\n\n y", "NoEmptyContinuation", "Empty continuation line"),
    (
        "FROM a\nrun x\nRUN y",
        "ConsistentInstructionCasing",
        "Command 'run' should match the case of the command majority (uppercase)",
    ),
    (
        "FROM a AS x\nFROM b AS x",
        "DuplicateStageName",
        'Duplicate stage name "x", stage names should be unique',
    ),
    (
        "FROM a AS scratch",
        "ReservedStageName",
        'Stage name should not use the same name as reserved stage "scratch"',
    ),
    (
        "FROM a\nCMD x",
        "JSONArgsRecommended",
        "JSON arguments recommended for CMD to prevent unintended behavior related to OS signals",
    ),
    (
        "FROM a\nMAINTAINER x",
        "MaintainerDeprecated",
        "Maintainer instruction is deprecated in favor of using label",
    ),
    (
        "FROM a\nWORKDIR app",
        "WorkdirRelativePath",
        'Relative workdir "app" can have unexpected results if the base image changes',
    ),
    (
        'FROM a\nENTRYPOINT ["a"]\nENTRYPOINT ["b"]',
        "MultipleInstructionsDisallowed",
        "Multiple ENTRYPOINT instructions should not be used in the same stage because only the last one will be used",
    ),
    (
        "FROM a\nENV a b",
        "LegacyKeyValueFormat",
        '"ENV key=value" should be used instead of legacy "ENV key value" format',
    ),
    (
        "FROM a\nARG API_TOKEN",
        "SecretsUsedInArgOrEnv",
        'Do not use ARG or ENV instructions for sensitive data (ARG "API_TOKEN")',
    ),
    (
        "FROM --platform=linux/amd64 a",
        "FromPlatformFlagConstDisallowed",
        'FROM --platform flag should not use constant value "linux/amd64"',
    ),
    (
        "FROM --platform=$TARGETPLATFORM a",
        "RedundantTargetPlatform",
        "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior",
    ),
    (
        "FROM a\nEXPOSE 80/TCP",
        "ExposeProtoCasing",
        "Defined protocol '80/TCP' in EXPOSE instruction should be lowercase",
    ),
    (
        "FROM a\nEXPOSE 127.0.0.1:80:80",
        "ExposeInvalidFormat",
        "EXPOSE instruction should not define an IP address or host-port mapping, found '127.0.0.1:80:80'",
    ),
]


@pytest.mark.parametrize(("text", "rule", "message"), MESSAGES, ids=[rule for _, rule, _ in MESSAGES])
def test_messages(text: str, rule: str, message: str) -> None:
    assert [(name, said) for _, name, said in found(text)] == [(rule, message)]


CLEAN = [
    "FROM a AS b-c",
    "from a as b\nrun c",
    "FROM a\nRUN x \\\n# c\n y",
    'FROM a\nCMD ["x"]\nENTRYPOINT []',
    'FROM a\nSHELL ["x"]\nCMD y',
    'FROM a AS s\nSHELL ["x"]\nFROM s\nCMD y',
    "FROM a\nWORKDIR /x\nWORKDIR y",
    "FROM a AS s\nWORKDIR /x\nFROM s\nWORKDIR y",
    "FROM a\nARG X=/x\nWORKDIR $X",
    'FROM a\nCMD ["x"]\nFROM b\nCMD ["y"]',
    "FROM a\nENV A_PUBLIC_KEY=x TOKENIZER=y PASSWORD_FILE=/z KEYBOARD=q\nARG MONKEY",
    "FROM --platform=linux/arm64 a AS build-arm64",
    "FROM --platform=$BUILDPLATFORM a",
    "FROM a\nEXPOSE 80/tcp 90-91 $PORTS",
    "FROM a\nLABEL a=b",
    "FROM a AS x\nFROM b AS y",
]


@pytest.mark.parametrize("text", CLEAN)
def test_nothing_to_say(text: str) -> None:
    assert found(text) == []


def test_places() -> None:
    text = (
        "# syntax=x\n"
        "from a as Base\n"
        "RUN x \\\n"
        "\n"
        "  y\n"
        "WORKDIR app\n"
        "HEALTHCHECK NONE\n"
        "HEALTHCHECK NONE\n"
        "ONBUILD ENV PASSWORD x\n"
        "CMD z\n"
    )
    assert rules(text) == [
        (2, "StageNameCasing"),
        (2, "ConsistentInstructionCasing"),
        (5, "NoEmptyContinuation"),
        (6, "WorkdirRelativePath"),
        (7, "MultipleInstructionsDisallowed"),
        (10, "JSONArgsRecommended"),
    ]


def test_majority_of_keywords_decides() -> None:
    assert rules("from a\nrun b\nRun c") == [(3, "ConsistentInstructionCasing")]


def test_check_directive_skips() -> None:
    body = "FROM a\nCMD x\nMAINTAINER y\n"
    assert rules(f"# check=skip=JSONArgsRecommended\n{body}") == [(3 + 1, "MaintainerDeprecated")]
    assert rules(f"# check=skip=JSONArgsRecommended, MaintainerDeprecated\n{body}") == []
    assert rules(f"# check=skip=all;error=true\n{body}") == []


def test_comment_above_skips_for_one_instruction() -> None:
    text = "FROM a\n# check=skip=SecretsUsedInArgOrEnv\nENV A_KEY=x\nENV B_KEY=x\n"
    assert rules(text) == [(4, "SecretsUsedInArgOrEnv")]
    assert rules("FROM a\n# check=skip=Other\nENV A_KEY=x\n") == [(3, "SecretsUsedInArgOrEnv")]
    assert rules("FROM a\n# check=skip=all\n\nENV A_KEY=x\n") == []
    assert rules("FROM a\n# check=skip=all\n#\nENV A_KEY=x\n") == [(4, "SecretsUsedInArgOrEnv")]
    assert rules("FROM a\n# check=what is this\nENV A_KEY=x\n") == [(3, "SecretsUsedInArgOrEnv")]
    assert rules("FROM a\n# check=skip=SecretsUsedInArgOrEnv\nONBUILD ENV A_KEY=x\n") == []


def test_options() -> None:
    options = CheckOptions.parse("skip=A, B; error=TRUE ;experimental=all")
    assert options == CheckOptions(skip=frozenset("AB"), error=True, experimental=frozenset({"all"}))
    assert CheckOptions.parse("") == CheckOptions()


def test_override_replaces_the_directive() -> None:
    dockerfile = parse(b"# check=skip=all\nFROM a\nCMD x\n", "F")
    assert check_options(dockerfile, "error=true") == CheckOptions(error=True)
    assert check_options(dockerfile) == CheckOptions(skip=frozenset({"all"}))


@pytest.mark.parametrize("text", ["skip", "error=maybe", "skp=A", "=x"])
def test_bad_options_are_refused_at_their_line(text: str) -> None:
    with pytest.raises(DockerfileError, match="invalid check option") as caught:
        check_options(parse(f"# syntax=x\n# check={text}\nFROM a\n".encode(), "F"))
    assert str(caught.value.span) == "F:2"
    assert caught.value.remedy
