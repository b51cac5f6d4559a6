"""What URLs and answers of registries say."""

from __future__ import annotations

import json
from typing import Protocol
from urllib.parse import urlsplit

MAX_ERROR_BYTES = 64 << 10


class Body(Protocol):
    """The body of an answer."""

    def read(self, amt: int, *, decode_content: bool) -> bytes: ...


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port: what credentials belong to."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def detail(body: Body) -> str:
    """The registry's own words (distribution-spec #error-codes), bounded."""
    try:
        data = body.read(MAX_ERROR_BYTES, decode_content=True)
        first = json.loads(data)["errors"][0]
        text = str(first.get("message") or first.get("code") or "")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, OSError):
        return ""
    return f": {' '.join(text.split())[:200]}" if text else ""
