"""The way out of steps that have a network of their own: they listen there, and this process answers."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

from tiffin.builder.egress.conversation import Way, quietly
from tiffin.builder.egress.record import Recording
from tiffin.builder.egress.surroundings import proxy_variables, trust_variables, write_files
from tiffin.builder.sandbox.child import fd_passing

END_SECONDS = 10  # for what a step left unread


class WayOut:
    """Serves any number of steps at once."""

    def __init__(self, way: Way) -> None:
        self._way = way

    @property
    def recording(self) -> Recording | None:
        """Return the record that is written."""
        return self._way.recording

    def variables(self) -> tuple[str, ...]:
        """Return what the environment of a step has more."""
        trust = trust_variables() if self._way.authority is not None else ()
        return (*proxy_variables(), *trust)

    def files(self, scratch: Path) -> dict[str, Path]:
        """Return the files that a step has more, by their paths there."""
        return write_files(scratch, self._way.authority.pem) if self._way.authority is not None else {}

    def made(self) -> list[str]:
        """Return where steps connected."""
        return self._way.connections.made()

    def refused(self) -> list[str]:
        """Return where steps wanted to connect and may not."""
        return self._way.connections.refused()

    def missing(self) -> list[str]:
        """Return what steps asked a record for that it does not have."""
        return list(self._way.replay.missing()) if self._way.replay is not None else []

    @contextlib.contextmanager
    def opened(self) -> Iterator[int]:
        """Yield a descriptor for a sandbox, which sends its listening socket there; serve that until the block ends."""
        ours, theirs = fd_passing.pair()
        serving = _Serving(ours, self._way)
        try:
            yield theirs.fileno()
        finally:
            theirs.close()
            serving.end()


class _Serving:
    """Accepts the connections of one step."""

    def __init__(self, line: fd_passing.Socket, way: Way) -> None:
        self._line = line
        self._way = way
        self._listener: socket.socket | None = None
        self._ended = False
        self._lock = threading.Lock()  # guards _listener and _ended
        self._served: list[threading.Thread] = []
        self._thread = threading.Thread(target=self._accept, name="way out", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Accept no more; wait for what is being answered."""
        with self._lock:
            self._ended = True
            if self._listener is not None:
                with contextlib.suppress(OSError):
                    self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(END_SECONDS)
        for thread in self._served:
            thread.join(END_SECONDS)

    def _accept(self) -> None:
        try:
            _, descriptors = fd_passing.receive(self._line, 16, 1)
        except OSError:
            return
        finally:
            self._line.close()
        if not descriptors:
            return  # the sandbox was not made
        with contextlib.closing(socket.socket(fileno=descriptors[0])) as listener:
            with self._lock:
                self._listener = listener
                if self._ended:
                    return
            with contextlib.suppress(OSError):
                while True:
                    line, _ = listener.accept()
                    thread = threading.Thread(target=quietly, args=(line, self._way), daemon=True)
                    self._served.append(thread)
                    thread.start()
