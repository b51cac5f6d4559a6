"""tiffin watch: after any change the image is the one that a fresh build makes, and what runs is of it."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.cli_runner import CliRunner, wait_until

pytestmark = pytest.mark.userns
DOCKERFILE = "FROM minimal\nCOPY . /app\n"
ENTRY = re.compile(r"^sha256:[0-9a-f]{64}$", re.M)


class Watching:
    """tiffin watch in the background, and what it has printed."""

    def __init__(self, cli: CliRunner, *words: str | Path) -> None:
        self.stdout = ""
        self.stderr = ""
        self.process = subprocess.Popen(  # type: ignore[call-overload]
            cli.argv("watch", "--progress", "quiet", *words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **cli.options(),
        )
        self._threads = [threading.Thread(target=self._read, args=(name,)) for name in ("stdout", "stderr")]
        for thread in self._threads:
            thread.start()

    def _read(self, name: str) -> None:
        with getattr(self.process, name) as stream:
            for text in stream:
                setattr(self, name, getattr(self, name) + text)

    @property
    def images(self) -> list[str]:
        return ENTRY.findall(self.stdout)

    def is_idle(self) -> bool:
        return self.stderr.endswith("watching for changes; Ctrl-C ends\n")

    def wait_idle(self) -> None:
        wait_until(self.is_idle, seconds=60)

    def end(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return int(self.process.wait(30))

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for thread in self._threads:
            thread.join()


@contextmanager
def watching(cli: CliRunner, *words: str | Path) -> Iterator[Watching]:
    watch = Watching(cli, *words)
    try:
        watch.wait_idle()
        yield watch
        assert watch.process.poll() is None, watch.stderr
        assert watch.end() == 130, watch.stderr
        watch.close()
        assert "Traceback" not in watch.stderr
    finally:
        watch.close()


@pytest.fixture
def context(cli: CliRunner) -> Path:
    folder = cli.folder / "context"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "Dockerfile").write_text(DOCKERFILE)
    (folder / ".dockerignore").write_text("*.log\ncache\n")
    (folder / "one").write_text("1")
    if "user" in cli.identity:
        for path in (folder, *folder.iterdir()):
            os.chown(path, cli.identity["user"], -1)  # type: ignore[arg-type]  # a number
    return folder


def fresh(cli: CliRunner, *words: str | Path, root: Path | None = None) -> str:
    done = cli.run(*(("--root", root) if root else ()), "build", "-q", *words)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_changes_are_built_and_faults_are_told(cli: CliRunner, context: Path) -> None:
    with watching(cli, "-t", "app", context) as watch:
        first = watch.images[-1]
        (context / "one").write_text("2")
        wait_until(lambda: len(watch.images) == 2)
        assert watch.images[-1] == fresh(cli, context) != first
        watch.wait_idle()
        for ignored in ("x.log", "cache"):
            (context / ignored).write_text("3")
        time.sleep(0.3)
        assert len(watch.images) == 2 and watch.is_idle()
        (context / "Dockerfile").write_text("FROM minimal\nRUN false\n")
        wait_until(lambda: "RUN false" in watch.stderr)
        watch.wait_idle()
        (context / "Dockerfile").write_text(DOCKERFILE)
        wait_until(lambda: len(watch.images) == 3)
        (context / ".dockerignore").write_text("")
        wait_until(lambda: len(watch.images) == 4)
        assert "/app/x.log" in cli.output("app", "find", "/app")
    assert "one changed\n" in watch.stderr


def test_the_container_is_of_the_last_image(cli: CliRunner, context: Path) -> None:
    (context / "Dockerfile").write_text(
        DOCKERFILE + 'CMD ["sh", "-c", "echo \\"$GREETING $(cat /app/one) $0\\"; exec sleep 100"]\n'
    )
    with watching(
        cli, "--run", "-e GREETING='good day' --init -- sh -c 'echo $GREETING $(cat /app/one)'", context
    ) as watch:
        wait_until(lambda: "good day 1\n" in watch.stdout)
    with watching(cli, "--run=--init -e GREETING=hello --name shown", context) as watch:
        wait_until(lambda: "hello 1 sh\n" in watch.stdout)
        before = cli.run("ps", "-q").stdout
        (context / "x.log").write_text("")
        (context / "one").write_text("1")  # the same image: it goes on
        wait_until(lambda: len(watch.images) == 2)
        watch.wait_idle()
        assert cli.run("ps", "-q").stdout == before
        (context / "one").write_text("2")
        wait_until(lambda: "hello 2 sh\n" in watch.stdout)
        assert cli.run("ps", "--format", "{{.Names}}").stdout == "shown\n"
    assert cli.run("ps", "-a", "-q").stdout == ""
    wait_until(lambda: cli.left() == [])


def test_a_watch_that_is_killed_takes_its_container_along(cli: CliRunner, context: Path) -> None:
    watch = Watching(cli, "--run", "-- sleep 1000", context)
    wait_until(lambda: bool(cli.run("ps", "-q").stdout), seconds=30)
    watch.process.kill()
    wait_until(lambda: cli.run("ps", "-q").stdout == "", seconds=30)
    watch.close()
    wait_until(lambda: cli.left() == [])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-o", ".", "."], "the build writes to"),
        (["-"], "is not a directory"),
        (["--check", "."], "goes with builds"),
        (["--run", "-d", "."], "takes no -d"),
        (["--run", "'", "."], "close what is quoted"),
    ],
)
def test_what_cannot_be_watched_is_refused(cli: CliRunner, context: Path, words: list[str], message: str) -> None:
    done = cli.run("watch", *(str(context) if word == "." else word for word in words))
    assert done.returncode != 0 and message in done.stderr
    assert cli.run("build", "--run", "", context).returncode != 0


def test_after_many_edits_the_image_is_that_of_a_fresh_build(cli: CliRunner, context: Path) -> None:
    """Edits, renames, deletions and editors' saves by random, in bursts: $WATCH_EDITS of them."""
    chance = random.Random(int(os.environ.get("WATCH_SEED", "7")))
    edits = int(os.environ.get("WATCH_EDITS", "60"))
    (context / "Dockerfile").write_text("FROM scratch\nCOPY . /app\n")
    with watching(cli, "--timestamp", "0", context) as watch:
        done = 0
        while done < edits:
            for _ in range(chance.randint(1, 8)):
                edit(chance, context)
                done += 1
                if chance.random() < 0.3:
                    time.sleep(chance.random() * 0.2)
            # of another state directory, which has learned nothing from the builds that are watched
            expected = fresh(cli, "--timestamp", "0", context, root=cli.folder / "fresh")
            wait_until(lambda wanted=expected: watch.images[-1] == wanted, seconds=30)  # type: ignore[misc]


