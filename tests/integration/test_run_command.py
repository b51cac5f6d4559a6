"""tiffin run: the command, its streams, its code, its surroundings; and nothing left behind."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import CHECKOUT, Run
from tests.support.cli_runner import CliRunner, wait_until
from tests.support.loaded_modules import modules_of
from tests.support.minimal_image import base_files
from tests.support.servers import Registry
from tests.support.unprivileged import has_one_id

pytestmark = pytest.mark.userns
MOST_MODULES = 113  # of ours in a run of a local image: each takes a quarter of a millisecond


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["minimal", "true"], 0, ""),
        (["minimal", "sh", "-c", "exit 3"], 3, ""),
        (["minimal", "sh", "-c", "(sh -c 'kill -9 $$'; exit $?) 2>&1"], 137, ""),
        (["minimal", "sh", "-c", "kill -9 $$; kill -TERM $$; exit 4"], 4, ""),  # process 1
        (["--init", "minimal", "sh", "-c", "kill -9 $$"], 137, ""),
        (["--init", "minimal", "sh", "-c", "kill -TERM $$"], 143, ""),
        (["minimal", "nosuch"], 127, 'exec "nosuch": executable file not found in $PATH'),
        (["minimal", "/no/such"], 127, 'exec "/no/such": no such file or directory'),
        (["minimal", "/etc/passwd"], 126, 'exec "/etc/passwd": permission denied'),
        (["minimal", "/etc"], 126, 'exec "/etc"'),
        (["--pull", "never", "nothere"], 125, "No such image: nothere:latest"),
        (["--network", "bridges", "minimal"], 125, "network bridges not found"),
        (["-u", "nobody", "minimal", "true"], 125, 'no user is called "nobody"'),
        (["-u", "99999999999", "minimal", "true"], 125, "out of range"),
        (["-w", "relative", "minimal", "true"], 125, "not an absolute path"),
        (["--entrypoint", "", "minimal"], 125, "no command specified"),
        (["lib/UPPER:x", "true"], 125, "lower case"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_exit_code(words: list[str], code: int, message: str, cli: CliRunner) -> None:
    done = cli.run("run", "--rm", *words)
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert done.stderr.count("\n") == (1 if message else 0)
    assert cli.left() == []


def test_streams_are_apart_and_whole(cli: CliRunner) -> None:
    done = cli.run("run", "--rm", "minimal", "sh", "-c", "seq 20000; echo problem >&2")
    assert done.stdout == "".join(f"{number}\n" for number in range(1, 20001))
    assert done.stderr == "problem\n"


def test_pipes_of_the_user_are_handed_on_not_copied(cli: CliRunner) -> None:
    script = "for n in 0 1 2; do readlink /proc/self/fd/$n; done"
    pipes = [os.pipe() for _ in range(3)]
    for pipe in pipes:
        os.fchown(pipe[0], int(str(cli.identity.get("user", -1))), -1)
    streams = {"stdin": pipes[0][0], "stdout": pipes[1][1], "stderr": pipes[2][1]}
    with cli.start("run", "--rm", "-i", "minimal", "sh", "-c", script, **streams):
        wanted = [f"pipe:[{os.fstat(reader).st_ino}]" for reader, _ in pipes]
        for fd in (pipes[0][1], pipes[1][1], pipes[2][1]):
            os.close(fd)
        with open(pipes[1][0]) as stdout:
            assert stdout.read().split() == wanted
    for fd in (pipes[0][0], pipes[2][0]):
        os.close(fd)


def test_stdin_only_with_interactive(cli: CliRunner) -> None:
    assert cli.output("minimal", "cat", input="text") == ""
    assert cli.output("-i", "minimal", "cat", input="text") == "text"


def test_no_other_descriptor_reaches_the_command(cli: CliRunner) -> None:
    """T31: what a container inherits is three streams."""
    reader, writer = os.pipe()
    with cli.start(
        *("run", "--rm", "minimal", "sh", "-c", "ls /proc/$$/fd; ls /proc/1/fd | wc -l"), pass_fds=(writer,)
    ) as process:
        assert process.stdout
        assert process.stdout.read().split()[:3] == ["0", "1", "2"]
    os.close(reader)
    os.close(writer)


def test_environment_is_the_images_and_dockers_defaults(cli: CliRunner) -> None:
    """T22: nothing of this machine's environment is visible."""
    done = cli.run("run", "--rm", "minimal", "env", env={"SECRET": "x", "FROM_HERE": "y"})
    env = dict(line.split("=", 1) for line in done.stdout.splitlines())
    assert re.fullmatch(r"[0-9a-f]{12}", env.pop("HOSTNAME"))
    assert env == {"PATH": "/bin", "HOME": "/root"}
    script = "cat /proc/*/environ 2>/dev/null | tr '\\0' '\\n'"
    assert "SECRET" not in cli.run("run", "--rm", "minimal", "sh", "-c", script, env={"SECRET": "x"}).stdout


