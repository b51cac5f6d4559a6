"""What a RUN sees is what its layer says: ids beyond the id map, and device nodes, in every tier that owns files."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack

import pytest

from tests.support.cli_runner import CliRunner, own_cli, user_cli
from tests.support.listing import Listed, list_tar
from tests.support.unprivileged import WITH_IDS, WITHOUT_IDS, Users

pytestmark = [pytest.mark.userns, pytest.mark.xdist_group("users")]
BIG, GROUP = 1885580785, 70000
SEE = "find /w | sort | xargs stat -c '%n %u:%g %a %h'"


@pytest.fixture(scope="module")
def clis(users: Users, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, CliRunner]]:
    """By tier: with a range of ids, with one, and as real root, who has them all."""
    with ExitStack() as stack:
        found = {user: stack.enter_context(user_cli(users, user)) for user in users.names}
        if os.getuid() == 0:
            found["root"] = stack.enter_context(own_cli(tmp_path_factory.mktemp("root")))
        yield found


def built(
    cli: CliRunner, dockerfile: str, *, before: str = "", words: Sequence[str] = (), **files: str
) -> tuple[dict[str, Listed], str]:
    """The listing of what a build makes, and what it printed."""
    folder = cli.folder / "context"
    folder.mkdir(exist_ok=True)
    (folder / "Dockerfile").write_text(f"{before}FROM minimal\n{dockerfile}\n")
    for name, text in files.items():
        (folder / name).write_text(text)
    cli.own(folder)
    result = cli.folder / "result.tar"
    words = [word.replace("src=", f"src={folder}/") for word in words]
    done = cli.run("build", "--no-cache", "--progress=plain", *words, "-o", f"type=tar,dest={result}", folder)
    assert done.returncode == 0, done.stderr
    return dict(list_tar(result)), done.stderr


def everywhere(clis: Mapping[str, CliRunner], dockerfile: str, **files: str) -> tuple[dict[str, Listed], str]:
    """The same, the listing equal in every tier; the output is that of the one with a range of ids."""
    listings, output = {}, ""
    for name, cli in clis.items():
        listing, text = built(cli, dockerfile, **files)
        listings[name] = {path: listed for path, listed in listing.items() if path == "w" or path.startswith("w/")}
        output = text if name == WITH_IDS else output
    first = next(iter(listings.values()))
    assert all(listing == first for listing in listings.values()), listings
    return first, output


def owners(listing: Mapping[str, Listed]) -> dict[str, tuple[int, int]]:
    return {path.removeprefix("w/"): listed.owner for path, listed in listing.items() if path != "w"}


def seen(output: str) -> dict[str, tuple[int, int]]:
    """What SEE printed last, by path below /w."""
    found = {}
    for line in output.splitlines():
        words = line.split()
        if len(words) >= 6 and words[2].startswith("/w/"):
            uid, _, gid = words[3].partition(":")
            found[words[2].removeprefix("/w/")] = int(uid), int(gid)
    return found


def test_owners_beyond_the_map_are_seen_given_away_and_kept(clis: Mapping[str, CliRunner]) -> None:
    copied = "".join(
        f"COPY --chown={BIG}:{GROUP} --chmod={mode} f /w/{name}\n"
        for name, mode in (("f", 644), ("k", 644), ("priv", 600), ("wr", 644), ("own", 644))
    )
    work = (
        "chown 0:0 /w/f && chown 33:33 /w/k && cp -a /w/wr /w/wrcopy && cat /w/priv > /w/privcopy; echo more >> /w/wr; "
        "ln /w/wr /w/wr2; chmod 4755 /w/priv"
    )
    listing, output = everywhere(clis, f"{copied}RUN {work}\nRUN {SEE}\n", f="1\n")
    big = (BIG, GROUP)
    assert owners(listing) == {
        "f": (0, 0), "k": (33, 33), "priv": big, "wr": big, "own": big, "wrcopy": big, "privcopy": (0, 0), "wr2": big,
    }  # fmt: skip
    assert listing["w/priv"].mode == "4755"
    assert seen(output) == owners(listing)
    listing, _ = everywhere(clis, f"{copied}RUN {work}\nRUN chown -R root:root /w\n", f="1\n")
    assert set(owners(listing).values()) == {(0, 0)}


CASES = {
    "write": "sed -i s/1/2/ f && echo x > new && mv new g",
    "copy": "cp f a; cp -p f b; cp -r d c; tar c f d | tar x -C e",
    "give": "chown 5:6 f; chown 200000 f; chown :7 f; chown 0 d/f; touch g; chown -h 300000:1 l",
    "own": "chmod 755 .; su big -c 'echo y >> f; cd d; touch mine; ln -s mine link; mkdir -p in/side'",
    "link": "ln f h; chown 9 h; ln -s f s; chown -h 80000:80001 s; mkfifo p; chown 90000:1 p",
    "take": "chown 0:0 f g d d/f; chown -h 0:0 l",
    "group": "chown 0:70000 d; chmod 2775 d; touch d/new; mkdir d/sub",
    "move": "mv f d/moved; mv d other; rm g; mkdir f; mv l other",
}


def test_no_note_is_older_than_its_inode(clis: Mapping[str, CliRunner]) -> None:
    """In-map owners, other programs, copies, copy-up: the layer has what a later RUN sees."""
    big = f"{BIG}:{GROUP}"
    files = (
        f"echo big:x:{big}::/:/bin/sh >> /etc/passwd; for c in {' '.join(CASES)}; do mkdir -p /w/$c/d /w/$c/e; cd "
        "/w/$c; "
    )
    files += (
        f"for f in f g d/f; do echo 1 > $f; done; ln -s f l; chown {big} f d d/f; chown -h {big} l; chown 3:4 g; done"
    )
    steps = "".join(f"RUN cd /w/{case}; {script}\n" for case, script in CASES.items())
    listing, output = everywhere(clis, f"RUN {files}\n{steps}RUN {SEE}\n")
    assert seen(output) == owners(listing)
    assert owners(listing)["copy/a"] == (0, 0) and owners(listing)["give/f"] == (200000, 7)


ASKS = (
    "chown 70000:70001 /w/f",
    "su big -c 'touch /w/g'",
    "chgrp 70000 /w/f",
    "su many -c 'touch /w/h'",
    "mkdir -p /w/d; chown 0:70000 /w/d",
)


def test_a_step_that_asks_for_more_is_run_again(clis: Mapping[str, CliRunner]) -> None:
    again = "the step runs again with owners emulated"
    lines = {"passwd": (f"big:x:{BIG}:5::/:/bin/sh", "many:x:7:7::/:/bin/sh"), "group": (f"more:x:{GROUP}:many",)}
    users = "; ".join(f"echo {line} >> /etc/{name}" for name, added in lines.items() for line in added)
    cli = clis.get(WITH_IDS, clis[WITHOUT_IDS])
    for ask in ASKS if WITH_IDS in clis else ASKS[:1]:
        text = f"RUN {users}; mkdir -m 777 /w; test ! -e /w/f; touch /w/f; {ask}\nRUN {SEE}\n"
        listing, output = built(cli, text)
        assert seen(output) == owners({path: one for path, one in listing.items() if path.startswith("w/")})
        assert output.count(again) == (WITH_IDS in clis)
    _, output = built(next(iter(clis.values())), "RUN mkdir /w; touch /w/f; chown 1:2 /w/f; su alice -c true")
    assert again not in output


def test_mounts_and_users_beyond_the_map(clis: Mapping[str, CliRunner]) -> None:
    dockerfile = (
        f"RUN --mount=type=cache,uid={BIG},gid={GROUP},target=/c mkdir -m 777 /w; touch /c/x; cp -a /c /w/c\n"
        "RUN --mount=type=cache,target=/c cp -a /c /w/again; chown 5:6 /c/x\n"
        f"RUN --mount=type=secret,id=s,uid={BIG},target=/s cp -a /s /w/s\n"
        "RUN --mount=from=other,source=/d,target=/d cp -a /d /w\n"
        f"USER {BIG}:{GROUP}\nRUN touch /w/mine; {SEE}\n"
    )
    other = f"FROM minimal AS other\nCOPY --chown={BIG}:{GROUP} f /d/f\n"
    listings = []
    for name, cli in clis.items():
        listing, output = built(cli, dockerfile, before=other, words=["--secret", "id=s,src=f"], f="1")
        found = {path: one for path, one in listing.items() if path.startswith("w/")}
        assert seen(output) == owners(found), name
        listings.append(owners(found))
    big = (BIG, GROUP)
    assert all(found == listings[0] for found in listings)
    assert listings[0] == {
        "c": big, "c/x": (0, 0), "again": big, "again/x": (0, 0), "s": (BIG, 0), "d": big, "d/f": big, "mine": big
    }  # fmt: skip


DEVICES = (
    "mkdir -p /w/dev && cd /w/dev && mknod -m 666 null c 1 3 && mknod -m 644 zero c 1 5 && mknod -m 666 urandom c 1 "
    "9 && "
    "mknod -m 600 disk b 8 0; echo rc=$?; echo junk > null; echo more >> null; test -c null && test -b disk && cat "
    "null; "
    "head -c 4 urandom | wc -c; head -c 3 zero | od -An -tx1; cat disk; echo x > disk; ls -ln | tail -n +2"
)


def test_device_nodes_take_what_is_written(clis: Mapping[str, CliRunner]) -> None:
    listing, output = everywhere(
        clis, f"RUN {DEVICES}; cp -a null copy; mv zero one; chown 5:6 urandom; chmod 4 disk\nRUN {SEE}"
    )
    kinds = {path.removeprefix("w/dev/"): (one.kind, one.device, one.mode, one.owner) for path, one in listing.items()}
    del kinds["w"], kinds["w/dev"]
    assert kinds == {
        "null": ("char", (1, 3), "666", (0, 0)),
        "copy": ("char", (1, 3), "666", (0, 0)),
        "one": ("char", (1, 5), "644", (0, 0)),
        "urandom": ("char", (1, 9), "666", (5, 6)),
        "disk": ("block", (8, 0), "4", (0, 0)),
    }
    assert seen(output) == owners(listing)
    for cli in clis.values():
        _, output = built(
            cli,
            f"RUN {DEVICES}\nRUN cd /w/dev; echo y > null; cat null; head -c 5 urandom | wc -c; echo z > disk; true",
        )
        lines = [
            line.split(maxsplit=2)[2] for line in output.splitlines() if line.startswith("#") and len(line.split()) > 2
        ]
        assert "junk" not in output.replace(DEVICES, "") and "rc=0" in lines and "4" in lines and "5" in lines
        assert any(line.endswith("00 00 00") for line in lines)
        assert sum("disk" in line and "No such device" in line for line in lines) == 3


def test_a_chroot_with_nodes_works(clis: Mapping[str, CliRunner]) -> None:
    work = (
        "mkdir -p /w/q/bin /w/q/dev && cp /bin/busybox /w/q/bin && mknod -m 666 /w/q/dev/null c 1 3 && "
        "chroot /w/q /bin/busybox sh -c 'busybox ls /none 2> /dev/null; echo x > /dev/null; busybox cat /dev/null && "
        "echo fine'"
    )
    for cli in clis.values():
        listing, output = built(cli, f"RUN {work}")
        assert listing["w/q/dev/null"].kind == "char" and " fine" in output.replace(work, "")


def test_a_container_sees_them_too(clis: Mapping[str, CliRunner]) -> None:
    """Owners, nodes and a user beyond the map; later a chown beyond it fails as the kernel has it."""
    big = f"{BIG}:{GROUP}"
    for cli in clis.values():
        folder = cli.folder / "context"
        folder.mkdir(exist_ok=True)
        text = f"FROM minimal\nCOPY --chown={big} --chmod=644 Dockerfile /w/f\nRUN mknod -m 666 /w/null c 1 3\n"
        (folder / "Dockerfile").write_text(text)
        cli.own(folder)
        assert cli.run("build", "-q", "-t", "big", folder).returncode == 0
        script = "cp -a /w/f /c; chown 5:80000 /w/f; echo x > /w/null; cat /w/null; stat -c '%u:%g %F' /c /w/f /w/null"
        output = cli.output("big", "sh", "-c", script)
        assert output == f"{big} regular file\n5:80000 regular file\n0:0 character special file\n"
        output = cli.output(
            "-u", "123456:70001", "minimal", "sh", "-c", "id -u; id -g; touch /tmp/x; stat -c %u:%g /tmp/x"
        )
        assert output == "123456\n70001\n123456:70001\n"
    if WITH_IDS in clis:
        done = clis[WITH_IDS].run("run", "--rm", "minimal", "chown", "70000", "/tmp")
        assert done.returncode == 1 and "Invalid argument" in done.stderr


def test_without_a_supervisor_nothing_runs(users: Users) -> None:
    """Where nobody can emulate, a step that would see other owners is refused, by name."""
    with user_cli(users, users.usual) as cli:
        folder = cli.folder / "context"
        folder.mkdir()
        (folder / "Dockerfile").write_text(
            f"FROM minimal\nCOPY --chown={BIG}:{GROUP} Dockerfile /w/f\nRUN cp -a /w /v\n"
        )
        cli.own(folder)
        deny = (
            "import sys; from tiffin.builder.sandbox.child import kernel; import "
            "tiffin.builder.sandbox.child.emulation.supervisor as s\n"
        )
        deny += "def refuse(*_): raise OSError(1, 'Operation not permitted')\ns._listen = refuse\n"
        deny += "import tiffin.builder.__main__ as m; sys.argv = ['tiffin', *sys.argv[1:]]; sys.exit(m.main())"
        argv = [cli.python, "-c", deny, "--root", str(cli.state), "build", str(folder)]
        done = subprocess.run(argv, capture_output=True, text=True, **cli.options())  # type: ignore[call-overload]
        assert done.returncode == 1, done.stderr
        assert f'"w/f" ({BIG}:{GROUP})' in done.stderr or f'"w" ({BIG}:{GROUP})' in done.stderr
        assert "/etc/subuid" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("node", ["/x c 1 3", "/x b 8 0", "/x u 1 5", "/dev/x c 10 200", "/tmp/x c 1 9"])
def test_a_container_is_refused_a_node(clis: Mapping[str, CliRunner], node: str) -> None:
    """It cannot begin anew where nodes are emulated, and must not take a socket for one."""
    name = WITH_IDS if WITH_IDS in clis else "root"
    if name not in clis:
        pytest.skip("only where a namespace has a range of ids")
    done = clis[name].run("run", "--rm", "minimal", "sh", "-c", f"mknod {node}; echo $?; mknod /p p && ls /x")
    assert done.stdout == "1\n" and "Operation not permitted" in done.stderr, done.stderr
