"""tiffin farm: the scheduler and the workers of a farm, on which `build --farm` makes steps."""

from __future__ import annotations

import sys

from tiffin.builder.cli.options.command import BUILDS, Command, Group
from tiffin.builder.cli.options.common import FarmTrustArguments
from tiffin.builder.cli.options.option import Many, Number, Text, Word
from tiffin.builder.cli.output.console import print_result
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.api.session import Session


class SchedulerArguments(FarmTrustArguments):
    """Where to listen."""

    listen = Text(
        "--listen", metavar="HOST:PORT", default="127.0.0.1:8786", help="Where to listen (default: 127.0.0.1:8786)."
    )
    dashboard = Text("--dashboard", metavar="HOST:PORT", help="Show Dask's pages there; on this machine only.")


class WorkerArguments(FarmTrustArguments):
    """Whom to work for, and as what."""

    scheduler = Word("ADDRESS")
    name = Text("--name", metavar="NAME", help="Name in progress (default: the host's, with the process).")
    slots = Number("--slots", metavar="N", minimum=0, help="Runs of steps at a time (default: one for each processor).")
    listen = Text("--listen", metavar="HOST", help="Address at which drivers and other workers reach this one.")
    labels = Many("--label", metavar="WORD", help="What this worker has; repeatable.")
    isolation = Text("--isolation", metavar="TIER", help="Force an isolation tier: {tiers}.")


def run_scheduler(session: Session, line: SchedulerArguments) -> None:
    """Schedule until interrupted."""
    from tiffin.builder.api.farm.nodes import run_scheduler

    run_scheduler(session, line.listen, line.dashboard, line.farm_trust(), _tell)


def run_worker(session: Session, line: WorkerArguments) -> None:
    """Work until interrupted."""
    from tiffin.builder.api.farm.nodes import run_worker

    run_worker(
        session,
        line.scheduler,
        name=line.name,
        slots=line.slots,
        listen=line.listen,
        labels=line.labels,
        isolation=line.isolation,
        trust=line.farm_trust(),
        ready=lambda name, address, slots, tier: _tell(
            f"worker {name} at {address}, {slots} slot{'' if slots == 1 else 's'}, isolation {tier}"
        ),
    )


def _tell(text: str) -> None:
    print_result(text)
    sys.stdout.flush()  # who starts it waits for the line


COMMANDS = (
    Group("farm", about="Build on many machines.", section=BUILDS),
    Command(
        "farm scheduler",
        SchedulerArguments,
        run_scheduler,
        about="Schedule the builds of a farm.",
        help="Schedule the builds of a farm (Dask's scheduler), until interrupted.",
        section=BUILDS,
        examples=("tiffin farm scheduler --listen 0.0.0.0:8786 --farm-tls-ca ca.pem --farm-tls-cert node.pem "
                  "--farm-tls-key node.key",),
    ),
    Command(
        "farm worker",
        WorkerArguments,
        run_worker,
        about="Make steps for the builds of a farm.",
        help="Make steps for builds with --farm ADDRESS, until interrupted. It is a Dask worker.",
        section=BUILDS,
        examples=("tiffin farm worker 127.0.0.1:8786 --slots 2",),
    ),
)  # fmt: skip
