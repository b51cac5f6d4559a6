"""The program: lazy commands, one line per error, exit codes."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import tiffin.builder.__main__ as program
from tiffin.builder.cli.app import app
from tiffin.builder.cli.fast_help import answer
from tiffin.builder.cli.groups import NOT_THERE
from tiffin.builder.cli.options.command import Command
from tiffin.builder.cli.output.errors import describe
from tiffin.builder.cli.tree import members, rows
from tiffin.builder.errors import BuildError, DockerfileError, DockerfileErrors, RunError, Span, TiffinError, UsageError

OURS = ("tiffin",)
FORBIDDEN = (
    "requests",
    "rich",
    "diskcache",
    "sqlite3",
    "zstandard",
    "deflate",
    "zlib_ng",
    "dockerfile_parse",
    "urllib3",
)
DOCKERFILE = "FROM x\nENV a=b\n# comment\nRUN one && \\\n    two\nUSER nobody\nCMD x\n"


def run(*words: str, env: dict[str, str] | None = None, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # type: ignore[call-overload,no-any-return]  # options pass through
        [sys.executable, "-m", "tiffin", *words],
        capture_output=True,
        text=True,
        env={**os.environ, **(env or {})},
        **options,
    )


def test_help_imports_no_library_and_nothing_that_commands_run_with() -> None:
    code = (
        "import sys, json\nbefore = set(sys.modules)\nsys.argv = ['tiffin', '--help']\n"
        "import tiffin.builder.__main__ as m, os\nm.os._exit = lambda code: None\nm.main()\n"
        "print(json.dumps(sorted(set(sys.modules) - before)), file=sys.stderr)"
    )
    env = {name: value for name, value in os.environ.items() if name != "COLUMNS"}  # readline sets it
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    loaded = json.loads(result.stderr)
    libraries = {name.split(".")[0] for name in loaded} - sys.stdlib_module_names - set(OURS)
    assert not {name for name in libraries if not name.startswith("__editable__")}
    used = (
        "api",
        "containers",
        "dockerfile",
        "execute",
        "layer",
        "oci",
        "registry",
        "sandbox",
        "settings.config_file",
        "solver",
    )
    assert not [name for name in loaded if name.startswith(tuple(f"tiffin.builder.{part}" for part in used))]
    assert not [name for name in loaded if name.startswith(("tiffin.cache.store", "tiffin.cache.shared"))]
    for name, row in members().items():
        assert f"{name} " in result.stdout
        assert row.about in result.stdout


@pytest.mark.thorough
@pytest.mark.parametrize("words", [(), ("--help",), ("-h",), ("help",), ("version",), ("--version",), ("-v",)])
def test_what_is_answered_without_click_is_what_click_answers(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)  # readline sets it
    reported = CliRunner().invoke(app, words, prog_name="tiffin", env={"COLUMNS": "80"})
    assert (reported.exit_code, reported.output) == (0, f"{answer(words)}\n")
    assert run(*words).stdout == reported.output


def test_narrow_terminals_have_lines_broken_by_click() -> None:
    assert max(map(len, run("--help", env={"COLUMNS": "60"}).stdout.splitlines())) <= 60


@pytest.mark.thorough
@pytest.mark.parametrize("words", rows(), ids=" ".join)
def test_every_command_has_help(words: tuple[str, ...]) -> None:
    reported = CliRunner().invoke(app, [*words, "--help"], prog_name="tiffin", env={"COLUMNS": "100"})
    assert reported.exit_code == 0 and reported.output.startswith(f"Usage: tiffin {' '.join(words)} ")
    row = rows()[words]
    assert " ".join(row.help.split()[:5]) in " ".join(reported.output.split())
    if isinstance(row, Command):
        assert all(f"  {line}\n" in reported.output for line in row.examples)
        assert all(f"  {option.spelling()}" in reported.output for option in row.arguments.rows if option.names)
        assert row.is_hidden or row.examples


def test_run_of_a_command_line_loads_no_network_or_database(tmp_path: Path) -> None:
    code = (
        "import sys, json\nsys.argv = ['tiffin', '--root', sys.argv[1], 'run', '--pull', 'never', 'none']\n"
        "import tiffin.builder.__main__ as m\nm.os._exit = lambda code: None\nm.main()\n"
        f"print([name for name in {FORBIDDEN!r} if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code, str(tmp_path / "s")], capture_output=True, text=True)
    assert result.stdout == "[]\n", result.stderr


@pytest.mark.parametrize("option", ["--version", "-v"])
def test_version(option: str) -> None:
    result = run(option)
    assert (result.returncode, result.stdout.split()[:2]) == (0, ["tiffin", "version"])


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["biuld"], 1, 'error: unknown command "biuld"; did you mean "build"?; see tiffin --help\n'),
        (["qqqqqq"], 1, 'error: unknown command "qqqqqq"; see tiffin --help\n'),
        (["search", "x"], 1, f'error: "search" is not there: {NOT_THERE["search"]}; see tiffin --help\n'),
        (["exce"], 1, 'error: unknown command "exce"; did you mean "exec"?; see tiffin --help\n'),
        (
            ["image", "search"],
            1,
            f'error: "image search" is not there: {NOT_THERE["search"]}; see tiffin image --help\n',
        ),
        (["ps", "--qqq"], 125, "error: No such option '--qqq'; see tiffin ps --help\n"),
        (["container", "rm", "--qqq"], 125, "error: No such option '--qqq'; see tiffin container rm --help\n"),
        (["export", "-q", "x"], 125, "error: No such option '-q'; see tiffin export --help\n"),
        (
            ["run", "--link-local-ip", "::2", "x"],
            125,
            ("error: --link-local-ip is not supported: addresses are given with --ip; see tiffin run --help\n"),
        ),
        (["images", "--qqq"], 2, "error: No such option '--qqq'; see tiffin images --help\n"),
        (["--zzz"], 2, "error: No such option '--zzz'; see tiffin --help\n"),
        (["run"], 125, "error: Missing argument 'IMAGE'; see tiffin run --help\n"),
        (["run", "--zzz", "x"], 125, "error: No such option '--zzz'; see tiffin run --help\n"),
    ],
)
def test_wrong_usage_is_one_line(words: list[str], code: int, text: str) -> None:
    result = run(*words)
    assert (result.returncode, result.stdout) == (code, "")
    assert result.stderr.replace('"', "'") == text.replace('"', "'")


@pytest.mark.parametrize("option", ["--use-api-socket", "--cpu-rt-period=1", "--device-read-bps=/dev/sda:1m"])
def test_options_that_are_not_done_are_refused_by_name(option: str) -> None:
    result = run("run", option, "image")
    assert result.returncode == 125
    assert " is not supported: " in result.stderr
    assert result.stderr.count("\n") == 1


def test_error_is_one_line_with_its_remedy_and_debug_shows_where(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    result = run("--root", str(tmp_path / "file"), "images")
    assert result.returncode == 1
    assert result.stderr.startswith("error: ")
    assert "; " in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stderr.count("\n") == 1
    assert "Traceback" in run("--debug", "--root", str(tmp_path / "file"), "images").stderr


def test_closed_stdout_is_no_traceback() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    result = subprocess.run([sys.executable, "-m", "tiffin", "--help"], stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert result.returncode == 1
    assert result.stderr == b""


def test_closed_standard_descriptors_are_replaced(tmp_path: Path) -> None:
    """A file of the store must not become somebody's stdout."""
    words = f"{sys.executable} -m tiffin --root {tmp_path}/s images 0<&- 1>&-"
    result = subprocess.run(["sh", "-c", words], stderr=subprocess.PIPE, text=True)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "debug"),
    [
        ([], False),
        (["--debug", "run"], True),
        (["--root", "--debug", "run"], False),
        (["--root", "x", "--debug", "run"], True),
        (["--root=x", "--debug"], True),
        (["run", "image", "--debug"], False),
    ],
)
def test_debug_is_only_looked_for_before_the_command(arguments: list[str], debug: bool) -> None:
    assert program.is_debug(arguments) is debug


