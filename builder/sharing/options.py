"""Shared caches as users name them: --cache-from, --cache-to (buildx's notation), TIFFIN_CACHE, and the configuration
file.

type=registry,ref=REF[,ttl=7d]            type=local,src=DIR|dest=DIR        type=dir,path=DIR[,ttl=7d]
type=redis,url=redis://…[,ttl=7d][,max-blob=8m][,layers=REF]                 type=http,url=https://…
type=s3,bucket=NAME[,region=…][,prefix=…][,endpoint_url=…][,use_path_style=true][,access_key_id=…,secret_access_key=…]
type=gha[,scope=NAME]                     type=azblob,account_url=https://…[,container=…][,prefix=…]

and with each: mode=min|max, required=true, ignore-error=true, timeout=SECONDS, access=ro|wo|rw (not with the flags,
which say it).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from tiffin.builder.dockerfile.suggest import did_you_mean
from tiffin.builder.errors import UsageError
from tiffin.builder.options import csv_pairs, size_bytes
from tiffin.builder.settings.config_file import cache_tables
from tiffin.builder.settings.times import seconds_of
from tiffin.builder.sharing.kinds import KINDS
from tiffin.cache.foundation.frozen import dataclass, field

COMMON = ("mode", "ignore-error", "required", "timeout", "access")
MODES = ("min", "max")
ACCESSES = ("ro", "wo", "rw")
TIMEOUT_SECONDS = 5.0
VARIABLE = "TIFFIN_CACHE"


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheSpec:
    """One shared cache.

    `place` is a reference, path, address or bucket; `mode` "max" shares the steps of every stage.
    """

    kind: str
    place: str
    reads: bool
    writes: bool
    mode: str = "min"
    required: bool = False
    timeout_seconds: float = TIMEOUT_SECONDS
    ttl_seconds: float = 0
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_insecure(self) -> bool:
        """Whether its registry may speak plain http, or have a certificate that nobody vouches for."""
        return self.options.get("registry.insecure") == "true"

    @property
    def sizes(self) -> Mapping[str, int]:
        """The options that are sizes, in bytes. Raises UsageError."""
        given = {name: self.options[name] for name in KINDS[self.kind].sizes if self.options.get(name)}
        return {name: _size(name, text) for name, text in given.items()}

    @property
    def identity(self) -> tuple[str, str]:
        """Equal for two that mean the same cache."""
        return KINDS[self.kind].alias or self.kind, self.place


def parse_cache(text: str, flag: str, access: str = "") -> CacheSpec:
    """Read one value of `flag`; raises UsageError naming the part at fault. `access` is what the flag itself says."""
    if "=" not in text:
        return CacheSpec(kind="registry", place=text, reads=access != "wo", writes=access != "ro")
    fields: dict[str, str] = {}
    try:
        pairs = csv_pairs(text)
    except ValueError as exc:
        raise UsageError(f"{flag} {_shown(text)} has an empty item", remedy="write type=registry,ref=NAME") from exc
    for number, (name, value) in enumerate(pairs):
        if value is None and number == 0:  # REF,mode=max
            fields["ref"] = name
            continue
        if value is None or name in fields:
            raise UsageError(f'{flag}: "{name}" has no value, or two', remedy="write type=registry,ref=NAME")
        fields[name] = value
    return cache_of(fields, flag, access)


def cache_of(fields: dict[str, str], flag: str, access: str = "") -> CacheSpec:
    """Return the cache that options describe."""
    kind = fields.pop("type", "registry")
    if kind not in KINDS:
        raise UsageError(
            f'{flag}: unknown type "{kind}"', remedy=did_you_mean(kind, list(KINDS)) or f"use {', '.join(KINDS)}"
        )
    row = KINDS[kind]
    allowed = (*row.names, *(name for name in COMMON if not (access and name == "access")))
    for name in fields:
        if name not in allowed:
            raise UsageError(
                f'{flag} type={kind} takes no "{name}"',
                remedy=did_you_mean(name, allowed) or f"it takes {', '.join(allowed)}",
            )
    wanted = row.reads_place if row.reads_place and access == "ro" else row.place
    if not fields.get(wanted) and (row.default or row.variable):
        fields[wanted] = os.environ.get(row.variable, "") or row.default
    if not fields.get(wanted):
        raise UsageError(f"{flag} type={kind} needs {wanted}=", remedy=f"add {wanted}=")
    mode = _one_of(fields, "mode", MODES, flag)
    for name in ("registry.insecure", "image-manifest", "oci-mediatypes", "force-compression"):
        _one_of(fields, name, ("false", "true"), flag)
    _one_of(fields, "ignore-error", ("false", "true"), flag)  # an error costs a warning unless it is required=true
    chosen = access or _one_of(fields, "access", ("rw", "ro", "wo"), flag)
    rest = {name: value for name, value in fields.items() if name in row.names and name not in (wanted, "ttl")}
    return CacheSpec(
        kind=kind,
        place=fields[wanted],
        reads=chosen != "wo",
        writes=chosen != "ro",
        mode=mode,
        required=_one_of(fields, "required", ("false", "true"), flag) == "true",
        timeout_seconds=_seconds(fields, "timeout", flag) or TIMEOUT_SECONDS,
        ttl_seconds=_seconds(fields, "ttl", flag),
        options=rest,
    )


def caches_of(
    cache_from: Sequence[str], cache_to: Sequence[str], variable: str, config: Path | None
) -> list[CacheSpec]:
    """Return all shared caches of a command: those of the flags, of TIFFIN_CACHE, of the configuration file, in this
    order.
    """
    return [
        *(parse_cache(text, "--cache-from", "ro") for text in cache_from),
        *(parse_cache(text, "--cache-to", "wo") for text in cache_to),
        *(parse_cache(text, VARIABLE) for text in re.split(r"[;\s]+", variable) if text),
        *(configured(config) if config is not None else ()),
    ]


def configured(path: Path) -> list[CacheSpec]:
    """Return the tables [[cache]] of a configuration file."""
    return [
        cache_of({name: _text(value) for name, value in table.items()}, f"{path}, [[cache]] {number}")
        for number, table in enumerate(cache_tables(path), 1)
    ]


def _one_of(fields: Mapping[str, str], name: str, allowed: Sequence[str], flag: str) -> str:
    value = fields.get(name, allowed[0]).lower()
    if value not in allowed:
        raise UsageError(f"{flag}: {name}={value} is wrong", remedy=f"use {name}={'|'.join(allowed)}")
    return value


def _seconds(fields: Mapping[str, str], name: str, flag: str) -> float:
    text = fields.get(name, "")
    return seconds_of(text, f"{flag}: {name}=") if text else 0


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _shown(text: str) -> str:
    """Return an option without what may be a password."""
    return re.sub(r"//[^@/,]*@", "//…@", re.sub(r"(secret\w*|\w*token)=[^,]*", r"\1=…", text))


def _size(name: str, text: str) -> int:
    try:
        return size_bytes(text)
    except ValueError as exc:
        raise UsageError(f"{name}={text} is not a valid size", remedy=f"write {name}=8m") from exc
