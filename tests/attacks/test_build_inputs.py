"""Contexts, images and Dockerfiles that want to read or write beyond what a build is given."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attacks.harness import PRECIOUS, Harness, error_of, fingerprint
from tests.conftest import CHECKOUT
from tests.support.minimal_image import base_files
from tests.support.servers import running_git

pytestmark = [pytest.mark.userns, pytest.mark.xdist_group("attacks")]
Files = dict[str, bytes | str | None]


# -- layers (T1, T2, T6) ---------------------------------------------------------------------------------------------


@pytest.mark.attack("T1", "T2", "T6")
@pytest.mark.parametrize("target", ["ABSOLUTE", "RELATIVE", "../../../../../../../.."])
def test_links_of_one_layer_do_not_lead_another_out(harness: Harness, target: str) -> None:
    """CVE-2026-42574: a symlink that one layer plants, and a file that the next writes through it."""
    canary = str(harness.canary)
    text = {"ABSOLUTE": canary, "RELATIVE": "../../../../../../../../.." + canary}.get(target, target)
    planted: Files = {"planted": f"-> {text}", "deep/planted": f"-> {text}", "open": f"-> {canary}/open"}
    through: Files = {
        "planted/file": b"evil",
        "planted/new": b"evil",
        f"planted{canary}/file": b"evil",
        "deep/planted/open/inner": b"evil",
        "open/inner": b"evil",
    }
    harness.cli.make_image(base_files(), planted, through, planted, name="across", config={"Env": ["PATH=/bin"]})
    harness.cli.make_image(base_files(), planted | through, name="within", config={"Env": ["PATH=/bin"]})
    for name in ("across", "within"):
        for step in ("RUN cat /planted/file; echo evil > /planted/file; chmod 0 /open/inner; chown 33 /open; true",
                     "COPY Dockerfile /planted/file", "ADD Dockerfile /open/",
                     "WORKDIR /planted/open/made"):  # fmt: skip
            done = harness.build(f"FROM {name}\n{step}\nRUN true\n")
            assert PRECIOUS not in done.stderr, f"{step} read a file of the host"
            assert done.returncode == 0 or error_of(done)
        done = harness.run("run", "--rm", name, "sh", "-c", "cat /planted/file; ls -R /open; rm -rf /planted/ /open/")
        assert PRECIOUS not in done.stdout
    # the whole tree as files of the host: links stay links
    out = harness.canary.parent / "exported"
    done = harness.build("FROM across\nCOPY Dockerfile /x\n", "-o", f"type=local,dest={out}")
    assert done.returncode == 0 or error_of(done)
    assert not out.exists() or not any(
        PRECIOUS.encode() in path.read_bytes() for path in out.rglob("*") if path.is_file() and not path.is_symlink()
    )
    shutil.rmtree(out, ignore_errors=True)


# -- tarfile (T9) ----------------------------------------------------------------------------------------------------


def cve_archives(canary: Path) -> Iterator[tuple[str, bytes]]:
    """What got past the filters of tarfile, written as its reports have it."""

    def made(*members: tuple[str, bytes, str]) -> bytes:
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for name, kind, link in members:
                member = tarfile.TarInfo(name)
                member.type, member.linkname, member.mode = kind, link, 0o777
                member.size = 4 if kind == tarfile.REGTYPE else 0
                tar.addfile(member, io.BytesIO(b"evil") if kind == tarfile.REGTYPE else None)
        return stream.getvalue()

    file, link, hard, folder = tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE
    up = "/".join([".."] * 12)
    yield "CVE-2007-4559 relative", made((f"{up}{canary}/file", file, ""))
    yield "CVE-2007-4559 absolute", made((f"{canary}/file", file, ""))
    yield "CVE-2001-1267 link first", made(("x", link, str(canary)), ("x/file", file, ""), ("x/open", folder, ""))
    yield "CVE-2024-12718 chmod of a link", made(("x", link, f"{canary}/file"), ("x", hard, "x"), ("x/.", folder, ""))
    yield (
        "CVE-2025-4138 link of a link",
        made(("a", folder, ""), ("a/b", link, ".."), ("a/b/c", link, f"..{canary}"), ("c/file", file, "")),
    )
    long = "d" * 240
    steps = "/".join([long] * 16)
    yield (
        "CVE-2025-4517 beyond PATH_MAX",
        made(
            *(("/".join([long] * count), folder, "") for count in range(1, 12)),
            ("/".join([long] * 11) + "/up", link, "../" * 11),
            ("escape", link, f"{steps}/../../../..{canary}"),
            ("escape/file", file, ""),
            ("hard", hard, "escape/file"),
        ),
    )
    yield "CVE-2025-4330 hard link to a link", made(("s", link, f"{canary}/file"), ("h", hard, "s"), ("h", file, ""))
    yield "hard link out", made(("h", hard, f"{canary}/file"), ("h", file, ""))
    yield "hard link up", made(("h", hard, f"{up}{canary}/file"))
    negative = bytearray(made(("n", file, "")))
    negative[124:136] = b"\xff" * 12
    yield "CVE-2025-8194 negative size", bytes(negative)


@pytest.mark.attack("T9", "T1", "T3")
def test_archives_that_got_past_tarfile(harness: Harness) -> None:
    """ADD and an image of each: nothing outside changes, nothing of the host gets in, nothing hangs."""
    for name, archive in cve_archives(harness.canary):
        folder = harness.context("FROM minimal\nADD a.tar /x/\nRUN cat /x/*; true\n", {"a.tar": archive})
        done = harness.build(folder)
        assert PRECIOUS not in done.stderr, f"{name}: a file of the host is in the image"
        assert done.returncode == 0 or error_of(done), name


@pytest.mark.attack("T9")
def test_nothing_is_extracted_by_a_library() -> None:
    """No filter is as good as not writing by path at all."""
    banned = re.compile(
        r"\.extract(?:all)?\(|unpack_archive|import tarfile|from tarfile|shutil\.copytree|copyfileobj\("
    )
    found = [
        f"{path.relative_to(CHECKOUT)}:{number}"
        for package in ("builder", "cache")
        for path in (CHECKOUT / package).rglob("*.py")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if banned.search(line)
    ]
    assert found == [], "archives and trees are written by descriptor only"


# -- COPY and ADD (T4, T34, T8, T17) ---------------------------------------------------------------------------------

SOURCES = [
    "COPY out/file /x", "COPY out /x", "COPY out/ /x/", "COPY abs /x", "COPY abs/f* /x/", "COPY up /x",
    "COPY o*/file /x/",
    "COPY dir/deep/file /x", "COPY ../canary/file /x", "COPY /../../../../etc/hostname /x", "ADD out/file /x",
    "COPY chain/file /x",
    "COPY --parents ./out/./file /x/", "COPY --parents dir/deep/file /x/", "COPY --from=links /out/file /x",
    "COPY --from=links /o*/file /x/",
    "COPY --from=links /dir/deep/file /x", ("COPY --from=minimal ../../../../../etc/hostname /x"),
    ("RUN --mount=type=bind,source=out,target=/x cat /x/file"),
    ("RUN --mount=type=bind,source=out/file,target=/x cat /x"),
    ("RUN --mount=type=bind,from=links,source=/out,target=/x cat /x/file"),
    ("RUN --mount=type=bind,source=../canary/file,target=/x cat /x"),
    ("RUN --mount=type=cache,target=/x,from=links,source=/out cat /x/file"),
    "RUN --mount=type=bind,source=out,target=/x,rw echo evil > /x/file; cat /x/file",
]  # fmt: skip


@pytest.mark.attack("T4", "T14")
def test_sources_do_not_leave_their_tree(harness: Harness) -> None:
    """CVE-2020-10696, CVE-2024-1753: links in a context or an image lead nowhere but into it."""
    out = str(harness.canary)
    links = {
        "out": f"-> {out}",
        "abs": f"-> {out}/file",
        "up": "-> ../canary/file",
        "dir/deep": f"-> ../../../..{out}",
        "chain": "-> out",
        "loop": "-> loop",
        "plain": "here",
    }
    harness.cli.make_image(base_files(), dict(links), name="links", config={"Env": ["PATH=/bin"]})
    for step in SOURCES:
        done = harness.build(f"FROM minimal\n{step}\nRUN cat /x /x/* 2>&1; true\n", files=links)
        assert PRECIOUS not in done.stderr, f"{step} brought a file of the host into the build"
        assert done.returncode == 0 or error_of(done)
    # links that are copied stay links
    done = harness.build(
        "FROM minimal\nCOPY . /all/\nRUN cat /all/out/file /all/abs 2>&1; true\n",
        files={**links, ".dockerignore": "loop"},
    )
    assert done.returncode == 0 and PRECIOUS not in done.stderr


@pytest.mark.attack("T4", "T11")
def test_archives_as_contexts(harness: Harness) -> None:
    """A context from stdin or the network is somebody else's: its Dockerfile is one of its own files."""
    for kind in ("-> " + str(harness.canary / "file"), "-> ../../canary/file", "fifo", "device", "hard"):
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w") as tar:
            member = tarfile.TarInfo("Dockerfile")
            member.type = {"fifo": tarfile.FIFOTYPE, "device": tarfile.CHRTYPE, "hard": tarfile.LNKTYPE}.get(
                kind, tarfile.SYMTYPE
            )
            member.linkname = kind.removeprefix("-> ") if kind.startswith("-> ") else f"..{harness.canary}/file"
            tar.addfile(member)
        done = subprocess.run(
            harness.cli.argv("build", "-"),
            input=stream.getvalue(),
            capture_output=True,
            timeout=60,
            **harness.cli.options(),  # type: ignore[call-overload]
        )
        assert done.returncode == 1 and PRECIOUS.encode() not in done.stderr and b"Traceback" not in done.stderr, (
            done.stderr
        )


