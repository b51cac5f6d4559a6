"""What a step sees of the machine and of tiffin: variables, descriptors, capabilities, /proc, its working directory."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.attacks.harness import PRECIOUS, Harness, error_of
from tests.support.minimal_image import base_files

pytestmark = [pytest.mark.userns, pytest.mark.xdist_group("attacks")]
DOCKER_CAPABILITIES = 0x00000000A80425FB
VARIABLE = "CANARY_OF_THE_HOST"


@contextlib.contextmanager
def inheritable_canary(harness: Harness) -> Iterator[int]:
    """A descriptor of a host file that is passed on to children, as careless parents do."""
    fd = os.open(harness.canary / "file", os.O_RDWR)
    os.set_inheritable(fd, True)
    try:
        yield fd
    finally:
        os.close(fd)


@pytest.mark.attack("T22")
def test_variables_of_the_host_are_not_seen(each_harness: Harness) -> None:
    script = "env; for pid in 1 self $PPID $$; do tr '\\0' '\\n' < /proc/$pid/environ; done 2>&1; ls /proc"
    shown = each_harness.output(f"FROM minimal\nRUN {script}\n", env={VARIABLE: PRECIOUS})
    assert PRECIOUS not in shown.replace(script, ""), "a step reads a variable of the host"
    ran = each_harness.run("run", "--rm", "minimal", "sh", "-c", script, env={VARIABLE: PRECIOUS})
    assert ran.returncode == 0 and PRECIOUS not in ran.stdout + ran.stderr, "a container reads a variable of the host"
    # with every capability the files of process 1 open: they are empty
    ran = each_harness.run("run", "--rm", "--cap-add=ALL", "minimal", "sh", "-c", script, env={VARIABLE: PRECIOUS})
    assert PRECIOUS not in ran.stdout + ran.stderr, "an insecure container reads a variable of the host"


@pytest.mark.attack("T22")
@pytest.mark.parametrize("entry", [VARIABLE, f"{VARIABLE}=", "=x", "", f"{VARIABLE}=a\0{VARIABLE}=b"])
def test_odd_variables_of_an_image_are_never_looked_up(harness: Harness, entry: str) -> None:
    """CVE-2026-57231: an Env entry without a value took the host's."""
    harness.cli.make_image(name="odd-env", config={"Env": ["PATH=/bin", entry]})
    done = harness.build("FROM odd-env\nRUN env; echo done\n", env={VARIABLE: PRECIOUS})
    assert PRECIOUS not in done.stderr, "an image took a variable of the host"
    assert done.returncode == 0 or error_of(done)
    ran = harness.run("run", "--rm", "odd-env", "env", env={VARIABLE: PRECIOUS})
    assert PRECIOUS not in ran.stdout, "an image took a variable of the host"


@pytest.mark.attack("T31")
def test_descriptors_are_not_inherited(each_harness: Harness) -> None:
    """CVE-2016-9962, CVE-2024-21626: neither the command's own nor those of process 1 lead to files of the host."""
    script = (
        "ls -l /proc/self/fd /proc/1/fd 2>&1; for pid in self 1; do for fd in /proc/$pid/fd/*; do "
        "case $(readlink $fd) in pipe:*) ;; *) cat $fd; echo broken > $fd; esac; done; done 2>&1; ls -l /proc/1/exe "
        "/proc/1/cwd /proc/1/root 2>&1; true"
    )
    folder = each_harness.context(f"FROM minimal\nRUN {script}\n")
    with inheritable_canary(each_harness) as fd:
        for words in (
            ("build", "--no-cache", "--progress=plain", folder),
            ("build", "--no-cache", "--progress=plain", "--allow=security.insecure", folder),
            ("run", "--rm", "minimal", "sh", "-c", script),
            ("run", "--rm", "--cap-add=ALL", "minimal", "sh", "-c", script),
        ):
            done = subprocess.run(
                each_harness.cli.argv(*words),
                capture_output=True,
                text=True,
                stdin=subprocess.DEVNULL,
                pass_fds=[fd],
                timeout=60,
                **each_harness.cli.options(),  # type: ignore[call-overload]
            )
            shown = (done.stdout + done.stderr).replace(script, "")
            assert done.returncode == 0, shown
            assert PRECIOUS not in shown, "a step reads a file of the host by an inherited descriptor"
            assert str(each_harness.canary) not in shown and sys.prefix not in shown, "a step sees a path of the host"
            own = re.findall(r" (\d+) -> ", shown.partition("/proc/1/fd")[0])
            assert set(own) <= {"0", "1", "2", "3"}, "more than the standard descriptors is open"
        folder = each_harness.context(f"FROM minimal\nRUN --security=insecure {script}\n")
        done = each_harness.build(folder, "--allow=security.insecure")
    assert PRECIOUS not in done.stderr.replace(script, ""), "an insecure step reads a file of the host"


