"""Other commands in the containers of a project: exec, run, hooks."""

from __future__ import annotations

from tiffin.builder.api.containers.exec import ExecOptions, execute
from tiffin.builder.api.session import Session
from tiffin.builder.compose.model.values import Hook
from tiffin.builder.errors import ContainerError


def run_hook(hook: Hook, container: str, session: Session) -> None:
    """Run a command that a service has for its container. Raises ContainerError where it fails."""
    options = ExecOptions(
        container=container,
        command=hook.command,
        variables=tuple(hook.environment.items()),
        workdir=hook.workdir,
        user=hook.user,
        privileged=hook.privileged,
    )
    result = execute(options, session)
    if result.exit_code:
        raise ContainerError(
            f"container {container}: {' '.join(hook.command)}: hook exited with status {result.exit_code}",
            remedy="see what it printed",
        )
