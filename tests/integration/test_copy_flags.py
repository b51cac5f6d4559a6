"""COPY and ADD: --link, --parents, --exclude, remote sources, --unpack, --checksum."""

from __future__ import annotations

import hashlib
import http.server
import io
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Run
from tests.integration.test_build import listing
from tests.support.servers import running_git
from tests.support.serving import serving

Make = Callable[..., Path]
TREE = {"a/b/one.txt": "1", "a/b/two.png": "2", "a/c/d/three.txt": "3", "top.txt": "t", "top.png": "p"}


def names(tiffin: Run, *words: str | Path) -> set[str]:
    return set(listing(tiffin, *words))


class Site(http.server.ThreadingHTTPServer):
    """Files over HTTP, with the requests that came."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.asked: list[tuple[str, int, str]] = []
        self.token = ""

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{path}"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Site

    def do_GET(self) -> None:
        path = self.path.partition("?")[0].strip("/")
        if path == "moved":
            self._answer(302, b"", {"Location": self.server.url("file.txt")})
            return
        if self.server.token and self.headers.get("Authorization", "") != self.server.token:
            self._answer(401, b"", {})
            return
        data = self.server.files.get(path)
        if data is None:
            self._answer(404, b"", {})
            return
        tag = f'"{hashlib.sha256(data).hexdigest()[:16]}"'
        headers = {"ETag": tag, "Last-Modified": "Sat, 01 Jan 2022 00:00:00 GMT"}
        if self.headers.get("If-None-Match") == tag:
            self._answer(304, b"", headers)
        else:
            self._answer(200, data, headers)

    def _answer(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        self.server.asked.append((self.path, status, self.headers.get("Authorization", "")))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def site() -> Iterator[Site]:
    server = Site()
    with serving(server):
        yield server


def test_parents(tiffin: Run, context: Make) -> None:
    folder = context("FROM scratch\nCOPY --parents a/b/one.txt top.txt /x\n", **TREE)
    (folder / "a").chmod(0o711)
    found = listing(tiffin, folder)
    assert set(found) == {"x", "x/a", "x/a/b", "x/a/b/one.txt", "x/top.txt"}
    assert found["x/a"].mode & 0o777 == 0o711


def test_parents_with_pivot_wildcards_and_trees(tiffin: Run, context: Make) -> None:
    folder = context("FROM scratch\nCOPY --parents ./a/./**/*.txt /x/\nCOPY --parents a/c /y/\n", **TREE)
    assert names(tiffin, folder) == {
        "x", "x/b", "x/b/one.txt", "x/c", "x/c/d", "x/c/d/three.txt",
        "y", "y/a", "y/a/c", "y/a/c/d", "y/a/c/d/three.txt",
    }  # fmt: skip


def test_parents_of_what_is_not_there(tiffin: Run, context: Make) -> None:
    done = tiffin("build", context("FROM scratch\nCOPY --parents a/none/ /x/\n", **TREE), check=False)
    assert done.returncode == 1 and '"a/none/" not found' in done.stderr
    assert names(tiffin, context("FROM scratch\nCOPY --parents a/none* top.txt /x/\n", **TREE)) == {"x", "x/top.txt"}


def test_exclude(tiffin: Run, context: Make) -> None:
    folder = context(
        "FROM scratch\nARG E=*.png\nCOPY --exclude=$E --exclude=a/c . /x/\nCOPY --exclude=*.png top* /y/\n"
        "COPY --exclude=**/*.txt a /z/\nCOPY --exclude=* a /empty/\nCOPY --exclude=* --exclude=!b a /again/\n",
        **{**TREE, ".dockerignore": "Dockerfile\n.dockerignore"},
    )
    assert names(tiffin, folder) == {
        "x", "x/a", "x/a/b", "x/a/b/one.txt", "x/a/b/two.png", "x/top.txt", "y", "y/top.txt",
        "z", "z/b", "z/b/two.png", "z/c", "z/c/d", "empty", "again", "again/b", "again/b/one.txt", "again/b/two.png",
    }  # fmt: skip


@pytest.mark.userns
def test_link_makes_a_layer_that_does_not_depend_on_the_base(tiffin: Run, base: str, context: Make) -> None:
    text = "FROM {}\nRUN echo {} > /below\nCOPY --link top.txt /tmp/deep/f\nRUN cat /tmp/deep/f /below > /both\n"
    folder = context(text.format(base, 1), **TREE)
    found = listing(tiffin, folder)
    assert found["tmp"].mode & 0o7777 == 0o1777  # the layer does not tell of it
    (folder / "Dockerfile").write_text(text.format(base, 2))
    again = tiffin("build", "-t", "linked", folder).stderr
    assert (
        "CACHED [3/4]" in again.replace("#2 ", "").replace("\n", " ")
        or "[3/4] COPY --link top.txt /tmp/deep/f\n#" in again
    )
    assert again.count("DONE") == 2 and again.count("CACHED") == 1
    assert tiffin("run", "--rm", "linked", "cat", "/both").stdout == "t2\n"


def test_link_knows_no_names(tiffin: Run, base: str, context: Make) -> None:
    done = tiffin("build", context(f"FROM {base}\nCOPY --link --chown=app top.txt /f\n", **TREE), check=False)
    assert done.returncode == 1 and 'no user is called "app"' in done.stderr
    found = listing(tiffin, context(f"FROM {base}\nCOPY --link --chown=7:8 --chmod=0600 top.txt /f\n", **TREE))
    assert (found["f"].uid, found["f"].gid, found["f"].mode & 0o777) == (7, 8, 0o600)


def test_url(tiffin: Run, context: Make, site: Site) -> None:
    site.files["file.txt"] = b"from the net"
    folder = context(
        f"FROM scratch\nADD {site.url('file.txt')} /d/\nADD --chmod=644 --chown=1:2 {site.url('file.txt?x=1')} /named\n"
        f"ADD {site.url('moved')} top.txt /m/\n",
        **TREE,
    )
    found = listing(tiffin, folder)
    assert set(found) == {"d", "d/file.txt", "named", "m", "m/moved", "m/top.txt"}
    assert found["d/file.txt"].mode & 0o777 == 0o600 and found["d/file.txt"].mtime == 1640995200
    assert (found["named"].mode & 0o777, found["named"].uid, found["named"].gid) == (0o644, 1, 2)
    site.asked.clear()
    again = tiffin("build", folder).stderr
    assert again.count("CACHED") == 3 and {status for _, status, _ in site.asked} <= {304, 302}
    site.files["file.txt"] = b"changed"
    assert tiffin("build", folder).stderr.count("DONE") == 3


@pytest.fixture
def pinned(site: Site, context: Make) -> Callable[..., Path]:
    """Make a context whose ADD has a checksum; the file changes, and the server counts."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("inner"))
    site.files["file.tar"] = archive.getvalue()
    digest = hashlib.sha256(archive.getvalue()).hexdigest()

    def make(flags: str = "", dest: str = "/d/", name: str = "context") -> Path:
        line = f"ADD --checksum=sha256:{digest} {flags} {site.url('file.tar')} {dest}"
        return context(f"FROM scratch\n{line}\n", name)

    return make


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        pytest.param({}, {}, [], id="the same"),
        pytest.param({}, {"name": "moved"}, [], id="another context"),
        pytest.param({}, {"dest": "/e/"}, [], id="another place"),
        pytest.param({}, {}, ["--no-cache"], id="made again"),
        pytest.param({}, {"flags": "--unpack"}, [], id="unpacked now"),
        pytest.param({"flags": "--unpack"}, {"flags": "--chmod=600"}, ["-o", "type=local,dest=out"], id="another mode"),
    ],
)
@pytest.mark.parametrize("server", ["changed", "gone"])
def test_checksum_asks_nothing_again(
    tiffin: Run, pinned: Callable[..., Path], site: Site, tmp_path: Path,
    first: dict[str, str], second: dict[str, str], words: list[str], server: str,
) -> None:  # fmt: skip
    before = listing(tiffin, pinned(**first))
    assert len(site.asked) == 1
    if server == "gone":
        site.files.clear()
    else:
        site.files["file.tar"] = b"other"
    folder = pinned(**second)
    tiffin("build", *words, folder, cwd=tmp_path)
    assert len(site.asked) == 1, "nothing was asked"
    after = listing(tiffin, folder)
    assert {item.mtime for item in after.values() if item.isreg()} == {
        item.mtime for item in before.values() if item.isreg()
    } or "--unpack" in str(first) + str(second)


