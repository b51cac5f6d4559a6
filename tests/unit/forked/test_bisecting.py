"""tiffin bisect: the first layer with which a command fails."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.support.forked import Forked
from tests.support.raw_program import Call, raw_program


def reads(path: bytes) -> Call:
    return "openat", (-100, path, os.O_RDONLY)


@pytest.mark.thorough
def test_the_layer_is_found_that_broke_a_command(forked: Forked, tmp_path: Path) -> None:
    folder = tmp_path / "context"
    folder.mkdir()
    for name, looked_for in (("works", b"/one"), ("broken", b"/none")):
        (folder / name).write_bytes(raw_program(reads(looked_for)))
        (folder / name).chmod(0o755)
    layers = ("one /one", "works /bin/look", "one /two", "one /three", "broken /bin/look", "one /four", "one /five")
    (folder / "one").write_text("1\n")
    (folder / "Dockerfile").write_text("FROM scratch\n" + "".join(f"COPY {layer}\n" for layer in layers))
    forked("build", "-t", "image", folder)
    found = forked("bisect", "image", "/bin/look")
    assert found.stdout.splitlines()[0].startswith("Dockerfile:6 ") and "layer 5 of 7: exit code 2" in found.stdout
    document = json.loads(forked("bisect", "--format", "json", "image", "/bin/look").stdout)
    assert (document["layer"], document["exitCode"], document["hasWorked"]) == (5, 2, True)
    assert "never succeeded" in forked("bisect", "image", "/bin/none").stdout
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY one /one\nCOPY works /bin/look\n")
    forked("build", "-t", "fine", folder)
    for words, reason in ((("fine", "/bin/look"), "succeeds in fine"), (("fine",), "one command is needed")):
        failed = forked("bisect", *words, check=False)
        assert failed.returncode == 2 and reason in failed.stderr
