"""How one command reaches registries, beyond what the environment and the configuration file say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

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


def peer_names(environ: Mapping[str, str], peers: Iterable[str]) -> list[str]:
    """Return whom to ask for layers first: `peers`, and those of $TIFFIN_CACHE_PEERS.

    Raises UsageError for what is no address, whether anybody will be asked or not.
    """
    sources = [("--cache-peer", text) for text in peers] + [(PEERS_VARIABLE, environ.get(PEERS_VARIABLE, ""))]
    named = [(source, name) for source, text in sources for name in text.replace(",", " ").split()]
    if named:
        from tiffin.cache.shared.stores.peers import check_peer

        for source, name in named:
            check_peer(name, source)
    return [name for _, name in named]
