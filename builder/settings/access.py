"""How one command reaches registries, beyond what the environment and the configuration file say."""

from __future__ import annotations

from tiffin.cache.foundation.frozen import dataclass

TOKEN_VARIABLE = "TIFFIN_CACHE_TOKEN"  # what cache serve asks for, and its clients send
PEERS_VARIABLE = "TIFFIN_CACHE_PEERS"  # builders to ask for layers first


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryAccess:
    """`insecure`: registries for which plain http, or any certificate, will do; `cert`: a PEM file to trust as well (""
    for none); `mirrors`: addresses asked before docker.io.
    """

    insecure: tuple[str, ...] = ()
    cert: str = ""
    mirrors: tuple[str, ...] = ()
