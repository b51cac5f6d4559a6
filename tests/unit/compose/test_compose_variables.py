"""Variables of compose files, and files of variables."""

from __future__ import annotations

from pathlib import Path

import pytest

from tiffin.builder.compose.dotenv import read_env_file
from tiffin.builder.compose.variables import Substitution, cast
from tiffin.builder.errors import ComposeError

VALUES = {"SET": "one", "EMPTY": "", "_x1": "two"}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("no variable", "no variable"),
        ("$SET", "one"),
        ("${SET}", "one"),
        ("$SET-$_x1", "one-two"),
        ("$$SET", "$SET"),
        ("$$$SET", "$one"),
        ("a $ b", "a $ b"),
        ("^x$", "^x$"),
        ("${NOT}", ""),
        ("${NOT-d}", "d"),
        ("${EMPTY-d}", ""),
        ("${NOT:-d}", "d"),
        ("${EMPTY:-d}", "d"),
        ("${SET:-d}", "one"),
        ("${SET+d}", "d"),
        ("${EMPTY+d}", "d"),
        ("${NOT+d}", ""),
        ("${SET:+d}", "d"),
        ("${EMPTY:+d}", ""),
        ("${SET:?why}", "one"),
        ("${EMPTY?why}", ""),
        ("${NOT:-${EMPTY:-${SET}}}", "one"),
        ("${NOT:-a ${SET} b}c", "a one bc"),
        ("${NOT:-$SET}", "one"),
        ('${NOT:-{"a": 1}}', '{"a": 1}'),
        ("${NOT:-a:?b}", "a:?b"),
        ("${SET}}", "one}"),
    ],
)
def test_variables(text: str, wanted: str) -> None:
    assert Substitution(VALUES).fill(text) == wanted


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("${NOT:?say ${SET}}", "required variable NOT is missing a value: say one"),
        ("${EMPTY:?}", "required variable EMPTY is missing a value"),
        ("${NOT?}", "missing a value"),
        ("${", "without }"),
        ("${}", "without the name"),
        ("${ SET}", "without the name"),
        ("${SET!}", "not an operator"),
        ("${SET", "without }"),
    ],
)
def test_variables_that_cannot_be(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why.replace("}", r"\}")):
        Substitution(VALUES).fill(text)


def test_a_variable_that_is_not_set_is_told_once() -> None:
    told: list[str] = []
    Substitution(VALUES, told.append).fill("$A $A ${A} ${B:-x}")
    assert told == ['The "A" variable is not set. Defaulting to a blank string.']


@pytest.mark.parametrize(
    ("text", "path", "wanted"),
    [
        ("3", "services.a.deploy.replicas", 3),
        ("yes", "services.a.tty", True),
        ("0.5", "services.a.cpus", 0.5),
        ("3", "services.a.image", "3"),
        ("true", "volumes.v.external", True),
        ("80", "services.a.ports.[].target", 80),
    ],
)
def test_texts_become_what_belongs_there(text: str, path: str, wanted: object) -> None:
    assert cast(text, tuple(path.split("."))) == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("A=b", "b"),
        ("export A = b c # note", "b c"),
        ("A: b", "b"),
        ("A='$SET \\n'", "$SET \\n"),
        ('A="$SET\\n\\"x\\" \\$SET"', 'one\n"x" $SET'),
        ("A=$SET", "one"),
        ("B=x\nA=${B}y", "xy"),
        ("A=a#b", "a#b"),
        ("A=", ""),
        ('A="two\nlines"', "two\nlines"),
        ("# A=no\n\nA=yes", "yes"),
        ("A=b\r\nC=d", "b"),
        ("SET\nA=$SET", "one"),
    ],
)
def test_files_of_variables(tmp_path: Path, text: str, wanted: str) -> None:
    path = tmp_path / ".env"
    path.write_text(text, newline="")
    assert read_env_file(path, VALUES)["A"] == wanted


@pytest.mark.parametrize(("text", "line"), [("A=b\nlol$wut", 2), ('\nA="open', 2), ("A=${", 1)])
def test_lines_of_files_of_variables_that_cannot_be(tmp_path: Path, text: str, line: int) -> None:
    path = tmp_path / ".env"
    path.write_text(text)
    with pytest.raises(ComposeError) as caught:
        read_env_file(path, VALUES)
    assert str(caught.value).startswith(f"{path}:{line}: ")


def test_a_raw_file_is_taken_as_it_stands(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("A='x' # y\n#B=c\nSET\nNOT\n")
    assert read_env_file(path, VALUES, form="raw") == {"A": "'x' # y", "SET": "one"}
