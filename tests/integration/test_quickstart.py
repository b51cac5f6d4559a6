"""ci/quickstart and ci/test as a newcomer meets them: from a copy of the checkout, with nothing of ours installed."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import CHECKOUT
from tests.unprivileged import WITH_IDS, Users

pytestmark = [pytest.mark.userns, pytest.mark.network, pytest.mark.slow, pytest.mark.xdist_group("quickstart")]
NOT_COPIED = (".git", ".venv", "__pycache__", "*.egg-info", ".*_cache", "build")
SECONDS = 300
# What a small machine has; apt-get is not there, so nothing can be downloaded
TOOLS = ("bash", "cat", "cp", "date", "dirname", "dpkg-query", "false", "grep", "head", "id", "ldd", "ln", "ls", "mkdir", "mktemp", "rm", "sed", "sort")  # fmt: skip


class Newcomer:
    """A user with a copy of the checkout at home. `masked`: programs that are not on this machine."""

    def __init__(self, name: str, checkout: Path, tools: Path) -> None:
        self._user = pwd.getpwnam(name)
        self._tools = tools
        self.checkout = checkout

    def run(self, script: str, *, masked: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        environ = {"HOME": str(self.checkout.parent), "PATH": str(self._tools) if masked else os.environ["PATH"]}
        environ |= {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_"))}
        hide = "".join(f'mount --bind /dev/null "$(realpath {path})"\n' for path in masked)
        become = f"exec /usr/bin/setpriv --reuid {self._user.pw_uid} --regid {self._user.pw_gid} --clear-groups"
        return subprocess.run(
            ["unshare", "-m", "sh", "-c", f"set -e\n{hide}PATH={environ['PATH']}\n{become} ./ci/{script}"],
            cwd=self.checkout,
            env=environ | {"PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )


@pytest.fixture(scope="module", params=["root", WITH_IDS], ids=["root", "user"])
def newcomer(
    request: pytest.FixtureRequest, users: Users, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Newcomer]:
    folder = tmp_path_factory.mktemp("tools")
    for tool in TOOLS:
        (folder / tool).symlink_to(shutil.which(tool) or f"/bin/{tool}")
    home = tmp_path_factory.mktemp("newcomer") if request.param == "root" else users.home(request.param)
    for place in (folder, *folder.parents):
        if place.owner() == "root" and place.is_relative_to(tempfile.gettempdir()):
            place.chmod(place.stat().st_mode | 0o011)  # pytest's own folder, too: others may come by
    checkout = home / "checkout"
    shutil.copytree(CHECKOUT, checkout, ignore=shutil.ignore_patterns(*NOT_COPIED))
    entry = pwd.getpwnam(request.param)
    subprocess.run(["chown", "-R", f"{entry.pw_uid}:{entry.pw_gid}", str(checkout)], check=True)
    yield Newcomer(request.param, checkout, folder)
    shutil.rmtree(checkout)


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


@pytest.mark.parametrize("newcomer", [WITH_IDS], ids=["user"], indirect=True)
def test_quickstart_without_busybox_says_what_to_install(newcomer: Newcomer) -> None:
    line = error_of(newcomer.run("quickstart", masked=("/bin/busybox",)))
    assert line == "error: no static busybox; install it (Debian: apt-get install busybox-static)"


@pytest.mark.parametrize("newcomer", [WITH_IDS], ids=["user"], indirect=True)
def test_tests_without_their_packages_say_what_to_install(newcomer: Newcomer) -> None:
    (newcomer.checkout / "ci/packages.txt").write_text("bash\nno-such-package\n")
    line = error_of(newcomer.run("test", masked=("/usr/bin/apt-get",)))
    assert line == "error: more packages are needed; run as root: apt-get install no-such-package"
