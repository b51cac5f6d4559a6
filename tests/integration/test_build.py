"""Builds of small Dockerfiles over busybox, looked at from inside."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Run

pytestmark = pytest.mark.userns
Make = Callable[..., Path]


def listing(tiffin: Run, *words: str | Path) -> dict[str, tarfile.TarInfo]:
    """Build and list the file system."""
    folder = Path(str(words[-1]))
    archive = folder.parent / "out.tar"
    tiffin("build", "-q", "-o", f"type=tar,dest={archive}", *words)
    with tarfile.open(archive) as tar:
        return {member.name: member for member in tar}


def calls_of(trace: Path) -> set[str]:
    """The system calls in strace's output."""
    return set(re.findall(r"^\d+ +(\w+)\(", trace.read_text(), re.MULTILINE))


def test_multi_stage_build_runs_and_caches(tiffin: Run, base: str, context: Make) -> None:
    folder = context(
        f"FROM {base} AS one\nRUN echo 1 > /one\nFROM {base} AS two\nRUN echo 2 > /two\n"
        f"FROM {base}\nCOPY --from=one /one /x/\nCOPY --from=two --chown=7:8 /two /x/\nRUN cat /x/one /x/two > /both\n"
    )
    first = tiffin("build", "-t", "multi", folder)
    assert first.stderr.count("DONE") == 5
    assert tiffin("run", "--rm", "multi", "cat", "/both").stdout == "1\n2\n"
    assert tiffin("run", "--rm", "multi", "stat", "-c", "%u:%g", "/x/two").stdout == "7:8\n"
    second = tiffin("build", "-t", "multi", folder)
    assert second.stdout == first.stdout
    assert "DONE" not in second.stderr
    assert second.stderr.count("CACHED") == 3


def test_changed_file_reruns_what_depends_on_it(tiffin: Run, base: str, context: Make) -> None:
    text = f"FROM {base}\nCOPY a /a\nRUN echo early\nCOPY b /b\nRUN cat /b\n"
    folder = context(text, a="1", b="2")
    tiffin("build", folder)
    (folder / "b").write_text("3")
    again = tiffin("build", folder).stderr
    assert "CACHED" in again and again.count("DONE") == 2
    os.utime(folder / "a", (1, 1))  # a time alone changes nothing
    assert "DONE" not in tiffin("build", folder).stderr


def test_rebuilt_stage_with_equal_result_cuts_off(tiffin: Run, base: str, context: Make) -> None:
    folder = context(
        (
            f"FROM {base} AS gen\nCOPY in /in\nRUN wc -l < /in > /out\nFROM {base}\nCOPY --from=gen /out /out\n"
            "RUN cat /out\n"
        ),
        **{"in": "a\n"},
    )
    tiffin("build", folder)
    (folder / "in").write_text("b\n")
    again = tiffin("build", folder).stderr
    assert again.count("DONE") == 2, again  # COPY in and RUN wc; the copy of its equal result and all after it hit


def test_run_leaves_no_trace_of_the_sandbox(tiffin: Run, base: str, context: Make) -> None:
    before = listing(tiffin, context(f"FROM {base}\n", name="before"))
    after = listing(tiffin, context(f"FROM {base}\nRUN true\n", name="after"))
    assert set(after) == set(before)
    assert {name: m.mtime for name, m in after.items()} == {name: m.mtime for name, m in before.items()}


def test_deletions_become_whiteouts(tiffin: Run, base: str, context: Make) -> None:
    text = (
        f"FROM {base}\nRUN mkdir -p /d/sub && echo x > /d/sub/x && echo y > /y\n"
        "RUN rm -r /d /y && mkdir /d && echo n > /d/n\n"
    )
    files = listing(tiffin, context(text))
    assert "d/n" in files and "d/sub" not in files and "y" not in files


