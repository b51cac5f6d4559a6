"""The property behind all ownership: what a RUN sees is what its layer says, and the same in every tier.

Generated file operations over a handful of names, with ids within and beyond the map of a range, device nodes and other
users. Real root is the measure, where root runs the tests: its kernel holds every id.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Mapping
from contextlib import ExitStack

import pytest

from tests.support.cli_runner import CliRunner, own_cli, user_cli
from tests.support.listing import Listed, list_tar
from tests.support.unprivileged import Users

pytestmark = [pytest.mark.userns, pytest.mark.xdist_group("users")]
SEEDS = [int(text) for text in os.environ.get("TIFFIN_PROPERTY_SEEDS", "13,14").split(",")]
EXAMPLES = 6  # stages, each with steps of its own
STEPS, OPERATIONS = 3, 6
IDS = (0, 5, 33, 1000, 65535, 65536, 65537, 70000, 1885580785, (1 << 31) - 1)
NAMES = ("f", "g", "d", "d/f", "d/e", "l", "e")
USERS = {"near": 1000, "far": 70000, "big": 1885580785}
TEMPLATES = (  # fifos have names that nothing opens: it would wait for ever
    "touch {a}", "echo x >> {a}", "chown {u}:{v} {a}", "chown -h {u}:{v} {a}", "chown -R {u} {a}", "chgrp {v} {a}",
    "chmod {m} {a}", "cp {a} {b}", "cp -a {a} {b}", "cp -r {a} {b}", "mv {a} {b}", "ln {a} {b}", "ln -s {a} {b}",
    "rm -rf {a}", "mkdir -p {a}", "mkfifo p{n}", "mknod {a} c 1 3", "mknod -m {m} {a} b 8 {n}", "sed -i s/x/y/ {a}",
    "tar c {a} | tar x -C d", "install -o {u} -g {v} -m {m} {a} {b}",
    ("su {who} -c 'touch t/{n}; mkdir -p t/m{n}; ln -s x t/l{n}'"),
    "su {who} -c 'cp -r {a} t/c{n}'", "chown {u}:{v} t/*", "echo junk > {a}", "chown {u} t; chmod 3777 t",
)  # fmt: skip
FIRST = "mkdir -p d t; chmod 1777 t; echo x > f; echo x > d/f; ln -s f l"
SEE = "find . | sort | while read n; do stat -c 'seen %n %u:%g %a %F %t:%T' $n; done"


def script(chance: random.Random) -> str:
    """The operations of one step; what fails, fails everywhere."""
    return "; ".join(
        chance.choice(TEMPLATES).format(
            a=chance.choice(NAMES), b=chance.choice(NAMES), u=chance.choice(IDS), v=chance.choice(IDS),
            m=chance.choice(("644", "600", "755", "4755", "2775", "1777", "0")), n=chance.randrange(9),
            who=chance.choice(list(USERS)),
        )
        for _ in range(OPERATIONS)
    )  # fmt: skip


def dockerfile(chance: random.Random, examples: int) -> str:
    """A stage for each example; the last puts them together."""
    users = "; ".join(f"echo {name}:x:{uid}:{uid}::/:/bin/sh >> /etc/passwd" for name, uid in USERS.items())
    stages = [f"FROM minimal AS base\nRUN {users}\n"]
    for number in range(examples):
        work = f"mkdir -p /w{number}; cd /w{number}"
        steps = [
            f"RUN {work}; {FIRST}; {script(chance)}; true",
            *(f"RUN cd /w{number}; {script(chance)}; true" for _ in range(STEPS - 1)),
        ]
        stages.append(
            "\n".join([f"FROM base AS s{number}", *steps, f"RUN cd /w{number}; {SEE} | sed s,seen,seen-{number}-,"])
        )
    stages.append(
        "FROM scratch\n" + "\n".join(f"COPY --from=s{number} /w{number} /w{number}" for number in range(examples))
    )
    return "\n".join(stages) + "\n"


@pytest.fixture(scope="module")
def clis(users: Users, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, CliRunner]]:
    """By tier: real root first, then with a range of ids, and with one."""
    with ExitStack() as stack:
        found = {}
        if os.getuid() == 0:
            found["root"] = stack.enter_context(own_cli(tmp_path_factory.mktemp("root")))
        yield found | {user: stack.enter_context(user_cli(users, user)) for user in users.names}


@pytest.mark.parametrize("seed", SEEDS)
def test_what_a_run_sees_is_what_its_layer_says(clis: Mapping[str, CliRunner], seed: int) -> None:
    text = dockerfile(random.Random(seed), EXAMPLES)
    listings: dict[str, Mapping[str, Listed]] = {}
    for name, cli in clis.items():
        folder = cli.folder / f"property-{seed}"
        folder.mkdir()
        (folder / "Dockerfile").write_text(text)
        cli.own(folder)
        done = cli.run("build", "--progress=plain", "-o", f"type=tar,dest={folder}/result.tar", folder)
        assert done.returncode == 0, done.stderr
        listings[name] = list_tar(folder / "result.tar")
        assert said(listings[name]) == seen(done.stderr), name
    first, *others = listings.values()
    for other in others:
        assert {
            path: (first.get(path), other.get(path)) for path in {*first, *other} if first.get(path) != other.get(path)
        } == {}
    foreign = [path for path, one in first.items() if max(one.owner) > 65536]
    assert len(foreign) > 2 * EXAMPLES and any(one.kind in ("char", "block") for one in first.values())


def seen(output: str) -> dict[str, tuple[object, ...]]:
    """What the last step of each stage printed, by path."""
    found: dict[str, tuple[object, ...]] = {}
    for line in output.splitlines():
        words = line.split()
        for at, word in enumerate(words):
            if word.startswith("seen-") and word.endswith("-"):
                name = f"w{word[5:-1]}/{words[at + 1]}".replace("/.", "").rstrip("/")
                uid, _, gid = words[at + 2].partition(":")
                kind = " ".join(words[at + 4 : -1])
                device = tuple(int(part, 16) for part in words[-1].split(":")) if "special" in kind else (0, 0)
                found[name] = ((int(uid), int(gid)), words[at + 3], KINDS[kind], device)
                break
    return found


KINDS = {
    "regular file": "file", "regular empty file": "file", "directory": "dir", "symbolic link": "symlink",
    "fifo": "fifo",
    "character special file": "char", "block special file": "block",
}  # fmt: skip


def said(listing: Mapping[str, Listed]) -> dict[str, tuple[object, ...]]:
    """The same of what was built."""
    return {path: (one.owner, one.mode, one.kind, one.device) for path, one in listing.items() if path != "."}