@pytest.mark.attack("T31")
def test_interpreter_is_not_reachable(each_harness: Harness) -> None:
    """CVE-2019-5736: the program of our own init is tiffin's interpreter, which the user may own."""
    script = (
        "readlink /proc/1/exe && exit 1; cat /proc/1/exe > /tmp/x && exit 1; true >> /proc/1/exe && exit 1; ls "
        "/proc/1/fd/0 && exit 1; "
        "cat /proc/1/maps /proc/1/auxv | grep . && exit 1; tr '\\0' ' ' </proc/1/cmdline; tr '\\0' ' ' "
        "</proc/1/environ; exit 0"
    )
    for more in ((), ("--cap-add=ALL",), ("-u", "33"), ("--privileged",)):
        done = each_harness.run("run", "--rm", "--init", *more, "minimal", "sh", "-c", script)
        assert done.returncode == 0, f"tiffin's own interpreter can be opened inside: {done.stdout}{done.stderr}"
        assert done.stdout.strip() == "tiffin-init", "an init of ours tells of tiffin"
        done = each_harness.run(
            "run", "--rm", *more, "minimal", "sh", "-c", "readlink /proc/1/exe; set -- /proc/[0-9]*; echo $#"
        )
        assert done.stdout == "/bin/busybox\n1\n", "a process of tiffin's is visible inside"


@pytest.mark.attack("T31")
def test_stdin_of_a_step_is_empty(each_harness: Harness) -> None:
    """Neither when tiffin has read it to its end, nor when nobody has."""
    dockerfile = "FROM minimal\nRUN cat; echo end\n"
    for source, text in (("-", f"{dockerfile}#{PRECIOUS}"), (each_harness.context(dockerfile), PRECIOUS)):
        done = each_harness.run("build", "--no-cache", "--progress=plain", source, input=text)
        assert done.returncode == 0 and PRECIOUS not in done.stderr, "a step reads tiffin's stdin"


STATUS = re.compile(r"(Cap\w+|Seccomp|NoNewPrivs|Groups):\s*([0-9a-f ]*)")


def status_of(text: str) -> dict[str, str]:
    return {name: value.strip() for name, value in STATUS.findall(text)}


@pytest.mark.attack("T32")
def test_capabilities(each_harness: Harness) -> None:
    """CVE-2022-24769 and others: inheritable sets must be empty; a user has none."""
    text = each_harness.run("run", "--rm", "minimal", "cat", "/proc/self/status").stdout
    found = status_of(text)
    bounding = f"{DOCKER_CAPABILITIES:016x}"
    none = f"{0:016x}"
    assert (found["CapInh"], found["CapAmb"]) == (none, none), "capabilities are handed down"
    assert (found["CapPrm"], found["CapEff"], found["CapBnd"]) == (bounding,) * 3
    build = each_harness.output("FROM minimal\nRUN cat /proc/self/status\n")
    assert status_of(build) | {"Groups": ""} == found | {"Groups": ""}, "RUN and run differ"
    if each_harness.tier != "single":
        as_user = status_of(each_harness.run("run", "--rm", "-u", "33", "minimal", "cat", "/proc/self/status").stdout)
        assert {as_user[name] for name in ("CapInh", "CapAmb", "CapPrm", "CapEff")} == {none}, "a user has capabilities"
        assert as_user["CapBnd"] == bounding
        built = status_of(each_harness.output("FROM minimal\nUSER 33\nRUN cat /proc/self/status\n"))
        assert {built[name] for name in ("CapInh", "CapAmb", "CapPrm", "CapEff")} == {none}
    fewer = status_of(each_harness.run("run", "--rm", "--cap-drop=ALL", "minimal", "cat", "/proc/self/status").stdout)
    assert fewer["CapBnd"] == none and fewer["CapPrm"] == none, "dropped capabilities are still there"


