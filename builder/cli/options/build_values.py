"""The options of `tiffin build` that need reading: pairs, secrets, ssh agents, hosts, limits."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from tiffin.builder.dockerfile.suggest import did_you_mean
from tiffin.builder.errors import UsageError
from tiffin.builder.options import csv_pairs, epoch_seconds, size_bytes
from tiffin.builder.settings.config_file import config_path
from tiffin.cache.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.sharing.options import CacheSpec
    from tiffin.builder.solver.ssh_agents import Agents

EPOCH = "SOURCE_DATE_EPOCH"
MAX_SECRET_BYTES = 500 << 10  # BuildKit's
ULIMITS = (
    "as", "core", "cpu", "data", "fsize", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss", "rtprio", "rttime",
    "sigpending", "stack",
)  # fmt: skip
ENTITLEMENTS = ("network.host", "security.insecure")
HOST_GATEWAY = "host-gateway"


def need_text(texts: Sequence[str], flag: str) -> Sequence[str]:
    """NAME=VALUE options that are UTF-8: Python keeps other bytes as lone surrogates, which no document can hold."""
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError as exc:
            name = ascii(text.partition("=")[0]).strip("'")
            raise UsageError(f"{flag} {name}: the value is not UTF-8 text", remedy="write it in UTF-8") from exc
    return texts


def pairs(texts: Sequence[str], flag: str, *, value_needed: bool = True) -> dict[str, str]:
    """NAME=VALUE options by name; the last of a name wins."""
    result: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name or (not equals and value_needed):
            raise UsageError(f'{flag} "{text}" is no NAME=VALUE', remedy=f"write {flag} NAME=VALUE")
        result[name] = value
    return result


def build_args(texts: Sequence[str], environ: Mapping[str, str]) -> dict[str, str]:
    """NAME=VALUE, or NAME to take it from the environment if it is there; SOURCE_DATE_EPOCH comes from there by itself."""
    result: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name:
            raise UsageError(f'--build-arg "{text}" has no name', remedy="write --build-arg NAME=VALUE")
        if equals:
            result[name] = value
        elif name in environ:
            result[name] = environ[name]
        need_text([f"{name}={result.get(name, '')}"], "--build-arg")
    if EPOCH in environ:
        result.setdefault(EPOCH, environ[EPOCH])
    return result


def configured_proxy_args(environ: Mapping[str, str]) -> dict[str, str]:
    """What `proxies` of docker's config.json gives to builds, in both cases, as docker does."""
    folder = environ.get("DOCKER_CONFIG") or f"{environ.get('HOME', '')}/.docker"
    if not Path(folder, "config.json").exists():  # most have none, and what reads it takes time to load
        return {}
    from tiffin.builder.registry.proxies import configured_proxies, read_docker_config

    found = configured_proxies(read_docker_config(environ))
    return {name: value for key, value in found.items() for name in (key, key.upper())}


def secrets(texts: Sequence[str]) -> dict[str, bytes]:
    """--secret id=ID[,src=FILE|,env=NAME]: without either, the variable called ID, else the file."""
    result: dict[str, bytes] = {}
    for text in texts:
        fields = _fields(text, "--secret", ("id", "src", "source", "env", "type"), bare="id")
        kind = fields.get("type", "")
        if kind not in ("", "file", "env"):
            raise UsageError(f'--secret "{text}": type "{kind}" is unknown', remedy="use type=file or type=env")
        source = fields.get("src", fields.get("source", ""))
        variable = fields.get("env", "")
        if kind == "env" and source and not variable:
            source, variable = "", source
        name = fields.get("id") or variable or Path(source).name
        if not name or (source and variable):
            raise UsageError(f'--secret "{text}" is incomplete', remedy="write --secret id=NAME,src=FILE or ,env=NAME")
        if not source and not variable:
            variable, source = (name, "") if kind == "env" or name in os.environ else ("", name)
        if variable:
            if variable not in os.environ:
                raise UsageError(f"--secret id={name}: the variable {variable} is not set", remedy="export it")
            data = os.environb[os.fsencode(variable)]
        else:
            data = _file(Path(source), f"--secret id={name}")
        if len(data) > MAX_SECRET_BYTES:
            raise UsageError(f"--secret id={name} is larger than {MAX_SECRET_BYTES} bytes", remedy="give a smaller one")
        result[name] = data
    return result


def ssh_agents(texts: Sequence[str]) -> Agents:
    """--ssh default, --ssh ID=SOCKET, --ssh ID=KEY[,KEY…]."""
    from tiffin.builder.solver.ssh_agents import Agents, of_keys, passed_on

    answers = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if name in answers:
            raise UsageError(f"--ssh {name} is given twice", remedy="keep one of them")
        paths = [Path(item) for item in value.split(",")] if equals else [_own_agent(name)]
        missing = next((path for path in paths if not path.exists()), None)
        if missing is not None or not name:
            raise UsageError(f"--ssh {text}: {missing or text} does not exist", remedy="give a socket or a key file")
        sockets = [path for path in paths if path.is_socket()]
        if sockets and len(paths) > 1:
            raise UsageError(f"--ssh {text} has a socket among several paths", remedy="give a socket alone, or keys")
        answers[name] = passed_on(str(sockets[0].resolve())) if sockets else of_keys(paths)
    return Agents(answers)


