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
from tiffin.builder.cli.commands.completion import SCRIPTS
from tiffin.builder.cli.manual import commands, docker_options, markdown
from tiffin.builder.cli.options.click_command import RowsCommand
from tiffin.builder.cli.options.command import Command
from tiffin.builder.cli.tree import find


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["vers"], ["version"]),
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
