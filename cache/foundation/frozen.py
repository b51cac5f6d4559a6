"""Plain values with named members: what `dataclasses` gives, made without compiling code for each class.

A command defines about a hundred such classes before it does anything, and the standard library's decorator takes half
a millisecond for each: a third of a rebuild with nothing changed. This one takes a twentieth of that. Instances take a
little longer to make; the few classes of which there are very many use the standard library's.

Supported: `frozen`, `slots`, `kw_only`, defaults, `field(default_factory=…, repr=…)`, inheritance, `__post_init__`;
equality by class and members, hashing where frozen, pickling.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import attrgetter

from tiffin.cache.foundation.typing_shim import TYPE_CHECKING, dataclass_transform

if TYPE_CHECKING:
    from typing import Any, TypeVar

    _T = TypeVar("_T")
    _Class = TypeVar("_Class", bound=type)

_FIELDS = "__value_fields__"
_MEMBERS = "__value_members__"  # gives those of a value
_MISSING = object()
_PLAIN = frozenset((str, int, bool, float, bytes, type(None)))  # what has nothing inside it


class FrozenError(AttributeError):
    """A member of a frozen value was to be changed."""


class Field:
    """What is known of one member."""

    __slots__ = ("default", "factory", "name", "shown")

    def __init__(self, default: object, factory: Callable[[], object] | None, shown: bool) -> None:
        self.name = ""
        self.default = default
        self.factory = factory
        self.shown = shown


def field(*, default: Any = _MISSING, default_factory: Callable[[], Any] | None = None, repr: bool = True) -> Any:
    """Say more of a member than a default does."""
    return Field(default, default_factory, repr)


@dataclass_transform(field_specifiers=(field,))
def dataclass(*, frozen: bool = False, slots: bool = False, kw_only: bool = False) -> Callable[[_Class], _Class]:
    """Make a class of annotated names one of values."""

    def decorate(cls: _Class) -> _Class:
        own = _own_fields(cls)
        inherited = [item for base in cls.__bases__ for item in getattr(base, _FIELDS, {}).values()]
        fields = {item.name: item for item in (*inherited, *own)}
        namespace = dict(cls.__dict__)
        for item in own:
            namespace.pop(item.name, None)
        if slots:
            namespace["__slots__"] = tuple(item.name for item in own)
            namespace.pop("__dict__", None)
            namespace.pop("__weakref__", None)
        namespace[_FIELDS] = fields
        namespace[_MEMBERS] = _getter(tuple(fields))
        namespace.setdefault("__match_args__", () if kw_only else tuple(fields))
        namespace.setdefault("__init__", _init(tuple(fields.values()), positional=not kw_only))
        namespace.setdefault("__repr__", _repr)
        namespace.setdefault("__eq__", _equal)
        namespace.setdefault("__reduce__", _reduce)
        if frozen:
            namespace.setdefault("__hash__", _hash)
            namespace.setdefault("__setattr__", _refuse)
            namespace.setdefault("__delattr__", _refuse)
        return type(cls)(cls.__name__, cls.__bases__, namespace)

    return decorate


def is_value_class(cls: object) -> bool:
    """Whether something is a class of such values."""
    return isinstance(cls, type) and hasattr(cls, _FIELDS)


def fields(value: object) -> tuple[str, ...]:
    """Return the names of a value's members, or of a class's."""
    return tuple(getattr(value, _FIELDS))


def replace(value: _T, **changes: object) -> _T:
    """Return a copy of `value` with other members; raises TypeError for a name it does not have."""
    members = {name: getattr(value, name) for name in getattr(value, _FIELDS)}
    members.update(changes)
    return type(value)(**members)


def asdict(value: object) -> Any:
    """Return a value as dicts and lists, values inside it too."""
    if type(value) in _PLAIN:
        return value
    if hasattr(value, _FIELDS):
        return {name: asdict(getattr(value, name)) for name in getattr(value, _FIELDS)}
    if isinstance(value, (tuple, list)):
        return [asdict(item) for item in value]
    if isinstance(value, Mapping):
        return {key: asdict(item) for key, item in value.items()}
    return value


def _own_fields(cls: type) -> list[Field]:
    found = []
    for name, annotation in cls.__annotations__.items():
        if str(annotation).startswith("ClassVar"):
            continue
        given = cls.__dict__.get(name, _MISSING)
        item = given if isinstance(given, Field) else Field(given, None, True)
        item.name = name
        found.append(item)
    return found


def _init(items: tuple[Field, ...], *, positional: bool) -> Callable[..., None]:
    names = tuple(item.name for item in items)
    set_member = object.__setattr__

    def __init__(self: Any, *args: object, **given: Any) -> None:
        if args:
            if not positional or len(args) > len(names):
                raise TypeError(f"{type(self).__name__} takes no more positional arguments")
            for name, value in zip(names, args, strict=False):
                if name in given:
                    raise TypeError(f"{type(self).__name__} got two values for {name}")
                given[name] = value
        count = len(given)
        for item in items:
            value = given.get(item.name, _MISSING)
            if value is not _MISSING:
                count -= 1
            elif item.factory is not None:
                value = item.factory()
            elif item.default is not _MISSING:
                value = item.default
            else:
                raise TypeError(f"{type(self).__name__} needs {item.name}")
            set_member(self, item.name, value)
        if count:
            raise TypeError(f"{type(self).__name__} has no {', '.join(sorted(given.keys() - set(names)))}")
        after = getattr(self, "__post_init__", None)
        if after is not None:
            after()

    return __init__


def _getter(names: tuple[str, ...]) -> Callable[[object], tuple[object, ...]]:
    if len(names) > 1:
        return attrgetter(*names)  # three times as quick as a loop
    return lambda value: tuple([getattr(value, name) for name in names])


def _members(value: object) -> tuple[object, ...]:
    found: tuple[object, ...] = getattr(type(value), _MEMBERS)(value)
    return found


def _repr(self: object) -> str:
    shown = (item.name for item in getattr(self, _FIELDS).values() if item.shown)
    return f"{type(self).__qualname__}({', '.join(f'{name}={getattr(self, name)!r}' for name in shown)})"


def _equal(self: object, other: object) -> Any:
    if type(self) is not type(other):
        return NotImplemented
    return _members(self) == _members(other)


def _hash(self: object) -> int:
    return hash(_members(self))


def _reduce(self: object) -> tuple[object, ...]:
    """Say how a copy is made, here or in another process: frozen members cannot be set one by one."""
    return restore, (type(self), _members(self))


def restore(cls: type[_T], members: tuple[object, ...]) -> _T:
    """Return a value of the members that `_reduce` gave. Raises TypeError for another number of them."""
    names = tuple(getattr(cls, _FIELDS))
    if len(names) != len(members):
        raise TypeError(f"{cls.__name__} has {len(names)} members, and not {len(members)}")
    made = object.__new__(cls)
    for name, value in zip(names, members, strict=True):
        object.__setattr__(made, name, value)
    return made


def _refuse(self: object, name: str, *_: object) -> None:
    raise FrozenError(f"{type(self).__name__}.{name} cannot be changed")
