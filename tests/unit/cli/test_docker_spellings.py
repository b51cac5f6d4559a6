"""docker's spellings: flags with values, groups of commands, help; lists, ages and filters as docker prints them."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from tests.unit.cli.test_cli_app import run
from tiffin.builder.cli.options.option import Arguments, Flag, Many, Words
from tiffin.builder.cli.options.spellings import plain_flags
from tiffin.builder.cli.output.lists import created_text, filters_of, show_rows
from tiffin.builder.errors import UsageError
from tiffin.builder.options import has_labels
from tiffin.builder.plain_text import duration_text


class Sample(Arguments):
    ends_options = True
    words = Words("[WORD]...")
    rm = Flag("--rm")
    interactive = Flag("-i", "--interactive")
    tty = Flag("-t", "--tty")
    env = Many("-e", "--env")


@pytest.mark.parametrize(
    ("words", "plain"),
    [
        (["--rm=true", "x"], ["--rm", "x"]),
        (["--rm=1", "--rm=F", "x"], ["x"]),
        (["--rm", "--rm=false", "--rm", "x"], ["--rm", "x"]),
        (["-it", "x"], ["-i", "-t", "x"]),
        (["-it=false", "x"], ["-i", "x"]),
        (["-i=true", "x"], ["-i", "x"]),
        (["-e=A=1", "x"], ["-e", "A=1", "x"]),
        (["-eA=1", "x"], ["-e", "A=1", "x"]),
        (["-ie", "A=1", "x"], ["-i", "-e", "A=1", "x"]),
        (["--env=A=1", "--env", "--rm=no", "x"], ["--env=A=1", "--env", "--rm=no", "x"]),
        (["-e", "--rm=no", "x"], ["-e", "--rm=no", "x"]),
        (["x", "--rm=no", "-e=1"], ["x", "--rm=no", "-e=1"]),
        (["--", "--rm=no"], ["--", "--rm=no"]),
        (["--nope=1", "-x=2", "-", "y"], ["--nope=1", "-x=2", "-", "y"]),
    ],
)
def test_flags_are_read_as_docker_reads_them(words: list[str], plain: list[str]) -> None:
    assert plain_flags(Sample, words) == plain


def test_a_flag_is_true_or_false() -> None:
    with pytest.raises(ValueError, match='--rm: "maybe" is neither true nor false'):
        plain_flags(Sample, ["--rm=maybe"])


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        ((), 0, "This machine:"),
        (("help",), 0, "This machine:"),
        (("help", "build"), 0, "Usage: tiffin build"),
        (("help", "image", "ls"), 0, "Usage: tiffin image ls"),
        (("image",), 0, "prune"),
        (("system",), 0, "reset"),
        (("buildx", "build", "--help"), 0, "Usage: tiffin buildx build"),
        (("image", "sl"), 1, 'error: unknown command "sl"'),
        (("imagse",), 1, 'did you mean "images"?'),
        (("run", "--rm=maybe", "x"), 125, "error: --rm"),
        (("build", "--pull=maybe", "."), 2, "error: --pull"),
        (("version", "--format", "{{.Client.Version}}"), 0, "0."),
    ],
)
def test_groups_and_help(words: tuple[str, ...], code: int, text: str) -> None:
    result = run(*words)
    assert result.returncode == code
    assert text in (result.stdout if code == 0 else result.stderr)
    assert (result.stderr if code == 0 else result.stdout) == ""


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.5, "Less than a second"),
        (1, "1 second"),
        (59, "59 seconds"),
        (60, "About a minute"),
        (180, "3 minutes"),
        (3600, "About an hour"),
        (47 * 3600, "47 hours"),
        (48 * 3600, "2 days"),
        (13 * 86400, "13 days"),
        (14 * 86400, "2 weeks"),
        (59 * 86400, "8 weeks"),
        (60 * 86400, "2 months"),
        (729 * 86400, "24 months"),
        (730 * 86400, "2 years"),
    ],
)
def test_ages_are_in_docker_words(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


def test_created_at_has_docker_form() -> None:
    assert created_text("2026-11-25T02:39:25.104178978Z") == "2026-11-25 02:39:25 +0000 UTC"
    assert created_text("yesterday") == "N/A"


ROWS = [{"ID": "0ac3d2b50415", "Tag": "latest", "Size": "2MB"}, {"ID": "1", "Tag": "v1", "Size": "3MB"}]
HEADINGS = {"ID": "IMAGE ID", "Tag": "TAG", "Size": "SIZE"}


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("table", "TAG       IMAGE ID\nlatest    0ac3d2b50415\nv1        1\n"),
        ("json", '{"ID":"0ac3d2b50415","Size":"2MB","Tag":"latest"}\n{"ID":"1","Size":"3MB","Tag":"v1"}\n'),
        ("{{.Tag}}@{{.ID}}", "latest@0ac3d2b50415\nv1@1\n"),
        (r"{{.Tag}}\t{{.ID}}", "latest\t0ac3d2b50415\nv1\t1\n"),
        (r"table {{.Tag}}\t{{.Size}}", "TAG       SIZE\nlatest    2MB\nv1        3MB\n"),
    ],
)
def test_forms_of_lists(capsys: pytest.CaptureFixture[str], form: str, text: str) -> None:
    show_rows(ROWS, form, ["Tag", "ID"], HEADINGS)
    assert capsys.readouterr().out == text


def test_filters() -> None:
    assert filters_of(["label=a=b", "label=c", "dangling=true"], ["label", "dangling"]) == {
        "label": ["a=b", "c"],
        "dangling": ["true"],
    }
    with pytest.raises(UsageError, match=re.escape('--filter "foo=bar" is not supported')):
        filters_of(["foo=bar"], ["label"])
    check: Callable[[list[str]], bool] = lambda wanted: has_labels({"a": "b", "c": ""}, wanted)  # noqa: E731
    assert check(["a", "a=b", "c="]) and not check(["a=c"]) and not check(["d"])
