"""The command of a container or a RUN step is process 1 of its pid namespace, as in Docker, and alone in it."""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.support.cli_runner import CliRunner, wait_until

pytestmark = [pytest.mark.userns, pytest.mark.xdist_group("process one")]
HOST_PROGRAMS = ("-v", "/usr:/usr:ro", "-v", "/lib:/lib:ro", "-v", "/lib64:/lib64:ro")
WHO = "set -- /proc/[0-9]*; echo $$ $PPID $#"
SINGLE = "--isolation=single"
ROUNDS = 6
END_SECONDS = 20
WAYS = [
    [],
    ["--user=33"],
    ["--network=none"],
    ["--read-only"],
    ["--userns=keep-id"],
    ["--cap-add=ALL"],
    ["-t"],
    ["-t", SINGLE],
    [SINGLE],
    [SINGLE, "--user=33"],
    [SINGLE, "--network=none"],
]


def lines(cli: CliRunner, *words: str) -> list[str]:
    return cli.output(*words).splitlines()


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=END_SECONDS)
    return process.returncode, out, err


@contextlib.contextmanager
def running(cli: CliRunner, *words: str) -> Iterator[subprocess.Popen[str]]:
    """A container that has printed a line."""
    process = cli.start("run", "--rm", *words)
    assert process.stdout and process.stderr
    line = process.stdout.readline()
    assert line == "ready\n", line + process.stderr.read()
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


# -- who it is ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", WAYS, ids=" ".join)
def test_command_is_process_one_and_sees_nobody_else(cli: CliRunner, options: list[str]) -> None:
    if "--userns=keep-id" in options and "user" not in cli.identity:
        options = []
    assert lines(cli, *options, "minimal", "sh", "-c", WHO) == ["1 0 1"]


@pytest.mark.parametrize("isolation", ["range", "single"])
def test_run_steps_are_process_one(cli: CliRunner, isolation: str) -> None:
    folder = cli.folder / "steps"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    steps = f"RUN {WHO}\nRUN --network=none {WHO}\nUSER 33\nRUN {WHO}\nRUN <<E\n{WHO}\nE\n"
    (folder / "Dockerfile").write_text("FROM minimal\n" + steps)
    cli.own(folder)
    done = cli.run("build", "--no-cache", "--progress=plain", f"--isolation={isolation}", folder)
    assert done.returncode == 0, done.stderr
    assert sum(line.endswith(" 1 0 1") for line in done.stderr.splitlines()) == 4, done.stderr


@pytest.mark.parametrize("options", [[], [SINGLE], [SINGLE, "--user=33"]], ids=" ".join)
def test_orphans_become_children_of_the_command_and_end_with_it(cli: CliRunner, options: list[str]) -> None:
    script = "(sleep 1000 & echo $! >/tmp/orphan); cut -d ' ' -f 4 /proc/$(cat /tmp/orphan)/stat; exec true"
    assert lines(cli, *options, "minimal", "sh", "-c", script) == ["1"]
    assert cli.left() == []


@pytest.mark.parametrize("options", [[], [SINGLE]], ids=" ".join)
def test_it_is_not_killed_from_inside(cli: CliRunner, options: list[str]) -> None:
    script = "kill -9 $$; kill -TERM $$; kill -TERM 1; (kill -9 1); echo alive; exit 5"
    done = cli.run("run", "--rm", *options, "minimal", "sh", "-c", script)
    assert (done.returncode, done.stdout) == (5, "alive\n")


