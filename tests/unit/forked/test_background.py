"""Containers in the background: supervisors are processes of their own here, and what is entered runs."""

from __future__ import annotations

import json
import shlex
import tarfile
from pathlib import Path

from tests.support.forked import PYTHON_MOUNTS, Begin, Forked, python, wait_for


def status(forked: Forked, name: str) -> str:
    return forked("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", name).stdout.strip()


def test_a_container_is_entered_watched_and_ended(forked: Forked, begin: Begin, tmp_path: Path) -> None:
    identity = begin("box", "-e", "WORD=said")
    script = "import os, sys; print(os.environ['WORD'], os.environ['MORE'], os.getcwd(), sys.stdin.read()); sys.exit(5)"
    done = forked("exec", "-i", "-e", "MORE=x", "-w", "/srv", "box", *python(script), check=False, stdin=b"given")
    assert (done.returncode, done.stdout) == (5, "said x /srv given\n"), done.stderr
    assert forked("exec", "-u", "www", "box", *python("import os; print(os.getuid())")).stdout == "33\n"
    assert forked("exec", "-d", "box", *python("open('/by-exec', 'w').close()")).stdout == ""
    assert forked("exec", "box", "/no/such", check=False).returncode == 127
    wait_for(lambda: "/by-exec" in forked("diff", "box").stdout)
    assert "time.sleep" in forked("top", "box").stdout
    assert forked("top", "box", "-o", "pid,comm").stdout.startswith("PID")
    assert json.loads(forked("stats", "--no-stream", "--format", "json", "box").stdout)["Name"] == "box"
    (tmp_path / "word").write_text("copied")
    forked("cp", tmp_path / "word", "box:/srv/")
    assert forked("exec", "box", *python("print(open('/srv/word').read())")).stdout == "copied\n"
    forked("cp", "box:/srv/word", tmp_path / "back")
    assert (tmp_path / "back").read_text() == "copied"
    forked("cp", tmp_path / "word", "box:/etc/hosts")  # which is mounted, so that it is written and not replaced
    assert forked("exec", "box", *python("print(open('/etc/hosts').read())")).stdout == "copied\n"
    (tmp_path / "tree").mkdir()
    over = forked("cp", tmp_path / "tree", "box:/etc/hosts", check=False)
    assert over.returncode == 1 and "/etc/hosts" in over.stderr
    forked("rename", "box", "other")
    assert forked("pause", "other").stdout == "other\n" and status(forked, "other") == "paused 0"
    assert forked("unpause", "other").stdout == "other\n" and status(forked, "other") == "running 0"
    assert forked("stop", "-t", "10", "other").stdout == "other\n"
    assert status(forked, "other") == "exited 3" and forked("wait", "other").stdout == "3\n"
    assert [line["status"] for line in map(json.loads, events(forked, identity)) if line["status"] == "die"] == ["die"]


def events(forked: Forked, identity: str) -> list[str]:
    words = ["events", "--since", "0", "--until", "0s", "--filter", f"container={identity}", "--format", "json"]
    return forked(*words).stdout.splitlines()


def test_a_container_is_started_again_killed_and_kept(forked: Forked, begin: Begin, tmp_path: Path) -> None:
    begin("box")
    first = forked("inspect", "-f", "{{.State.StartedAt}}", "box").stdout
    forked("restart", "-t", "0", "box")
    wait_for(lambda: forked("logs", "box").stdout == "up\nup\n")
    assert forked("inspect", "-f", "{{.State.StartedAt}}", "box").stdout > first
    assert forked("rm", "box", check=False).returncode == 1
    assert forked("pause", "--all").stdout == forked("unpause", "-a").stdout == forked("ps", "-q", "--no-trunc").stdout
    assert forked("restart", "--running", "-t", "0").stdout == forked("ps", "-q", "--no-trunc").stdout
    forked("exec", "box", *python("open('/made', 'w').write('kept')"))
    assert len(forked("commit", "-m", "said", "box", "made").stdout.strip()) > 60
    packed = forked("export", "-o", tmp_path / "box.tar", "box")
    assert packed.returncode == 0
    with tarfile.open(tmp_path / "box.tar") as archive:
        made = archive.extractfile("made")
        assert made is not None and made.read() == b"kept"
    forked("kill", "-s", "KILL", "box")
    assert forked("wait", "box").stdout == "137\n" and status(forked, "box") == "exited 137"
    assert forked("logs", "--tail", "1", "-f", "box").stdout == "up\n"
    assert forked("run", "--rm", *PYTHON_MOUNTS, "made", *python("print(open('/made').read())")).stdout == "kept\n"
    assert forked("ps", "-a", "--size", "--format", "{{.Names}} {{.Size}}").stdout.startswith("box ")


def test_a_policy_starts_what_failed_again_in_a_supervisor_of_its_own(forked: Forked, begin: Begin) -> None:
    begin("box", "--restart", "on-failure:1", script="print('up'); raise SystemExit(4)")
    assert forked("wait", "box").stdout == "4\n"
    wait_for(lambda: forked("inspect", "-f", "{{.RestartCount}}", "box").stdout == "1\n")
    wait_for(lambda: status(forked, "box") == "exited 4")
    assert forked("logs", "box").stdout == "up\nup\n"


def test_health_is_asked_for_in_the_container(forked: Forked, begin: Begin) -> None:
    check = "import os, sys; sys.exit(not os.path.exists('/healthy'))"
    flags = ("--health-interval", "100ms", "--health-retries", "1", "--health-cmd")
    begin("box", *flags, shlex.join(python(check)).replace("\n", " "))
    wait_for(lambda: forked("inspect", "-f", "{{.State.Health.Status}}", "box").stdout == "unhealthy\n")
    forked("exec", "box", *python("open('/healthy', 'w').close()"))
    wait_for(lambda: forked("inspect", "-f", "{{.State.Health.Status}}", "box").stdout == "healthy\n")
