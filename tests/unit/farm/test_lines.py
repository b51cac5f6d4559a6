"""Connections that are kept for the next blob: real ones of Dask, with a server of this process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from distributed.comm import Comm, listen

from tiffin.builder.farm.dask import lines as module
from tiffin.builder.farm.dask.lines import Lines, read


class Server:
    """Answers each question with the number of its connection; `ends`: one answer only on each."""

    def __init__(self, *, ends: bool = False) -> None:
        self.comms: list[Comm] = []
        self._ends = ends

    async def serve(self, comm: Comm) -> None:
        self.comms.append(comm)
        number = len(self.comms)
        try:
            while True:
                await comm.read()
                await comm.write({"number": number})
                if self._ends:
                    comm.abort()
        except OSError:
            return


def with_server(server: Server, act: Callable[[str, Lines], Coroutine[Any, Any, list[int]]]) -> list[int]:
    async def run() -> list[int]:
        listener = await listen("tcp://127.0.0.1:0", server.serve, deserialize=False)
        lines = Lines({})
        try:
            return await act(listener.contact_address, lines)
        finally:
            lines.close()
            listener.stop()

    return asyncio.run(run())


async def asked(address: str, lines: Lines) -> int:
    async with lines.asked(address, {"op": "number"}) as (_, answer):
        return int(answer["number"])


@pytest.mark.parametrize(("ends", "numbers"), [(False, [1, 1, 1]), (True, [1, 2, 3])])
def test_a_connection_is_used_again_and_one_that_ended_is_not(ends: bool, numbers: list[int]) -> None:
    async def act(address: str, lines: Lines) -> list[int]:
        found = []
        for _ in numbers:
            found.append(await asked(address, lines))
            await asyncio.sleep(0.05)
        return found

    assert with_server(Server(ends=ends), act) == numbers


def test_what_goes_wrong_ends_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SILENT_SECONDS", 0.1)

    async def act(address: str, lines: Lines) -> list[int]:
        first = await asked(address, lines)
        with pytest.raises(TimeoutError):
            async with lines.asked(address, {"op": "number"}) as (comm, _):
                await read(comm)
        return [first, await asked(address, lines)]

    assert with_server(Server(), act) == [1, 2]


def test_several_at_once_have_connections_of_their_own_which_are_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDLE_SECONDS", 0.1)
    server = Server()

    async def act(address: str, lines: Lines) -> list[int]:
        found = await asyncio.gather(*(asked(address, lines) for _ in range(3)))
        await asyncio.sleep(0.3)
        assert not lines._idle
        return [*sorted(found), await asked(address, lines)]

    assert with_server(server, act) == [1, 2, 3, 4]
