"""tiffin debug: what a failed RUN left, and what was there before it."""

from __future__ import annotations

import errno
import io
import json
import os
import sys
import tarfile
import zlib
from pathlib import Path

import pytest

from tests.support.forked import Forked
from tests.support.raw_program import Call, raw_program
from tiffin.builder.errors import NotFoundError
from tiffin.builder.execute.debugging.failures import Failures
from tiffin.cache.store.statedir import StateDir

HERE = -100  # AT_FDCWD


def makes(path: bytes, mode: int = 0o644) -> Call:
    return "openat", (HERE, path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)


def reads(path: bytes) -> Call:
    return "openat", (HERE, path, os.O_RDONLY)


PROGRAMS = {
    "first": raw_program(makes(b"/before")),
    "fails": raw_program(makes(b"made"), ("unlinkat", (HERE, b"/before", 0)), reads(b"/missing")),
    "sees-before": raw_program(reads(b"/before")),
    "sees-made": raw_program(reads(b"made")),
    "sees-secret": raw_program(reads(b"/run/secrets/word")),
    "sees-bound": raw_program(reads(b"/bound/sees-made")),
    "sees-script": raw_program(makes(b"/cache/again")),
}
STEPS = """
RUN ["/bin/first"]
WORKDIR /work
RUN --mount=type=secret,id=word,env=WORD,target=/run/secrets/word \
    --mount=type=bind,source=programs,target=/bound --mount=type=cache,target=/cache ["/bin/fails"]
"""


@pytest.fixture
def failed(forked: Forked, tmp_path: Path) -> Forked:
    """A state directory in which the second RUN of a build failed."""
    folder = tmp_path / "context"
    (folder / "programs").mkdir(parents=True)
    (folder / "Dockerfile").write_text(f"FROM scratch\nCOPY --chmod=755 programs /bin/\n{STEPS}")
    for name, program in PROGRAMS.items():
        (folder / "programs" / name).write_bytes(program)
    (tmp_path / "word").write_text("hidden-word")
    done = forked("build", "--secret", f"id=word,src={tmp_path / 'word'}", folder, check=False)
    assert done.returncode == 1 and done.stderr.endswith("; tiffin debug opens a shell in what it left\n"), done.stderr
    return forked


def code(forked: Forked, *words: str) -> int:
    return forked("debug", *words, check=False).returncode


@pytest.mark.thorough
def test_it_is_looked_into_before_and_after(failed: Forked, tmp_path: Path) -> None:
    assert (code(failed, "/bin/sees-made"), code(failed, "/bin/sees-before")) == (0, errno.ENOENT)
    assert (code(failed, "--before", "/bin/sees-made"), code(failed, "--before", "/bin/sees-before")) == (
        errno.ENOENT,
        0,
    )
    assert code(failed, "/bin/first") == 0 and code(failed, "/bin/first") == 0, "what is made is thrown away"
    assert code(failed, "/bin/sees-bound") == 0 and code(failed, "/bin/sees-script") == 0
    lost = failed("debug", "/bin/sees-secret", check=False)
    assert lost.returncode == errno.ENOENT and "give it again with --secret id=word" in lost.stderr
    assert code(failed, "--secret", f"id=word,src={tmp_path / 'word'}", "/bin/sees-secret") == 0
    assert failed("debug", check=False).returncode == 127  # there is no shell


def test_no_secret_is_kept(failed: Forked) -> None:
    kept = failed.root / "failures"
    held = [path.read_bytes() for path in kept.rglob("*") if path.is_file()]
    assert held and not any(b"hidden-word" in data or b"aGlkZGVuLXdvcm" in data for data in held)
    (record,) = kept.glob("*/failure.json")
    assert record.stat().st_mode & 0o077 == 0
    assert not any(item.startswith("WORD=") for item in json.loads(record.read_bytes())["spec"]["env"])


