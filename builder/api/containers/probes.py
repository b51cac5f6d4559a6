"""Health checks as commands in the sandbox of their container, begun by its supervisor."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator

from tiffin.builder.api.session import Session
from tiffin.builder.containers.container import Container
from tiffin.builder.containers.health import UNHEALTHY, HealthCheck
from tiffin.builder.containers.lifecycle.record import ContainerRecord
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.containers.lifecycle.health_monitor import HealthMonitor
    from tiffin.builder.sandbox.launch import Launcher, Running


@contextlib.contextmanager
def monitoring(
    container: Container,
    check: HealthCheck,
    record: ContainerRecord,
    session: Session,
    unhealthy: Callable[[str], object],
) -> Iterator[HealthMonitor]:
    """Give what checks the health of a container whose command has begun.

    `unhealthy` is told what is to be done once it is that, if anything is.
    """
    from tiffin.builder.api.containers.exec import ExecOptions, sandbox_of
    from tiffin.builder.containers.lifecycle.health_monitor import HealthMonitor
    from tiffin.builder.sandbox.direct import DirectLauncher

    argv = check.argv(record.config.shell)

    def begin(output: int) -> _Probe:
        spec = sandbox_of(ExecOptions(container=container.state.id, command=argv), session)
        launcher = DirectLauncher()
        null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return _Probe(launcher, launcher.run(spec, stdin=null, stdout=output, stderr=output))
        except BaseException:
            launcher.close()
            raise
        finally:
            os.close(null)

    def change(status: str) -> None:
        container.update(health=status)
        container.record(f"health_status: {status}")
        if status == UNHEALTHY and check.on_failure:
            unhealthy(check.on_failure)

    monitor = HealthMonitor(
        container.folder, check, begin_probe=begin, change=change, is_paused=lambda: container.reread().is_paused
    )
    try:
        yield monitor
    finally:
        monitor.end()


class _Probe:
    """A check that runs, with the launcher that is its alone."""

    def __init__(self, launcher: Launcher, running: Running) -> None:
        self._launcher = launcher
        self._running = running

    def fileno(self) -> int:
        """Return the descriptor that can be read once it has ended."""
        return self._running.fileno()

    def finish(self) -> tuple[int, str]:
        """Return its exit code, and why it could not be begun. Raises SandboxError."""
        try:
            status = self._running.wait()
            return status.code, status.message
        finally:
            self._launcher.close()

    def kill(self) -> None:
        """End it, with all that it started."""
        self._launcher.kill_all()
        self._running.abandon()
