"""Whether a container sees owners or device nodes beyond its user namespace, and so is run with emulated ones."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from tiffin.builder.errors import SandboxError
from tiffin.builder.image.users import ProcessUser
from tiffin.builder.sandbox.isolation import Isolation
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.frozen import dataclass
from tiffin.cache.store.snapshots import Snapshots


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """`emulated` and `opens` as in SandboxSpec; `cause` in words."""

    emulated: bool = False
    opens: bool = False
    cause: str = ""

    @contextlib.contextmanager
    def explaining_losses(self, isolation: Isolation) -> Iterator[None]:
        """Name the cause where owners had to be emulated and could not be."""
        try:
            yield
        except SandboxError as exc:
            if not self.emulated:
                raise
            raise _refusal(self.cause, isolation, exc.message) from exc


def reach_of(isolation: Isolation, snapshots: Snapshots, diff_ids: Sequence[Digest], user: ProcessUser) -> Reach:
    """Return the reach of a container of these unpacked layers whose command runs as `user`. Raises SandboxError."""
    uid_limit, gid_limit = isolation.limits_of_ids
    cause, device = "", ""
    if user.uid >= uid_limit or max((user.gid, *user.groups)) >= gid_limit:
        cause = f"user {user.uid}:{user.gid}"
    notes = [data for diff_id in diff_ids if (data := snapshots.demands(diff_id)) is not None]
    if notes:
        from tiffin.builder.layer.demands import Demands

        demands = [Demands.decode(data) for data in notes]
        owned = next((found for item in demands if (found := item.beyond((uid_limit, gid_limit)))), None)
        cause = str(owned) if owned else cause
        device = next((item.device for item in demands if item.device), "")
    if isolation.tier.emulates_always:
        return Reach(opens=bool(device))
    if isolation.tier.emulates_on_demand:
        cause = cause or (f'the device node "{device}"' if device else "")
        return Reach(emulated=bool(cause), opens=bool(device), cause=cause)
    if isolation.tier.refuses_owners and cause:
        raise _refusal(cause, isolation, emulates_none(isolation))
    if isolation.tier.refuses_owners and device and isolation.has_part_of_ids:
        message, remedy = device_refusal(device, emulates_none(isolation))
        raise SandboxError(message, remedy=remedy)
    return Reach()


def emulates_none(isolation: Isolation) -> str:
    """Return why owners are not emulated, for an error."""
    return f"isolation {isolation.tier} emulates none"


def device_refusal(device: str, reason: str) -> tuple[str, str]:
    """Return the same of a device node, which no user namespace has, however many ids."""
    return (
        (
            f'the device node "{device}" is not available here: no user namespace has device nodes, and they cannot be'
            f" emulated ({reason})"
        ),
        "run it where a user namespace can be made; tiffin info says how to allow one",
    )


def refusal_of(cause: str, limits: tuple[int, int], reason: str) -> tuple[str, str]:
    """Return what to say, and the remedy, where something that is to be seen cannot be, and must not be shown
    otherwise.
    """
    uid, gid = (limit - 1 for limit in limits)
    return (
        f"{cause} is not available here: the id map ends at {uid}:{gid}, and owners cannot be emulated ({reason})",
        "give the user more ids, with a line such as USER:100000:4000000000 in /etc/subuid and /etc/subgid",
    )


def _refusal(cause: str, isolation: Isolation, reason: str) -> SandboxError:
    message, remedy = refusal_of(cause, isolation.limits_of_ids, reason)
    return SandboxError(message, remedy=remedy)
