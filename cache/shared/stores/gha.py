"""A shared cache in GitHub's cache service (version 2: Twirp over HTTP, entries behind signed URLs of Azure's blobs).

An entry never changes. So the rows are one document under numbered keys, `…#7`; the newest counts. Whoever creates the
next number has swapped it for the one that was read: nobody else can create it. Layers are entries by their digests.
The token says which branches are read (the own one, then the default one) and which is written.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import time
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, cast
from urllib.parse import quote

from tiffin.cache.connections import RETRIED, Connections, plain_adapter, read_out
from tiffin.cache.errors import CorruptError, UsageError
from tiffin.cache.foundation.frozen import dataclass
from tiffin.cache.shared.bundle import MAX_BUNDLE_BYTES, Bundle
from tiffin.cache.shared.protocol import SharedStore, StoreOptions, UnavailableError
from tiffin.cache.shared.stall import MinimumRateReader
from tiffin.cache.store.snapshots import BlobRef
from tiffin.cache.trust import Trust

if TYPE_CHECKING:
    import requests

SERVICE = "twirp/github.actions.results.api.v1.CacheService"
URL_VARIABLE, TOKEN_VARIABLE = "ACTIONS_RESULTS_URL", "ACTIONS_RUNTIME_TOKEN"
VERSION = hashlib.sha256(b"tiffin cache 1").hexdigest()  # entries of other programs have others
BLOCK_BYTES = 8 << 20  # of an upload; Azure takes 50,000 of them
RACES = 40
PAUSE_SECONDS = 0.25
BLOCKED_RACES = 20  # after which a number that was created and never finished is passed over
TRIES = 3
GONE = (403, 404, 410)  # of a signed address: it ended, or what it was for was removed


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """An entry: its key, and where it can be read for a while."""

    key: str
    url: str


class ActionsStore(SharedStore):
    """The rows and layers of one scope."""

    name = "gha"

    def __init__(self, scope: str, *, url: str, token: str, timeout_seconds: float, trust: Trust | None = None) -> None:
        self.place = scope
        self._index = f"tiffin-index-{scope}"
        self._url = f"{url.rstrip('/')}/{SERVICE}"
        self._token = token
        self._timeout = timeout_seconds
        self._connections = Connections(lambda: plain_adapter((trust or Trust({})).context_for), trust_env=True)

    # -- rows ----------------------------------------------------------------------------------------------------------

    def read(self, names: Sequence[str]) -> Mapping[str, bytes]:
        return self._load()[1].rows

    def known(self, names: Sequence[str]) -> frozenset[str]:
        return frozenset(names) & self._load()[1].rows.keys()

    def list_names(self) -> Sequence[str]:
        return tuple(self._load()[1].rows)

    def write(self, rows: Mapping[str, bytes]) -> None:
        """Create the next number; begin again where another builder did so first."""
        passed = 0
        for race in range(RACES):
            number, before = self._load()
            data = io.BytesIO(before.merged(Bundle(rows)).encode())
            if self._create(f"{self._index}#{number + passed + 1}", partial(_same, data), len(data.getvalue())):
                return
            time.sleep(random.uniform(0, PAUSE_SECONDS))
            if race == BLOCKED_RACES:
                passed = 1
        raise UnavailableError("too many builders write it at once", remedy="give each a scope= of its own")

    def _load(self) -> tuple[int, Bundle]:
        """Return the newest document and its number, 0 where there is none."""
        found = self._find(f"{self._index}#", prefix=True)
        if found is None:
            return 0, Bundle({})
        number = found.key.removeprefix(f"{self._index}#")
        stream = self._get(found.url)
        data = b""
        if stream is not None:
            with stream:
                data = b"".join(iter(lambda: stream.read(BLOCK_BYTES), b""))[: MAX_BUNDLE_BYTES + 1]
        try:
            return int(number), Bundle.decode(data)
        except (CorruptError, ValueError):
            return (int(number) if number.isdecimal() else 0), Bundle({})  # begun anew

    # -- layers --------------------------------------------------------------------------------------------------------

    def has_blob(self, ref: BlobRef) -> bool:
        return self._find(_key(ref)) is not None

    def read_blob(self, ref: BlobRef) -> BinaryIO | None:
        found = self._find(_key(ref))
        return self._get(found.url) if found is not None else None

    def write_blob(self, ref: BlobRef, open_blob: Callable[[], BinaryIO]) -> bool:
        self._create(_key(ref), open_blob, ref.size_bytes)  # where it is there already, others bring the same
        return True

    # -- the service ---------------------------------------------------------------------------------------------------

    def _find(self, key: str, *, prefix: bool = False) -> _Found | None:
        asked = {"key": key, "restore_keys": [key] if prefix else [], "version": VERSION}
        answer = self._call("GetCacheEntryDownloadURL", asked)
        matched = str(answer.get("matched_key") or answer.get("matchedKey") or "")
        url = str(answer.get("signed_download_url") or answer.get("signedDownloadUrl") or "")
        if not answer.get("ok") or not url or not (matched.startswith(key) if prefix else matched == key):
            return None
        return _Found(key=matched, url=url)

    def _create(self, key: str, open_data: Callable[[], BinaryIO], size: int) -> bool:
        """Create an entry; return False where there is one of that key, finished or not."""
        answer = self._call("CreateCacheEntry", {"key": key, "version": VERSION})
        url = str(answer.get("signed_upload_url") or answer.get("signedUploadUrl") or "")
        if not answer.get("ok") or not url:
            return False
        with open_data() as stream:
            self._upload(url, stream, size)
        done = self._call("FinalizeCacheEntryUpload", {"key": key, "size_bytes": str(size), "version": VERSION})
        if not done.get("ok"):
            raise UnavailableError("it did not keep an upload", remedy="the repository may have no room left")
        return True

    def _call(self, method: str, asked: Mapping[str, object]) -> Mapping[str, Any]:
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        response = self._send("POST", f"{self._url}/{method}", json.dumps(asked).encode(), headers)
        with response:
            data = response.raw.read(MAX_BUNDLE_BYTES, decode_content=True)
        answer = _document(data)
        if response.status_code == 200 and answer is not None:
            return answer
        answer = answer or {}
        if response.status_code == 409 or answer.get("code") in ("already_exists", "not_found"):
            return {}
        if response.status_code in (200, 404):  # of old servers, and of runners that are not GitHub's
            raise UnavailableError("no cache service of version 2 is there", remedy=f"check {URL_VARIABLE}")
        reason = str(answer.get("msg", "")) or f"{method} was answered with {response.status_code}"
        remedy = "is the token still good, and may this job write?" if response.status_code in (401, 403) else ""
        raise UnavailableError(reason, remedy=remedy or "try again later")

    def _upload(self, url: str, stream: BinaryIO, size: int) -> None:
        """Put a blob; a large one in blocks."""
        kind = {"x-ms-blob-type": "BlockBlob", "Content-Type": "application/octet-stream"}
        if size <= BLOCK_BYTES:
            self._put(url, _whole(stream, size), kind)
            return
        blocks = []
        for number, start in enumerate(range(0, size, BLOCK_BYTES)):
            block = b64encode(f"{number:08d}".encode()).decode()
            blocks.append(f"<Latest>{block}</Latest>")
            self._put(f"{url}&comp=block&blockid={quote(block)}", _whole(stream, min(BLOCK_BYTES, size - start)), {})
        text = f'<?xml version="1.0" encoding="utf-8"?><BlockList>{"".join(blocks)}</BlockList>'
        self._put(f"{url}&comp=blocklist", text.encode(), {"x-ms-blob-content-type": "application/octet-stream"})

    def _put(self, url: str, data: bytes, headers: Mapping[str, str]) -> None:
        response = self._send("PUT", url, data, headers)
        read_out(response)
        if response.status_code not in (200, 201):
            raise UnavailableError(f"an upload was answered with {response.status_code}", remedy="try again later")

    def _get(self, url: str) -> BinaryIO | None:
        """Return what is at a signed address, None where it is gone."""
        response = self._send("GET", url, b"", {"Accept-Encoding": "identity"})
        if response.status_code != 200:
            read_out(response)
            if response.status_code in GONE:
                return None
            raise UnavailableError(f"a download was answered with {response.status_code}", remedy="try again later")
        return cast(BinaryIO, MinimumRateReader(response.raw, response.close, self._timeout))

    def _send(self, method: str, url: str, data: bytes, headers: Mapping[str, str]) -> requests.Response:
        """Return the answer, whatever it is, once it is none that another try may mend."""
        import requests

        for number in range(TRIES):
            is_last = number == TRIES - 1
            try:
                response = self._connections.session().request(
                    method,
                    url,
                    data=data or None,
                    headers=dict(headers),
                    stream=True,
                    allow_redirects=False,
                    timeout=self._timeout,
                )
            except requests.exceptions.Timeout as exc:
                raise UnavailableError(f"no answer within {self._timeout:g} s", remedy="raise timeout=") from exc
            except (requests.exceptions.RequestException, OSError) as exc:
                if is_last:
                    raise UnavailableError("the connection failed", remedy="is this a job of GitHub?") from exc
                time.sleep(PAUSE_SECONDS)
                continue
            text = response.headers.get("Retry-After", "")
            wait = float(text) if text.isdecimal() else PAUSE_SECONDS
            if is_last or response.status_code not in RETRIED or wait > self._timeout:
                return response
            read_out(response)
            time.sleep(wait)
        raise AssertionError("unreachable")


def _same(stream: BinaryIO) -> BinaryIO:
    return stream


def _document(data: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(data)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _key(ref: BlobRef) -> str:
    return f"tiffin-layer-{ref.digest.algorithm}-{ref.digest.hex}"


def _whole(stream: BinaryIO, size: int) -> bytes:
    """Return so many bytes, however few come at a time. Raises UnavailableError where there are fewer."""
    parts = []
    while size and (data := stream.read(size)):
        parts.append(data)
        size -= len(data)
    if size:
        raise UnavailableError("a layer is shorter than it should be", remedy="build it again")
    return b"".join(parts)


def open_store(options: StoreOptions) -> ActionsStore:
    """Return the store that options and the variables of a job describe. Raises UsageError."""
    given = options.options
    url = given.get("url_v2") or os.environ.get(URL_VARIABLE, "")
    token = given.get("token") or os.environ.get(TOKEN_VARIABLE, "")
    if given.get("version") == "1" or (not url and given.get("url")):
        raise UsageError("version 1 of GitHub's cache service is gone", remedy="leave version= and url= out")
    if not url or not token:
        raise UsageError(
            f"type=gha needs {URL_VARIABLE} and {TOKEN_VARIABLE}, which GitHub gives to actions and not to `run:`",
            remedy="use docker/build-push-action or tiffin's action, or export them with actions/github-script",
        )
    return ActionsStore(
        options.place, url=url, token=token, timeout_seconds=options.timeout_seconds, trust=options.trust
    )
