"""Bringing one blob into a repository (distribution-spec #pushing-blobs).

A request that broke may have left a part of its body in the upload, or may have arrived whole: the upload is never gone on
with blindly. The next try asks for the blob, or how far it came.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from typing import TYPE_CHECKING, BinaryIO, cast
from urllib.parse import urlencode

from builder.errors import RegistryError, UnauthorizedError
from builder.oci.spec import Descriptor
from builder.registry.answers import joined
from builder.registry.transport import MAX_TRIES, Call, Transport
from cache.digest import Digest
from cache.values import dataclass, replace

if TYPE_CHECKING:
    from builder.registry.transport import Response

READ_BYTES = 1 << 20
UPLOAD_CHUNK_BYTES = 64 << 20  # of a chunked upload, used when a registry refuses one large request
NO_UPLOAD = 404  # it was given up, or has ended
REFUSALS = frozenset({400, 401, 403, 405, 501})  # of a mount, whatever the blob
UNKNOWN = frozenset({400, 401, 403, 404, 405})  # answers to HEAD that say nothing, or no
CHUNKED_WHEN = frozenset({411, 413})


def scope(repository: str, actions: str) -> str:
    """What a token is asked for (the token spec's resource scope)."""
    return f"repository:{repository}:{actions}"


def question(registry: str, repository: str, digest: Digest) -> Call:
    """Whether a blob is in a repository."""
    return Call(
        method="HEAD",
        url=f"/v2/{repository}/blobs/{digest}",
        scope=scope(repository, "pull,push"),
        what=f"blob {digest} of {registry}/{repository}",
        allowed=frozenset({404}),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Mounted:
    """The answer to a mount. `location`: "" if it was done, None if no upload was begun instead."""

    location: str | None
    is_refused: bool = False  # and would be for another blob


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """Of `descriptor`'s blob, whose bytes `opener` gives, any number of times; `progress` is told how many have gone."""

    transport: Transport
    repository: str
    descriptor: Descriptor
    opener: Callable[[], BinaryIO]
    progress: Callable[[int], None] | None = None

    def begin(self) -> str:
        """Start an upload; its location."""
        with self.transport.send(self._call("POST", f"/v2/{self.repository}/blobs/uploads/")) as response:
            return self._location(response)

    def mount(self, source: str) -> Mounted:
        """Ask to mount the blob from the repository `source` (#mounting-a-blob-from-another-repository). Registries refuse with
        many statuses, token services with none for the source: whatever it is, an upload does as well."""
        query = urlencode({"mount": str(self.descriptor.digest), "from": source})
        call = self._call("POST", f"/v2/{self.repository}/blobs/uploads/?{query}")
        call = replace(call, scope=f"{call.scope} {scope(source, 'pull')}", is_shortcut=True)
        try:
            with self.transport.send(call) as response:
                if response.status_code == 202 and "Location" in response.headers:
                    return Mounted(location=self._location(response))
                is_refused = response.status_code in REFUSALS
                return Mounted(location="" if response.status_code == 201 else None, is_refused=is_refused)
        except RegistryError as exc:
            return Mounted(location=None, is_refused=isinstance(exc, UnauthorizedError))

    def is_there(self) -> bool:
        """Whether the blob is known to be in the repository. Who may only push is not told."""
        try:
            with self.transport.send(replace(self._question(), allowed=UNKNOWN)) as response:
                return response.status_code < 300
        except UnauthorizedError:
            return False

    def send(self, location: str) -> None:
        """POST then PUT (#post-then-put), in chunks where the registry refuses that."""
        for _ in range(MAX_TRIES):
            with self.transport.send(self._whole(location)) as response:
                status = response.status_code
            if status in CHUNKED_WHEN:
                return self._send_chunks()
            if status != NO_UPLOAD:
                return None
            location = self.begin()
        raise RegistryError(f"{self._what} failed: no upload lasts", remedy="try again later")

    # -- in one request ------------------------------------------------------------------------------------------------

    def _whole(self, location: str) -> Call:
        size = self.descriptor.size_bytes
        return replace(
            self._last(location),
            headers={"Content-Type": "application/octet-stream", "Content-Length": str(size)},
            body=lambda: cast(BinaryIO, _Reported(self.opener(), size, self.progress)),
            again=lambda: self._question() if self.is_there() else self._whole(self.begin()),
            allowed=frozenset({NO_UPLOAD, *CHUNKED_WHEN}),
        )

    # -- in chunks -----------------------------------------------------------------------------------------------------

    def _send_chunks(self) -> None:
        """PATCH in chunks (#pushing-a-blob-in-chunks)."""
        url = self.begin()
        with self.opener() as stream:
            for offset in count(step=UPLOAD_CHUNK_BYTES):
                data = stream.read(UPLOAD_CHUNK_BYTES)
                if not data:
                    break
                with self.transport.send(self._chunk(url, offset, data)) as response:
                    url = self._location(response)
                if self.progress:
                    self.progress(offset + len(data))
        last = self._last(url)
        again = replace(last, again=lambda: self._question() if self.is_there() else last)
        self.transport.send(again).close()

    def _chunk(self, url: str, offset: int, data: bytes) -> Call:
        return replace(
            self._call("PATCH", url),
            headers={
                "Content-Type": "application/octet-stream",
                "Content-Range": f"{offset}-{offset + len(data) - 1}",
                "Content-Length": str(len(data)),
            },
            body=lambda: data,
            again=lambda: self._rest(url, offset, data),
        )

    def _rest(self, url: str, offset: int, data: bytes) -> Call:
        """What of a chunk has not come: that, or the question itself where all did."""
        question = self._call("GET", url)
        with self.transport.send(question) as response:
            last = response.headers.get("Range", "").rpartition("-")[2]
            url = self._location(response)
        came = int(last) + 1 - offset if last.isdigit() and last != "0" else -offset
        if came == len(data):
            return question
        if not 0 <= came < len(data):
            raise RegistryError(f"{self._what} broke off, and what came is lost", remedy="try again")
        return self._chunk(url, offset + came, data[came:])

    # -- requests ------------------------------------------------------------------------------------------------------

    @property
    def _what(self) -> str:
        return f"pushing blob {self.descriptor.digest} to {self.transport.registry}/{self.repository}"

    def _call(self, method: str, url: str) -> Call:
        headers = {"Content-Length": "0"} if method in ("POST", "PUT") else {}
        return Call(method=method, url=url, scope=scope(self.repository, "pull,push"), headers=headers, what=self._what)

    def _question(self) -> Call:
        return question(self.transport.registry, self.repository, self.descriptor.digest)

    def _last(self, location: str) -> Call:
        separator = "&" if "?" in location else "?"
        return self._call("PUT", f"{location}{separator}{urlencode({'digest': str(self.descriptor.digest)})}")

    def _location(self, response: Response) -> str:
        if "Location" not in response.headers:
            raise RegistryError(f"{self.transport.registry} gave no upload address", remedy="the registry is broken")
        return joined(response.url, response.headers["Location"])


class _Reported:
    """A body of known length that reports how far it is. No io class: requests would ask it where it stands."""

    def __init__(self, stream: BinaryIO, size_bytes: int, progress: Callable[[int], None] | None) -> None:
        self._stream = stream
        self._size = size_bytes
        self._progress = progress
        self._done = 0

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[bytes]:
        return iter(lambda: self.read(READ_BYTES), b"")

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(max(size, READ_BYTES) if size > 0 else -1)
        self._done += len(data)
        if self._progress:
            self._progress(self._done)
        return data
