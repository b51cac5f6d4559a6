"""What ADD reads from the network: files behind URLs, kept by digest; checkouts of git repositories, made when read."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

from tiffin.builder.errors import BuildError
from tiffin.builder.instructions.ops import GitOrigin, UrlOrigin
from tiffin.builder.registry.download import Fetched, download, shown
from tiffin.builder.registry.proxies import Proxies
from tiffin.builder.sources.directory_tree import DirectoryTree
from tiffin.builder.sources.git import Git, Named
from tiffin.builder.sources.trees import FileTree
from tiffin.cache.foundation.digest import COPY_CHUNK_BYTES, Digest
from tiffin.cache.foundation.frozen import dataclass, field
from tiffin.cache.store.blobs import BlobStore
from tiffin.cache.store.local import Table
from tiffin.cache.store.statedir import StateDir
from tiffin.cache.trust import Trust, joined_bundle

URL_FILE_MODE = 0o600  # BuildKit's


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How to reach the network.

    `secrets` by id (those named HTTP_AUTH_… and GIT_AUTH_… matter), `agent` an ssh socket.
    """

    secrets: Mapping[str, bytes]
    proxies: Proxies | None = None
    private: tuple[str, ...] = ()  # patterns of hosts that may lead to private addresses
    trust: Trust = field(default_factory=lambda: Trust({}))
    user_agent: str = "tiffin"
    agent: str = ""
    packs: Mapping[str, Path] = field(default_factory=dict)  # of repositories that are here, by pack_key

    def authorization(self, host: str, kind: str) -> str:
        """Return the Authorization header for `host`; `kind` is HTTP or GIT."""
        for suffix in (f".{host}", f"_{host}", ""):
            header = self.secrets.get(f"{kind}_AUTH_HEADER{suffix}")
            if header is not None:
                return header.decode("utf-8", "replace").strip()
            token = self.secrets.get(f"{kind}_AUTH_TOKEN{suffix}")
            if token is not None and kind == "GIT":
                return "basic " + base64.b64encode(b"x-access-token:" + token.strip()).decode()
            if token is not None and suffix:
                return f"Bearer {token.decode('utf-8', 'replace').strip()}"
        return ""