@pytest.mark.parametrize("options", [[], [SINGLE]], ids=" ".join)
@pytest.mark.parametrize("program", ["tini-static", "dumb-init", "docker-init"])
def test_inits_of_images_find_what_they_insist_on(cli: CliRunner, program: str, options: list[str]) -> None:
    path = shutil.which(program) or shutil.which("tini-static")
    assert path is not None, f"{program} is not installed (ci/packages.txt)"
    script = "(sleep 0.01 &); sleep 0.2; grep -c '^State.*Z' /proc/[0-9]*/status | grep -c ':1'; echo $PPID"
    words = [*HOST_PROGRAMS, *options, "minimal", path, "--"]
    done = cli.run("run", "--rm", *words, "sh", "-c", script)
    assert (done.stdout, done.stderr) == ("0\n1\n", ""), "tini says so where it is not process 1"
    with running(cli, *words, "sh", "-c", "echo ready; sleep 1000") as process:
        process.terminate()
        assert process.wait(END_SECONDS) == 143


def test_program_that_refuses_to_be_another_process(cli: CliRunner) -> None:
    """As s6-overlay does."""
    script = b'#!/bin/sh\n[ $$ = 1 ] || { echo "fatal: can only run as pid 1"; exit 100; }\nexec "$@"\n'
    for options in ([], [SINGLE], ["--user=33"]):
        cli.make_image(
            {**_base(), "init": script},
            name="insists",
            config={"Entrypoint": ["/bin/sh", "/init"], "Env": ["PATH=/bin"]},
        )
        assert lines(cli, *options, "insists", "echo", "ran") == ["ran"]


def _base() -> dict[str, bytes | str | None]:
    from tests.support.minimal_image import base_files

    return base_files()


# -- an init of tiffin's -----------------------------------------------------------------------------------------------

INITS = [[], [SINGLE], ["--user=33"], [SINGLE, "--user=33"], ["--network=none"]]


@pytest.mark.parametrize("options", INITS, ids=" ".join)
def test_init_is_process_one_and_reaps(cli: CliRunner, options: list[str]) -> None:
    script = (
        "(sleep 0.01 &); sleep 0.3; cat /proc/1/comm; echo $$ $PPID; grep -l '^State.*Z' /proc/[0-9]*/status; exit 7"
    )
    done = cli.run("run", "--rm", "--init", *options, "minimal", "sh", "-c", script)
    assert (done.returncode, done.stdout, done.stderr) == (7, "tiffin-init\n2 1\n", "")


@pytest.mark.parametrize("options", INITS, ids=" ".join)
def test_init_passes_signals_on(cli: CliRunner, options: list[str]) -> None:
    script = "trap 'echo one' USR1; trap 'exit 42' TERM; echo ready; while :; do sleep 0.02; done"
    with running(cli, "--init", *options, "minimal", "sh", "-c", script) as process:
        process.send_signal(signal.SIGUSR1)
        assert process.stdout and process.stdout.readline() == "one\n"
        process.terminate()
        assert process.wait(END_SECONDS) == 42
    with running(cli, "--init", *options, "minimal", "sh", "-c", "echo ready; sleep 1000") as process:
        process.terminate()
        assert process.wait(END_SECONDS) == 143, "a command of an init ends by a signal it has no handler for"
    assert cli.left() == []


@pytest.mark.parametrize("options", [[], [SINGLE]], ids=" ".join)
def test_command_of_an_init_is_told_as_any(cli: CliRunner, options: list[str]) -> None:
    for argv, code in ((["sh", "-c", "kill -9 $$"], 137), (["nothing"], 127), (["/etc/passwd"], 126), (["true"], 0)):
        assert cli.run("run", "--rm", "--init", *options, "minimal", *argv).returncode == code, argv
    assert lines(cli, "--init", *options, "minimal", "sh", "-c", "kill -9 1; echo alive") == ["alive"]
    script = "kill -0 1 && cut -d ' ' -f 5,6,8 /proc/$$/stat"
    shown = lines(cli, "--init", "-t", *options, "minimal", "sh", "-c", script)
    assert shown == ["2 1 2"], "the command is in the foreground of a terminal that is its init's"


# -- numbers -----------------------------------------------------------------------------------------------------------

