"""What is around every command, exactly and on each tier: credentials, filter, signals, descriptors, calls; a
careless caller.

Looked at from outside where a look from inside would be one of what the walls hide (in a chroot there is no /proc).
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.attacks.harness import PRECIOUS, Harness
from tests.support.cli_runner import wait_until
from tests.support.minimal_image import base_files
from tests.support.pods import MASKED_PROC
from tests.support.raw_program import Call, raw_program
from tiffin.builder.sandbox.child import kernel
from tiffin.builder.sandbox.child.kernel import CAPABILITIES
from tiffin.builder.sandbox.child.spec import DEFAULT_CAPABILITIES

pytestmark = [pytest.mark.userns, pytest.mark.xdist_group("attacks")]
NONE = f"{0:016x}"
EPERM, ENOENT, ESRCH, ENOSYS, ECONNREFUSED = 1, 2, 3, 38, 111
CLONE_FS = 0x200
UNIX_ADDRESS = socket.AF_UNIX.to_bytes(2, "little") + b"\0"  # what follows is an abstract name
ENTRIES = ("RUN", "run")
NAMESPACES = ("user", "mnt", "pid", "ipc", "uts", "net")
NAMELESS = ("/memfd:", "/dev/null")
NAMES = (
    "CapInh",
    "CapPrm",
    "CapEff",
    "CapBnd",
    "CapAmb",
    "NoNewPrivs",
    "Seccomp",
    "Seccomp_filters",
    "SigBlk",
    "SigIgn",
    "Umask",
    "Groups",
    "NSpid",
    "NSsid",
)


def capability_mask(harness: Harness) -> str:
    """Docker's fourteen, in a chroot without the one that leads out of it."""
    names = [name for name in DEFAULT_CAPABILITIES if harness.tier != "chroot" or name != "SYS_CHROOT"]
    return f"{sum(1 << CAPABILITIES.index(name) for name in names):016x}"


# -- a command that waits, looked at from outside --------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A command of a step or a container that sleeps; `tiffin` started it, `above` are its parents below that."""

    pid: int
    tiffin: int
    above: Sequence[int]

    @property
    def status(self) -> dict[str, str]:
        text = Path(f"/proc/{self.pid}/status").read_text()
        found = dict(line.split(":", 1) for line in text.splitlines())
        return {name: " ".join(found[name].split()) for name in NAMES}

    @property
    def namespaces(self) -> set[str]:
        """Those that are not the machine's."""
        return {
            name
            for name in NAMESPACES
            if os.readlink(f"/proc/{self.pid}/ns/{name}") != os.readlink(f"/proc/self/ns/{name}")
        }


def careless(harness: Harness) -> list[str]:
    """What starts tiffin with all we have inheritable and ambient, as old container runtimes did (CVE-2022-24769)."""
    own = int(re.findall(r"CapPrm:\s+(\w+)", Path("/proc/self/status").read_text())[0], 16)
    if not own:
        return []
    names = ",".join(f"+{name.lower()}" for number, name in enumerate(CAPABILITIES) if own >> number & 1)
    identity = harness.cli.identity
    user = [f"--reuid={identity['user']}", f"--regid={identity['group']}", "--clear-groups"] if identity else []
    return ["setpriv", *user, f"--inh-caps={names}", f"--ambient-caps={names}"]


def spoil() -> None:
    """The rest of what a careless parent hands down."""
    os.umask(0)
    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGPIPE, signal.SIGCHLD):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2, signal.SIGALRM, signal.SIGTERM})


@contextlib.contextmanager
def held(harness: Harness, entry: str, *options: str, fds: Sequence[int] = (), user: str = "") -> Iterator[Held]:
    mark = f"9{os.getpid():06d}{time.monotonic_ns() % 1000:03d}"  # seconds
    if entry == "RUN":
        dockerfile = "FROM minimal\n" + (f"USER {user}\n" if user else "") + f'RUN ["sleep", "{mark}"]\n'
        words = ["build", "--no-cache", "--progress=plain", *options, str(harness.context(dockerfile))]
    else:
        words = ["run", "--rm", *options, *(("-u", user) if user else ()), "minimal", "sleep", mark]
    environment = {key: value for key, value in harness.cli.options().items() if key in ("env", "cwd")}
    process = subprocess.Popen(  # type: ignore[call-overload]
        [*careless(harness), *harness.cli.argv(*words)],
        **environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=fds,
        preexec_fn=spoil,
    )
    try:
        wait_until(lambda: process.poll() is not None or sleepers(mark), seconds=30)
        found = sleepers(mark)
        assert len(found) == 1, "the command did not start"
        yield Held(pid=found[0], tiffin=process.pid, above=between(process.pid, found[0]))
    finally:
        for pid in sleepers(mark):
            os.kill(pid, signal.SIGKILL)
        process.wait(30)