@pytest.mark.thorough
def test_the_last_ones_are_listed_and_kept(failed: Forked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "context"
    listed = failed("debug", "--list", "--format", "{{.ID}} {{.Where}}").stdout.splitlines()
    assert [line.partition(" ")[2] for line in listed] == ["Dockerfile:6"]
    monkeypatch.setenv("TIFFIN_KEPT_FAILURES", "2")
    for _ in range(2):
        failed("build", "--secret", f"id=word,src={tmp_path / 'word'}", folder, check=False)
    assert len(list((failed.root / "failures").iterdir())) == 2
    gone = failed("debug", "--step", listed[0].split()[0], "/bin/first", check=False)
    assert gone.returncode == 125 and "there is not one failed step" in gone.stderr
    monkeypatch.setenv("TIFFIN_KEPT_FAILURES", "none")
    wrong = failed("build", "--secret", f"id=word,src={tmp_path / 'word'}", folder, check=False)
    assert wrong.returncode == 1 and "tiffin debug opens a shell in what it left" in wrong.stderr
    assert "TIFFIN_KEPT_FAILURES=none is not a number, so 3 failed steps are kept" in wrong.stderr
    monkeypatch.setenv("TIFFIN_KEPT_FAILURES", "0")
    failed("system", "prune", "-f")
    assert not list((failed.root / "failures").iterdir())
    done = failed("build", "--secret", f"id=word,src={tmp_path / 'word'}", folder, check=False)
    assert "tiffin debug" not in done.stderr
    nothing = failed("debug", check=False)
    assert nothing.returncode == 125 and "no failed step is kept here" in nothing.stderr


def test_what_somebody_looks_into_stays(failed: Forked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIFFIN_KEPT_FAILURES", "1")
    failures = Failures(StateDir.open(failed.root))
    (first,) = failures.steps()

    def fail() -> list[str]:
        words = ("build", "--secret", f"id=word,src={tmp_path / 'word'}", tmp_path / "context")
        assert "tiffin debug" in failed(*words, check=False).stderr
        return [step.name for step in failures.steps()]

    with failures.using(first.name):
        assert fail()[1:] == [first.name]
    assert len(fail()) == 1 and not list((failed.root / "tmp").iterdir())
    with pytest.raises(NotFoundError), failures.using(first.name):
        pass


def test_what_is_damaged_or_gone_is_told(failed: Forked, tmp_path: Path) -> None:
    (record,) = (failed.root / "failures").glob("*/failure.json")
    text = record.read_text()
    shown = next(item for item in json.loads(text)["spec"]["mounts"] if item["path"] == "/bound")
    record.write_text(text.replace(json.dumps(shown["host_path"]), json.dumps(str(tmp_path / "gone"))))
    gone = failed("debug", "/bin/sees-bound", check=False)
    assert gone.returncode == errno.ENOENT and "what the step had at /bound is not there any more" in gone.stderr
    record.write_text(text.replace('"id_map": "', '"id_map": "other-'))
    assert "failed while this user had other ids" in failed("debug", "/bin/first", check=False).stderr
    record.write_text("{}")
    damaged = failed("debug", check=False)
    assert damaged.returncode == 125 and "is damaged" in damaged.stderr


def test_any_step_opens(failed: Forked, tmp_path: Path) -> None:
    for step in ("2", "#2", "Dockerfile:4", ":4", "2/4", '[2/4] RUN ["/bin/first"]'):
        assert code(failed, "--step", step, "--before", "/bin/sees-before") == errno.ENOENT, step
        assert code(failed, "--step", step, "/bin/sees-before") == 0, step
    assert code(failed, "--step", "1", "--before", "/bin/first") == 127  # there is no such program yet
    word = ("--secret", f"id=word,src={tmp_path / 'word'}")
    assert code(failed, "--step", "4", "--before", *word, "/bin/sees-secret") == 0
    assert code(failed, "--step", "4", "--before", "/bin/sees-bound") == 0
    assert code(failed, "--step", "4", "/bin/sees-made") == 0  # what it left
    listed = failed("debug", "--list", "--build", "^0", "--format", "{{.Step}} {{.State}} {{.Where}}").stdout
    assert listed.split()[:3] == ["1", "kept", "Dockerfile:2"] and listed.split()[-2:] == ["failed", "Dockerfile:6"]
    for words, wanted in (
        (("--step", "5"), 'no step is called "5"'),
        (("--build", "none"), "no build record none"),
        (("--build", "^7"), "no build record ^7"),
    ):
        wrong = failed("debug", *words, "/bin/first", check=False)
        assert wrong.returncode == 125 and wanted in wrong.stderr
    (tmp_path / "context").rename(tmp_path / "gone")
    moved = failed("debug", "--step", "4", "--before", "/bin/sees-bound", check=False)
    assert moved.returncode == errno.ENOENT and "what the step had at /bound is not there any more" in moved.stderr
    failed("system", "prune", "-f")
    lost = failed("debug", "--step", "4", "/bin/first", check=False)
    assert lost.returncode == 125 and "left is not kept any more" in lost.stderr
    (plan,) = (failed.root / "plans").iterdir()
    assert plan.stat().st_mode & 0o077 == 0 and b"hidden-word" not in zlib.decompress(plan.read_bytes())
    plan.write_bytes(b"damaged")
    assert "is damaged" in failed("debug", "--step", "1", "/bin/first", check=False).stderr
    plan.unlink()
    assert "is not kept" in failed("debug", "--step", "1", "/bin/first", check=False).stderr


@pytest.mark.thorough
def test_steps_of_images_and_other_stages_open(forked: Forked, tmp_path: Path) -> None:
    folder = tmp_path / "context"
    (folder / "programs").mkdir(parents=True)
    for name, program in PROGRAMS.items():
        (folder / "programs" / name).write_bytes(program)
    mounts = (
        "--mount=type=bind,from=tools,source=/bin,target=/tools --mount=type=cache,target=/c,from=tools,source=/bin"
    )
    text = f"""FROM scratch AS tools
COPY --chmod=755 programs /bin/
FROM scratch
COPY --from=tools /bin /bin
RUN {mounts} ["/bin/first"]
"""
    (folder / "Dockerfile").write_text(text)
    forked("build", "-q", "-t", "app", folder)
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY programs /other\n")
    forked("build", "-q", "-t", "other", folder)
    for _ in range(2):  # the second time all of it comes from the cache
        assert code(forked, "--build", "app", "--step", "stage-1 2/2", "/tools/sees-before") == 0
        assert code(forked, "--build", "app", "--step", "3", "--before", "/c/sees-before") == errno.ENOENT
        assert code(forked, "--build", "app", "--step", "tools 1/1", "/bin/first") == 0
        assert code(forked, "--build", "app", "/bin/sees-before") == 0  # its last step
        (folder / "Dockerfile").write_text(text)
        forked("build", "-q", "-t", "app", folder)
    forked("build", "-q", "-t", "app:named", folder)
    env = {"VISUAL": "true"}
    assert "app:named" in forked("debug", "--edit", "--build", "app:named", env=env).stderr.splitlines()[-1]
    forked("tag", "other", "third")
    assert (
        "no build that is kept made" not in forked("debug", "--build", "third", "--step", "1", "/x", check=False).stderr
    )
    forked("buildx", "history", "rm", "--all")
    assert list((forked.root / "plans").iterdir()) == []
    assert "no build that is kept made app" in forked("debug", "--build", "app", "/x", check=False).stderr
    (folder / "Dockerfile").write_text("FROM app\nADD bad.tar /\n")
    (folder / "bad.tar").write_bytes(tar_that_ends_too_soon())
    forked("build", "-q", folder, check=False)
    opened = forked("debug", "/bin/sees-before", check=False)
    assert opened.returncode == 0 and "failed and left nothing: this is the state before it" in opened.stderr
    assert "nothing of what" in forked("debug", "--step", "1", "/bin/sees-before", check=False).stderr


def test_a_step_is_a_thing(failed: Forked, tmp_path: Path) -> None:
    assert failed("step", "diff", "2").stdout == "A /before\n"
    assert failed("step", "diff", "4").stdout == "D /before\nA /work/made\n"
    listed = failed("step", "files", "4", "work", "--format", "{{.Mode}} {{.Owner}} {{.Name}}").stdout
    assert (
        listed == "-rw-r--r-- 0:0 made\n" and failed("step", "files", "--before", "4", "/work").stdout.count("\n") == 1
    )
    assert len(failed("step", "files", "2", "/bin/first").stdout) > 100
    assert "there is no /none" in failed("step", "files", "2", "/none", check=False).stderr
    for words, wanted in ((("4",), True), (("--before", "4"), False)):
        failed("step", "export", "-o", tmp_path / "root.tar", *words)
        with tarfile.open(tmp_path / "root.tar") as archive:
            assert ("work/made" in archive.getnames()) == wanted and "bin/fails" in archive.getnames()
    assert failed("step", "run", "2/4", "/bin/sees-before").returncode == 0
    assert failed("step", "run", "--before", "2/4", "/bin/sees-before", check=False).returncode == errno.ENOENT
    assert failed("step", "logs", "4").stdout == ""
    record = next(path for path in sorted((failed.root / "history").iterdir()) if path.is_file())
    said = json.dumps({"type": "step_output", "step_id": 2, "stream": 1, "data": "told\n", "time": 0})
    record.write_text(f"{record.read_text()}{said}\n")
    assert failed("step", "logs", "2").stdout == "told\n"


def test_the_dockerfile_is_edited_and_built_again(failed: Forked, tmp_path: Path) -> None:
    editor = tmp_path / "editor"
    editor.write_text(f"#!{sys.executable}\nimport sys\nfile = open(sys.argv[1], 'r+')\ntext = file.read()\n"
        "file.seek(0)\nfile.write(text.replace('/bin/fails', '/bin/sees-bound'))\nfile.truncate()\n")  # fmt: skip
    editor.chmod(0o755)
    env = {"EDITOR": str(editor), "VISUAL": ""}
    word = ("--secret", f"id=word,src={tmp_path / 'word'}")
    done = failed("debug", "--edit", *word, env=env)
    assert done.stdout.startswith("sha256:") and "2 of 4 steps from a cache" not in done.stderr.splitlines()[-1]
    assert "CACHED" in done.stderr and "/bin/sees-bound" in (tmp_path / "context/Dockerfile").read_text()
    for words, more, reason in (
        (("--edit", "--step", "1"), env, "takes no command and no step"),
        (("--edit",), {**env, "EDITOR": "false"}, "ended with exit code 1"),
        (("--edit",), {**env, "EDITOR": str(tmp_path / "none")}, "set $EDITOR"),
    ):
        wrong = failed("debug", *words, env=more, check=False)
        assert wrong.returncode and reason in wrong.stderr
    failed("build", "-q", "-f", "-", tmp_path / "context", stdin=b"FROM scratch\nCOPY programs /bin/\n")
    assert "is no file of this machine" in failed("debug", "--edit", env=env, check=False).stderr


def tar_that_ends_too_soon() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        member = tarfile.TarInfo("file")
        member.size = 1 << 16
        archive.addfile(member, io.BytesIO(bytes(1 << 16)))
    return stream.getvalue()[:2048]


def test_lines_that_made_a_file_are_named(forked: Forked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "app"  # which is called as the image is
    folder.mkdir()
    for name, text in (("a", "first"), ("b", "second")):
        (folder / name).write_text(text)
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY a /srv/f\nCOPY b /srv/f\nCOPY --chmod=600 b /srv/f\n")
    forked("build", "-q", "-t", "app", folder)
    monkeypatch.chdir(tmp_path)
    rows = forked("blame", "app", "/srv/f").stdout.splitlines()
    assert [row.split()[:2] for row in rows[1:]] == [["3", "changed"], ["2", "changed"], ["1", "added"]]
    assert [row.partition("Dockerfile:")[2][:1] for row in rows[1:]] == ["4", "3", "2"]
    (last, *_) = json.loads(forked("blame", "--format", "json", "app", "srv/f").stdout)
    assert (last["differs"], last["mode"], last["size"]) == (["mode"], "0600", len("second"))
    for path, words in (("/none", "no layer of app has /none"), ("/srv/../f", "leads upwards")):
        assert words in forked("blame", "app", path, check=False).stderr
    assert "index.json" in forked("blame", "./app", "/srv/f", check=False).stderr


def test_images_are_compared(forked: Forked, tmp_path: Path) -> None:
    folder = tmp_path / "context"
    folder.mkdir()
    (folder / "a").write_text("first")
    for name, lines in (("one", "COPY a /f\nCOPY a /g"), ("two", "COPY --chmod=600 a /f\nCOPY a /h\nUSER 5")):
        (folder / "Dockerfile").write_text(f"FROM scratch\n{lines}\n")
        forked("build", "-q", "-t", name, folder)
    assert forked("diff", "one", "two").stdout == 'C /f (mode)\nD /g\nA /h\nUser: nothing -> "5"\n'
    assert forked("diff", "two", "two").stdout == ""
    forked("save", "-o", tmp_path / "one.tar", "one")
    found = json.loads(forked("diff", "--format", "json", tmp_path / "one.tar", "two").stdout)
    assert (found["added"], found["changed"], found["deleted"]) == (["/h"], ["/f"], ["/g"])
    assert found["config"] == {"User": {"before": None, "after": "5"}}
