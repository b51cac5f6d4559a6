"""build --cache-reads: a RUN is found again where it read nothing of what changed, and never otherwise."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.support.cli_runner import CliRunner, own_cli, user_cli
from tests.support.listing import list_tar
from tests.support.minimal_image import base_files
from tests.support.reads_cases import CASES, EITHER, HIT, Case, dockerfile
from tests.support.unprivileged import WITH_IDS, WITHOUT_IDS

pytestmark = [pytest.mark.userns, pytest.mark.slow]
SOURCE = Path(__file__).parents[1] / "support/reads_program.c"
PER_BUILD = 58


@pytest.fixture(scope="module", params=["self", WITH_IDS, WITHOUT_IDS])
def probed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CliRunner]:
    """tiffin with an image of busybox and the program of all ways to use a file: as whoever runs the tests, and as
    users with and without subordinate ids.
    """
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("no gcc")
    program = tmp_path_factory.mktemp("program") / "probe"
    subprocess.run([compiler, "-static", "-O1", "-w", "-o", program, SOURCE, "-lpthread"], check=True)
    files = {**base_files(), "bin/probe": program.read_bytes()}
    with (
        own_cli(tmp_path_factory.mktemp("machine"))
        if request.param == "self"
        else user_cli(request.getfixturevalue("users"), request.param)
    ) as cli:
        cli.make_image(files, name="probed", config={"Env": ["PATH=/bin"]})
        yield cli


def write_files(folder: Path, edited: str) -> None:
    """The files of the cases; those with an E hold `edited`."""
    place = folder / "w"
    (place / "d").mkdir(parents=True, exist_ok=True)
    for name in ("E", "d/E", "K", "d/K", "run-E", "run-K"):
        (place / name).write_text(f"#!/bin/sh\necho {edited if 'E' in name else 'kept'}\n")
        (place / name).chmod(0o755 if "run" in name else 0o644)
    for name, target in {"link-E": "E", "link-K": "K", "link-d": "d", "chain": "link-E"}.items():
        if not (place / name).is_symlink():
            (place / name).symlink_to(target)
    with tarfile.open(folder / "packed.tar", "w") as archive:
        for name, text in {"first": edited, "other": "kept"}.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
        link = tarfile.TarInfo("second")
        link.type, link.linkname = tarfile.LNKTYPE, "first"
        archive.addfile(link)


def contents(path: Path) -> Mapping[str, bytes]:
    with tarfile.open(path) as archive:
        files = {member.name: archive.extractfile(member) for member in archive if member.isfile()}
        return {name: stream.read() for name, stream in files.items() if stream is not None}


def build(cli: CliRunner, folder: Path, *words: str, succeeds: bool = True) -> list[str]:
    """Build, and return what it says."""
    cli.own(folder)
    done = cli.run("build", "--progress", "plain", "--explain", *words, folder)
    assert (done.returncode == 0) == succeeds, done.stderr[-3000:]
    return done.stderr.splitlines()


def verdicts(lines: list[str], label: str = r"\[c(\d+) \d/\d\] RUN") -> dict[int, str]:
    found = {}
    for line in lines:
        match = re.match(label, line)
        if match is not None:
            found[int(match[1])] = HIT if ": hit: " in line else line
    return found


@pytest.mark.parametrize("cases", [CASES[first : first + PER_BUILD] for first in range(0, len(CASES), PER_BUILD)])
def test_what_reads_a_changed_file_runs_again_and_nothing_else(
    probed: CliRunner, cases: tuple[Case, ...], tmp_path: Path
) -> None:
    folder = probed.folder / "reads"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    write_files(folder, "one")
    (folder / "Dockerfile").write_text(dockerfile(cases))
    build(probed, folder, "--cache-reads")
    write_files(folder, "another")
    found = verdicts(build(probed, folder, "--cache-reads", "-o", f"type=tar,dest={probed.folder}/found.tar"))
    assert len(found) == len(cases)
    wrong = []
    for number, case in enumerate(cases):
        said = found[number]
        is_right = said == HIT if case.verdict == HIT else ": miss, files that it read changed" in said
        if case.verdict != EITHER and not is_right:
            wrong.append((case, said))
    assert wrong == []
    # never another image than one that is made anew, times apart
    build(probed, folder, "--no-cache", "-o", f"type=tar,dest={probed.folder}/anew.tar")
    places = [probed.folder / name for name in ("found.tar", "anew.tar")]
    assert list_tar(places[0]) == list_tar(places[1])
    assert contents(places[0]) == contents(places[1])