def sleepers(mark: str) -> list[int]:
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/cmdline").read_bytes() == f"sleep\0{mark}\0".encode():
                found.append(int(pid))
    return found


def between(top: int, pid: int) -> list[int]:
    """The processes between `top` and `pid`."""
    result: list[int] = []
    while True:
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        if pid in (top, 1, 0):
            assert pid == top, "the command is not a descendant of tiffin"
            return result
        result.append(pid)


@pytest.mark.attack("T32")
@pytest.mark.parametrize("entry", ENTRIES)
def test_credentials_are_exactly_these(every_harness: Harness, entry: str) -> None:
    """Whatever tiffin's caller has and ignores, a command has Docker's capabilities, a filter, and signals that
    work.
    """
    own = capability_mask(every_harness)
    supervised = every_harness.tier != "chroot"  # owners or devices
    wanted = {
        "CapInh": NONE,
        "CapPrm": own,
        "CapEff": own,
        "CapBnd": own,
        "CapAmb": NONE,
        "NoNewPrivs": "0",
        "Seccomp": "2",
        "Seccomp_filters": str(1 + int(supervised)),
        "SigBlk": NONE,
        "SigIgn": NONE,
        "Umask": "0022",
    }
    with held(every_harness, entry) as command:
        status = command.status
        assert {name: status[name] for name in wanted} == wanted
        if every_harness.tier != "chroot":
            assert status["NSpid"].split()[2:] == ["1"], (
                "the command is not process 1, or its init not in a namespace of its own"
            )
        assert status["NSsid"].split()[-1] == status["NSpid"].split()[-1], "the command is in the session of tiffin"
        own_namespaces = set() if every_harness.tier == "chroot" else {"user", "mnt", "pid", "ipc", "uts"}
        assert command.namespaces == own_namespaces
    wanted |= {"CapPrm": NONE, "CapEff": NONE}
    if every_harness.tier != "single":  # whose kernel knows one user
        with held(every_harness, entry, user="33") as command:
            status = command.status
            assert {name: status[name] for name in wanted} == wanted, "a user keeps what root had"


@pytest.mark.attack("T32")
@pytest.mark.parametrize("entry", ENTRIES)
def test_no_new_privileges(every_harness: Harness, entry: str) -> None:
    with held(every_harness, entry, "--security-opt=no-new-privileges") as command:
        status = command.status
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
        # what must be held to install a filter without it is not held on this way
        own = capability_mask(every_harness)
        assert (status["CapInh"], status["CapAmb"]) == (NONE, NONE)
        assert (status["CapPrm"], status["CapEff"], status["CapBnd"]) == (own, own, own)


@pytest.mark.attack("T32")
@pytest.mark.parametrize("entry", ENTRIES)
def test_without_a_network_there_is_none_of_the_machine(every_harness: Harness, entry: str) -> None:
    with held(every_harness, entry, "--network=none") as command:
        assert "net" in command.namespaces
        devices = [
            line.split(":")[0].strip() for line in Path(f"/proc/{command.pid}/net/dev").read_text().splitlines()[2:]
        ]
        assert devices == ["lo"]


@pytest.mark.attack("T31")
@pytest.mark.skipif(os.getuid() != 0, reason="only root may look at the descriptors of tiffin's own processes")
@pytest.mark.parametrize("entry", ENTRIES)
def test_no_process_of_a_sandbox_holds_a_file_of_the_machine(every_harness: Harness, entry: str) -> None:
    """The command has its three streams; what is above it, which it may get at one day, has nothing to be had."""
    with (
        (every_harness.canary / "file").open("r+") as canary,
        held(every_harness, entry, fds=[canary.fileno()]) as command,
    ):
        assert targets(command.tiffin)[canary.fileno()] == canary.name, "the canary was not handed down"
        assert sorted(targets(command.pid)) == [0, 1, 2]
        least = 1 if entry == "run" else 2  # the init of a container is tiffin's own child, without a runner
        assert len(command.above) >= least, "there is no init, or no runner, above the command"
        mounted = devices_of_machine()
        for pid in command.above:
            opened = {fd: path for fd, path in targets(pid).items() if fd > 2}
            named = [
                path
                for fd, path in opened.items()
                if path.startswith("/") and not path.startswith(NAMELESS) and is_of(pid, fd, mounted)
            ]
            assert named == [], f"{pid} of {command.above} holds files of the machine"


