"""tiffin watch: what it watches, what it refuses, and how what runs is replaced. Programs stand in for tiffin run."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.support.commands import Commands
from tiffin.builder.api.build_options import BuildOptions
from tiffin.builder.api.rebuild import running_image
from tiffin.builder.api.rebuild.build_watch import BuildWatch
from tiffin.builder.api.rebuild.running_image import RunningImage
from tiffin.builder.api.session import Session
from tiffin.builder.delivery.output_spec import OutputSpec
from tiffin.builder.errors import UsageError
from tiffin.builder.sharing.options import parse_cache
from tiffin.builder.sources.watch import FileWatch

MOMENT = 0.1
PROGRAM = """
import pathlib, signal, sys
words = sys.argv[1:]
place = pathlib.Path(sys.argv[0]).parent
(place / "said").open("a").write(" ".join(word for word in words if "cidfile" not in word) + "\\n")
if "waits" in words:
    signal.pause()
"""


@pytest.fixture
def context(tmp_path: Path) -> Path:
    folder = tmp_path / "context"
    (folder / "sub").mkdir(parents=True)
    (folder / "Dockerfile").write_text("FROM scratch\n")
    (folder / ".dockerignore").write_text("*.log\n")
    return folder


def test_contexts_dockerfiles_and_ignore_files_count_and_outputs_do_not(context: Path, tmp_path: Path) -> None:
    other, dockerfile = tmp_path / "other", tmp_path / "elsewhere/My.dockerfile"
    other.mkdir()
    dockerfile.parent.mkdir()
    dockerfile.write_text("FROM scratch\n")
    options = BuildOptions(
        context=str(context),
        file=str(dockerfile),
        contexts={"other": str(other), "image": "docker-image://base"},
        outputs=(OutputSpec(kind="local", dest=str(context / "out")), OutputSpec(kind="tar", dest="-")),
        caches=(parse_cache(f"type=local,dest={context / 'kept'}", "--cache-to"),),
    )
    with FileWatch() as files:
        watch = BuildWatch(options, files, state=context / "state", written=[context / "id"])
        watch.begin()
        for path in ("out", "kept", "state", "id", "x.log"):
            (context / path).touch()
        assert watch.wait(MOMENT) is None
        for file in (
            context / "sub/x",
            other / "x.log",
            dockerfile,
            dockerfile.with_name("My.dockerfile.dockerignore"),
            context / ".dockerignore",
        ):
            file.write_text("[")
            assert watch.wait(5), file
        watch.begin()  # an ignore file that cannot be read ignores nothing: the build tells
        (context / "y.log").touch()
        assert watch.wait(5) == ["y.log"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (BuildOptions(context="-"), "not a directory"),
        (BuildOptions(context="https://example.com/repository.git"), "not a directory"),
        (BuildOptions(context=".", file="-"), "not a directory"),
        (BuildOptions(context=".", outputs=(OutputSpec(kind="local", dest="."),)), "the build writes to"),
        (BuildOptions(context="/tmp", outputs=(OutputSpec(kind="local", dest="/"),)), "the build writes to"),
    ],
)
def test_what_cannot_be_watched(options: BuildOptions, message: str, tmp_path: Path) -> None:
    with FileWatch() as files, pytest.raises(UsageError, match=message):
        BuildWatch(options, files, state=tmp_path)


def test_another_image_replaces_what_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program, said = tmp_path / "program.py", tmp_path / "said"
    program.write_text(PROGRAM)
    asked: list[object] = []
    monkeypatch.setattr(running_image, "run_apart", lambda *words: asked.append(words))
    monkeypatch.setattr(running_image, "END_SECONDS", 0.1)
    session = Session(tmp_path / "state")
    with RunningImage(session, [sys.executable, str(program)], ["-e", "A=1"], ["waits"]) as running:
        running.replace("sha256:one")
        wait_for_lines(said, 1)
        running.replace("sha256:one")  # it is there
        running.replace("sha256:two")  # the first was asked to end, or killed
        wait_for_lines(said, 2)
        cidfile = next((session.state.root / "tmp").glob("watch-*/")) / "id"
        cidfile.write_text("0123\n")
    assert len(asked) == 1  # the second has a container, the first had none
    expected = "run --rm --stop-timeout=2 -e A=1 sha256:{} waits"
    assert said.read_text().splitlines() == [expected.format("one"), expected.format("two")]
    assert not list((session.state.root / "tmp").glob("watch-*"))


def wait_for_lines(said: Path, count: int) -> None:
    deadline = time.monotonic() + 20
    while not said.exists() or len(said.read_text().splitlines()) < count:
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.thorough
def test_it_builds_again_until_it_is_interrupted(
    tiffin_here: Commands, context: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tiffin.builder.sources import watch as watch_module

    edits: list[Callable[[], object]] = [
        lambda: (context / "Dockerfile").write_text("FROM scratch\nCOPY missing /\n"),
        lambda: [
            (context / name).write_text("FROM scratch\nCOPY a /\n") for name in ("a", "b", "c", "d", "Dockerfile")
        ],
    ]

    class Edited(FileWatch):
        def wait(self, seconds: float | None = None) -> Sequence[str] | None:
            if not edits:
                raise SystemExit(130)  # as by Ctrl-C
            edits.pop(0)()
            return super().wait(5)

    monkeypatch.setattr(watch_module, "FileWatch", Edited)
    done = tiffin_here("watch", "--progress", "plain", str(context), check=False)
    assert done.code == 130
    assert len(set(done.out.splitlines())) == 2  # ids of images
    assert '"missing" not found' in done.err
    assert "Dockerfile changed\n" in done.err and "Dockerfile, a, b and 2 more changed\n" in done.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["build", "--run", ""], "--run goes with --watch"),
        (["watch", "--check"], "goes with builds"),
        (["watch", "--shell-on-error"], "exclude each other"),
        (["watch", "--run", "'"], "close what is quoted"),
        (["watch", "--run", "--cidfile=x"], "takes no --cidfile=x"),
    ],
)
def test_lines_that_are_refused(tiffin_here: Commands, context: Path, words: list[str], message: str) -> None:
    assert message in tiffin_here(*words, str(context), check=False).err
