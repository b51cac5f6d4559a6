"""Programs see, and make, the same with one id as with a range of them."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack

import pytest

from tests.support.cli_runner import CliRunner, user_cli, wait_until
from tests.support.unprivileged import WITH_IDS, WITHOUT_IDS, Users

pytestmark = [pytest.mark.userns, pytest.mark.xdist_group("users")]
END_SECONDS = 20

CASES = {
    "chown": "touch f g; ln -s f l; chown 3:4 f; chown :5 g; chown -h 6:7 l; chmod 6755 g; chown 8 g; mv f h; ln h i",
    "copies": (
        "touch f; chown 3:4 f; ln -s f l; chown -h 5:6 l; mkfifo p; chown 7:8 p; cp -a . /w2; tar c . | tar xC /w3"
    ),
    "edit in place": "echo a > f; chown 3:4 f; sed -i s/a/b/ f; touch g; install -o 5 -g 6 -m 4711 g h",
    "set-group-ID directory": (
        "chgrp 50 .; chmod 2775 .; touch f; mkdir d; mkdir -p e/e; ln -s f l; mkfifo p; touch g; chown 0:0 g"
    ),
    "user": (
        "chown alice .; su alice -c 'touch f; mkdir d; ln -s f l; mkfifo p; ln f h; echo x > d/f; ln -s new n; echo x "
        "> n'"
    ),
    "user in a set-group-ID directory": "chown alice:video .; chmod 2777 .; su alice -c 'touch f; mkdir d; ln -s f l'",
    "mask": "chown alice .; su alice -c 'umask 027; touch f; mkdir d; umask 0; mkdir -m 1777 e; touch g'",
    "what a user may not": (
        "touch f g; chown alice f .; su alice -c 'chown 33 f; chgrp 33 f; chgrp 44 f; chown 1000:10 f; chgrp 44 g; "
        "mknod n c 1 3; su -c id www < /dev/null' 2>&1 | sed s/su:.*/su/"
    ),
    "ids": (
        "id; su alice -c id; su www -c 'id; id -u; id -G'; su alice -c 'sh -c \"id -g\"'; setpriv --dump 2>/dev/null "
        "| head -0"
    ),
    "another root": (
        "mkdir -p bin d; cp /bin/busybox bin; touch t; ln -s /t l; ln -s /d e; chroot . /bin/busybox sh -c "
        "'busybox chown 5:6 /l; busybox chown -h 7:8 /l; cd /e; busybox touch f; busybox chown 1:2 f ../d; "
        "busybox mkdir -p /d/x; busybox stat -c %u:%g /l /e/f f'"
    ),
    "descriptors": (
        "touch f; chown 3:4 f; stat -L -c %u:%g /dev/stdin < f; stat -L -c %u:%g /proc/self/fd/3 3< f; exec 4> g; "
        "stat -c %u g"
    ),
    "working directory of a user": "stat -c %u:%g .",
    "attributes": (
        "touch f; chown 3:4 f; chmod 0 f; mv f ..; mv ../f g; rm -f g; touch g; stat -c %u g; mkdir d; chown 9 d; "
        "rmdir d; mkdir d"
    ),
}
SHOW = "cd /; for f in w w2 w3; do find $f; done | sort | xargs stat -c '%n %u:%g %a %F %h'"


@pytest.fixture(scope="module")
def clis(users: Users) -> Iterator[Mapping[str, CliRunner]]:
    with ExitStack() as stack:
        yield {user: stack.enter_context(user_cli(users, user)) for user in (WITH_IDS, WITHOUT_IDS)}


@pytest.mark.parametrize("case", CASES)
def test_programs_see_the_same(clis: Mapping[str, CliRunner], case: str) -> None:
    script = f"umask 022; mkdir /w2 /w3; cd /w; {CASES[case]}\n{SHOW}"
    shown = {}
    for user, cli in clis.items():
        options = ["-u", "alice", "-w", "/w/made"] if case.startswith("working") else ["-w", "/w"]
        if case.startswith("working"):
            script = "cd /w/made; stat -c %u:%g . ..; touch f; stat -c %u:%g f; id"
        done = cli.run("run", "--rm", *options, "minimal", "sh", "-c", script)
        shown[user] = done.stdout + done.stderr
    assert shown[WITH_IDS] == shown[WITHOUT_IDS]
    assert len(shown[WITH_IDS].splitlines()) > 3


PROGRAM = """
import os, shutil, socket, struct, sys
def alice(*argv):
    return os.popen(f"su alice -c '{' '.join(argv)}' 2>&1").read().strip()
