"""Where files come from: contexts in directories and archives, URLs, repositories; and where they go when exported."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.fakes.files import FileServer, file_server
from tests.support.bench_of_builds import Bench
from tests.support.minimal_image import layer
from tiffin.builder.errors import BuildError, ContextError, RegistryError
from tiffin.builder.execute.export import export_directory, export_tar
from tiffin.builder.instructions.ops import ContextOrigin, GitOrigin, UrlOrigin
from tiffin.builder.sources.context import MAX_IGNORE_BYTES, Contexts
from tiffin.builder.sources.directory_tree import DirectoryTree
from tiffin.builder.sources.git import Git
from tiffin.builder.sources.remote_sources import Access, RemoteSources
from tiffin.builder.sources.tar_context import is_tar, spooled, tar_tree
from tiffin.cache.foundation.digest import Digest

# -- local directories
# ---------------------------------------------------------------------------------------------------


def contexts(bench: Bench, main: Path | None = None, **changes: object) -> Contexts:
    given: dict[str, object] = {"dockerfile": None, "table": bench.table, "remote": None, "state": bench.state.root}
    return Contexts(main or bench.context, {}, **(given | changes))  # type: ignore[arg-type]


def names(contexts: Contexts) -> list[str]:
    return [entry.path for entry in contexts.tree(ContextOrigin()).children(".")]


@pytest.mark.parametrize(
    ("files", "shown"),
    [
        ({".dockerignore": "b\n"}, [".dockerignore", "a", "c"]),
        ({".containerignore": "c\n"}, [".containerignore", "a", "b"]),
        ({".dockerignore": "b\n", ".containerignore": "c\n"}, [".containerignore", ".dockerignore", "a", "c"]),
        ({".dockerignore": "b\n", "D.dockerignore": "a\n"}, [".dockerignore", "D.dockerignore", "b", "c"]),
    ],
)
def test_the_nearest_ignore_file_counts(bench: Bench, files: dict[str, str], shown: list[str]) -> None:
    bench.write({"a": "", "b": "", "c": "", **files})
    assert names(contexts(bench, dockerfile=bench.context / "D")) == shown


def test_ignore_files_that_cannot_be_used_are_told(bench: Bench) -> None:
    os.mkfifo(bench.context / ".dockerignore")
    assert names(contexts(bench)) == [".dockerignore"], "a fifo is nothing, and is not waited for"
    (bench.context / ".dockerignore").unlink()
    (bench.context / ".dockerignore").write_bytes(b"#" * (MAX_IGNORE_BYTES + 1))
    with pytest.raises(ContextError, match="is longer than"):
        names(contexts(bench))


def test_a_context_that_is_no_directory_or_none_is_told(bench: Bench) -> None:
    with pytest.raises(ContextError, match="is not a directory"):
        names(contexts(bench, bench.context / "none"))
    with pytest.raises(ContextError, match="this build has no context"):
        names(Contexts(None, {}, dockerfile=None, table=bench.table, remote=None))  # type: ignore[arg-type]


def test_tiffins_own_directory_is_no_part_of_a_context(bench: Bench) -> None:
    reported: list[str] = []
    assert names(contexts(bench, bench.place, warn=reported.append)) == ["context"]
    assert len(reported) == 1 and "is left out" in reported[0]


def test_odd_files_of_a_context_are_shown_as_what_a_layer_can_hold(bench: Bench) -> None:
    import socket

    os.mkfifo(bench.context / "fifo")
    with closing(socket.socket(socket.AF_UNIX)) as server:
        here = os.getcwd()
        os.chdir(bench.context)
        try:
            server.bind("sock")
        finally:
            os.chdir(here)
    tree = contexts(bench).tree(ContextOrigin())
    assert {entry.path: entry.kind for entry in tree.children(".")} == {"fifo": "fifo", "sock": "file"}
    sock = tree.lookup("sock")
    assert sock is not None and tree.opener(sock)().read() == b""
    assert isinstance(tree, DirectoryTree) and not tree.is_plain(".")


# -- archives as contexts
# ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz", "w:bz2"])
def test_an_archive_is_read_from_where_it_lies(tmp_path: Path, mode: str) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:  # type: ignore[call-overload]
        member = tarfile.TarInfo("d/f")
        member.size, member.uid = 4, 77
        archive.addfile(member, io.BytesIO(b"text"))
    plain = spooled(io.BytesIO(stream.getvalue()), tmp_path / "context")
    assert is_tar(plain) and [path.name for path in tmp_path.iterdir()] == [plain.name]
    tree = tar_tree(plain, "the context")
    entry = tree.lookup("d/f")
    assert entry is not None and (entry.uid, entry.gid) == (0, 0)
    with tree.opener(entry)() as opened:
        assert opened.read() == b"text"


def test_a_damaged_archive_is_told(tmp_path: Path) -> None:
    data = layer({"f": "F"})
    (tmp_path / "cut").write_bytes(data[:700])
    with pytest.raises(ContextError, match="the context is damaged"):
        tar_tree(tmp_path / "cut", "the context")
    with pytest.raises(ContextError, match="the build context is damaged"):
        spooled(io.BytesIO(b"\x1f\x8b\x08" + b"x" * 600), tmp_path / "gz")
    (tmp_path / "text").write_text("FROM scratch\n")
    assert not is_tar(tmp_path / "text")


# -- URLs
# ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[FileServer]:
    with file_server() as server:
        yield server


def sources(bench: Bench, **secrets: bytes) -> RemoteSources:
    return RemoteSources(bench.state, bench.table, bench.blobs, Access(secrets=secrets))


def url(server: FileServer, **changes: str) -> UrlOrigin:
    return UrlOrigin(url=f"{server.address}/f", filename="f", **changes)


def content(remote: RemoteSources, origin: UrlOrigin) -> bytes:
    tree = remote.fetched(origin)
    entry = tree.lookup("f")
    assert entry is not None and entry.mode == 0o600
    with tree.opener(entry)() as stream:
        return stream.read()


def test_a_url_is_fetched_once_a_build_and_again_only_if_it_changed(bench: Bench, server: FileServer) -> None:
    server.files["/f"] = b"one"
    remote = sources(bench)
    assert content(remote, url(server)) == content(remote, url(server)) == b"one"
    assert [answer for _, answer in server.log] == [200]
    assert content(sources(bench), url(server)) == b"one"
    server.files["/f"] = b"two"
    assert content(sources(bench), url(server)) == b"two"
    assert [answer for _, answer in server.log] == [200, 304, 200]
    assert remote.media_type(url(server)) == "application/octet-stream"


def test_a_checksum_is_kept_to_and_saves_the_question(bench: Bench, server: FileServer) -> None:
    server.files["/f"] = b"one"
    right = url(server, checksum=str(Digest.of(b"one")))
    entry = sources(bench).file(right).lookup("f")
    assert entry is not None and entry.digest == Digest.of(b"one").hex and server.log == []
    assert content(sources(bench), right) == b"one"
    assert content(sources(bench), right) == b"one" and len(server.log) == 1, "it is here already"
    with pytest.raises(BuildError, match="digest mismatch"):
        sources(bench).fetched(url(server, checksum=str(Digest.of(b"other"))))


def test_credentials_of_secrets_go_with_the_request(bench: Bench, server: FileServer) -> None:
    server.files["/f"] = b"one"
    host = server.address.removeprefix("http://")
    content(sources(bench, **{f"HTTP_AUTH_TOKEN_{host}": b"t0ken\n"}), url(server))
    assert server.log[-1][0]["Authorization"] == "Bearer t0ken"


@pytest.mark.parametrize(
    ("secrets", "kind", "expected"),
    [
        ({"HTTP_AUTH_HEADER.h": b"Basic x\n"}, "HTTP", "Basic x"),
        ({"HTTP_AUTH_HEADER": b"for all"}, "HTTP", "for all"),
        ({"HTTP_AUTH_TOKEN": b"for nobody in particular"}, "HTTP", ""),
        ({"HTTP_AUTH_TOKEN.h": b"t"}, "HTTP", "Bearer t"),
        ({"GIT_AUTH_TOKEN": b"t"}, "GIT", "basic eC1hY2Nlc3MtdG9rZW46dA=="),
        ({"GIT_AUTH_TOKEN.other": b"t"}, "GIT", ""),
        ({"GIT_AUTH_HEADER": b"a", "GIT_AUTH_HEADER.h": b"b"}, "GIT", "b"),
    ],
)
def test_which_secret_is_for_a_host(secrets: dict[str, bytes], kind: str, expected: str) -> None:
    assert Access(secrets=secrets).authorization("h", kind) == expected


@pytest.mark.parametrize(("status", "says"), [(404, "answers 404"), (403, "answers 403")])
def test_answers_that_are_no_file_are_told_without_credentials(
    bench: Bench, server: FileServer, status: int, says: str
) -> None:
    server.statuses = [status]
    address = server.address.replace("//", "//user:s3cret@")
    with pytest.raises(RegistryError, match=says) as caught:
        sources(bench).fetched(UrlOrigin(url=f"{address}/f?signature=s3cret", filename="f"))
    assert "s3cret" not in str(caught.value)


def test_redirects_are_followed_and_have_an_end(bench: Bench, server: FileServer) -> None:
    server.files["/f"] = b"one"
    server.redirects["/elsewhere"] = "/f"
    server.redirects["/loop"] = "/loop"
    assert content(sources(bench), UrlOrigin(url=f"{server.address}/elsewhere", filename="f")) == b"one"
    with pytest.raises(RegistryError, match="redirects too often"):
        sources(bench).fetched(UrlOrigin(url=f"{server.address}/loop", filename="f"))


def test_an_answer_that_was_kept_and_is_damaged_is_fetched_anew(bench: Bench, server: FileServer) -> None:
    server.files["/f"] = b"one"
    content(sources(bench), url(server))
    bench.table.set(f"url:{Digest.of(url(server).url.encode()).hex}", b"{nonsense")
    assert content(sources(bench), url(server)) == b"one"
    assert [answer for _, answer in server.log] == [200, 200]


# -- repositories: a program called git that says what a test wrote for it
# -------------------------------------------------

COMMIT, TAGGED, OTHER = "a" * 40, "b" * 40, "c" * 40
GIT = """#!/bin/sh
echo "$@" >> "$(dirname "$0")/log"
env | grep '^GIT_' >> "$(dirname "$0")/environment"
case " $* " in
*" ls-remote "*) cat "$(dirname "$0")/listed" ;;
*" init "*) for last; do :; done; mkdir -p "$last/.git" ;;
*" fetch "*--depth*) exit "$(cat "$(dirname "$0")/shallow")" ;;
*" fetch "*) [ -z "$(cat "$(dirname "$0")/fault")" ] || { cat "$(dirname "$0")/fault" >&2; exit 128; } ;;
*" checkout "*) mkdir -p "$2/sub" && echo file > "$2/file" && echo deep > "$2/sub/file" && touch "$2/.gitmodules" ;;
esac
"""


@pytest.fixture
def git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "git").write_text(GIT)
    (folder / "git").chmod(0o755)
    lines = [
        (COMMIT, "HEAD"), (COMMIT, "refs/heads/main"), (OTHER, "refs/tags/v1"), (TAGGED, "refs/tags/v1^{}"),
    ]  # fmt: skip
    (folder / "listed").write_text("".join(f"{commit}\t{name}\n" for commit, name in lines))
    (folder / "shallow").write_text("0")
    (folder / "fault").write_text("")
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder


def plain_git(**changes: object) -> Git:
    return Git(**({"headers": {}, "agent": "", "cert_file": ""} | changes))  # type: ignore[arg-type]


def origin(**changes: object) -> GitOrigin:
    return GitOrigin(url="https://h/r.git", **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "commit"),
    [
        ({}, COMMIT),
        ({"ref": "main"}, COMMIT),
        ({"ref": "v1"}, TAGGED),
        ({"ref": OTHER}, OTHER),
        ({"checksum": OTHER}, OTHER),
        ({"ref": "v1", "checksum": "bbbb"}, TAGGED),
    ],
)
@pytest.mark.usefixtures("git")
def test_what_commit_a_reference_is(changes: dict[str, object], commit: str) -> None:
    assert plain_git().commit(origin(**changes)) == commit


@pytest.mark.usefixtures("git")
def test_references_that_are_nothing_or_another_commit_are_told() -> None:
    with pytest.raises(BuildError, match='has no reference "none"'):
        plain_git().commit(origin(ref="none"))
    with pytest.raises(BuildError, match=f"is at {TAGGED}, and not at cccc"):
        plain_git().commit(origin(ref="v1", checksum="cccc"))


@pytest.mark.thorough
@pytest.mark.parametrize("shallow", ["0", "1"])
def test_a_checkout_is_the_files_of_the_commit_alone(git: Path, tmp_path: Path, shallow: str) -> None:
    (git / "shallow").write_text(shallow)
    (tmp_path / "place").mkdir()
    found = plain_git().checkout(origin(), COMMIT, tmp_path / "place")
    assert sorted(path.name for path in found.iterdir()) == [".gitmodules", "file", "sub"]
    log = (git / "log").read_text()
    assert ("refs/heads/*" in log) == (shallow == "1") and "submodule update" in log
    assert plain_git().checkout(origin(subdir="sub", submodules=False, keep_git_dir=True), COMMIT,
        _fresh(tmp_path)).name == "sub"  # fmt: skip
    with pytest.raises(BuildError, match=r'has no directory "\.\./x"'):
        plain_git().checkout(origin(subdir="../x"), COMMIT, _fresh(tmp_path))


def test_git_is_told_nothing_of_this_machine_and_no_credential_is_on_a_command_line(
    git: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", "/mine")
    headers = {"h": "basic s3cret"}
    plain_git(headers=headers, agent="/agent", cert_file="/ca", own_certificate=("/c", "/k")).commit(origin())
    environment = (git / "environment").read_text()
    assert "GIT_DIR" not in environment and "GIT_CONFIG_GLOBAL=/dev/null" in environment
    assert "Authorization: basic s3cret" in environment and "s3cret" not in (git / "log").read_text()
    assert "http.https://h.sslCert" in environment and "GIT_TERMINAL_PROMPT=0" in environment


def test_what_git_says_is_told_without_credentials(git: Path) -> None:
    url = "https://user:s3cret@h/r.git"
    (git / "shallow").write_text("1")
    (git / "fault").write_text(f"warning: x\nfatal: unable to access '{url}/': not found.\n")
    with pytest.raises(BuildError, match=r"unable to access 'https://h/r.git/': not found") as caught:
        plain_git().checkout(GitOrigin(url=url), COMMIT, _fresh(git))
    assert "s3cret" not in str(caught.value)
    (git / "fault").write_text("Permission denied (publickey).\nfatal: Could not read from remote repository.\n")
    with pytest.raises(BuildError, match=r"Permission denied \(publickey\)"):
        plain_git().checkout(origin(), COMMIT, _fresh(git))


def test_a_machine_without_git_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BuildError, match="git is needed"):
        plain_git().commit(origin())


@pytest.mark.usefixtures("git")
def test_a_repository_is_checked_out_once_and_removed_at_the_end(bench: Bench) -> None:
    with sources(bench) as remote:
        assert remote.commit(origin()) == COMMIT
        place = remote.checkout(origin())
        assert remote.checkout(origin()) == place and (place / "file").read_text() == "file\n"
    assert not place.exists()


def _fresh(folder: Path) -> Path:
    place = folder / f"place{len(list(folder.iterdir()))}"
    place.mkdir()
    return place


# -- exports
# -------------------------------------------------------------------------------------------------------------

SHOWN = {
    "bin/sh": "a shell", "etc/link": "-> ../bin/sh", "var/empty": None, "tmp": None,
}  # fmt: skip


def test_a_tar_of_a_file_system_has_owners_links_and_no_history(bench: Bench) -> None:
    bench.image("base", SHOWN, {"bin/sh": "another shell", "home/alice/f": "F"})
    chain = bench.build("FROM base\nCOPY --chown=7:8 <<f /f\nx\nf\n").chain
    sink = io.BytesIO()
    export_tar([("", chain), ("linux_arm64", chain[:1])], bench.layers, bench.state, sink)
    with tarfile.open(fileobj=io.BytesIO(sink.getvalue())) as archive:
        found = {member.name: member for member in archive}
        shell = archive.extractfile("bin/sh")
        assert shell is not None and shell.read() == b"another shell"
    assert (found["f"].uid, found["f"].gid, found["home/alice"].uid) == (7, 8, 1000)
    assert found["etc/link"].linkname == "../bin/sh" and found["linux_arm64/bin/sh"].size == len("a shell")


def test_an_exported_directory_replaces_names_and_keeps_the_rest(bench: Bench, tmp_path: Path) -> None:
    bench.image("base", SHOWN)
    chain = bench.build("FROM base\nCOPY --chmod=4711 <<f /f\nx\nf\n").chain
    dest = tmp_path / "out/deep"
    (dest / "bin").mkdir(parents=True)
    (dest / "bin/other").write_text("mine")
    (dest / "etc").symlink_to("/nowhere")
    export_directory(chain, bench.layers, bench.state, dest)
    assert (dest / "bin/sh").read_text() == "a shell" and (dest / "bin/other").read_text() == "mine"
    assert not (dest / "etc").is_symlink() and os.readlink(dest / "etc/link") == "../bin/sh"
    assert stat.S_IMODE((dest / "f").stat().st_mode) == 0o711, "a set-user-ID bit would be for whoever exports"
