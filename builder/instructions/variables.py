"""ARG, ENV and LABEL: names with values."""

from __future__ import annotations

from tiffin.builder.dockerfile.parser import Instruction
from tiffin.builder.dockerfile.words import is_legacy_form, parse_args, parse_name_values
from tiffin.builder.errors import DockerfileError, Span
from tiffin.builder.instructions import findings
from tiffin.builder.instructions.base import Declared, ErrorSpan, StageScope, description_of
from tiffin.builder.instructions.flags import flags_of
from tiffin.cache.foundation.frozen import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Arg:
    """ARG name[=default] …; in force from its line on, inherited by stages built from this one."""

    pairs: tuple[tuple[str, str | None], ...]
    comments: tuple[str, ...]
    span: Span

    @classmethod
    def parse(cls, node: Instruction) -> Arg:
        flags_of(node)
        with ErrorSpan(node.span):
            pairs = parse_args(node.value, node.escape)
        if not pairs:
            raise DockerfileError(
                "ARG requires at least one argument", span=node.span, remedy="write ARG NAME[=DEFAULT]"
            )
        return cls(pairs=pairs, comments=node.comments, span=node.span)

    def declared(self, name: str, value: str | None) -> Declared:
        """Return one of the names as --call outline tells it."""
        return Declared(name=name, value=value or "", description=description_of(name, self.comments), span=self.span)

    def apply(self, scope: StageScope) -> None:
        shown = []
        for name, default in self.pairs:
            findings.secret_name(scope, "ARG", name, self.span)
            value = scope.planner.build_arg(name)
            if value is None and default is not None:
                value = scope.expand(default, self.span)
            inherited = scope.planner.global_arg(name) if value is None else None
            told = self.declared(name, value) if inherited is None else None
            value = inherited if value is None else value
            scope.declare(name, value, told)
            shown.append(name if value is None else f"{name}={value}")
        scope.note("ARG " + " ".join(shown))


def _legacy(node: Instruction) -> str:
    return node.written if is_legacy_form(node.value, node.escape) else ""


def _expanded(pairs: tuple[tuple[str, str], ...], scope: StageScope, span: Span) -> list[tuple[str, str]]:
    """Expand the pairs: all of one instruction see the environment as it was before it."""
    result = []
    for written, value in pairs:
        name = scope.expand(written, span)
        if not name:
            raise DockerfileError("names can not be blank", span=span, remedy="write NAME=VALUE")
        result.append((name, scope.expand(value, span)))
    return result


def set_env(env: tuple[str, ...], changes: list[tuple[str, str]]) -> tuple[str, ...]:
    """Return Docker's list of NAME=VALUE with `changes` applied; a name that exists keeps its place."""
    table = dict(item.partition("=")[::2] for item in env)
    table.update(changes)
    return tuple(f"{name}={value}" for name, value in table.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class Env:
    """ENV name=value …, or the old form `ENV name value`."""

    pairs: tuple[tuple[str, str], ...]
    legacy: str  # the keyword as written, where the form is the old one
    span: Span

    @classmethod
    def parse(cls, node: Instruction) -> Env:
        flags_of(node)
        with ErrorSpan(node.span):
            pairs = parse_name_values(node.value, "ENV", node.escape)
        return cls(pairs=pairs, legacy=_legacy(node), span=node.span)

    def apply(self, scope: StageScope) -> None:
        changes = _expanded(self.pairs, scope, self.span)
        if self.legacy:
            findings.legacy_form(scope, self.legacy, self.span)
        for name, _ in changes:
            findings.secret_name(scope, "ENV", name, self.span)
        scope.set_variables(changes)
        shown = " ".join(f"{name}={value}" for name, value in changes)
        scope.configure(f"ENV {shown}", env=set_env(scope.config.env, changes))


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """LABEL name=value …; later wins."""

    pairs: tuple[tuple[str, str], ...]
    legacy: str  # as that of Env
    span: Span

    @classmethod
    def parse(cls, node: Instruction) -> Label:
        flags_of(node)
        with ErrorSpan(node.span):
            pairs = parse_name_values(node.value, "LABEL", node.escape)
        return cls(pairs=pairs, legacy=_legacy(node), span=node.span)

    def apply(self, scope: StageScope) -> None:
        changes = _expanded(self.pairs, scope, self.span)
        if self.legacy:
            findings.legacy_form(scope, self.legacy, self.span)
        shown = " ".join(f"{name}={value}" for name, value in changes)
        scope.configure(f"LABEL {shown}", labels={**scope.config.labels, **dict(changes)})