me, asks = sys.executable, "-I -c \\"import os; print(os.getresuid(), os.getresgid(), os.getgroups())\\""
shutil.copy(me, "/set-id"); os.chown("/set-id", 33, 33); os.chmod("/set-id", 0o6755)
print("program", alice("/set-id", asks))
os.chmod("/set-id", 0o2705)
print("group without x", alice("/set-id", asks))
with open("/script", "w") as file:
    file.write(f"#!{me} -I\\nimport os; print(os.getresuid())\\n")
os.chmod("/script", 0o4755)
print("script", alice("/script"))
print("foreign", alice("/foreign", asks))
server = socket.socket(socket.AF_UNIX); server.bind("/tmp/s"); os.chmod("/tmp/s", 0o777); server.listen()
if os.fork() == 0:
    os.setgroups([]); os.setresgid(5, 5, 5); os.setresuid(4, 4, 4)
    client = socket.socket(socket.AF_UNIX); client.connect("/tmp/s"); client.recv(1); os._exit(0)
peer = server.accept()[0]
print("peer", struct.unpack("iII", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1:])
peer.send(b"x"); os.wait()
os.mkdir("/tmp/linked"); os.chmod("/tmp", 0o3777); os.chown("/tmp", -1, 77)
fd = os.open("/tmp", os.O_RDWR | os.O_TMPFILE, 0o640); os.chown(fd, 8, -1)
print("unnamed", os.fstat(fd).st_uid, os.fstat(fd).st_gid, oct(os.fstat(fd).st_mode))
os.seteuid(33); open("/tmp/effective", "w").close(); print("effective", os.stat("/tmp/effective").st_uid, os.getuid())
os.seteuid(0)
handle = os.open("/tmp/effective", os.O_PATH)
os.chown(f"/proc/self/fd/{handle}", 11, 12); print("handle", os.fstat(handle).st_gid)
try:
    os.chown("/tmp/none", 1, 1)
except OSError as exc:
    print(exc.strerror)
os.setresuid(9, 9, 9)
for call in (lambda: os.setuid(0), lambda: os.setgroups([1]), lambda: os.chown("/tmp/linked", 9, 9), lambda: os.setgid(3)):
    try:
        print(call())
    except OSError as exc:
        print(exc.strerror)
