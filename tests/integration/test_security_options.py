"""Seccomp around RUN and tiffin run: the profile that is always there, others, none; privileges that stay away."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.cli_runner import CliRunner
from tiffin.builder.sandbox.child.root import MASKED, READ_ONLY

pytestmark = [pytest.mark.userns, pytest.mark.xdist_group("seccomp")]

UNSHARE = "unshare -Ur true && echo allowed || echo refused"
STATUS = (
    "grep -E '^(NoNewPrivs|Seccomp|CapInh|CapBnd|CapAmb|CapEff):' /proc/self/status | tr -d '[:blank:]' | tr '\\n' ' '"
)
DOCKERS_CAPABILITIES = "00000000a80425fb"  # what docker run grep CapBnd prints


@pytest.fixture
def profile(cli: CliRunner) -> Path:
    """A profile that forbids mkdir with an errno of its own."""
    path = cli.folder / "profile.json"
    rule = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}
    path.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}))
    cli.own(path)
    return path


@pytest.mark.parametrize(
    ("options", "user", "status"),
    [
        ([], "0", ["NoNewPrivs:0", "Seccomp:2", f"CapEff:{DOCKERS_CAPABILITIES}", f"CapBnd:{DOCKERS_CAPABILITIES}"]),
        ([], "1000", ["NoNewPrivs:0", "Seccomp:2", "CapEff:0000000000000000", f"CapBnd:{DOCKERS_CAPABILITIES}"]),
        (["--security-opt", "no-new-privileges"], "0", ["NoNewPrivs:1", "Seccomp:2"]),
        (["--security-opt", "no-new-privileges=false"], "0", ["NoNewPrivs:0"]),
        (["--security-opt", "seccomp=unconfined"], "0", ["NoNewPrivs:0", f"CapEff:{DOCKERS_CAPABILITIES}"]),
        (["--privileged"], "0", ["NoNewPrivs:0", "CapEff:000001ffffffffff"]),
        (["--cap-drop", "ALL"], "0", ["Seccomp:2", "CapEff:0000000000000000", "CapBnd:0000000000000000"]),
    ],
)
def test_status_of_the_command(options: list[str], user: str, status: list[str], cli: CliRunner) -> None:
    """T32: nothing is inheritable, whatever is held."""
    found = cli.output(*options, "-u", user, "minimal", "sh", "-c", STATUS).split()
    assert set(status) <= set(found)
    assert {"CapInh:0000000000000000", "CapAmb:0000000000000000"} <= set(found)


def test_number_of_filters(cli: CliRunner) -> None:
    """A supervisor of ownership may have put another there, whatever is asked for."""
    counts = {}
    for options in ("seccomp=builtin", "seccomp=unconfined"):
        words = ["--security-opt", options, "minimal", "grep", "Seccomp_filters", "/proc/self/status"]
        counts[options] = int(cli.output(*words).split()[1])
    assert counts["seccomp=builtin"] == counts["seccomp=unconfined"] + 1
    last = ["--security-opt", "seccomp=unconfined", "--security-opt", "seccomp=builtin"]
    assert cli.output(*last, "minimal", "sh", "-c", UNSHARE).strip() == "refused"


def test_profile_decides(cli: CliRunner, profile: Path) -> None:
    words = ["minimal", "sh", "-c", f"{UNSHARE}; mkdir /made && echo made"]
    assert cli.output("minimal", "sh", "-c", UNSHARE).strip() == "refused"
    assert cli.output("--security-opt", "seccomp=unconfined", *words).split() == ["allowed", "made"]
    done = cli.run("run", "--rm", "--security-opt", f"seccomp={profile.name}", *words)
    assert done.stdout.split() == ["allowed"]
    assert "No space left on device" in done.stderr


def test_profile_of_run_steps(cli: CliRunner, profile: Path) -> None:
    context = cli.folder / "context"
    context.mkdir()
    (context / "Dockerfile").write_text(
        f"FROM minimal\nRUN ({UNSHARE}) > /plain; {STATUS} > /status\nRUN --security=insecure ({UNSHARE}) > /insecure\n"
        'CMD ["cat", "/plain", "/insecure", "/status"]\n'
    )
    cli.own(context)
    build = ["build", "-q", "-t", "made", "--allow", "security.insecure", str(context)]
    done = cli.run(*build)
    assert done.returncode == 0, done.stderr
    refused, allowed, *status = cli.output("made").split()
    assert (refused, allowed) == ("refused", "allowed")
    assert {"NoNewPrivs:0", "Seccomp:2", f"CapBnd:{DOCKERS_CAPABILITIES}"} <= set(status)
    done = cli.run(*build, "--no-cache", "--security-opt", "seccomp=unconfined", "--security-opt", "no-new-privileges")
    assert done.returncode == 0, done.stderr
    allowed, _, *status = cli.output("made").split()
    assert allowed == "allowed" and "NoNewPrivs:1" in status
    (context / "Dockerfile").write_text("FROM minimal\nRUN mkdir /made\n")
    done = cli.run("build", "-q", "--security-opt", f"seccomp={profile}", context)
    assert done.returncode == 1 and "No space left on device" in done.stderr


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("seccomp=missing.json", "the file does not exist"),
        ("seccomp=bad.json", "is not valid JSON"),
        ("apparmor=docker-default", "tiffin applies no apparmor profile"),
        ("strict", '--security-opt "strict" is unknown'),
        ("no-new-privileges=maybe", "is unknown"),
    ],
)
def test_options_that_cannot_be_followed(option: str, message: str, cli: CliRunner) -> None:
    (cli.folder / "bad.json").write_text("{")
    (cli.folder / "bad.json").chmod(0o644)
    done = cli.run("run", "--rm", "--security-opt", option, "minimal", "true")
    assert done.returncode == 125 and message in done.stderr and done.stdout == ""
    assert cli.left() == []


def test_masked_and_read_only_paths(cli: CliRunner) -> None:
    """T26, from inside, and that --privileged and systempaths=unconfined take the masks away."""
    masked = [name for name in MASKED if Path("/proc", name).exists()]
    read_only = [name for name in READ_ONLY if Path("/proc", name).exists()]
    assert "interrupts" in masked and "sys" in read_only
    empty = [f"/proc/{name}" for name in masked] + ["/sys/firmware", "/sys/devices/virtual/powercap"]
    script = f"""
        for path in {" ".join(empty)}; do
            if [ -d $path ]; then [ -z "$(ls -A $path)" ]; else [ -z "$(cat $path 2>/dev/null)" ]; fi || echo open $path
        done
        for name in {" ".join(read_only)}; do grep -q " /proc/$name [^ ]* ro" /proc/mounts || echo writable $name; done
        echo 1 > /proc/sys/kernel/domainname 2>/dev/null && echo wrote
        grep ' /sys ' /proc/mounts | cut -d ' ' -f 4 | cut -c 1-2
    """
    assert cli.output("minimal", "sh", "-c", script).split() == ["ro"]
    for option in ("--privileged", "--security-opt=systempaths=unconfined"):
        done = cli.run("run", "--rm", option, "minimal", "sh", "-c", "grep -c ' /proc/interrupts ' /proc/mounts")
        assert done.stdout.split() == ["0"], done.stderr
