"""What a run is asked for, as values."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tiffin.builder.settings.access import RegistryAccess
from tiffin.cache.foundation.frozen import dataclass
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.containers.network.attachment import NetworkAttachment
    from tiffin.builder.containers.run import ContainerOptions
    from tiffin.builder.image.store import StoredImage


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """Options of one run.

    `container`: of the container itself, or what reads them: it is called once, beside the making of the namespace.
    `pull` is one of tiffin.builder.settings.pull_policy.POLICIES; `groups` are further ones of the user, by name or
    number. `stored`: the image itself, where no name leads to it.
    """

    image: str
    container: ContainerOptions | Callable[[], ContainerOptions]
    name: str = ""  # "" for one made up
    remove: bool = False  # leave nothing behind
    interactive: bool = False  # pass stdin on
    groups: tuple[str, ...] = ()
    networks: tuple[NetworkAttachment, ...] = ()  # those with names, in the place of the container's `network`
    joins: str = ""  # a container whose network it has
    of_others: tuple[tuple[str, str], ...] = ()  # as in tiffin.builder.containers.confinement.asked.Namespaces
    cidfile: Path | None = None  # the container's id is written to it; it must not be there yet
    pull: str = "missing"
    platform: str = ""  # "" is this machine's
    isolation: str = ""  # a tier to force
    volumes_from: tuple[str, ...] = ()  # containers, with :ro or :rw
    keeps_ids: bool = True  # False: `container` surely has no `keep`, so that it need not be read first
    registry: RegistryAccess = RegistryAccess()
    stored: StoredImage | None = None

    @property
    def shares(self) -> bool:
        """Whether it has networks with names, or a network or an IPC namespace of another container."""
        return bool(self.networks or self.joins or self.of_others)
