"""Shells complete commands, flags, values and names; the reference is what the options say."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ci import manual
from tests.support.commands import Commands
from tests.support.terminal import Terminal
from tiffin.builder.cli.commands.completion import SCRIPTS
from tiffin.builder.cli.manual import commands, docker_options, markdown
from tiffin.builder.cli.options.click_command import RowsCommand
from tiffin.builder.cli.options.command import Command
from tiffin.builder.cli.tree import find


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["ver"], ["version"]),
        (["image", "hist"], ["history"]),
        (["build", "--metad"], ["--metadata-file"]),
        (["build", "--network", ""], ["default", "host", "none"]),
        (["run", "--network", ""], ["host", "none", "private"]),
        (["run", "--userns", ""], ["host", "keep-id"]),
        (["run", "--isolation", ""], ["range", "single", "chroot", "proot", "none"]),
        (["build", "--pull=n"], ["--pull=newer", "--pull=never"]),
        (["build", "--pull", ""], [":dirs"]),
        (["build", "-f", "Do"], [":files"]),
        (["build", "--iidfile=x"], [":files"]),
        (["run", "--rm", "-e", "A=b", "ba"], ["base:latest"]),
        (["rmi", "base:latest", "base"], ["base:latest"]),
        (["run", "base", "x"], [":files"]),
        (["rm", ""], []),
        (["pull", "base", ""], []),
        (["nothing", ""], []),
        (["build", "--no-such", "--quie"], ["--quiet"]),
    ],
)
def test_words_that_may_follow(words: list[str], found: list[str], tiffin_here: Commands) -> None:
    lines = tiffin_here("__complete", "--", "--root", tiffin_here.root, *words).out.splitlines()
    assert [line.partition("\t")[0] for line in lines] == found


def test_completion_makes_no_state_directory(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "tiffin", "__complete", "--", "rmi", ""]
    environ = {**os.environ, "TIFFIN_ROOT": str(tmp_path / "state")}
    assert subprocess.run(words, env=environ, capture_output=True, check=True).stdout == b""
    assert not (tmp_path / "state").exists()


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
def test_bash_completes(line: str, found: list[str], tiffin_here: Commands, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work/Dockerfile").touch()
    script = (
        "source <(tiffin completion bash); complete -p tiffin >/dev/null || exit 1\n"
        'COMP_LINE=$1; COMP_POINT=${#1}; _tiffin tiffin; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    environ = {**os.environ, "PATH": program(tmp_path), "TIFFIN_ROOT": str(tiffin_here.root)}
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
def shell_environ(tiffin_here: Commands, tmp_path: Path) -> dict[str, str]:
    """Of a shell in a folder with a Dockerfile and a folder, with nobody's configuration."""
    (tmp_path / "work/folder").mkdir(parents=True)
    (tmp_path / "work/Dockerfile").touch()
    return {
        **os.environ, "PATH": program(tmp_path), "TIFFIN_ROOT": str(tiffin_here.root), "TERM": "dumb",
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


@pytest.mark.parametrize("shell", SCRIPTS)
def test_scripts_are_of_their_shell(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell}")
    subprocess.run([shell, "-n"], input=SCRIPTS[shell], text=True, check=True)


def test_reference_is_what_the_options_say() -> None:
    assert manual.REFERENCE.read_text() == markdown(), "run ci/reference"


def test_the_page_on_dockers_options_is_what_the_rows_say() -> None:
    assert manual.RUN_OPTIONS.read_text() == docker_options(manual.DOCKER_NAMES), "run ci/reference"


@pytest.mark.parametrize("command", ["run", "create"])
def test_every_option_of_docker_28_is_known_and_what_it_lacks_is_told(command: str) -> None:
    row = find((command,))
    assert isinstance(row, Command)
    rows = {name: option for option in row.arguments.rows for name in option.names}
    of_run = {"--detach", "--detach-keys", "--sig-proxy"} if command == "create" else set()
    assert len(manual.DOCKER_NAMES) == 104
    assert set(manual.DOCKER_NAMES) - rows.keys() - of_run - set(row.help_options()) == set()
    assert [name for name in manual.DOCKER_NAMES if name in rows and rows[name].help in ("", "No effect.")] == []


def test_man_pages_and_scripts_lie_where_they_are_looked_for(tmp_path: Path) -> None:
    manual.main(["--man", str(tmp_path)])
    names = {"-".join(("tiffin", *path)) for path, _ in commands()} | {"tiffin"}
    assert {page.stem for page in (tmp_path / "man/man1").iterdir()} == names
    assert "\\-\\-build\\-arg" in (tmp_path / "man/man1/tiffin-build.1").read_text()
    for place in manual.PLACES.values():
        assert (tmp_path / place).is_file()


def test_examples_are_lines_that_the_command_reads() -> None:
    for row in {row for _, row in commands()}:
        for example in row.examples if isinstance(row, Command) else ():
            found = re.search(r"tiffin ([^|<>#)]+)", re.sub(r"\$\([^)]*\)", "x", example))
            assert found is not None, example
            words = shlex.split(found[1])
            assert tuple(words[: len(row.words)]) == row.words, example
            assert isinstance(row, Command)
            RowsCommand(row).make_context(row.words[-1], words[len(row.words) :])