@pytest.mark.attack("T4", "T7", "T11")
def test_odd_files_in_a_context(harness: Harness) -> None:
    """Fifos, devices and huge sparse files where a Dockerfile, an ignore file or a source is expected: no hang, no
    read.
    """
    folder = harness.context("FROM minimal\nCOPY . /x/\nRUN ls /x\n", {"plain": "x"})
    os.mkfifo(folder / "fifo")
    (folder / ".dockerignore").symlink_to(harness.canary / "file")
    harness.cli.own(folder)
    assert PRECIOUS not in harness.build(folder).stderr
    (folder / ".dockerignore").unlink()
    os.mkfifo(folder / ".dockerignore")
    harness.cli.own(folder)
    assert harness.build(folder).returncode in (0, 1)
    (folder / ".dockerignore").unlink()
    with (folder / ".dockerignore").open("wb") as stream:
        stream.truncate(10 << 30)
    harness.cli.own(folder)
    assert "is longer than" in error_of(harness.build(folder))
    (folder / ".dockerignore").unlink()
    with (folder / "Dockerfile").open("wb") as stream:
        stream.truncate(10 << 30)
    assert "is larger than" in error_of(harness.build(folder))


ODD_FILES: dict[str, Files] = {
    "link out": {"etc/passwd": "-> CANARY/file", "etc/group": "-> CANARY/file"},
    "link up": {"etc/passwd": "-> ../../../../../../CANARY/file"},
    "loop": {"etc/passwd": "-> passwd", "etc/group": "-> passwd"},
    "proc": {"etc/passwd": "-> /proc/self/environ", "etc/group": "-> /proc/1/environ"},
    "directory": {"etc/passwd": None, "etc/group": None},
    "etc is a link": {"etc": "-> CANARY"},
    "etc is a file": {"etc": b"x"},
    "not text": {"etc/passwd": bytes(range(256)) * 100, "etc/group": b"\xff:\xff:\xff:\xff\n" * 100},
    "long": {"etc/passwd": b"a" * (11 << 20)},
    "many fields": {"etc/passwd": b":" * (1 << 20)},
}


