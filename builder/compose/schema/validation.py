"""Compare a compose file with the published schema, and tell what is wrong by name, file and line."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tiffin.builder.compose.places import NOWHERE, Map, Place, Seq, wrong
from tiffin.builder.dockerfile.suggest import did_you_mean
from tiffin.builder.errors import ComposeError

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator, ValidationError

FILE = Path(__file__).with_name("compose-spec.json")
_KINDS = {
    "object": "a mapping", "array": "a list", "string": "a text", "integer": "a whole number", "number": "a number",
    "boolean": "true or false", "null": "nothing",
}  # fmt: skip


def validate(document: Map) -> None:
    """Raise ComposeError where the schema does not allow what a document says."""
    validator = _validator()
    from jsonschema.exceptions import best_match

    error = best_match(validator.iter_errors(document))
    if error is not None:
        raise _told(error, document)


@cache
def _validator() -> Draft202012Validator:
    """Load jsonschema, without what it would use for formats, which nothing here looks at: that builds a grammar first,
    for a second.
    """
    name = "rfc3987_syntax"
    if name not in sys.modules:
        sys.modules[name] = None  # type: ignore[assignment]  # an import of it fails
    from jsonschema import Draft202012Validator

    if sys.modules[name] is None:
        del sys.modules[name]
    return Draft202012Validator(json.loads(FILE.read_bytes()))


def _told(error: ValidationError, document: Map) -> ComposeError:
    keys = [str(key) if isinstance(key, str) else int(key) for key in error.absolute_path]
    where, place = _text(keys), place_of(document, keys)
    if error.validator == "additionalProperties":
        return _unknown(error, where, document, keys)
    match error.validator:
        case "type":
            message = f"{where} must be {_kinds(error.validator_value)}, not {_shown(error.instance)}"
        case "required":
            missing = [name for name in error.validator_value if name not in error.instance]
            message = f"{where} must have {', '.join(missing)}"
        case "enum":
            message = f'{where} is "{error.instance}"; it may be {", ".join(map(str, error.validator_value))}'
        case "uniqueItems":
            message = f"{where} has an item twice"
        case "oneOf":
            kinds = _alternatives(error.validator_value)
            message = f"{where} must be {kinds}, not {_shown(error.instance)}" if kinds else f"{where} is not valid"
        case _:
            message = f"{where}: {error.message}"
    return wrong(message, place, remedy="see the Compose specification")


def _unknown(error: ValidationError, where: str, document: Map, keys: list[str | int]) -> ComposeError:
    """Return the error about a key that is not known there."""
    known = set(error.schema.get("properties", ()))
    name = next(
        (name for name in error.instance if name not in known and not _is_allowed(name, error.schema)), "something"
    )
    place = place_of(document, [*keys, name])
    if known:
        remedy = did_you_mean(name, sorted(known)) or "leave it out, or begin the name of an extension with x-"
        return wrong(f'{where} has an unknown key "{name}"', place, remedy=remedy)
    return wrong(f'{where}: "{name}" is not a valid name', place, remedy="use letters, digits, '.', '_' and '-'")


def _is_allowed(name: str, schema: Any) -> bool:
    import re

    return any(re.search(pattern, name) for pattern in schema.get("patternProperties", ()))


def place_of(document: Any, keys: Sequence[str | int]) -> Place:
    """Return where what stands at a path begins, or else what it is a part of."""
    place, value = NOWHERE, document
    for key in keys:
        if isinstance(value, Map) and isinstance(key, str) and key in value:
            place, value = value.place(key), value[key]
        elif isinstance(value, Seq) and isinstance(key, int) and key < len(value):
            place, value = value.places[key], value[key]
        else:
            break
    return (
        place if place is not NOWHERE or not isinstance(document, Map) else next(iter(document.places.values()), place)
    )


def _text(keys: Iterable[str | int]) -> str:
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys).removeprefix(".")
    return text or "the file"


def _kinds(wanted: str | Sequence[str]) -> str:
    names = [wanted] if isinstance(wanted, str) else list(wanted)
    return " or ".join(_KINDS.get(name, name) for name in names)


def _alternatives(schemas: Sequence[Any]) -> str:
    """Return the kinds that several schemas allow."""
    names: list[str] = []
    for schema in schemas:
        if "$ref" in schema:
            schema = _validator().schema["$defs"][schema["$ref"].rpartition("/")[2]]
        wanted = schema.get("type", ())
        names += [wanted] if isinstance(wanted, str) else wanted
    return _kinds(list(dict.fromkeys(names)))


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, (dict, list)):
        return "a mapping" if isinstance(value, dict) else "a list"
    return json.dumps(value)
