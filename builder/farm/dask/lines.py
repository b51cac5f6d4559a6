"""Connections for blobs that are kept for the next blob: to make one costs both machines as much as a small step."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

from distributed.comm import Comm

from tiffin.builder.farm.dask.trust import connected

CONNECT_SECONDS = 10.0  # for TLS between two machines that are busy
SILENT_SECONDS = 20.0  # between two pieces
IDLE_SECONDS = 10.0  # for which a connection is kept
MAX_IDLE = 4  # of one address


class Lines:
    """The connections of one machine to others; used in one loop."""

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        self._arguments = arguments
        self._idle: dict[str, list[Comm]] = {}

    @contextlib.asynccontextmanager
    async def asked(self, address: str, question: Mapping[str, Any]) -> AsyncIterator[tuple[Comm, dict[str, Any]]]:
        """Ask another machine; give the connection, for what follows, and the first answer. If nothing goes wrong it is
        kept. Raises OSError, TimeoutError.
        """
        comm, answer = await self._asked(address, question)
        try:
            yield comm, answer
        except BaseException:
            comm.abort()
            raise
        self._keep(address, comm)

    async def _asked(self, address: str, question: Mapping[str, Any]) -> tuple[Comm, dict[str, Any]]:
        while idle := self._idle.get(address):
            comm = idle.pop()
            with contextlib.suppress(OSError):  # it has ended meanwhile
                return comm, await _answer(comm, question)
        comm = await connected(address, CONNECT_SECONDS, self._arguments)
        return comm, await _answer(comm, question)

    def _keep(self, address: str, comm: Comm) -> None:
        idle = self._idle.setdefault(address, [])
        if len(idle) >= MAX_IDLE:
            comm.abort()
            return
        idle.append(comm)
        asyncio.get_running_loop().call_later(IDLE_SECONDS, self._drop, address, comm)

    def _drop(self, address: str, comm: Comm) -> None:
        """End a connection, if it is idle."""
        idle = self._idle.get(address, [])
        if comm in idle:
            idle.remove(comm)
            comm.abort()
        if not idle:
            self._idle.pop(address, None)

    def close(self) -> None:
        """End all that are idle."""
        for comm in [comm for idle in self._idle.values() for comm in idle]:
            comm.abort()
        self._idle.clear()


async def read(comm: Comm) -> dict[str, Any]:
    """Return the next message. Raises OSError, TimeoutError."""
    message = await asyncio.wait_for(comm.read(), SILENT_SECONDS)
    if not isinstance(message, dict):
        raise OSError("another answer than was expected")
    return message


async def _answer(comm: Comm, question: Mapping[str, Any]) -> dict[str, Any]:
    try:
        await comm.write({**question, "reply": False})
        return await read(comm)
    except BaseException:
        comm.abort()
        raise
