"""Fetch a file behind an http(s) URL, again only if it changed (ETag, Last-Modified; RFC 9110 section 13)."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import urlsplit, urlunsplit

from tiffin.builder.errors import RegistryError
from tiffin.builder.registry.failures import RETRIED, netloc, tls_error
from tiffin.builder.registry.guard import REMEDY, is_private
from tiffin.builder.registry.http_response import joined, split
from tiffin.builder.registry.insecure import is_insecure
from tiffin.builder.registry.proxies import Proxies, needs_password, proxy_error
from tiffin.cache.connections import plain_adapter
from tiffin.cache.foundation.frozen import dataclass
from tiffin.cache.trust import Trust

if TYPE_CHECKING:
    import requests

CONNECT_TIMEOUT_SECONDS = 10
READ_TIMEOUT_SECONDS = 60
MAX_TRIES = 4
MAX_REDIRECTS = 10
BACK_OFF_SECONDS = 0.5
CHUNK_BYTES = 1 << 20
LASTING = ("Name or service not known", "No address associated with hostname")
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """The answer. `modified_ns` since 1970, 0 when the server does not say; `etag` "" likewise."""

    changed: bool  # False: what is remembered is still right, and nothing was written
    etag: str = ""
    modified: str = ""  # the header as it came
    modified_ns: int = 0
    media_type: str = ""


def download(
    url: str,
    sink: BinaryIO,
    *,
    known: Fetched | None = None,
    headers: Mapping[str, str] | None = None,
    trust: Trust | None = None,
    proxies: Proxies | None = None,
    private: Sequence[str] = (),
    user_agent: str = "tiffin",
) -> Fetched:
    """Write what `url` holds to `sink`, an empty file that can seek. Raises RegistryError; no credentials are in it.

    `headers` (credentials among them) go to the host of `url` only. `known` is the answer of the last time. `private`
    are patterns of hosts that may lead to private addresses.
    """
    import requests

    sent = {"User-Agent": user_agent, "Accept-Encoding": "identity", **(headers or {}), **_conditions(known)}
    for number in range(1, MAX_TRIES + 1):
        try:
            with (
                _session(trust or Trust({})) as session,
                _follow(session, url, sent, proxies or Proxies(settings={}), private) as response,
            ):
                if response.status_code in RETRIED and number < MAX_TRIES:
                    time.sleep(BACK_OFF_SECONDS * number)
                    continue
                return _receive(url, response, sink, known)
        except (
            requests.exceptions.SSLError
        ) as exc:  # `from None`: urllib3's words quote the query, which may be a signature
            error = tls_error(exc, netloc(url))
            raise RegistryError(f"cannot fetch {shown(url)}: {error.message}", remedy=error.remedy) from None
        except (requests.exceptions.RequestException, OSError) as exc:
            reason = _reason(exc)
            if number == MAX_TRIES or isinstance(exc, ValueError) or reason in LASTING:
                raise RegistryError(
                    f"cannot fetch {shown(url)}: {reason}", remedy="check the URL and the network"
                ) from None
            sink.seek(0)
            sink.truncate()
            time.sleep(BACK_OFF_SECONDS * number)
    raise AssertionError("unreachable")


def _conditions(known: Fetched | None) -> dict[str, str]:
    """Return the headers that ask for what is not known yet."""
    if known is not None and known.etag:
        return {"If-None-Match": known.etag}
    return {"If-Modified-Since": known.modified} if known is not None and known.modified else {}


def shown(url: str) -> str:
    """Return a URL without credentials, for messages."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query=""))


def _session(trust: Trust) -> requests.Session:
    import requests

    session = requests.Session()
    session.trust_env = False
    session.mount("https://", plain_adapter(trust.context_for))
    return session


