"""Spellings of docker's flags that click does not know: --flag=false, -f=VALUE, options that may come without their
value. And transports of buildah and podman before the names of images.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from tiffin.builder.cli.options.option import Arguments, Flag, Option
from tiffin.builder.errors import UsageError
from tiffin.builder.options import switch

END_OF_OPTIONS = "--"
REGISTRY = "docker://"
SAVED, HERE = "write tiffin save -o FILE IMAGE", "images are here already"
ELSEWHERE = {
    "docker-archive": SAVED,
    "oci-archive": SAVED,
    "oci": "write tiffin build --output type=oci,tar=false,dest=DIRECTORY",
    "dir": "write tiffin build --output type=oci,tar=false,dest=DIRECTORY",
    "docker-daemon": "write tiffin save IMAGE | docker load",
    "containers-storage": HERE,
}


def plain_flags(arguments: type[Arguments], words: Sequence[str]) -> list[str]:
    """Return `words` as click reads them: --flag=true and -f=true become --flag and -f, --flag=false undoes earlier
    ones, and -x=VALUE (pflag's; also at the end of a cluster) becomes -x VALUE. Raises ValueError for another value
    of a flag.
    """
    options = {name: row for row in arguments.rows for name in (*row.names, row.off) if name}
    result: list[tuple[str, Option | None]] = []
    pending = list(words)
    while pending:
        word = pending.pop(0)
        if word == END_OF_OPTIONS or not word.startswith("-") or word == "-":
            result.append((word, None))
            if word == END_OF_OPTIONS or arguments.ends_options:
                break
            continue
        name, equals, _ = word.partition("=")
        for piece, row, value in _pieces(word, options):
            if row is not None and row.bare:
                result = [item for item in result if item[1] is not row]
                if value is None or value in row.choices or not row.choices:
                    result.append((f"{piece}={row.bare if value is None else value}", row))
                elif _is_on(value, name):
                    result.append((f"{piece}={row.bare}", row))
                continue
            if isinstance(row, Flag) and value is not None:
                result = [item for item in result if item[1] is not row]
                if _is_on(value, name if equals else piece):
                    result.append((piece, row))
                elif row.off:
                    result.append((row.off, row))
                continue
            result.append((piece, row))
            if value is not None:
                result.append((value, None))
            elif row is not None and not isinstance(row, Flag) and "=" not in piece and pending:
                result.append((pending.pop(0), None))
    return [text for text, _ in result] + pending


def _pieces(word: str, options: Mapping[str, Option]) -> Iterator[tuple[str, Option | None, str | None]]:
    """Yield one word as (words for click, the option, its value where that has to be told apart)."""
    name, equals, value = word.partition("=")
    if word.startswith("--"):
        row = options.get(name)
        if row is not None and row.bare:
            yield name, row, value if equals else None
        elif equals and isinstance(row, Flag):
            yield name, row, value
        else:
            yield word, row, None
        return
    for position in range(1, len(word)):
        letter = f"-{word[position]}"
        row = options.get(letter)
        rest = word[position + 1 :]
        if row is None:
            yield "-" + word[position:], None, None  # click says what is wrong with it
            return
        if rest.startswith("="):
            yield letter, row, rest[1:]
            return
        if not isinstance(row, Flag):
            yield letter, row, rest or None
            return
        yield letter, row, None


def _is_on(value: str, name: str) -> bool:
    try:
        return switch({"t": "true", "f": "false"}.get(value.lower(), value or "?"))
    except ValueError as exc:
        raise ValueError(f'{name}: "{value}" is neither true nor false') from exc


def need_registry(destination: str) -> None:
    """Raise UsageError for a destination of buildah or podman that is in no registry."""
    transport = destination.partition(":")[0]
    if transport in ELSEWHERE:
        raise UsageError(f"{destination} is not in a registry", remedy=ELSEWHERE[transport])
