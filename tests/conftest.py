"""Fixtures: a clean environment, tiffin as a command, a busybox root, a real registry, unprivileged users."""

from __future__ import annotations

import gc
import itertools
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.conformance.forkserver import ForkServer
from tests.support.contexts import context_at
from tests.support.servers import Registry, running_registry
from tests.support.unprivileged import Users, reclaim
from tests.support.workers import interrupted_in

CHECKOUT = Path(__file__).parent.parent
CLEARED = (
    "TIFFIN_ROOT",
    "TIFFIN_ISOLATION",
    "DOCKER_CONFIG",
    "SOURCE_DATE_EPOCH",
    "BUILDKIT_PROGRESS",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "TIFFIN_CONFIG",
    "TIFFIN_INSECURE_REGISTRIES",
    "DOCKER_AUTH_CONFIG",
)
SYSTEM_PROGRAMS = ("/usr/sbin", "/sbin")
TIMEOUT_SECONDS = 900
LONGEST_ID = 100
GARBAGE_THRESHOLD = 100_000  # with Python's own, two fifths of the collection of tests were a search for cycles

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write the files of tests/golden/ anew")


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Call a long text or file by its begin and length: xdist sends the names of all tests to and fro, and each has
    a folder of its name.
    """
    if isinstance(val, str | bytes) and len(val) > LONGEST_ID:
        return f"{argname}-{val[:20]!a}-of-{len(val)}"
    return None


def pytest_configure() -> None:
    """Signals that a shell's background jobs ignore would be ignored by tiffin too, and what tests send would not
    arrive. SIGTERM, like an interrupt, ends fixtures properly. Servers and tools of Debian are where a user's
    PATH may not lead.
    """
    gc.set_threshold(GARBAGE_THRESHOLD)
    os.environ["PATH"] = os.pathsep.join((os.environ["PATH"], *SYSTEM_PROGRAMS))
    for number in (signal.SIGQUIT, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, interrupted_in(os.getpid()))


def pytest_collection_finish() -> None:
    """Thousands of tests were made and stay: no collection of garbage looks through them again."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """pytest itself cannot remove what belongs to the user's subordinate ids, or is closed to him."""
    factory: pytest.TempPathFactory | None = getattr(session.config, "_tmp_path_factory", None)
    if factory is not None and os.getuid() != 0:
        reclaim(factory.getbasetemp())


class Homes:
    """Home directories, each with credentials for skopeo: not the machine's, which it may not read. One serves until a
    test leaves something in it, as to make one for each of thousands of tests takes time.
    """

    def __init__(self, folder: Path) -> None:
        self._unused = (folder / str(number) for number in itertools.count())
        self._home = self._new()
        self._state = self._look()

    def clean(self) -> Path:
        if self._look() != self._state:
            self._home = self._new()
            self._state = self._look()
        return self._home

    def _new(self) -> Path:
        home = next(self._unused)
        home.mkdir(0o700)
        (home / "auth.json").write_text("{}")
        return home

    def _look(self) -> tuple[object, ...]:
        try:
            folder, auth = self._home.lstat(), (self._home / "auth.json").lstat()
        except OSError:
            return ()
        return (
            folder.st_ino,
            folder.st_mode,
            folder.st_uid,
            folder.st_mtime_ns,
            auth.st_ino,
            auth.st_mode,
            auth.st_mtime_ns,
        )


@pytest.fixture(scope="session")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Homes:
    return Homes(tmp_path_factory.mktemp("homes"))


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, homes: Homes) -> None:
    """Nothing of the caller's reaches a test."""
    for name in CLEARED:
        monkeypatch.delenv(name, raising=False)
    home = homes.clean()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(home / "auth.json"))
    monkeypatch.setenv("PYTHONPATH", str(CHECKOUT))


@pytest.fixture(autouse=True)
def untouched_root() -> Iterator[None]:
    """Nothing appears in the root of the machine; what another worker's test left there fails the tests beside it."""
    before = os.listdir("/")
    yield
    assert sorted(set(os.listdir("/")).difference(before)) == []


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """A state directory; at the end nothing of a command may be left in it."""
    path = tmp_path / "state"
    yield path
    assert_nothing_left(path)