@pytest.mark.attack("T26")
def test_masked_and_read_only_paths(each_harness: Harness) -> None:
    masked = "acpi asound interrupts kcore keys latency_stats sched_debug scsi timer_list timer_stats"
    read_only = "bus fs irq sys sysrq-trigger"
    script = (
        f"for name in {masked}; do test -d /proc/$name && ls -A /proc/$name; "
        "test -e /proc/$name && cat /proc/$name 2>/dev/null; done; "
        f"for name in {read_only}; do test -f /proc/$name && echo h > /proc/$name && echo WRITTEN $name; "
        "test -d /proc/$name && touch /proc/$name/x && echo WRITTEN $name; done 2>/dev/null; "
        "echo '|/bin/sh' > /proc/sys/kernel/core_pattern && echo WRITTEN core_pattern; "
        "cat /sys/firmware/* 2>/dev/null; touch /sys/x && echo WRITTEN sys; "
        "echo 1 > /sys/kernel/uevent_helper && echo WRITTEN uevent_helper; true"
    )
    before = Path("/proc/sys/kernel/core_pattern").read_text()
    for network in ("host", "none"):  # with a network of its own a sandbox has a /sys of its own
        done = each_harness.run("run", "--rm", f"--network={network}", "minimal", "sh", "-c", script)
        assert done.returncode == 0 and done.stdout == "", f"masked or read-only paths are not: {done.stdout[:500]}"
        done = each_harness.run("run", "--rm", f"--network={network}", "minimal", "cat", "/proc/mounts")
        options = {fields[1]: set(fields[3].split(",")) for fields in map(str.split, done.stdout.splitlines())}
        assert options["/sys"] >= {"ro", "nosuid", "nodev", "noexec"}, "as Docker mounts it"
        assert options["/proc"] >= {"nosuid", "nodev", "noexec"}
    shown = each_harness.output(f"FROM minimal\nRUN {script}\n").replace(script, "")
    assert "WRITTEN" not in shown
    # what is mounted there cannot be taken away
    script = (
        "umount /proc/kcore; umount -l /proc/sys; mount -o remount,rw /proc/sys; mount -t proc p /tmp && echo MOUNTED"
    )
    done = each_harness.run("run", "--rm", "minimal", "sh", "-c", script)
    assert "MOUNTED" not in done.stdout, "a container mounts a proc of its own"
    assert Path("/proc/sys/kernel/core_pattern").read_text() == before, "a container changed the host's kernel"


ROOT_LINKS = [
    *(
        (name, target)
        for name in ("proc", "sys", "dev", "etc", "tmp")
        for target in ("CANARY", "/tmp/x", "file", "loop")
    ),
    ("dev/pts", "CANARY"),
    ("dev/null", "CANARY/file"),
    ("dev/shm", "CANARY"),
    ("dev/ptmx", "CANARY/file"),
    ("dev/console", "CANARY/file"),
    ("etc/hosts", "CANARY/file"),
    ("etc/resolv.conf", "CANARY/file"),
    ("etc/resolv.conf", "/proc/1/root/etc/passwd"),
    ("etc/hosts", "/proc/self/exe"),
    ("run", "CANARY"),
]


