"""Bringing one blob into a repository (distribution-spec #pushing-blobs).

A request that broke may have left a part of its body in the upload, or may have arrived whole: the upload is never gone
on with blindly. The next try asks for the blob, or how far it came.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, BinaryIO, cast
from urllib.parse import urlencode

from tiffin.builder.errors import RegistryError, UnauthorizedError
from tiffin.builder.oci.spec import Descriptor
from tiffin.builder.registry.http_response import joined
from tiffin.builder.registry.transport import MAX_TRIES, Call, Transport
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.frozen import dataclass, replace

if TYPE_CHECKING:
    from tiffin.builder.registry.transport import Response

READ_BYTES = 1 << 20
UPLOAD_CHUNK_BYTES = 64 << 20  # of a chunked upload, used when a registry refuses one large request
MIN_CHUNK_BYTES = 64 << 10  # less than any proxy's limit of a body (nginx: 1 MiB unless it is told otherwise)
NO_UPLOAD = 404  # it was given up, or has ended
REFUSALS = frozenset({400, 401, 403, 405, 501})  # of a mount, whatever the blob
TOO_LARGE = 413
CHUNKED_WHEN = frozenset({411, TOO_LARGE})


def scope(repository: str, actions: str) -> str:
    """Return what a token is asked for (the token spec's resource scope)."""
    return f"repository:{repository}:{actions}"


def head_blob(registry: str, repository: str, digest: Digest) -> Call:
    """Ask whether a blob is in a repository. It saves an upload, which is what any other answer leads to."""
    return Call(
        method="HEAD",
        url=f"/v2/{repository}/blobs/{digest}",
        scope=scope(repository, "pull,push"),
        what=f"blob {digest} of {registry}/{repository}",
        is_shortcut=True,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Mounted:
    """The answer to a mount. `location`: "" if it was done, None if no upload was begun instead."""

    location: str | None
    is_refused: bool = False  # and would be for another blob


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """Of `descriptor`'s blob, whose bytes `opener` gives, any number of times; `progress` is told how many have
    gone.
    """

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
        """Ask to mount the blob from the repository `source` (#mounting-a-blob-from-another-repository).

        Registries refuse with many statuses, token services with none for the source: whatever it is, an upload does as
        well.
        """
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
        """Return whether the blob is known to be in the repository."""
        try:
            with self.transport.send(self._head_blob()) as response:
                return response.status_code < 300
        except RegistryError:  # what leads to storage that takes no HEAD, say; an upload tells what is really wrong
            return False

    def send(self, location: str) -> None:
        """Upload by POST then PUT (#post-then-put), in chunks where the registry refuses that."""
        if self.transport.chunk_bytes and self.descriptor.size_bytes > self.transport.chunk_bytes:
            return self._send_chunks(location)
        for _ in range(MAX_TRIES):
            with self.transport.send(self._whole(location)) as response:
                status = response.status_code
            if status in CHUNKED_WHEN:
                return self._send_chunks(self.begin())
            if status != NO_UPLOAD:
                return None
            location = self.begin()
        raise RegistryError(f"{self._what} failed: no upload lasts", remedy="try again later")

    # -- in one request ------------------------------------------------------------------------------------------------

    def _whole(self, location: str) -> Call:
        size = self.descriptor.size_bytes
        sent: list[_Reported] = []  # the body, and those sent again after a redirect

        def body() -> BinaryIO:
            sent.append(_Reported(self.opener(), size, self.progress))
            return cast(BinaryIO, sent[-1])

        def again(unanswered: bool) -> Call:
            waits = unanswered and bool(sent) and sent[-1].done == size
            return self._head_blob() if self._has_come(waits=waits) else self._whole(self.begin())

        return replace(
            self._last(location),
            headers={"Content-Type": "application/octet-stream", "Content-Length": str(size)},
            body=body,
            again=again,
            is_slow=True,
            allowed=frozenset({NO_UPLOAD, *CHUNKED_WHEN}),
        )

    def _has_come(self, *, waits: bool) -> bool:
        """Whether the blob is there.

        `waits`: all of it was sent, and the registry may still be at work on it, so that it is asked for a while before
        it is sent again.
        """
        waited, number = 0.0, 0
        while not self.is_there():
            if not waits or waited >= self.transport.timeout_seconds:
                return False
            number += 1
            waited += self.transport.pause(number)
        return True

    # -- in chunks -----------------------------------------------------------------------------------------------------

    def _send_chunks(self, url: str) -> None:
        """Upload by PATCH in chunks (#pushing-a-blob-in-chunks); smaller ones where one is refused as too large."""
        if not self.transport.chunk_bytes:
            self.transport.send_at_most(UPLOAD_CHUNK_BYTES)
        offset, rest = 0, b""
        with self.opener() as stream:
            while data := rest or stream.read(self.transport.chunk_bytes):
                size = self.transport.chunk_bytes
                chunk, rest = data[:size], data[size:]
                with self.transport.send(self._chunk(url, offset, chunk)) as response:
                    if response.status_code == TOO_LARGE:
                        self._halve(len(chunk))
                        rest = data
                        continue
                    url = self._location(response)
                offset += len(chunk)
                if self.progress:
                    self.progress(offset)
        last = self._last(url)

        def again(unanswered: bool) -> Call:
            return self._head_blob() if self._has_come(waits=unanswered) else last

        self.transport.send(replace(last, again=again, is_slow=True)).close()

    def _halve(self, refused_bytes: int) -> None:
        """Send less at a time from now on: a proxy before the registry takes no body so large.

        Nothing of it has come.
        """
        half = min(refused_bytes, self.transport.chunk_bytes) // 2
        if half < MIN_CHUNK_BYTES:
            raise RegistryError(
                f"{self._what} failed: the registry refuses even {refused_bytes} bytes in one request as too large"
                " (413)",
                remedy="raise the limit of the proxy before it (nginx: client_max_body_size)",
            )
        self.transport.send_at_most(half)

    def _chunk(self, url: str, offset: int, data: bytes) -> Call:
        return replace(
            self._call("PATCH", url),
            headers={
                "Content-Type": "application/octet-stream",
                "Content-Range": f"{offset}-{offset + len(data) - 1}",
                "Content-Length": str(len(data)),
            },
            body=lambda: data,
            again=lambda unanswered: self._rest(url, offset, data),
            allowed=frozenset({TOO_LARGE}),
        )

    def _rest(self, url: str, offset: int, data: bytes) -> Call:
        """Return what of a chunk has not come: that, or the question itself where all did."""
        head_blob = self._call("GET", url)
        with self.transport.send(head_blob) as response:
            last = response.headers.get("Range", "").rpartition("-")[2]
            url = self._location(response)
        came = int(last) + 1 - offset if last.isdigit() and last != "0" else -offset
        if came == len(data):
            return head_blob
        if not 0 <= came < len(data):
            raise RegistryError(f"{self._what} was interrupted and has to be started again", remedy="try again")
        rest = self._chunk(url, offset + came, data[came:])
        return rest if not came else replace(rest, allowed=frozenset())  # a part of a chunk is not too large

    # -- requests ------------------------------------------------------------------------------------------------------

    @property
    def _what(self) -> str:
        return f"pushing blob {self.descriptor.digest} to {self.transport.registry}/{self.repository}"

    def _call(self, method: str, url: str) -> Call:
        headers = {"Content-Length": "0"} if method in ("POST", "PUT") else {}
        return Call(method=method, url=url, scope=scope(self.repository, "pull,push"), headers=headers, what=self._what)

    def _head_blob(self) -> Call:
        return head_blob(self.transport.registry, self.repository, self.descriptor.digest)

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
        self.done = 0  # bytes read

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[bytes]:
        return iter(lambda: self.read(READ_BYTES), b"")

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(max(size, READ_BYTES) if size > 0 else -1)
        self.done += len(data)
        if not data:
            self._stream.close()
        if self._progress:
            self._progress(self.done)
        return data
