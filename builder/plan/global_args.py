"""ARGs before the first FROM and those that are there without being declared: their values, and what checks say of
FROM.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

from tiffin.builder.dockerfile.expand import Lexer
from tiffin.builder.dockerfile.lint_base import LintWarning
from tiffin.builder.dockerfile.suggest import almost
from tiffin.builder.errors import DockerfileError, TiffinError, UsageError
from tiffin.builder.instructions.base import Declared, ErrorSpan
from tiffin.builder.instructions.from_instruction import From
from tiffin.builder.instructions.variables import Arg
from tiffin.builder.oci.reference import Reference
from tiffin.builder.oci.spec import Platform
from tiffin.builder.plan.plan_options import PlanOptions
from tiffin.cache.foundation.frozen import dataclass

TARGET_PLATFORM = "TARGETPLATFORM"


@dataclass(frozen=True, slots=True, kw_only=True)
class GlobalArg:
    """A declared one, and the names its default uses."""

    declared: Declared
    uses: frozenset[str]


class GlobalArgs:
    """Grows with each ARG; `values` has what FROM and later ARGs see."""

    def __init__(self, plan_options: PlanOptions, last_stage: str, lexer: Lexer) -> None:
        self._given = plan_options.build_args
        self._lexer = lexer
        predefined = {
            **_platform_args("TARGET", plan_options.platform),
            **_platform_args("BUILD", Platform.local()),
            "TARGETSTAGE": plan_options.target or last_stage or "default",
        }
        self.values = {name: self._given.get(name, value) for name, value in predefined.items()}
        self.declared: dict[str, GlobalArg] = {}
        self.used_build_args = {name for name in predefined if name in self._given}
        self._defaults: dict[str, str] | None = dict(self.values)  # without --build-arg; None if one cannot be expanded

    def add(self, arg: Arg) -> None:
        """Evaluate an ARG; raises DockerfileError."""
        for name, default in arg.pairs:
            value, uses = self._given.get(name), frozenset[str]()
            if value is not None:
                self.used_build_args.add(name)
            elif default is not None:
                with ErrorSpan(arg.span):
                    expansion = self._lexer.expand(default, self.values)
                value, uses = expansion.text, self._uses(name, expansion.used)
            if value is not None:
                self.values[name] = value
            self.declared[name] = GlobalArg(declared=arg.declared(name, value), uses=uses)
            self._add_default(name, default)

    def _uses(self, name: str, used: frozenset[str]) -> frozenset[str]:
        """Return what a default uses; one that adds to the value before it uses what that used."""
        before = self.declared[name].uses if name in used and name in self.declared else frozenset()
        return (used - {name}) | before

    def _add_default(self, name: str, default: str | None) -> None:
        if self._defaults is None or default is None:
            return
        try:
            self._defaults[name] = self._lexer.process_word(default, self._defaults)
        except DockerfileError:  # told, if it matters, where the value is needed
            self._defaults = None

    def used_by(self, head: From) -> frozenset[str]:
        """Return the names that a FROM uses."""
        used: set[str] = set()
        for word in (head.image, head.platform):
            try:
                used |= self._lexer.expand(word, self.values).used
            except DockerfileError:  # told when the stage is planned
                continue
        return frozenset(used)

    def check(self, heads: Sequence[From]) -> Iterator[LintWarning]:
        """Yield what is to be said of FROM instructions, needed or not."""
        yield from self._bad_defaults(heads)
        for head in heads:
            yield from self._undeclared(head)
            if head.platform:
                yield from self._platform(head)

    def _bad_defaults(self, heads: Sequence[From]) -> Iterator[LintWarning]:
        for head in heads:
            if self._defaults is None:
                return
            try:
                name = self._lexer.process_word(head.image, self._defaults)
            except DockerfileError:
                return
            try:
                Reference.parse(name)
            except TiffinError:
                message = f"Default value for ARG {head.image} results in empty or invalid base image name"
                yield LintWarning(rule="InvalidDefaultArgInFrom", message=message, span=head.span)

    def _undeclared(self, head: From) -> Iterator[LintWarning]:
        known = sorted({*self.values, *self.declared})
        for word in (head.image, head.platform):
            unset: set[str] = set()
            with suppress(DockerfileError):  # told when the stage is planned
                self._lexer.process_word(word, self.values, unset)
            for name in sorted(unset.difference(known)):
                near = almost(name, known)
                message = f"FROM argument '{name}' is not declared" + (f" (did you mean {near}?)" if near else "")
                yield LintWarning(rule="UndefinedArgInFrom", message=message, span=head.span)

    def _platform(self, head: From) -> Iterator[LintWarning]:
        try:
            expansion = self._lexer.expand(head.platform, self.values)
            platform = Platform.parse(expansion.text)
        except (DockerfileError, UsageError):  # told when the stage is planned
            return
        if (
            expansion.used == {TARGET_PLATFORM}
            and not expansion.unset
            and expansion.text == self.values[TARGET_PLATFORM]
        ):
            message = (
                f"Setting platform to predefined {head.platform} in FROM is redundant as this is the default behavior"
            )
            yield LintWarning(rule="RedundantTargetPlatform", message=message, span=head.span)
        is_named = any(part in head.name for part in (platform.os, platform.architecture))
        if not (expansion.used or expansion.unset or is_named):
            message = f'FROM --platform flag should not use constant value "{expansion.text}"'
            yield LintWarning(rule="FromPlatformFlagConstDisallowed", message=message, span=head.span)


def _platform_args(prefix: str, platform: Platform) -> Mapping[str, str]:
    return {
        f"{prefix}PLATFORM": str(platform),
        f"{prefix}OS": platform.os,
        f"{prefix}OSVERSION": "",
        f"{prefix}ARCH": platform.architecture,
        f"{prefix}VARIANT": platform.variant,
    }
