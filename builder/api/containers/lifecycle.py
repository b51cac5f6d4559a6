"""The life of a container: create, start, stop, kill, wait, rename, remove."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext

from tiffin.builder.api.containers.detached import Reporter, Started, begin_detached
from tiffin.builder.api.containers.supervision import Life
from tiffin.builder.api.containers.trees import layers_of
from tiffin.builder.api.inputs.run_image import Progress, RunImage
from tiffin.builder.api.run import endpoints_of, enter_shared, leaving, prepare, record_of, state_of, write_id
from tiffin.builder.api.run_options import RunOptions
from tiffin.builder.api.session import Session
from tiffin.builder.containers.container import Containers
from tiffin.builder.containers.lifecycle import messages
from tiffin.builder.containers.lifecycle.events import record_of_container
from tiffin.builder.containers.lifecycle.processes import command_of, parse_signal, send_signal
from tiffin.builder.containers.lifecycle.record import ContainerRecord
from tiffin.builder.containers.run import DEFAULT_DETACH_KEYS, DEFAULT_STOP_SECONDS, OF_CONTAINER
from tiffin.builder.containers.state import ContainerState
from tiffin.builder.errors import ContainerError, CorruptError, SandboxError, StoreError, TiffinError
from tiffin.builder.sandbox.cgroup_limits import Limits
from tiffin.builder.sandbox.child.fd_passing import Socket, pair
from tiffin.cache.foundation.frozen import replace
from tiffin.cache.foundation.signals import signal
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.containers.lifecycle.attachment import Attachment
    from tiffin.builder.events import Sink

END_SECONDS = 60.0  # for a killed container to be gone: its files may have to reach a busy disk first
Ends = tuple[Socket, Socket]  # of a line: the client's, the supervisor's


def create(options: RunOptions, session: Session, sink: Sink, progress: Progress | None = None) -> ContainerState:
    """Make a container of an image, without starting its command. Raises TiffinError."""
    with ExitStack() as stack:
        made = prepare(options, session, sink, progress or (lambda: nullcontext(sink)), stack, begins=False)
        with session.state.lock("prune", shared=True):
            with endpoints_of(options, session, begins=False) as networks:
                described = state_of(options, made, networks=networks, pid=0, is_detached=True)
                container = stack.enter_context(Containers(session.state).create(described))
            record_of(options, made, is_detached=False).write(container.folder)
            if options.cidfile is not None:
                write_id(options.cidfile, container.state.id)
        return container.state


def run_detached(
    options: RunOptions,
    session: Session,
    sink: Sink,
    progress: Progress | None = None,
    first: Ends | None = None,
    *,
    is_held: bool = False,
) -> Started:
    """Make a container and start its command in the background. Raises TiffinError.

    `first` are the ends of the line of a client that is attached from the beginning; `is_held`: the container ends with
    it.
    """
    image = RunImage(options, session, sink, progress or (lambda: nullcontext(sink)))
    if not image.is_listed() and image.find() is None:
        image.pull()
    options = replace(options, pull="missing")

    def supervise(reporter: Reporter) -> None:
        with ExitStack() as stack:
            enter_shared(options, session, reporter.sink)
            made = prepare(options, session, reporter.sink, _silence, stack, begins=False)
            record = record_of(options, made, is_detached=first is None)
            life = Life(session, reporter, record, made.isolation, _supervisors(first), is_held=is_held)
            containers = Containers(session.state)
            with session.state.lock("prune", shared=True):
                with endpoints_of(options, session) as networks:
                    described = state_of(
                        options, made, ports=life.network.ports, networks=networks, pid=os.getpid(), is_detached=True
                    )
                    container = stack.enter_context(containers.create(described))
                stack.enter_context(leaving(session, container))
                life.start.prepare(container, layers_of(made.image), options.registry)
            if options.cidfile is not None:
                write_id(options.cidfile, container.state.id)
            life.live(container, stack)

    return begin_detached(supervise, sink)


def _supervisors(first: Ends | None) -> Socket | None:
    """Return a supervisor's end of a line; with the other one open it would never see that its client is gone."""
    if first is None:
        return None
    first[0].close()
    return first[1]


