"""Functions of lists, maps and sets."""

from __future__ import annotations

import itertools
from decimal import Decimal

from tiffin.builder.bake.functions.function import LIST, MAP, NULLABLE, Function
from tiffin.builder.bake.hcl.faults import ExpressionError
from tiffin.builder.bake.hcl.types import ANY, NUMBER, STRING
from tiffin.builder.bake.hcl.values import NUMBERS, Set, Value, as_integer, as_text, equal, kind_of

MAX_ITEMS = 1024  # of range(), as HCL has it
MAX_PRODUCT = 1_000_000


def _holds(items: list[Value], value: Value) -> bool:
    return any(equal(item, value) for item in items)


def _chunks(items: list[Value], size: Decimal) -> list[Value]:
    count = int(size)
    if count < 0:
        raise ExpressionError("the size argument must be positive")
    return [items[at : at + count] for at in range(0, len(items), count)] if count else [items]


def _coalesce(*values: Value) -> Value:
    for value in values:
        if value is not None:
            return value
    raise ExpressionError("no non-null arguments")


def _first_list(*lists: list[Value]) -> Value:
    for items in lists:
        if items:
            return items
    raise ExpressionError("no non-null arguments")


def _element(items: list[Value], index: Decimal) -> Value:
    if not items:
        raise ExpressionError("cannot use element function with an empty list")
    if index < 0:
        raise ExpressionError("cannot use element function with a negative index")
    return items[as_integer(index) % len(items)]


def _flat(items: list[Value]) -> list[Value]:
    return [inner for item in items for inner in (_flat(item) if isinstance(item, list) else [item])]


def _has_index(collection: Value, key: Value) -> bool:
    if isinstance(collection, dict):
        return isinstance(key, str) and key in collection
    if not isinstance(collection, list):
        raise ExpressionError("collection must be a list, a map or a tuple")
    return isinstance(key, Decimal) and key == int(key) and 0 <= key < len(collection)


def _index(collection: Value, key: Value) -> Value:
    if not _has_index(collection, key):
        raise ExpressionError("invalid index")
    return collection[key if isinstance(collection, dict) else int(key)]


def _index_of(items: list[Value], value: Value) -> Decimal:
    if not items:
        raise ExpressionError("cannot search an empty list")
    for index, item in enumerate(items):
        if equal(item, value):
            return Decimal(index)
    raise ExpressionError("item not found")


def _length(value: Value) -> Decimal:
    if not isinstance(value, (list, dict)):
        raise ExpressionError("collection must be a list, a map or a tuple")
    return Decimal(len(value))


def _lookup(collection: dict[str, Value], key: str, default: Value) -> Value:
    return collection.get(key, default)


def _merge(*maps: Value) -> dict[str, Value]:
    found: dict[str, Value] = {}
    for item in maps:
        if item is None:
            continue
        if not isinstance(item, dict):
            raise ExpressionError(f"arguments must be maps or objects, got {kind_of(item)}")
        found.update(item.items())
    return found


def _range(*numbers: Decimal) -> list[Decimal]:
    match numbers:
        case (end,):
            start, step = Decimal(0), Decimal(1 if end >= 0 else -1)
        case (start, end):
            step = Decimal(1 if end >= start else -1)
        case (start, end, step):
            if step == 0:
                raise ExpressionError("step must not be zero")
            if (end > start) != (step > 0) and end != start:
                raise ExpressionError("the step leads away from the end")
        case _:
            raise ExpressionError("range() takes one, two or three numbers")
    found: list[Decimal] = []
    while start < end if step > 0 else start > end:
        if len(found) == MAX_ITEMS:
            raise ExpressionError(f"more than {MAX_ITEMS} values were generated; either decrease the difference")
        found.append(start)
        start = NUMBERS.add(start, step)
    return found


def _slice(items: list[Value], start: Decimal, end: Decimal) -> list[Value]:
    if not 0 <= start <= end <= len(items):
        raise ExpressionError("start and end lead out of the list")
    return items[int(start) : int(end)]


def _zipped(names: list[Value], values: list[Value]) -> dict[str, Value]:
    if len(names) != len(values):
        raise ExpressionError(f"number of keys ({len(names)}) does not match number of values ({len(values)})")
    return {as_text(name): value for name, value in zip(names, values, strict=True)}


# -- sets --------------------------------------------------------------------------------------------------------------


def _product(*lists: list[Value]) -> Value:
    if len(lists) < 2:
        raise ExpressionError("at least two arguments are required")
    count = 1
    for items in lists:
        count *= len(items)
    if count > MAX_PRODUCT:
        raise ExpressionError(f"the product has {count} elements; {MAX_PRODUCT} are allowed")
    made: list[Value] = [list(row) for row in itertools.product(*lists)]
    return Set(made) if all(isinstance(items, Set) for items in lists) else made


def _intersection(first: list[Value], *others: list[Value]) -> Set:
    return Set([item for item in first if all(_holds(other, item) for other in others)])


def _union(first: list[Value], *others: list[Value]) -> Set:
    return Set([*first, *itertools.chain(*others)])


def _difference(first: list[Value], *others: list[Value]) -> Set:
    found = Set(first)
    for other in others:
        found = Set([*(item for item in found if not _holds(other, item)), *_missing(other, found)])
    return found


def _missing(items: list[Value], among: list[Value]) -> list[Value]:
    return [item for item in items if not _holds(among, item)]


FUNCTIONS = {
    "chunklist": Function(takes=(LIST, NUMBER), do=_chunks),
    "coalesce": Function(rest=NULLABLE, do=_coalesce),
    "coalescelist": Function(rest=LIST, do=_first_list),
    "compact": Function(takes=(LIST,), do=lambda items: [as_text(item) for item in items if item not in (None, "")]),
    "concat": Function(rest=LIST, do=lambda *lists: list(itertools.chain(*lists))),
    "contains": Function(takes=(LIST, NULLABLE), do=_holds),
    "distinct": Function(
        takes=(LIST,), do=lambda items: [item for at, item in enumerate(items) if not _holds(items[:at], item)]
    ),
    "element": Function(takes=(LIST, NUMBER), do=_element),
    "flatten": Function(takes=(LIST,), do=_flat),
    "hasindex": Function(takes=(ANY, ANY), do=_has_index),
    "index": Function(takes=(ANY, ANY), do=_index),
    "indexof": Function(takes=(LIST, NULLABLE), do=_index_of),
    "keys": Function(takes=(MAP,), do=lambda item: sorted(item.keys())),
    "length": Function(takes=(ANY,), do=_length),
    "lookup": Function(takes=(MAP, STRING, NULLABLE), do=_lookup),
    "merge": Function(rest=NULLABLE, do=_merge),
    "range": Function(rest=NUMBER, do=_range),
    "reverselist": Function(takes=(LIST,), do=lambda items: list(reversed(items))),
    "slice": Function(takes=(LIST, NUMBER, NUMBER), do=_slice),
    "values": Function(takes=(MAP,), do=lambda item: [item[key] for key in sorted(item.keys())]),
    "zipmap": Function(takes=(LIST, LIST), do=_zipped),
    "sethaselement": Function(takes=(LIST, ANY), do=_holds),
    "setintersection": Function(takes=(LIST,), rest=LIST, do=_intersection),
    "setproduct": Function(rest=LIST, do=_product),
    "setsubtract": Function(takes=(LIST, LIST), do=lambda first, other: Set(_missing(first, other))),
    "setsymmetricdifference": Function(takes=(LIST,), rest=LIST, do=_difference),
    "setunion": Function(takes=(LIST,), rest=LIST, do=_union),
}
