"""A file server on a loopback address, for ADD of URLs and repositories."""

from __future__ import annotations

import contextlib
import email.utils
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.conformance.nodes import COMPRESSORS, read_table, to_tar
from tests.support.serving import serving

MODIFIED = 1_612_345_678  # 2021-02-03: the Last-Modified of every file
ARCHIVE = to_tar(read_table({"top": "top\n", "dir/file": {"text": "file\n", "mode": "0640", "uid": 5, "gid": 6}}))
FILES: Mapping[str, bytes] = {
    "/file.txt": b"from a server\n",
    "/dir/": b"an index\n",
    "/archive.tar": ARCHIVE,
    "/archive.tar.gz": COMPRESSORS["gzip"](ARCHIVE),
    "/context.tar.gz": COMPRESSORS["gzip"](to_tar(read_table({"Dockerfile": "FROM base\nCOPY f /f\n", "f": "f\n"}))),
    "/Dockerfile": b"FROM base\nENV from=server\n",
}
REDIRECTS: Mapping[str, str] = {"/old.txt": "/file.txt"}
DATE = "2022-03-04T05:06:07+0000"  # of every commit, so that their names are the same everywhere


class _Handler(BaseHTTPRequestHandler):
    def __init__(self, repositories: Path, *arguments: object) -> None:
        self._repositories = repositories
        super().__init__(*arguments)  # type: ignore[arg-type]  # what socketserver hands over

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path in REDIRECTS:
            self.send_response(302)
            self.send_header("Location", REDIRECTS[path])
            self.end_headers()
            return
        body = FILES.get(path)
        place = self._repositories / path.strip("/")
        if body is None and ".." not in path and place.is_file():
            body = place.read_bytes()
        if body is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Last-Modified", email.utils.formatdate(MODIFIED, usegmt=True))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, format: str, *args: object) -> None:
        return None


@contextlib.contextmanager
def serving_files() -> Iterator[str]:
    """Its address; `/repo.git` is a repository that git reads over HTTP as plain files."""
    with tempfile.TemporaryDirectory() as folder:
        _make_repository(Path(folder))
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, Path(folder)))
        with serving(server):
            yield f"http://127.0.0.1:{server.server_port}"


def _make_repository(folder: Path) -> None:
    """Two commits on `main`, a tag `v1` on the first, a branch `side`."""
    work = folder / "work"
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "GIT_CONFIG_NOSYSTEM": "1",
        **{f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER") for what, value in _PERSON.items()},
    }

    def git(*words: str) -> None:
        subprocess.run(["git", "-C", str(work), *words], check=True, capture_output=True, env=environ)

    work.mkdir()
    git("init", "-q", "-b", "main")
    (work / "readme").write_text("first\n")
    (work / "sub").mkdir()
    (work / "sub/script").write_text("#!/bin/sh\n")
    (work / "sub/script").chmod(0o755)
    (work / "sub/Dockerfile").write_text("FROM base\nCOPY script /script\n")
    (work / "Dockerfile").write_text("FROM base\nCOPY readme /readme\n")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    git("tag", "v1")
    git("branch", "side")
    (work / "readme").write_text("second\n")
    git("commit", "-q", "-a", "-m", "second")
    subprocess.run(
        ["git", "clone", "-q", "--bare", str(work), str(folder / "repo.git")],
        check=True,
        capture_output=True,
        env=environ,
    )
    subprocess.run(
        ["git", "-C", str(folder / "repo.git"), "update-server-info"], check=True, capture_output=True, env=environ
    )
    shutil.rmtree(work)


_PERSON = {"NAME": "nobody", "EMAIL": "nobody@localhost", "DATE": DATE}