def devices_of_machine() -> set[int]:
    """The file systems that are mounted outside of sandboxes; a procfs of a sandbox's own is another."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return {os.makedev(*map(int, line.split()[2].split(":"))) for line in lines}


def is_of(pid: int, fd: int, devices: set[int]) -> bool:
    """Whether a descriptor of a process is a file of one of the file systems; the command's own pipes may have
    names.
    """
    st = os.stat(f"/proc/{pid}/fd/{fd}")
    return st.st_dev in devices and not stat.S_ISFIFO(st.st_mode)


def targets(pid: int) -> dict[int, str]:
    """What the descriptors of a process are."""
    found = {}
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            found[int(name)] = os.readlink(f"/proc/{pid}/fd/{name}")
    return found


@pytest.mark.attack("T22", "T31")
@pytest.mark.skipif(os.getuid() != 0, reason="masking /proc as a container runtime does takes root")
@pytest.mark.parametrize("options", [(), ("--cap-add=ALL",)], ids=["usual", "every capability"])
@pytest.mark.parametrize("tier", ["range", "single"])
def test_processes_of_the_machine_are_seen_but_closed(
    root_harness: Harness, tier: str, options: tuple[str, ...]
) -> None:
    """Where /proc is masked, a sandbox shows the machine's own: numbers, and nothing of what is in them."""
    script = (
        "for place in /proc/[0-9]*; do echo $place; tr '\\0' '\\n' < $place/environ; "
        f"cat $place/root/{root_harness.canary}/file $place/cwd/canary/file; ls -l $place/fd $place/exe; done "
        "2>/dev/null; true"
    )
    words = ("run", "--rm", f"--isolation={tier}", *options, "minimal", "sh", "-c", script)
    env = {"CANARY_OF_THE_HOST": PRECIOUS}
    with (root_harness.canary / "file").open() as canary:
        done = subprocess.run(
            [*MASKED_PROC, *root_harness.cli.argv(*words)],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            pass_fds=[canary.fileno()],
            timeout=60,
            **root_harness.cli.options(**env),  # type: ignore[call-overload]
        )
    assert done.returncode == 0, done.stderr
    assert f"/proc/{os.getpid()}\n" in done.stdout, "the machine's own /proc is not shown"
    assert PRECIOUS not in done.stdout, "a command reads what tiffin has"
    assert str(root_harness.canary) not in done.stdout, "a command sees paths of the machine"


# -- calls -----------------------------------------------------------------------------------------------------------

FORBIDDEN: dict[str, tuple[Call, int]] = {
    "add_key": (("add_key", (0, 0, 0, 0, 0)), EPERM),
    "bpf": (("bpf", (999, 0, 0)), EPERM),
    "clone": (("clone", (kernel.CLONE_NEWUSER | CLONE_FS, 0, 0, 0, 0)), EPERM),
    "clone3": (("clone3", (0, 0)), ENOSYS),  # so that a C library tries clone, whose flags a filter can see
    "io_uring": (("io_uring_setup", (0, 0)), EPERM),
    "kcmp": (("kcmp", (-1, -1, 0, 0, 0)), EPERM),
    "keyctl": (("keyctl", (0, -2, 0)), EPERM),
    "open_tree": (("open_tree", (-1, 0, 0)), EPERM),
    "perf": (("perf_event_open", (0, 0, -1, -1, -1)), EPERM),
    "personality": (("personality", (0x1234,)), EPERM),
    "pidfd_getfd": (("pidfd_getfd", (-1, -1, 0)), EPERM),
    "setns": (("setns", (-1, 0)), EPERM),
    "unshare": (("unshare", (1,)), EPERM),
    "userfaultfd": (("userfaultfd", (-1,)), EPERM),
}


def errnos(harness: Harness, entry: str, calls: dict[str, Sequence[Call]], *options: str) -> dict[str, int]:
    """The errno of the last call of each program, 0 for success."""
    programs: dict[str, bytes | str | None] = {f"bin/raw-{name}": raw_program(*row) for name, row in calls.items()}
    harness.cli.make_image(base_files(), programs, name="raw", config={"Env": ["PATH=/bin"]})
    script = 'for name in /bin/raw-*; do $name; echo "result ${name#/bin/raw-} $?."; done'
    if entry == "RUN":
        text = harness.output(f"FROM raw\nRUN {script}\n", *options)
    else:
        done = harness.run("run", "--rm", *options, "raw", "sh", "-c", script)
        assert done.returncode == 0, done.stderr
        text = done.stdout
    found = {name: int(number) for name, number in re.findall(r"result (\w+) (\d+)\.", text)}
    assert found.keys() == calls.keys(), text
    return found