@pytest.fixture(scope="session")
def fork_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServer]:
    """tiffin's commands without an interpreter started for each."""
    with ForkServer(tmp_path_factory.mktemp("fork")) as server:
        yield server


@pytest.fixture
def tiffin(root: Path, fork_server: ForkServer) -> Iterator[Run]:
    """Run tiffin on the test's state directory; output as text, exit code checked unless check=False.

    What is special about a process (its stdin, its locale) takes an interpreter of its own.
    """

    def run(*words: str | Path, check: bool = True, **options: object) -> subprocess.CompletedProcess[str]:
        argv = ["--root", str(root), *map(str, words)]
        env = options.get("env", os.environ)
        assert isinstance(env, Mapping)
        if options.keys() - {"env"} or _of_interpreter(env) != _of_interpreter(os.environ):
            own = [sys.executable, "-m", "tiffin", *argv]
            done: subprocess.CompletedProcess[str] = subprocess.run(  # type: ignore[call-overload]  # options pass through
                own, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, **options
            )
        else:
            umask = os.umask(0o022)
            os.umask(umask)
            done = fork_server.run(argv, cwd=Path.cwd(), env=env, umask=umask, seconds=TIMEOUT_SECONDS)
        assert "Traceback" not in done.stderr, done.stderr
        assert not check or done.returncode == 0, done.stderr
        return done

    yield run
    assert fork_server.left() == [], "a command left processes"


def _of_interpreter(env: Mapping[str, str]) -> dict[str, str]:
    """What an interpreter reads of its environment as it starts."""
    return {name: value for name, value in env.items() if name.startswith(("PYTHON", "LC_", "LANG"))}


@pytest.fixture(scope="session")
def busybox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build context: busybox with its applets below rootfs/, and a Dockerfile that makes an image of it."""
    context = tmp_path_factory.mktemp("busybox")
    binaries = context / "rootfs/bin"
    binaries.mkdir(parents=True)
    shutil.copy("/bin/busybox", binaries / "busybox")
    for applet in subprocess.run(["/bin/busybox", "--list"], capture_output=True, text=True, check=True).stdout.split():
        if applet != "busybox":
            (binaries / applet).symlink_to("busybox")
    etc = context / "rootfs/etc"
    etc.mkdir()
    (etc / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001:app:/home/app:/bin/sh\n")
    (etc / "group").write_text("root:x:0:\napp:x:1001:\nextra:x:1002:app\n")
    (context / "rootfs/tmp").mkdir()
    (context / "rootfs/tmp").chmod(0o1777)
    (context / "Dockerfile").write_text('FROM scratch\nCOPY rootfs/ /\nENV PATH=/bin\nCMD ["sh"]\n')
    for path in (context, *context.rglob("*")):
        if not path.is_symlink() and path.stat().st_mode & 0o005 != 0o005:
            path.chmod(path.stat().st_mode | 0o755)
    return context


@pytest.fixture
def base(tiffin: Run, busybox: Path) -> str:
    """The name of a busybox image in the test's state directory."""
    tiffin("build", "-q", "-t", "base", busybox)
    return "base"


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A real docker-registry on a loopback port."""
    with running_registry(tmp_path_factory.mktemp("registry")) as server:
        yield server


@pytest.fixture(scope="session")
def users(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Users]:
    """Unprivileged users with and without subordinate ids, and a copy of the code they can read."""
    with Users.prepared(CHECKOUT) as prepared:
        yield prepared


@pytest.fixture
def context(tmp_path: Path) -> Callable[..., Path]:
    """Make a build context of a Dockerfile and files."""
    return context_at(tmp_path)


def assert_nothing_left(state: Path) -> None:
    """No temporary file, no dead container, no mount and no process of a command that ended."""
    if not state.exists():
        return
    assert sorted(item.name for item in (state / "tmp").iterdir()) == []
    assert str(state) not in Path("/proc/self/mountinfo").read_text()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            argv = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        assert os.fsencode(str(state)) not in argv, f"process {pid} is left: {argv!r}"
