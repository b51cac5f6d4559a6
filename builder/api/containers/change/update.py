"""Other limits and another restart policy for a container that is there."""

from __future__ import annotations

from tiffin.builder.api.session import Session
from tiffin.builder.containers.container import Containers
from tiffin.builder.containers.lifecycle.events import record_of_container
from tiffin.builder.containers.lifecycle.record import ContainerRecord
from tiffin.builder.containers.run import RestartPolicy
from tiffin.builder.errors import ContainerError
from tiffin.builder.sandbox.cgroup import change_limits
from tiffin.builder.sandbox.cgroup_limits import Limits
from tiffin.cache.foundation.frozen import fields, replace


def update(name: str, session: Session, limits: Limits, restart: RestartPolicy | None) -> None:
    """Change what is given of a container's limits, and its restart policy. Raises TiffinError.

    A container that runs needs control groups for that: what no group can do is refused, and nothing is changed.
    """
    containers = Containers(session.state)
    state = containers.find(name)
    folder = containers.folder(state.id)
    record = ContainerRecord.read(folder)
    if restart is not None and state.remove and restart.name != "no":
        raise ContainerError(
            "Restart policy cannot be updated because AutoRemove is enabled for the container",
            remedy="make it without --rm",
        )
    given = {key: getattr(limits, key) for key in fields(limits) if getattr(limits, key)}
    if given and containers.is_alive(state.id):
        missing = change_limits(containers.groups(state.id), limits)
        if missing:
            raise ContainerError(
                f"container {state.name} has no control group for {' and '.join(missing)} that could be changed",
                remedy="begin it with such a limit where control groups can be made, or stop it first",
            )
    options = replace(record.options, limits=replace(record.options.limits, **given))
    if restart is not None:
        options = replace(options, restart=restart)
    replace(record, options=options).write(folder)
    record_of_container(session.state, state, "update")
