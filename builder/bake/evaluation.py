"""Bodies to targets: variables, functions, attributes of other targets, matrices."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from tiffin.builder.bake.definition import Group, Target, Variable
from tiffin.builder.bake.fields import CONTEXT, CONTEXTS, FIELDS, text_map, texts
from tiffin.builder.bake.functions.declared import UserFunction
from tiffin.builder.bake.functions.table import call_builtin, has_builtin
from tiffin.builder.bake.hcl.bodies import Block, Body, Definition
from tiffin.builder.bake.hcl.expressions import Attribute, Expression, Index, Inner, ObjectNode, Scope
from tiffin.builder.bake.hcl.expressions import Variable as Name
from tiffin.builder.bake.hcl.faults import ExpressionError, UndefinedError
from tiffin.builder.bake.hcl.values import Object, Value, as_text
from tiffin.builder.bake.places import directory_of, rebased
from tiffin.builder.bake.variables import Declared
from tiffin.builder.dockerfile.suggest import did_you_mean
from tiffin.cache.foundation.frozen import dataclass

TARGET, GROUP, VARIABLE, FUNCTION = "target", "group", "variable", "function"
KINDS = (TARGET, GROUP)
OF_GROUPS: Mapping[str, Callable[[Value], Any]] = {"targets": texts, "description": as_text}
NAMES = re.compile(r"[a-zA-Z0-9_-]+")
MAX_TARGETS = 100_000  # of one matrix


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """A target or group: a block, with the values of its matrix."""

    name: str
    block: Block
    scope: Scope


class Evaluation:
    """What several files say together, later ones over earlier ones.

    `builtins` are variables that nothing changes; `look_up` gives those of the caller; `is_relative`: paths of contexts
    begin where their file is. `warn` is told of what has no effect.
    """

    def __init__(
        self,
        bodies: Sequence[Body],
        builtins: Mapping[str, str],
        look_up: Callable[[str], str | None],
        warn: Callable[[str], None],
        *,
        is_relative: bool = False,
    ) -> None:
        self._builtins = builtins
        self._warn = warn
        self._is_relative = is_relative
        blocks = [block for body in bodies for block in body.blocks]
        self._attributes = {name: item for body in bodies for name, item in body.attributes.items()}
        declared = [block for block in blocks if block.kind == VARIABLE and block.label not in (*KINDS, *builtins)]
        known = frozenset((*(block.label for block in declared), *builtins))
        self._declared = {block.label: Declared(block, self, look_up, known) for block in declared}
        self._functions = {
            block.label: UserFunction(block, self)
            for block in blocks
            if block.kind == FUNCTION and block.label not in KINDS
        }
        self._values: dict[str, Value] = {}
        self._busy: list[tuple[str, ...]] = []
        self._read: dict[tuple[int, str, str], Value] = {}
        self._blocks = [block for block in blocks if block.kind in KINDS]
        self._instances: dict[str, dict[str, list[Instance]]] | None = None

    # -- names in expressions ------------------------------------------------------------------------------------------

    def variable(self, name: str, line: int) -> Value:
        """Return the value of a variable, made when it is first read. Raises ExpressionError, BakeError."""
        if name in self._builtins:
            return self._builtins[name]
        if name in KINDS:
            return Object(list(self._of(name)), lambda label: self._object(name, label))
        if name not in self._values:
            if name not in self._attributes and name not in self._declared:
                names = [*self._attributes, *self._declared, *self._builtins]
                raise UndefinedError(
                    f'there is no variable "{name}"', line, remedy=did_you_mean(name, names) or "declare it"
                )
            self._values[name] = self._once(("variable", name), line, lambda: self._made(name))
        return self._values[name]

    def call(self, name: str, arguments: Sequence[Value], line: int) -> Value:
        """Call a function. Raises ExpressionError, BakeError."""
        if has_builtin(name):
            return call_builtin(name, arguments)
        if name not in self._functions:
            remedy = did_you_mean(name, list(self._functions)) or "declare it, or see the list of functions"
            raise UndefinedError(f'there is no function "{name}"', line, remedy=remedy)
        return self._once(("function", name), line, lambda: self._functions[name].call(arguments))

    def _made(self, name: str) -> Value:
        if name in self._attributes:
            return self._attributes[name].value(self)
        return self._declared[name].value()

    def _once(self, what: tuple[str, ...], line: int, work: Callable[[], Value]) -> Value:
        """Do what leads to no value if it needs itself."""
        if what in self._busy:
            shown = ".".join(what[1:])
            raise ExpressionError(f"{what[0]} cycle not allowed for {shown}", line, remedy="break the circle")
        self._busy.append(what)
        try:
            return work()
        finally:
            self._busy.pop()

    def _object(self, kind: str, label: str) -> Value:
        """Return a target as an object; of several blocks of one name the last that has an attribute counts."""
        instances = self._of(kind)[label]

        def read(name: str) -> Value:
            if name == "name":
                return label
            having = [instance for instance in instances if instance.block.get(name) is not None]
            return self._attribute(having[-1], name) if having else None

        return Object(["name", *(FIELDS if kind == TARGET else OF_GROUPS)], read)

    # -- blocks --------------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Evaluate what nothing may read. Raises BakeError."""
        for declared in self._declared.values():
            declared.block_value(lambda name: self.variable(name, 0))
        for declared in self._declared.values():
            declared.validate()
        for function in self._functions.values():
            function.check()

    def rest(self) -> None:
        """Evaluate the attributes that no target reads. Raises BakeError."""
        for name, item in self._attributes.items():
            item.located(partial(self.variable, name, 0))

    def variables(self) -> list[Variable]:
        """Return all variables, sorted."""
        return [declared.shown(self.variable(name, 0)) for name, declared in sorted(self._declared.items())]

    def targets(self) -> Iterator[Target]:
        """Yield what each block says of each of its targets. Raises BakeError."""
        for instance in self._all(TARGET):
            values: dict[str, Any] = {}
            for name in FIELDS:
                value = self._attribute(instance, name)
                if value is not None:
                    values[name] = value
            directory = directory_of(instance.block.file) if self._is_relative else None
            yield Target(name=instance.name, values=values, directory=directory)
            self._warn_of_others(instance.block)

    def groups(self) -> Iterator[Group]:
        """Yield the groups. Raises BakeError."""
        for instance in self._all(GROUP):
            if instance.block.get("targets") is None:
                raise instance.block.wrong(f"group {instance.name} has no targets", remedy="add targets = […]")
            yield Group(
                name=instance.name,
                targets=self._attribute(instance, "targets") or [],
                description=self._attribute(instance, "description") or "",
            )

    def renamed(self) -> dict[str, list[str]]:
        """Return the targets that each matrix made, by the name of the block."""
        found: dict[str, list[str]] = {}
        for instance in self._all(TARGET):
            found.setdefault(instance.block.label, []).append(instance.name)
        return {label: names for label, names in found.items() if set(names) != {label}}

    def _of(self, kind: str) -> dict[str, list[Instance]]:
        if self._instances is None:
            self._instances = {TARGET: {}, GROUP: {}}
            for block in self._blocks:
                for instance in self._expanded(block):
                    self._instances[block.kind].setdefault(instance.name, []).append(instance)
        return self._instances[kind]

    def _all(self, kind: str) -> list[Instance]:
        order = {id(block): number for number, block in enumerate(self._blocks)}
        found = [instance for instances in self._of(kind).values() for instance in instances]
        return sorted(found, key=lambda instance: order[id(instance.block)])

    def _expanded(self, block: Block) -> list[Instance]:
        """Return what a block stands for: itself, or one for each combination of its matrix. Raises BakeError."""
        matrix, name = block.get("matrix"), block.get("name")
        if block.kind == GROUP and (matrix or name):
            raise block.wrong(f"{'matrix' if matrix else 'name'} is not supported for groups", remedy="leave it out")
        if matrix is None:
            if name is not None:
                raise name.wrong("name requires matrix", remedy="add one, or rename the block")
            return [Instance(name=_checked(block.label, block), block=block, scope=self)]
        found: dict[str, Instance] = {}
        _checked(block.label, block)
        for values in self._combinations(matrix):
            scope = Inner(self, values)
            made = name.located(partial(_text_in, name, scope)) if name else block.label
            if made in found:
                raise block.wrong(f'duplicate name "{made}"', remedy="use all of the matrix in name")
            found[made] = Instance(name=_checked(made, block), block=block, scope=scope)
        return list(found.values())

    def _combinations(self, matrix: Definition) -> list[dict[str, Value]]:
        found = matrix.value(self)
        if not isinstance(found, dict):
            raise matrix.wrong("matrix must be a map", remedy="write matrix = {name = [values]}")
        count = 1
        for values in found.values():
            if not isinstance(values, (list, dict)):
                raise matrix.wrong("matrix values must be a list", remedy="write matrix = {name = [values]}")
            count *= len(values)
        if count > MAX_TARGETS:
            raise matrix.wrong(f"the matrix has {count} combinations; {MAX_TARGETS} are allowed")
        names = sorted(found)
        columns = [list(values.values()) if isinstance(values, dict) else values for values in map(found.get, names)]
        return [dict(zip(names, reversed(row), strict=True)) for row in itertools.product(*reversed(columns))]

    def _attribute(self, instance: Instance, name: str) -> Value:
        """Return the value of an attribute, None where there is none. Raises BakeError."""
        key = (id(instance.block), instance.name, name)
        if key not in self._read:
            found = instance.block.get(name)
            what = ("reference", instance.block.kind, instance.name, name)
            self._read[key] = None if found is None else self._once(what, 0, lambda: self._value(instance, found))
        return self._read[key]

    def _value(self, instance: Instance, found: Definition) -> Value:
        reads = FIELDS[found.name].read if instance.block.kind == TARGET else OF_GROUPS[found.name]

        def read() -> Value:
            value = found.expression.value(instance.scope)
            if reads is text_map:
                self._refuse_null_lists(found.expression, instance.scope)
            return None if value is None else reads(value)

        value = found.located(read)
        if not self._is_relative or value is None:
            return value
        directory = directory_of(found.file)
        if found.name == CONTEXT and not _is_reference(found.expression):
            return rebased(directory, value)
        if found.name == CONTEXTS:
            return {key: rebased(directory, place) if place else place for key, place in value.items()}
        return value

    def _refuse_null_lists(self, expression: Expression, scope: Scope) -> None:
        """Raise ExpressionError where a variable of lists or maps stands for a text, though it is null: as in HCL, its
        type does not fit.
        """
        for _, item in expression.items if isinstance(expression, ObjectNode) else ():
            if not isinstance(item, Name) or item.name not in self._declared or item.value(scope) is not None:
                continue
            if kind := self._declared[item.name].collection():
                raise ExpressionError(f"string required, not {kind}", item.line, remedy="join() makes a text")

    def _warn_of_others(self, block: Block) -> None:
        known = (*FIELDS, "matrix", "name")
        for name, item in block.body.attributes.items():
            if name not in known:
                hint = did_you_mean(name, known)
                told = f"{item.file}:{item.line}: targets have no {name}: it has no effect"
                self._warn(f"{told}; {hint}" if hint else told)


def _text_in(found: Definition, scope: Scope) -> str:
    return as_text(found.value(scope))


def _checked(name: str, block: Block) -> str:
    if not NAMES.fullmatch(name):
        raise block.wrong(f'invalid name "{name}": only "{NAMES.pattern}" are allowed', remedy="use sanitize()")
    return name


def _is_reference(expression: Expression) -> bool:
    """Whether it is target.NAME.context, which is relative to where that is."""
    if not isinstance(expression, Attribute) or expression.name != CONTEXT:
        return False
    inner = expression.source
    return isinstance(inner, (Attribute, Index)) and isinstance(inner.source, Name) and inner.source.name == TARGET
