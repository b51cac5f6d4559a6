"""tiffin rebuild --verify: what is built again as its provenance says, and what is told where it differs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.commands import Commands
from tiffin.builder.api.attest.comparing import _reason_of_content


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "context"
    made.mkdir()
    (made / "Dockerfile").write_text(
        "FROM base AS first\nCOPY f /g\nFROM base\nARG A\nCOPY f /f\nCOPY --from=first /g /\n"
    )
    (made / "f").write_text("content\n")
    return made


def test_the_same_comes_out_again(folder: Path, tiffin_here: Commands) -> None:
    words = ["--provenance=mode=max", "--timestamp=1700000000", "--build-arg=A=1", "--label=k=v", "-t", "app"]
    tiffin_here("build", "-q", *words, folder)
    os.utime(folder / "f", (1, 1))
    done = tiffin_here("rebuild", "--verify", "--local", "app", folder)
    assert done.out.startswith("reproduced sha256:")
    (folder / "sub").mkdir()
    (folder / "Dockerfile").rename(folder / "sub/Other")
    tiffin_here("build", "-q", *words, "-f", folder / "sub/Other", folder)
    assert tiffin_here("rebuild", "--verify", "--local", "app", folder).out.startswith("reproduced sha256:")
    shown = tiffin_here("attest", "show", "--local", "app", "--predicate").out
    assert '"path": "sub/Other"' in shown and str(folder) not in shown


def test_what_differs_is_told_by_step(folder: Path, tiffin_here: Commands) -> None:
    tiffin_here("build", "-q", "--provenance=mode=max", "-t", "app", folder)
    (folder / "f").write_text("contents\n")
    done = tiffin_here("rebuild", "--verify", "--local", "app", folder, check=False)
    assert done.code == 1 and done.out.startswith("not reproduced: it was sha256:")
    assert "Dockerfile:5 (COPY f /f): the instruction, or what it reads, is not what it was then" in done.out
    assert "Dockerfile:5 (COPY f /f): f: its content differs from byte 7" in done.out
    assert "configuration.created (and" in done.out
    (folder / "f").write_text("content\n")
    os.utime(folder / "f", (1, 1))
    done = tiffin_here("rebuild", "--verify", "--local", "app", folder, check=False)
    assert "f: its time differs: build with SOURCE_DATE_EPOCH" in done.out
    (folder / "Dockerfile").write_text("FROM base\nCOPY f /other\n")
    done = tiffin_here("rebuild", "--verify", "--local", "app", folder, check=False)
    assert "f: it is no longer there" in done.out and "other: it was not there" in done.out
    assert "layers, and had" in done.out


@pytest.mark.parametrize(
    ("words", "again", "told"),
    [
        (["--provenance=mode=min"], [], "has mode=min; build it with --provenance=mode=max"),
        (["--provenance=false"], [], "has no attestation of type provenance"),
        (["--provenance=mode=max", "--secret=id=token,src=f"], [], "was built with secrets: token"),
        (["--provenance=mode=max", "--platform=linux/arm64"], ["--platform=linux/amd64"], "is for linux/arm64"),
    ],
)
def test_what_cannot_be_built_again_is_said(
    words: list[str], again: list[str], told: str, folder: Path, tiffin_here: Commands
) -> None:
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY f /f\n")
    given = [word.replace("src=f", f"src={folder}/f") for word in words]
    tiffin_here("build", "-q", *given, "-t", "app", folder)
    done = tiffin_here("rebuild", "--verify", "--local", "app", folder, *again, check=False)
    assert done.code in (1, 2) and told in done.err


def test_a_directory_has_to_be_named(folder: Path, tiffin_here: Commands) -> None:
    tiffin_here("build", "-q", "--provenance=mode=max", "-t", "app", folder)
    assert "name it: CONTEXT" in tiffin_here("rebuild", "--verify", "--local", "app", check=False).err
    assert "add --verify" in tiffin_here("rebuild", "--local", "app", check=False).err


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (b"a\nb\n", b"b\na\n", "the same lines in another order"),
        (b"built 2026-01-01 by x", b"built 2026-01-02 by x", "a date is embedded at byte 15"),
        (b"at 10:11:12", b"at 10:11:13", "a date is embedded"),
        (b"stamp=1700000001;", b"stamp=1700000002;", "a date is embedded"),
        (b"\x1f\x8b\x08\0aaaa\0\3", b"\x1f\x8b\x08\0aaab\0\3", "gzip wrote a time"),
        (b"\xa7\x0d\r\n\0\0\0\0aaaa", b"\xa7\x0d\r\n\0\0\0\0aaab", "compiled Python"),
        (b"abc", b"abd", "its content differs from byte 2"),
        (b"abc", b"abcd", "its content differs from byte 3"),
    ],
)
def test_reasons(old: bytes, new: bytes, told: str) -> None:
    assert told in _reason_of_content(old, new)