LOOKS = r"""exec 3>/dev/null
grep -e ^Name -e ^Pid -e ^PPid /proc/self/status
for name in self 1 thread-self $$; do cut -d ' ' -f 2 /proc/$name/stat; done
for name in 1 $$; do for link in exe cwd root fd/0; do readlink /proc/$name/$link; done; tr '\0' '\n' </proc/$name/environ | grep ^MARK; done
for name in stdout fd/1; do echo "to $name" >/dev/$name; done
echo "to stderr" >/dev/stderr
for name in self 1 $$ thread-self; do echo "to $name" >/proc/$name/fd/1; done
ln -s /dev/stdout /tmp/log && ln -s log /tmp/access.log && ln -s /proc/self/fd/1 /tmp/direct
for name in log access.log direct; do echo "over $name" >/tmp/$name; echo "after $name" >>/tmp/$name; done
sleep 1000 & kill -0 $! && kill $!; wait $! ; echo "ended $?"
sleep 1000 & prlimit --pid $! --nofile=50:50 && prlimit --pid $! --nofile | tail -1; kill -9 $!; wait $! 2>&3
prlimit --pid 1 --nproc >/dev/null; echo "prlimit $?"
kill -0 1; echo "kill $?"; kill -0 4242; echo "nobody $?"
busybox renice -n 5 -p $$ >/dev/null; echo "renice $?"
"""


@pytest.mark.parametrize("user", ["0", "33"])
def test_numbers_mean_the_same_with_emulated_owners(cli: CliRunner, user: str) -> None:
    """What a process calls itself and others, in paths and calls, where a supervisor follows in another namespace."""
    words = [*HOST_PROGRAMS, "-e", "MARK=x", "-e", "PATH=/bin:/usr/bin", f"--user={user}"]
    shown = {
        tier: cli.run("run", "--rm", f"--isolation={tier}", *words, "minimal", "sh", "-c", LOOKS)
        for tier in ("range", "single")
    }
    assert "over direct\n" in shown["single"].stdout and "ended 143" in shown["single"].stdout, shown["single"]
    if shown["range"].returncode != 125:  # there are ids
        # when the shell tells of what it ended depends on who is quicker
        first, second = (f"{done.stdout}{done.stderr}".replace("Terminated\n", "") for done in shown.values())
        assert first == second


OTHERS = r"""
sleep 1000 & other=$!
su -s /bin/sh www -c "kill -0 1; kill -0 $other; kill -0 \$\$ && echo me; cat /proc/1/environ; ls /proc/$other/fd; cat /proc/self/comm; \
  sleep 1000 & kill -0 \$! && readlink /proc/\$!/cwd; kill \$!; wait; echo x >/proc/1/fd/1; ls /proc/4242" 2>&1 | sed "s/[0-9][0-9]*/N/g"
"""


def test_processes_of_others_are_as_closed_as_anywhere(cli: CliRunner) -> None:
    shown = {}
    for tier in ("range", "single"):
        shown[tier] = cli.run("run", "--rm", f"--isolation={tier}", "minimal", "sh", "-c", OTHERS)
    assert "ermission denied" in shown["single"].stdout and "\nme\n" in shown["single"].stdout, shown["single"]
    if shown["range"].returncode != 125:
        assert shown["range"].stdout == shown["single"].stdout


PEERS = """
import ctypes, os, socket, struct
def peer(sock):
    return struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
server = socket.socket(socket.AF_UNIX); server.bind("/tmp/s"); server.listen(); os.chmod("/tmp/s", 0o777)
child = os.fork()
if child == 0:
    if os.getuid() == 0:
        os.setresgid(5, 5, 5); os.setresuid(4, 4, 4)
    client = socket.socket(socket.AF_UNIX); client.connect("/tmp/s")
    pid, uid, gid = peer(client)
    client.send(b"right" if pid == os.getppid() == 1 else b"pid %d" % pid); client.recv(1); os._exit(0)
accepted, _ = server.accept()
said = accepted.recv(20); pid, uid, gid = peer(accepted)
print(said.decode(), pid == child, uid, gid)
libc = ctypes.CDLL(None, use_errno=True)
for who in (0, os.getpid(), child, 4242):
    header, data = (ctypes.c_uint32 * 2)(0x20080522, who), (ctypes.c_uint32 * 6)()
    print(libc.capget(header, data), ctypes.get_errno() if who == 4242 else bool(data[1]))
accepted.send(b"x"); os.wait()
"""


