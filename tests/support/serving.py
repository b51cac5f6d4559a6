"""Serve in a thread, for as long as a block lasts."""

from __future__ import annotations

import contextlib
import socketserver
import threading
from collections.abc import Iterator

POLL_SECONDS = 0.01  # how soon the end is noticed


@contextlib.contextmanager
def serving(server: socketserver.BaseServer) -> Iterator[None]:
    """Answer what comes; with the block the server and its thread end."""
    thread = threading.Thread(target=server.serve_forever, args=(POLL_SECONDS,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
