"""How commands are kept apart: what a tier of isolation is, and the one that was chosen with what it can do on this
machine.
"""

from __future__ import annotations

from collections.abc import Sequence

from tiffin.builder.sandbox.child.idmaps import own_limits
from tiffin.builder.sandbox.userns import ALL_IDS, IdMap
from tiffin.cache.foundation.frozen import dataclass
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    from tiffin.builder.sandbox.child.spec import SandboxSpec
    from tiffin.builder.sandbox.mount_substitutes import MountSubstitutes

PLAIN_IDMAP_TAG = "plain"
NO_LIMIT = 1 << 32


class Tier(Protocol):
    """One way to keep commands apart, an object in a file of tiffin.builder.sandbox.tiers.

    What it can do callers ask of its attributes, never of its name.
    """

    name: str
    is_automatic: bool = True  # taken where --isolation does not say otherwise
    runs_commands: bool = True
    has_namespaces: bool = False  # of mounts, host names and IPC, within a user namespace
    is_traced: bool = (
        False  # a program runs the command, which enters the root and is another user in that program's own way
    )
    keeps_owners: bool = False  # files on disk have the owners of the image, as far as the kernel has the ids
    emulates_owners: bool = False  # owners that the kernel cannot hold are recorded, and a supervisor shows them
    idmap_tag: str = PLAIN_IDMAP_TAG  # names trees of files whose owners mean something here only, where no id map does

    def probe(self, directory: Path) -> TierReport:
        """Try it, in a child process; what it mounts is mounted in `directory`."""

    def plan(self) -> IdMap | None:
        """Return the user namespace that would be entered, as far as that can be told without trying; None for no
        such.
        """
        return None

    def advise(self, mounted: TierReport | None) -> Sequence[Advice]:
        """Return what would allow this tier where it does not work.

        `mounted`: the best that works and has namespaces.
        """
        return ()

    def allowed(self, capabilities: Sequence[str]) -> tuple[str, ...]:
        """Return those of `capabilities` that a run may have."""
        return tuple(capabilities)

    def prepare_root(self, spec: SandboxSpec, places: MountSubstitutes) -> SandboxSpec:
        """Put into a root on disk what `spec` needs there; return the spec as it then runs.

        Raises SandboxError, StoreError.
        """
        places.mount_points(spec)
        return spec

    def root_ids(self) -> tuple[int, int]:
        """Return the ids on disk of files that root in a sandbox makes, as tiffin sees them."""
        return 0, 0

    def __str__(self) -> str:
        return self.name

    @property
    def emulates_on_demand(self) -> bool:
        """Whether owners are the kernel's, and a step that goes beyond them runs again with emulated ones."""
        return self.emulates_owners and self.keeps_owners

    @property
    def emulates_always(self) -> bool:
        """Whether all owners are emulated."""
        return self.emulates_owners and not self.keeps_owners

    @property
    def refuses_owners(self) -> bool:
        """Whether owners are the kernel's, and what goes beyond them cannot run."""
        return self.keeps_owners and not self.emulates_owners


@dataclass(frozen=True, slots=True, kw_only=True)
class Isolation:
    """A tier as it is here. `id_map` is None without a user namespace; `refusal` says why none runs commands."""

    tier: Tier
    id_map: IdMap | None = None
    overlay: bool = False  # layers are mounted over each other; else each run gets a copied root
    unsupervised: str = ""  # why a tier that emulates owners does not here, "" where it does
    own_pids: bool = False  # a pid namespace with a /proc of its own; else what a run leaves is looked for and killed
    refusal: str = ""
    remedy: str = ""

    @property
    def idmap_tag(self) -> str:
        """What names trees of files whose owners mean something under this tier only."""
        return self.id_map.tag if self.id_map is not None else self.tier.idmap_tag

    @property
    def limits_of_ids(self) -> tuple[int, int]:
        """The first uid and the first gid that files cannot have here, once the id map is entered."""
        if not (self.tier.keeps_owners or self.tier.emulates_owners):  # files are not given away at all
            return NO_LIMIT, NO_LIMIT
        return self.id_map.limits if self.id_map is not None else own_limits()

    @property
    def has_part_of_ids(self) -> bool:
        """Whether this is a user namespace, where no device node can be made, with a part of the ids."""
        return min(self.limits_of_ids) < ALL_IDS

    @property
    def emulated_idmap_tag(self) -> str:
        """What names trees for sandboxes of one id; "" where there can be none."""
        return self.id_map.tag_of_one if self.id_map is not None else ""

    @property
    def has_mounts(self) -> bool:
        """Whether a run has a mount namespace."""
        return self.id_map is not None

    def limits(self) -> tuple[str, ...]:
        """Return what is less than it could be, in words; nothing for a machine that refuses nothing."""
        found = []
        if self.unsupervised:
            found.append(self.unsupervised)
        if self.tier.has_namespaces:
            if not self.overlay:
                found.append(
                    "overlay mounts are refused in the state directory (is it on overlayfs?), so layers are copied "
                    "and compared: put --root on a volume"
                )
            if not self.own_pids:
                found.append(
                    "a fresh /proc is refused, so runs share the process numbers: procMount: Unmasked allows a "
                    "fresh one"
                )
        return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class TierReport:
    """One tier: whether it works here, and if not why and what would help."""

    tier: Tier
    reason: str = ""
    remedy: str = ""
    isolation: Isolation | None = None  # where it works

    @property
    def name(self) -> str:
        return self.tier.name

    @property
    def usable(self) -> bool:
        """Whether it works here."""
        return self.isolation is not None

    def limits(self) -> tuple[str, ...]:
        """Return what is less than it could be where it works."""
        return self.isolation.limits() if self.isolation is not None else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """Something to change, and how."""

    what: str
    text: str