@pytest.mark.attack("T7", "T11")
@pytest.mark.parametrize("name", ODD_FILES)
def test_odd_passwd_files(harness: Harness, name: str) -> None:
    """CVE-2024-9676: /etc/passwd of an image is a link of the host, a fifo, or without end."""
    fixed: Files = {
        path: text.replace("CANARY", str(harness.canary)) if isinstance(text, str) else text
        for path, text in ODD_FILES[name].items()
    }
    base: Files = {"bin/busybox": Path("/bin/busybox").read_bytes(), "bin/sh": "-> busybox", "bin/id": "-> busybox"}
    harness.cli.make_image(base, fixed, name="odd", config={"Env": ["PATH=/bin"]})
    for user in ("0", "someone", "1:someone"):
        done = harness.run("run", "--rm", "-u", user, "odd", "id")
        assert PRECIOUS not in done.stdout + done.stderr
        assert done.returncode == 0 or error_of(done)
    for step in (
        "USER someone\nRUN id",
        "COPY --chown=someone Dockerfile /x",
        "COPY --chown=1:someone Dockerfile /etc/passwd",
    ):
        done = harness.build(f"FROM odd\n{step}\n")
        assert PRECIOUS not in done.stderr
        assert done.returncode == 0 or error_of(done)


@pytest.mark.attack("T7", "T11")
def test_fifo_and_device_for_passwd(harness: Harness) -> None:
    """Made by a step, as an image maker of Python cannot have them without being root."""
    for make in (
        "mkfifo /etc/passwd /etc/group",
        "mknod /etc/passwd c 1 5; mknod /etc/group c 1 5",
        "truncate -s 10g /etc/passwd /etc/group",
    ):
        done = harness.build(f"FROM minimal\nRUN rm /etc/passwd /etc/group; {make}\nUSER someone\nRUN id\n")
        assert error_of(done)
        done = harness.build(
            f"FROM minimal\nRUN rm /etc/passwd /etc/group; {make}\nCOPY --chown=someone Dockerfile /x\n"
        )
        assert error_of(done)


