"""docs/api.md is true: its example runs as it stands, and its table names what there is."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import CHECKOUT, Run
from tests.support.servers import Registry
from tiffin.builder.api import subrequests
from tiffin.builder.api.build import build
from tiffin.builder.api.build_options import BuildOptions
from tiffin.builder.api.image_files import open_image
from tiffin.builder.api.session import Session
from tiffin.builder.delivery.output_spec import parse_output
from tiffin.builder.errors import ImageError, UsageError
from tiffin.builder.events import Event, NullSink, StepCached
from tiffin.builder.oci.reference import Reference
from tiffin.cache.foundation.frozen import replace

pytestmark = [pytest.mark.userns, pytest.mark.network]
TEXT = (CHECKOUT / "docs/api.md").read_text()


def test_example_runs_as_it_stands(tiffin: Run, base: str, root: Path, registry: Registry, tmp_path: Path) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    program = tmp_path / "example.py"
    program.write_text(example.replace("REGISTRY", registry.host))
    environ = {**os.environ, "TIFFIN_ROOT": str(root)}
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, env=environ, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert any("RUN tr a-z A-Z" in line for line in lines)
    image_id, digest = next(line for line in lines if line.startswith("sha256:")).split()
    assert "['srv/greeting', 'srv/loud'] b'HELLO\\n'" in lines
    assert f"{registry.host}/greeter@{digest}" in lines
    assert lines[-1] == "HELLO"
    assert tiffin("inspect", "--format", "{{.Id}}", f"{registry.host}/greeter").stdout.strip() == image_id


def test_table_names_what_there_is() -> None:
    rows = re.findall(r"^\| (`[a-z_.`, ]+`) \|(.*)\|$", TEXT, re.MULTILINE)
    modules = [
        importlib.import_module(f"tiffin.builder.api.{name}") for row in rows for name in re.findall("[a-z_.]+", row[0])
    ]
    assert len(modules) >= 14
    for _, text in rows:
        for name in re.findall(r"`([A-Za-z_]+)[`(]", text):
            assert any(hasattr(module, name) for module in modules), name


class Events:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.all: list[Event] = []

    def emit(self, event: Event) -> None:
        self.all.append(event)


@pytest.fixture
def session(root: Path) -> Session:
    return Session(root)


def test_build_without_run_stays_in_this_process(session: Session, context: Callable[..., Path]) -> None:
    folder = context("FROM scratch\nCOPY a b/\n", a="text")
    options = BuildOptions(context=str(folder), names=(Reference.parse("made:1"),))
    first = build(options, session, NullSink())
    events = Events()
    again = build(options, session, events)
    refs = [result.metadata["buildx.build.ref"] for result in (first, again)]
    assert len(set(refs)) == 2, "each build has a record"
    assert replace(first, metadata={}) == replace(again, metadata={}) and first.names == (Reference.parse("made:1"),)
    assert [event for event in events.all if isinstance(event, StepCached)]
    assert first.metadata["containerimage.config.digest"] == str(first.image_id)
    with open_image("made:1", session) as files:
        assert [entry.path for entry in files.list()] == ["b"]
        assert files.open("b/a").read() == b"text" and files.stat("/b/a").size == 4
        for path in ("c", "b/a/x"):
            with pytest.raises(ImageError, match="has no"):
                files.stat(path)
        with pytest.raises(ImageError, match="is not a directory"):
            files.list("b/a")
        with pytest.raises(ImageError, match="is not a regular file"):
            files.open("b")


def test_text_stands_for_the_dockerfile_of_the_context(session: Session, context: Callable[..., Path]) -> None:
    folder = context("FROM nowhere\n", a="1", b="2")
    options = BuildOptions(context=str(folder), dockerfile="FROM scratch\nCOPY b /\n")
    result = build(options, session, NullSink())
    with open_image(str(result.image_id), session) as files:
        assert [entry.path for entry in files.list()] == ["b"]


def test_questions_about_a_build_answer_with_values(session: Session, context: Callable[..., Path]) -> None:
    folder = context("# one is first\nFROM scratch AS one\nARG V=1\nFROM one AS Two\nCOPY gone /\n")
    options = BuildOptions(context=str(folder))
    targets, source = subrequests.list_targets(options, session, NullSink())
    assert [(target.name, target.is_default) for target in targets] == [("one", False), ("two", True)]
    assert source == (folder / "Dockerfile").read_bytes()
    checked = subrequests.check(options, session, NullSink())
    assert [found.rule for found in checked.findings] == ["StageNameCasing"] and checked.error is None


def test_options_that_contradict_each_other_are_refused_before_anything_is_read(session: Session) -> None:
    outputs = (parse_output("type=oci,dest=a,compression=zstd"), parse_output("type=oci,dest=b"))
    with pytest.raises(UsageError, match="different compressions"):
        build(BuildOptions(context="/missing", outputs=outputs), session, NullSink())
    with pytest.raises(UsageError, match="pushing needs a name"):
        build(BuildOptions(context="/missing", outputs=(parse_output("type=registry"),)), session, NullSink())
