"""Users of a namespace with one id are refused what the kernel refuses them where ids are true, and nothing else."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.cli_runner import CliRunner, user_cli
from tests.support.unprivileged import WITH_IDS, WITHOUT_IDS, Users

pytestmark = [pytest.mark.userns, pytest.mark.xdist_group("users")]
PROGRAM = Path(__file__).with_name("permission_program.py")
ROUNDS = 60  # some 2400 calls and their trees; thousands of rounds were compared once
SEED = 13


@pytest.fixture(scope="module")
def clis(users: Users) -> Iterator[Mapping[str, CliRunner]]:
    with ExitStack() as stack:
        yield {user: stack.enter_context(user_cli(users, user)) for user in (WITH_IDS, WITHOUT_IDS)}


def test_random_users_get_the_kernels_answers(clis: Mapping[str, CliRunner]) -> None:
    shown = {}
    for user, cli in clis.items():
        (cli.folder / "program.py").write_bytes(PROGRAM.read_bytes())
        (cli.folder / "program.py").chmod(0o644)
        mounts = [f"{cli.folder}/program.py:/program.py:ro"]
        mounts += [f"{path}:{path}:ro" for path in ("/usr", "/lib", "/lib64") if os.path.exists(path)]
        command = f"exec {cli.python} -I /program.py {ROUNDS} {SEED} 0  # becomes others by setresuid"
        words = [word for mount in mounts for word in ("-v", mount)]
        shown[user] = cli.output(*words, "minimal", "sh", "-c", command).splitlines()
    assert len(shown[WITH_IDS]) > 50 * ROUNDS
    assert shown[WITHOUT_IDS] == shown[WITH_IDS]


STEPS = {
    "what the system has": (
        "echo z >> /etc/passwd; rm /etc/group; mv /etc /e; touch /x; mkdir /srv/x; echo > /bin/new; chmod 777 /etc"
    ),
    "secrets": (
        "mkdir /tmp/k; cat /srv/secret; cat /srv/closed/f; ls /srv/closed; test -e /srv/closed/f || echo hidden; cd "
        "/srv/closed"
    ),
    "own files": (
        "echo a > /tmp/f; chmod 400 /tmp/f; echo b >> /tmp/f; cat /tmp/f; chmod 0 /tmp/f; cat /tmp/f; rm -f /tmp/f; "
        "ls /tmp"
    ),
    "own directories": (
        "mkdir -p /tmp/d/e; chmod 500 /tmp/d; rm -r /tmp/d/e; touch /tmp/d/f; chmod 0 /tmp/d; ls /tmp/d; chmod 700 "
        "/tmp/d"
    ),
    "shared directories": (
        "rm -f /tmp/theirs; mv /tmp/theirs /tmp/mine; ln /tmp/theirs /tmp/link 2>&1 | cut -c1-3; echo x > "
        "/tmp/theirs; ls /tmp"
    ),
    "groups": "echo x >> /srv/ours; cat /srv/theirs-by-group; touch /srv/group/f; stat -c '%U %G' /srv/group/f",
    "questions": (
        "for f in /etc/passwd /srv/secret /srv/ours /bin/busybox /srv/closed; do for t in r w x; do test -$t $f && "
        "echo $t $f; done; done"
    ),
    "programs": "/srv/not-mine; /srv/closed/f; /srv/secret; sh /srv/secret; kill -0 1; kill -0 $$ && echo me",
    "times": (
        "touch /srv/secret; touch -d @5 /srv/ours; touch /srv/ours; touch /etc/passwd; touch -d @5 /tmp/own; stat -c "
        "%Y /tmp/own"
    ),
    "descriptors": (
        "echo x 2>/dev/null >&1; cat < /srv/secret; echo a | cat /dev/stdin; ls /proc/self/fd > /dev/null && echo "
        "fds; cat /proc/1/environ"
    ),
}
PREPARED = (
    "umask 022; mkdir -p /srv/closed /srv/group /tmp; chmod 1777 /tmp; for f in /srv/secret /srv/closed/f /srv/ours "
    "/srv/theirs-by-group "
    "/srv/not-mine /tmp/theirs; do echo echo ran > $f; done; chmod 600 /srv/secret; chmod 700 /srv/closed; chown "
    "0:44 /srv/ours; "
    "chmod 664 /srv/ours; chown 0:33 /srv/theirs-by-group; chmod 640 /srv/theirs-by-group; chmod 744 /srv/not-mine; "
    "chgrp 44 /srv/group; chmod 2775 /srv/group"
)
SHOWN = "cd /; find /srv /tmp /etc /bin/busybox | sort | xargs stat -c '%n %u:%g %a %F %s'"
# a user whom neither the beginning of a step nor its text announces is refused changes alone
OF_CHANGES = ("what the system has", "shared directories", "times")
WAYS = {"user": tuple(STEPS), "su": tuple(STEPS), "unannounced": OF_CHANGES}


@pytest.mark.parametrize("way", WAYS)
def test_steps_of_users_end_alike(clis: Mapping[str, CliRunner], way: str) -> None:
    shown = {}
    for user, cli in clis.items():
        context = cli.folder / "context"
        context.mkdir(exist_ok=True)
        (context / "become").write_text('exec su alice -c "$1"\n')
        lines = ["FROM minimal AS prepared", "COPY become /", f"RUN {PREPARED}"]
        lines += ["USER alice"] if way == "user" else []
        for step in WAYS[way]:
            act = f"cd /tmp; {STEPS[step]}"
            before = {"user": "", "su": 'su alice -c "$ACT"', "unannounced": 'sh /become "$ACT"'}[way]
            lines += [f"ENV ACT={quoted(act)}", f"RUN exec 2>&1; {before}{act if way == 'user' else ''}; true"]
        lines += ["USER root", f"RUN {SHOWN}"]
        (context / "Dockerfile").write_text("\n".join(lines) + "\n")
        cli.own(context)
        done = cli.run("build", "--no-cache", "--progress=plain", context)
        assert done.returncode == 0, done.stderr
        shown[user] = [line.split(" ", 2)[2] for line in done.stderr.splitlines() if re.match(r"#\d+ [\d.]+ ", line)]
    assert len(shown[WITH_IDS]) > 30
    assert shown[WITHOUT_IDS] == shown[WITH_IDS]


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$") + '"'
