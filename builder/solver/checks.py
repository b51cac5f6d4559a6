"""All build checks of one build: those of the file, those of the plan, and that of the context."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tiffin.builder.dockerfile.lint import CheckOptions, check_options, filtered, lint
from tiffin.builder.dockerfile.lint_base import LintWarning
from tiffin.builder.dockerfile.parser import Dockerfile
from tiffin.builder.errors import BuildError, TiffinError
from tiffin.builder.instructions.ops import ContextOrigin, CopyOp
from tiffin.builder.plan.base_images import ResolveImage
from tiffin.builder.plan.plan import Plan
from tiffin.builder.plan.plan_options import PlanOptions
from tiffin.builder.plan.planner import make_plan
from tiffin.builder.sources.context import Contexts
from tiffin.builder.sources.directory_tree import DirectoryTree
from tiffin.cache.foundation.frozen import replace

OVERRIDE = "BUILDKIT_DOCKERFILE_CHECK"  # the build argument that replaces `# check=`


def findings_of(
    dockerfile: Dockerfile,
    planning: Iterable[LintWarning],
    plan: Plan | None,
    contexts: Contexts,
    override: str | None,
) -> tuple[CheckOptions, tuple[LintWarning, ...]]:
    """Return what is found, in the order of lines; `planning` is what was found on the way to `plan`, or to an error.

    Raises DockerfileError.
    """
    options = check_options(dockerfile, override)
    found = list(lint(dockerfile, options))
    found += filtered(dockerfile, options, [*planning, *(_ignored_sources(plan, contexts) if plan else ())])
    return options, tuple(sorted(found, key=lambda warning: warning.span.first_line))


def check(
    dockerfile: Dockerfile, plan_options: PlanOptions, resolve_image: ResolveImage, contexts: Contexts
) -> tuple[tuple[LintWarning, ...], TiffinError | None]:
    """Return what is found, and the error that a build would end with before its first step."""
    planning: list[LintWarning] = []
    plan: Plan | None = None
    error: TiffinError | None = None
    try:
        plan = make_plan(dockerfile, replace(plan_options, checks_only=True), resolve_image, planning)
    except TiffinError as exc:
        error = exc
    try:
        options, found = findings_of(dockerfile, planning, plan, contexts, plan_options.build_args.get(OVERRIDE))
    except TiffinError as exc:
        return (), exc
    if options.error and found and error is None:
        error = violation(found)
    return found, error


def violation(found: Sequence[LintWarning]) -> BuildError:
    """Return the error of findings where `check=error=true`."""
    rules = ", ".join(dict.fromkeys(warning.rule for warning in found))
    first = found[0]
    return BuildError(
        f"lint violation found for rules: {rules} ({first.message})",
        span=first.span,
        remedy="mend it, or skip the rule with # check=skip=RULE",
    )


def _ignored_sources(plan: Plan, contexts: Contexts) -> list[LintWarning]:
    """Return CopyIgnoredFile findings: plain sources of COPY and ADD that the ignore file hides."""
    found = []
    for stage in plan.stages.values():
        for step in stage.steps:
            if not isinstance(step.op, CopyOp):
                continue
            for item in step.op.sources:
                if item.origin != ContextOrigin():
                    continue
                tree = contexts.tree(item.origin)
                for path in item.paths:
                    if isinstance(tree, DirectoryTree) and tree.hides_for_good(path.strip("/").removeprefix("./")):
                        message = (
                            f'Attempting to {step.text.split(None, 1)[0].title()} file "{path}" that is excluded by'
                            " .dockerignore"
                        )
                        found.append(LintWarning(rule="CopyIgnoredFile", message=message, span=step.span))
    return found