def _follow(session, url: str, headers: Mapping[str, str], proxies: Proxies, private: Sequence[str]):  # type: ignore[no-untyped-def]  # requests is imported late
    """Send one request with its redirects; credentials stay with their host, and https does not become http."""
    host = urlsplit(url).netloc
    for _ in range(MAX_REDIRECTS):
        own = dict(headers) if urlsplit(url).netloc == host else {"User-Agent": headers["User-Agent"]}
        proxy = proxies.of(url)
        response = _asked(
            session,
            proxy,
            url,
            headers=own,
            stream=True,
            allow_redirects=False,
            timeout=(CONNECT_TIMEOUT_SECONDS, READ_TIMEOUT_SECONDS),
        )
        if response.status_code not in _REDIRECTS or "Location" not in response.headers:
            return response
        target = joined(url, response.headers["Location"])
        response.close()
        may_lead_home = any(is_insecure(split(place).netloc.rpartition("@")[2], private) for place in (url, target))
        if not may_lead_home and is_private(split(target).hostname or "") and not is_private(split(url).hostname or ""):
            raise RegistryError(f"{shown(url)} leads to the private address {split(target).hostname}", remedy=REMEDY)
        if urlsplit(url).scheme == "https" and urlsplit(target).scheme != "https":
            raise RegistryError(
                f"{shown(url)} leads away from https", remedy="use the URL it leads to, if you trust it"
            )
        url = target
    raise RegistryError(f"{shown(url)} redirects too often", remedy="check the URL")


def _asked(session, proxy: str, url: str, **options: object):  # type: ignore[no-untyped-def]
    """Get one answer, through the proxy if there is one; errors of the proxy are reported as its own."""
    import requests

    try:
        response = session.get(url, proxies={"http": proxy, "https": proxy} if proxy else {}, **options)
    except (requests.exceptions.ProxyError, requests.exceptions.InvalidSchema) as exc:
        if not proxy:
            raise
        error = proxy_error(exc, proxy)
        raise RegistryError(f"cannot fetch {shown(url)}: {error.message}", remedy=error.remedy) from None
    if response.status_code == 407 and proxy:
        response.close()
        error = needs_password(proxy)
        raise RegistryError(f"cannot fetch {shown(url)}: {error.message}", remedy=error.remedy)
    return response


def _receive(url: str, response, sink: BinaryIO, known: Fetched | None) -> Fetched:  # type: ignore[no-untyped-def]
    if response.status_code == 304 and known is not None:
        return Fetched(
            changed=False,
            etag=known.etag,
            modified=known.modified,
            modified_ns=known.modified_ns,
            media_type=known.media_type,
        )
    if response.status_code != 200:
        raise RegistryError(
            f"cannot fetch {shown(url)}: the server answers {response.status_code} {response.reason}",
            remedy="check the URL, or give credentials",
        )
    received = 0
    for data in response.iter_content(CHUNK_BYTES):
        sink.write(data)
        received += len(data)
    length = response.headers.get("Content-Length", "")
    if length.isdigit() and int(length) != received:
        raise OSError(f"{received} of {length} bytes came")
    modified = response.headers.get("Last-Modified", "")
    return Fetched(
        changed=True,
        etag=response.headers.get("ETag", ""),
        modified=modified,
        modified_ns=_nanoseconds(modified),
        media_type=response.headers.get("Content-Type", ""),
    )


def _nanoseconds(text: str) -> int:
    try:
        return int(parsedate_to_datetime(text).timestamp()) * 1_000_000_000 if text else 0
    except (ValueError, OverflowError):
        return 0


def _reason(exc: Exception) -> str:
    """Return the last cause in a chain of wrapped errors, without addresses of objects or URLs with credentials."""
    text = re.sub(r"<[^>]*>:?\s*", "", str(exc)).rsplit("Caused by", 1)[-1]
    match = re.search(
        r"\[Errno -?\d+\] (?P<error>[^'\")]+)|timed out|Name or service not known|No address associated with"
        r" hostname|\d+ of \d+ bytes came",
        text,
    )
    return match["error"] or match[0] if match else type(exc).__name__