@pytest.mark.parametrize(
    ("exc", "code", "text"),
    [
        (TiffinError("it failed", remedy="do this"), 1, "error: it failed; do this"),
        (UsageError("wrong", remedy="right"), 2, "error: wrong; right"),
        (KeyboardInterrupt(), 130, "error: interrupted"),
        (click.Abort(), 130, "error: interrupted"),
        (program.Ended(signal.SIGTERM), 143, "error: ended by SIGTERM"),
        (OSError(errno.ENOSPC, "No space left", "/f"), 1, "error: no space left while writing /f; free some space"),
        (PermissionError(errno.EACCES, "Permission denied", "/f"), 1, "error: cannot use /f: Permission denied; check"),
        (BrokenPipeError(), 1, ""),
        (SystemExit(17), 17, ""),
        (ZeroDivisionError("x"), 70, "error: internal error (ZeroDivisionError: x); run again with tiffin --debug"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_every_exception_is_told(exc: BaseException, code: int, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert program._report(exc) == code
    reported = capsys.readouterr()
    assert reported.out == ""
    assert reported.err.startswith(text)
    assert reported.err.count("\n") == (1 if text else 0)


def test_sigterm_ends_through_the_clean_up(tmp_path: Path) -> None:
    code = (
        "import sys, time, pathlib, tiffin.builder.__main__ as m, tiffin.builder.cli.app as a\n"
        "def app(**_):\n"
        "    try:\n        print('ready', flush=True)\n        time.sleep(60)\n"
        "    finally:\n        pathlib.Path(sys.argv[1]).write_text('cleaned')\n"
        "a.app = app\nm.main()"
    )
    mark = tmp_path / "mark"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(mark)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        started = time.monotonic()
        process.terminate()
        _, reported = process.communicate()
    assert (process.returncode, reported) == (143, "error: ended by SIGTERM\n")
    assert mark.read_text() == "cleaned"
    assert time.monotonic() - started < 10


# -- excerpts --------------------------------------------------------------------------------------------------------


def span(file: Path | str) -> Span:
    return Span(file=str(file), first_line=4, last_line=5, text="RUN one && \\\n    two")


def test_excerpt_shows_the_lines_between_their_neighbours(tmp_path: Path) -> None:
    file = tmp_path / "Dockerfile"
    file.write_text(DOCKERFILE)
    assert describe(BuildError("it broke", span=span(file), remedy="mend it")) == (
        f"{file}:4\n--------------------\n   2 |     ENV a=b\n   3 |     # comment\n   4 | >>> RUN one && \\\n"
        f"   5 | >>>     two\n   6 |     USER nobody\n   7 |     CMD x\n--------------------\n"
        f"error: {file}:4: it broke; mend it"
    )


@pytest.mark.parametrize("text", [None, "FROM other\n", "FROM x\n\n\nRUN three\n"])
def test_excerpt_without_the_file_shows_the_lines_alone(text: str | None, tmp_path: Path) -> None:
    file = tmp_path / "Dockerfile"
    if text is not None:
        file.write_text(text)
    shown = describe(DockerfileError("bad", span=span(file)))
    assert shown.count(" | ") == shown.count(">>>") == 2


def test_failed_command_shows_its_output_lines_and_code(tmp_path: Path) -> None:
    error = RunError(
        'process "/bin/sh -c x" did not complete successfully: exit code: 3',
        status=3,
        tail="first\n\x1b[31mred\x1b[0m\n10%\r50%\r100%\n\n",
        span=span(tmp_path / "Dockerfile"),
    )
    lines = describe(error).split("\n")
    assert lines[:5] == ["------", " > first", " > red", " > 100%", "------"]
    assert lines[-1].endswith("exit code: 3")


def test_all_errors_of_a_dockerfile_are_told_together() -> None:
    text = describe(DockerfileErrors([DockerfileError("one", span=span("none")), DockerfileError("two")]))
    assert "error: none:4: one\n" in text
    assert text.endswith("error: two")