def test_checksum_is_a_key_on_other_machines_too(
    tiffin: Run, pinned: Callable[..., Path], site: Site, tmp_path: Path
) -> None:
    cache = f"type=dir,path={tmp_path}/cache"
    first = tiffin("build", "-q", "--cache-to", cache, pinned()).stdout
    tiffin("system", "reset", "-f")
    site.files.clear()
    assert tiffin("build", "-q", "--cache-from", cache, pinned()).stdout == first
    assert len(site.asked) == 1
    refused = tiffin("build", pinned(dest="/e/"), check=False)
    assert refused.returncode == 1 and "404" in refused.stderr and "Dockerfile:2" in refused.stderr


@pytest.mark.parametrize("place", ["state", ".cache/tiffin/state", "sub/dir", "a.b/.x", "with a space/é"])
def test_state_directory_in_the_context_is_left_out(context: Make, place: str) -> None:
    folder = context("FROM scratch\nCOPY . /\n", **{f"{place}-more": "1", "sub/f": "1"})
    argv = [sys.executable, "-m", "tiffin", "--root", str(folder / place), "build"]
    for _ in range(2):
        done = subprocess.run([*argv, "-o", "-", str(folder)], capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
        with tarfile.open(fileobj=io.BytesIO(done.stdout)) as tar:
            found = set(tar.getnames())
        assert f"{place}-more" in found and not any(f"{name}/".startswith(f"{place}/") for name in found)
        assert f"{folder / place} is left out".encode() in done.stderr, done.stderr
    assert done.stderr.count(b"CACHED") == 1, "what tiffin wrote there is no change"


def test_url_checksum_and_errors(tiffin: Run, context: Make, site: Site) -> None:
    site.files["file.txt"] = b"x"
    digest = hashlib.sha256(b"x").hexdigest()
    url = site.url("file.txt")
    tiffin("build", context(f"FROM scratch\nADD --checksum=sha256:{digest} {url} /\n"))
    wrong = "0" * 64
    for text, message in (
        (
            f"ADD --checksum=sha256:{wrong} {url} /",
            f"digest mismatch: {url} is sha256:{digest}, and not sha256:{wrong}",
        ),
        (f"ADD {site.url('none')} /", "the server answers 404 Not Found"),
        (f"ADD --checksum=sha256:{wrong} {url} {url} /", "checksum can't be specified for multiple sources"),
        (f"ADD --checksum=sha256:{wrong} top.txt /", "checksum requires HTTP(S) or Git sources"),
        (f"COPY --checksum=sha256:{wrong} top.txt /", "unknown flag for COPY: --checksum"),
        (f"COPY {url} /", f'source "{url}" can\'t be a URL or git reference for COPY'),
        ("ADD http://user:pw@127.0.0.1:9/f /", "cannot fetch http://127.0.0.1:9/f: Connection refused; check"),
    ):
        done = tiffin("build", context(f"FROM scratch\n{text}\n", **TREE), check=False)
        assert done.returncode == 1 and message in done.stderr, done.stderr
        assert "Dockerfile:2" in done.stderr and "user:pw" not in done.stderr.splitlines()[-1]


def test_url_credentials(tiffin: Run, context: Make, site: Site, tmp_path: Path) -> None:
    site.files["file.txt"] = b"x"
    site.token = "Bearer abc"
    (tmp_path / "t").write_text("abc\n")
    folder = context(f"FROM scratch\nADD {site.url('file.txt')} /\n")
    assert tiffin("build", folder, check=False).returncode == 1
    host = f"127.0.0.1:{site.server_port}"
    tiffin("build", "--secret", f"id=HTTP_AUTH_TOKEN_{host},src={tmp_path / 't'}", folder)


def test_archives_are_unpacked_when_asked(tiffin: Run, context: Make, site: Site) -> None:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        member = tarfile.TarInfo("in/side")
        member.size = 1
        tar.addfile(member, io.BytesIO(b"x"))
    data = archive.getvalue()
    site.files["a.tgz"] = data
    folder = context(
        f"FROM scratch\nADD {site.url('a.tgz')} /packed/\nADD --unpack {site.url('a.tgz')} /unpacked/\n"
        "ADD l.tgz /local/\nADD --unpack=false l.tgz /kept/\n",
        **{"l.tgz": data},
    )
    assert names(tiffin, folder) == {
        "packed", "packed/a.tgz", "unpacked", "unpacked/in", "unpacked/in/side",
        "local", "local/in", "local/in/side", "kept", "kept/l.tgz",
    }  # fmt: skip


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A git repository with a tag, a branch, a submodule; `git://` is served by git daemon."""

    def git(where: Path, *words: str) -> str:
        settings = ("-c", "user.name=t", "-c", "user.email=t@localhost", "-c", "protocol.file.allow=always")
        argv = ["git", *settings, "-C", str(where), *words]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()

    sub, main = tmp_path / "served/sub.git", tmp_path / "served/main.git"
    for path in (sub, main):
        path.mkdir(parents=True)
        git(path, "init", "-q", "-b", "main")
    (sub / "s").write_text("sub")
    git(sub, "add", ".")
    git(sub, "commit", "-qm", "s")
    (main / "f").write_text("one")
    (main / "run.sh").write_text("#!/bin/sh\n")
    (main / "run.sh").chmod(0o775)
    (main / "dir").mkdir()
    (main / "dir/g").write_text("g")
    git(main, "add", ".")
    git(main, "commit", "-qm", "1")
    git(main, "tag", "-a", "v1", "-m", "v1")
    git(main, "submodule", "add", "-q", str(sub), "vendor")
    git(main, "config", "-f", ".gitmodules", "submodule.vendor.url", "../sub.git")
    (main / "f").write_text("two")
    git(main, "add", ".")
    git(main, "commit", "-qm", "2")
    return main


@pytest.fixture
def served(repository: Path) -> Iterator[str]:
    """The repository's git:// URL, up to its name."""
    with running_git(repository.parent, repository.parent / "daemon.log") as address:
        yield f"{address}/main.git"


def test_git(tiffin: Run, context: Make, served: str, repository: Path) -> None:
    def commit(name: str) -> str:
        return subprocess.run(
            ["git", "-C", str(repository), "rev-parse", f"{name}^{{commit}}"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()

    folder = context(
        f"FROM scratch\nADD {served} /head/\nADD {served}#v1:dir /dir/\n"
        f"ADD --keep-git-dir {served}?tag=v1&submodules=0 /kept/\n"
        f"ADD --checksum={commit('v1')[:12]} {served}#v1 /checked/\n"
    )
    found = listing(tiffin, folder)
    paths = {name for name in found if ".git/" not in name}
    assert paths == {
        "head", "head/.gitmodules", "head/dir", "head/dir/g", "head/f", "head/run.sh", "head/vendor", "head/vendor/s",
        "dir", "dir/g", "kept", "kept/.git", "kept/dir", "kept/dir/g", "kept/f", "kept/run.sh",
        "checked", "checked/dir", "checked/dir/g", "checked/f", "checked/run.sh",
    }  # fmt: skip
    assert found["head/run.sh"].mode & 0o777 == 0o755 and found["head/f"].mode & 0o777 == 0o644
    assert tiffin("build", folder).stderr.count("CACHED") == 4
    (repository / "f").write_text("three")
    subprocess.run(
        ["git", "-C", str(repository), "-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "-qam", "3"],
        check=True,
    )
    again = tiffin("build", folder).stderr
    assert again.count("DONE") >= 1 and "[1/4] ADD" in again


def test_git_runs_nothing_and_reads_nothing_of_this_machine(
    tiffin: Run, context: Make, served: str, repository: Path, tmp_path: Path
) -> None:
    canary = tmp_path / "canary"
    done = tiffin("build", context(f"FROM scratch\nADD {served}#--upload-pack=touch\\ {canary} /\n"), check=False)
    assert done.returncode == 1 and not canary.exists()
    sub = repository.parent / "sub.git"
    for words in (
        ["config", "-f", ".gitmodules", "submodule.vendor.url", f"file://{sub}"],
        ["-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "-qam", "local"],
    ):
        subprocess.run(["git", "-C", str(repository), *words], check=True)
    done = tiffin("build", context(f"FROM scratch\nADD {served} /\n"), check=False)
    assert done.returncode == 1 and "transport 'file' not allowed" in done.stderr


def test_git_errors(tiffin: Run, context: Make, served: str) -> None:
    for text, message in (
        (f"ADD {served}#none /", f'{served} has no reference "none"'),
        (f"ADD {served}#:none /", 'has no directory "none"'),
        (f"ADD --checksum=abcdef0123 {served} /", "digest mismatch"),
        (f"ADD {served}?tga=v1 /", 'unexpected query key "tga"'),
        (f"ADD {served}?tag=v1#main /", "has both a fragment and a query"),
        (f"ADD {served}?tag=v1&branch=main /", "names several references"),
        ("ADD git://127.0.0.1:9/x.git /", "cannot fetch git://127.0.0.1:9/x.git: unable to connect to 127.0.0.1"),
    ):
        done = tiffin("build", context(f"FROM scratch\n{text}\n"), check=False)
        assert done.returncode == 1 and message in done.stderr, done.stderr