def test_environment_user_and_workdir_of_run(tiffin: Run, base: str, context: Make) -> None:
    folder = context(
        f"FROM {base}\nARG V=arg\nENV E=env\nWORKDIR /home/app/w\nUSER app\n"
        'RUN --network=none id > /tmp/id && pwd > /tmp/pwd && echo "$V $E $HOME" > /tmp/env && ip -o link > /tmp/link\n'
        "USER root\nRUN test $$ = 1 && tr '\\0' '\\n' < /proc/1/environ | cut -d= -f1 | sort | xargs | grep -qx 'E "
        "HOME PATH V'\n"
    )
    tiffin("build", "-t", "env", folder)
    out = tiffin("run", "--rm", "env", "cat", "/tmp/id", "/tmp/pwd", "/tmp/env", "/tmp/link").stdout
    assert "uid=1000(app) gid=1001(app) groups=1001(app),1002(extra)" in out
    assert "/home/app/w\narg env /home/app\n" in out
    assert out.count("LOOPBACK") == out.count("mtu") == 1


def test_heredocs(tiffin: Run, base: str, context: Make) -> None:
    folder = context(
        f"FROM {base}\nARG NAME=you\nRUN <<EOF\necho one > /o\necho two >> /o\nEOF\n"
        "RUN <<EOF\n#!/bin/cat\nnot for a shell $(\nEOF\n"
        "COPY <<a.txt <<'b.txt' /etc/\nhello $NAME\na.txt\nhello $NAME\nb.txt\n"
    )
    tiffin("build", "-t", "here", folder)
    out = tiffin("run", "--rm", "here", "cat", "/o", "/etc/a.txt", "/etc/b.txt").stdout
    assert out == "one\ntwo\nhello you\nhello $NAME\n"


def test_onbuild_runs_in_the_child(tiffin: Run, base: str, context: Make) -> None:
    tiffin("build", "-t", "parent", context(f"FROM {base}\nONBUILD COPY f /f\nONBUILD RUN cat /f > /g\n", name="p"))
    tiffin("build", "-t", "child", context("FROM parent\n", name="c", f="text"))
    assert tiffin("run", "--rm", "child", "cat", "/g").stdout == "text"
    assert json.loads(tiffin("inspect", "child").stdout)[0]["Config"].get("OnBuild") is None


def test_add_unpacks_archives(tiffin: Run, base: str, context: Make) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        member = tarfile.TarInfo("dir/file")
        member.size, member.uid, member.gid, member.mode = 3, 5, 6, 0o640
        tar.addfile(member, io.BytesIO(b"abc"))
    folder = context(f"FROM {base}\nADD a.tgz plain /x/\n", **{"a.tgz": buffer.getvalue(), "plain": "p"})
    files = listing(tiffin, folder)
    assert (files["x/dir/file"].uid, files["x/dir/file"].mode, files["x/plain"].uid) == (5, 0o640, 0)
    assert "x/a.tgz" not in files


def test_dockerignore_and_named_context(tiffin: Run, base: str, context: Make, tmp_path: Path) -> None:
    folder = context(
        f"FROM {base}\nCOPY . /c/\nCOPY --from=more m /m\n",
        **{".dockerignore": "*.log\n!keep.log\nsub/**/x\n", "a.log": "", "keep.log": "", "sub/d/x": "", "sub/d/y": ""},
    )
    more = tmp_path / "more"
    more.mkdir()
    (more / "m").write_text("m")
    files = listing(tiffin, "--build-context", f"more={more}", folder)
    assert {"c/keep.log", "c/sub/d/y", "m"} <= set(files)
    assert not {"c/a.log", "c/sub/d/x"} & set(files)


def test_failing_run_tells_lines_command_output_and_code(tiffin: Run, base: str, context: Make) -> None:
    done = tiffin("build", context(f"FROM {base}\nRUN echo before && \\\n    exit 3\n"), check=False)
    assert done.returncode == 1
    assert 'Dockerfile:2: process "/bin/sh -c echo before &&     exit 3"' in done.stderr
    assert "exit code: 3" in done.stderr and "\n > before\n" in done.stderr and "3 | >>>     exit 3" in done.stderr


def test_failure_of_one_stage_stops_the_others(tiffin: Run, base: str, context: Make) -> None:
    folder = context(
        f"FROM {base} AS slow\nRUN sleep 60\nFROM {base} AS bad\nRUN sleep 0.3; exit 4\n"
        f"FROM {base}\nCOPY --from=slow / /s\nCOPY --from=bad / /b\n"
    )
    done = tiffin("build", folder, check=False)
    assert done.returncode == 1 and "exit code: 4" in done.stderr


