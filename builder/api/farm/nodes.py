"""`tiffin farm scheduler` and `tiffin farm worker`, without a terminal."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

from tiffin.builder.api.farm.joined import EXTRA
from tiffin.builder.api.session import Session
from tiffin.builder.errors import UsageError
from tiffin.builder.farm.address import FarmTrust, check_reach, checked_address


def run_scheduler(
    session: Session, listen: str, dashboard: str, trust: FarmTrust, ready: Callable[[str], None]
) -> None:
    """Schedule until interrupted. Raises UsageError, StoreError."""
    address = checked_address(listen, trust, "--listen")
    host, _, port = address.partition("://")[2].rpartition(":")
    if dashboard:
        check_reach(f"tcp://{dashboard}", "--dashboard")  # Dask's pages have no TLS
    try:
        from tiffin.builder.farm.dask import nodes
    except ImportError as exc:
        raise UsageError(f"a farm needs the package {exc.name}", remedy=EXTRA) from exc
    with session.state.scratch("dask") as scratch:
        nodes.run_scheduler(host.strip("[]"), int(port), dashboard, trust, str(scratch), ready)


def run_worker(
    session: Session,
    scheduler: str,
    *,
    name: str,
    slots: int,
    listen: str,
    labels: tuple[str, ...],
    isolation: str,
    trust: FarmTrust,
    ready: Callable[[str, str, int, str], None],
) -> None:
    """Work until interrupted. Raises UsageError, StoreError."""
    address = checked_address(scheduler, trust, "the scheduler")
    if listen:
        check_reach(checked_address(listen, trust, "--listen", port=0), "--listen")
    for label in labels:
        if not label or "," in label:
            raise UsageError(f'--label "{label}" is not a label', remedy="use words without commas")
    try:
        from tiffin.builder.farm.dask import nodes
    except ImportError as exc:
        raise UsageError(f"a farm needs the package {exc.name}", remedy=EXTRA) from exc
    os.environ["TIFFIN_ROOT"] = str(session.state.root)  # for the processes that make units
    with session.state.scratch("dask") as scratch:
        options = nodes.WorkerOptions(
            scheduler=address,
            name=name or f"{socket.gethostname()}-{os.getpid()}",
            slots=slots or len(os.sched_getaffinity(0)),
            host=listen or ("" if trust else "127.0.0.1"),
            trust=trust,
            labels=labels,
            isolation=isolation,
            scratch=str(scratch),
        )
        nodes.run_worker(options, lambda address, count, tier: ready(options.name, address, count, tier))