"""


def test_programs_that_ask_closely(clis: Mapping[str, CliRunner]) -> None:
    """Set-id programs and scripts, peers of sockets, files without a name, ids that come and go."""
    shown = {}
    for user, cli in clis.items():
        (cli.folder / "program.py").write_text(PROGRAM)
        (cli.folder / "program.py").chmod(0o644)
        foreign = (
            cli.folder / "foreign"
        )  # of whoever runs the tests: of root, whom neither namespace knows, or of its root
        shutil.copy(cli.python, foreign)
        foreign.chmod(0o4755)
        mounts = [f"{cli.folder}/{name}:/{name}:ro" for name in ("program.py", "foreign")]
        mounts += [f"{path}:{path}:ro" for path in ("/usr", "/lib", "/lib64") if os.path.exists(path)]
        words = [word for mount in mounts for word in ("-v", mount)]
        shown[user] = cli.output(*words, "minimal", cli.python, "-I", "/program.py")
    assert shown[WITH_IDS] == shown[WITHOUT_IDS]
    assert "program (1000, 33, 33) (1000, 33, 33)" in shown[WITHOUT_IDS]
    assert "script (1000, 1000, 1000)" in shown[WITHOUT_IDS]
    assert f"foreign {(1000, 1000, 1000) if os.getuid() == 0 else (1000, 0, 0)}" in shown[WITHOUT_IDS]
    assert "peer (4, 5)" in shown[WITHOUT_IDS]


def test_devices_are_seen_with_one_id(clis: Mapping[str, CliRunner]) -> None:
    """With a range an empty file stands for the node until the step is over."""
    script = "mknod /n c 1 3; chmod 666 /n; chown 0:5 /n; stat -c '%F %a %u:%g %t:%T' /n; test -c /n && echo node"
    assert clis[WITHOUT_IDS].output("minimal", "sh", "-c", script) == ("character special file 666 0:5 1:3\nnode\n")
    done = clis[WITHOUT_IDS].run("run", "--rm", "--cap-drop=MKNOD", "minimal", "mknod", "/n", "c", "1", "3")
    assert "Operation not permitted" in done.stderr


def test_dropped_capabilities_count(clis: Mapping[str, CliRunner]) -> None:
    for cli in clis.values():
        done = cli.run("run", "--rm", "--cap-drop=CHOWN", "minimal", "sh", "-c", "touch /f; chown 3 /f; stat -c %u /f")
        assert done.stdout == "0\n" and "Operation not permitted" in done.stderr
        done = cli.run("run", "--rm", "--cap-drop=SETUID", "minimal", "su", "alice", "-c", "id -u")
        assert done.returncode != 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_step_leaves_nothing(clis: Mapping[str, CliRunner], number: signal.Signals) -> None:
    cli = clis[WITHOUT_IDS]
    context = cli.folder / "context"
    context.mkdir(exist_ok=True)
    (context / "Dockerfile").write_text("FROM minimal\nRUN while :; do stat /bin; chown 3 /srv; done\n")
    cli.own(context)
    running = cli.start("build", "--no-cache", "--progress=plain", context, process_group=0)
    assert running.stderr is not None and running.stdout is not None
    while "regular file" not in (line := running.stderr.readline()) and "directory" not in line:
        assert line, "the step did not start"
    began = time.monotonic()
    os.killpg(running.pid, number)
    running.stderr.read()
    assert running.wait(END_SECONDS) in (130, 143)
    assert time.monotonic() - began < END_SECONDS
    for stream in (running.stdout, running.stderr):
        stream.close()
    wait_until(lambda: not cli.left(), seconds=END_SECONDS)


# ctypes, as Python itself makes calls again that were interrupted
INTERRUPTED = """
import ctypes, os, signal
libc = ctypes.CDLL(None, use_errno=True)
signal.signal(signal.SIGALRM, lambda *_: None)
signal.siginterrupt(signal.SIGALRM, False)
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
os.close(os.open("/w/f", os.O_CREAT | os.O_WRONLY, 0o644))
seen = set()
for number in range(5000):
    made = [
        libc.chown(b"/w/f", number % 7, 0), libc.mkdir(b"/w/d", 0o755), libc.rmdir(b"/w/d"),
        libc.open(b"/w/f", os.O_WRONLY | os.O_CREAT, 0o644),
    ]
    if min(made) < 0:
        seen.add(ctypes.get_errno())
    elif os.close(made[-1]):
        break
print(sorted(seen))
"""


def test_signals_of_handlers_that_restart_interrupt_no_call(clis: Mapping[str, CliRunner]) -> None:
    cli = clis[WITHOUT_IDS]
    (cli.folder / "interrupted.py").write_text(INTERRUPTED)
    (cli.folder / "interrupted.py").chmod(0o644)
    mounts = [f"{cli.folder}/interrupted.py:/program.py:ro"]
    mounts += [f"{path}:{path}:ro" for path in ("/usr", "/lib", "/lib64") if os.path.exists(path)]
    words = [word for mount in mounts for word in ("-v", mount)]
    assert cli.output(*words, "-w", "/w", "minimal", cli.python, "-I", "/program.py") == "[]\n"