def start(name: str, session: Session, sink: Sink, first: Ends | None = None) -> Started:
    """Start the command of a container that does not run; `first` is of a client that is attached from the beginning.

    Raises ImageNotFoundError, UsageError, SandboxError.
    """
    containers = Containers(session.state)
    state = containers.find(name)
    if containers.is_alive(state.id):
        if state.is_paused:
            raise ContainerError(
                f"container {state.name} is paused, and cannot be started", remedy=f"tiffin unpause {state.name}"
            )
        return Started(id=state.id)
    record = ContainerRecord.read(containers.folder(state.id))
    joins = record.options.network.partition(OF_CONTAINER)[2]

    def supervise(reporter: Reporter) -> None:
        with ExitStack() as stack:
            from tiffin.builder.api.containers.networks.sharing import leaving_networks, reassigned, share_networks

            named = [item.wanted.name for item in state.networks]
            share_networks(session, named, joins, reporter.sink, of_others=record.options.namespaces.of_others)
            isolation = session.become_root(record.isolation or None, keep=record.options.keep)
            if isolation.idmap_tag != record.id_map:
                raise SandboxError(
                    f"container {state.name} was made under another id map ({record.id_map}) than this machine has now "
                    f"({isolation.idmap_tag})",
                    remedy="make it again, or take the change of /etc/subuid back",
                )
            life = Life(session, reporter, record, isolation, _supervisors(first))
            changes = {"exit_code": None, "finished": 0.0, "restarts": 0, "is_detached": True, "error": ""}
            with reassigned(session, state) as networks:
                container = stack.enter_context(
                    containers.begin(state.id, ports=life.network.ports, networks=networks, **changes)
                )
            stack.enter_context(leaving_networks(session, container))
            with session.state.lock("prune", shared=True):
                life.start.prepare(container)
            life.live(container, stack)

    return begin_detached(supervise, sink)


def limits_of(names: Sequence[str], session: Session) -> Limits:
    """Return what the first of containers that is limited may use. Raises ImageNotFoundError."""
    containers = Containers(session.state)
    for name in names:
        with contextlib.suppress(CorruptError):
            limits = ContainerRecord.read(containers.folder(containers.find(name).id)).options.limits
            if limits.controllers():
                return limits
    return Limits()


def kill(name: str, session: Session, signal_name: str = "KILL") -> None:
    """Send a signal to the command of a container. Raises UsageError where it does not run."""
    number = parse_signal(signal_name)
    containers = Containers(session.state)
    state = containers.find_running(name)
    _send(containers, state, messages.STOP if number == signal.SIGKILL else messages.SIGNAL, number)
    record_of_container(session.state, state, "kill", signal=str(int(number)))
    if number in (signal.SIGKILL, parse_signal(_manners(containers, state)[1])):
        from tiffin.builder.api.containers.change.pausing import go_on

        go_on(containers, state, session)


def stop(name: str, session: Session, *, seconds: int | None = None, signal_name: str = "") -> ContainerState:
    """Ask the command of a container to end, and kill it after a while (`seconds`, -1 for never).

    One that does not run is fine.
    """
    from tiffin.builder.api.containers.change.pausing import go_on

    containers = Containers(session.state)
    state = containers.find(name)
    if not containers.is_alive(state.id):
        return state
    patience, wanted = _manners(containers, state)
    line = messages.connect(containers.folder(state.id))
    patience = patience if seconds is None else seconds
    with contextlib.closing(line) if line is not None else nullcontext():
        number = parse_signal(signal_name or wanted)
        record_of_container(session.state, state, "kill", signal=str(int(number)))
        _send(containers, state, messages.STOP, number)
        go_on(containers, state, session)
        if not containers.wait_for_end(state, line, None if patience < 0 else float(patience)):
            record_of_container(session.state, state, "kill", signal=str(int(signal.SIGKILL)))
            _send(containers, state, messages.STOP, signal.SIGKILL)
            if not containers.wait_for_end(state, line, END_SECONDS):
                raise StoreError(f"container {state.name} does not end", remedy="try again")
    record_of_container(session.state, state, "stop")
    return state


def restart(name: str, session: Session, sink: Sink, *, seconds: int | None = None, signal_name: str = "") -> Started:
    """Stop a container and start it again. Raises TiffinError."""
    state = stop(name, session, seconds=seconds, signal_name=signal_name)
    started = start(state.id, session, sink)
    if not started.message:
        record_of_container(session.state, state, "restart")
    return started


