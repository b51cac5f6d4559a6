"""How one command reaches registries, beyond what the environment and the configuration file say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from tiffin.cache.foundation.frozen import dataclass, field
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.cache.trust import HostCertificates

TOKEN_VARIABLE = "TIFFIN_CACHE_TOKEN"  # what cache serve asks for, and its clients send
POLICY_VARIABLE = "TIFFIN_POLICY"  # files, separated by commas
AUDIT_VARIABLE = "TIFFIN_AUDIT_LOG"
TRUSTED_ROOT_VARIABLE = "TIFFIN_TRUSTED_ROOT"  # trusted_root.json of another Sigstore than the public one
PEERS_VARIABLE = "TIFFIN_CACHE_PEERS"  # builders to ask for layers first


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryAccess:
    """`insecure`: registries for which plain http, or any certificate, will do; `cert`: a PEM file to trust as well (""
    for none); `mirrors`: addresses asked before docker.io; `mirrors_of`: those asked before other registries, by host;
    `only_mirrors`: registries that have mirrors are not asked themselves; `certificates`: more than certs.d has, by
    host; `docker_config`: the directory of docker's config.json, where that is not $DOCKER_CONFIG; `policies`: as in
    --policy; `audit_log`: the file to add to what is decided and done, "" for none.
    """

    insecure: tuple[str, ...] = ()
    cert: str = ""
    mirrors: tuple[str, ...] = ()
    mirrors_of: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    only_mirrors: bool = False
    certificates: Mapping[str, HostCertificates] = field(default_factory=dict)
    docker_config: str = ""
    policies: tuple[str, ...] = ()
    audit_log: str = ""

    def environment(self, environ: Mapping[str, str]) -> Mapping[str, str]:
        """Return the environment that says where credentials are."""
        return {**environ, "DOCKER_CONFIG": self.docker_config} if self.docker_config else environ


def config_path(environ: Mapping[str, str]) -> Path | None:
    """Return the configuration file, if there is one; that of $TIFFIN_CONFIG must exist."""
    if environ.get("TIFFIN_CONFIG"):
        return Path(environ["TIFFIN_CONFIG"])
    home = environ.get("XDG_CONFIG_HOME") or (f"{environ['HOME']}/.config" if environ.get("HOME") else "")
    path = Path(home) / "tiffin/config.toml"
    return path if home and path.exists() else None


def may_have_rules(environ: Mapping[str, str], access: RegistryAccess) -> bool:
    """Whether there may be a policy or an audit log, told without loading what reads them."""
    named = access.policies or access.audit_log or environ.get(POLICY_VARIABLE) or environ.get(AUDIT_VARIABLE)
    return bool(named) or config_path(environ) is not None


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
