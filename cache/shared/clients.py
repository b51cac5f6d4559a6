"""Clients of a server, one for each process: a parent's connections are the parent's."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Client = TypeVar("Client")


class PerProcess(Generic[Client]):
    """A client that is made when it is first asked for, and again in a child."""

    def __init__(self, make: Callable[[], Client]) -> None:
        self._make = make
        self._lock = threading.Lock()  # guards the two below
        self._made: tuple[Client, ...] = ()
        self._pid = 0

    def get(self) -> Client:
        """Return the client of this process. Raises what making one raises."""
        with self._lock:
            if not self._made or self._pid != os.getpid():
                self._made, self._pid = (self._make(),), os.getpid()
            return self._made[0]
