"""What --call outline tells: the ARGs, secrets and ssh agents of a target and of all it stands on or copies from."""

from __future__ import annotations

from collections.abc import Iterator

from tiffin.builder.errors import Span
from tiffin.builder.instructions.base import Declared
from tiffin.builder.instructions.ops import CacheMount, RunOp, SecretMount, SshMount, StageOrigin
from tiffin.builder.plan.plan import Plan, StagePlan
from tiffin.cache.foundation.frozen import dataclass

Mount = SecretMount | SshMount | CacheMount


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """A secret, an ssh agent or a cache mount, as the RUN that names it first asks for it."""

    name: str
    required: bool
    span: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """In the order of lines; where several stages name one thing, that of the stage nearest to the target."""

    args: tuple[Declared, ...]
    secrets: tuple[Need, ...]
    ssh: tuple[Need, ...]
    caches: tuple[Need, ...]

    @classmethod
    def of(cls, plan: Plan) -> Outline:
        args: dict[str, Declared] = {}
        needs: dict[type[Mount], dict[str, Need]] = {SecretMount: {}, SshMount: {}, CacheMount: {}}
        for stage in _reached(plan, plan.target, set()):
            args = {**_args(plan, stage), **args}
            for kind, known in needs.items():
                needs[kind] = {**_needs(stage, kind), **known}
        secrets, ssh, caches = (tuple(sorted(found.values(), key=_place)) for found in needs.values())
        return cls(args=tuple(sorted(args.values(), key=_place)), secrets=secrets, ssh=ssh, caches=caches)


def _place(item: Declared | Need) -> tuple[int, str]:
    return item.span.first_line, item.name


def _reached(plan: Plan, index: int, seen: set[int]) -> Iterator[StagePlan]:
    """Yield a stage, what it stands on, and what it copies from."""
    if index in seen:
        return
    seen.add(index)
    stage = plan.stages[index]
    yield stage
    if isinstance(stage.base, StageOrigin):
        yield from _reached(plan, stage.base.index, seen)
    for step in stage.steps:
        for origin in step.op.origins():
            if isinstance(origin, StageOrigin):
                yield from _reached(plan, origin.index, seen)


def _args(plan: Plan, stage: StagePlan) -> dict[str, Declared]:
    """Return the ARGs that a stage declares or its FROM uses, and those that their defaults use."""
    result: dict[str, Declared] = {}
    pending = [*_from_args(plan, stage), *stage.own_args]
    while pending:
        name = pending.pop()
        own, declared = stage.own_args.get(name), plan.global_args.get(name)
        if name in result or (own is None and declared is None):
            continue
        if own is not None:
            result[name] = own
        elif declared is not None:
            result[name] = declared.declared
            pending += declared.uses
    return result


def _from_args(plan: Plan, stage: StagePlan) -> set[str]:
    below = _from_args(plan, plan.stages[stage.base.index]) if isinstance(stage.base, StageOrigin) else set[str]()
    return {*stage.from_args, *below}


def _needs(stage: StagePlan, kind: type[Mount]) -> dict[str, Need]:
    result: dict[str, Need] = {}
    for step in stage.steps:
        for mount in step.op.mounts if isinstance(step.op, RunOp) else ():
            if isinstance(mount, kind):
                required = not isinstance(mount, CacheMount) and mount.required
                result.setdefault(mount.id, Need(name=mount.id, required=required, span=step.span))
    return result
