"""Files on their way to a worker: each is sent once, whoever needs it; what did not come is sent by who waited."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from tiffin.builder.farm.dask.member import Member
from tiffin.cache.foundation.digest import Digest

HELLO = {
    "name": "w", "public_key": b"", "slots": 2, "busy": 0, "runs": True, "native": [], "emulated": [], "cores": 1,
    "memory_bytes": 0, "labels": [], "tier": "range",
}  # fmt: skip
ONE, TWO, THREE = (Digest.of(name) for name in (b"one", b"two", b"three"))


class Way:
    """Sends, when it is let; the first `faults` times it fails."""

    def __init__(self, faults: int = 0) -> None:
        self.sent: list[list[Digest]] = []
        self.faults = faults
        self.let = asyncio.Event()

    async def put(self, files: Sequence[tuple[Digest, int]], pieces: object) -> int:
        self.sent.append([digest for digest, _ in files])
        await self.let.wait()
        self.faults -= 1
        if self.faults >= 0:
            raise OSError("it broke")
        return sum(size for _, size in files)


def brought(way_of: Any, *wanted: dict[Digest, int]) -> tuple[Way, Member, list[Any]]:
    async def all_at_once() -> tuple[Way, Member, list[Any]]:
        way, member = way_of(), Member("tcp://127.0.0.1:1", HELLO, None)
        tasks = [asyncio.ensure_future(member.bring(files, way.put, lambda digest: [])) for files in wanted]
        await asyncio.sleep(0)
        way.let.set()
        return way, member, await asyncio.gather(*tasks, return_exceptions=True)

    return asyncio.run(all_at_once())


def test_a_file_that_two_need_goes_once() -> None:
    way, member, sent = brought(Way, {ONE: 10, TWO: 5}, {TWO: 5, THREE: 1}, {ONE: 10})
    assert way.sent == [[ONE, TWO], [THREE]] and sent == [15, 1, 0]
    assert member.layers == {str(ONE), str(TWO), str(THREE)}


def test_what_did_not_come_is_sent_by_who_waited() -> None:
    way, member, sent = brought(lambda: Way(faults=1), {ONE: 10}, {ONE: 10})
    assert way.sent == [[ONE], [ONE]] and isinstance(sent[0], OSError) and sent[1] == 10
    assert member.layers == {str(ONE)}


def test_what_goes_wrong_for_all_is_told_to_all() -> None:
    _, member, sent = brought(lambda: Way(faults=9), {ONE: 10}, {ONE: 10})
    assert [str(error) for error in sent] == ["it broke", "it broke"] and not member.layers
