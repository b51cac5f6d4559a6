"""A container in the hands of its supervisor: its command, again and again where that is wanted, and its health."""

from __future__ import annotations

import contextlib
import time
from contextlib import ExitStack
from functools import partial

from tiffin.builder.api.containers.command_start import ContainerStart, warn
from tiffin.builder.api.containers.detached import Reporter
from tiffin.builder.api.session import Session
from tiffin.builder.containers.container import Container
from tiffin.builder.containers.lifecycle import messages
from tiffin.builder.containers.lifecycle.log import LogWriter
from tiffin.builder.containers.lifecycle.processes import command_of, parse_signal, send_signal
from tiffin.builder.containers.lifecycle.record import ContainerRecord
from tiffin.builder.containers.lifecycle.supervisor import Supervisor
from tiffin.builder.containers.run import forwarded_signals, network_of
from tiffin.builder.containers.state import ContainerState
from tiffin.builder.errors import StoreError, TiffinError, UsageError
from tiffin.builder.sandbox.child.fd_passing import Socket
from tiffin.cache.foundation.signals import signal
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.containers.health import HealthCheck
    from tiffin.builder.sandbox.isolation import Isolation
    from tiffin.builder.sandbox.launch import ExitStatus, Running

FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.1, 60.0  # before a restart, twice as long each time
LASTING_SECONDS = 10.0  # what has run so long is not failing again and again


class Life:
    """A container in the hands of its supervisor, until it ends for good."""

    def __init__(
        self,
        session: Session,
        reporter: Reporter,
        record: ContainerRecord,
        isolation: Isolation,
        first: Socket | None = None,
        *,
        is_held: bool = False,
    ) -> None:
        self._session = session
        self._reporter = reporter
        self._record = record
        self._isolation = isolation
        self._first = first
        self._is_held = is_held
        self._is_ended_to_begin_again = False
        health = record.options.health
        if health is not None and health.on_failure and self._check() is None:
            raise UsageError("--health-on-failure without a check", remedy="add --health-cmd")
        self.network = network_of(record.options, record.config)
        warn(reporter.sink, self.network.warning)
        self.start = self._start()

    def _check(self) -> HealthCheck | None:
        """Return the check of its health, None where there is none."""
        wanted, config = self._record.options.health, self._record.config
        if wanted is None and config.healthcheck is None:
            return None
        from tiffin.builder.containers.health import check_of

        return check_of(wanted, config)

    def _start(self) -> ContainerStart:
        return ContainerStart(self._session, self._isolation, self._record, self.network, self._reporter.sink)

    def live(self, container: Container, stack: ExitStack) -> None:
        """Run the command, again and again where its restart policy says so; `stack` lets the container go."""
        options = self._record.options
        self._record.write(container.folder)
        if self._first is not None:
            container.record("attach")
        log = LogWriter(
            container.folder, max_bytes=options.log_bytes, max_files=options.log_files, is_kept=options.keeps_log
        )
        supervisor = Supervisor(
            messages.listen(container.folder),
            log,
            tty=options.tty,
            interactive=self._record.interactive,
            closes_stdin=self._record.closes_stdin,
            first=self._first,
            is_held=self._is_held,
        )
        with supervisor:
            try:
                code = self._repeat(container, supervisor)
            finally:
                stack.close()
                (container.folder / messages.FILE).unlink(missing_ok=True)
            supervisor.finish(code)

    def _repeat(self, container: Container, supervisor: Supervisor) -> int:
        """Run the command until it is not to be started again; return its last exit code."""
        pause = FIRST_PAUSE_SECONDS
        begun = time.monotonic()
        status = self._run_once(container, supervisor)
        while status is not None and self._is_wanted_again(status, container, supervisor):
            pause = FIRST_PAUSE_SECONDS if time.monotonic() - begun > LASTING_SECONDS else pause
            supervisor.pause(pause)
            if supervisor.stopping:
                break
            pause = min(pause * 2, MAX_PAUSE_SECONDS)
            container.update(restarts=container.state.restarts + 1)
            container.renew()
            begun = time.monotonic()
            self.start = self._start()
            with self._session.state.lock("prune", shared=True):
                self.start.prepare(container)
            status = self._run_once(container, supervisor)
        return status.code if status is not None else container.state.exit_code or 0

    def _is_wanted_again(self, status: ExitStatus, container: Container, supervisor: Supervisor) -> bool:
        with contextlib.suppress(TiffinError):  # it may have been changed meanwhile
            self._record = ContainerRecord.read(container.folder)
        again, self._is_ended_to_begin_again = self._is_ended_to_begin_again, False
        wanted = again or self._record.options.restart.wants(status.code, container.state.restarts)
        return wanted and not supervisor.stopping

    def _act(self, action: str, supervisor: Supervisor, container: Container, running: Running) -> None:
        """Do with a container that is unhealthy what --health-on-failure says."""
        from tiffin.builder.containers.health import KILL, RESTART, STOP

        if action == KILL:
            _signal(container.state, running, signal.SIGKILL)
            return
        self._is_ended_to_begin_again = action == RESTART
        supervisor.end_late(self._record.options.stop_seconds, for_good=action == STOP)
        _signal(container.state, running, parse_signal(self._record.stop_signal))

    def _run_once(self, container: Container, supervisor: Supervisor) -> ExitStatus | None:
        """Run the command; None if it could not be begun."""
        with ExitStack() as stack:
            forwarder = stack.enter_context(forwarded_signals())
            with self.start.naming_causes():
                spec = self.start.describe(container, supervisor, stack, announces=True)
                launcher = stack.enter_context(self._session.launch_one(stays=True))
                running = self.start.begin(spec, supervisor, launcher)
                if not running.await_start():
                    status = running.wait()
                    container.fail(status.code, status.message)
                    self._reporter.report(id=container.state.id, exit_code=status.code, message=status.message)
                    return None
                forwarder.to(running)
                check = self._check()
                health = ""
                if check is not None:
                    from tiffin.builder.containers.health import STARTING

                    health = STARTING
                container.update(started=time.time(), exit_code=None, health=health, oom_killed=False)
                container.record("start")
                self._reporter.report(id=container.state.id)
                monitor = None
                if check is not None:
                    from tiffin.builder.api.containers.probes import monitoring

                    act = partial(self._act, supervisor=supervisor, container=container, running=running)
                    monitor = stack.enter_context(monitoring(container, check, self._record, self._session, act))
                status = supervisor.attend(running, partial(_signal, container.state, running), monitor)
        container.finish(status.code, oom_killed=container.was_short_of_memory())
        return status


def _signal(state: ContainerState, running: Running, number: int) -> None:
    """Send any signal to the command itself; where that cannot be reached, through its init."""
    try:
        send_signal(command_of(state), number)
    except (StoreError, OSError):
        running.kill(number)
