"""The plans of builds that ran, kept beside the history: by them `tiffin debug` opens each step again."""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tiffin.builder.api.build_options import KEPT_OPTIONS, BuildOptions
from tiffin.builder.errors import CorruptError, NotFoundError
from tiffin.builder.image.chain import LayerRef
from tiffin.builder.instructions.base import PROXY_ARGS, Step
from tiffin.builder.instructions.ops import GitOrigin, RunOp, UrlOrigin
from tiffin.builder.plan.plan import Plan
from tiffin.builder.value_bytes import decode, encode
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.frozen import dataclass, replace
from tiffin.cache.store.snapshots import BlobRef

FAST = 1  # of zlib's levels
SLACK = 8  # the part of them that may be there above the bound
Made = Mapping[tuple[int, int], LayerRef]  # the layer of each step, by stage and number


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptPlan:
    """How a build was planned. `members`: what its options had of KEPT_OPTIONS; `folder`: its working directory."""

    plan: Plan
    members: Mapping[str, Any]
    folder: str

    @property
    def options(self) -> BuildOptions:
        """Return the options, as far as they are kept. Raises CorruptError."""
        try:
            return BuildOptions(**self.members)
        except TypeError as exc:
            raise CorruptError(f"the options of a build are damaged: {exc}", remedy="build again") from exc


def keep(folder: Path, name: str, plan: Plan, options: BuildOptions, most: int) -> None:
    """Write a plan as the file `name`, unless it has credentials; of all there are, the newest `most` stay, and an
    eighth more, so that not every build has to look for the oldest. Raises OSError.
    """
    if any(map(_has_credentials, _urls(plan, options))):
        return
    kept = KeptPlan(plan=_without_proxies(plan), members=kept_options(options), folder=os.getcwd())  # noqa: PTH109
    folder.mkdir(mode=0o700, exist_ok=True)
    part = folder / f".{name}.{os.urandom(4).hex()}"  # others may build the same
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)  # build arguments have values
    with os.fdopen(fd, "wb") as file:
        file.write(zlib.compress(encode(kept), FAST))
    part.replace(folder / name)
    if len(os.listdir(folder)) > most + most // SLACK:  # noqa: PTH208
        ages = sorted((path.stat().st_mtime_ns, path) for path in folder.iterdir())
        for _, path in ages[:-most]:
            path.unlink(missing_ok=True)


def _urls(plan: Plan, options: BuildOptions) -> Iterator[str]:
    """Yield all URLs that a plan and its options have."""
    for place in (options.context, options.file, *options.contexts.values()):
        if "://" in place:
            yield place
    if options.dockerfile and "://" in options.dockerfile:
        yield from re.findall(r"\w+://[^\s/]*:[^\s/]*@", options.dockerfile)
    for stage in plan.stages.values():
        for step in stage.steps:
            yield from (origin.url for origin in step.op.origins() if isinstance(origin, UrlOrigin | GitOrigin))


def _has_credentials(url: str) -> bool:
    """Whether a URL names a password or a token, or has a query, which may be a signature."""
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    user, has_user, _ = parts.netloc.rpartition("@")
    return bool(parts.query or ":" in user or (has_user and not parts.scheme.endswith("ssh")))


def _without_proxies(plan: Plan) -> Plan:
    """Return a plan without what may hold credentials of proxies."""

    def bare(step: Step) -> Step:
        has_any = isinstance(step.op, RunOp) and step.op.proxies
        return replace(step, op=replace(step.op, proxies=())) if has_any else step

    stages = {index: replace(stage, steps=tuple(map(bare, stage.steps))) for index, stage in plan.stages.items()}
    return replace(plan, stages=stages)


def kept_options(options: BuildOptions) -> dict[str, object]:
    """Return the members of options that are kept, as far as they are not the usual ones."""
    usual = BuildOptions()
    given = {name: getattr(options, name) for name in KEPT_OPTIONS}
    given["build_args"] = {
        name: value for name, value in options.build_args.items() if name.upper() not in PROXY_ARGS
    }  # which may hold credentials of proxies
    return {name: value for name, value in given.items() if value != getattr(usual, name)}


def read(path: Path, build: str) -> KeptPlan:
    """Return the plan in a file, which the record of a build names. Raises NotFoundError, CorruptError."""
    try:
        data = path.read_bytes()
    except FileNotFoundError as exc:
        raise NotFoundError(
            f"the plan of build {build} is not kept",
            remedy="build again; one with credentials in the URL of a context or source is never kept",
        ) from exc
    try:
        found = decode(zlib.decompress(data), f"the plan of build {build}")
    except zlib.error as exc:
        raise CorruptError(f"{path} is damaged", remedy="remove it, and build again") from exc
    if not isinstance(found, KeptPlan):
        raise CorruptError(f"{path} is not a valid plan", remedy="remove it, and build again")
    return found


def made_by(document: Mapping[str, Any], build: str) -> Made:
    """Return the layers that steps of a build made, or had from a cache, as its record has them. Raises
    CorruptError.
    """
    try:
        stages: Mapping[str, Mapping[str, Any]] = document["stages"]
        return {
            (int(index), int(step)): _layer(value) for index, steps in stages.items() for step, value in steps.items()
        }
    except (ValueError, TypeError, LookupError, AttributeError) as exc:
        raise CorruptError(f"the record of build {build} is damaged", remedy="build again") from exc


def _layer(value: str | list[Any]) -> LayerRef:
    if isinstance(value, str):
        return LayerRef(diff_id=Digest.parse(value), blob=None)
    return LayerRef(diff_id=Digest.parse(value[0]), blob=BlobRef.from_json(value[1]))
