"""How a command reaches registries: what its flags, the environment and the configuration file say together."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache

from tiffin.builder.registry.insecure import checked_pattern
from tiffin.builder.registry.proxies import Proxies, configured_proxies, read_docker_config
from tiffin.builder.registry.registries_conf import Registries
from tiffin.builder.registry.transport import RegistryOptions
from tiffin.builder.settings.access import RegistryAccess
from tiffin.builder.settings.config_file import config_path, registry_texts
from tiffin.builder.version import VERSION
from tiffin.cache.trust import Trust

PRIVATE_VARIABLE = "TIFFIN_PRIVATE_REGISTRIES"
MIRRORS_VARIABLE = "TIFFIN_REGISTRY_MIRRORS"
INSECURE_VARIABLE = "TIFFIN_INSECURE_REGISTRIES"


def read_registry_options(environ: Mapping[str, str], access: RegistryAccess) -> RegistryOptions:
    """Return what `access` says with what the environment and the configuration file add. Raises UsageError."""
    return RegistryOptions(
        insecure_registries=insecure_patterns(environ, access.insecure),
        trust=Trust(environ, cert_file=access.cert, given=access.certificates),
        user_agent=f"tiffin/{VERSION}",
        proxies=Proxies.read(environ, configured_proxies(read_docker_config(environ))),
        registries=cache(lambda: _registries(environ, access)),
        private_registries=_patterns(environ, PRIVATE_VARIABLE, "private"),
    )


def _registries(environ: Mapping[str, str], access: RegistryAccess) -> Registries:
    found = read_mirrors(environ, access.mirrors)
    for host, urls in access.mirrors_of.items():
        found = found.with_mirrors(urls, host=host, source="--registry-map")
    return found.without_places_of_mirrors() if access.only_mirrors else found


def read_mirrors(environ: Mapping[str, str], flags: Sequence[str] = ()) -> Registries:
    """Read registries.conf, and the mirrors of docker.io: of flags, $TIFFIN_REGISTRY_MIRRORS and the configuration
    file.
    """
    from tiffin.builder.registry.registries_conf import read_registries

    named = (*flags, *_words(environ.get(MIRRORS_VARIABLE, "")), *registry_texts(config_path(environ), "mirrors"))
    return read_registries(environ).with_mirrors(named)


def _words(text: str) -> list[str]:
    return [word for word in re.split(r"[\s,;]+", text) if word]


def _patterns(environ: Mapping[str, str], variable: str, name: str) -> tuple[str, ...]:
    path = config_path(environ)
    return (
        *(checked_pattern(text, variable) for text in _words(environ.get(variable, ""))),
        *(checked_pattern(text, f"{path}, registries.{name}") for text in registry_texts(path, name)),
    )


def insecure_patterns(environ: Mapping[str, str], flags: Sequence[str]) -> tuple[str, ...]:
    """Return what names insecure registries: flags, $TIFFIN_INSECURE_REGISTRIES, `insecure` of [registries] in the
    file.
    """
    given = (checked_pattern(part, "--insecure-registry") for text in flags for part in text.split(",") if part)
    return (*given, *_patterns(environ, INSECURE_VARIABLE, "insecure"))