@pytest.mark.attack("T25")
@pytest.mark.parametrize(("name", "target"), ROOT_LINKS, ids=lambda value: str(value).replace("/", "-"))
def test_images_whose_mount_points_are_links_or_files(harness: Harness, name: str, target: str) -> None:
    """CVE-2019-19921, CVE-2021-30465, CVE-2026-41579: mount inside or refuse; never touch the host."""
    place = f"-> {target.replace('CANARY', str(harness.canary))}" if target not in ("file", "loop") else b"file"
    files: dict[str, bytes | str | None] = {name: f"-> /{name}" if target == "loop" else place}
    busybox: dict[str, bytes | str | None] = {"bin/busybox": Path("/bin/busybox").read_bytes(), "bin/sh": "-> busybox"}
    harness.cli.make_image(busybox, files, name="links", config={"Env": ["PATH=/bin"]})
    done = harness.run("run", "--rm", "links", "sh", "-c", "busybox ls -l /proc/self/fd >/dev/null; echo ran")
    assert done.stdout == "ran\n" if done.returncode == 0 else error_of(done)


@pytest.mark.attack("T25")
@pytest.mark.parametrize("name", ["proc", "sys", "dev"])
def test_kernel_file_systems_are_not_mounted_elsewhere(each_harness: Harness, name: str) -> None:
    """CVE-2019-19921: a /proc that is a link had its masks mounted where nobody looks for them."""
    files: dict[str, bytes | str | None] = {name: "-> elsewhere", "elsewhere": None}
    each_harness.cli.make_image(base_files(), files, name="elsewhere", config={"Env": ["PATH=/bin"]})
    done = each_harness.run("run", "--rm", "elsewhere", "cat", "/proc/mounts")
    assert done.returncode == 0 or error_of(done)
    assert "/elsewhere" not in done.stdout, f"/{name} was mounted where a link of the image leads"
    if name != "sys":  # without which a command can be run
        assert done.returncode != 0 and f"mount /{name}" in error_of(done)


WORKDIRS = [*(f"/proc/self/fd/{number}" for number in range(3, 10)), "/proc/self/fd/4/../..", "/proc/self/cwd",
    "/proc/1/root", "/proc/self/root/..",
            "/link", "/link/below", "/up/../../..", "/bin/busybox", "/loop", "relative/../../../x",
            "/" + "d" * 300]  # fmt: skip


@pytest.mark.attack("T23")
def test_working_directories_stay_inside(harness: Harness) -> None:
    """CVE-2024-21626, CVE-2026-55686: whatever WORKDIR says, the directory is below the root, or the step is
    refused.
    """
    links: dict[str, bytes | str | None] = {"link": f"-> {harness.canary}", "up": "-> ../../../..", "loop": "-> loop"}
    harness.cli.make_image(*harness_layers(links), name="workdirs", config={"Env": ["PATH=/bin"]})
    script = 'echo "place=$(pwd)"; ls; ls ..; cat file ../file; touch made; test -e /bin/busybox || echo LOST'
    for workdir in WORKDIRS:
        done = harness.run("run", "--rm", "-w", workdir, "workdirs", "sh", "-c", script)
        check_inside(harness, workdir, done)
    for workdir in ("/proc/self/fd/7", "/proc/self/fd/5/..", "/link/below", "/loop", "/bin/busybox", "/up/../../x"):
        done = harness.build(f"FROM workdirs\nWORKDIR {workdir}\nRUN {script}\n")
        check_inside(harness, workdir, done)


def harness_layers(more: Mapping[str, bytes | str | None]) -> list[dict[str, bytes | str | None]]:
    return [base_files(), dict(more)]


def check_inside(harness: Harness, workdir: str, done: subprocess.CompletedProcess[str]) -> None:
    text = done.stdout + done.stderr
    assert PRECIOUS not in text and "LOST" not in text.replace("echo LOST", ""), f"WORKDIR {workdir} leads out"
    assert "(unreachable)" not in text, f"WORKDIR {workdir} is outside the root"
    if done.returncode == 0:
        places = re.findall(r"place=(\S+)", text.replace("place=$(pwd)", ""))
        assert all(place.startswith("/") for place in places), (workdir, places)
    elif "error:" in done.stderr:
        assert error_of(done)


