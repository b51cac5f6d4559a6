"""A file server on a loopback address, for ADD of URLs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def serving_files() -> Iterator[str]:
    """Its address."""
    yield "http://127.0.0.1:9"
