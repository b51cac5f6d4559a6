"""How one command reaches registries, beyond what the environment and the configuration file say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tiffin.cache.foundation.frozen import dataclass, field
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.cache.trust import HostCertificates

TOKEN_VARIABLE = "TIFFIN_CACHE_TOKEN"  # what cache serve asks for, and its clients send
PEERS_VARIABLE = "TIFFIN_CACHE_PEERS"  # builders to ask for layers first


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryAccess:
    """`insecure`: registries for which plain http, or any certificate, will do; `cert`: a PEM file to trust as well (""
    for none); `mirrors`: addresses asked before docker.io; `mirrors_of`: those asked before other registries, by host;
    `only_mirrors`: registries that have mirrors are not asked themselves; `certificates`: more than certs.d has, by
    host; `docker_config`: the directory of docker's config.json, where that is not $DOCKER_CONFIG.
    """

    insecure: tuple[str, ...] = ()
    cert: str = ""
    mirrors: tuple[str, ...] = ()
    mirrors_of: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    only_mirrors: bool = False
    certificates: Mapping[str, HostCertificates] = field(default_factory=dict)
    docker_config: str = ""

    def environment(self, environ: Mapping[str, str]) -> Mapping[str, str]:
        """Return the environment that says where credentials are."""
        return {**environ, "DOCKER_CONFIG": self.docker_config} if self.docker_config else environ


def peer_names(environ: Mapping[str, str], peers: Iterable[str]) -> list[str]:
    """Return whom to ask for layers first: `peers`, and those of $TIFFIN_CACHE_PEERS.

    Raises UsageError for what is not an address, whether anybody will be asked or not.
    """
    sources = [("--cache-peer", text) for text in peers] + [(PEERS_VARIABLE, environ.get(PEERS_VARIABLE, ""))]
    named = [(source, name) for source, text in sources for name in text.replace(",", " ").split()]
    if named:
        from tiffin.cache.shared.stores.peers import check_peer

        for source, name in named:
            check_peer(name, source)
    return [name for _, name in named]
