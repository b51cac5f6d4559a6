"""Sandboxes as they are made, entered and left."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from tests.support.forked import Forked

TIERS = ["single", *(["range"] if os.getuid() == 0 else [])]  # of which a user may have the first alone


LOOK = """
import json, os, resource, socket
def tried(path):
    try:
        open(path, "w").close()
    except OSError as exc:
        return exc.strerror
def read(path):
    return open(path).read()
mounts = {line.split()[4]: line for line in open("/proc/self/mountinfo")}
shm = os.statvfs("/dev/shm")
print(json.dumps({
    "pid": os.getpid(), "ids": [os.getuid(), os.getgid()], "groups": os.getgroups(), "cwd": os.getcwd(),
    "host": socket.gethostname(), "env": os.environ["WORD"], "files": resource.getrlimit(resource.RLIMIT_NOFILE),
    "shown": read("/shown/file"), "refused": [tried("/shown/file"), tried("/made")], "memory": tried("/memory/file"),
    "tmpfs": "size=1024k" in mounts["/memory"], "links": sorted(os.listdir("/sys/class/net")),
    "shm": shm.f_blocks * shm.f_frsize, "hosts": "192.0.2.1\\tother" in read("/etc/hosts"),
    "dns": "192.0.2.9" in read("/etc/resolv.conf"), "null": open("/dev/null", "wb").write(b"x"),
    "score": int(read("/proc/self/oom_score_adj")),
}))
os.kill(os.getpid(), 15)
"""


@pytest.mark.parametrize("isolation", TIERS)
def test_a_command_has_what_the_line_says(isolation: str, forked: Forked, tmp_path: Path) -> None:
    (tmp_path / "shown").mkdir()
    (tmp_path / "shown/file").write_text("of the machine")
    words = (
        "--rm --init -u www:www --group-add 5 -w /srv -h box -e WORD=said --ulimit nofile=64:128 --shm-size 1m",
        "--network none --read-only --tmpfs /memory:size=1m --add-host other:192.0.2.1 --dns 192.0.2.9",
        "--oom-score-adj 500 --cap-drop ALL --security-opt no-new-privileges --isolation",
        isolation,
    )
    flags = (*" ".join(words).split(), "-v", f"{tmp_path}/shown:/shown:ro")
    done = forked.python(LOOK, *flags, check=False)
    assert done.returncode == 128 + signal.SIGTERM, done.stderr
    found = json.loads(done.stdout)
    expected = {
        "ids": [33, 33], "cwd": "/srv", "host": "box", "env": "said", "files": [64, 128], "shown": "of the machine",
        "refused": ["Read-only file system"] * 2, "memory": None, "tmpfs": True, "links": ["lo"], "shm": 1 << 20,
        "hosts": True, "dns": True, "null": 1, "score": 500,
    }  # fmt: skip
    assert {name: found[name] for name in expected} == expected
    assert found["pid"] > 1 and 5 in found["groups"]


def test_a_command_that_cannot_begin_is_told(forked: Forked) -> None:
    missing = forked("run", "--rm", "python", "/no/such", check=False)
    assert missing.returncode == 127 and "/no/such" in missing.stderr
    folder = forked("run", "--rm", "python", "/etc", check=False)
    assert folder.returncode == 126 and "/etc" in folder.stderr
    nowhere = forked.python("1", "--rm", "-w", "/etc/passwd/x", check=False)
    assert nowhere.returncode != 0 and "/etc/passwd" in nowhere.stderr


def test_what_is_written_lies_in_the_container_alone(forked: Forked) -> None:
    forked.python("open('/made', 'w').write('x'); import os; os.remove('/etc/group')", "--name", "box")
    assert sorted(forked("diff", "box").stdout.split("\n"))[1:] == ["A /made", "C /etc", "D /etc/group"]
    assert forked.python("import os; print(os.path.exists('/made'))", "--rm").stdout == "False\n"
    forked("rm", "box")


def test_a_build_runs_its_commands_in_sandboxes(forked: Forked, tmp_path: Path) -> None:
    (tmp_path / "context").mkdir()
    (tmp_path / "context/word").write_text("said")
    (tmp_path / "context/Dockerfile").write_text('FROM python\nCOPY word /\nRUN ["/no/such"]\n')
    failed = forked("build", "-q", tmp_path / "context", check=False)
    assert failed.returncode == 1 and "/no/such" in failed.stderr
