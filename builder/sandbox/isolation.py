"""How commands are kept apart on this machine, as a value: the tier that was chosen and what it can do here."""

from __future__ import annotations

from collections.abc import Sequence

from tiffin.builder.sandbox.child.idmaps import own_limits
from tiffin.builder.sandbox.child.kernel import CAPABILITIES
from tiffin.builder.sandbox.userns import ALL_IDS, IdMap, effective_capabilities
from tiffin.cache.foundation.values import dataclass

RANGE, SINGLE, CHROOT, PROOT, NONE = "range", "single", "chroot", "proot", "none"
NAMES = (RANGE, SINGLE, CHROOT, PROOT, NONE)
CHROOT_FLAVOR = "root"  # real root's files are the same with and without a user namespace
PLAIN_FLAVOR = "plain"
NO_LIMIT = 1 << 32
LEADING_OUT = ("SYS_CHROOT", "SYS_PTRACE", "SYS_ADMIN", "SYS_MODULE", "SYS_RAWIO", "DAC_READ_SEARCH")  # of a chroot


@dataclass(frozen=True, slots=True, kw_only=True)
class Isolation:
    """A tier as it is here. `id_map` is None without a user namespace; `refusal` says why NONE is all there is."""

    tier: str
    id_map: IdMap | None = None
    overlay: bool = False  # layers are mounted over each other; else each run gets a copied root
    unsupervised: str = ""  # why owners are not emulated under SINGLE, "" where they are
    own_pids: bool = False  # a pid namespace with a /proc of its own; else what a run leaves is looked for and killed
    refusal: str = ""
    remedy: str = ""

    @property
    def flavor(self) -> str:
        """What names trees of files whose owners mean something under this tier only."""
        if self.id_map is not None:
            return self.id_map.tag
        return CHROOT_FLAVOR if self.tier == CHROOT else PLAIN_FLAVOR

    @property
    def limits_of_ids(self) -> tuple[int, int]:
        """The first uid and the first gid that files cannot have here, once the id map is entered."""
        if self.tier in (PROOT, NONE):  # which do not give files away at all
            return NO_LIMIT, NO_LIMIT
        return self.id_map.limits if self.id_map is not None else own_limits()

    @property
    def has_part_of_ids(self) -> bool:
        """Whether this is a user namespace, where no device node can be made, with a part of the ids."""
        return min(self.limits_of_ids) < ALL_IDS

    @property
    def emulated_flavor(self) -> str:
        """What names trees for sandboxes of one id; "" where there can be none."""
        return self.id_map.tag_of_one if self.id_map is not None else ""

    @property
    def has_mounts(self) -> bool:
        """Whether a run has a mount namespace."""
        return self.id_map is not None

    def allowed(self, capabilities: Sequence[str]) -> tuple[str, ...]:
        """Those of `capabilities` a run may have. In a chroot not the one that leads out of it, and none we lack."""
        if self.tier != CHROOT:
            return tuple(capabilities)
        own = effective_capabilities()
        return tuple(name for name in capabilities if name not in LEADING_OUT and own >> CAPABILITIES.index(name) & 1)

    def limits(self) -> tuple[str, ...]:
        """What is less than it could be, in words; nothing for a machine that refuses nothing."""
        found = []
        if self.unsupervised:
            found.append(self.unsupervised)
        if self.tier in (RANGE, SINGLE):
            if not self.overlay:
                found.append(
                    "overlay mounts are refused in the state directory (is it on overlayfs?), so layers are copied "
                    "and compared: put --root on a volume"
                )
            if not self.own_pids:
                found.append(
                    "a fresh /proc is refused, so runs share the process numbers: procMount: Unmasked lifts it"
                )
        return tuple(found)