def edit(chance: random.Random, context: Path) -> None:
    """Do one thing that people and their programs do to files."""
    folders = [context, *(path for path in context.rglob("*") if path.is_dir() and not path.is_symlink())]
    files = [
        path for path in context.rglob("*") if not path.is_dir() and path.name not in ("Dockerfile", ".dockerignore")
    ]
    folder = chance.choice(folders)
    name = f"{chance.choice('abcdef')}{chance.choice(['', '.py', '.log'])}"
    place = folder / name
    file = chance.choice(files) if files else context / "one"
    text = str(chance.random())
    kind = chance.choice(
        ["write", "append", "save", "backup", "rename", "remove", "mkdir", "rmdir", "link", "mode", "move", "tree"]
    )
    match kind:
        case "write" if not place.is_dir():
            place.unlink(missing_ok=True)
            place.write_text(text)
        case "append" if file.is_file():
            with file.open("a") as stream:
                stream.write("x")
        case "save":  # as editors do: a new file takes the name
            new = folder / f".{name}.swp"
            new.write_text(text)
            if place.is_dir():
                new.unlink()
            else:
                new.rename(place)
        case "backup" if file.is_file() and not file.is_symlink():  # as vim does: the old one goes aside
            aside = file.with_name(f"{file.name}~")
            if not aside.is_dir():
                file.rename(aside)
                file.write_text(text)
                aside.unlink()
        case "rename" if file.exists() and not place.is_dir():
            file.rename(place)
        case "remove":
            file.unlink(missing_ok=True)
        case "mkdir":
            (folder / f"{name}d").mkdir(exist_ok=True)
        case "rmdir" if folder != context:
            shutil.rmtree(folder)
        case "link" if not place.exists() and not place.is_symlink():
            place.symlink_to(chance.choice(["one", "a", "../b"]))
        case "mode" if file.is_file():
            file.chmod(chance.choice([0o644, 0o755, 0o664]))
        case "move" if folder != context:
            target = context / f"moved{chance.randint(0, 3)}"
            if not target.exists():
                folder.rename(target)
        case "tree":
            deep = folder / f"t{chance.randint(0, 9)}" / "u"
            deep.mkdir(parents=True, exist_ok=True)
            (deep / "leaf").write_text(text)
