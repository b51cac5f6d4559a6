"""The verbs of the distribution spec, for one registry. Everything received is verified by its digest."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, BinaryIO, Literal, cast

from tiffin.builder.errors import CorruptError, NotInRegistryError, RegistryError
from tiffin.builder.oci.json_fields import Fields, canonical
from tiffin.builder.oci.spec import INDEX_TYPES, MANIFEST_TYPES, MAX_DOCUMENT_BYTES, OCI_INDEX, Descriptor
from tiffin.builder.registry.auth.credentials import RegistryCredentials
from tiffin.builder.registry.auth.files import DockerConfig
from tiffin.builder.registry.http_response import body_of, joined
from tiffin.builder.registry.transport import MAX_TRIES, Call, RegistryOptions, Transport
from tiffin.builder.registry.upload import Upload, head_blob, scope
from tiffin.cache.foundation.digest import Digest, VerifyingReader
from tiffin.cache.foundation.frozen import dataclass, replace

if TYPE_CHECKING:
    from tiffin.builder.registry.transport import Response

ACCEPTED = ", ".join((*MANIFEST_TYPES, *INDEX_TYPES))
SCHEMA_1 = "application/vnd.docker.distribution.manifest.v1"
CHUNK_BYTES = 1 << 20
MAX_TAGS_PAGES = 1000
Outcome = Literal["exists", "mounted", "uploaded"]
_ANYTIME: AbstractContextManager[object] = contextlib.nullcontext()
# of who keeps no list of referrers; anything else is a failure, not an empty list
NO_SUCH_LIST = frozenset({400, 404, 405, 501})
NOT_MET, NO_CONDITION = frozenset({412}), dict[str, str]()
SUBJECT_HEADER = "OCI-Subject"  # distribution-spec: the registry lists the manifest as a referrer
_NEXT = re.compile(r'<([^>]+)>;\s*rel="?next"?')


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedManifest:
    """A manifest or index as the registry sent it, its digest checked; `etag` is "" where none can be compared."""

    data: bytes
    media_type: str
    digest: Digest
    etag: str = ""


class RegistryClient:
    """Talks to `registry` (a host as users write it); thread-safe."""

    def __init__(self, registry: str, config: DockerConfig, options: RegistryOptions) -> None:
        self.registry = registry
        self._transport = Transport(registry, config, options)
        self._unmountable: set[tuple[str, str]] = set()  # from where to where the registry mounts nothing

    # -- manifests -----------------------------------------------------------------------------------------------------

    def get_manifest(self, repository: str, selector: str) -> FetchedManifest:
        """Return a manifest or index by tag or digest; raises NotInRegistryError, RegistryError, CorruptError."""
        response = self._transport.send(self._manifest_call("GET", repository, selector))
        with response:
            data = body_of(response, MAX_DOCUMENT_BYTES, f"the manifest of {self._name(repository, selector)}")
            media_type = response.headers.get("Content-Type", "").split(";")[0].strip()
            header_digest = response.headers.get("Docker-Content-Digest", "")
            etag = response.headers.get("ETag", "")
        what = f"the manifest of {self._name(repository, selector)}"
        if media_type.startswith(SCHEMA_1):
            raise RegistryError(f"{what} has schema 1", remedy="push the image again with a client of this decade")
        wanted = (
            Digest.parse(selector)
            if ":" in selector
            else Digest.parse(header_digest)
            if header_digest
            else Digest.of(data)
        )
        digest = Digest.of(data, wanted.algorithm)
        if wanted != digest:
            raise CorruptError(f"{what} has the wrong digest {digest} (not {wanted})", remedy="the registry is broken")
        if media_type not in (*MANIFEST_TYPES, *INDEX_TYPES):
            media_type = ""
        etag = etag if etag.startswith('"') else ""  # a weak one (W/) never matches, RFC 9110 13.1.1
        return FetchedManifest(data=data, media_type=media_type, digest=digest, etag=etag)

    def head_manifest(self, repository: str, selector: str) -> Digest | None:
        """Return the digest a tag has, None if there is no such manifest.

        Where the question fails, the registry is asked for it all.
        """
        call = replace(self._manifest_call("HEAD", repository, selector), is_shortcut=True)
        status, header_digest = 0, ""
        with contextlib.suppress(RegistryError), self._transport.send(call) as response:
            status, header_digest = response.status_code, response.headers.get("Docker-Content-Digest", "")
        if status == 404:
            return None
        try:
            if header_digest and 200 <= status < 300:
                return Digest.parse(header_digest)
            return self.get_manifest(repository, selector).digest
        except NotInRegistryError:
            return None

    def has_manifest(self, repository: str, digest: Digest) -> bool:
        """Whether a repository is known to have a manifest, and so everything it names.

        Who may only push is not told.
        """
        call = self._manifest_call("HEAD", repository, str(digest))
        call = replace(call, scope=scope(repository, "pull,push"), is_shortcut=True)
        try:
            with self._transport.send(call) as response:
                return response.status_code < 300
        except RegistryError:  # of the token service, say, which may give one to push all the same
            return False

    def put_manifest(self, repository: str, selector: str, data: bytes, media_type: str) -> Digest:
        """Push a manifest or index; its blobs must be there."""
        self._put_manifest(repository, selector, data, media_type)
        return Digest.of(data)

    def replace_manifest(
        self, repository: str, tag: str, data: bytes, media_type: str, before: FetchedManifest | None
    ) -> bool:
        """Push a manifest under a tag that has `before`; return whether it was so, where the registry says it (RFC
        9110, conditional requests). One that does not looks at no condition.
        """
        headers = {"If-None-Match": "*"} if before is None else {"If-Match": before.etag} if before.etag else {}
        return self._put_manifest(repository, tag, data, media_type, headers) is not None

    def put_referrer(self, repository: str, data: bytes, media_type: str) -> bool:
        """Push a manifest that has a subject, by its digest; return whether the registry lists it by that itself."""
        headers = self._put_manifest(repository, str(Digest.of(data)), data, media_type)
        return headers is not None and SUBJECT_HEADER in headers

    def referrers(self, repository: str, subject: Digest) -> bytes | None:
        """Return the registry's own list of what refers to a manifest, as an index; None where it keeps none."""
        url = f"/v2/{repository}/referrers/{subject}"
        rows: list[object] = []
        for _ in range(MAX_TAGS_PAGES):
            what = f"the referrers of {self._name(repository, str(subject))}"
            call = Call(
                method="GET",
                url=url,
                scope=scope(repository, "pull"),
                headers={"Accept": OCI_INDEX},
                what=what,
                allowed=NO_SUCH_LIST,
            )
            with self._transport.send(call) as response:
                media_type = response.headers.get("Content-Type", "").split(";")[0].strip()
                if response.status_code in NO_SUCH_LIST or media_type != OCI_INDEX:
                    return None
                rows += Fields.decode(body_of(response, MAX_DOCUMENT_BYTES, what), what).items("manifests")
                match = _NEXT.search(response.headers.get("Link", ""))
            if not match:
                break
            url = joined(url, match[1])
        return canonical({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": rows})

    def _put_manifest(
        self, repository: str, selector: str, data: bytes, media_type: str, condition: Mapping[str, str] = NO_CONDITION
    ) -> Mapping[str, str] | None:
        """Return the headers of the answer, None where a condition is not met."""
        digest = Digest.of(data)
        call = Call(
            method="PUT",
            url=f"/v2/{repository}/manifests/{selector}",
            scope=scope(repository, "pull,push"),
            headers={"Content-Type": media_type, **condition},
            body=lambda: data,
            what=f"pushing {self._name(repository, selector)}",
            allowed=NOT_MET if condition else frozenset(),
        )
        with self._transport.send(call) as response:
            if response.status_code in NOT_MET:
                return None
            headers = response.headers
        header_digest = headers.get("Docker-Content-Digest", "")
        if header_digest.startswith("sha256:") and header_digest != str(digest):
            raise CorruptError(
                f"{self.registry} stored {header_digest} instead of the manifest {digest}",
                remedy="the registry is broken",
            )
        return headers

    def tags(self, repository: str) -> list[str]:
        """Return all tags of a repository."""
        url = f"/v2/{repository}/tags/list"
        result: list[str] = []
        for _ in range(MAX_TAGS_PAGES):
            call = Call(method="GET", url=url, scope=scope(repository, "pull"), what=f"the tags of {repository}")
            with self._transport.send(call) as response:
                data = body_of(response, MAX_DOCUMENT_BYTES, call.what)
                result += Fields.decode(data, call.what).texts("tags")
                match = _NEXT.search(response.headers.get("Link", ""))
            if not match:
                break
            url = joined(url, match[1])
        return result

    # -- blobs ---------------------------------------------------------------------------------------------------------

    def has_blob(self, repository: str, digest: Digest) -> bool:
        """Whether a blob is known to be in a repository."""
        try:
            with self._transport.send(head_blob(self.registry, repository, digest)) as response:
                return response.status_code < 300
        except RegistryError:
            return False

    @contextlib.contextmanager
    def get_blob(self, repository: str, descriptor: Descriptor) -> Iterator[BinaryIO]:
        """Stream a blob; the last read verifies digest and size. A cut connection is resumed."""
        if descriptor.urls:
            raise RegistryError(
                f"layer {descriptor.digest} lies at a foreign address", remedy="tiffin does not fetch foreign layers"
            )
        stream = _Resuming(self, repository, descriptor)
        try:
            yield cast(BinaryIO, VerifyingReader(cast(BinaryIO, stream), descriptor.digest, descriptor.size_bytes))
        finally:
            stream.close()

    def open_blob(self, repository: str, descriptor: Descriptor, offset: int) -> tuple[Response, int]:
        """Begin to read a blob at `offset`; the response, and where it really begins (0 if ranges are not served)."""
        call = Call(
            method="GET",
            url=f"/v2/{repository}/blobs/{descriptor.digest}",
            scope=scope(repository, "pull"),
            headers={"Range": f"bytes={offset}-", "Accept-Encoding": "identity"}
            if offset
            else {"Accept-Encoding": "identity"},
            what=f"blob {descriptor.digest} of {self.registry}/{repository}",
        )
        response = self._transport.send(call)
        partial = response.status_code == 206 and response.headers.get("Content-Range", "").startswith(
            f"bytes {offset}-"
        )
        return response, offset if partial else 0

    def push_blob(
        self,
        repository: str,
        descriptor: Descriptor,
        opener: Callable[[], BinaryIO],
        *,
        mount_from: Sequence[str] = (),
        progress: Callable[[int], None] | None = None,
        uploading: AbstractContextManager[object] = _ANYTIME,
        is_missing: bool = False,
    ) -> Outcome:
        """Bring a blob into a repository: nothing if it is there, by mounting, or by uploading what `opener` gives,
        within `uploading`. Mounting is tried first: it takes no longer than the question whether it is needed, which
        is not asked of one that `is_missing`.
        """
        upload = Upload(
            transport=self._transport, repository=repository, descriptor=descriptor, opener=opener, progress=progress
        )
        sources = [source for source in mount_from if (source, repository) not in self._unmountable]
        location = self._mount(upload, sources[:1])
        if location == "":
            return "mounted"
        if not is_missing and upload.is_there():
            return "exists"
        location = self._mount(upload, sources[1:], location)
        if location == "":
            return "mounted"
        with uploading:
            upload.send(location or upload.begin())
        return "uploaded"

    def push_bytes(self, repository: str, data: bytes, media_type: str) -> None:
        """Bring a small blob into a repository."""
        descriptor = Descriptor(media_type=media_type, digest=Digest.of(data), size_bytes=len(data))
        self.push_blob(repository, descriptor, lambda: io.BytesIO(data))

    def _mount(self, upload: Upload, sources: Sequence[str], location: str | None = None) -> str | None:
        """Try to mount a blob from one of these repositories: "" if that was done, else where it can be uploaded, as
        far as the registry said. A repository from where nothing may be mounted is not tried again.
        """
        for source in sources:
            answer = upload.mount(source)
            if answer.location == "":
                return ""
            location = answer.location or location
            if answer.is_refused:
                self._unmountable.add((source, upload.repository))
        return location

    def check_credentials(self, credentials: RegistryCredentials) -> None:
        """Ask the registry whether it takes these; raises UnauthorizedError."""
        self._transport.use(credentials)
        with self._transport.send(Call(method="GET", url="/v2/", what=self.registry)):
            return

    def _manifest_call(self, method: str, repository: str, selector: str) -> Call:
        return Call(
            method=method,
            url=f"/v2/{repository}/manifests/{selector}",
            scope=scope(repository, "pull"),
            headers={"Accept": ACCEPTED},
            what=self._name(repository, selector),
        )

    def _name(self, repository: str, selector: str) -> str:
        return f"{self.registry}/{repository}{'@' if ':' in selector else ':'}{selector}"


class _Resuming(io.RawIOBase):
    """A blob's bytes; when the connection breaks the rest is asked for."""

    def __init__(self, client: RegistryClient, repository: str, descriptor: Descriptor) -> None:
        super().__init__()
        self._client = client
        self._repository = repository
        self._descriptor = descriptor
        self._response: Response | None = None
        self._position = 0
        self._tries = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        while True:
            try:
                if self._response is None:
                    self._open()
                assert self._response is not None
                data: bytes = self._response.raw.read(size if size > 0 else CHUNK_BYTES)
            except Exception as exc:  # urllib3's many names for a broken connection
                if isinstance(exc, RegistryError | CorruptError):
                    raise
                data = b""
            if data or self._position >= self._descriptor.size_bytes:
                self._position += len(data)
                return data
            self._tries += 1
            if self._tries >= MAX_TRIES:
                return b""  # the verifying reader says how much is missing
            self._drop()

    def _open(self) -> None:
        self._response, start = self._client.open_blob(self._repository, self._descriptor, self._position)
        skip = self._position - start
        while skip > 0:
            skipped = self._response.raw.read(min(skip, CHUNK_BYTES))
            if not skipped:
                break
            skip -= len(skipped)

    def _drop(self) -> None:
        if self._response is not None:
            self._response.close()
            self._response = None

    def close(self) -> None:
        self._drop()
        super().close()
