"""ci/quickstart and ci/test as a newcomer meets them: from a copy of the checkout, with nothing of ours installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import CHECKOUT
from tests.support.unprivileged import Users, remove_folder

pytestmark = [pytest.mark.userns, pytest.mark.network, pytest.mark.slow, pytest.mark.xdist_group("quickstart")]
NOT_COPIED = (".git", ".venv", "__pycache__", "*.egg-info", ".*_cache", "build")
SECONDS = 300
# What a small machine has; apt-get is not there, so nothing can be downloaded
TOOLS = ("bash", "cat", "cp", "date", "dirname", "dpkg-query", "false", "grep", "head", "id", "ldd", "ln", "ls",
    "mkdir", "mktemp", "rm", "sed", "sort")  # fmt: skip

# a user who may mount in a namespace of his own, and is still himself
KEPT = ("--map-current-user", "--keep-caps")


class Newcomer:
    """Someone with a copy of the checkout at home. `masked`: programs that are not on this machine."""

    def __init__(self, checkout: Path, tools: Path, become: tuple[str, ...]) -> None:
        self._tools = tools
        self._become = become
        self.checkout = checkout

    def run(self, script: str, *, masked: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        environ = {"HOME": str(self.checkout.parent), "PATH": str(self._tools) if masked else os.environ["PATH"]}
        environ |= {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_"))}
        argv = [*self._become, f"./ci/{script}"]
        if masked:
            hide = "".join(f'mount --bind /dev/null "$(realpath {path})"\n' for path in masked)
            own = ["unshare", "--mount", *(KEPT if os.getuid() != 0 else ())]
            argv = [*own, "sh", "-c", f'set -e\n{hide}PATH={environ["PATH"]}\nexec "$@"', "sh", *argv]
        return subprocess.run(
            argv,
            cwd=self.checkout,
            env=environ | {"PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )


@pytest.fixture(scope="module", params=["root", "user"])
def newcomer(
    request: pytest.FixtureRequest, users: Users, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Newcomer]:
    if request.param == "root" and os.getuid() != 0:
        pytest.skip("only root can be root")
    folder = tmp_path_factory.mktemp("tools")
    for tool in TOOLS:
        (folder / tool).symlink_to(shutil.which(tool) or f"/bin/{tool}")
    user = users.names[0]
    # a home that no other test has built in
    home = tmp_path_factory.mktemp("newcomer") if request.param == "root" else users.home(user) / "newcomer"
    home.mkdir(exist_ok=True)
    for place in (folder, *folder.parents):
        if place.owner() == "root" and os.getuid() == 0 and place.is_relative_to(tempfile.gettempdir()):
            place.chmod(place.stat().st_mode | 0o011)  # pytest's own folder, too: others may come by
    checkout = home / "checkout"
    shutil.copytree(CHECKOUT, checkout, ignore=shutil.ignore_patterns(*NOT_COPIED))
    become: tuple[str, ...] = ("/usr/bin/setpriv", "--ambient-caps=-all")
    if request.param == "user" and os.getuid() == 0:
        identity = users.identity(user)
        become = (*become, f"--reuid={identity['user']}", f"--regid={identity['group']}", "--clear-groups")
        users.own(user, home)
    yield Newcomer(checkout, folder, become)
    remove_folder(home)


def error_of(done: subprocess.CompletedProcess[str]) -> str:
    """All that a script that failed has to say: one line."""
    assert done.returncode == 1, (done.stdout, done.stderr)
    (line,) = (line for line in done.stderr.splitlines() if not line.startswith("mount: "))
    return line


def test_quickstart_without_python_says_what_to_install(newcomer: Newcomer) -> None:
    line = error_of(newcomer.run("quickstart", masked=("/usr/bin/python3",)))
    assert line == "error: no Python 3.11 with venv; install it (Debian: apt-get install python3-venv)"


def test_quickstart_does_the_main_job(newcomer: Newcomer) -> None:
    done = newcomer.run("quickstart")
    assert done.returncode == 0, done.stderr
    assert "Hello from the lunch box." in done.stdout
    assert "no registry, no root directory, no namespace" in done.stdout
    assert "everything came from the cache" in done.stdout
    assert "quickstart/hello" in done.stdout.splitlines()[-2]


@pytest.mark.parametrize("newcomer", ["user"], indirect=True)
def test_quickstart_without_busybox_says_what_to_install(newcomer: Newcomer) -> None:
    line = error_of(newcomer.run("quickstart", masked=("/bin/busybox",)))
    assert line == "error: no static busybox; install it (Debian: apt-get install busybox-static)"


@pytest.mark.parametrize("newcomer", ["user"], indirect=True)
def test_tests_without_their_packages_say_what_to_install(newcomer: Newcomer) -> None:
    (newcomer.checkout / "ci/packages.txt").write_text("bash\nno-such-package\n")
    line = error_of(newcomer.run("test", masked=("/usr/bin/apt-get",)))
    assert line == "error: more packages are needed; run as root: apt-get install no-such-package"
