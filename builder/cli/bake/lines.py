"""A target of a bake file as the line of `tiffin build` that stands for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tiffin.builder.api.build_options import BuildOptions
from tiffin.builder.bake import fields
from tiffin.builder.bake.definition import Target
from tiffin.builder.bake.entitlements import Grants
from tiffin.builder.bake.entries import entry_text
from tiffin.builder.bake.inputs import Inputs
from tiffin.builder.cli.options.build_arguments import BuildArguments
from tiffin.builder.cli.options.build_values import build_options
from tiffin.builder.errors import TiffinError
from tiffin.cache.foundation.frozen import replace

ALWAYS = "always"


def target_options(target: Target, inputs: Inputs, grants: Grants, given: Mapping[str, Any]) -> BuildOptions:
    """Return the build of a target; `given` are members of the line that all have. Raises TiffinError."""
    try:
        own = _line(target, inputs, grants)
        policies = (*own["policies"], *given.get("policies", ()))
        options = build_options(BuildArguments({**own, **given, "policies": policies}))
    except TiffinError as exc:
        exc.within(f"target {target.name}")
        raise
    inline = target.get(fields.INLINE)
    return options if inline is None else replace(options, file="", dockerfile=inline)


def _line(target: Target, inputs: Inputs, grants: Grants) -> dict[str, Any]:
    def pairs(name: str, separator: str = "=") -> tuple[str, ...]:
        values = target.get(name) or {}
        return tuple(f"{key}{separator}{value}" for key, value in values.items() if value is not None)

    def texts(name: str) -> tuple[str, ...]:
        return tuple(target.get(name) or ())

    def entries(name: str) -> tuple[str, ...]:
        return tuple(entry_text(entry) for entry in target.get(name) or ())

    return {
        "context": inputs.context,
        "file": inputs.dockerfile,
        "tags": texts(fields.TAGS),
        "build_args": pairs(fields.ARGS),
        "contexts": tuple(f"{name}={place}" for name, place in inputs.contexts.items()),
        "target": target.get(fields.STAGE) or "",
        "labels": pairs(fields.LABELS),
        "annotations": texts(fields.ANNOTATIONS),
        "secrets": entries(fields.SECRET),
        "ssh": tuple(_ssh(entry) for entry in target.get(fields.SSH) or ()),
        "platforms": texts(fields.PLATFORMS),
        "cache_from": entries(fields.CACHE_FROM),
        "cache_to": entries(fields.CACHE_TO),
        "no_cache": bool(target.get(fields.NO_CACHE)),
        "no_cache_stages": texts(fields.NO_CACHE_FILTER),
        "pull": ALWAYS if target.get(fields.PULL) else "",
        "network": target.get(fields.NETWORK) or "default",
        "shm_size": target.get(fields.SHM_SIZE) or "",
        "hosts": _hosts(target),
        "ulimits": texts(fields.ULIMITS),
        "resource": tuple(f"{key}={value}" for key, value in (target.get(fields.RESOURCES) or {}).items()),
        "allowed": grants.granted(texts(fields.ENTITLEMENTS)),
        "outputs": entries(fields.OUTPUT),
        "attest": entries(fields.ATTEST),
        "policies": entries(fields.POLICY),
    }


def _hosts(target: Target) -> tuple[str, ...]:
    hosts = target.get(fields.EXTRA_HOSTS) or {}
    return tuple(f"{name}={address}" for name, value in hosts.items() if value for address in value.split(","))


def _ssh(entry: Mapping[str, Any]) -> str:
    name = entry.get("id", "default")
    return f"{name}={','.join(entry['paths'])}" if entry.get("paths") else name