@pytest.mark.parametrize("user", ["0", "33"])
def test_calls_tell_numbers_that_programs_know(cli: CliRunner, user: str) -> None:
    shown = {
        tier: cli.run(
            *("run", "--rm", f"--isolation={tier}", f"--user={user}", *HOST_PROGRAMS, "minimal", "/usr/bin/python3"),
            *("-c", PEERS),
        )
        for tier in ("range", "single")
    }
    who = "4 5" if user == "0" else "33 33"
    assert shown["single"].stdout.startswith(f"right True {who}\n"), shown["single"]
    if shown["range"].returncode != 125:
        assert shown["range"].stdout == shown["single"].stdout


# -- the end -----------------------------------------------------------------------------------------------------------

BUSY = (
    "echo ready; exec >/dev/null 2>&1; for i in $(seq 50); do sleep 1000 & done; "
    "while :; do (sleep 0 &); stat /bin; cat /proc/self/status; kill -0 1; done"
)


@pytest.mark.parametrize("options", [[], [SINGLE], [SINGLE, "--user=33"], ["--init"], [SINGLE, "--init"]], ids=" ".join)
def test_death_of_anybody_at_any_moment_leaves_nothing(cli: CliRunner, options: list[str]) -> None:
    """tiffin, runner, init, command: killed from outside, each ends everything."""
    choice = random.Random(" ".join(options))
    for number in range(ROUNDS):
        process = cli.start("run", "--rm", *options, "minimal", "sh", "-c", BUSY)
        if number % 2:
            assert process.stdout and process.stdout.readline() == "ready\n"
        time.sleep(choice.random() * 0.3)
        family = family_of(process.pid)
        commands = [pid for pid in family if command_of(pid) == b"sh"]
        between = [pid for pid in family[1:] if re.search(rb"python|^tiffin-init$", command_of(pid))]
        spine = [process.pid, *between, *commands[:1]]  # tiffin has no arguments yet while it is being executed
        os.kill(choice.choice(spine), signal.SIGKILL)
        assert process.wait(END_SECONDS) != 0
        process.communicate()
        wait_until(partial(_are_gone, family), seconds=END_SECONDS)
    assert cli.run("ps").returncode == 0  # which sweeps what a killed one could not
    assert cli.left() == []


@pytest.mark.parametrize("options", [[], [SINGLE], ["--init"]], ids=" ".join)
def test_fork_bomb_ends_with_its_container(cli: CliRunner, options: list[str]) -> None:
    script = "echo ready; bomb() { sleep 1000 & bomb & sleep 1000; }; bomb 2>/dev/null"
    with running(cli, *options, "--ulimit=nproc=300", "--user=33", "minimal", "sh", "-c", script) as process:
        time.sleep(0.3)
        family = family_of(process.pid)
        process.kill()
    wait_until(lambda: not any(map(command_of, family)), seconds=END_SECONDS)
    assert cli.run("ps").returncode == 0 and cli.left() == []


def family_of(ancestor: int) -> list[int]:
    """A process and all below it."""
    parents = {}
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        with contextlib.suppress(OSError):
            parents[pid] = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    found = [ancestor]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found


def command_of(pid: int) -> bytes:
    """The first word of its command line; empty when it ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().partition(b"\0")[0]
    except OSError:
        return b""


def _are_gone(family: list[int]) -> bool:
    return not any(map(command_of, family))
