"""tiffin bake in this process, with targets that need no sandbox."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tiffin.builder.api.session import Session
from tiffin.builder.cli.bake.running import run
from tiffin.builder.cli.options.bake_arguments import BakeArguments
from tiffin.builder.cli.output.errors import describe
from tiffin.builder.errors import BuildError, TiffinError, UsageError

FILE = """
variable "V" {
  default = "1"
  description = "a version"
}
group "default" {
  targets = ["app", "other"]
  description = "all"
}
target "_hidden" {}
target "base" {
  dockerfile-inline = "FROM scratch\\nCOPY a.txt /base.txt\\nENV X=fromA\\n"
}
target "app" {
  description = "the app"
  contexts = { base = "target:base" }
  args = { V = V }
  tags = ["bake-app:${V}"]
  dockerfile-inline = "FROM base\\nARG V\\nCOPY --from=base /base.txt /copy.txt\\nLABEL v=$V\\n"
}
target "other" {
  tags = ["bake-other"]
  dockerfile-inline = "FROM scratch\\nCOPY a.txt /base.txt\\n"
}
target "bad" { dockerfile-inline = "FROM scratch\\nCOPY nosuch /x\\n" }
target "onbad" {
  contexts = { bad = "target:bad" }
  dockerfile-inline = "FROM bad\\n"
}
target "checked" { dockerfile-inline = "from scratch\\nCOPY a.txt /x\\n" }
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "docker-bake.hcl").write_text(FILE)
    (tmp_path / "work" / "a.txt").write_text("hello")
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path


def bake(place: Path, *words: str, **members: Any) -> int | None:
    return run(Session(place / "state"), BakeArguments({"words": words, "progress": "plain", **members}))


def test_targets_are_built_and_equal_steps_run_once(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert bake(place, metadata_file="m.json") is None
    told = capfd.readouterr().err
    assert told.count("COPY a.txt /base.txt\n") == 2
    assert told.count("CACHED") == 1
    assert "[app 2/2] COPY --from=base" in told
    store = Session(place / "state").store
    config = store.find("bake-app:1").config
    assert b'"X=fromA"' in config.encode()
    assert len(store.images()) == 2  # the base has no name, and is not listed
    metadata = json.loads(Path("m.json").read_text())
    assert sorted(metadata) == ["app", "base", "other"]
    assert metadata["app"]["image.name"] == "docker.io/library/bake-app:1"
    bake(place, "app")
    assert capfd.readouterr().err.count("CACHED") == 2


def test_a_machine_with_nothing_takes_bases_from_the_shared_cache(
    place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    caches = ("*.cache-to=type=local,dest=cache,mode=max", "*.cache-from=type=local,src=cache")
    bake(place, "app", sets=caches)
    capfd.readouterr()
    members = {"words": ("app",), "progress": "plain", "sets": caches}
    run(Session(place / "elsewhere"), BakeArguments(members))
    told = capfd.readouterr().err
    assert told.count("CACHED") == 2 and "DONE" not in told


@pytest.mark.parametrize("keeps_going", [False, True])
def test_the_first_failure_is_told(place: Path, capfd: pytest.CaptureFixture[str], keeps_going: bool) -> None:
    with pytest.raises(TiffinError) as caught:
        bake(place, "bad", "onbad", "other", keep_going=keeps_going)
    assert caught.value.message.startswith("target bad: ")
    left = "not built: onbad\n" if keeps_going else "not built: onbad, other\n"
    assert left in capfd.readouterr().err


def test_an_error_shows_the_line(place: Path) -> None:
    Path("docker-bake.hcl").write_text('target "app" {\n  tags = ["${nosuch}"]\n}\n')
    with pytest.raises(TiffinError) as caught:
        bake(place, "app", print_only=True)
    told = describe(caught.value).splitlines()
    assert '   2 | >>>   tags = ["${nosuch}"]' in told
    assert told[-1].startswith('error: docker-bake.hcl:2: tags: there is no variable "nosuch"')


def test_the_time_of_the_caller_is_an_argument(
    place: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "123")
    bake(place, "app", "other", print_only=True, sets=("other.args.SOURCE_DATE_EPOCH=7",))
    targets = json.loads(capfd.readouterr().out)["target"]
    assert targets["app"]["args"] == {"V": "1", "SOURCE_DATE_EPOCH": "123"}
    assert targets["base"]["args"] == {"SOURCE_DATE_EPOCH": "123"}
    assert targets["other"]["args"] == {"SOURCE_DATE_EPOCH": "7"}


def test_a_target_is_printed(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    bake(place, "other", print_only=True, push=True, pull="true", no_cache="0", sbom="0", provenance="mode=max")
    document = json.loads(capfd.readouterr().out)
    assert document["target"]["other"] == {
        "attest": [{"disabled": True, "type": "sbom"}, {"mode": "max", "type": "provenance"}],
        "context": ".",
        "dockerfile": "Dockerfile",
        "dockerfile-inline": "FROM scratch\nCOPY a.txt /base.txt\n",
        "no-cache": False,
        "output": [{"push": "true", "type": "image"}],
        "pull": True,
        "tags": ["bake-other"],
    }
    assert not (place / "state").exists()


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"listed": "targets"}, ["TARGET    DESCRIPTION", "app       the app", "bad", "base", "checked",
                                 "default   all (app, other)", "onbad", "other"]),
        ({"list_variables": True}, ["VARIABLE   TYPE      VALUE     DESCRIPTION",
                                    "V                    1         a version"]),
    ],
)  # fmt: skip
def test_targets_and_variables_are_listed(
    place: Path, capfd: pytest.CaptureFixture[str], members: dict[str, Any], expected: list[str]
) -> None:
    bake(place, **members)
    assert capfd.readouterr().out.splitlines() == expected