def test_command_line_of_tiffin_is_not_visible_inside(cli: CliRunner) -> None:
    script = "tr '\\0' ' ' </proc/1/cmdline"
    shown = cli.output("-e", "SECRET=hunter2", "minimal", "sh", "-c", script)
    assert "hunter2" not in shown
    assert str(cli.state) not in shown


def test_environment_options(cli: CliRunner) -> None:
    file = cli.folder / "env-file"
    file.write_text('# comment\nA=file\nB="quoted"\nFROM_HERE\n')
    shown = cli.run(
        *("run", "--rm", "--env-file", file, "-e", "A=option", "-e", "PATH", "-e", "NONE", "minimal"),
        *("/bin/env",),
        env={"FROM_HERE": "here", "PATH": "/given:/bin:/usr/bin"},
    ).stdout.splitlines()
    assert {"A=option", 'B="quoted"', "FROM_HERE=here", "PATH=/given:/bin:/usr/bin"} < set(shown)
    assert not any(line.startswith("NONE") for line in shown)


def test_hostname_hosts_and_name_servers(cli: CliRunner) -> None:
    script = "hostname; cat /etc/hosts; echo ---; cat /etc/resolv.conf"
    shown = cli.output(
        *("--hostname", "here", "--add-host", "db:10.1.2.3", "--add-host", "six=::2", "minimal", "sh", "-c", script)
    )
    hosts, _, resolv = shown.partition("---\n")
    rows = {tuple(line.split()) for line in hosts.splitlines()}
    assert hosts.startswith("here\n")
    assert {("127.0.0.1", "localhost"), ("10.1.2.3", "db"), ("::2", "six"), ("127.0.1.1", "here")} < rows
    assert resolv == Path("/etc/resolv.conf").read_text()


@pytest.mark.parametrize(
    ("user", "wanted"),
    [
        ("", "0 0 0 root /root"),
        ("alice", "1000 1000 10 44 1000 alice /home/alice"),
        ("1000", "1000 1000 10 44 1000 alice /home/alice"),
        ("www:video", "33 44 44 www /srv"),
        ("1234", "1234 0 0 1234 /"),
        ("1234:5678", "1234 5678 5678 1234 /"),
    ],
)
def test_user(user: str, wanted: str, cli: CliRunner) -> None:
    script = "echo $(id -u) $(id -g) $(id -G | tr ' ' '\\n' | sort -n) $(id -un 2>/dev/null) $HOME"
    shown = cli.output("-u", user, "minimal", "sh", "-c", script).split()
    assert " ".join(shown) == wanted


def test_given_name_servers(cli: CliRunner) -> None:
    given = ("--dns", "192.0.2.53", "--dns", "2001:db8::53", "--dns-search", "kitchen.example", "--dns-opt", "ndots:2")
    assert cli.output(*given, "minimal", "cat", "/etc/resolv.conf").splitlines()[-4:] == [
        "nameserver 192.0.2.53",
        "nameserver 2001:db8::53",
        "search kitchen.example",
        "options ndots:2",
    ]
    assert cli.left() == []