def _own_agent(name: str) -> Path:
    path = os.environ.get("SSH_AUTH_SOCK", "")
    if not path:
        raise UsageError(f"--ssh {name}: SSH_AUTH_SOCK is not set", remedy="start an agent, or give --ssh ID=KEYFILE")
    return Path(path)


def hosts(texts: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """--add-host NAME:ADDRESS or NAME=ADDRESS; host-gateway is this machine."""
    if not texts:
        return ()
    import ipaddress

    result = []
    for text in texts:
        separator = "=" if "=" in text else ":"
        name, found, address = text.partition(separator)
        address = address.removeprefix("[").removesuffix("]")
        if address == HOST_GATEWAY:
            address = "127.0.0.1"  # RUN is in the machine's own network
        try:
            ipaddress.ip_address(address)
        except ValueError as exc:
            raise UsageError(f'--add-host "{text}" has no valid address', remedy="write NAME:ADDRESS") from exc
        if not name or not found:
            raise UsageError(f'--add-host "{text}" has no name', remedy="write NAME:ADDRESS")
        result.append((name, address))
    return tuple(result)


def ulimits(texts: Sequence[str]) -> tuple[tuple[str, int, int], ...]:
    """--ulimit NAME=SOFT[:HARD]; -1 is no limit."""
    result = []
    for text in texts:
        name, _, value = text.partition("=")
        if name not in ULIMITS:
            raise UsageError(
                f'--ulimit "{text}": unknown limit "{name}"',
                remedy=did_you_mean(name, ULIMITS) or f"the limits are {', '.join(ULIMITS)}",
            )
        soft, _, hard = value.partition(":")
        try:
            low, high = int(soft), int(hard or soft)
        except ValueError as exc:
            raise UsageError(f'--ulimit "{text}" has no number', remedy="write NAME=SOFT[:HARD]") from exc
        if low < -1 or high < -1 or (high != -1 and (low > high or low == -1)):
            raise UsageError(f'--ulimit "{text}": the soft limit is beyond the hard one', remedy="give SOFT <= HARD")
        result.append((name, low, high))
    return tuple(result)


def shm_size(text: str) -> int:
    """--shm-size in bytes, 0 for the default."""
    try:
        return size_bytes(text or "0")
    except ValueError as exc:
        raise UsageError(f'--shm-size "{text}" is no size', remedy="write a number with k, m or g") from exc


def entitlements(texts: Sequence[str]) -> frozenset[str]:
    """--allow: what a Dockerfile may ask for beyond the usual."""
    names = frozenset(name for text in texts for name in text.split(","))
    for name in sorted(names - set(ENTITLEMENTS)):
        raise UsageError(
            f'--allow "{name}" is unknown',
            remedy=did_you_mean(name, ENTITLEMENTS) or f"use {', '.join(ENTITLEMENTS)}",
        )
    return names


def is_on(args: Mapping[str, str], name: str) -> bool:
    """Whether a build argument that is one of BuildKit's switches is set to 1 or true."""
    return args.get(name, "").lower() in ("1", "true")


def epoch(text: str, what: str = EPOCH) -> int | None:
    """SOURCE_DATE_EPOCH (or what else gave the time) in seconds, None when it is not set."""
    try:
        return epoch_seconds(text)
    except ValueError as exc:
        raise UsageError(f'{what} "{text}" is no time', remedy="give whole seconds since 1970") from exc


def _fields(text: str, flag: str, names: Sequence[str], *, bare: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    try:
        items = csv_pairs(text)
    except ValueError as exc:
        raise UsageError(f'{flag} "{text}" has an empty item', remedy=f"write {flag} {bare}=NAME,…") from exc
    for name, value in items:
        if value is None and len(items) == 1:
            return {bare: text}
        if name not in names or name in fields or value is None:
            raise UsageError(
                f'{flag} "{text}": "{name}" is unknown, given twice, or has no value',
                remedy=did_you_mean(name, names) or f"the fields are {', '.join(names)}",
            )
        fields[name] = value
    return fields


def _file(path: Path, what: str) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(MAX_SECRET_BYTES + 1)
    except (OSError, ValueError) as exc:  # ValueError: a NUL in the path
        reason = exc.strerror if isinstance(exc, OSError) else exc
        raise UsageError(f"{what}: cannot read {path}: {reason}", remedy="name a readable file") from exc


def shared_caches(cache_from: Sequence[str], cache_to: Sequence[str], environ: Mapping[str, str]) -> list[CacheSpec]:
    """The shared caches of the flags, then those of TIFFIN_CACHE and the configuration file; most builds have none."""
    path = config_path(environ)
    if not (cache_from or cache_to or environ.get("TIFFIN_CACHE") or path):
        return []
    from tiffin.builder.sharing.options import caches_of

    return caches_of(cache_from, cache_to, environ.get("TIFFIN_CACHE", ""), path)
