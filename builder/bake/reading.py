"""Bake files to what they define together."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tiffin.builder.bake.definition import Config, Group, Target, unique
from tiffin.builder.bake.evaluation import Evaluation
from tiffin.builder.bake.files import File, Surroundings
from tiffin.builder.bake.hcl.bodies import Body, read_hcl
from tiffin.builder.bake.hcl.json_syntax import read_json
from tiffin.builder.errors import BakeError
from tiffin.cache.foundation.frozen import replace

COMPOSE_ENDINGS = (".yml", ".yaml")


def read_files(files: Sequence[File], surroundings: Surroundings, warn: Callable[[str], None]) -> Config:
    """Return what files define, later ones over earlier ones, compose files below all. Raises BakeError."""
    try:
        return _read(files, surroundings, warn)
    except BakeError as exc:
        exc.quote({file.name: file.text for file in files})
        raise


def _read(files: Sequence[File], surroundings: Surroundings, warn: Callable[[str], None]) -> Config:
    composed, bodies = [], []
    for file in files:
        body = _body(file)
        if body is None:
            composed.append(file)
        else:
            bodies.append(body)
    targets: dict[str, Target] = {}
    groups: dict[str, Group] = {}
    if composed:
        from tiffin.builder.bake.composed import read_compose

        found = read_compose(composed, surroundings, warn)
        targets, groups = dict(found.targets), dict(found.groups)
    if not bodies:
        return Config(targets=targets, groups=groups)
    evaluation = Evaluation(
        bodies, surroundings.builtins, surroundings.look_up, warn, is_relative=surroundings.is_relative
    )
    evaluation.check()
    for group in evaluation.groups():
        groups[group.name] = group
    for target in evaluation.targets():
        targets[target.name] = targets[target.name].under(target) if target.name in targets else target
    for label, names in evaluation.renamed().items():
        groups.setdefault(label, Group(name=label, targets=unique(names)))
    evaluation.rest()
    groups = {name: replace(group, targets=unique(group.targets)) for name, group in groups.items()}
    return Config(targets=targets, groups=groups, variables=evaluation.variables())


def _body(file: File) -> Body | None:
    """Return what a file says, None for a compose file. Raises BakeError."""
    name = file.name.lower()
    if name.endswith(COMPOSE_ENDINGS):
        return None
    if name.endswith(".json"):
        return read_json(file.text, file.name)
    if name.endswith(".hcl"):
        return read_hcl(file.text, file.name)
    if _is_compose(file):
        return None
    try:
        return read_hcl(file.text, file.name)
    except BakeError:
        try:
            return read_json(file.text, file.name)
        except BakeError:
            pass
        raise


def _is_compose(file: File) -> bool:
    """Whether a file whose name does not tell has services."""
    from tiffin.builder.bake.composed import has_services

    return has_services(file)