def test_mounts_of_the_machine_arrive_where_they_are_followed(cli: CliRunner) -> None:
    """A machine in small: namespaces whose mounts are shared, as systemd makes them."""
    place = cli.folder / "followed"
    place.mkdir()
    cli.own(place)
    inside = "echo ready; read go; cat /slave/sub/seen; cat /private/sub/seen; echo done"
    volumes = ("-v", f"{place}:/slave:rslave", "-v", f"{place}:/private")
    script = f"""
        mount -t tmpfs shared {place} && mkdir {place}/sub && mkfifo {place}/in {place}/out
        "$@" < {place}/in > {place}/out & exec 3> {place}/in 4< {place}/out
        read line <&4 && mount -t tmpfs late {place}/sub && echo arrived > {place}/sub/seen
        echo go >&3; cat <&4; wait $!
    """
    become = ["unshare", "--user", "--map-root-user", "--mount", "--propagation=shared", "sh", "-c", script, "sh"]
    done = subprocess.run(
        [*become, *cli.argv("run", "--rm", "-i", *volumes, "minimal", "sh", "-c", inside)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        **cli.options(TIFFIN_ISOLATION="single"),  # type: ignore[call-overload]
    )
    assert done.stdout == "arrived\ndone\n", done.stderr
    assert "/private/sub/seen" in done.stderr and "/slave" not in done.stderr
    assert cli.left() == []


def test_further_groups(cli: CliRunner) -> None:
    done = cli.output("-u", "alice", "--group-add", "www", "--group-add", "77", "minimal", "id", "-G")
    assert done == "1000 10 33 44 77\n"
    assert 'no group is called "x"' in cli.run("run", "--rm", "--group-add", "x", "minimal", "true").stderr


def test_container_id_is_written_once(cli: CliRunner) -> None:
    path = cli.folder / "cid"
    assert cli.output("--cidfile", path, "minimal", "hostname").strip() == path.read_text()[:12]
    again = cli.run("run", "--rm", "--cidfile", path, "minimal", "true")
    assert (again.returncode, f"--cidfile {path} exists" in again.stderr) == (125, True)
    assert cli.left() == []


def test_options_without_effect_are_told(cli: CliRunner) -> None:
    done = cli.run("run", "--rm", "--expose", "80", "--cpu-percent", "9", "minimal", "true")
    assert done.returncode == 0
    assert done.stderr == "warning: --cpu-percent has no effect: containers of Windows alone have it\n"


def test_user_may_open_the_streams_again(cli: CliRunner) -> None:
    words = ["run", "--rm", "-u", "alice", "minimal", "sh", "-c", "echo a >/dev/stdout; echo b >/dev/stderr"]
    pipes_of_the_user = ["sh", "-c", '{ "$@" | cat; } 2>&1 | cat', "sh", *cli.argv(*words)]
    done = subprocess.run(pipes_of_the_user, stdout=subprocess.PIPE, text=True, **cli.options())  # type: ignore[call-overload]
    assert sorted(done.stdout.split()) == ["a", "b"]


def test_capabilities(cli: CliRunner) -> None:
    script = (
        "grep -E 'Cap(Inh|Prm|Eff|Amb|Bnd)' /proc/self/status | cut -f2 | tr '\\n' ' '; grep NoNew /proc/self/status"
    )
    none, docker = "0" * 16, "00000000a80425fb"
    assert cli.output("minimal", "sh", "-c", script).split()[:5] == [none, docker, docker, docker, none]
    if not has_one_id():  # else the kernel's view is that of root: docs/ownership.md
        shown = cli.output("-u", "1000", "minimal", "sh", "-c", script)
        assert shown.split()[:5] == [none, none, none, docker, none]
    dropped = cli.output("--cap-drop", "ALL", "--cap-add", "CHOWN", "minimal", "sh", "-c", script).split()
    assert dropped[1:4] == ["0" * 15 + "1"] * 3
    assert cli.output("--security-opt", "no-new-privileges", "minimal", "sh", "-c", script).split()[-1] == "1"


def test_working_directory_is_made_for_the_user(cli: CliRunner) -> None:
    shown = cli.output("-u", "alice", "-w", "/new/place", "minimal", "sh", "-c", "pwd; stat -c %u:%g:%a .")
    assert shown.split() == ["/new/place", "1000:1000:755"]


def test_entrypoint_and_working_directory_of_the_image(cli: CliRunner) -> None:
    config = {
        "Entrypoint": ["/bin/echo", "from"],
        "Cmd": ["image"],
        "WorkingDir": "/srv",
        "User": "www",
        "Env": ["A=b"],
    }
    cli.make_image(base_files(), name="configured", config=config)
    assert cli.output("configured") == "from image\n"
    assert cli.output("configured", "me") == "from me\n"
    assert cli.output("--entrypoint", "/bin/pwd", "configured") == "/srv\n"
    assert cli.output("--entrypoint", "/bin/sh", "configured", "-c", "echo $A; id -u") == "b\n33\n"
    assert cli.output("--entrypoint", "", "configured", "/bin/echo", "x") == "x\n"


def test_network(cli: CliRunner) -> None:
    own = os.readlink("/proc/self/ns/net")
    assert cli.output("minimal", "readlink", "/proc/self/ns/net").strip() == own
    script = "readlink /proc/self/ns/net; ls /sys/class/net; ping -c 1 -W 2 127.0.0.1 >/dev/null && echo up"
    shown = cli.output("--network", "none", "minimal", "sh", "-c", script).split()
    assert shown[0] != own
    assert shown[1:] == ["lo", "up"]


def test_read_only_root(cli: CliRunner) -> None:
    done = cli.run("run", "--rm", "--read-only", "--tmpfs", "/tmp", "minimal", "sh", "-c", "touch /tmp/a && touch /a")
    assert done.returncode == 1
    assert done.stderr == "touch: /a: Read-only file system\n"


def test_own_processes_and_no_zombies(cli: CliRunner) -> None:
    script = "(sh -c 'sleep 0.1' &); sleep 0.4; ps -o pid,stat,args; true"
    shown = cli.output("minimal", "sh", "-c", script)
    assert "Z" not in [row.split()[1] for row in shown.splitlines()[1:]]
    assert len(shown.splitlines()) == 3  # heading, sh, ps


def test_background_processes_end_with_the_command(cli: CliRunner) -> None:
    done = cli.run("run", "--rm", "minimal", "sh", "-c", "sleep 1000 </dev/null >/dev/null 2>&1 & echo started")
    assert done.stdout == "started\n"
    assert cli.left() == []


def test_later_layers_and_whiteouts(cli: CliRunner) -> None:
    cli.make_image(
        base_files(),
        {"etc/passwd": "root:x:0:0::/changed:/bin/sh\n", "srv/.wh.page": b"", "srv/new": "new"},
        name="layered",
    )
    assert cli.output("layered", "sh", "-c", "ls /srv; echo $HOME") == "new\n/changed\n"


def test_image_by_id(cli: CliRunner) -> None:
    identity = cli.make_image(base_files(), {"which": "this"}, name="known")
    assert cli.output(identity, "cat", "/which") == "this"
    assert cli.output(identity.removeprefix("sha256:")[:12], "cat", "/which") == "this"


# -- what stays --------------------------------------------------------------------------------------------------------


def test_rm_leaves_nothing_whatever_the_command_makes(cli: CliRunner) -> None:
    script = (
        "mkdir -p /a/b/c; touch /a/b/c/f; chmod 000 /a/b/c /a/b /a; chown -R 1000:1000 /srv; mkfifo /p; "
        "mkdir '/new\nline'; rm -rf /etc; chmod 000 /"
    )
    assert cli.run("run", "--rm", "minimal", "sh", "-c", script).returncode == 0
    assert cli.left() == []


def test_without_rm_the_container_stays_until_removed(cli: CliRunner) -> None:
    assert cli.run("run", "--name", "kept", "minimal", "sh", "-c", "echo x >/file; exit 4").returncode == 4
    (folder,) = (cli.state / "containers").iterdir()
    assert (folder / "upper/file").read_text() == "x\n"
    listed = cli.run("ps", "-a").stdout
    assert re.search(r"kept$", listed, re.MULTILINE)
    assert "Exited (4)" in listed
    assert "kept" not in cli.run("ps").stdout
    again = cli.run("run", "--name", "kept", "minimal", "true")
    assert (again.returncode, again.stderr.count("in use")) == (125, 1)
    assert cli.run("rm", "kept").stdout == "kept\n"
    assert cli.left() == []


def test_labels_are_kept_and_looked_for(cli: CliRunner) -> None:
    cli.run("run", "--name", "labelled", "-l", "course=main", "--label", "hot", "minimal", "true")
    listed = ("ps", "-aq", "--filter", "label=hot", "--filter")
    assert cli.run(*listed, "label=course=main").stdout.count("\n") == 1
    assert cli.run(*listed, "label=course=dessert").stdout == ""
    form = cli.run("ps", "-a", "--filter", "name=labelled", "--format", "{{.Labels}}").stdout
    assert form == "course=main,hot=\n"
    assert cli.run("rm", "labelled").returncode == 0


def test_running_container_is_listed_and_removed_by_force(cli: CliRunner) -> None:
    with cli.start("run", "--name", "busy", "minimal", "sh", "-c", "echo up; sleep 1000") as process:
        assert process.stdout
        assert process.stdout.readline() == "up\n"
        assert re.search(r"Up .* busy$", cli.run("ps").stdout, re.MULTILINE)
        refused = cli.run("rm", "busy")
        assert (refused.returncode, "is running" in refused.stderr) == (1, True)
        assert cli.run("rm", "-f", "busy").returncode == 0
        assert process.wait(10) == 137
    wait_until(lambda: not cli.left())


@pytest.mark.parametrize("command", [["ps"], ["run", "--rm", "minimal", "true"]], ids=["ps", "run"])
def test_next_command_sweeps_what_a_killed_one_left(command: list[str], cli: CliRunner) -> None:
    script = "mkdir /d; chown 1000:1000 /d; chmod 000 /d; echo up; sleep 1000"
    with cli.start("run", "--rm", "minimal", "sh", "-c", script) as process:
        assert process.stdout
        assert process.stdout.readline() == "up\n"
        process.kill()
    wait_until(lambda: not cli.processes())
    assert len(list((cli.state / "containers").iterdir())) == 1
    assert cli.run(*command).returncode == 0
    assert cli.left() == []


def test_sandbox_dies_with_tiffin(cli: CliRunner) -> None:
    """Nothing of a run outlives it, not even what ignores every signal."""
    beat = cli.folder / "beat"
    beat.mkdir(mode=0o777)
    cli.own(beat)
    script = "trap '' TERM HUP INT; echo up; while :; do touch /beat/$(date +%s%N); sleep 0.05; done"
    with cli.start("run", "--rm", "-v", f"{beat}:/beat", "minimal", "sh", "-c", script) as process:
        assert process.stdout
        assert process.stdout.readline() == "up\n"
        process.kill()
    wait_until(lambda: not cli.processes())
    time.sleep(0.2)  # the kernel ends what is inside a moment after tiffin
    count = len(list(beat.iterdir()))
    with pytest.raises(AssertionError):
        wait_until(lambda: len(list(beat.iterdir())) > count, seconds=0.5)
    assert cli.run("ps").returncode == 0


@pytest.mark.network
def test_missing_image_is_pulled(cli: CliRunner, registry: Registry) -> None:
    name = f"{registry.host}/runs/{cli.identity.get('user', 'self')}:1"
    assert cli.run("tag", "minimal", name).returncode == 0
    assert cli.run("push", name).returncode == 0
    fresh = replace(cli, folder=cli.folder / "fresh")
    fresh.folder.mkdir()
    cli.own(fresh.folder)
    refused = fresh.run("run", "--rm", "--pull", "never", name, "true")
    assert (refused.returncode, "No such image" in refused.stderr) == (125, True)
    done = fresh.run("run", "--rm", "--progress", "plain", name, "echo", "here")
    assert (done.returncode, done.stdout) == (0, "here\n"), done.stderr
    assert re.search(r"^pull [0-9a-f]{12} .* done$", done.stderr, re.MULTILINE)
    again = fresh.run("run", "--rm", name, "echo", "again")
    assert (again.stdout, again.stderr) == ("again\n", "")
    assert fresh.left() == []


def test_prune_keeps_the_layers_of_a_running_container(cli: CliRunner) -> None:
    cli.make_image(base_files(), {"only/here": "still here"}, name="short-lived")
    script = "echo up; read go; cat /only/here"
    with cli.start(*("run", "--rm", "-i", "short-lived", "sh", "-c", script), stdin=subprocess.PIPE) as process:
        assert process.stdin and process.stdout
        assert process.stdout.readline() == "up\n"
        refused = cli.run("rmi", "short-lived")
        assert (refused.returncode, "is used by container" in refused.stderr) == (1, True)
        assert cli.run("rmi", "-f", "short-lived").returncode == 0
        assert cli.run("system", "prune", "-a", "-f").returncode == 0
        print("go", file=process.stdin, flush=True)
        assert process.stdout.read() == "still here"
    assert process.returncode == 0
    assert cli.left() == []


def test_what_a_local_image_is_run_without(tiffin: Run, root: Path, base: str) -> None:
    """Importing any of these takes longer than what they would do here."""
    tiffin("run", "--rm", base, "true")  # finds the tier
    loaded = modules_of("--root", str(root), "run", "--rm", base, "true")
    heavy = (
        "click",
        "typing",
        "socket",
        "json",
        "ctypes",
        "signal",
        "urllib.parse",
        "_hashlib",
        "subprocess",
        "sqlite3",
        "requests",
        "ssl",
        "tiffin.builder.events",
        "tiffin.builder.containers.mounts",
        "tiffin.builder.containers.limits",
        "tiffin.builder.containers.health",
        "tiffin.builder.containers.lifecycle.messages",
        "tiffin.builder.containers.volumes",
    )
    assert [name for name in heavy if name in loaded] == []
    ours = [name for name in loaded if name.startswith("tiffin")]
    assert len(ours) <= MOST_MODULES, ours


def test_what_makes_a_sandbox_without() -> None:
    code = "import sys, tiffin.builder.sandbox.launch, tiffin.builder.sandbox.child.enter; print(*sys.modules)"
    argv = [sys.executable, "-S", "-c", code]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, env={"PYTHONPATH": str(CHECKOUT)})
    assert {"typing", "socket", "subprocess", "selectors", "dataclasses"} & set(done.stdout.split()) == set()


def test_mistakes_are_told_though_they_are_looked_for_while_the_namespace_is_made(tiffin: Run, base: str) -> None:
    done = tiffin("run", "--rm", "-v", "relative:relative", base, "true", check=False)
    assert done.returncode == 125 and "relative" in done.stderr
