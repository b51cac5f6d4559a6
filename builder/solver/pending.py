"""What steps that have to run need of this machine."""

from __future__ import annotations

from collections.abc import Sequence

from tiffin.builder.errors import BuildError
from tiffin.builder.events import StepsPlanned
from tiffin.builder.instructions.ops import CopyOp, Op, RunOp, StageOrigin
from tiffin.builder.plan.plan import Plan, StagePlan
from tiffin.builder.sandbox.isolation import Isolation


def check_isolation(
    pending: Sequence[tuple[StagePlan, int]], isolation: Isolation, *, has_way_out: bool = False
) -> None:
    """Say before anything is made that no RUN can run here, or that it could get around the only way out that it is to
    have.
    """
    if isolation.tier.runs_commands and (isolation.tier.has_namespaces or not has_way_out):
        return
    first = next(stage.steps[number] for stage, number in pending if isinstance(stage.steps[number].op, RunOp))
    if isolation.tier.runs_commands:
        raise BuildError(
            "--egress, --record and --replay need a network of each step's own, "
            f"which isolation {isolation.tier} lacks",
            span=first.span,
            remedy="use isolation range or single, or leave these options out",
        )
    raise BuildError(
        f"RUN needs a sandbox, and this machine allows none ({isolation.refusal})",
        span=first.span,
        remedy=isolation.remedy,
    )


def check_platforms(pending: Sequence[tuple[StagePlan, int]]) -> None:
    """Say before anything runs that this machine cannot run what a RUN of a foreign platform needs."""
    from tiffin.builder.sandbox.binfmt import can_run

    for stage, number in pending:
        step, platform = stage.steps[number], stage.platform
        if isinstance(step.op, RunOp) and not can_run(platform.architecture):
            raise BuildError(
                f"this machine cannot run programs for {platform}",
                span=step.span,
                remedy="register an interpreter with binfmt_misc (flag F; Debian: qemu-user-static), "
                "or use FROM --platform=$BUILDPLATFORM",
            )


def reads_trees(plan: Plan, pending: list[tuple[StagePlan, int]]) -> bool:
    """Whether a pending COPY reads what RUN steps made, its source or the users of --chown: layers with foreign owners,
    which exist unpacked only.
    """

    def has_run(stage: StagePlan) -> bool:
        below = isinstance(stage.base, StageOrigin) and has_run(plan.stages[stage.base.index])
        return below or any(isinstance(step.op, RunOp) for step in stage.steps)

    def is_read(stage: StagePlan, op: Op) -> bool:
        if isinstance(op, CopyOp) and op.chown and has_run(stage):
            return True
        return any(isinstance(origin, StageOrigin) and has_run(plan.stages[origin.index]) for origin in op.origins())

    return any(is_read(stage, stage.steps[number].op) for stage, number in pending)


def planned(plan: Plan, pending: Sequence[tuple[StagePlan, int]]) -> StepsPlanned:
    """Return the steps that may have to run, as progress names them, and what each waits for."""
    places = {(stage.index, number): at for at, (stage, number) in enumerate(pending)}
    return StepsPlanned(
        names=tuple(plan.stages[index].label(number) for index, number in places),
        needs=tuple(
            tuple(sorted(places[place] for place in plan.used_steps(*own) if place in places)) for own in places
        ),
    )
