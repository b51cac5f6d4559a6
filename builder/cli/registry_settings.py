"""How a command reaches registries: what its flags, the environment and the configuration file say together."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from builder.cli.config_file import config_path, registry_texts
from builder.registry.insecure import checked_pattern
from builder.registry.transport import RegistryOptions
from builder.version import VERSION
from cache.trust import Trust

INSECURE_VARIABLE = "TIFFIN_INSECURE_REGISTRIES"


def read_registry_options(environ: Mapping[str, str], insecure: Sequence[str], cert: str | None) -> RegistryOptions:
    """Of --insecure-registry and --registry-cert, and what adds to them. Raises UsageError."""
    return RegistryOptions(
        insecure_registries=insecure_patterns(environ, insecure),
        trust=Trust(environ, cert_file=cert or ""),
        user_agent=f"tiffin/{VERSION}",
    )


def insecure_patterns(environ: Mapping[str, str], flags: Sequence[str]) -> tuple[str, ...]:
    """What names insecure registries: flags, $TIFFIN_INSECURE_REGISTRIES, `insecure` of [registries] in the file."""
    path = config_path(environ)
    variable = [text for text in re.split(r"[\s,;]+", environ.get(INSECURE_VARIABLE, "")) if text]
    return (
        *(checked_pattern(part, "--insecure-registry") for text in flags for part in text.split(",") if part),
        *(checked_pattern(text, INSECURE_VARIABLE) for text in variable),
        *(checked_pattern(text, f"{path}, registries.insecure") for text in registry_texts(path, "insecure")),
    )
