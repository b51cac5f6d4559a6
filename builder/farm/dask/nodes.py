"""The other two kinds of machines of a farm: the scheduler, and workers; each a process until it is told to end."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from typing import Any

import dask
from distributed import Scheduler, Security, Worker

from tiffin.builder.errors import StoreError, TiffinError
from tiffin.builder.farm.address import FarmTrust
from tiffin.builder.farm.dask.answers import first_line
from tiffin.builder.farm.dask.driver import silence
from tiffin.builder.farm.dask.host import ISOLATION_VARIABLE, LABELS_VARIABLE, NAME, FarmPlugin
from tiffin.builder.farm.dask.trust import connected, security_of
from tiffin.cache.foundation.frozen import dataclass

JOIN_SECONDS = 30.0  # until the scheduler answers
NO_PAGES = "127.0.0.1:0"  # Dask has pages in any case, without TLS: nobody else is to reach them
GONE_SECONDS = 10.0  # without a scheduler, after which a worker ends


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """`scheduler` as scheme://HOST:PORT; `host`: the address to listen at; `scratch`: a directory for Dask's own."""

    scheduler: str
    name: str
    slots: int
    host: str
    trust: FarmTrust
    labels: tuple[str, ...]
    isolation: str
    scratch: str


def run_scheduler(
    host: str, port: int, dashboard: str, trust: FarmTrust, scratch: str, ready: Callable[[str], None]
) -> None:
    """Schedule until SIGINT or SIGTERM; `ready` is told the address. Raises StoreError where it cannot listen.

    `scratch`: a directory for Dask, which imports from there and would take one in /tmp that others could have made.
    """

    async def serve() -> None:
        scheduler = Scheduler(
            host=host,
            port=port,
            protocol="tls" if trust else "tcp",
            security=security_of(trust),
            dashboard=bool(dashboard),
            dashboard_address=dashboard or NO_PAGES,
            local_directory=scratch,
        )
        try:
            await scheduler
        except (OSError, RuntimeError, ValueError) as exc:
            raise StoreError(f"cannot listen on {host}:{port}: {exc}", remedy="use another --listen") from exc
        ready(scheduler.address)
        await _until_told()
        await scheduler.close()

    _configure()
    asyncio.run(serve())


def run_worker(options: WorkerOptions, ready: Callable[[str, int, str], None]) -> None:
    """Work until SIGINT or SIGTERM; `ready` is told address, slots and tier. Raises StoreError where the scheduler does
    not answer, or is gone.
    """
    os.environ[LABELS_VARIABLE] = ",".join(options.labels)
    if options.isolation:
        os.environ[ISOLATION_VARIABLE] = options.isolation

    async def work() -> None:
        plugin = FarmPlugin()
        security = security_of(options.trust)
        worker = _worker(options, security, plugin)
        try:
            await _reach(options.scheduler, security)
            await worker
        except TiffinError:
            raise
        except Exception as exc:  # Dask wraps what plugins raise, and has classes of its own for each way to fail
            cause = exc.__cause__ if isinstance(exc.__cause__, TiffinError) else None
            raise cause or StoreError(
                f"the scheduler at {options.scheduler} does not answer: {first_line(exc)}",
                remedy="start it (tiffin farm scheduler), with certificates of one authority for all",
            ) from exc
        assert plugin.host is not None
        ready(worker.address, options.slots, plugin.host.tier)
        told = asyncio.ensure_future(_until_told())
        finished = asyncio.ensure_future(worker.finished())
        await asyncio.wait((told, finished), return_when=asyncio.FIRST_COMPLETED)
        if not told.done():
            raise StoreError(f"the scheduler at {options.scheduler} is gone", remedy="start it again, and this worker")
        await worker.close(timeout=GONE_SECONDS)

    _configure()
    asyncio.run(work())


def _worker(options: WorkerOptions, security: Security, plugin: FarmPlugin) -> Worker:
    return Worker(
        options.scheduler,
        nthreads=options.slots,
        name=options.name,
        host=options.host or None,
        protocol=options.scheduler.partition("://")[0],
        security=security,
        memory_limit=0,
        local_directory=options.scratch,
        dashboard=False,
        dashboard_address=NO_PAGES,
        death_timeout=JOIN_SECONDS,
        plugins=[plugin],
    )


async def _reach(scheduler: str, security: Security) -> None:
    """Connect once: a worker that is refused would only try again. Raises OSError."""
    comm = await connected(scheduler, JOIN_SECONDS, security.get_connection_args("worker"))
    await comm.close()


async def _until_told() -> None:
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, told.set)
    await told.wait()


def _configure() -> None:
    """Have Dask say what matters only, and keep to one machine's steps: what is lost is made again by drivers."""
    silence()
    settings: dict[str, Any] = {
        "distributed.scheduler.work-stealing": False,  # a unit is sent to one worker
        "distributed.worker.memory.spill": False,
        "distributed.worker.profile.enabled": False,  # a thread that looks each 10 ms at what the others do
        "distributed.admin.tick.limit": "1h",
        "distributed.admin.tick.interval": "1s",  # of 20 ms it is more than half of what a worker without work costs
        "distributed.admin.system-monitor.interval": "2s",
        "distributed.comm.timeouts.connect": "10s",
    }
    dask.config.set(settings)


__all__ = ["NAME", "WorkerOptions", "run_scheduler", "run_worker"]
