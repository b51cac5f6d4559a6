"""tiffin bisect, as root and as a user."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator

import pytest

from tests.support.cli_runner import CliRunner

pytestmark = pytest.mark.userns
DOCKERFILE = """FROM minimal
RUN echo 1 > /one
RUN printf '#!/bin/sh\\necho fine\\n' > /bin/tool && chmod +x /bin/tool
RUN echo 'app:x:7:7::/:/bin/sh' >> /etc/passwd && echo 'app:x:7:' >> /etc/group
RUN echo 3 > /three
ENV A=b
RUN chmod -x /bin/tool && rm /one
RUN echo 4 > /four
COPY Dockerfile /five
"""


@pytest.fixture(scope="module")
def image(cli: CliRunner) -> Iterator[str]:
    folder = cli.folder / "bisected"
    folder.mkdir()
    (folder / "Dockerfile").write_text(DOCKERFILE)
    (folder / "users").write_text('FROM bisected\nUSER app\nENTRYPOINT ["false"]\n')
    cli.own(folder)
    for words in (("-t", "bisected"), ("-t", "used", "-f", str(folder / "users"))):
        assert cli.run("build", "-q", *words, folder).returncode == 0
    yield "bisected"
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("words", "line", "told"),
    [
        (["bisected", "tool"], "Dockerfile:7 ", "layer 6 of 8: exit code 126, succeeds before it"),
        (["--run", "test -e /one", "bisected"], "Dockerfile:7 ", "layer 6 of 8: exit code 1, succeeds before it"),
        (["--run", "test ! -e /three", "bisected"], "Dockerfile:5 ", "layer 5 of 8: exit code 1, succeeds before it"),
        (["--run", "! test -e /five", "bisected"], "Dockerfile:9 ", "layer 8 of 8: exit code 1, succeeds before it"),
        (["--run", "exit 9", "bisected"], "docker.io/library/minimal", "layer 1 of 8: exit code 9, never succeeded"),
        (["used", "tool"], "Dockerfile:7 ", "layer 6 of 8: exit code 126, succeeds before it"),
    ],
)
def test_the_first_step_is_found(cli: CliRunner, image: str, words: list[str], line: str, told: str) -> None:
    done = cli.run("bisect", *words)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first.startswith(line) and second == told
    assert cli.run("ps", "-aq").stdout == ""


def test_few_runs_are_needed(cli: CliRunner, image: str) -> None:
    done = cli.run("bisect", "--format", "json", image, "tool")
    assert done.stderr.count("layer ") == 5
    found = json.loads(done.stdout)
    assert (found["layer"], found["hasWorked"], found["lines"][0]["first"]) == (6, True, 7)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["bisected", "true"], "the command succeeds in bisected"),
        (["bisected"], "one command is needed"),
        (["--run", "true", "bisected", "false"], "one command is needed"),
        (["127.0.0.1:1/none", "true"], "127.0.0.1:1"),
    ],
)
def test_what_cannot_be_found_is_told(cli: CliRunner, image: str, words: list[str], reason: str) -> None:
    done = cli.run("bisect", *words)
    assert done.returncode != 0 and reason in done.stderr
