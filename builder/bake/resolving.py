"""Which targets are built, and what each is: groups, inherits, --set, targets that others need."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase

from tiffin.builder.bake.definition import DEFAULT, Config, Group, Target, unique
from tiffin.builder.bake.fields import CONTEXT, CONTEXTS, DOCKERFILE, ENTITLEMENTS, INHERITS, OUTPUT, PLATFORMS
from tiffin.builder.bake.overrides import WILD, Override, granted_by, read_overrides
from tiffin.builder.bake.places import TARGET, rebased
from tiffin.builder.dockerfile.suggest import did_you_mean
from tiffin.builder.errors import UsageError
from tiffin.cache.foundation.frozen import dataclass, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """The targets that are built, with those that they need, and the groups among what was asked for. `granted` is what
    --set allows by naming it.
    """

    targets: Mapping[str, Target]
    groups: Mapping[str, Group]
    granted: Sequence[str] = ()


def resolve(
    config: Config, wanted: Sequence[str], overrides: Sequence[str], look_up: Callable[[str], str | None]
) -> Resolved:
    """Return what `wanted` names, "default" where it is empty. Raises UsageError."""
    return _Resolver(config, read_overrides(overrides, look_up, list(config.targets))).resolve(wanted or [DEFAULT])


class _Resolver:
    def __init__(self, config: Config, overrides: Mapping[str, Sequence[Override]]) -> None:
        self._config = config
        self._overrides = overrides
        self._targets: dict[str, Target] = {}
        self._whole: dict[str, Target] = {}

    def resolve(self, wanted: Sequence[str]) -> Resolved:
        """Return everything."""
        names = unique(found for text in wanted for found in self._matching(text.replace(".", "_")))
        groups: dict[str, Group] = {}
        for name in names:
            targets, found = self._members(name, {})
            for target in targets:
                self._targets[target] = self._complete(target)
            groups |= {group: self._config.groups[group] for group in found}
        # a target called default is one of those asked for only where it comes first, as in buildx
        asked = [name for number, name in enumerate(names) if name != DEFAULT or (not number and DEFAULT not in groups)]
        if asked:
            default = groups.get(DEFAULT, Group(name=DEFAULT, targets=()))
            groups[DEFAULT] = replace(default, targets=[*default.targets, *asked])
        if DEFAULT in groups:
            groups[DEFAULT] = replace(groups[DEFAULT], targets=sorted(unique(groups[DEFAULT].targets)))
        for name in list(self._targets):
            self._link(name, ())
        return Resolved(targets=self._targets, groups=groups, granted=granted_by(self._overrides))

    def _matching(self, text: str) -> list[str]:
        if not any(letter in text for letter in WILD):
            return [text]
        names = (*self._config.groups, *self._config.targets)
        found = [name for name in names if fnmatchcase(name, text)]
        if not found:
            raise UsageError(f'could not find any target matching "{text}"', remedy="see tiffin bake --list=targets")
        return found

    def _members(self, name: str, seen: dict[str, list[str]]) -> tuple[list[str], list[str]]:
        """Return the targets and the groups that a name means."""
        if name not in self._config.groups:
            return [name], []
        if name in seen:
            return seen[name], [name] if seen[name] else []
        seen[name] = []
        targets: list[str] = []
        groups = [name]
        for member in self._config.groups[name].targets:
            inner, found = ([member], []) if member == name else self._members(member, seen)
            targets += inner
            groups += found
        seen[name] = unique(targets)
        return seen[name], unique(groups)

    def _complete(self, name: str) -> Target:
        """Return a target with all that it inherits and the values that are there without being named."""
        target = self._inherited(name, ())
        values = {key: value for key, value in target.values.items() if key != INHERITS}
        if values.get(CONTEXT) is None:
            values[CONTEXT] = rebased(target.directory or "", ".")
        values[DOCKERFILE] = values.get(DOCKERFILE) or "Dockerfile"
        return replace(target, values=values)

    def _inherited(self, name: str, below: tuple[str, ...]) -> Target:
        if name in self._whole:
            return self._whole[name]
        own = self._config.targets.get(name)
        if own is None:
            known = (*self._config.targets, *self._config.groups)
            needed = f", which {below[-1]} inherits" if below else ""
            raise UsageError(
                f"failed to find target {name}{needed}",
                remedy=did_you_mean(name, known) or f"there are {', '.join(sorted(known)) or 'none'}",
            )
        made = Target(name=name)
        for base in own.get(INHERITS) or ():
            if base != name and base not in below:  # a circle ends where it closes
                made = made.under(self._inherited(base, (*below, name)))
        made = replace(made.under(own), name=name)
        for override in self._overrides.get(name, ()):
            made = override.apply(made)
        made = made.normal()
        if not below:
            self._whole[name] = made
        return made

    def _link(self, name: str, below: tuple[str, ...]) -> None:
        """Bring the targets that a target's contexts need. Raises UsageError."""
        target = self._targets[name]
        for place in (target.get(CONTEXTS) or {}).values():
            if not place.startswith(TARGET):
                continue
            other = place.removeprefix(TARGET)
            if other == name:
                raise UsageError(f"target {name} cannot link to itself", remedy="name another in contexts")
            if other in below:
                shown = " -> ".join((*below, name, other))
                raise UsageError(f"infinite loop from {name} to {other}: {shown}", remedy="break the circle")
            if other not in self._targets:
                linked = self._complete(other).having(**{OUTPUT: [{"type": "cacheonly"}]})
                self._targets[other] = replace(linked, is_linked=True)
            self._link(other, (*below, name))
            self._check_linked(name, other)

    def _check_linked(self, name: str, other: str) -> None:
        target, linked = self._targets[name], self._targets[other]
        rights = linked.get(ENTITLEMENTS) or []
        if rights:
            own = target.get(ENTITLEMENTS) or []
            self._targets[name] = target.having(**{ENTITLEMENTS: unique([*own, *rights])})
        wanted, had = target.get(PLATFORMS) or [], linked.get(PLATFORMS) or []
        if len(wanted) > 1 and len(had) > 1 and not set(wanted) <= set(had):
            raise UsageError(
                f"target {other} can't be used by {name} because its platforms {wanted} are not a subset of {had}",
                remedy=f"build {other} for them, too",
            )
