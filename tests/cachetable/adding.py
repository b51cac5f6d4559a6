"""ADD: what is behind an address counts, not the address, nor what a server says beside it."""

from __future__ import annotations

import gzip

from tests.cachetable.workspace import Answer, Case, Scenario, Workspace
from tests.conformance.nodes import read_table, to_tar

ARCHIVE = to_tar(read_table({"top": "top\n", "dir/file": {"text": "file\n", "mode": "0640", "uid": 5, "gid": 6}}))
OTHER_ARCHIVE = to_tar(read_table({"top": "other\n"}))
WEB = {
    "/file.txt": Answer(
        body=b"from a server\n", headers={"ETag": '"1"', "Last-Modified": "Wed, 03 Feb 2021 09:56:18 GMT"}
    ),
    "/copy/file.txt": Answer(body=b"from a server\n", headers={"ETag": '"9"'}),
    "/copy/other.txt": Answer(body=b"from a server\n"),
}
SCENARIO = Scenario(
    name="add",
    dockerfile="""FROM scratch
ADD {http}/file.txt /web/
ADD archive.tar /archive
ADD {http}/repo.git#main /git
WORKDIR /work/dir
COPY note rel-note
""",
    files={"note": "n\n"},
    prepare=lambda workspace: workspace.path("archive.tar").write_bytes(ARCHIVE),
    tags=("/web/", "/archive", "/git", "/work/dir", "rel-note"),
)


def _say(workspace: Workspace, path: str, body: bytes, **headers: str) -> None:
    workspace.web[path] = Answer(body=body, headers={name.replace("_", "-"): value for name, value in headers.items()})


CASES = [
    Case(name="nothing changed", change=lambda s: None),
    Case(name="ETag", change=lambda s: _say(s, "/file.txt", b"from a server\n", ETag='"2"')),
    Case(
        name="Last-Modified",
        change=lambda s: _say(s, "/file.txt", b"from a server\n", Last_Modified="Thu, 04 Feb 2021 09:56:18 GMT"),
    ),
    Case(name="no headers", change=lambda s: _say(s, "/file.txt", b"from a server\n")),
    Case(
        name="content under the same ETag",
        change=lambda s: _say(s, "/file.txt", b"changed\n", ETag='"1"'),
        runs="/web/+",
    ),
    Case(name="content", change=lambda s: _say(s, "/file.txt", b"changed\n", ETag='"3"'), runs="/web/+"),
    Case(name="another address", change=lambda s: s.edit("{http}/file.txt", "{http}/copy/file.txt")),
    Case(
        name="another address with another name",
        change=lambda s: s.edit("{http}/file.txt", "{http}/copy/other.txt"),
        runs="/web/+",
    ),
    Case(name="query of an address", change=lambda s: s.edit("{http}/file.txt", "{http}/file.txt?x=y")),
    Case(
        name="--chmod of what is fetched",
        change=lambda s: s.edit("ADD {http}/file.txt", "ADD --chmod=644 {http}/file.txt"),
        runs="/web/+",
    ),
    Case(name="umask 077", change=lambda s: setattr(s, "umask", 0o077)),
    Case(name="archive", change=lambda s: s.path("archive.tar").write_bytes(OTHER_ARCHIVE), runs="/archive+"),
    Case(
        name="archive packed otherwise",
        change=lambda s: s.path("archive.tar").write_bytes(gzip.compress(ARCHIVE)),
        runs="/archive+",
    ),
    Case(name="mtime of an archive", change=lambda s: s.touch("archive.tar")),
    Case(
        name="name of an archive",
        change=lambda s: (s.rename("archive.tar", "other.tar"), s.edit("archive.tar", "other.tar")),
        runs="/archive+",
    ),
    Case(name="archive copied", change=lambda s: s.edit("ADD archive.tar", "COPY archive.tar"), runs="/archive+"),
    Case(name="branch with a new commit", change=lambda s: s.edit("repo.git#main", "newer.git#main"), runs="/git+"),
    Case(name="another branch at the commit", change=lambda s: s.edit("repo.git#main", "repo.git#same")),
    Case(name="tag of the commit", change=lambda s: s.edit("repo.git#main", "repo.git#v2")),
    Case(name="branch at another commit", change=lambda s: s.edit("repo.git#main", "repo.git#side"), runs="/git+"),
    Case(name="repository elsewhere", change=lambda s: s.edit("repo.git#main", "clone.git#main")),
    Case(name="subdirectory", change=lambda s: s.edit("repo.git#main", "repo.git#main:sub"), runs="/git+"),
    Case(
        name="--keep-git-dir",
        change=lambda s: s.edit("ADD {http}/repo.git", "ADD --keep-git-dir {http}/repo.git"),
        runs="/git+",
    ),
    Case(name="default branch", change=lambda s: s.edit("repo.git#main", "repo.git")),
    Case(name="WORKDIR", change=lambda s: s.edit("/work/dir", "/work/other"), runs="/work/other rel-note"),
    Case(
        name="WORKDIR in two steps",
        change=lambda s: s.edit("WORKDIR /work/dir", "WORKDIR /work\nWORKDIR dir"),
        runs="/work /work/dir rel-note",
    ),
    Case(name="absolute in place of relative", change=lambda s: s.edit("rel-note", "/work/dir/rel-note")),
]
