"""What programs do to the supervisor that answers their calls about owners: it neither dies, nor lies, nor helps
them.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import signal
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.attacks.harness import Harness
from tests.support.cli_runner import wait_until
from tiffin.builder.owner_xattrs import CAPABILITY, OWNER, link_record
from tiffin.builder.sandbox.child.emulation.supervisor import NEEDED_CAPABILITIES
from tiffin.builder.sandbox.child.kernel import CAPABILITIES

pytestmark = [pytest.mark.userns, pytest.mark.attack("T35"), pytest.mark.xdist_group("users")]
HOST_PROGRAMS = ("-v", "/usr:/usr:ro", "-v", "/lib:/lib:ro", "-v", "/lib64:/lib64:ro")
END_SECONDS = 20  # a step whose supervisor is gone ends long before, also on a busy machine
PREAMBLE = "import ctypes, errno, mmap, os, random, signal, struct, sys, threading, time\n"

FORKS = """
running, n = 0, 0
def reap():
    status = os.wait()[1]
    assert status == 0, status
while n < 1000:
    n += 1
    if os.fork() == 0:
        os.setgroups([n]); os.setresgid(n, n, n); os.setresuid(n, n, n)
        inner = os.fork()
        if inner == 0:
            right = os.getresuid() == os.getresgid() == (n, n, n) and os.getgroups() == [n]
            try:
                os.setuid(0)
            except PermissionError:
                os._exit(0 if right else 1)
            os._exit(2)
        os._exit(os.waitstatus_to_exitcode(os.waitpid(inner, 0)[1]))
    running += 1
    if running == 30:
        reap()
        running -= 1
while running:
    reap()
    running -= 1
assert os.getresuid() == (0, 0, 0)
print("same")
"""

THREADS = """
wrong = []
def work(n):
    path = f"/tmp/{n}"
    for i in range(100):
        open(path, "w").close()
        os.chown(path, n, i)
        st = os.stat(path)
        if (st.st_uid, st.st_gid) != (n, i):
            wrong.append((n, i, st))
