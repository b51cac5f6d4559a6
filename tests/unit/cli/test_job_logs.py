"""Progress where nobody watches: the logs of GitHub's and GitLab's jobs, JSON lines that fit their schema."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import jsonschema
import pytest

from tests.support.bench_of_builds import OVERLAYS
from tests.support.commands import Commands
from tests.support.contexts import context_at
from tests.support.github_runner import Runner
from tiffin.builder.cli.output.plain import sections
from tiffin.builder.cli.output.plain.github import github_renderer
from tiffin.builder.cli.output.plain.gitlab import gitlab_renderer
from tiffin.builder.cli.output.render import JsonRenderer, make_renderer
from tiffin.builder.cli.output.renderer import Renderer
from tiffin.builder.events import (
    BuildFinished,
    Event,
    InfoMessage,
    ResourceChanged,
    StepCached,
    StepFailed,
    StepFinished,
    StepOutput,
    StepStarted,
    Transfer,
    WarningMessage,
)

SCHEMA = json.loads((Path(__file__).parents[3] / "docs/progress.schema.json").read_text())
DIGEST = "sha256:" + "a" * 64
BUILT = BuildFinished(
    names=("registry.example/app:1",), digest=DIGEST, image_id=DIGEST, size_bytes=1_234_567, seconds=4.25, steps=7,
    cached_steps=5,
)  # fmt: skip
HOSTILE = (
    b"::set-output name=x::y", b"##[add-mask]a", b"words ##[Group]b", b"\t ::add-mask::q", b"x\r::save-state name=s::t",
    "\u00a0::error::nbsp".encode(), b"::endgroup::", b"::stop-commands::mine", b"::mine::",
)  # fmt: skip


def log_of(renderer: Renderer, stream: io.BytesIO, *events: Event) -> str:
    with renderer:
        for event in events:
            renderer.emit(event)
    return re.sub(r"(#\d+) \d+\.\d{3} ", r"\1 T ", stream.getvalue().decode())


def github(*events: Event, **environ: str) -> str:
    stream = io.BytesIO()
    return log_of(github_renderer(stream, environ), stream, *events)


def gitlab(*events: Event) -> str:
    stream = io.BytesIO()
    return log_of(gitlab_renderer(stream, {}), stream, *events)


def started(number: int) -> StepStarted:
    return StepStarted(step_id=number, name=f"[stage] RUN {number}")


def said(number: int, data: bytes) -> StepOutput:
    return StepOutput(step_id=number, stream=1, data=data + b"\n")


def ended(number: int) -> StepFinished:
    return StepFinished(step_id=number, seconds=1.25)


def test_steps_that_run_at_once_have_whole_sections() -> None:
    log = github(
        StepCached(step_id=1, name="[stage] FROM base"), started(2), said(2, b"a"), started(3), said(3, b"other"),
        WarningMessage(message="careful"), said(2, b"b"), started(4), ended(3), said(4, b"late"), ended(2), ended(4),
        InfoMessage(message="pushed"), BUILT,
    )  # fmt: skip
    assert log.splitlines() == [
        "#1 [stage] FROM base", "#1 CACHED",
        "::group::#2 [stage] RUN 2", "#2 T a", "#2 T b", "::endgroup::", "#2 DONE 1.2s",
        "::group::#3 [stage] RUN 3", "#3 T other", "::endgroup::", "#3 DONE 1.2s",
        "warning: careful",
        "::group::#4 [stage] RUN 4", "#4 T late", "::endgroup::", "#4 DONE 1.2s",
        "pushed",
        f"built registry.example/app:1 {DIGEST}, 1.23MB, in 4.2s, 5 of 7 steps from a cache",
    ]  # fmt: skip


def test_a_step_that_holds_back_much_gets_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sections, "MAX_HELD_BYTES", 30)
    log = github(started(1), started(2), said(2, b"x" * 40), said(1, b"mine"), said(2, b"y"), ended(2), ended(1))
    assert log.splitlines() == [
        "::group::#1 [stage] RUN 1", "::endgroup::",
        "::group::#2 [stage] RUN 2", "#2 T " + "x" * 40, "#2 T y", "::endgroup::", "#2 DONE 1.2s",
        "::group::#1 [stage] RUN 1 (continued)", "#1 T mine", "::endgroup::", "#1 DONE 1.2s",
    ]  # fmt: skip


def test_what_was_held_back_is_told_when_a_build_ends_early() -> None:
    failed = StepFailed(step_id=1, seconds=1, message="exit code: 1")
    log = github(started(1), started(2), said(2, b"held"), failed, StepFailed(step_id=2, seconds=1, message="canceled"))
    assert "#1 ERROR: exit code: 1" in log and log.endswith("#2 T held\n::endgroup::\n#2 CANCELED\n")
    assert "#2 T held" in github(started(1), started(2), said(2, b"held"))


@pytest.mark.parametrize("line", HOSTILE)
def test_no_text_of_a_build_is_a_command(line: bytes) -> None:
    text = line.decode()
    log = github(
        StepStarted(step_id=1, name=text), said(1, line), said(1, b"ok"), ended(1), InfoMessage(message=text),
        WarningMessage(message=text), StepCached(step_id=2, name=text), StepFailed(step_id=1, seconds=0, message=text),
        Transfer(key="k", label=text, done_bytes=1, total_bytes=1, finished=True), started(3),
        StepFailed(step_id=3, seconds=0, message=text),
    )  # fmt: skip
    assert [command.name for command in Runner().read(log).obeyed] == ["group", "endgroup"] * 2


def test_names_and_messages_of_commands_are_escaped() -> None:
    warning = WarningMessage(message="50%\r\nof it: a, b", where="a,b:c/Dockerfile:3", rule="Rule")
    [command] = Runner().read(github(warning)).obeyed
    assert command.name == "warning" and command.data == "50%\r\nof it: a, b"
    assert command.properties == {"file": "a,b:c/Dockerfile", "line": "3", "title": "Rule"}


def test_colours_stay_and_nothing_else_does() -> None:
    log = github(started(1), said(1, b"\x1b[31mred\x1b[K\x07"), ended(1))
    assert "#1 T \x1b[31mred\x1b[0m\n" in log
    assert "#1 T red\n" in github(started(1), said(1, b"\x1b[31mred"), ended(1), NO_COLOR="1")


def test_gitlab_folds_steps() -> None:
    log = gitlab(started(1), said(1, b"a\r\x1b[0Ksection_end:1:tiffin\r\x1b[0K"), ended(1))
    found = re.findall(r"\x1b\[0Ksection_(start|end):\d+:(tiffin_\d+_1)(\[collapsed=true\])?\r\x1b\[0K(.*)", log)
    assert [(kind, options, text) for kind, _, options, text in found] == [
        ("start", "[collapsed=true]", "#1 [stage] RUN 1"), ("end", "", ""),
    ]  # fmt: skip
    assert found[0][1] == found[1][1] and "#1 T \n" in log


@pytest.mark.parametrize(("variable", "kind"), [("GITHUB_ACTIONS", "GitHubLog"), ("GITLAB_CI", "GitLabLog")])
def test_jobs_are_known_by_their_variables(variable: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with io.TextIOWrapper(io.BytesIO()) as stream:
        monkeypatch.setenv(variable, "false")
        assert type(make_renderer("plain", stream)).__name__ == "PlainRenderer"
        monkeypatch.setenv(variable, "true")
        assert type(make_renderer("auto", stream)).__name__ == "SectionRenderer"


# -- whole builds
# ------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def job(tiffin_here: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Commands:
    """Commands in a job of GitHub whose workspace is `tmp_path`."""
    tiffin_here.isolation = OVERLAYS
    for name, value in {"GITHUB_ACTIONS": "true", "GITHUB_WORKSPACE": str(tmp_path),
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary")}.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    return tiffin_here


def test_a_job_shows_what_was_built(job: Commands, tmp_path: Path) -> None:
    folder = context_at(tmp_path)("FROM base\nRUN say ##[add-mask]x\nCOPY a|b /\n", name="context", **{"a|b": "A"})
    done = job("build", "-t", "app:1", folder)
    assert re.search(r"\nbuilt docker.io/library/app:1 sha256:\w{64}, \S+B, in \d\.\ds, 0 of 2 steps", done.err)
    assert {command.name for command in Runner().read(done.err).obeyed} == {"group", "endgroup"}
    summary = (tmp_path / "summary").read_text()
    assert "| image | <code>docker.io/library/app:1</code> |" in summary and "COPY a&#124;b /</code> | 0." in summary
    job("build", "-q", folder)
    assert (tmp_path / "summary").read_text() == summary, "a quiet build is told nowhere"


def test_a_line_that_fails_is_shown_beside_the_file(job: Commands, tmp_path: Path) -> None:
    folder = context_at(tmp_path)("", name="sub")
    (folder / "Dockerfile").write_text("FROM base\nRUN <<E\nsay ##[add-mask]x\nexit 3\nE\n")
    done = job("build", folder, check=False)
    errors = [command for command in Runner().read(done.err).obeyed if not command.name.endswith("group")]
    assert [error.name for error in errors] == ["error"]
    assert errors[0].properties == {"file": "sub/Dockerfile", "line": "2", "endLine": "5", "title": "tiffin build"}
    assert "exit code: 3" in errors[0].data
    assert "exit code: 3" in (tmp_path / "summary").read_text()


def test_findings_are_shown_beside_the_file(job: Commands, tmp_path: Path) -> None:
    folder = context_at(tmp_path)("from base AS x\nLABEL a=b\n", name="sub")
    warnings = [one for one in Runner().read(job("build", folder).err).obeyed if one.name == "warning"]
    assert warnings and warnings[0].properties["file"] == "sub/Dockerfile" and warnings[0].properties["line"] == "1"
    bad = context_at(tmp_path)("FROM base\nRUUN x\n", name="bad")
    done = job("build", bad, check=False)
    assert [one.properties["line"] for one in Runner().read(done.err).obeyed if one.name == "error"] == ["2"]
    assert done.err.splitlines()[-1].startswith("error: "), "programs take the last line for the reason"


def test_a_summary_that_cannot_be_written_ends_no_build(
    job: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = context_at(tmp_path)("FROM base\nLABEL a=b\n", name="context")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "none/summary"))
    assert job("build", folder).code == 0
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary"))
    monkeypatch.setenv("DOCKER_BUILD_SUMMARY", "false")
    job("build", folder)
    assert not (tmp_path / "summary").exists()


# -- JSON lines
# --------------------------------------------------------------------------------------------------------------------


@pytest.mark.thorough
def test_every_event_fits_the_published_schema() -> None:
    stream = io.BytesIO()
    renderer = JsonRenderer(stream)
    for event in (
        StepCached(step_id=1, name="x"), started(2), said(2, b"\xff"), ended(2),
        StepFailed(step_id=2, seconds=0.5, message="canceled"),
        Transfer(key="k", label="pull", done_bytes=1, total_bytes=None),
        WarningMessage(message="w"), InfoMessage(message="i"), ResourceChanged(kind="k", name="n", change="c"), BUILT,
    ):  # fmt: skip
        renderer.emit(event)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    for line in lines:
        jsonschema.validate(line, SCHEMA)
    published = {one["properties"]["type"]["const"] for one in SCHEMA["oneOf"]}
    assert {line["type"] for line in lines} == published


@pytest.mark.thorough
def test_the_lines_of_builds_fit_the_published_schema(tiffin_here: Commands, tmp_path: Path) -> None:
    tiffin_here.isolation = OVERLAYS
    folder = context_at(tmp_path)("from base\nRUN say hello\nCOPY a /\n", name="context", a="A")
    archive = ("-o", f"type=oci,dest={tmp_path}/x.tar")
    files = ("-o", f"type=local,dest={tmp_path}/out")
    lines = []
    for words in ((), ("-t", "app", "--no-cache"), archive, files, ("--target", "none")):
        done = tiffin_here("build", "--progress", "json", *words, folder, check=False)
        lines += [json.loads(line) for line in done.err.splitlines() if line.startswith("{")]
    for line in lines:
        jsonschema.validate(line, SCHEMA)
    assert [line["type"] for line in lines].count("build_finished") == 4
    assert all(line.get("digest", "x") for line in lines if line["type"] == "build_finished" and line["names"])
