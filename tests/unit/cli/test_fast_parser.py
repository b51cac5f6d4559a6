"""Command lines read without click are read as click reads them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import click
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.fuzz import examples
from tiffin.builder.cli import fast_parser
from tiffin.builder.cli.options.click_command import RowsCommand
from tiffin.builder.cli.options.command import Command
from tiffin.builder.cli.options.option import Value
from tiffin.builder.cli.tree import rows

COMMANDS = {" ".join(row.words): row for row in rows().values() if isinstance(row, Command)}


def values(name: str, given: Mapping[str, Value]) -> dict[str, Value]:
    line = COMMANDS[name].arguments(given)
    return {row.field: row.on(line) for row in line.rows if not row.is_refused}


def parse(name: str, words: Sequence[str], environ: Mapping[str, str]) -> dict[str, Value] | None:
    found = fast_parser.parse(COMMANDS[name].arguments, words, environ)
    return None if found is None else values(name, found)


@cache
def clicks(name: str) -> RowsCommand:
    """click's form of a command, of which reading a line changes nothing."""
    return RowsCommand(COMMANDS[name])


def by_click(name: str, words: Sequence[str]) -> dict[str, Value] | None:
    """The options of the command; None where click refuses the line or answers it itself."""
    try:
        return clicks(name).make_context(name, list(words)).params
    except (click.ClickException, click.exceptions.Exit):
        return None


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("run", "--rm busybox true"),
        ("run", "-it --rm -e A=b -e C --env=D= -v /a:/b:ro --name x image sh -c --rm"),
        ("run", "--network none -w /x --pull=never image -- a -b --help"),
        ("run", "--rm - x"),
        ("build", "."),
        ("build", "-t a -t b:c --build-arg X=1 dir --target one -q --no-cache -f -"),
        ("build", "--pull --iidfile /f --no-rm --pull=missing ."),
        ("build", "--rm --no-compress -o type=oci,dest=x - --progress plain"),
    ],
)
def test_common_lines_need_no_click(name: str, words: str) -> None:
    options = parse(name, words.split(), {})
    assert options is not None and options == by_click(name, words.split())


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("run", ""),
        ("run", "--help"),
        ("run", "-e"),
        ("run", "-eA=b image"),
        ("run", "-e=A=b image"),
        ("run", "--rm=false image"),
        ("run", "--pull sometimes image"),
        ("run", "--pids-limit 5 image"),
        ("run", "--cpu-rt-period 1 image"),
        ("run", "-ix image"),
        ("run", "-- image"),
        ("build", ""),
        ("build", "a b"),
        ("build", "--tags x ."),
        ("build", "--pull=true ."),
        ("run", "--link-local-ip=no x"),
    ],
)
def test_click_reads_the_others(name: str, words: str) -> None:
    assert parse(name, words.split(), {}) is None


def test_variables_that_stand_for_options_are_left_to_click() -> None:
    assert parse("run", ["x"], {"BUILDKIT_PROGRESS": "plain"}) is None
    assert parse("run", ["x"], {"BUILDKIT_PROGRESS": ""}) is not None


WORDS = st.sampled_from(
    ["", "-", "--", "a", "a=b", "-x", "--no-such", "--rm=true", "-it", "-qt", "always", "plain", "=", "--="]
)


@cache
def lines(name: str) -> st.SearchStrategy[list[str]]:
    """Lines of a command's options, right and wrong ones."""
    names = [option for row in COMMANDS[name].arguments.rows for option in (*row.names, row.off) if option]
    options = st.sampled_from(names or ["--none"])
    return st.lists(options | options | st.builds("{}={}".format, options, WORDS) | WORDS, max_size=8)


@pytest.mark.thorough
@pytest.mark.parametrize("name", COMMANDS)
@settings(max_examples=examples(100), deadline=None)
@given(data=st.data())
def test_every_line_is_read_as_click_reads_it(name: str, data: st.DataObject) -> None:
    words = data.draw(lines(name))
    found = parse(name, words, {})
    assert found is None or found == by_click(name, words)


def test_simple_commands_import_no_click(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    code = (
        "import sys, json\nimport tiffin.builder.__main__ as m\nm.os._exit = sys.exit = lambda code: None\nm.main()\n"
        "print(json.dumps(sorted(sys.modules)), file=sys.stdout)"
    )
    for words in (["build", "-q", "-t", "x", str(tmp_path)], ["run", "--rm", "--pull", "never", "nothere"]):
        argv = [sys.executable, "-c", code, "--root", str(tmp_path / "state"), *words]
        done = subprocess.run(argv, capture_output=True, text=True, check=True)
        assert "click" not in json.loads(done.stdout.splitlines()[-1]), words
