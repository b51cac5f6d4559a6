"""A chroot in a user namespace that has a part of the ids, as a pod with `hostUsers: false`: nothing is emulated there.

What it cannot show is refused before it runs, by name; what a command prints by the name of its stream arrives.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator

import pytest

from tests.support.run_machine import TIMEOUT_SECONDS, Machine, users_machine
from tests.support.unprivileged import WITH_IDS, Users, remove_folder

pytestmark = [pytest.mark.userns, pytest.mark.xdist_group("users")]
BEYOND = 1_885_580_785
NAMESPACE = ("unshare", "--user", "--map-auto", "--map-root-user", "--")
Tiffin = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def machine(users: Users) -> Iterator[Machine]:
    users.home(WITH_IDS)  # or skip
    with users_machine(users, WITH_IDS) as made:
        yield made
        remove_folder(made.state)  # of the user's subordinate ids


@pytest.fixture(scope="module")
def pod(machine: Machine) -> Tiffin:
    """Run tiffin as root of such a namespace."""

    def run(*words: str, dockerfile: str = "") -> subprocess.CompletedProcess[str]:
        done: subprocess.CompletedProcess[str] = subprocess.run(
            [*NAMESPACE, *machine.argv(*words)],
            input=dockerfile,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
            **machine.options(TIFFIN_ISOLATION="chroot"),  # type: ignore[arg-type]
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done

    return run


@pytest.fixture(scope="module")
def images(machine: Machine, pod: Tiffin) -> None:
    """`owned` has a file of an owner beyond the map, `node` a device node; the namespaces of a user make both."""
    owned = f"FROM minimal\nADD --chown={BEYOND}:70000 f /x/\n"
    folder = machine.folder / "context"
    folder.mkdir()
    (folder / "f").write_text("x")
    (folder / "Dockerfile").write_text(owned)
    machine.own(folder)
    assert machine.run("build", "-q", "-t", "owned", folder).returncode == 0
    done = machine.run("build", "-q", "-t", "node", "-", input="FROM minimal\nRUN mkdir /r && mknod /r/null c 1 3\n")
    assert done.returncode == 0, done.stderr


RUNS = {
    "owner of a file": (("owned", "true"), f'"x" ({BEYOND}:70000) cannot be had here', "/etc/subuid"),
    "device node": (("node", "true"), 'the device node "r/null" cannot be had here', "tiffin info"),
    "user": (("-u", "70000", "minimal", "true"), "user 70000:0 cannot be had here", "/etc/subuid"),
    "group": (("-u", "0:70000", "minimal", "true"), "user 0:70000 cannot be had here", "/etc/subuid"),
    "further group": (("--group-add", "70000", "minimal", "true"), "user 0:0 cannot be had here", "/etc/subuid"),
}


@pytest.mark.usefixtures("images")
@pytest.mark.parametrize("words,message,remedy", RUNS.values(), ids=RUNS)
def test_a_container_is_refused(pod: Tiffin, words: tuple[str, ...], message: str, remedy: str) -> None:
    done = pod("run", "--rm", *words)
    assert done.returncode == 125 and message in done.stderr and remedy in done.stderr, done.stderr


STEPS = {
    "owner of a file": ("FROM owned\nRUN true\n", f'"x" ({BEYOND}:70000) cannot be had here', "/etc/subuid"),
    "device node": ("FROM node\nRUN true\n", 'the device node "r/null" cannot be had here', "tiffin info"),
    "user": ("FROM minimal\nUSER 70000\nRUN true\n", "user 70000:0 cannot be had here", "/etc/subuid"),
    "cache mount": (
        "FROM minimal\nRUN --mount=type=cache,target=/c,uid=70000 true\n",
        "the mount at /c (70000:0) cannot be had here",
        "/etc/subuid",
    ),
    "source of a mount": (
        "FROM minimal\nRUN --mount=from=owned,source=/x,target=/m true\n",
        f'"x" ({BEYOND}:70000) cannot be had here',
        "/etc/subuid",
    ),
}


@pytest.mark.usefixtures("images")
@pytest.mark.parametrize("dockerfile,message,remedy", STEPS.values(), ids=STEPS)
def test_a_step_is_refused(pod: Tiffin, dockerfile: str, message: str, remedy: str) -> None:
    done = pod("build", "-", dockerfile=dockerfile)
    assert done.returncode == 1 and message in done.stderr and remedy in done.stderr, done.stderr
    assert ">>> RUN" in done.stderr, "the line is shown"


@pytest.mark.usefixtures("images")
def test_what_no_command_sees_is_built(pod: Tiffin) -> None:
    """COPY and ADD give to everybody, and keep nodes."""
    text = "FROM owned\nCOPY --from=node --chown=5:6 /r /r\n"
    assert pod("build", "-", dockerfile=text).returncode == 0


SCRIPT = "echo out > /dev/stdout; echo err > /dev/stderr; sh -c 'echo below > /dev/stderr'; echo end"


@pytest.mark.parametrize("user", ["0", "1000"])
def test_streams_have_names(pod: Tiffin, user: str) -> None:
    done = pod("run", "--rm", "-u", user, "minimal", "sh", "-c", SCRIPT)
    assert (done.returncode, done.stdout, done.stderr) == (0, "out\nend\n", "err\nbelow\n")
    built = pod("build", "--progress=plain", "-", dockerfile=f"FROM minimal\nUSER {user}\nRUN {SCRIPT}\n")
    printed = {line.split()[-1] for line in built.stderr.splitlines() if line.startswith("#1 ")}
    assert built.returncode == 0 and printed >= {"out", "err", "below", "end"}, built.stderr


def test_streams_leave_no_trace(pod: Tiffin) -> None:
    text = (
        f"FROM minimal AS made\nRUN {SCRIPT}\nFROM minimal\nRUN --mount=from=made,target=/m test ! -e /m/dev/stdout\n"
    )
    done = pod("build", "-", dockerfile=text)
    assert done.returncode == 0, done.stderr


def test_input_ends(pod: Tiffin) -> None:
    done = pod("run", "-i", "--rm", "minimal", "cat", dockerfile="typed")
    assert (done.returncode, done.stdout) == (0, "typed")