def attach(
    name: str, session: Session, *, types: bool = True, forwards: bool = True, detach_keys: str = DEFAULT_DETACH_KEYS
) -> int | None:
    """Join this process's streams to those of a container in the background; None where somebody detached.

    Raises UsageError.
    """
    containers = Containers(session.state)
    state = containers.find_running(name)
    if state.is_paused:
        raise ContainerError(
            f"you cannot attach to a paused container ({state.name})", remedy=f"tiffin unpause {state.name} first"
        )
    line = messages.connect(containers.folder(state.id))
    if line is None:
        raise ContainerError(
            f"container {state.name} runs in the foreground of process {state.pid}, which has its streams",
            remedy="begin it with tiffin run -d, or tiffin create and tiffin start",
        )
    record = ContainerRecord.read(containers.folder(state.id))
    with contextlib.closing(line):
        return _attachment(line, record, types=types, forwards=forwards, detach_keys=detach_keys).run()


def start_attached(
    name: str,
    session: Session,
    sink: Sink,
    *,
    types: bool,
    forwards: bool = True,
    detach_keys: str = DEFAULT_DETACH_KEYS,
) -> tuple[Started, int | None]:
    """Start a container with this process's streams; also its exit code, None where somebody detached.

    Raises TiffinError.
    """
    containers = Containers(session.state)
    state = containers.find(name)
    if containers.is_alive(state.id):
        code = attach(name, session, types=types, forwards=forwards, detach_keys=detach_keys)
        return Started(id=state.id), code
    record = ContainerRecord.read(containers.folder(state.id))
    ours, theirs = pair()
    attachment = _attachment(ours, record, types=types, forwards=forwards, detach_keys=detach_keys)
    with contextlib.closing(ours):
        with contextlib.closing(theirs):
            started = start(name, session, sink, (ours, theirs))
        return started, started.exit_code if started.message else attachment.run()


def _silence() -> AbstractContextManager[Sink]:
    """Give what shows no progress: nobody watches a supervisor."""
    from tiffin.builder.events import NullSink

    return nullcontext(NullSink())


def _attachment(line: Socket, record: ContainerRecord, *, types: bool, forwards: bool, detach_keys: str) -> Attachment:
    from tiffin.builder.containers.lifecycle.attachment import Attachment

    attachment = Attachment(
        line, tty=record.options.tty, types=types and record.interactive, forwards=forwards, detach_keys=detach_keys
    )
    attachment.announce()
    return attachment


def wait(name: str, session: Session) -> int:
    """Wait until the command of a container ends; return its exit code. Raises ImageNotFoundError."""
    containers = Containers(session.state)
    state = containers.find(name)
    line = messages.connect(containers.folder(state.id))
    if line is not None:
        with contextlib.closing(line):
            while message := messages.receive(line):
                if message[:1] in (messages.EXITED, messages.ENDED):
                    return int(message[1:])
    containers.wait_for_end(state, None, None)
    return exit_code_of(containers, state)


def rename(name: str, new: str, session: Session) -> None:
    """Give a container another name. Raises ImageNotFoundError, UsageError."""
    containers = Containers(session.state)
    state = containers.find(name)
    containers.rename(state, new)
    if state.networks and containers.is_alive(state.id):
        from tiffin.builder.containers.network.members import tell_networks

        tell_networks(session.state, containers.find(state.id))


def exit_code_of(containers: Containers, state: ContainerState) -> int:
    """Return how a container that does not run ended; 137 for one whose supervisor was killed."""
    found = next((item for item in containers.states() if item.id == state.id), None)
    if found is None or found.exit_code is None:
        return 0 if found is not None and not found.started else 128 + signal.SIGKILL
    return found.exit_code


def _manners(containers: Containers, state: ContainerState) -> tuple[int, str]:
    """Return how a container is stopped: the seconds of patience, and the signal."""
    try:
        record = ContainerRecord.read(containers.folder(state.id))
    except TiffinError:
        return DEFAULT_STOP_SECONDS, "TERM"
    return record.options.stop_seconds, record.stop_signal


def _send(containers: Containers, state: ContainerState, kind: bytes, number: int) -> None:
    """Send a signal through a container's supervisor; where there is none, to the process that runs it."""
    line = messages.connect(containers.folder(state.id))
    if line is not None:
        with contextlib.closing(line), contextlib.suppress(OSError):  # it has ended since: that is fine
            line.send(kind + b"%d" % number)
        return
    try:
        send_signal(command_of(state), number)
    except StoreError:
        if number == signal.SIGKILL:
            containers.kill(state)
        else:
            send_signal(state.pid, number)