@pytest.mark.attack("T32")
@pytest.mark.parametrize("entry", ENTRIES)
def test_calls_that_the_filter_alone_forbids(every_harness: Harness, entry: str) -> None:
    """Each has another errno without the filter, as none of them gets as far as to need a capability."""
    calls: dict[str, Sequence[Call]] = {name: (call,) for name, (call, _) in FORBIDDEN.items()}
    wanted = {name: number for name, (_, number) in FORBIDDEN.items()}
    assert errnos(every_harness, entry, calls) == wanted
    if every_harness.tier == "single":
        del calls["clone3"]  # the filter of the supervisor refuses it, too
    without = errnos(every_harness, entry, calls, "--security-opt=seccomp=unconfined")
    assert {name for name, number in without.items() if number == wanted[name]} == set(), "the calls prove nothing"


@pytest.mark.attack("T23")
@pytest.mark.parametrize("entry", ENTRIES)
def test_a_root_in_the_root_leads_nowhere(every_harness: Harness, entry: str) -> None:
    """The oldest way out of a chroot: another one below the working directory, and then up."""
    path = os.fsencode(every_harness.canary / "file")
    way = [
        ("mkdirat", (-100, b"/tmp/below", 0o755)),
        ("chroot", (b"/tmp/below",)),
        ("chdir", (b"/".join([b".."] * 40),)),
        ("chroot", (b".",)),
    ]
    calls: dict[str, Sequence[Call]] = {
        "root": (*way, ("openat", (-100, path, os.O_RDWR))),
        "here": (("openat", (-100, path, os.O_RDWR)),),
        "above": (("openat", (-100, b"../" * 40 + path[1:], os.O_RDWR)),),
    }
    assert errnos(every_harness, entry, calls) == dict.fromkeys(calls, ENOENT), "a command got out of its root"
    if every_harness.tier == "chroot":  # whatever is asked for: with that capability it would
        assert errnos(every_harness, "run", calls, "--cap-add=SYS_CHROOT") == dict.fromkeys(calls, ENOENT)


@pytest.mark.attack("T32")
@pytest.mark.parametrize("entry", ENTRIES)
def test_abstract_sockets_of_the_machine_are_out_of_reach(every_harness: Harness, entry: str) -> None:
    """CVE-2020-15257: with the machine's own network their names are visible; Landlock keeps them shut."""
    if not has_scopes():
        pytest.skip("the kernel has no Landlock scopes (Linux 6.12)")
    name = f"tiffin-{os.getpid()}-{every_harness.tier}-{entry}".encode()

    def reach(name: bytes) -> Call:
        address = UNIX_ADDRESS + name
        return "connect", (3, address, len(address))

    opened: Call = ("socket", (socket.AF_UNIX, socket.SOCK_STREAM, 0))
    own: Sequence[Call] = (
        opened,
        ("bind", (3, UNIX_ADDRESS + b"own", 6)),
        ("listen", (3, 1)),
        opened,
        ("connect", (4, UNIX_ADDRESS + b"own", 6)),
    )
    calls: dict[str, Sequence[Call]] = {
        "host": (opened, reach(name)),
        "nobody": (opened, reach(name + b"-not")),
        "own": own,
    }
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(b"\0" + name)
        server.listen()
        assert errnos(every_harness, entry, calls) == {"host": EPERM, "nobody": ECONNREFUSED, "own": 0}
        if entry == "run":
            assert errnos(every_harness, entry, calls, "--privileged")["host"] == 0, "the calls prove nothing"


@pytest.mark.attack("T32")
@pytest.mark.parametrize("entry", ENTRIES)
def test_processes_of_the_machine_get_no_signals(every_harness: Harness, entry: str) -> None:
    """With a pid namespace they are not there; root in a chroot sees them and is kept off by Landlock."""
    if every_harness.tier == "chroot" and not has_scopes():
        pytest.skip("the kernel has no Landlock scopes (Linux 6.12)")
    calls: dict[str, Sequence[Call]] = {"kill": (("kill", (os.getpid(), 0)),), "init": (("kill", (1, 0)),)}
    wanted = {"kill": EPERM, "init": EPERM} if every_harness.tier == "chroot" else {"kill": ESRCH, "init": 0}
    assert errnos(every_harness, entry, calls) == wanted


def has_scopes() -> bool:
    """Whether a process may be put into a scope, tried in a child."""
    child = os.fork()
    if child == 0:
        os._exit(0 if _try_scope() else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def _try_scope() -> bool:
    try:
        kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
        return kernel.restrict_scope(kernel.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET)
    except OSError:
        return False