@pytest.mark.parametrize(
    ("first", "text", "reported"),
    [
        ("slow", "USER nobodyknows\nWORKDIR /x", 'no user is called "nobodyknows"'),
        ("slow", "COPY none /", '"none" not found'),
        ("slow", "COPY --chown=rot Dockerfile /", 'no user is called "rot"'),
        ("slow", "ADD http://127.0.0.1:9/x /", "Connection refused"),
        ("bad", "COPY none /", '"none" not found'),
        ("bad", "RUN false", "exit code: 1"),
    ],
)
def test_the_error_told_is_the_cause(
    tiffin: Run, base: str, context: Make, first: str, text: str, reported: str
) -> None:
    """Whichever of two stages side by side fails, and whichever stands first."""
    slow = f"FROM {base} AS slow\nRUN sleep 60\n"
    bad = f"FROM {base} AS bad\n{text}\n"
    folder = context((slow + bad if first == "slow" else bad + slow) + "FROM bad\nCOPY --from=slow /bin /s\n")
    done = tiffin("build", "--progress=plain", folder, check=False)
    last = done.stderr.splitlines()[-1]
    assert done.returncode == 1 and reported in last and last.startswith("error: Dockerfile:"), done.stderr
    assert ">>> " in done.stderr and "canceled" not in done.stderr


def test_targetstage_is_the_name_of_the_target(tiffin: Run, context: Make) -> None:
    def stage_of(text: str, *flags: str) -> str:
        folder = context(text + "ARG TARGETSTAGE\nLABEL stage=$TARGETSTAGE\n")
        tiffin("build", "-q", "-t", "labelled", *flags, folder)
        return tiffin("inspect", "-f", '{{index .Config.Labels "stage"}}', "labelled").stdout.strip()

    assert stage_of("FROM scratch AS Last\n") == "last"
    assert stage_of("FROM scratch AS one\nFROM one AS two\n") == "two"
    assert stage_of("FROM scratch AS one\nFROM one\n") == "default"
    assert stage_of("FROM scratch AS one\n", "--target", "one") == "one"
    assert stage_of("FROM scratch AS one\n", "--build-arg", "TARGETSTAGE=x") == "x"


def test_root_needs_no_passwd(tiffin: Run, context: Make) -> None:
    folder = context(
        "FROM scratch\nCOPY --chown=root:root Dockerfile /a\nCOPY --chown=root Dockerfile /b\n"
        "COPY --chown=0:root Dockerfile /c\n"
        "ADD --chown=root:0 Dockerfile /d\nUSER root\nWORKDIR /w\nUSER root:root\nWORKDIR /x\n"
    )
    entries = listing(tiffin, folder)
    assert {name: (entry.uid, entry.gid) for name, entry in entries.items()} == dict.fromkeys("abcdwx", (0, 0))


def test_background_process_of_run_ends_with_it(tiffin: Run, base: str, context: Make) -> None:
    tiffin("build", context(f"FROM {base}\nRUN sleep 1000 & echo started\n"))