@pytest.mark.attack("T8", "T17")
def test_steps_do_not_reach_what_is_tiffins(each_harness: Harness) -> None:
    """CVE-2026-28406, CVE-2025-4953: code, store, cache, configuration, context are the same when a build is over."""
    cli = each_harness.cli
    config = cli.folder / ".docker"
    config.mkdir(exist_ok=True)
    (config / "config.json").write_text("{}")
    cli.own(config)
    places = [str(cli.state), str(cli.folder), str(config), str(CHECKOUT / "builder"), cli.python]
    folder = each_harness.context(
        "FROM minimal\n"
        f"COPY evil {cli.state}/images/index.json\nADD evil {CHECKOUT}/builder/__init__.py\n"
        f"COPY evil /../../../..{config}/config.json\n"
        f"WORKDIR {cli.state}/tmp\nCOPY evil .\n"
        f"RUN for place in {' '.join(places)}; do ls $place; echo evil > $place; rm -rf $place; done 2>/dev/null; "
        "true\n"
        "RUN --mount=target=/w,rw echo evil > /w/evil; rm /w/Dockerfile; ls /w\n"
        "RUN --mount=target=/r echo evil > /r/evil; rm /r/Dockerfile; chmod 777 /r/evil; ln /r/evil /r/l; true\n"
        "ONBUILD COPY evil /\n",
        {"evil": "evil"},
    )
    code = {path: path.read_bytes() for path in (CHECKOUT / "builder").rglob("*.py")}
    before = fingerprint(folder)
    ways = ((), ("--isolation", "chroot")) if each_harness.tier == "root" else ((),)
    for way in ways:
        done = each_harness.build(folder, "-t", "reaching", *way)
        assert done.returncode == 0 or error_of(done)
    each_harness.build("FROM reaching\nRUN true\n", files={"evil": "evil"})
    assert fingerprint(folder) == before, "a step changed the context"
    assert {path: path.read_bytes() for path in (CHECKOUT / "builder").rglob("*.py")} == code, (
        "a step changed tiffin itself"
    )
    assert (config / "config.json").read_text() == "{}"
    assert each_harness.run("run", "--rm", "minimal", "true").returncode == 0, "the store is damaged"


NAMES = ["../../x", "..", "/etc/passwd", "a/../../b", "x\ny", "$(touch x)", "-rf", "x" * 300, ""]


