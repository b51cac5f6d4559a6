"""--check, --call, and the warnings of a build."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import CHECKOUT, Run
from tiffin.builder.cli.output.subrequests import DESCRIPTIONS

Make = Callable[..., Path]

# one Dockerfile for each rule: the rule, the text, the line it is found on
CASES = [
    ("StageNameCasing", "FROM scratch AS Big\n", 1),
    ("FromAsCasing", "FROM scratch as a\n", 1),
    ("NoEmptyContinuation", "FROM scratch\nLABEL a=b \\\n\n  c=d\n", 4),
    ("ConsistentInstructionCasing", "FROM scratch\nLABEL a=b\nlabel c=d\n", 3),
    ("DuplicateStageName", "FROM scratch AS a\nFROM scratch AS a\n", 2),
    ("ReservedStageName", "FROM scratch AS context\n", 1),
    ("JSONArgsRecommended", "FROM scratch\nCMD run\n", 2),
    ("MaintainerDeprecated", "FROM scratch\nMAINTAINER me\n", 2),
    ("UndefinedArgInFrom", "ARG BASE=scratch\nFROM ${BASE}$BSAE\n", 2),
    ("WorkdirRelativePath", "FROM scratch\nWORKDIR a\n", 2),
    ("UndefinedVar", "FROM scratch\nENV fruit=apple\nCOPY Dockerfile /$friut\n", 3),
    ("MultipleInstructionsDisallowed", 'FROM scratch\nCMD ["a"]\nCMD ["b"]\n', 2),
    ("LegacyKeyValueFormat", "FROM scratch\nENV a b\n", 2),
    ("RedundantTargetPlatform", "FROM --platform=$TARGETPLATFORM scratch\n", 1),
    ("SecretsUsedInArgOrEnv", "FROM scratch\nARG API_TOKEN\n", 2),
    ("InvalidDefaultArgInFrom", "ARG TAG\nFROM busybox:${TAG}\n", 2),
    ("FromPlatformFlagConstDisallowed", "FROM --platform=linux/s390x scratch\n", 1),
    ("CopyIgnoredFile", "FROM scratch\nCOPY hidden /\n", 2),
    ("InvalidDefinitionDescription", "# check=experimental=all\n# other words\nFROM scratch AS a\n", 3),
    ("ExposeProtoCasing", "FROM scratch\nEXPOSE 80/TCP\n", 2),
    ("ExposeInvalidFormat", "FROM scratch\nEXPOSE 127.0.0.1:80:80\n", 2),
    ("AptListsLeft", "FROM scratch\nRUN apt-get update && apt-get install -y curl\n", 2),
    ("CopyAllBeforeInstall", "FROM scratch\nCOPY . /app\nRUN npm ci\n", 2),
    ("ArgShadowsEnv", "FROM scratch\nENV a=1\nARG a=2\n", 3),
    ("DoubleStarInCopySource", "FROM scratch\nCOPY a/**/b /\n", 2),
]


def check(tiffin: Run, folder: Path, *words: str) -> tuple[int, list[dict[str, object]]]:
    done = tiffin("build", "--call", "check,format=json", *words, folder, check=False)
    return done.returncode, json.loads(done.stdout)["warnings"] if done.stdout else [{"error": done.stderr}]


@pytest.mark.parametrize(("rule", "text", "line"), CASES, ids=[case[0] for case in CASES])
def test_each_rule(tiffin: Run, context: Make, rule: str, text: str, line: int) -> None:
    args = ("--build-arg", "TAG=x") if rule == "InvalidDefaultArgInFrom" else ()
    folder = context(text, **{".dockerignore": "hidden\n"})
    if rule == "InvalidDefaultArgInFrom":  # the name must be one that is here
        tiffin("build", "-t", "busybox:x", context("FROM scratch\n", name="base"))
    if rule == "UndefinedArgInFrom":
        text = text.replace("${BASE}$BSAE", "${BASE}")
    code, found = check(tiffin, folder, *args)
    hits = [item for item in found if item.get("ruleName") == rule]
    assert code == 1 and hits, found
    assert hits[0]["location"]["ranges"][0]["start"]["line"] == line  # type: ignore[index]
    # a comment above the instruction, or the directive, leaves it out
    if rule != "InvalidDefinitionDescription":
        (folder / "Dockerfile").write_text(f"# check=skip={rule}\n{text}")
        assert rule not in {item.get("ruleName") for item in check(tiffin, folder, *args)[1]}


def test_every_rule_is_described() -> None:
    reported = re.findall(r"^\| (\w+) \|", (CHECKOUT / "docs/checks.md").read_text(), re.MULTILINE)
    assert set(DESCRIPTIONS) == set(reported) - {"rule"}


def test_json_tells_the_error_that_ends_a_check(tiffin: Run, context: Make) -> None:
    folder = context("FROM scratch as a\nFOO x\nRUN --mout=type=cache true\n")
    done = tiffin("build", "--call", "check,format=json", folder, check=False)
    reported = json.loads(done.stdout)
    assert done.returncode == 1 and "unknown instruction: FOO" in done.stderr
    assert [item["ruleName"] for item in reported["warnings"]] == ["FromAsCasing"]
    assert reported["warnings"][0]["description"] == DESCRIPTIONS["FromAsCasing"]
    assert reported["warnings"][0]["url"] == "https://docs.docker.com/go/dockerfile/rule/from-as-casing/"
    assert "FOO" in reported["buildError"]["message"] and "--mout" in reported["buildError"]["message"]
    assert [item["start"]["line"] for item in reported["buildError"]["location"]["ranges"]] == [2, 3]
    (source,) = reported["sources"]
    assert (source["filename"], source["language"]) == ("Dockerfile", "Dockerfile")
    assert base64.b64decode(source["data"]) == (folder / "Dockerfile").read_bytes()


def test_base_of_another_platform(tiffin: Run, context: Make) -> None:
    tiffin("build", "--platform", "linux/s390x", "-t", "other", context("FROM scratch\n", name="base"))
    code, found = check(tiffin, context("FROM other\n"), "--platform", "linux/s390x")
    assert (code, found) == (0, [])


def test_nothing_found(tiffin: Run, context: Make) -> None:
    folder = context('FROM scratch\nCOPY Dockerfile /\nCMD ["a"]\n')
    done = tiffin("build", "--check", folder)
    assert done.stdout == "Check complete, no warnings found.\n"
    assert "warning" not in tiffin("build", folder).stderr


def test_text_has_an_excerpt(tiffin: Run, context: Make) -> None:
    done = tiffin("build", "--check", context("FROM scratch\nLABEL a=b\nCMD run\n"), check=False)
    assert done.returncode == 1
    assert "Check complete, 1 warning has been found!" in done.stdout
    assert (
        "Dockerfile:3\n--------------------\n   1 |     FROM scratch\n   2 |     LABEL a=b\n   3 | >>> CMD run\n"
        in done.stdout
    )


def test_build_warns_and_error_refuses(tiffin: Run, context: Make) -> None:
    folder = context("FROM scratch\nCOPY Dockerfile /\nCMD run\n")
    done = tiffin("build", folder)
    assert "warning: Dockerfile:3: JSONArgsRecommended: JSON arguments recommended for CMD" in done.stderr
    assert tiffin("build", "-q", folder).stderr == ""
    (folder / "Dockerfile").write_text("# check=error=true\nFROM scratch\nCOPY none /\nCMD run\n")
    done = tiffin("build", folder, check=False)
    assert done.returncode == 1 and "lint violation found for rules: JSONArgsRecommended" in done.stderr
    done = tiffin("build", "--build-arg", "BUILDKIT_DOCKERFILE_CHECK=skip=all", folder, check=False)
    assert '"none" not found' in done.stderr


def test_undefined_variable_names_the_nearest(tiffin: Run, context: Make) -> None:
    _, found = check(tiffin, context("FROM scratch\nENV fruit=apple\nCOPY Dockerfile /$friut\n"))
    assert found[0]["detail"] == "Usage of undefined variable '$friut' (did you mean $fruit?)"
    text = "FROM scratch\nARG none\nLABEL n=$none\nLABEL b='$y' c=\\$z d=$PATH\n"
    assert check(tiffin, context(text)) == (0, [])
    text = 'FROM scratch\nENV a=${x:-1} b="${w+1}" c=${v-1}\nLABEL d=${u%a}\n'  # BuildKit tells of all four
    found = check(tiffin, context(text))[1]
    assert [str(item["detail"])[29:31] for item in found] == ["$x", "$w", "$v", "$u"], found


def test_steps_are_named_with_values(tiffin: Run, context: Make) -> None:
    text = 'FROM scratch\nARG D=/dir\nCOPY Dockerfile $D/f\nWORKDIR $D/w\nCOPY ["Dockerfile", "${D}/g"]\n'
    reported = tiffin("build", "--progress=plain", context(text)).stderr
    for name in ("COPY Dockerfile /dir/f", "WORKDIR /dir/w", "COPY [Dockerfile, /dir/g]"):
        assert f"] {name}\n" in reported, reported


def test_targets_and_outline(tiffin: Run, context: Make) -> None:
    folder = context(
        "# one the first\nFROM scratch AS one\nFROM --platform=$BUILDPLATFORM one AS two\n# V a version\nARG V=3\n"
        "RUN --mount=type=secret,id=s,required --mount=type=ssh --mount=type=cache,target=/c true\n"
    )
    targets = json.loads(tiffin("build", "--call", "targets,format=json", folder).stdout)["targets"]
    assert targets == [
        {"name": "one", "description": "the first", "base": "scratch", "location": lines(2)},
        {"name": "two", "default": True, "base": "one", "platform": "$BUILDPLATFORM", "location": lines(3)},
    ]
    outline = json.loads(tiffin("build", "--call", "outline,format=json", folder).stdout)
    assert base64.b64decode(outline.pop("sources")[0]) == (folder / "Dockerfile").read_bytes()
    assert outline == {
        "name": "two",
        "args": [{"name": "V", "description": "a version", "value": "3", "location": lines(5)}],
        "secrets": [{"name": "s", "required": True, "location": lines(6)}],
        "ssh": [{"name": "default", "location": lines(6)}],
        "cache": [{"ID": "/c", "location": lines(6)}],
    }
    reported = tiffin("build", "--call", "outline", folder).stdout
    assert "TARGET: two" in reported and "/c" in reported
    reported = tiffin("build", "--call", "targets", folder).stdout
    assert [line.split() for line in reported.splitlines()[1:3]] == [["one", "the", "first"], ["two", "(default)"]]
    done = tiffin("build", "--call", "chekc", folder, check=False)
    assert done.returncode == 2 and 'did you mean "check"?' in done.stderr


def lines(*numbers: int) -> dict[str, object]:
    return {"ranges": [{"start": {"line": number}, "end": {"line": number}} for number in numbers]}


@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("RUN --mount=type=nope true", "unsupported mount type"),  # found when it is read
        ("COPY --form=x a /", "unknown flag"),
        ("FOO bar", "unknown instruction"),
        ("LABEL x=${Y:?no}", "Y: no"),  # found when it is planned
        ("COPY --from=later /a /\nFROM scratch AS later", "later"),
        ("FROM 127.0.0.1:1/none", "127.0.0.1:1/none"),  # a base that cannot be had
    ],
)
def test_an_error_hides_no_findings(tiffin: Run, context: Make, fault: str, says: str, as_json: bool) -> None:
    folder = context(f"FROM scratch\nENV a b\nMAINTAINER me\n{fault}\n")
    done = tiffin("build", "--call", "check,format=json" if as_json else "check", folder, check=False)
    assert done.returncode != 0 and says in done.stderr
    if as_json:
        reported = json.loads(done.stdout)
        assert (
            says in reported["buildError"]["message"]
            and reported["buildError"]["location"]["ranges"][0]["start"]["line"] >= 4
        )
        found = [item["ruleName"] for item in reported["warnings"]]
    else:
        assert "no warnings" not in done.stdout
        found = re.findall(r"^WARNING: (\w+)", done.stdout, re.MULTILINE)
    assert found[:2] == ["LegacyKeyValueFormat", "MaintainerDeprecated"]


def test_check_with_error_true_tells_both(tiffin: Run, context: Make) -> None:
    folder = context("# check=error=true\nFROM scratch\nCMD run\n")
    done = tiffin("build", "--call", "check,format=json", folder, check=False)
    reported = json.loads(done.stdout)
    assert [item["ruleName"] for item in reported["warnings"]] == ["JSONArgsRecommended"]
    assert (
        "lint violation found for rules: JSONArgsRecommended" in reported["buildError"]["message"]
        and done.returncode != 0
    )


def test_documented_rules_are_the_tested_ones() -> None:
    documented = set(re.findall(r"^\| (\w+) \|", (CHECKOUT / "docs/checks.md").read_text(), re.MULTILINE)) - {"rule"}
    assert documented == {case[0] for case in CASES} | {"InvalidBaseImagePlatform"}