def test_lists_come_as_json(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    bake(place, listed="type=variables,format=json")
    assert json.loads(capfd.readouterr().out) == [{"name": "V", "description": "a version", "value": "1"}]
    bake(place, listed="type=targets,format=json")
    rows = json.loads(capfd.readouterr().out)
    assert {"name": "default", "description": "all (app, other)", "group": True} in rows


def test_checks_answer_for_each_target(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert bake(place, "checked", "app", check=True) == 1
    told = capfd.readouterr().out
    assert "app\nthe app\n\nCheck complete, no warnings found.\n" in told
    assert "ConsistentInstructionCasing" in told
    assert bake(place, "app", check=True) is None


@pytest.mark.parametrize("asked", [{"check": True}, {"call": "check"}, {"call": "lint"}])
def test_checks_are_printed_by_their_name_in_buildkit(
    place: Path, capfd: pytest.CaptureFixture[str], asked: dict[str, Any]
) -> None:
    bake(place, "app", print_only=True, **asked)
    assert json.loads(capfd.readouterr().out)["target"]["app"]["call"] == "lint"


def test_answers_come_as_one_document(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for call, key in (("outline", "outline"), ("targets", "targets"), ("check", "check"), ("lint", "check")):
        bake(place, "app", call=f"{call},format=json")
        document = json.loads(capfd.readouterr().out)
        assert key in document["target"]["app"]
        assert document["target"]["app"]["build"]["tags"] == ["bake-app:1"]
        assert document["group"] == {"default": {"targets": ["app"]}}


@pytest.mark.parametrize(
    ("words", "members", "message"),
    [
        ((), {"listed": "targets", "print_only": True}, "--print and --list are mutually exclusive"),
        ((), {"listed": "what"}, 'invalid list type "what"'),
        ((), {"listed": "type=targets,format=what"}, "neither table nor json"),
        ((), {"call": "what"}, '--call "what" is unknown'),
        (("other",), {"sets": ("other.context=/etc",)}, "additional privileges requested: fs.read=/etc"),
        (("other",), {"sets": ("other.tags=A:b:c",)}, "target other: "),
        (("other",), {"sets": ("other.policy=x",)}, "target other: cannot read the policy x"),
        (("other",), {"provenance": "mode=what"}, "target other: "),
        (("other", "base"), {"sets": ("*.output=type=tar,dest=-",)}, "the outputs of other and base go to stdout"),
    ],
)
def test_what_a_line_cannot_have_is_told(
    place: Path, words: tuple[str, ...], members: dict[str, Any], message: str
) -> None:
    with pytest.raises(TiffinError) as caught:
        bake(place, *words, **members)
    assert message in str(caught.value)
    assert isinstance(caught.value, (UsageError, BuildError)) or words
