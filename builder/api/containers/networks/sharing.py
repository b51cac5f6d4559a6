"""What a container shares with others that run: their user namespace, networks with names, the network of one."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext

from tiffin.builder.api.session import Session
from tiffin.builder.errors import UsageError
from tiffin.builder.events import Sink
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.containers.container import Container
    from tiffin.builder.containers.network.attachment import Endpoint
    from tiffin.builder.containers.run import ContainerOptions
    from tiffin.builder.containers.state import ContainerState
    from tiffin.builder.sandbox.isolation import Isolation


def share_networks(
    session: Session,
    networks: Sequence[str],
    joins: str,
    sink: Sink,
    *,
    of_others: Sequence[tuple[str, str]] = (),
) -> None:
    """Have the process that is to run a container enter the namespace of its networks, or of the container whose
    network or other namespace it has. Raises TiffinError.
    """
    for option, name in of_others:
        if not _is_within_reach(session, name, networks, joins):
            raise UsageError(
                f"--{option} container:{name} and another network than that of {name} do not go together",
                remedy=f"add --network container:{name}, or --network host, or have both in networks with names",
            )
        if name != of_others[0][1] and not networks:
            raise UsageError(
                f"--{of_others[0][0]} and --{option} name two containers", remedy="take both namespaces of one"
            )
    joins = joins or (of_others[0][1] if of_others else "")
    if networks:
        from tiffin.builder.containers.network.members import hold_networks
        from tiffin.builder.containers.network.store import Networks

        names = [Networks(session.state).find(name).name for name in networks]

        def held(found: Isolation) -> int:
            return hold_networks(session.state, names, found, sink)

        session.share_namespace(held, is_base=True)
    elif joins:
        from tiffin.builder.containers.network.joining import namespace_of

        session.share_namespace(lambda found: namespace_of(session.state, joins, found))


def _is_within_reach(session: Session, name: str, networks: Sequence[str], joins: str) -> bool:
    """Tell whether a container has the user namespace that another in these networks, or with that of `joins`, has:
    one is of all that are in networks with names.
    """
    if not networks:
        return joins in ("", name)
    from tiffin.builder.containers.container import Containers

    return bool(Containers(session.state).find(name).networks)


def with_networks(options: ContainerOptions, networks: Sequence[object], joins: str) -> ContainerOptions:
    """Return what is asked of a container whose networks are known."""
    from tiffin.builder.containers.run import NAMED, OF_CONTAINER
    from tiffin.cache.foundation.frozen import replace

    kind = NAMED if networks else f"{OF_CONTAINER}{joins}" if joins else ""
    return replace(options, network=kind, as_machine=False) if kind else options


def reassigned(session: Session, state: ContainerState) -> AbstractContextManager[tuple[Endpoint, ...]]:
    """Give the endpoints of a container that is started again, with addresses: those of before where they are free."""
    if not state.networks:
        return nullcontext(())
    from tiffin.builder.containers.network.members import assigned

    return assigned(session.state, state.networks, identity=state.id)


def leaving_networks(session: Session, container: Container) -> AbstractContextManager[object]:
    """Have a container leave its networks at the end of the block."""
    if not container.state.networks:
        return nullcontext()
    from tiffin.builder.containers.network.members import leave

    stack = ExitStack()
    stack.callback(lambda: leave(session.state, container.reread()))
    return stack
