"""Which steps run with emulated owners on a machine that has many ids, and which cannot run at all.

Law (docs/ownership.md): what a RUN sees is what its layer says. In a namespace with a range of ids the kernel holds the
owners, and holds nothing beyond the range and no device node. Where layers below a step, what it mounts or its user go
beyond that, the step runs in a namespace of one id within that one, with trees of its own and a supervisor, just as in
tier `single`; so does one that asks for more while it runs: it is ended, forgotten, and run again. Others pay nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence

from tiffin.builder.containers.reach import device_refusal, emulates_none, refusal_of
from tiffin.builder.errors import BuildError, Span
from tiffin.builder.events import InfoMessage, Sink
from tiffin.builder.image.chain import Chain
from tiffin.builder.image.layers import LayerStore
from tiffin.builder.instructions.ops import CacheMount, Origin, RunOp, SecretMount, SshMount
from tiffin.builder.layer.demands import Demands, Limits
from tiffin.builder.owner_xattrs import noted_owner
from tiffin.builder.sandbox.child.emulation.supervisor import NESTED
from tiffin.builder.sandbox.isolation import Isolation
from tiffin.builder.sandbox.launch import DEVICE_REQUEST, StepAbandoned
from tiffin.cache.foundation.frozen import dataclass, replace
from tiffin.cache.store.mounts import CacheMounts
from tiffin.cache.store.statedir import StateDir


@dataclass(frozen=True, slots=True, kw_only=True)
class Emulation:
    """How much of a step is emulated beyond what its tier emulates anyway; `cause` in words, for an error.

    `opens`: device nodes can be opened, for which every open is asked about.
    """

    owners: bool = False
    opens: bool = False
    cause: str = ""


class UnexpectedOwners(StepAbandoned):
    """A step that was begun with less emulation than layers need that were looked into only then."""

    def __init__(self, emulation: Emulation) -> None:
        super().__init__(emulation.cause)
        self.emulation = emulation


class Emulator:
    """Decides for the steps of a build. `layers` are those of true owners."""

    def __init__(self, isolation: Isolation, layers: LayerStore, state: StateDir, sink: Sink) -> None:
        self._isolation = isolation
        self._layers = layers
        self._state = state
        self._sink = sink
        self.limits: Limits = isolation.limits_of_ids
        self._lock = threading.Lock()  # guards _told
        self._told: set[str] = set()

    @property
    def is_at_hand(self) -> bool:
        """Whether steps can run with emulated owners where they are true else."""
        return self._isolation.tier.emulates_on_demand

    def goes_beyond(self, demands: Demands) -> bool:
        """Whether a tree with true owners could not hold a layer."""
        return self.is_at_hand and bool(demands.beyond(self.limits) or demands.device)

    def chain_goes_beyond(self, chain: Chain) -> bool:
        """Return the same of layers, as far as they were looked into."""
        return self.is_at_hand and any(map(self.goes_beyond, self._layers.demands(layer.diff_id for layer in chain)))

    def demanded(self, op: RunOp, chain: Chain, sources: Mapping[Origin, Chain], span: Span) -> Emulation:
        """Return what the layers below a RUN and its mounts need, as far as is known before it is begun.

        Raises BuildError.
        """
        seen = [layer.diff_id for layers in (chain, *sources.values()) for layer in layers]
        demands = self._layers.demands(seen)
        owned = next((found for item in demands if (found := item.beyond(self.limits))), None)
        device = next((item.device for item in demands if item.device), "")
        if not self._isolation.tier.emulates_owners:
            if self._isolation.tier.refuses_owners:
                self._refuse(str(owned or "") or self._mounted(op), device, span)
            return Emulation()
        if self._isolation.tier.emulates_always:
            if demands and self._isolation.unsupervised not in ("", NESTED):
                raise refusal(_first(demands), self.limits, self._isolation.unsupervised, span)
            return Emulation(opens=bool(device))
        cause = str(owned or "") or (f'the device node "{device}"' if device else self._mounted(op))
        if cause:
            self.notify_once(
                f"{cause} is beyond this user namespace: owners are emulated in steps that reach it", cause
            )
        return Emulation(owners=bool(cause), opens=bool(device), cause=cause)

    def check_user(self, uid: int, gids: Sequence[int], emulation: Emulation, span: Span) -> None:
        """Raise StepAbandoned if the command is to begin as somebody whom its sandbox does not know; BuildError if none
        does.
        """
        if emulation.owners or (uid < self.limits[0] and max(gids) < self.limits[1]):
            return
        if self.is_at_hand:
            raise StepAbandoned(f"user {uid}:{max(gids)}")
        if self._isolation.tier.refuses_owners:
            raise refusal(f"user {uid}:{max(gids)}", self.limits, emulates_none(self._isolation), span)

    def more(self, emulation: Emulation, abandoned: StepAbandoned, name: str, span: Span) -> Emulation:
        """Return what a step is run again with that asked for more. Raises BuildError where there is no more."""
        if isinstance(abandoned, UnexpectedOwners):
            return abandoned.emulation
        if self._isolation.tier.refuses_owners:
            raise self._refusal_of(abandoned, span)
        self.notify_once(
            f"{name}: {abandoned.what} is beyond this user namespace; the step runs again with owners emulated", name
        )
        owners = self.is_at_hand
        opens = emulation.opens or abandoned.what.startswith(DEVICE_REQUEST)
        return replace(emulation, owners=owners, opens=opens, cause=emulation.cause or abandoned.what)

    def _refusal_of(self, abandoned: StepAbandoned, span: Span) -> BuildError:
        if not abandoned.what.startswith(DEVICE_REQUEST):
            return refusal(abandoned.what, self.limits, emulates_none(self._isolation), span)
        message, remedy = device_refusal(
            abandoned.what.removeprefix(DEVICE_REQUEST).removeprefix("device "), emulates_none(self._isolation)
        )
        return BuildError(message, span=span, remedy=remedy)

    def notify_once(self, text: str, once: str) -> None:
        """Show a line, once in a build."""
        with self._lock:
            known = once in self._told
            self._told.add(once)
        if not known:
            self._sink.emit(InfoMessage(message=text))

    def _mounted(self, op: RunOp) -> str:
        """Return a mount of the step that belongs to somebody beyond the limits, in words."""
        caches = CacheMounts(self._state, self._isolation.emulated_idmap_tag or self._isolation.idmap_tag)
        for mount, uid, gid in _owners_of_mounts(op, caches):
            if uid >= self.limits[0] or gid >= self.limits[1]:
                return f"the mount at {mount} ({uid}:{gid})"
        return ""

    def _refuse(self, cause: str, device: str, span: Span) -> None:
        """Refuse a step in a chroot of a pod: nothing emulates owners there."""
        if cause:
            raise refusal(cause, self.limits, emulates_none(self._isolation), span)
        if device and self._isolation.has_part_of_ids:
            message, remedy = device_refusal(device, emulates_none(self._isolation))
            raise BuildError(message, span=span, remedy=remedy)


def refusal(what: str, limits: Limits, reason: str, span: Span | None) -> BuildError:
    """Return the error for a step that would see, or make, other owners than its image has."""
    message, remedy = refusal_of(what, limits, reason)
    return BuildError(message, span=span, remedy=remedy)


def _first(demands: list[Demands]) -> str:
    found = next((item.by_uid or item.by_gid for item in demands if item.by_uid or item.by_gid), None)
    return str(found) if found else f'the device node "{demands[0].device}"'


def _owners_of_mounts(op: RunOp, caches: CacheMounts) -> Iterator[tuple[str, int, int]]:
    for mount in op.mounts:
        match mount:
            case CacheMount():
                yield mount.target, mount.uid or 0, mount.gid or 0
                place = caches.place(mount.id) if mount.origin is None else None
                if place is not None and (mount.uid is None or mount.gid is None):  # as the step before left it
                    uid, gid = noted_owner(place) or (0, 0)
                    yield mount.target, uid, gid
            case SecretMount() | SshMount():
                yield mount.target, mount.uid, mount.gid
