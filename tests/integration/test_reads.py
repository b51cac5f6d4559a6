"""build --cache-reads: a RUN is found again where it read nothing of what changed, and never otherwise."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
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


def build(cli: CliRunner, folder: Path, *words: str | Path, **environ: str) -> list[str]:
    """Build, and return what it says."""
    cli.own(folder)
    done = cli.run("build", "--progress", "plain", "--explain", *words, folder, env=environ)
    assert done.returncode == 0, done.stderr[-3000:]
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


TEXT = """FROM probed
COPY w /w
WORKDIR /w
RUN cat K > out; cat /proc/sys/kernel/random/uuid > when
RUN cat out d/K > more
"""


@pytest.fixture
def folder(probed: CliRunner) -> Path:
    path = Path(tempfile.mkdtemp(dir=probed.folder))
    write_files(path, "one")
    (path / "Dockerfile").write_text(TEXT.replace("WORKDIR", f"ENV PLACE={path.name}\nWORKDIR"))
    return path


def edit(folder: Path, before: str, after: str) -> None:
    text = (folder / "Dockerfile").read_text()
    assert before in text
    (folder / "Dockerfile").write_text(text.replace(before, after))


def runs(lines: list[str]) -> list[str]:
    """What is said of each RUN."""
    return [line.partition(": ")[2] for line in lines if re.match(r"\[\d/\d\] RUN", line)]


def test_another_machine_finds_by_reads_what_is_shared_and_signed(probed: CliRunner, folder: Path) -> None:
    key, cache = folder / "key", f"type=dir,path={folder}/rows"
    key.write_text("one secret of many machines")
    (folder / "other").write_text("another secret of machines")
    (folder / ".dockerignore").write_text("key\nrows\nother\n")
    signed = (f"--cache-sign-key={key}", "--cache-reads")
    build(probed, folder, *signed, "--cache-to", cache)
    write_files(folder, "another")
    for words, verdict in (
        (signed, ": hit: "),
        (("--cache-sign-key", folder / "other", "--cache-reads"), ""),
        (signed[:1], ""),
    ):
        other = replace(probed, folder=Path(tempfile.mkdtemp(dir=probed.folder)))
        shutil.copytree(probed.state / "images", other.state / "images")
        other.own(other.folder)
        said = runs(build(other, folder, *words, "--cache-from", cache))
        if verdict:
            assert [text.partition(";")[0] for text in said] == ["hit: 1 file read, others changed unread"] * 2, said
        else:
            assert all(text.startswith("miss") for text in said), said


def test_proofs_run_again_what_hit_and_name_the_files_that_differ(probed: CliRunner, folder: Path) -> None:
    build(probed, folder, "--cache-reads")
    write_files(folder, "another")
    lines = build(probed, folder, "--verify-reads")
    assert any("warning" in line.lower() and "otherwise than its record by reads: w/when" in line for line in lines), (
        lines
    )
    write_files(folder, "a third")
    edit(folder, "; cat /proc/sys/kernel/random/uuid > when", "")
    build(probed, folder, "--cache-reads")
    write_files(folder, "a fourth")
    lines = build(probed, folder, "--verify-reads=100")
    assert len([line for line in lines if "ran again and came out as its record by reads says" in line]) == 2, lines
    write_files(folder, "a fifth")
    assert all(text.startswith("hit: ") for text in runs(build(probed, folder, "--verify-reads=0")))


def test_a_build_that_does_not_ask_finds_nothing_by_reads(probed: CliRunner, folder: Path) -> None:
    build(probed, folder)
    write_files(folder, "another")
    assert all(text.startswith("miss") for text in runs(build(probed, folder, "--cache-reads")))
    write_files(folder, "a third")
    assert all(text.startswith("hit: ") for text in runs(build(probed, folder, "--cache-reads")))
    assert all(text.startswith("miss") for text in runs(build(probed, folder)))


@pytest.mark.parametrize(
    ("setting", "above", "expected"),
    [
        ({}, "# tiffin: reads", "hit"),
        ({"TIFFIN_CACHE_READS": "1"}, "", "hit"),
        ({"TIFFIN_CACHE_READS": "1"}, "# tiffin: reads=off", "miss"),
        ({"TIFFIN_CONFIG": "[build]\ncache-reads = true\n"}, "", "hit"),
        ({}, "", "miss"),
    ],
)
def test_it_is_asked_for_by_comment_variable_or_configuration(
    probed: CliRunner, folder: Path, setting: dict[str, str], above: str, expected: str
) -> None:
    edit(folder, "RUN cat K", f"{above}\nRUN cat K")
    (folder / ".dockerignore").write_text("config")
    (folder / "config").write_text(setting.get("TIFFIN_CONFIG", ""))
    environ = {name: str(folder / "config") if name == "TIFFIN_CONFIG" else value for name, value in setting.items()}
    build(probed, folder, **environ)
    write_files(folder, "another")
    assert runs(build(probed, folder, **environ))[0].startswith(expected)


def test_what_the_law_counts_as_a_whole(probed: CliRunner, folder: Path) -> None:
    """Names, modes, mounts and users decide, read or not."""

    def mode(folder: Path) -> None:
        (folder / "w/E").chmod(0o600)

    def name(folder: Path) -> None:
        (folder / "w/new").touch()

    def target(folder: Path) -> None:
        (folder / "w/link-E").unlink()
        (folder / "w/link-E").symlink_to("K")

    build(probed, folder, "--cache-reads")
    for change in (mode, name, target):
        change(folder)
        said = runs(build(probed, folder, "--cache-reads"))
        assert all(text.startswith("miss") for text in said), (change, said)
    for number in (1, 2):  # what a bind mount shows counts as a whole; what a cache mount hides is not read
        (folder / "Dockerfile").write_text(
            "FROM probed\nCOPY w /w\nRUN --mount=type=bind,source=w/d,target=/d true\n"
            "RUN --mount=type=cache,target=/w/d ls -l /w/d\nRUN --mount=type=tmpfs,target=/w cat /w/E || true\n"
        )
        write_files(folder, f"number {number}")
        said = runs(build(probed, folder, "--cache-reads"))
    assert [text[:4] for text in said] == ["miss", "hit:", "hit:"], said


@pytest.mark.parametrize("place", ["etc/passwd", "w/users"])
def test_users_that_come_by_copy_are_read(probed: CliRunner, folder: Path, place: str) -> None:
    """tiffin reads them itself, before there is a sandbox, and through links."""
    (folder / "etc").mkdir()
    if place != "etc/passwd":
        (folder / "etc/passwd").symlink_to(f"/{place}")
    (folder / "Dockerfile").write_text(
        f"FROM probed\nENV PLACE={folder.name}\nCOPY w /w\nCOPY etc /etc\nUSER someone\nRUN echo $HOME > /tmp/out\n"
    )
    for home in ("/one", "/another"):
        (folder / place).write_text(f"root:x:0:0::/root:/bin/sh\nsomeone:x:5:5::{home}:/bin/sh\n")
        said = runs(build(probed, folder, "--cache-reads"))
    assert said[0].startswith(f"miss, files that it read changed: {place}"), said


def test_what_io_uring_reads_counts_where_it_is_allowed(probed: CliRunner, folder: Path) -> None:
    ways = ("io_uring-open", "io_uring-stat")
    lines = [
        f"FROM probed AS c{number}\nCOPY w /w\nWORKDIR /w\nRUN probe {way} E > out\n" for number, way in enumerate(ways)
    ]
    (folder / "Dockerfile").write_text(
        f"ARG PLACE={folder.name}\n"
        + "".join(lines)
        + "FROM scratch\nCOPY --from=c0 /w/out /0\nCOPY --from=c1 /w/out /1\n"
    )
    words = ("--cache-reads", "--security-opt", "seccomp=unconfined")
    build(probed, folder, *words, "-o", f"type=tar,dest={folder}/first.out")
    is_there = bool(contents(folder / "first.out")["0"])  # not where owners are emulated: docs/ownership.md
    write_files(folder, "another")
    found = verdicts(build(probed, folder, *words))
    assert [": miss, files that it read changed: w/E" in found[number] for number in (0, 1)] == [is_there] * 2, found
