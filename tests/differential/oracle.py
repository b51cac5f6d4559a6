"""Ask a real BuildKit what many random builds give: one build for all of them, whose last stage lists each as a tar."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tests.conformance.images import write_base
from tests.conformance.nodes import Node, merge_layers, write_folder
from tests.conformance.oracles import BuildKit
from tests.differential.generator import BASE, BASE_TREE, Example
from tests.differential.listing import archive_bytes, listing

LISTER = "lister"
BUILD_SECONDS = 600
_LIST = (
    "cd /t && for i in *; do /usr/bin/tar -C $i --exclude=./bin --exclude=./proc --exclude=./sys --exclude=./dev "
    "--exclude=./etc --xattrs --xattrs-include='*' --format=posix -cf /out/$i.tar . || exit 1; done"
)


def lister_files() -> dict[str, Path]:
    """GNU tar of this machine and what it is linked with."""
    program = "/usr/bin/tar"
    linked = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout
    paths = [program, *re.findall(r"(/\S+) \(0x", linked)]
    return {path.lstrip("/"): Path(path).resolve() for path in paths}


def lister_image(place: Path) -> None:
    """Write the context of an image with tar and a shell: a Dockerfile and `root/`."""
    for name, path in lister_files().items():
        target = place / "root" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    busybox = shutil.which("busybox")
    assert busybox is not None
    (place / "root/bin").mkdir(exist_ok=True)
    shutil.copy(busybox, place / "root/bin/sh")
    (place / "root/out").mkdir()
    (place / "Dockerfile").write_text("FROM scratch\nCOPY root/ /\n")


class Oracle:
    """Builds examples by `kit`, in `folder`, which its daemon sees. The base and the lister are in its store."""

    def __init__(self, kit: BuildKit, folder: Path) -> None:
        self._kit = kit
        self._folder = folder

    def prepare(self) -> None:
        """Make the images."""
        archive = self._folder / "base.tar"
        write_base(archive, BASE, {"files": BASE_TREE})
        self._kit.load(archive, BASE)
        place = self._folder / "lister"
        shutil.rmtree(place, ignore_errors=True)
        lister_image(place)
        done = self._build(place, ["-t", LISTER])
        assert done.returncode == 0, done.stderr

    def ask(self, examples: Sequence[Example]) -> dict[int, Mapping[str, str] | str]:
        """By seed the listing, or why BuildKit refuses."""
        result: dict[int, Mapping[str, str] | str] = {}
        left = list(examples)
        while left:
            context = self._folder / "batch"
            shutil.rmtree(context, ignore_errors=True)
            lines = write_batch(left, context)
            out = context.with_name("out")
            shutil.rmtree(out, ignore_errors=True)
            done = self._build(context, ["--output", f"type=local,dest={out}"])
            if done.returncode == 0:
                for each in left:
                    result[each.seed] = read_listing(out / f"c{each.seed}.tar")
                break
            failed = [int(number) for number in re.findall(r"^Dockerfile:(\d+)$", done.stderr, re.MULTILINE)]
            seed = lines[failed[0] - 1] if failed else None
            assert seed is not None, done.stderr[-3000:]
            result[seed] = next(line for line in reversed(done.stderr.splitlines()) if line.startswith("ERROR"))
            left = [each for each in left if each.seed != seed]
        return result

    def _build(self, context: Path, words: Sequence[str]) -> subprocess.CompletedProcess[str]:
        client = [*self._kit.inside, f"--wdns={context}"] if self._kit.inside else []
        environ = {**os.environ, "BUILDKIT_PROGRESS": "plain", "DOCKER_HOST": f"unix://{self._kit.socket}"}
        argv = [
            *client,
            "/usr/libexec/docker/cli-plugins/docker-buildx",
            "build",
            "--network=host",
            *words,
            str(context),
        ]
        return subprocess.run(
            argv, cwd="/", env=environ, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False
        )


def write_batch(examples: Iterable[Example], context: Path) -> list[int | None]:
    """Write one context for all; returns the seed each line of its Dockerfile belongs to."""
    context.mkdir(parents=True)
    text, owners = "", []
    for each in examples:
        write_example(each, context / f"c{each.seed}")
        part = each.text(f"c{each.seed}")
        text += part
        owners += [each.seed] * part.count("\n")
    mounts = " ".join(f"--mount=type=bind,from=c{seed},target=/t/c{seed}" for seed in dict.fromkeys(owners))
    text += f"FROM {LISTER} AS lister-of-all\nRUN {mounts} {_LIST}\nFROM scratch\nCOPY --from=lister-of-all /out/ /\n"
    (context / "Dockerfile").write_text(text)
    return [*owners, *[None] * 4]


def write_example(each: Example, place: Path) -> None:
    """Write the files of a build into its folder of a context."""
    archives = {
        name: Node(kind="file", mode=0o644, data=archive_bytes(members)) for name, members in each.archives.items()
    }
    write_folder({**each.files, **archives}, place)


def read_listing(archive: Path) -> Mapping[str, str]:
    """What a tar of a whole tree says."""
    return listing(merge_layers([archive.read_bytes()]))
