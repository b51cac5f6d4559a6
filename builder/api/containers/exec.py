"""Run another command in a container that runs."""

from __future__ import annotations

import os
from contextlib import ExitStack
from functools import partial

from tiffin.builder.api.containers.detached import Reporter, begin_detached
from tiffin.builder.api.run import RunResult
from tiffin.builder.api.session import Session
from tiffin.builder.containers.container import Containers
from tiffin.builder.containers.environment import Variable, environment
from tiffin.builder.containers.lifecycle.events import record_of_container
from tiffin.builder.containers.lifecycle.processes import command_of
from tiffin.builder.containers.lifecycle.record import ContainerRecord, read_sandbox
from tiffin.builder.containers.rootfs import read_in_root
from tiffin.builder.containers.run import attached_streams, attend, choose_capabilities, forwarded_signals
from tiffin.builder.containers.state import ContainerState
from tiffin.builder.errors import ContainerError, SandboxError
from tiffin.builder.events import NullSink
from tiffin.builder.image.users import ProcessUser, resolve_user
from tiffin.builder.sandbox.child.join import start_of
from tiffin.builder.sandbox.direct import DirectLauncher
from tiffin.builder.sandbox.expected_users import expects_users
from tiffin.cache.foundation.frozen import dataclass, replace
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.sandbox.child.spec import SandboxSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecOptions:
    """Options of one more command in a container; empty values leave the container's own."""

    container: str
    command: tuple[str, ...]
    variables: tuple[Variable, ...] = ()
    workdir: str = ""
    user: str = ""
    interactive: bool = False
    tty: bool = False
    privileged: bool = False


class _Told:
    """Tells of a command as an event of its container, as docker does."""

    def __init__(self, options: ExecOptions, session: Session) -> None:
        self._session = session
        self._state = Containers(session.state).find(options.container)
        self._identity = os.urandom(32).hex()
        program, *words = options.command
        self._words = f"{program} {' '.join(words)}"  # docker's, with a blank at the end where there are no words
        self._record(f"exec_create: {self._words}")

    def begun(self) -> None:
        """Tell that it runs."""
        self._record(f"exec_start: {self._words}")

    def ended(self, code: int) -> None:
        """Tell how it ended."""
        self._record("exec_die", exitCode=str(code))

    def _record(self, action: str, **attributes: str) -> None:
        record_of_container(self._session.state, self._state, action, execID=self._identity, **attributes)


def execute(options: ExecOptions, session: Session) -> RunResult:
    """Run a command in a container with this process's streams. Raises TiffinError where it could not be begun."""
    spec = replace(sandbox_of(options, session), announces=True)
    told = _Told(options, session)
    with ExitStack() as stack:
        launcher = stack.enter_context(DirectLauncher())
        forwarder = stack.enter_context(forwarded_signals())
        attached = attached_streams(spec.uid, tty=options.tty, interactive=options.interactive)
        stack.enter_context(attached)
        stdin, stdout, stderr = attached.opened(spec)
        running = launcher.run(spec, stdin=stdin, stdout=stdout, stderr=stderr)
        forwarder.to(running)
        status = attend(running, attached, told.begun)
        told.ended(status.code)
        return RunResult(exit_code=status.code, message=status.message)


def execute_detached(options: ExecOptions, session: Session) -> RunResult:
    """Run a command in a container in the background; what it prints goes nowhere. Raises TiffinError."""
    spec = replace(sandbox_of(options, session), announces=True)
    told = _Told(options, session)

    def supervise(reporter: Reporter) -> None:
        with DirectLauncher() as launcher, forwarded_signals() as forwarder:
            attached = attached_streams(spec.uid, tty=options.tty, interactive=False)
            with attached:
                stdin, stdout, stderr = attached.opened(spec)
                running = launcher.run(spec, stdin=stdin, stdout=stdout, stderr=stderr)
                if running.await_start():
                    told.begun()
                    reporter.report(id=options.container)
                    forwarder.to(running)
                    told.ended(attend(running, attached, None).code)
                    return
                status = running.wait()
                reporter.report(id=options.container, exit_code=status.code, message=status.message)

    started = begin_detached(supervise, NullSink())
    return RunResult(exit_code=started.exit_code, message=started.message)


def sandbox_of(options: ExecOptions, session: Session) -> SandboxSpec:
    """Describe the sandbox of a container as another command enters it. Raises ContainerError, SandboxError.

    A Landlock domain cannot be entered, and one of its own lets a command see less of the first (/proc/1/environ): it
    has one only where the machine's abstract sockets are in reach.
    """
    containers = Containers(session.state)
    state = containers.find_running(options.container)
    if state.is_paused:
        raise ContainerError(f"Container {state.name} is paused", remedy=f"tiffin unpause {state.name} before exec")
    record = ContainerRecord.read(containers.folder(state.id))
    around = read_sandbox(containers.folder(state.id))
    can_enter = around.has_namespaces and (around.own_pids or "pid" in around.shared)
    # a chroot is not a wall between processes anyway
    can_stand_beside = not (around.has_namespaces or around.is_traced)
    if not (can_enter or can_stand_beside):
        raise SandboxError(
            f"container {state.name} has no namespaces of its own that a command could enter",
            remedy="see tiffin info for what lifts the isolation",
        )
    command, started, user = _found(state, options, record)
    wanted = record.options
    capabilities = choose_capabilities(("ALL",), ()) if options.privileged else around.capabilities
    variables = (*wanted.variables, *options.variables)
    return replace(
        around,
        joins=command,
        joins_started=started,
        argv=options.command,
        env=environment(record.config.env, variables, home=user.home, hostname=around.hostname, tty=options.tty),
        cwd=options.workdir or around.cwd,
        uid=user.uid,
        gid=user.gid,
        groups=user.groups,
        has_users=around.has_users or expects_users(user.uid, capabilities, options.command),
        tty=options.tty,
        init=False,
        named_streams=False,  # those of the first command are there
        capabilities=capabilities,
        seccomp="" if options.privileged else around.seccomp,
        landlock_scoped=around.landlock_scoped and around.network == "host" and not options.privileged,
    )


def _found(state: ContainerState, options: ExecOptions, record: ContainerRecord) -> tuple[int, str, ProcessUser]:
    """Return the number of a container's command, when it began, and who is to run another one. Raises SandboxError."""
    command = command_of(state)
    try:
        process = os.open(f"/proc/{command}", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            started, user = start_of(process), _user(process, options, record)
        finally:
            os.close(process)
    except OSError as exc:
        raise SandboxError(
            f"container {options.container} cannot be reached: {exc.strerror}",
            remedy="run this as the user who began it",
        ) from exc
    if command_of(state) != command:  # so the descriptor was that of the command, and not of a later process
        raise ContainerError(f"container {state.name} has ended", remedy=f"start it with tiffin start {state.name}")
    return command, started, user


def _user(process: int, options: ExecOptions, record: ContainerRecord) -> ProcessUser:
    """Find who runs it, by the files of the container as they are now. Raises OSError, UsageError."""
    root = os.open("root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=process)
    try:
        return resolve_user(options.user or record.user, partial(read_in_root, root), further=record.groups)
    finally:
        os.close(root)