@pytest.mark.attack("T34", "T16")
def test_names_never_become_paths(harness: Harness) -> None:
    """Tags, stages, caches, labels, heredocs, secrets, contexts, containers called like paths."""
    folder = str(harness.canary.parent)
    seen = set(os.listdir(folder))
    for name in NAMES:
        quoted = name.replace("\n", "\\n")
        for text in (
            f"FROM minimal AS {quoted}\nRUN true\n",
            f'FROM minimal\nLABEL a="{quoted}" "{quoted}"=b\nENV X="{quoted}"\n',
            f"FROM minimal\nCOPY <<{quoted} /x/\nhello\n{quoted}\n",
            f"FROM minimal\nRUN <<{quoted}\ntrue\n{quoted}\n",
            (
                f"FROM minimal\nRUN --mount=type=cache,target=/c,id={quoted} ls -A /c; test ! -e /c/passwd; echo x > "
                "/c/x\n"
            ),
            f"FROM minimal\nRUN --mount=type=secret,id={quoted} ls -A /run/secrets 2>/dev/null; true\n",
            f"FROM minimal\nCOPY --from={quoted} /x /y\n",
        ):
            done = harness.build(text)
            assert done.returncode == 0 or error_of(done)
        for words in (
            ("tag", "minimal", name),
            ("run", "--rm", "--name", name, "minimal", "true"),
            ("rmi", name),
            ("rm", name),
            ("run", "--rm", "-v", f"{name}:/v", "minimal", "true"),
        ):
            if "\0" not in name:
                done = harness.run(*words)
                assert done.returncode == 0 or error_of(done)
    left = set(os.listdir(folder)) - seen - {path.name for path in harness.made}
    assert left <= {"state"}, f"a name became a path: {left}"


# -- git (T19) -------------------------------------------------------------------------------------------------------


def git(*words: str | Path, cwd: Path) -> None:
    env = {"PATH": os.environ["PATH"], "HOME": str(cwd), "GIT_CONFIG_NOSYSTEM": "1"}
    names = (
        "-c",
        "user.name=t",
        "-c",
        "user.email=t@example",
        "-c",
        "protocol.file.allow=always",
        "-c",
        "init.defaultBranch=main",
    )
    subprocess.run(["git", *names, *map(str, words)], cwd=cwd, env=env, check=True, capture_output=True)


@pytest.fixture
def repository(harness: Harness) -> Iterator[str]:
    """A hostile repository, served by git itself: the address of its daemon."""
    work = harness.canary.parent / "repository"
    work.mkdir()
    git("init", "-q", ".", cwd=work)
    (work / "Dockerfile").symlink_to(harness.canary / "file")
    (work / "out").symlink_to(harness.canary)
    (work / "up").symlink_to("../../../../canary")
    (work / "sub").mkdir()
    (work / "sub/Dockerfile").write_text("FROM minimal\nCOPY . /x/\nRUN cat /x/*; true\n")
    (work / "sub/link").symlink_to(harness.canary / "file")
    (work / ".gitattributes").write_text("* filter=evil diff=evil\n")
    git("add", "-A", cwd=work)
    git("commit", "-qm", "one", cwd=work)
    git("checkout", "-qb", "modules", cwd=work)
    (work / ".gitmodules").write_text(
        f'[submodule "local"]\n\tpath = local\n\turl = {harness.canary}\n[submodule "ext"]\n\tpath = ext\n'
        f"\turl = ext::sh -c touch% {work}/ran\n"
    )
    git("add", "-A", cwd=work)
    git("update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},local", cwd=work)
    git("update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},ext", cwd=work)
    git("commit", "-qm", "two", cwd=work)
    git("checkout", "-q", "main", cwd=work)
    for hook in ("post-checkout", "post-merge", "reference-transaction"):
        (work / ".git/hooks" / hook).write_text(f"#!/bin/sh\ntouch {work}/ran\n")
        (work / ".git/hooks" / hook).chmod(0o755)
    try:
        with running_git(work.parent, work / "daemon.log") as address:
            yield f"{address}/repository"
    finally:
        ran = (work / "ran").exists()
        shutil.rmtree(work)
        assert not ran, "a program named by a repository was run"


