"""Wait until a container is in a certain condition, in docker's words and podman's."""

from __future__ import annotations

from collections.abc import Sequence

from tiffin.builder.api.containers.lifecycle import exit_code_of, wait
from tiffin.builder.api.session import Session
from tiffin.builder.containers.container import Containers
from tiffin.builder.containers.lifecycle.changes import MOVED_TO, REMOVED, Changes
from tiffin.builder.containers.state import ContainerState
from tiffin.builder.errors import ContainerError

LOOK_SECONDS = 0.5  # whether its supervisor was killed, of which no file tells
NO_CODE = -1  # podman's, of a condition that is not an end
REMOVED_WORD, NOT_RUNNING, NEXT_EXIT = "removed", "not-running", "next-exit"
STATUSES = {
    "configured": ("created",),
    "created": ("created",),
    "initialized": ("created",),
    "running": ("running",),
    "paused": ("paused",),
    "stopped": ("exited", "dead"),
    "exited": ("exited", "dead"),
    "stopping": ("exited", "dead"),
    NOT_RUNNING: ("created", "exited", "dead"),
}
HEALTH = ("healthy", "unhealthy")
CONDITIONS = (*STATUSES, *HEALTH, NEXT_EXIT, "removing", REMOVED_WORD)
ENDS = ("stopped", "exited", "stopping", NOT_RUNNING)


def wait_for(name: str, session: Session, conditions: Sequence[str]) -> int:
    """Wait for one of `conditions`; return the exit code, -1 for a condition that is not an end.

    Raises ImageNotFoundError, and ContainerError where the health waited for will never come.
    """
    containers = Containers(session.state)
    state = containers.find(name)
    code = NO_CODE
    if NEXT_EXIT in conditions or set(conditions) <= {REMOVED_WORD, "removing"}:
        code = wait(state.id, session) if containers.is_alive(state.id) else exit_code_of(containers, state)
        if NEXT_EXIT in conditions:
            return code
    folder = containers.folder(state.id)
    with Changes(folder, MOVED_TO | REMOVED) as changes:
        while folder.is_dir():
            state = next((item for item in containers.states() if item.id == state.id), state)
            if set(conditions) <= set(HEALTH):
                _check_health(containers, state)
            met = _met(containers, state, conditions)
            if met:
                return exit_code_of(containers, state) if met in ENDS else NO_CODE
            changes.wait(LOOK_SECONDS)
    return code if state.exit_code is None else state.exit_code


def _check_health(containers: Containers, state: ContainerState) -> None:
    """Raise ContainerError where nobody will ever say how a container is."""
    alive = containers.is_alive(state.id)
    if alive and state.started and not state.health:
        raise ContainerError(f"container {state.name} has no health check", remedy="make it with --health-cmd")
    if not alive and state.exit_code is not None:
        raise ContainerError(f"container {state.name} has ended", remedy=f"see tiffin logs {state.name}")


def _met(containers: Containers, found: ContainerState, conditions: Sequence[str]) -> str:
    """Return the condition that is met, "" for none."""
    alive = containers.is_alive(found.id)
    status = found.status(alive=alive)
    for condition in conditions:
        if condition in HEALTH:
            if alive and found.health == condition:
                return condition
        elif status in STATUSES.get(condition, ()):
            return condition
    return ""
