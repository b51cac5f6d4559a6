"""All build checks of one build: those of the file, those of the plan, and that of the context."""

from __future__ import annotations

from builder.dockerfile.lint import CheckOptions, check_options, filtered, lint
from builder.dockerfile.lint_base import LintWarning
from builder.dockerfile.parser import Dockerfile
from builder.errors import BuildError
from builder.instructions.ops import ContextOrigin, CopyOp
from builder.solver.context import Contexts
from builder.solver.planned import Plan
from builder.solver.trees import DirectoryTree

OVERRIDE = "BUILDKIT_DOCKERFILE_CHECK"  # the build argument that replaces `# check=`


def findings_of(
    dockerfile: Dockerfile, plan: Plan | None, contexts: Contexts, override: str | None
) -> tuple[CheckOptions, tuple[LintWarning, ...]]:
    """What is found, in the order of lines; `plan` None leaves out what needs values. Raises DockerfileError."""
    options = check_options(dockerfile, override)
    found = list(lint(dockerfile, options))
    if plan is not None:
        found += filtered(dockerfile, options, [*plan.findings, *_ignored_sources(plan, contexts)])
    return options, tuple(sorted(found, key=lambda warning: warning.span.first_line))


def refuse(found: tuple[LintWarning, ...]) -> None:
    """Raise BuildError for findings where `check=error=true`."""
    if found:
        rules = ", ".join(dict.fromkeys(warning.rule for warning in found))
        first = found[0]
        raise BuildError(
            f"lint violation found for rules: {rules} ({first.message})",
            span=first.span,
            remedy="mend it, or skip the rule with # check=skip=RULE",
        )


def _ignored_sources(plan: Plan, contexts: Contexts) -> list[LintWarning]:
    """CopyIgnoredFile: plain sources of COPY and ADD that the ignore file hides."""
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
                        message = f'Attempting to {step.text.split(None, 1)[0].title()} file "{path}" that is excluded by .dockerignore'
                        found.append(LintWarning(rule="CopyIgnoredFile", message=message, span=step.span))
    return found
