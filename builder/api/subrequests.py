"""Look at a build without building: its checks, stages, arguments, and which steps would run."""

from __future__ import annotations

from collections.abc import Sequence

from tiffin.builder.api.build import prepared
from tiffin.builder.api.build_options import BuildOptions
from tiffin.builder.api.session import Session
from tiffin.builder.dockerfile.lint_base import LintWarning, stages
from tiffin.builder.errors import Span, TiffinError
from tiffin.builder.events import Sink
from tiffin.builder.instructions.base import description_of
from tiffin.builder.plain_text import size_text
from tiffin.builder.plan.outline import Need as Need
from tiffin.builder.plan.outline import Outline as Outline
from tiffin.cache.foundation.frozen import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What build checks found, and the error that ended them, if one did. `source`: the text of the Dockerfile."""

    findings: Sequence[LintWarning]
    error: TiffinError | None
    source: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A stage that can be built."""

    name: str  # in lower case; "" for one without
    is_default: bool
    description: str
    base: str
    platform: str  # as its FROM says, "" where it does not
    span: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetOutline:
    """The arguments, secrets, ssh agents and caches that a target uses."""

    name: str
    description: str
    outline: Outline
    source: bytes


def check(options: BuildOptions, session: Session, sink: Sink) -> Checked:
    """Apply the build checks. Raises TiffinError for a context that cannot be read."""
    from tiffin.builder.solver.checks import check as find

    with prepared(options, session, sink) as prepared_build:
        services = prepared_build.services
        found, error = find(
            prepared_build.request.dockerfile,
            prepared_build.request.plan_options,
            services.resolve_image,
            services.contexts,
        )
        return Checked(findings=found, error=error, source=prepared_build.source)


def explain(options: BuildOptions, session: Session, sink: Sink) -> list[str]:
    """Tell for each step, in a line or some, whether it would run now, and why. Raises TiffinError."""
    from tiffin.builder.solver.build import forecast

    with prepared(options, session, sink, explains=True) as prepared_build:
        return list(forecast(prepared_build.request, prepared_build.services).lines(size_text))


def list_targets(options: BuildOptions, session: Session, sink: Sink) -> tuple[list[Target], bytes]:
    """Return the stages that can be built and the text of the Dockerfile.

    Raises DockerfileError for one that cannot be read.
    """
    from tiffin.builder.plan.stages import read_stages

    with prepared(options, session, sink) as prepared_build:
        read_stages(prepared_build.request.dockerfile)
        every = list(stages(prepared_build.request.dockerfile))
        targets = [
            Target(
                name=stage.name.lower(),
                is_default=stage is every[-1],
                description=description_of(stage.name.lower(), stage.head.comments),
                base=stage.words[0],
                platform=next((flag.value or "" for flag in stage.head.flags if flag.name == "platform"), ""),
                span=stage.head.span,
            )
            for stage in every
        ]
        return targets, prepared_build.source


def outline(options: BuildOptions, session: Session, sink: Sink) -> TargetOutline:
    """Return what the target uses. Raises TiffinError."""
    from tiffin.builder.plan.planner import make_plan

    with prepared(options, session, sink) as prepared_build:
        dockerfile = prepared_build.request.dockerfile
        plan = make_plan(dockerfile, prepared_build.request.plan_options, prepared_build.services.resolve_image)
        target = list(stages(dockerfile))[plan.target]
        name = target.name.lower()
        description = description_of(name, target.head.comments)
        return TargetOutline(name=name, description=description, outline=Outline.of(plan), source=prepared_build.source)
