"""What URLs and answers of registries say. Whatever a server sends, the errors are RegistryError and CorruptError."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Protocol
from urllib.parse import SplitResult, urljoin, urlsplit

from tiffin.builder.errors import CorruptError, RegistryError

MAX_ERROR_BYTES = 64 << 10


class Body(Protocol):
    """The body of an answer."""

    def read(self, amt: int, *, decode_content: bool) -> bytes: ...


class Answer(Protocol):
    """A response that streams."""

    @property
    def headers(self) -> Mapping[str, str]: ...

    @property
    def raw(self) -> Body: ...

    status_code: int

    def close(self) -> None: ...


def split(url: str) -> SplitResult:
    """Return the parts of a URL, host and port among them valid."""
    try:
        parts = urlsplit(url)
        if parts.port != 0 and parts.hostname is not None:
            return parts
    except ValueError:
        pass
    raise RegistryError(f'"{url[:200]}" is not a usable address', remedy="the server that named it is misconfigured")


def joined(base: str, url: str) -> str:
    """Return `url`, which may be relative, as the answer of `base` means it.

    A server behind a proxy that ends TLS may know nothing of it and name itself by http: https it is.
    """
    try:
        result = urljoin(base, url)
        ours, theirs = urlsplit(base), urlsplit(result)
    except ValueError:
        return split(url).geturl()
    if (ours.scheme, theirs.scheme) == ("https", "http") and ours.netloc == theirs.netloc:
        return theirs._replace(scheme="https").geturl()
    return result


def origin(url: str) -> tuple[str, str, int]:
    """Return scheme, host and port: what credentials belong to."""
    parts = split(url)
    return parts.scheme, parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def body_of(answer: Answer, limit_bytes: int, what: str) -> bytes:
    """Return the whole body as it came, `limit_bytes` at most; we ask for no compression, which would have no limit."""
    encoding = answer.headers.get("Content-Encoding", "identity")
    if encoding.lower() != "identity":
        raise RegistryError(f"{what} came as {encoding[:40]}, which was not asked for", remedy="the registry is broken")
    data = answer.raw.read(limit_bytes + 1, decode_content=False)
    if len(data) > limit_bytes:
        raise CorruptError(f"{what} is larger than {limit_bytes} bytes", remedy="it is not an image")
    return data


def detail(body: Body) -> str:
    """Return the registry's own words (distribution-spec #error-codes), or the title of a proxy's page, bounded."""
    try:
        data = body.read(MAX_ERROR_BYTES, decode_content=False)
    except Exception:  # urllib3's many names for a broken connection
        return ""
    try:
        first = json.loads(data)["errors"][0]
        text = str(first.get("message") or first.get("code") or "")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        match = re.search(rb"<title>(?:\d{3} )?([^<]{1,200})</title>", data, re.IGNORECASE)
        text = match[1].decode("utf-8", "replace") if match else ""
    return f": {' '.join(text.split())[:200]}" if text else ""
