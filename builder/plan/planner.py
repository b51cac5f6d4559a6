"""Plan a build: which stages are needed, what each starts from, its steps, its configuration. Nothing is run or read.

The only questions asked of the world are "what does this image name mean" (`resolve_image`) and they are asked for
reachable stages only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

from tiffin.builder.dockerfile.expand import Lexer
from tiffin.builder.dockerfile.lint_base import LintWarning
from tiffin.builder.dockerfile.parser import Dockerfile, parse_trigger, together
from tiffin.builder.dockerfile.suggest import did_you_mean
from tiffin.builder.errors import BuildError, DockerfileError, Span, TiffinError, UsageError
from tiffin.builder.instructions.base import DEFAULT_PATH, PROXY_ARGS, ErrorSpan, Remote, StageScope
from tiffin.builder.instructions.from_instruction import SCRATCH, From
from tiffin.builder.instructions.keywords import KEYWORDS
from tiffin.builder.instructions.ops import (
    ContextOrigin,
    CopyOp,
    ImageOrigin,
    Input,
    Origin,
    RunDefaults,
    StageOrigin,
)
from tiffin.builder.oci.config import RunConfig
from tiffin.builder.oci.spec import Platform
from tiffin.builder.plan.base_images import BaseImages, ResolveImage
from tiffin.builder.plan.global_args import GlobalArgs
from tiffin.builder.plan.plan import Plan, StagePlan
from tiffin.builder.plan.plan_options import (
    DirectoryContext,
    ImageContext,
    NamedContext,
    PlanOptions,
    RemoteContext,
    StageContext,
)
from tiffin.builder.plan.stages import Stage, read_stages
from tiffin.cache.foundation.frozen import replace


def make_plan(
    dockerfile: Dockerfile,
    plan_options: PlanOptions,
    resolve_image: ResolveImage,
    findings: list[LintWarning] | None = None,
) -> Plan:
    """Plan the build of `recipe.target`; raises DockerfileError(s), UsageError, and what `resolve_image` raises.

    What build checks find is added to `findings`, also what is found before an error.
    """
    try:
        declarations, stages = read_stages(dockerfile)
    except DockerfileError as exc:
        above = _before(exc, dockerfile)
        if plan_options.checks_only and above.instructions:
            with suppress(TiffinError):  # what matters is what is found on the way
                make_plan(above, plan_options, resolve_image, findings)
        raise
    planner = _Planner(dockerfile, plan_options, resolve_image, stages, [] if findings is None else findings)
    frontend = dockerfile.directives.get("syntax")
    if frontend and plan_options.source_rules is not None:
        line = list(dockerfile.directives).index("syntax") + 1  # they are the first lines, one below the other
        place = Span(file=dockerfile.file, first_line=line, last_line=line, text=f"# syntax={frontend}")
        plan_options.source_rules.syntax(frontend, place)
    for arg in declarations:
        planner.globals.add(arg)
    planner.findings += planner.globals.check([stage.head for stage in stages])
    target = planner.find_target()
    if plan_options.checks_only and not plan_options.target:
        for index in range(len(stages)):
            planner.stage(index)
    planner.stage(target)
    if planner.faults:
        raise together(planner.faults)
    used = planner.used_build_args | planner.globals.used_build_args
    unused = tuple(name for name in plan_options.build_args if name not in used and not _is_predefined(name))
    return Plan(
        stages=planner.planned,
        images=planner.images.table,
        target=target,
        unused_build_args=unused,
        findings=tuple(planner.findings),
        global_args=planner.globals.declared,
        epoch=planner.global_arg("SOURCE_DATE_EPOCH") or "",
    )


def _before(error: DockerfileError, dockerfile: Dockerfile) -> Dockerfile:
    """Return the instructions above an error."""
    line = error.span.first_line if error.span else 0
    above = tuple(node for node in dockerfile.instructions if node.span.first_line < line)
    return replace(dockerfile, instructions=above, faults=())


def _is_predefined(name: str) -> bool:
    return name.upper() in PROXY_ARGS or name == "SOURCE_DATE_EPOCH" or name.startswith("BUILDKIT_")


class _Planner:
    """Plans stages on demand, each once; the Planner protocol of tiffin.builder.instructions.base."""

    def __init__(
        self,
        dockerfile: Dockerfile,
        plan_options: PlanOptions,
        resolve_image: ResolveImage,
        stages: Sequence[Stage],
        findings: list[LintWarning],
    ) -> None:
        self._plan_options = plan_options
        self._stages = stages
        self._current: list[int] = []
        self.lexer = Lexer(dockerfile.escape)
        self.used_build_args: set[str] = set()
        self.findings = findings
        self.faults: list[DockerfileError] = []
        self.planned: dict[int, StagePlan] = {}
        self.images = BaseImages(resolve_image, plan_options.platform, plan_options.source_rules)
        self.globals = GlobalArgs(plan_options, stages[-1].head.name, self.lexer)

    # -- the Planner protocol ------------------------------------------------------------------------------------

    def build_arg(self, name: str) -> str | None:
        value = self._plan_options.build_args.get(name)
        if value is not None:
            self.used_build_args.add(name)
        return value

    def global_arg(self, name: str) -> str | None:
        return self.globals.values.get(name)

    @property
    def proxies(self) -> Mapping[str, str]:
        result: dict[str, str] = {}
        for name in PROXY_ARGS:
            value = self._plan_options.build_args.get(name) or self._plan_options.build_args.get(name.lower())
            if value:
                result[name] = result[name.lower()] = value
        return result

    @property
    def global_args(self) -> Mapping[str, str]:
        return self.globals.values

    @property
    def run_defaults(self) -> RunDefaults:
        return self._plan_options.run_defaults

    def found(self, rule: str, message: str, span: Span) -> None:
        self.findings.append(LintWarning(rule=rule, message=message, span=span))

    def check_allowed(self, entitlement: str, span: Span) -> None:
        if entitlement not in self._plan_options.allowed:
            raise DockerfileError(
                f"{entitlement} is not allowed", span=span, remedy=f"grant it with --allow {entitlement}"
            )

    def origin(self, name: str, span: Span, *, mount_target: str = "") -> Origin:
        """Return `--from=NAME`: a stage (by name or index), a named context, else an image."""
        here = self._current[-1]
        index = self._stage_index(name, before=here)
        if index is None and name.isascii() and name.isdigit():
            index = int(name)
            if index >= len(self._stages):
                raise DockerfileError(
                    f"invalid stage index {name}",
                    span=span,
                    remedy=f"the stages before this one are 0 to {here - 1}" if here else "no stage is before this one",
                )
            if index >= here:
                raise self._too_late(name, span, mount_target)
        context = self._plan_options.contexts.get(name)
        if context is not None:
            return self._from_context(name, context, span)
        if index is not None:
            self.stage(index)
            return StageOrigin(index=index)
        if self._stage_index(name, before=len(self._stages)) is not None:
            raise self._too_late(name, span, mount_target)
        near = did_you_mean(name, [stage.head.name for stage in self._stages[:here] if stage.head.name])
        if near:
            raise DockerfileError(f'no stage or context is named "{name}"', span=span, remedy=near)
        if not name:
            raise DockerfileError("--from= names nothing", span=span, remedy="give a stage, a context or an image")
        return self.images.origin(name, self._plan_options.platform, span)

    def remote(self, origin: Remote, span: Span) -> Remote:
        rules = self._plan_options.source_rules
        return origin if rules is None else rules.source(origin, span)

    # -- planning ------------------------------------------------------------------------------------------------

    def find_target(self) -> int:
        if not self._plan_options.target:
            return len(self._stages) - 1
        index = self._stage_index(self._plan_options.target, before=len(self._stages))
        if index is not None:
            return index
        names = [stage.head.name for stage in self._stages if stage.head.name]
        hint = did_you_mean(self._plan_options.target, names)
        listed = f"the named stages are {', '.join(names)}" if names else "no stage has a name"
        raise UsageError(f'target stage "{self._plan_options.target}" could not be found', remedy=hint or listed)

    def stage(self, index: int) -> StagePlan:
        """Plan stage `index` and all it needs."""
        if index in self.planned:
            return self.planned[index]
        self._current.append(index)
        stage = self._stages[index]
        scope, base = self._begin(stage)
        for text in scope.take_triggers():
            node = parse_trigger(text, stage.head.span.file, stage.head.span)
            first = len(scope.steps)
            KEYWORDS[node.keyword].parse(node).apply(scope)
            scope.rename_steps(first, "ONBUILD")
        commits = set()
        for instruction, commit in stage.body:
            try:
                instruction.apply(scope)
            except DockerfileError as exc:
                self.faults.append(exc)
            if commit:
                commits.add(len(scope.steps) - 1)
        self._current.pop()
        lone = len(self._stages) == 1
        self.planned[index] = StagePlan(
            index=index,
            name=stage.head.name or ("" if lone else f"stage-{index}"),
            base=base,
            platform=scope.platform,
            config=scope.config,
            author=scope.author,
            steps=tuple(scope.steps),
            history=tuple(scope.history),
            env=dict(scope.env),
            args=dict(scope.args),
            own_args=dict(scope.own_args),
            from_args=self.globals.used_by(stage.head),
            workdir_set=scope.workdir_set,
            commits=frozenset(commits),
        )
        return self.planned[index]

    def _begin(self, stage: Stage) -> tuple[StageScope, StageOrigin | ImageOrigin | None]:
        """Return the scope a stage starts with, and its base."""
        head = stage.head
        platform = self._platform(head)
        with ErrorSpan(head.span):
            name = self.lexer.process_word(head.image, self.globals.values)
        if not name:
            raise DockerfileError(
                f"base name ({head.image}) should not be blank", span=head.span, remedy="set the ARG it uses"
            )
        own_context = self._plan_options.contexts.get(head.name) if head.name else None
        if own_context is not None:
            return self._begin_from(self._from_context(head.name, own_context, head.span), platform, head)
        here = self._current[-1]
        index = self._stage_index(name, before=here)
        if index is not None:
            return self._begin_from_stage(index, platform)
        if name == SCRATCH:
            env = {"PATH": DEFAULT_PATH}
            config = RunConfig(env=(f"PATH={DEFAULT_PATH}",), working_dir="/")
            return self._scope(platform, config, env), None
        context = self._plan_options.contexts.get(name)
        if context is not None:
            return self._begin_from(self._from_context(name, context, head.span), platform, head)
        origin = self._from_image(name, platform, head)
        actual = self.images.table[origin.name].config.platform
        if actual.architecture and (actual.os, actual.architecture) != (platform.os, platform.architecture):
            message = f'Base image {name} was pulled with platform "{actual}", expected "{platform}" for current build'
            self.found("InvalidBaseImagePlatform", message, head.span)
        return self._begin_from(origin, platform, head)

    def _from_image(self, name: str, platform: Platform, head: From) -> ImageOrigin:
        """Return an image; it may be called as this stage or a later one is (`FROM alpine AS alpine`)."""
        try:
            return self.images.origin(name, platform, head.span)
        except BuildError as exc:
            later = self._stage_index(name, before=len(self._stages))
            if later is None:
                raise
            raise (self._circular if later == self._current[-1] else self._too_late)(name, head.span) from exc

    def _begin_from(
        self, origin: Origin, platform: Platform, head: From
    ) -> tuple[StageScope, StageOrigin | ImageOrigin | None]:
        if isinstance(origin, StageOrigin):
            return self._begin_from_stage(origin.index, platform)
        if not isinstance(origin, ImageOrigin):
            config = RunConfig(env=(f"PATH={DEFAULT_PATH}",), working_dir="/")
            scope = self._scope(platform, config, {"PATH": DEFAULT_PATH})
            op = CopyOp(sources=(Input(origin=origin, paths=("/",)),), dest="/")
            text = f"COPY --from={head.name or head.image} / /"
            scope.add_step(op, text=text, created_by=f"{text} # buildkit", span=head.span)
            return scope, None
        image = self.images.table[origin.name]
        env = dict(item.partition("=")[::2] for item in image.config.config.env)
        env.setdefault("PATH", DEFAULT_PATH)
        config = replace(image.config.config, env=tuple(f"{name}={value}" for name, value in env.items()))
        scope = self._scope(platform, config, env)
        scope.set_author(image.config.author)
        return scope, origin

    def _begin_from_stage(self, index: int, platform: Platform) -> tuple[StageScope, StageOrigin]:
        base = self.stage(index)
        scope = StageScope(
            planner=self,
            lexer=self.lexer,
            platform=base.platform,
            config=base.config,
            env=dict(base.env),
            args=dict(base.args),
            author=base.author,
            workdir_set=base.workdir_set,
        )
        return scope, StageOrigin(index=index)

    def _scope(self, platform: Platform, config: RunConfig, env: dict[str, str]) -> StageScope:
        return StageScope(planner=self, lexer=self.lexer, platform=platform, config=config, env=env)

    def _platform(self, head: From) -> Platform:
        if not head.platform:
            return self._plan_options.platform
        with ErrorSpan(head.span):
            text = self.lexer.process_word(head.platform, self.globals.values)
        if not text:
            raise DockerfileError(
                f"empty platform value from expression {head.platform}", span=head.span, remedy="set the ARG it uses"
            )
        try:
            return Platform.parse(text)
        except UsageError as exc:
            raise DockerfileError(exc.message, span=head.span, remedy=exc.remedy) from exc

    def _from_context(self, name: str, context: NamedContext, span: Span) -> Origin:
        match context:
            case DirectoryContext():
                return ContextOrigin(name=name)
            case RemoteContext(origin=origin):
                return self.remote(origin, span)
            case StageContext(stage=stage):
                index = self._stage_index(stage, before=len(self._stages))
                if index is None:
                    raise UsageError(
                        f"--build-context {name}=target:{stage}: no stage has that name", remedy="name one"
                    )
                if index in self._current:
                    raise self._circular(stage, span)
                self.stage(index)
                return StageOrigin(index=index)
            case ImageContext(reference=reference):
                return self.images.origin(reference, self._plan_options.platform, span)

    def _stage_index(self, name: str, *, before: int) -> int | None:
        """Return the last stage of that name (case does not count) that stands before stage `before`."""
        wanted = name.lower()
        for index in range(before - 1, -1, -1):
            if self._stages[index].head.name == wanted and wanted:
                return index
        return None

    def _circular(self, name: str, span: Span) -> DockerfileError:
        return DockerfileError(f"circular dependency detected on stage: {name}", span=span, remedy="name another base")

    def _too_late(self, name: str, span: Span, mount_target: str = "") -> DockerfileError:
        if mount_target:
            message = (
                f'cannot mount from stage "{name}" to "{mount_target}", '
                "stage needs to be defined before current command"
            )
        else:
            current = self._stages[self._current[-1]].head.name or f"stage-{self._current[-1]}"
            message = f'cannot copy from stage "{name}", it needs to be defined before current stage "{current}"'
        return DockerfileError(message, span=span, remedy="move the stage up")
