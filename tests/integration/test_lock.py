"""tiffin lock, and builds that use what is locked and nothing else."""

from __future__ import annotations

import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Run
from tests.support.servers import Registry
from tests.support.serving import serving_folder

pytestmark = [pytest.mark.userns, pytest.mark.network]
Make = Callable[..., Path]


def publish(tiffin: Run, place: Path, name: str, content: str) -> str:
    """Push an image of one file, forget it here, and return its digest."""
    folder = place / f"published-{content}"
    folder.mkdir()
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY f /f\n")
    (folder / "f").write_text(content)
    tiffin("build", "-q", "-t", name, "--push", folder)
    digest = tiffin("image", "inspect", "--format", "{{index .RepoDigests 0}}", name).stdout.strip().partition("@")[2]
    tiffin("rmi", name)
    return digest


def exported(tiffin: Run, folder: Path, place: Path, *words: str) -> str:
    tiffin("build", *words, "-o", f"type=local,dest={place}", folder)
    return (place / "f").read_text()


def test_a_tag_that_moved_is_not_followed(tiffin: Run, context: Make, registry: Registry, tmp_path: Path) -> None:
    name = f"{registry.host}/lock/base:1"
    first = publish(tiffin, tmp_path, name, "one")
    folder = context(f"# a comment\nFROM {name} AS base\nFROM base\nFROM scratch\nCOPY --from={name} /f /f\n")
    refused = tiffin("build", "--locked", folder, check=False)
    assert refused.returncode == 2 and "Dockerfile.lock; run tiffin lock" in refused.stderr
    assert tiffin("lock", folder).stdout.strip() == str(folder / "Dockerfile.lock")
    text = (folder / "Dockerfile.lock").read_text()
    assert [row["digest"] for row in tomllib.loads(text)["image"]] == [first]
    second = publish(tiffin, tmp_path, name, "two")
    words = ("--target=base", "--pull=always")
    assert exported(tiffin, folder, tmp_path / "open", *words) == "two"
    assert exported(tiffin, folder, tmp_path / "locked", "--locked", *words) == "one"
    tiffin("lock", folder)
    assert (folder / "Dockerfile.lock").read_text() == text, "what is locked stays"
    tiffin("lock", "--check", folder)
    old = tiffin("lock", "--check", "--update", folder, check=False)
    assert old.returncode == 1 and f"{name} leads elsewhere now" in old.stdout
    tiffin("lock", f"--update={name}", folder)
    assert tomllib.loads((folder / "Dockerfile.lock").read_text())["image"][0]["digest"] == second
    assert exported(tiffin, folder, tmp_path / "new", "--locked", *words) == "two"


def test_what_is_not_locked_is_refused_with_its_line(
    tiffin: Run, context: Make, base: str, registry: Registry, tmp_path: Path
) -> None:
    folder = context(f"FROM {base}\n")
    tiffin("lock", folder)
    other = f"{registry.host}/lock/other:1"
    publish(tiffin, tmp_path, other, "x")
    folder = context(f"FROM {base}\nCOPY --from={other} /f /f\n")
    done = tiffin("build", "--locked", folder, check=False)
    assert done.returncode == 1
    assert "Dockerfile:2: " in done.stderr and f"{other} is not in Dockerfile.lock; run tiffin lock" in done.stderr
    checked = tiffin("lock", "--check", folder, check=False)
    assert checked.returncode == 1 and f"Dockerfile:2: {other} for linux/" in checked.stdout
    done = tiffin("build", "--locked", "--build-context", f"base={tmp_path}", folder, check=False)
    assert other in done.stderr, "what is here is no source of others"
    foreign = tiffin("build", "--locked", "--platform=linux/s390x", folder, check=False).stderr
    assert f"{base} for linux/s390x is not in Dockerfile.lock; run tiffin lock --platform linux/s390x" in foreign


def test_files_and_repositories(tiffin: Run, context: Make, tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (site / "file").write_text("first")
    tool = ["git", "-c", "user.name=t", "-c", "user.email=t@t.example", "-C", str(site / "work")]
    subprocess.run(["git", "init", "-q", "-b", "main", str(site / "work")], check=True)

    def commit(text: str) -> str:
        (site / "work/f").write_text(text)
        subprocess.run([*tool, "add", "f"], check=True)
        subprocess.run([*tool, "commit", "-q", "-m", text], check=True)
        subprocess.run(["rm", "-rf", str(site / "tool.git")], check=True)
        subprocess.run(["git", "clone", "-q", "--bare", str(site / "work"), str(site / "tool.git")], check=True)
        subprocess.run(["git", "-C", str(site / "tool.git"), "update-server-info"], check=True)
        return subprocess.run([*tool, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()

    before = commit("one")
    with serving_folder(site) as address:
        url = address.replace("http://", "http://who:pa55@") + "/file?sig=s3cret"
        folder = context(f"FROM scratch\nADD {address}/tool.git#main /\nADD {url} /g\n")
        tiffin("lock", folder)
        text = (folder / "Dockerfile.lock").read_text()
        rows = tomllib.loads(text)
        assert rows["git"] == [{"url": f"{address}/tool.git", "ref": "main", "commit": before}]
        assert rows["url"][0]["url"] == f"{address}/file" and "s3cret" not in text and "pa55" not in text
        commit("two")
        assert exported(tiffin, folder, tmp_path / "out", "--locked", "--no-cache") == "one"
        (site / "file").write_text("second")
        tiffin("cache", "prune", "--all", "--force", check=False)
        other = tiffin("--root", tmp_path / "empty", "build", "--locked", folder, check=False)
        assert other.returncode == 1 and "Dockerfile:3: " in other.stderr and "digest mismatch" in other.stderr


def test_frozen_names_the_first_step_that_would_run(tiffin: Run, context: Make, base: str) -> None:
    folder = context(f"FROM {base}\nCOPY f /f\nRUN echo hello > /made\n", f="1")
    done = tiffin("build", "--frozen", folder, check=False)
    assert done.returncode == 1 and "Dockerfile:2: [2/3] COPY f /f would run" in done.stderr
    built = tiffin("build", "-q", folder).stdout
    assert tiffin("build", "-q", "--frozen", folder).stdout == built
    folder = context(f"FROM {base}\nCOPY f /f\nRUN echo other > /made\n", f="1")
    done = tiffin("build", "--frozen", folder, check=False)
    assert "Dockerfile:3: [3/3] RUN echo other > /made would run" in done.stderr
    assert not [line for line in done.stderr.splitlines() if line.startswith("#") and "DONE" in line]