@pytest.mark.parametrize("epoch", ["1700000000"])
def test_same_digest_from_fresh_state(
    busybox: Path, tmp_path: Path, context: Make, monkeypatch: pytest.MonkeyPatch, epoch: str
) -> None:
    """Other state directory, other file times, other umask: the same image, bit for bit."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", epoch)
    folder = context(
        "FROM base AS b\nRUN mkdir -p /o/d && echo x > /o/d/x && ln /o/d/x /o/d/y && ln -s x /o/d/z\n"
        "FROM base\nWORKDIR /w\nCOPY f sub /w/\nCOPY --from=b /o /o\nADD . /all/\nRUN umask; touch /new /w/n\n"
        "LABEL a=b\n",
        **{"f": "1", "sub/g": "2"},
    )
    digests = []
    for number, mask in enumerate((0o022, 0o077)):
        state, metadata = tmp_path / f"state{number}", tmp_path / "metadata"
        for path in (folder, *folder.rglob("*")):
            os.utime(path, (1_600_000_000 + number * 200_000_000, 1_600_000_000 + number * 200_000_000))
        tool = [sys.executable, "-m", "tiffin", "--root", str(state), "build", "-q"]
        subprocess.run([*tool, "-t", "base", busybox], check=True, umask=mask, capture_output=True)
        subprocess.run([*tool, "--metadata-file", metadata, folder], check=True, umask=mask, capture_output=True)
        digests.append(json.loads(metadata.read_text())["containerimage.digest"])
    assert digests[0] == digests[1]


def test_copy_only_build_enters_no_namespace_and_unpacks_nothing(
    tiffin: Run, root: Path, base: str, context: Make, tmp_path: Path
) -> None:
    folder = context(f'FROM {base}\nCOPY --chown=app f /srv/\nWORKDIR /srv\nADD f /g\nCMD ["sh"]\n', f="text")
    trace = tmp_path / "trace"
    tool = [sys.executable, "-m", "tiffin", "--root", str(root), "build", "-t", "copied", str(folder)]
    subprocess.run(
        ["strace", "-f", "-qq", "-e", "trace=unshare,mount,clone,clone3", "-o", str(trace), *tool], check=True
    )
    assert "unshare" not in calls_of(trace) and "CLONE_NEW" not in trace.read_text()
    assert list((root / "layers").glob("*/fs.*")) == []
    assert tiffin("run", "--rm", "copied", "stat", "-c", "%U", "/srv/f").stdout == "app\n"


def test_rebuild_with_nothing_changed_imports_and_asks_nothing(
    tiffin: Run, root: Path, base: str, context: Make, tmp_path: Path
) -> None:
    folder = context(f"FROM {base}\nCOPY f /f\nRUN cat /f\n", f="text")
    tiffin("build", "-t", "again", folder)
    trace = tmp_path / "trace"
    tool = [sys.executable, "-m", "tiffin", "--root", str(root), "build", "-t", "again", str(folder)]
    calls = "trace=unshare,connect,socket,openat,clone,clone3,fork,vfork"
    subprocess.run(["strace", "-f", "-qq", "-e", calls, "-o", str(trace), *tool], check=True)
    assert calls_of(trace) == {"openat"}
    opened = [line for line in trace.read_text().splitlines() if "ENOENT" not in line]
    for module in ("/requests/", "/urllib3/", "builder/sandbox/", "/rich/"):
        assert not any(module in line for line in opened), module


def test_outputs(tiffin: Run, base: str, context: Make, tmp_path: Path) -> None:
    folder = context(f"FROM {base}\nRUN mkdir /o && echo hi > /o/f && chmod 750 /o\n")
    tiffin("build", "-o", str(tmp_path / "tree"), folder)
    assert (tmp_path / "tree/o/f").read_text() == "hi\n"
    assert (tmp_path / "tree/o").stat().st_mode & 0o777 == 0o750
    argv = ["build", "-q", "-o", "type=oci,dest=-", folder]
    tool = [sys.executable, "-m", "tiffin", "--root", str(tmp_path / "state"), *map(str, argv)]
    data = subprocess.run(tool, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert {"oci-layout", "index.json"} <= set(tar.getnames())
    for kind in ("oci", "docker"):
        archive = tmp_path / f"{kind}.tar"
        tiffin("build", "-t", "out:1", "-o", f"type={kind},dest={archive}", folder)
        copied = tmp_path / f"copy-{kind}"
        transport = {"oci": "oci-archive", "docker": "docker-archive"}[kind]
        subprocess.run(
            ["skopeo", "copy", "-q", f"{transport}:{archive}", f"oci:{copied}:x"], check=True, capture_output=True
        )
        subprocess.run(
            ["umoci", "unpack", "--rootless", "--image", f"{copied}:x", f"{copied}-tree"],
            check=True,
            capture_output=True,
        )
        assert (Path(f"{copied}-tree") / "rootfs/o/f").read_text() == "hi\n"


def test_layer_made_under_an_epoch_can_be_packed_later(
    tiffin: Run, base: str, context: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    folder = context(f"FROM {base}\nRUN mkdir /d && echo x > /d/x\n")
    tiffin("build", "-o", f"type=tar,dest={tmp_path}/out.tar", folder)  # unpacked only
    tiffin("build", "-t", "later", folder)
    assert tiffin("run", "--rm", "later", "stat", "-c", "%Y", "/d/x").stdout == "1700000000\n"


def test_very_deep_trees_come_and_go(tiffin: Run, root: Path, base: str, context: Make) -> None:
    deep = "i=0; while [ $i -lt 1500 ]; do mkdir d && cd d || exit 1; i=$((i+1)); done"
    tiffin("run", "--rm", base, "sh", "-c", deep)
    assert list((root / "containers").iterdir()) == []
    tiffin("build", context(f"FROM {base}\nRUN {deep}; exit 1\n"), check=False)
    assert tiffin("debug", "test", "-d", "d/d/d").returncode == 0
    tiffin("system", "prune", "-f")  # what the step left is kept else
    assert list((root / "failures").iterdir()) == []


def test_sparse_files_of_added_archives(tiffin: Run, base: str, context: Make, tmp_path: Path) -> None:
    holed = tmp_path / "holed"
    with holed.open("wb") as stream:
        stream.write(b"begin")
        stream.seek(1 << 20)
        stream.write(b"end")
    archive = subprocess.run(["tar", "-cS", "-C", tmp_path, "holed"], capture_output=True, check=True).stdout
    tiffin("build", "-t", "sparse", context(f"FROM {base}\nADD a.tar /\n", **{"a.tar": archive}))
    out = tiffin("run", "--rm", "sparse", "sh", "-c", "stat -c %s /holed; head -c 5 /holed; tail -c 3 /holed").stdout
    assert out == f"{(1 << 20) + 3}\nbeginend"


def test_iidfile_and_metadata_file(tiffin: Run, base: str, context: Make, tmp_path: Path) -> None:
    folder = context(f"FROM {base}\nLABEL a=b\n")
    done = tiffin("build", "-q", "--iidfile", tmp_path / "iid", "--metadata-file", tmp_path / "meta", folder)
    assert (tmp_path / "iid").read_text() == done.stdout.strip()
    meta = json.loads((tmp_path / "meta").read_text())
    assert meta["containerimage.config.digest"] == done.stdout.strip()
    failed = tiffin("build", "--iidfile", tmp_path / "iid", context("FROM base\nRUN false\n"), check=False)
    assert failed.returncode == 1 and not (tmp_path / "iid").exists()


def test_same_layer_twice(tiffin: Run, base: str, context: Make) -> None:
    """Steps that change nothing, or the same, make one layer that stands in the chain several times."""
    folder = context(
        f"FROM {base}\nRUN true\nRUN true\nRUN true\nRUN touch -d @0 /f\nRUN rm /f\n"
        "RUN touch -d @0 /f && touch -d @0 /\nRUN test -e /f\n"
    )
    tiffin("build", "-t", "twice", folder)
    assert tiffin("run", "--rm", "twice", "ls", "/f").stdout == "/f\n"


def test_steps_are_named_as_buildkit_names_them(tiffin: Run, base: str, context: Callable[..., Path]) -> None:
    """An image as base counts as a step, scratch and stages do not; metadata does not; a lone stage has no name."""
    lines = [
        "FROM scratch AS one",
        "COPY f /a",
        "WORKDIR /x",
        "FROM one AS two",
        "ENV a=1",
        "COPY f /b",
        f"FROM {base}",
    ]
    several = context("\n".join([*lines, "COPY --from=two /b /c", "ADD f /d", ""]), f="f")
    reported = [line.split("] ")[0] for line in tiffin("build", several).stderr.splitlines() if " [" in line]
    assert sorted(reported) == ["#1 [one 1/2", "#2 [one 2/2", "#3 [two 1/1", "#4 [stage-2 2/3", "#5 [stage-2 3/3"]
    lone = context(f"FROM {base}\nENV a=1\nCOPY f /x/\n", f="f")
    assert "#1 [2/2] COPY f /x/" in tiffin("build", lone).stderr
