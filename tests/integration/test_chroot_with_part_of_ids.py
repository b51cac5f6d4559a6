"""A chroot in a user namespace that has a part of the ids, as a pod with `hostUsers: false`: no owner is emulated
there.

What it cannot show is refused by name; what a command prints by the name of its stream arrives; opens of /dev are
answered with the machine's devices.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator

import pytest

from tests.support.cli_runner import TIMEOUT_SECONDS, CliRunner, user_cli
from tests.support.raw_program import raw_program
from tests.support.unprivileged import WITH_IDS, Users, remove_folder
from tiffin.builder.sandbox.child.spec import DEFAULT_CAPABILITIES
from tiffin.builder.sandbox.child.syscalls import NATIVE

pytestmark = [pytest.mark.userns, pytest.mark.xdist_group("users")]
BEYOND = 1_885_580_785
BOUNDING = ",".join(["-all", *(f"+{name.lower()}" for name in DEFAULT_CAPABILITIES)])
NAMESPACE = ("unshare", "--user", "--map-auto", "--map-root-user", "--", "setpriv", "--bounding-set", BOUNDING, "--")
Tiffin = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def cli(users: Users) -> Iterator[CliRunner]:
    users.home(WITH_IDS)  # or skip
    with user_cli(users, WITH_IDS) as made:
        yield made
        remove_folder(made.state)  # of the user's subordinate ids


@pytest.fixture(scope="module")
def pod(cli: CliRunner) -> Tiffin:
    """Run tiffin as root of such a namespace."""

    def run(*words: str, dockerfile: str = "") -> subprocess.CompletedProcess[str]:
        done: subprocess.CompletedProcess[str] = subprocess.run(  # type: ignore[call-overload]  # options of a user
            [*NAMESPACE, *cli.argv(*words)],
            input=dockerfile,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
            **cli.options(TIFFIN_ISOLATION="chroot"),
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done

    return run


@pytest.fixture(scope="module")
def images(cli: CliRunner, pod: Tiffin) -> None:
    """`owned` has a file of an owner beyond the map, `node` a device node; the namespaces of a user make both."""
    owned = f"FROM minimal\nADD --chown={BEYOND}:70000 f /x/\n"
    folder = cli.folder / "context"
    folder.mkdir()
    (folder / "f").write_text("x")
    (folder / "Dockerfile").write_text(owned)
    cli.own(folder)
    assert cli.run("build", "-q", "-t", "owned", folder).returncode == 0
    done = cli.run("build", "-q", "-t", "node", "-", input="FROM minimal\nRUN mkdir /r && mknod /r/null c 1 3\n")
    assert done.returncode == 0, done.stderr


RUNS = {
    "owner of a file": (("owned", "true"), f'"x" ({BEYOND}:70000) is not available here', "/etc/subuid"),
    "device node": (("node", "true"), 'the device node "r/null" is not available here', "tiffin info"),
    "user": (("-u", "70000", "minimal", "true"), "user 70000:0 is not available here", "/etc/subuid"),
    "group": (("-u", "0:70000", "minimal", "true"), "user 0:70000 is not available here", "/etc/subuid"),
    "further group": (("--group-add", "70000", "minimal", "true"), "user 0:0 is not available here", "/etc/subuid"),
}


@pytest.mark.usefixtures("images")
@pytest.mark.parametrize("words,message,remedy", RUNS.values(), ids=RUNS)
def test_a_container_is_refused(pod: Tiffin, words: tuple[str, ...], message: str, remedy: str) -> None:
    done = pod("run", "--rm", *words)
    assert done.returncode == 125 and message in done.stderr and remedy in done.stderr, done.stderr


STEPS = {
    "owner of a file": ("FROM owned\nRUN true\n", f'"x" ({BEYOND}:70000) is not available here', "/etc/subuid"),
    "device node": ("FROM node\nRUN true\n", 'the device node "r/null" is not available here', "tiffin info"),
    "user": ("FROM minimal\nUSER 70000\nRUN true\n", "user 70000:0 is not available here", "/etc/subuid"),
    "cache mount": (
        "FROM minimal\nRUN --mount=type=cache,target=/c,uid=70000 true\n",
        "the mount at /c (70000:0) is not available here",
        "/etc/subuid",
    ),
    "source of a mount": (
        "FROM minimal\nRUN --mount=from=owned,source=/x,target=/m true\n",
        f'"x" ({BEYOND}:70000) is not available here',
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


# -- /dev, in which no node can be made --------------------------------------------------------------------------------

DEVICES = {
    "null forgets": "echo junk > /dev/null; cat /dev/null > /f; test ! -s /f && cmp /f /dev/null",
    "null by a relative path": "cd /dev; echo junk > null; echo junk >> ./null; test ! -s null",
    "null by a link": "ln -s ../dev/null /tmp/l; echo junk > /tmp/l; rm /tmp/l; test ! -s /dev/null",
    "null as both": "exec 3<>/dev/null; echo junk >&3; cat <&3 | cmp - /dev/null",
    "null is copied": "umask 002; cp /dev/null /e; test ! -s /e; test $(stat -c %a /e) = 664",
    "null takes a copy": "cp /bin/busybox /dev/null; test ! -s /dev/null; dd if=/bin/busybox of=/dev/null 2>&1",
    "null of a background process": "(echo junk > /dev/null &) ; sleep 0.2; test ! -s /dev/null",
    "zero": "test $(head -c 100 /dev/zero | tr -d '\\000' | wc -c) = 0; test $(head -c 100 /dev/zero | wc -c) = 100",
    "random": (
        "for n in random urandom; do test $(head -c 64 /dev/$n | wc -c) = 64; done; ! cmp -n 64 /dev/urandom /dev/zero"
    ),
    "full": "! echo x > /dev/full",
    "input": "test $(echo in | cat /dev/stdin) = in; test $(echo in | cat /dev/fd/0) = in",
    "descriptors": "exec 7>/tmp/seven; echo x > /dev/fd/7; echo x >&7; exec 7>&-; test -s /tmp/seven; rm /tmp/seven",
}


@pytest.mark.parametrize("user", ["0", "1000"])
@pytest.mark.parametrize("script", DEVICES.values(), ids=DEVICES)
def test_devices_are_the_true_ones(pod: Tiffin, script: str, user: str) -> None:
    text = f"FROM minimal\nRUN mkdir -p /tmp && chmod 777 / /tmp\nUSER {user}\nRUN set -e; {script}\n"
    done = pod("build", "--no-cache", "-", dockerfile=text)
    assert done.returncode == 0, done.stderr


def test_a_user_in_a_step_of_root_has_them(pod: Tiffin) -> None:
    script = "su -s /bin/sh u -c 'echo junk > /dev/null; head -c 9 /dev/urandom | wc -c'; test ! -s /dev/null"
    text = f"FROM minimal\nRUN echo u:x:1000:1000::/:/bin/sh >> /etc/passwd; set -e; {script}\n"
    done = pod("build", "-", dockerfile=text)
    assert done.returncode == 0, done.stderr


def test_a_container_has_them(pod: Tiffin) -> None:
    script = "echo junk > /dev/null; cat /dev/null; head -c 5 /dev/zero | wc -c; cat /dev/stdin"
    done = pod("run", "-i", "--rm", "minimal", "sh", "-c", script, dockerfile="typed")
    assert (done.returncode, done.stdout) == (0, "5\ntyped"), done.stderr


BEYONDS = {
    "chown": ("chown 70000 /bin || true", "chown to 70000"),
    "group": ("chgrp 70000 /bin || true", "chown to 0:70000"),
    "mknod": ("mknod /n c 1 3 || true", 'the device node "c 1:3" is not available here'),
}


@pytest.mark.parametrize("script,message", BEYONDS.values(), ids=BEYONDS)
def test_a_step_that_goes_beyond_ends(pod: Tiffin, script: str, message: str) -> None:
    done = pod("build", "-", dockerfile=f"FROM minimal\nRUN {script}\n")
    assert done.returncode == 1 and message in done.stderr and "is not available here" in done.stderr, done.stderr
    assert ">>> RUN" in done.stderr, "the line is shown"


PR_SET_DUMPABLE = 4
UNREADABLE = raw_program(
    ("prctl", [PR_SET_DUMPABLE, 0]),
    ("open", [b"/dev/null", os.O_WRONLY]),
    ("write", [3, b"junk", 4]),
)


@pytest.mark.skipif("open" not in NATIVE, reason="this machine has no open(2)")
def test_what_cannot_be_answered_is_told(cli: CliRunner, pod: Tiffin) -> None:
    """Nobody may look into such a process; what it wrote could be read back, and so the step fails."""
    folder = cli.folder / "unreadable"
    folder.mkdir()
    (folder / "p").write_bytes(UNREADABLE)
    (folder / "Dockerfile").write_text("FROM minimal\nCOPY --chmod=755 p /p\nRUN /p || true\n")
    cli.own(folder)
    done = pod("build", str(folder))
    assert done.returncode == 1 and "keep /dev/null empty" in done.stderr, done.stderr


# starts a program below a supervisor of its own, as in a container of Sysbox: the kernel allows one
SUPERVISED = """
import os, sys
from tiffin.builder.sandbox.child import bpf, kernel
program = bpf.Program()
program.answer(bpf.RET_ALLOW)
kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
os.set_inheritable(kernel.install_filter(program.assemble(), kernel.SECCOMP_FILTER_NEW_LISTENER), True)
os.execvp(sys.argv[1], sys.argv[1:])
"""


def test_where_no_call_can_be_supervised_a_step_says_so(cli: CliRunner) -> None:
    argv = cli.argv("build", "--no-cache", "--progress=plain", "-")
    done = subprocess.run(  # type: ignore[call-overload]  # options of a user
        [*NAMESPACE, argv[0], "-c", SUPERVISED, *argv],
        input="FROM minimal\nRUN echo x > /dev/null && ! head -c 1 /dev/zero\n",
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
        **cli.options(TIFFIN_ISOLATION="chroot"),
    )
    assert done.returncode == 0 and "/dev/null is a file that gives back what is written to it" in done.stderr, (
        done.stderr
    )