for turn in range(6):
    threads = [threading.Thread(target=work, args=(n,)) for n in range(1, 13)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
print("same" if not wrong else wrong[:3])
"""

KILLED = """
open("/tmp/f", "w").close()
for turn in range(100):
    pid = os.fork()
    if pid == 0:
        def call():
            while True:
                os.chown("/tmp/f", 5, 6); os.stat("/tmp/f"); os.setgroups([1, 2]); open(f"/tmp/x{turn}", "w").close()
        for _ in range(3):
            threading.Thread(target=call).start()
        call()
    time.sleep(random.random() / 100)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
os.chown("/tmp/f", 7, 8)
print("same" if os.stat("/tmp/f").st_uid == 7 else "other")
"""

MEMORY = """
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.argtypes = [ctypes.c_long] * 7
page = mmap.mmap(-1, 8192)
hole = ctypes.addressof(ctypes.c_char.from_buffer(page)) + 4096
libc.munmap.argtypes = [ctypes.c_long, ctypes.c_long]
assert libc.munmap(hole, 4096) == 0
ctypes.memset(hole - 4096, 120, 4096)  # a path without an end
numbers = dict(stat=4, lstat=6, chown=92, getgroups=115, setgroups=116, getresuid=118, capget=125, newfstatat=262, statx=332,
               mkdir=83, symlink=88, mknod=133, openat=257, execve=59, llistxattr=195)
if os.uname().machine == "aarch64":
    numbers = dict(getgroups=158, setgroups=159, getresuid=148, capget=90, newfstatat=79, statx=291, execve=221, llistxattr=12)
for name, number in numbers.items():
    for address in (0, 1, hole - 3, hole, -4096, 2**63 - 1):
        first = -100 if name in ("newfstatat", "statx", "openat") else 5 if "groups" in name else address
        result = libc.syscall(number, first, address, 0o100 if name == "openat" else address, 0, address, 0)
        assert result < 0, (name, address, result)
        assert ctypes.get_errno() in (errno.EFAULT, errno.EINVAL, errno.ENOENT, errno.ENAMETOOLONG, errno.ERANGE), (name, ctypes.get_errno())
def unmap():
    for _ in range(3000):
        area = mmap.mmap(-1, 4096); area.write(b"/tmp\\0"); places.append(area)
        while len(places) > 2:
            places.pop(0).close()
places = []
thread = threading.Thread(target=unmap); thread.start()
while thread.is_alive():
    try:
        libc.syscall(numbers["newfstatat"], -100, ctypes.addressof(ctypes.c_char.from_buffer(places[0])), hole - 4096, 0, 0, 0)
    except (IndexError, ValueError, BufferError):
        pass
os.mkdir("/tmp/d"); os.chown("/tmp/d", 3, 4)
print("same" if os.stat("/tmp/d").st_gid == 4 else "other")
"""

RACES = """
os.mkdir("/tmp/a"); open("/tmp/a/f", "w").close()
places = ["/proc/1/root", "/proc/1/cwd", "../../../../../..", "/proc/self/root", "/dev", "/proc/1/fd", "a"]
stop = threading.Event()
def swap():
    while not stop.is_set():
        for place in places:
            try:
                os.symlink(place, "/tmp/new"); os.rename("/tmp/new", "/tmp/link")
            except OSError:
                pass
thread = threading.Thread(target=swap); thread.start()
for n in range(2000):
    for act in (
        lambda: os.chown("/tmp/link/f", 5, n), lambda: os.chown("/tmp/link", 6, n, follow_symlinks=False),
        lambda: os.stat("/tmp/link/f"), lambda: os.mkdir("/tmp/link/made"), lambda: os.mknod("/tmp/link/dev", 0o20600, 259),
    ):
        try:
            act()
        except OSError:
            pass
stop.set(); thread.join()
os.chown("/tmp/a/f", 1, 2)
print("same" if os.stat("/tmp/a/f").st_uid == 1 else "other")
"""


SHOWS_LINKS = "FROM minimal\nRUN for n in 0 1 2; do ln -s /proc/self/fd/$n /tmp/$n; chown 5:6 /tmp/$n; done; true\n"


def ran(harness: Harness, program: str, *options: str) -> str:
    """What a Python program prints in a container with one id."""
    folder = harness.context("FROM scratch\n", {"program.py": PREAMBLE + program})
    words = (*HOST_PROGRAMS, "-v", f"{folder}/program.py:/program.py:ro", *options)
    done = harness.run("run", "--rm", *words, "minimal", harness.cli.python, "-I", "/program.py")
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "program", [FORKS, THREADS, KILLED, MEMORY, RACES], ids=["forks", "threads", "killed", "memory", "races"]
)
def test_supervisor_survives(single_harness: Harness, program: str) -> None:
    assert ran(single_harness, program) == "same\n"


def test_supervisor_has_no_more_rights_than_it_needs(single_harness: Harness) -> None:
    """It is nowhere to be seen inside, and outside it has what recording owners takes."""
    program = """
os.getuid()
print([name for name in os.listdir("/proc") if name.isdigit()], os.getpid(), os.getppid())
print(*(line.split()[1] for line in open("/proc/self/status") if line.startswith(("CapEff", "CapPrm"))), flush=True)
sys.stdin.read()
"""
    with watched(single_harness, program, "--cap-drop=ALL", "--cap-add=SETUID") as (running, supervisor):
        assert running.stdout is not None
        assert running.stdout.readline() == "['1'] 1 0\n"
        needed = sum(1 << CAPABILITIES.index(name) for name in NEEDED_CAPABILITIES)
        setuid = 1 << CAPABILITIES.index("SETUID")
        assert [int(word, 16) for word in running.stdout.readline().split()] == [setuid, setuid]
        tasks = sorted(map(int, os.listdir(f"/proc/{supervisor}/task")))
        (answering,) = [task for task in tasks if task != supervisor]
        status = Path(f"/proc/{supervisor}/task/{answering}/status").read_text()
        assert {int(word, 16) for word in re.findall(r"Cap(?:Eff|Prm):\s+(\w+)", status)} == {setuid | needed}


@contextlib.contextmanager
def watched(harness: Harness, program: str, *options: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A Python program in a container with one id, that has a pipe as stdin; and its supervisor."""
    folder = harness.context("FROM scratch\n", {"program.py": PREAMBLE + program})
    words = (*HOST_PROGRAMS, "-v", f"{folder}/program.py:/program.py:ro", *options)
    argv = ("run", "--rm", "-i", *words, "minimal", harness.cli.python, "-I", "/program.py")
    running = harness.cli.start(*argv, stdin=subprocess.PIPE)

    def supervisors() -> list[int]:
        return [pid for pid in descendants(running.pid) if command_of(pid).startswith(b"tiffin-init")]

    try:
        assert running.stdout is not None and running.stdin is not None
        wait_until(supervisors, seconds=END_SECONDS)
        yield running, supervisors()[0]
        running.communicate(timeout=END_SECONDS)  # which closes its stdin
    finally:
        running.kill()
        running.communicate()


def growth(harness: Harness, program: str, *options: str) -> tuple[str, int]:
    """What a program prints, and by how many KiB its supervisor grew meanwhile."""

    def kibibytes(pid: int) -> int:
        return int(re.findall(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[0])

    begins = 'print("ready", flush=True); sys.stdin.readline()\n'
    ends = "\nsys.stdout.flush(); sys.stdin.readline()\n"
    with watched(harness, begins + program + ends, *options) as (running, supervisor):
        assert running.stdout is not None and running.stdin is not None and running.stderr is not None
        line = running.stdout.readline()
        assert line == "ready\n", line + running.stderr.read()
        before = kibibytes(supervisor)
        running.stdin.write("\n")
        running.stdin.flush()
        said = running.stdout.readline()
        assert said, running.stderr.read()
        return said, kibibytes(supervisor) - before


OWN_LINKS = """
os.symlink("/proc/self/exe", "/tmp/exe"); os.symlink("/proc/self/fd/2", "/tmp/stderr")
for path in ("/proc/1/exe", "/proc/1/task/1/exe", "/proc/self/root/proc/1/exe", "/tmp/exe", "/proc/1/fd/2", "/tmp/stderr"):
    try:
        os.chown(path, 5, 6)
    except PermissionError:
        print(path)
    except OSError as exc:
        print(path, exc.strerror)
"""


def test_links_in_proc_do_not_lead_to_what_the_supervisor_has(single_harness: Harness) -> None:
    """Links to what a process has itself lead to what the command has; those of an init of ours, which are files of the
    machine that may be the user's, lead nowhere."""
    cli = single_harness.cli
    program = cli.folder / "python"
    shutil.copy(cli.python, program)
    log = cli.folder / "log"
    log.touch()
    cli.own(program)
    cli.own(log)
    folder = single_harness.context("FROM scratch\n", {"program.py": PREAMBLE + OWN_LINKS})
    words = (
        "--init",
        *HOST_PROGRAMS,
        "-v",
        f"{folder}/program.py:/program.py:ro",
        "minimal",
        cli.python,
        "-I",
        "/program.py",
    )
    # stderr of tiffin is a file, that of the command a pipe
    argv = replace(cli, python=str(program)).argv("build", "--progress=plain", single_harness.context(SHOWS_LINKS))
    with log.open("w") as stream:
        subprocess.run(argv, stdin=subprocess.DEVNULL, stderr=stream, check=True, **cli.options())  # type: ignore[call-overload]
    done = replace(cli, python=str(program)).run("run", "--rm", *words)
    assert done.returncode == 0, done.stderr
    closed = ["/proc/1/exe", "/proc/1/task/1/exe", "/proc/self/root/proc/1/exe"]
    assert done.stdout.splitlines() == [*closed, "/tmp/exe Read-only file system", "/proc/1/fd/2"]
    assert os.listxattr(program) == os.listxattr(log) == [], "a command changed a file of the machine"
    program.unlink()
    log.unlink()


MEMORY_OF_INIT = """
refused = []
try:
    for n in range(200):
        os.setgroups([n * 100000 + k for k in range(60000)])
except OSError as exc:
    refused.append(errno.errorcode[exc.errno])
try:
    for n in range(100000):
        reader, writer = os.pipe()
        os.fchown(reader, 5, n)
        os.close(reader); os.close(writer)
except OSError as exc:
    refused.append(errno.errorcode[exc.errno])
print(*refused)
"""


def test_a_command_does_not_fill_the_memory_of_its_supervisor(single_harness: Harness) -> None:
    """What it remembers for the command is in no control group of the command's."""
    said, grown = growth(single_harness, MEMORY_OF_INIT)
    assert said == "ENOMEM ENOSPC\n" and grown < 100 << 10


PATHS = """
os.mkdir("/tmp/d"); os.chdir("/tmp/d"); open("end", "w").close(); os.symlink("loop", "loop"); os.mkdir("e"); os.symlink("/etc", "s")
name = "end"
for n in range(39):
    os.symlink("./" * 1900 + name, f"l{n}"); name = f"l{n}"
long = ["./" * 2000 + "end", "/" * 4000 + "tmp", "../" * 1300 + "tmp/d/end", "/proc/self/root/" * 200 + "tmp", "l0/x", "loop", "\\xff" * 255]
stop = threading.Event()
def swap():
    while not stop.is_set():
        os.rename("e", "t"); os.rename("s", "e"); os.rename("t", "s")
thread = threading.Thread(target=swap); thread.start()
wrong = 0
for n in range(8):
    for place in [*long, *([name] if n == 0 else []), "e/shadow", "s/passwd", "e/../d/end"]:
        for call in (os.stat, os.listxattr, os.mkfifo, lambda place: os.close(os.open(place, os.O_RDWR | os.O_NONBLOCK))):
            try:
                call(place)
            except OSError:
                pass
stop.set(); thread.join()
for n in range(4500):
    os.mkdir(f"x{n}"); os.access(f"x{n}/y", os.R_OK)
try:
    open("/etc/passwd", "a"); wrong += 1
except PermissionError:
    pass
print("other" if wrong else "same")
"""


def test_paths_of_users_neither_stall_nor_fill_their_supervisor(single_harness: Harness) -> None:
    """Each is followed as the kernel does it: as many links, as many names, and nothing is kept of it."""
    said, grown = growth(single_harness, PATHS, "-u", "33")
    assert said == "same\n" and grown < 32 << 10


def test_step_ends_when_its_supervisor_is_killed(single_harness: Harness) -> None:
    """What it asked for waits for the end: no call of the command fails, which goes on as if it had succeeded or
    not.
    """
    running = single_harness.cli.start(
        "run", "--rm", "minimal", "sh", "-c", "echo ready; while :; do stat /bin >/dev/null; done"
    )
    try:
        assert running.stdout is not None
        assert running.stdout.readline() == "ready\n"
        family = descendants(running.pid)
        init = next(pid for pid in family if command_of(pid).startswith(b"tiffin-init"))
        os.kill(init, signal.SIGKILL)
        assert running.communicate(timeout=END_SECONDS) == ("", "")
    finally:
        running.kill()
        running.communicate()
    assert running.returncode == 128 + signal.SIGKILL
    wait_until(lambda: not any(map(command_of, family)), seconds=END_SECONDS)


def descendants(ancestor: int) -> list[int]:
    parents = {}
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        with contextlib.suppress(OSError):
            parents[pid] = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    found = [ancestor]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found[1:]


def command_of(pid: int) -> bytes:
    """Empty when it ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def test_records_in_a_layer_are_ignored(single_harness: Harness) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, kind, attribute, value in (
            ("file", tarfile.REGTYPE, OWNER, b"33:33"),
            ("dir", tarfile.DIRTYPE, OWNER, b"33:33"),
            ("link", tarfile.SYMTYPE, CAPABILITY, link_record(33, 33)),
            ("fifo", tarfile.FIFOTYPE, CAPABILITY, link_record(33, 33)),
            ("node", tarfile.REGTYPE, "user.tiffin.device", b"c 1:3 0666"),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.linkname, member.mode = kind, "file" if kind == tarfile.SYMTYPE else "", 0o755
            member.pax_headers = {f"SCHILY.xattr.{attribute}": value.decode("utf-8", "surrogateescape")}
            archive.addfile(member)
    shown = single_harness.output(
        "FROM minimal\nADD evil.tar /\nRUN stat -c '%n %u:%g %F' /file /dir /link /fifo /node\n",
        files={"evil.tar": stream.getvalue()},
    )
    for name, what in (
        ("file", "regular empty file"),
        ("dir", "directory"),
        ("link", "symbolic link"),
        ("fifo", "fifo"),
        ("node", "regular empty file"),
    ):
        assert f"/{name} 0:0 {what}\n" in shown, shown


def test_records_are_neither_seen_nor_kept_as_attributes(single_harness: Harness) -> None:
    program = """
open("/tmp/f", "w").close(); os.chown("/tmp/f", 5, 6); os.setxattr("/tmp/f", "user.other", b"x")
os.symlink("f", "/tmp/l"); os.chown("/tmp/l", 7, 8, follow_symlinks=False)
fd = os.open("/tmp/f", os.O_RDONLY)
print(os.listxattr("/tmp/f"), os.listxattr(fd), os.listxattr("/tmp/l", follow_symlinks=False))
"""
    assert ran(single_harness, program) == "['user.other'] ['user.other'] []\n"


def test_another_supervisor_is_told_and_left_in_charge(single_harness: Harness) -> None:
    """tiffin in a tiffin with one id: the inner one's RUN has the outer one's emulation."""
    code = single_harness.cli.env["PYTHONPATH"]
    first = code.partition(":")[0]  # the other part is below it
    dockerfile = "FROM minimal\nRUN touch /f && chown 3:4 /f && ln -s f /l && chown -h 5:6 /l && stat -c %u:%g /f /l\n"
    folder = single_harness.context(dockerfile)
    copy = f"cp -r {single_harness.cli.state}/images /inner/ && "
    inner = f"{copy} {single_harness.cli.python} -m tiffin --root /inner build --progress=plain /context 2>&1"
    mounts = [f"{first}:{first}:ro", f"{folder}:/context:ro", f"{single_harness.state}:{single_harness.state}:ro"]
    words = [word for mount in mounts for word in ("-v", mount)]
    environ = ["-e", f"PYTHONPATH={code}", "-e", "HOME=/tmp", "--tmpfs", "/inner"]
    options = ["--cap-add=ALL", "--security-opt", "seccomp=unconfined"]
    done = single_harness.run("run", "--rm", *HOST_PROGRAMS, *words, *environ, *options, "minimal", "sh", "-c", inner)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("supervises system calls already") == 1
    assert " 3:4\n" in done.stdout and " 5:6\n" in done.stdout


def test_capabilities_of_another_namespace_make_no_devices(harness: Harness) -> None:
    """With true owners only device nodes are answered for; who made himself root of a namespace is nobody in ours."""
    script = "unshare -Ur sh -c 'grep CapEff /proc/self/status; mknod /etc/node c 1 3'; ls /etc"
    done = harness.run("run", "--rm", "-u", "33", "--security-opt", "seccomp=unconfined", "minimal", "sh", "-c", script)
    assert "CapEff:\t000001ff" in done.stdout, done.stdout + done.stderr
    assert "node" not in done.stdout, "a user made a file where he may not write"
