"""tiffin explore in a real terminal, which tmux plays: as root, and as an unprivileged user."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cli_runner import CliRunner, wait_until
from tests.support.minimal_image import base_files

pytestmark = [pytest.mark.userns, pytest.mark.xdist_group("explore")]
HOSTILE = ("esc\x1b]0;owned\x07\x1b[31m", "new\nline", "bidi\u202egpj.exe", "c1\x9b2J")
SHOWN = ("esc\\x1b]0;owned\\x07\\x1b[", "new\\x0aline", "bidi\\u202egpj.exe", "c1\\x9b2J")
SECONDS = 15
ESCAPE_SECONDS = 0.3  # what follows sooner is one key with it


class Tmux:
    """A tmux server of its own, with one window that runs one command."""

    def __init__(self, cli: CliRunner) -> None:
        self._cli = cli
        self._argv = ["tmux", "-u", "-S", str(cli.folder / "tmux"), "-f", "/dev/null"]

        self._is_there = False

    def tmux(self, *words: str) -> str:
        options = self._cli.options(TERM="xterm-256color", LC_ALL="C.UTF-8")
        options["env"] = {name: value for name, value in options["env"].items() if name not in ("COLUMNS", "LINES")}  # type: ignore[attr-defined]
        done: subprocess.CompletedProcess[str] = subprocess.run(  # type: ignore[call-overload]
            [*self._argv, *words], capture_output=True, text=True, check=True, timeout=SECONDS, **options
        )
        return done.stdout

    def start(self, *words: str, width: int = 120, height: int = 30) -> None:
        """In the window; what runs there ends."""
        line = f"{shlex.join(self._cli.argv(*words))}; echo rc=$?; exec sleep {SECONDS * 4}"
        if self._is_there:
            self.tmux("respawn-window", "-k", line)
        else:
            self.tmux("new-session", "-d", "-x", str(width), "-y", str(height), line)
        self._is_there = True

    def stop(self) -> None:
        self.tmux("kill-server")

    def keys(self, *keys: str) -> None:
        for key in keys:
            self.tmux("send-keys", key)
            time.sleep(ESCAPE_SECONDS if key == "Escape" else 0)

    def screen(self) -> str:
        return self.tmux("capture-pane", "-p")

    def shows(self, *texts: str) -> str:
        """Wait until all of these are on the screen, and return it."""
        deadline = time.monotonic() + SECONDS
        while not all(text in (shown := self.screen()) for text in texts):
            assert time.monotonic() < deadline, f"{texts} are not all there:\n{shown}"
            time.sleep(0.02)
        return shown


@pytest.fixture
def tmux(cli: CliRunner) -> Iterator[Tmux]:
    made = Tmux(cli)
    yield made
    made.stop()
    wait_until(lambda: cli.left() == [])


@pytest.fixture(scope="module")
def image(cli: CliRunner) -> str:
    upper: dict[str, bytes | str | None] = {"srv/page": "other\n", "etc/.wh.group": b"", "srv/log": "line\n" * 60_000}
    cli.make_image(base_files(), {f"odd/{name}": "x" for name in HOSTILE}, upper, name="explored")
    return "explored"


def test_it_is_driven(cli: CliRunner, tmux: Tmux, image: str) -> None:
    tmux.start("explore", image)
    tmux.shows("layer 3 of 3", "3 layers", "▸ bin/", "wasted")
    tmux.keys("e", "/")
    tmux.shows("search:")
    tmux.keys("page", "Enter")
    tmux.shows("/srv/page", "changed: content")
    tmux.keys("Enter")
    tmux.shows("other", "text, 1 lines")
    tmux.keys("Escape", "=", "f")
    tmux.shows("filter:")
    tmux.keys("log", "Enter")
    shown = tmux.shows('filter "log"', "only added, changed, removed")
    assert "busybox" not in shown and "300kB" in shown
    tmux.keys("Escape", "f")
    tmux.shows("filter:")
    tmux.keys("odd", "Enter")
    tmux.shows(*SHOWN)
    assert tmux.tmux("display-message", "-p", "#{pane_title}").strip() != "owned"
    tmux.keys("Tab", "Up", "Up")
    tmux.shows("layer 1 of 3")
    tmux.tmux("resize-window", "-x", "60", "-y", "10")
    tmux.shows("layer 1 of 3", "  2 ")
    tmux.tmux("resize-window", "-x", "100", "-y", "24")
    tmux.keys("?")
    tmux.shows("unfold all")
    tmux.keys("q", "q")
    tmux.shows("rc=0")
    assert tmux.tmux("display-message", "-p", "#{alternate_on} #{mouse_any_flag} #{cursor_flag}").split() == list("001")


def test_files_elsewhere_and_ends(cli: CliRunner, tmux: Tmux, image: str) -> None:
    """An archive is explored and leaves nothing; SIGTERM gives the terminal back; a mistake is one line."""
    assert cli.run("save", "-o", "explored.tar", image).returncode == 0
    tmux.start("explore", "./explored.tar", width=60, height=12)
    tmux.shows("layer 3 of 3")
    (pid,) = [pid for pid in cli.processes() if b"explore" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")]
    os.kill(pid, signal.SIGTERM)
    tmux.shows("error: ended by SIGTERM", "rc=143")
    assert tmux.tmux("display-message", "-p", "#{alternate_on} #{cursor_flag}").split() == ["0", "1"]
    tmux.tmux("resize-window", "-x", "200", "-y", "30")
    tmux.start("explore", "nothing:1")
    assert "Traceback" not in tmux.shows("error:", "rc=1")


def test_without_a_terminal(cli: CliRunner, image: str) -> None:
    done = cli.run("explore", image)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr == (
        "error: explore needs a terminal: stdin, stdout and stderr have to be one; "
        "tiffin report writes a page, tiffin step files lists what a step changed\n"
    )