class RemoteSources:
    """Resolves remote origins, each once a build. Used as a context manager: checkouts go at its end."""

    def __init__(self, state: StateDir, table: Table, blobs: BlobStore, access: Access) -> None:
        self._state = state
        self._table = table
        self._blobs = blobs
        self._access = access
        self._stack = ExitStack()
        self._files: dict[UrlOrigin, FileTree] = {}
        self._bundles: dict[str, Path] = {}
        self._commits: dict[GitOrigin, str] = {}
        self._checkouts: dict[GitOrigin, Path] = {}

    def __enter__(self) -> RemoteSources:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def file(self, origin: UrlOrigin) -> FileTree:
        """Return the file behind a URL, as a tree of one; where a checksum says what it is, nothing is asked, and size
        and time are not known. Raises RegistryError.
        """
        if origin.checksum and origin not in self._files:
            return _tree(origin, Digest.parse(origin.checksum), self._blobs, size=0, mtime_ns=0)
        return self.fetched(origin)

    def fetched(self, origin: UrlOrigin) -> FileTree:
        """Return the same, to read. Raises RegistryError, BuildError for another checksum."""
        if origin not in self._files:
            self._files[origin] = self._fetch(origin)
        return self._files[origin]

    def commit(self, origin: GitOrigin) -> str:
        """Return the commit a git origin means now."""
        if origin not in self._commits:
            self._commits[origin] = self._git(origin).commit(origin)
        return self._commits[origin]

    def repository(self, origin: GitOrigin) -> tuple[Named, bytes, bytes]:
        """Return what a git origin means, for the rest of the build, and its objects: the commit, and the annotated
        tag, b"" for none. Raises BuildError.
        """
        named = self._git(origin).named(origin)
        if self._commits.setdefault(origin, named.commit) != named.commit:
            raise BuildError(f"{shown(origin.url)} changed during the build", remedy="build again")
        return named, *self._git(origin).objects(origin, named, self._place())

    def checkout(self, origin: GitOrigin) -> Path:
        """Return a directory with the files of a git origin, until this object is closed."""
        if origin not in self._checkouts:
            commit, place = self.commit(origin), self._place()
            pack = self._access.packs.get(pack_key(origin.url, commit))
            if pack is None:
                self._checkouts[origin] = self._git(origin).checkout(origin, commit, place)
            else:
                self._checkouts[origin] = self._git(origin).unpacked(origin, commit, pack, place)
        return self._checkouts[origin]

    def pack(self, origin: GitOrigin) -> Path:
        """Return a file with all objects of a commit, until this object is closed. Raises BuildError."""
        return self._git(origin).pack(origin, self.commit(origin), self._place())

    def _place(self) -> Path:
        place = self._stack.enter_context(self._state.scratch("git")) / "checkout"
        place.mkdir()
        return place

    def media_type(self, origin: UrlOrigin) -> str:
        """Return what the server called the file."""
        known = self._recall(origin.url)
        return known[0].media_type if known else ""

    def _git(self, origin: GitOrigin) -> Git:
        host = urlsplit(origin.url).netloc.rpartition("@")[2]
        header = self._access.authorization(host, "GIT")
        trusted, pairs = "", self._access.trust.of_host(host).pairs
        if origin.url.startswith("https:") and not self._access.trust.is_plain(host):
            trusted = str(self._bundle(host))
        return Git(
            headers={host: header} if header else {},
            agent=self._access.agent,
            cert_file=trusted,
            own_certificate=pairs[0] if pairs else None,
        )

    def _bundle(self, host: str) -> Path:
        """Return one file with all the certificates that count for a host, for git."""
        if host not in self._bundles:
            path = self._stack.enter_context(self._state.scratch("trust")) / "bundle.pem"
            path.write_bytes(joined_bundle(self._access.trust.pem_files(host)))
            self._bundles[host] = path
        return self._bundles[host]

    def _fetch(self, origin: UrlOrigin) -> FileTree:
        known = self._recall(origin.url)
        if known is not None and str(known[1]) == origin.checksum:
            return _tree(origin, known[1], self._blobs, size=known[2], mtime_ns=known[0].modified_ns)
        header = self._access.authorization(urlsplit(origin.url).netloc.rpartition("@")[2], "HTTP")
        with self._state.scratch("download") as scratch:
            path = scratch / "file"
            with path.open("xb+") as sink:
                fetched = download(
                    origin.url,
                    sink,
                    known=known[0] if known else None,
                    headers={"Authorization": header} if header else {},
                    trust=self._access.trust,
                    proxies=self._access.proxies,
                    private=self._access.private,
                    user_agent=self._access.user_agent,
                )
            if fetched.changed or known is None:
                with path.open("rb") as stream:
                    digest, size = self._keep(stream)
                self._remember(origin.url, fetched, digest, size)
            else:
                _, digest, size = known
        if origin.checksum and str(digest) != origin.checksum:
            raise BuildError(
                f"digest mismatch: {shown(origin.url)} is {digest}, and not {origin.checksum}",
                remedy="correct --checksum, or find out why the file changed",
            )
        return _tree(origin, digest, self._blobs, size=size, mtime_ns=fetched.modified_ns)

    def _keep(self, stream: BinaryIO) -> tuple[Digest, int]:
        with self._blobs.ingest() as writer:
            while data := stream.read(COPY_CHUNK_BYTES):
                writer.write(data)
            return writer.commit()

    def _recall(self, url: str) -> tuple[Fetched, Digest, int] | None:
        """Return the last answer for `url`, if what it brought is still here."""
        data = self._table.get(_name(url))
        try:
            fields = json.loads(data) if data else None
            if not fields:
                return None
            digest = Digest.parse(fields["digest"])
            known = Fetched(
                changed=False,
                etag=fields["etag"],
                modified=fields["modified"],
                modified_ns=int(fields["modified_ns"]),
                media_type=fields["media_type"],
            )
            size = int(fields["size"])
        except (ValueError, KeyError, TypeError):
            return None
        return (known, digest, size) if self._blobs.has(digest) else None

    def _remember(self, url: str, fetched: Fetched, digest: Digest, size: int) -> None:
        fields = {
            "etag": fetched.etag,
            "modified": fetched.modified,
            "modified_ns": fetched.modified_ns,
            "media_type": fetched.media_type,
            "digest": str(digest),
            "size": size,
        }
        self._table.set(_name(url), json.dumps(fields).encode())


def _tree(origin: UrlOrigin, digest: Digest, blobs: BlobStore, *, size: int, mtime_ns: int) -> FileTree:
    return FileTree(
        name=origin.filename,
        mode=URL_FILE_MODE,
        size=size,
        mtime_ns=mtime_ns,
        digest=digest.hex,
        path=blobs.path(digest),
    )


def _name(url: str) -> str:
    """Return the table's name for a URL, which may hold credentials."""
    return f"url:{Digest.of(url.encode()).hex}"


def remember_file(table: Table, url_digest: str, digest: Digest, *, size: int, modified_ns: int) -> None:
    """Note that what is behind a URL is here, without asking; `url_digest` is the hexadecimal SHA-256 of the URL."""
    fields = {"etag": "", "modified": "", "modified_ns": modified_ns, "media_type": "", "size": size}
    table.set(f"url:{url_digest}", json.dumps({**fields, "digest": str(digest)}).encode())


def pack_key(url: str, commit: str) -> str:
    """Return what stands for a commit of a repository, whose URL may hold credentials."""
    return Digest.of(f"{url}\n{commit}".encode()).hex


def git_tree(sources: RemoteSources, origin: GitOrigin) -> DirectoryTree:
    """Return the files of a git origin as a tree; owners 0:0, nothing ignored."""
    return DirectoryTree(sources.checkout(origin), None, None, what=f"repository {shown(origin.url)}")
