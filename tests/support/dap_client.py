"""A small client of the Debug Adapter Protocol, for an adapter in a fork of the test's own process."""

from __future__ import annotations

import io
import json
import os
import select
import sys
import time
from pathlib import Path
from typing import Any

from tests.conformance.forkserver import become

SECONDS = 60


class DapClient:
    """Starts `tiffin WORDS` and talks to it. `events` are those that nobody waited for yet."""

    def __init__(self, root: Path, folder: Path, *words: str | Path) -> None:
        place = folder / "dap"
        place.mkdir(exist_ok=True)
        request_reader, self._requests = os.pipe()
        self._answers, answer_writer = os.pipe()
        argv = ["--root", str(root), *map(str, words)]
        self._pid = os.fork()
        if not self._pid:
            for fd, name in enumerate(("stdin", "stdout", "stderr")):
                setattr(sys, name, io.TextIOWrapper(io.FileIO(fd, "w" if fd else "r", closefd=False)))
            for fd in (self._requests, self._answers):
                os.close(fd)
            pipes = {"stdin": request_reader, "stdout": answer_writer}
            for name, pipe in pipes.items():
                (place / name).unlink(missing_ok=True)
                (place / name).symlink_to(f"/proc/self/fd/{pipe}")
            become(
                {"argv": argv, "env": dict(os.environ), "cwd": str(folder), "umask": 0o022, "out": str(place)}
                | {"seconds": SECONDS}
            )
        os.close(request_reader)
        os.close(answer_writer)
        self._data = b""
        self._sequence = 0
        self._code: int | None = None
        self.events: list[dict[str, Any]] = []
        self.asked: list[dict[str, Any]] = []

    def send(self, data: bytes) -> None:
        os.write(self._requests, data)

    def begin(self, command: str, **arguments: object) -> int:
        """Send a request and return its number."""
        self._sequence += 1
        body = json.dumps({"seq": self._sequence, "type": "request", "command": command, "arguments": arguments})
        self.send(f"Content-Length: {len(body)}\r\n\r\n{body}".encode())
        return self._sequence

    def answer(self, number: int) -> dict[str, Any]:
        """Wait for the response to a request."""
        while True:
            message = self._next()
            if message["type"] == "response" and message["request_seq"] == number:
                return message

    def request(self, command: str, **arguments: object) -> dict[str, Any]:
        """Send a request and return the body of its response, which says that it was done."""
        message = self.answer(self.begin(command, **arguments))
        assert message["success"], message
        body: dict[str, Any] = message["body"]
        return body

    def refused(self, command: str, **arguments: object) -> str:
        """Send a request that is refused; return why."""
        message = self.answer(self.begin(command, **arguments))
        assert not message["success"], message
        return str(message["message"])

    def event(self, name: str) -> dict[str, Any]:
        """Wait for an event, or take one that came already; return its body."""
        while True:
            for position, event in enumerate(self.events):
                if event["event"] == name:
                    del self.events[position]
                    body: dict[str, Any] = event["body"]
                    return body
            self._next()

    def close(self) -> int:
        """Close the streams, and return the exit code."""
        if self._code is None:
            os.close(self._requests)
            self._code = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
            os.close(self._answers)
        return self._code

    def _next(self) -> dict[str, Any]:
        ends = time.monotonic() + SECONDS
        while True:
            head, found, rest = self._data.partition(b"\r\n\r\n")
            length = int(head.partition(b":")[2]) if found else 0
            if found and len(rest) >= length:
                self._data = rest[length:]
                message: dict[str, Any] = json.loads(rest[:length])
                if message["type"] == "event":
                    self.events.append(message)
                elif message["type"] == "request":
                    self.asked.append(message)
                return message
            poller = select.poll()  # which knows no highest descriptor
            poller.register(self._answers, select.POLLIN)
            assert poller.poll(max(0.0, ends - time.monotonic()) * 1000), "the adapter says nothing"
            data = os.read(self._answers, 1 << 16)
            assert data, "the adapter is gone"
            self._data += data