@pytest.mark.attack("T19", "T4")
def test_hostile_repositories(harness: Harness, repository: str) -> None:
    """CVE-2019-13139, CVE-2022-39253, CVE-2026-33748 and others."""
    local = harness.canary.parent / "repository"
    plain = f"{repository}/.git"
    for address in (
        plain, f"{plain}#main", f"{plain}#modules:sub", f"{plain}#main:out", f"{plain}#main:up",
        f"{plain}#main:sub/link", f"{plain}#main:../..", f"{plain}#main:/etc",
        f"{plain}#--upload-pack=touch {local}/ran", f"{plain}#-h", f"{plain}#main:-C", f"{plain}#:..",
        f"{plain}#refs/heads/../../x",
        f"ext::sh -c 'touch {local}/ran'.git", f"git://-oProxyCommand=touch{local}/ran/x.git", f"ssh://-oProxyCommand=touch%20{local}/ran/x.git",
        f"git@-oProxyCommand=x:{local}.git", f"file://{local}/.git",
    ):  # fmt: skip
        done = harness.run("build", "--no-cache", "--progress=plain", address)
        assert PRECIOUS not in done.stderr, f"{address} reads a file of the host"
        assert done.returncode != 0 and error_of(done), f"{address} is built"
    done = harness.run("build", "--no-cache", "--progress=plain", f"{plain}#main:sub")
    assert done.returncode == 0 and PRECIOUS not in done.stderr, done.stderr
    for step in (
        f"ADD {plain}#main:out /x",
        f"ADD {plain} /x\nRUN cat /x/Dockerfile /x/out/file; true",
        f"ADD --keep-git-dir=true {plain} /x",
    ):
        done = harness.build(f"FROM minimal\n{step}\n")
        assert PRECIOUS not in done.stderr, f"{step} reads a file of the host"
        assert done.returncode == 0 or error_of(done)
    for outside in ("out", "up", "..", "../..", "sub/../..", "/etc"):
        done = harness.build(f"FROM minimal\nADD {plain}#main:{outside} /x\nRUN ls -R /x; cat /x/file\n")
        assert f'has no directory "{outside.strip(chr(47))}"' in error_of(done), (
            f"{outside} of a repository is not below it"
        )


@pytest.mark.attack("T19", "T22")
def test_no_configuration_of_git_counts(harness: Harness, repository: str) -> None:
    """Neither files of the user's nor variables run hooks, or say where to fetch from or to."""
    witness = harness.cli.folder / "hook-ran"
    settings = "[core]\n\thooksPath = {0}/hooks\n[init]\n\ttemplateDir = {0}/template\n"
    settings += '[url "ssh://127.0.0.1:9/"]\n\tinsteadOf = git://\n[fetch]\n\tunpackLimit = x\n'
    hook = f"#!/bin/sh\ntouch {witness}\n"
    files = {"hooks/post-checkout": hook, "template/hooks/post-checkout": hook}
    home = harness.context("", files)
    for name in files:
        (home / name).chmod(0o755)
    for place in (home / ".gitconfig", home / "git/config"):
        place.parent.mkdir(exist_ok=True)
        place.write_text(settings.format(home))
    harness.cli.own(home)
    one = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "core.hooksPath", "GIT_CONFIG_VALUE_0": f"{home}/hooks"}
    for env in (
        {"HOME": str(home)},
        {"XDG_CONFIG_HOME": str(home)},
        {"GIT_CONFIG_SYSTEM": f"{home}/.gitconfig"},
        {"GIT_TEMPLATE_DIR": f"{home}/template"},
        {"GIT_CONFIG_PARAMETERS": f"'core.hookspath'='{home}/hooks'"},
        {"GIT_DIR": f"{home}/elsewhere", "GIT_WORK_TREE": f"{home}/tree"},
        {"GIT_OBJECT_DIRECTORY": f"{home}/objects"},
        {"GIT_INDEX_FILE": f"{home}/index"},
        one,
    ):
        before = sorted(path.name for path in home.iterdir())
        done = harness.run("build", "--no-cache", "--progress=plain", f"{repository}/.git#main:sub", env=env)
        assert done.returncode == 0, (env, done.stderr)
        assert not witness.exists(), f"{env} has a program run"
        assert sorted(path.name for path in home.iterdir()) == before, f"{env} says where git writes"
