"""Random trees, random programs, random edits: with --cache-reads never another image than made anew."""

from __future__ import annotations

import os
import random
import shutil
import tarfile
import tempfile
from pathlib import Path

import pytest

from tests.support.cli_runner import CliRunner
from tests.support.listing import list_tar

pytestmark = [pytest.mark.userns, pytest.mark.slow]
ROUNDS = int(os.environ.get("TIFFIN_READS_ROUNDS", "6"))
EDITS = 4
NAMES = ("a", "b", "c", "d", "e")
ACTS = (
    "cat {0} >> out", "cp {0} {1}", "cp -r {0} {1}", "mv {0} {1}", "rm -rf {0}", "ln {0} {1}", "ln -s {0} {1}",
    "mkdir -p {0}", "echo {2} > {0}", "echo {2} >> {0}",
    "test -e {0} && echo yes >> out", "test -s {0} && echo full >> out",
    "wc -c < {0} >> out", "echo {0}/* >> out", "ls {0} >> out", "find {0} | sort >> out", "md5sum {0} >> out",
    "chmod 600 {0}", "readlink {0} >> out", "rm -rf {0}; mkdir {0}; echo {2} > {0}/f", "sed -i s/1/{2}/ {0}",
    "for x in {0}/*; do cat $x >> out; done", "(cat {0} > late) & wait", "tar c {0} 2>/dev/null | tar t | sort >> out",
    "cp -a {0} /keep; rm -rf {0}; cp -a /keep {0}; rm -rf /keep", "[ {0} -nt nowhere ] && echo newer >> out",
    "sort {0} {1} >> out", "cmp -s {0} {1} && echo same >> out", "du -s {0} > /dev/null", "truncate -s 1 {0}",
)  # fmt: skip


def random_path(choice: random.Random) -> str:
    return "/".join(choice.choice(NAMES) for _ in range(choice.randint(1, 3)))


def random_tree(choice: random.Random, place: Path) -> None:
    for _ in range(choice.randint(4, 16)):
        path = place / random_path(choice)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if choice.random() < 0.15:
                path.symlink_to(choice.choice(NAMES))
            else:
                path.write_text(f"{choice.randrange(100)}\n" * choice.randrange(4))
        except OSError:
            continue  # a name of something else


def edit_some(choice: random.Random, place: Path) -> None:
    """Change what some files hold; now and then a name or a mode."""
    files = sorted(path for path in place.rglob("*") if path.is_file() and not path.is_symlink())
    for path in choice.sample(files, min(len(files), choice.randint(1, 2))):
        path.write_text(f"{choice.randrange(100)}\n" * choice.randrange(4))
    if files and choice.random() < 0.1:
        choice.choice(files).chmod(choice.choice((0o600, 0o644, 0o755)))


def random_steps(choice: random.Random) -> str:
    lines = ["FROM minimal", "COPY one /w", "WORKDIR /w"]
    for _ in range(choice.randint(2, 5)):
        if choice.random() < 0.25:
            lines.append(choice.choice(("COPY two /w/a", "COPY two /w", "COPY two/ /w/new/")))
        acts = [
            choice.choice(ACTS).format(random_path(choice), random_path(choice), choice.randrange(100))
            for _ in range(choice.randint(1, 4))
        ]
        lines += ["RUN <<END", *acts, "true", "END"]
    return "\n".join([*lines, "FROM scratch", "COPY --from=0 /w /w"]) + "\n"


def outcome(path: Path) -> dict[str, object]:
    listed = {name: entry._replace(names=()) for name, entry in list_tar(path).items()}
    with tarfile.open(path) as archive:
        files = {member.name: archive.extractfile(member) for member in archive if member.isfile()}
        return {**listed, **{f"content of {name}": stream.read() for name, stream in files.items() if stream}}


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_image_is_the_one_that_is_made_anew(cli: CliRunner, seed: int) -> None:
    choice = random.Random(int(os.environ.get("TIFFIN_READS_SEED", "0")) + seed)
    folder = Path(tempfile.mkdtemp(dir=cli.folder))
    for name in ("one", "two"):
        (folder / name).mkdir()
        random_tree(choice, folder / name)
    (folder / "Dockerfile").write_text(random_steps(choice))
    for _ in range(EDITS):
        made: list[tuple[dict[str, object], str]] = []
        for words in (("--cache-reads",), ("--no-cache",)):
            cli.own(folder)
            file = f"{folder}/{len(made)}.out"
            done = cli.run("build", "--progress=plain", "--explain", *words, "-o", f"type=tar,dest={file}", folder)
            made.append(({} if done.returncode else outcome(Path(file)), done.stderr))
            Path(file).unlink(missing_ok=True)
        assert made[0][0] == made[1][0], (folder / "Dockerfile").read_text() + made[0][1]
        for name in ("one", "two"):
            edit_some(choice, folder / name)
    shutil.rmtree(folder)