PASSWD = "root:x:0:0:root:/root:/bin/sh\n"
USERS = [
    ("33", PASSWD, "", "uid=33 gid=0"),
    ("33:44", PASSWD, "", "uid=33 gid=44"),
    # a name that is a number is a number (CVE-2016-3697)
    ("77", PASSWD + "77:x:0:0::/:/bin/sh\n", "", "uid=77 gid=0"),
    ("2147483648", PASSWD, "", "error"),
    ("4294967295", PASSWD, "", "error"),
    ("4294967296", PASSWD, "", "error"),  # CVE-2024-40635: wraps to root
    ("18446744073709551616", PASSWD, "", "error"),
    ("-1", PASSWD, "", "error"),
    ("33:4294967296", PASSWD, "", "error"),
    ("33:-1", PASSWD, "", "error"),
    ("nobodyhere", PASSWD, "", "error"),
    ("root:nogroup", PASSWD, "", "error"),
    ("wraps", PASSWD + "wraps:x:4294967296:0::/:/bin/sh\n", "", "error"),
    ("wraps", PASSWD + "wraps:x:-1:0::/:/bin/sh\n", "", "error"),
    ("gidwraps", PASSWD + "gidwraps:x:33:4294967296::/:/bin/sh\n", "", "error"),
    ("digit", PASSWD + "digit:x:\u00b2:\u00b2::/:/bin/sh\n", "", "error"),
    ("gdigit", PASSWD + "gdigit:x:33:\u00b2::/:/bin/sh\n", "", "error"),
    ("long", PASSWD + f"long:x:33:{'9' * 5000}::/:/bin/sh\n", "", "error"),
    ("app", PASSWD + "app:x:33:44::/:/bin/sh\n", ("a:x:50:app\nb:x:51:x,app\nb:x:51:app\nc:x:52:apple\n"),
        "uid=33 gid=44 groups=44,50,51"),
    ("app", PASSWD + "app:x:33:44::/:/bin/sh\n", "a:x:4294967296:app\n", "uid=33 gid=44"),
    ("app", PASSWD + "app:x:33:44::/:/bin/sh\n", "a:x:\u00b2:app\n", "uid=33 gid=44"),
    ("app", PASSWD + "app:x:33:44::/:/bin/sh\napp:x:0:0::/:/bin/sh\n", "", "uid=33 gid=44"),
    ("app:root", PASSWD + "app:x:33:44::/:/bin/sh\n", "root:x:0:\na:x:50:app\n", "uid=33 gid=0"),
    ("in\x0bside", PASSWD + "x:x:1:1::/:/bin/sh\x0bin\x0bside:x:0:0::/:/bin/sh\n", "", "error"),
]  # fmt: skip


@pytest.mark.attack("T33")
@pytest.mark.parametrize(("user", "passwd", "group", "expected"), USERS)
def test_users_are_who_they_say(harness: Harness, user: str, passwd: str, group: str, expected: str) -> None:
    files = harness_layers({"etc/passwd": passwd.encode(), "etc/group": group.encode()})
    harness.cli.make_image(*files, name="users", config={"Env": ["PATH=/bin"], "User": user})
    script = 'echo "uid=$(id -u) gid=$(id -g) groups=$(id -G | tr " " ,)"'
    done = harness.run("run", "--rm", "users", "sh", "-c", script)
    build = harness.build(f"FROM users\nRUN {script}\n")
    if expected == "error":
        assert error_of(done) and error_of(build)
        return
    want = expected if "groups=" in expected else f"{expected} groups={expected.rpartition('=')[2]}"
    assert done.stdout.strip() == want, (done.stdout, done.stderr)
    assert want in build.stderr, build.stderr
