"""What the driver answers to the questions of units: records of its caches, blobs that nobody else has, ssh agents."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tiffin.builder.errors import TiffinError
from tiffin.builder.farm.dask.blobs import put_blobs
from tiffin.builder.farm.dask.lines import Lines
from tiffin.builder.farm.dask.member import Member
from tiffin.builder.farm.jobs import Job
from tiffin.builder.farm.values import AgentSaid, AskAgent, AskBlob, AskRecord, Brought, Records
from tiffin.cache.foundation.digest import Digest

Holders = Callable[[Digest], tuple[str, ...]]


async def answer_to(
    question: AskRecord | AskBlob | AskAgent, member: Member, job: Job, lines: Lines, holders: Holders
) -> Records | Brought | AgentSaid:
    """Return the answer; `holders` says which workers have a layer."""
    match question:
        case AskRecord(unit=unit, keys=keys):
            found = await asyncio.to_thread(job.source.records, keys)
            layers = [record.layer.digest for record in found.values() if record.layer is not None]
            return Records(
                unit=unit,
                records=dict(found),
                holders={layer: held for layer in layers if (held := holders(layer))},
            )
        case AskAgent(unit=unit, number=number, agent=agent, request=request):
            said = b""
            if agent in job.unit.agents:  # no other is the worker's business
                said = await asyncio.to_thread(job.source.agent, agent, request)
            return AgentSaid(unit=unit, number=number, answer=said)
        case AskBlob():
            return await _given(question, member, job, lines)


async def _given(question: AskBlob, member: Member, job: Job, lines: Lines) -> Brought:
    """Bring a blob to the worker that asks for it."""
    ref, reason = question.ref, ""
    try:
        if ref.digest not in job.files:
            reason = await asyncio.to_thread(job.source.bring, ref)
        if not reason:
            size = job.files.get(ref.digest, ref.size_bytes)
            await put_blobs(member.address, lines, [(ref.digest, size)], job.source.pieces)
    except (OSError, TimeoutError, TiffinError) as exc:
        reason = first_line(exc)
    return Brought(unit=question.unit, digest=ref.digest, is_here=not reason, reason=reason)


def first_line(error: BaseException) -> str:
    """Return what an error says, in one line."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__
