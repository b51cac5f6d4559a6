"""bash, fish and zsh complete commands, flags, values and names as they are used."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.minimal_image import write_image
from tests.support.terminal import Terminal


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state directory with an image called base."""
    argv = [sys.executable, "-m", "tiffin", "--root", str(tmp_path / "state"), "images"]
    subprocess.run(argv, check=True, capture_output=True)
    write_image(tmp_path / "state", {"bin/sh": b"a shell"}, name="docker.io/library/base:latest")
    return tmp_path / "state"


def program(folder: Path) -> str:
    """A PATH on which tiffin is this checkout's."""
    (folder / "tiffin").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m tiffin "$@"\n')
    (folder / "tiffin").chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("tiffin imag", ["images"]),
        ("tiffin build --pull=ne", ["newer", "never"]),
        ("tiffin run base:", ["latest"]),
        ("tiffin build -f Docker", ["Dockerfile"]),
    ],
)
def test_bash_completes(line: str, found: list[str], state: Path, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work/Dockerfile").touch()
    script = (
        "source <(tiffin completion bash); complete -p tiffin >/dev/null || exit 1\n"
        'COMP_LINE=$1; COMP_POINT=${#1}; _tiffin tiffin; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    environ = {**os.environ, "PATH": program(tmp_path), "TIFFIN_ROOT": str(state)}
    done = subprocess.run(
        ["bash", "--norc", "-c", script, "bash", line],
        env=environ, cwd=tmp_path / "work", capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == found, done.stderr


LINES = [  # and what they become
    ("tiffin bu", "build"),
    ("tiffin cache expl", "explain"),
    ("tiffin build --metad", "--metadata-file"),
    ("tiffin build --network h", "host"),
    ("tiffin build --pull=al", "--pull=always"),
    ("tiffin build -f Docker", "Dockerfile"),
    ("tiffin build --iidfile=Docker", "--iidfile=Dockerfile"),
    ("tiffin build fol", "folder/"),
    ("tiffin rmi ba", "base:latest"),
    ("tiffin rmi base:l", "base:latest"),
]


@pytest.fixture
def shell_environ(state: Path, tmp_path: Path) -> dict[str, str]:
    """Of a shell in a folder with a Dockerfile and a folder, with nobody's configuration."""
    (tmp_path / "work/folder").mkdir(parents=True)
    (tmp_path / "work/Dockerfile").touch()
    return {
        **os.environ, "PATH": program(tmp_path), "TIFFIN_ROOT": str(state), "TERM": "dumb",
        "HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path),
    }  # fmt: skip


@pytest.mark.skipif(shutil.which("fish") is None, reason="there is no fish")
def test_fish_completes(shell_environ: dict[str, str], tmp_path: Path) -> None:
    lines = [line for line, _ in LINES]
    script = "tiffin completion fish | source; for line in $argv; complete -C $line; echo; end"
    done = subprocess.run(
        ["fish", "-c", script, *lines],
        env=shell_environ,
        cwd=tmp_path / "work",
        capture_output=True,
        text=True,
        check=True,
    )
    found = [
        " ".join(word.partition("\t")[0] for word in part.splitlines()) for part in done.stdout.strip().split("\n\n")
    ]
    assert found == [word for _, word in LINES], done.stderr


@pytest.mark.skipif(shutil.which("zsh") is None, reason="there is no zsh")
def test_zsh_completes(shell_environ: dict[str, str], tmp_path: Path) -> None:
    begin = (
        "PS1='' RPS1=''; unsetopt prompt_sp prompt_cr; setopt no_beep no_auto_menu no_auto_list; "
        "autoload -Uz compinit; compinit -u -D; source <(tiffin completion zsh); "
        "show() { zle -I; print -r -- \"<$BUFFER>\"; BUFFER= }; zle -N show; bindkey '^T' show; print begun"
    )
    with Terminal(["zsh", "-f", "-i"], shell_environ, tmp_path / "work") as terminal:
        terminal.write(f"{begin}\n")
        terminal.read_to("\r\nbegun\r\n")
        for line, word in LINES:
            terminal.write(f"{line}\t\x14")
            told = terminal.read_to(">\r\n").rpartition("<")[2].removesuffix(">\r\n")
            assert told.rstrip() == f"{line.rpartition(' ')[0]} {word}"
