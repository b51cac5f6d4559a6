"""The environment and the hosts of a run: Docker's rules for -e, --env-file, --add-host, and its defaults."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tiffin.builder.errors import UsageError

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
BYTE_ORDER_MARK = "\ufeff"
HOST_GATEWAY = "host-gateway"  # Docker's name for the machine, which with its own network is this very one
Variable = tuple[str, str | None]  # None takes the variable away


def parse_variables(texts: Sequence[str], files: Sequence[str], environ: Mapping[str, str]) -> tuple[Variable, ...]:
    """Parse --env-file lines, then -e; a name alone has the value it has in `environ`, or none. Raises UsageError."""
    result: list[Variable] = []
    for name in files:
        result += read_file(name, environ)
    for text in texts:
        variable, equals, value = text.partition("=")
        if not variable:
            raise UsageError(f'-e "{text}" has no name', remedy="write -e NAME=VALUE")
        result.append((variable, value if equals else environ.get(variable)))
    return tuple(result)


def read_file(name: str, environ: Mapping[str, str]) -> list[Variable]:
    """Return the lines of an --env-file: NAME=VALUE as it stands, no quotes, no expansion; # begins a comment line.

    A name alone has the value it has in `environ`, or is left out.
    """
    return [
        (variable, environ[variable] if value is None else value)
        for variable, value in _lines(name, "--env-file")
        if value is not None or variable in environ
    ]


def _lines(name: str, option: str) -> Iterator[tuple[str, str | None]]:
    """Yield names and values of a file; None for a name alone."""
    try:
        text = Path(name).read_bytes().decode("utf-8").removeprefix(BYTE_ORDER_MARK)
    except OSError as exc:
        raise UsageError(f"cannot read {option} {name}: {exc.strerror}", remedy="name a readable file") from exc
    except UnicodeDecodeError as exc:
        raise UsageError(f"{option} {name} is not UTF-8", remedy="convert it") from exc
    for number, raw in enumerate(text.split("\n"), start=1):
        line = raw.removesuffix("\r").lstrip()
        if not line or line.startswith("#"):
            continue
        variable, equals, value = line.partition("=")
        if not variable or any(character.isspace() for character in variable):
            raise UsageError(
                f'line {number} of {option} {name}: "{variable}" is not a valid name', remedy="write NAME=VALUE"
            )
        yield variable, value if equals else None


def environment(
    image: Sequence[str], given: Sequence[Variable], *, home: str, hostname: str, tty: bool
) -> tuple[str, ...]:
    """Return the environment as NAME=VALUE: Docker's defaults, then the image's values, then the user's."""
    env = {"PATH": DEFAULT_PATH, "HOSTNAME": hostname}
    if tty:
        env["TERM"] = "xterm"
    for item in image:
        name, equals, value = item.partition("=")
        if name and equals and "\0" not in item:
            env[name] = value
    for name, wanted in given:
        if wanted is None:
            env.pop(name, None)
        else:
            env[name] = wanted
    env.setdefault("HOME", home)
    return tuple(f"{name}={value}" for name, value in env.items())


def parse_host(text: str) -> tuple[str, str]:
    """Parse --add-host NAME:ADDRESS or NAME=ADDRESS; raises UsageError."""
    equals, colon = text.find("="), text.find(":")
    cut = min(position for position in (equals, colon, len(text)) if position >= 0)
    name, address = text[:cut], text[cut + 1 :].removeprefix("[").removesuffix("]")
    if address == HOST_GATEWAY:
        address = "127.0.0.1"
    if not name or any(character.isspace() for character in name) or not is_address(address):
        raise UsageError(f'--add-host "{text}" is not NAME:ADDRESS', remedy="write --add-host db:127.0.0.1")
    return name, address


def parse_labels(texts: Sequence[str], files: Sequence[str]) -> dict[str, str]:
    """Parse --label-file lines, then -l; a name alone has an empty value. Raises UsageError."""
    result: dict[str, str] = {}
    for name in files:
        result |= {label: value or "" for label, value in _lines(name, "--label-file")}
    for text in texts:
        label, _, value = text.partition("=")
        if not label:
            raise UsageError(f'--label "{text}" has no name', remedy="write --label NAME=VALUE")
        result[label] = value
    return result


def is_address(text: str) -> bool:
    """Whether `text` is an IPv4 or IPv6 address."""
    import socket

    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, text)
        except (OSError, ValueError):
            continue
        return True
    return False
