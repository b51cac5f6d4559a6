"""Look into a step: a command in the root, environment, mounts and network that it had, before or after it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

from tiffin.builder.api.run import EXIT_OWN_FAILURE, RunResult
from tiffin.builder.api.session import Session
from tiffin.builder.errors import BuildError, CorruptError, NotFoundError, TiffinError
from tiffin.builder.events import Sink, WarningMessage
from tiffin.builder.instructions.base import DEFAULT_SHELL
from tiffin.builder.instructions.ops import RunOp
from tiffin.builder.settings.access import RegistryAccess
from tiffin.cache.foundation.frozen import dataclass, field, replace
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.api.steps.kept_steps import KeptStep
    from tiffin.builder.containers.streams import Streams
    from tiffin.builder.containers.terminal import Terminal
    from tiffin.builder.execute.debugging.failures import FailedStep
    from tiffin.builder.image.layers import LayerStore
    from tiffin.builder.sandbox.child.spec import Mount, SandboxSpec
    from tiffin.builder.sandbox.isolation import Isolation
    from tiffin.builder.sandbox.launch import Launcher

HISTORY = "/dev/tiffin_history"  # of the shell: the command that failed is its last line
ROOT_MODE = 0o755
_FAILURE_ID = re.compile("(?![0-9]{1,7}$)[0-9a-f]{1,8}")  # and no number of a step


@dataclass(frozen=True, slots=True, kw_only=True)
class DebugOptions:
    """What is to run in which step. `build` and `step` as `kept_steps.find_step` takes them; `step` may also be the id
    of a failed step or its beginning, and both "" is the last that failed; no `command` is its shell. `before`: as it
    was before its own command began. `secrets`, `ssh`: what the step had of them, given again.
    """

    build: str = ""
    step: str = ""
    command: tuple[str, ...] = ()
    before: bool = False
    secrets: Mapping[str, bytes] = field(default_factory=dict)
    ssh: tuple[str, ...] = ()
    interactive: bool = True
    tty: bool = False
    forwards: bool = True  # signals reach the command; else they end it
    registry: RegistryAccess = RegistryAccess()


def failed_steps(session: Session) -> Iterator[FailedStep]:
    """Yield the steps that failed and are kept, the newest first."""
    from tiffin.builder.execute.debugging.failures import Failures

    return Failures(session.state).steps()


def debug(options: DebugOptions, session: Session, sink: Sink) -> RunResult:
    """Run a command, with this process's streams, in a step; what it changes is thrown away at its end.

    Raises TiffinError, whose exit code is Docker's for a container that never started.
    """
    try:
        if not options.build and not options.step and (last := _failed_without_a_trace(session)) is not None:
            _warn(sink, f"{last.label} failed and left nothing: this is the state before it")
            return debug_step(last, replace(options, before=True), session, sink)
        failed = _failed(options, session)
        if failed is not None:
            return _debug_failed(options, failed, session, sink)
        from tiffin.builder.api.steps.kept_steps import find_step

        step = find_step(session, options.build, options.step)
        if step.failure and not options.before:
            return _debug_failed(options, _left(step, session), session, sink)
        return debug_step(step, options, session, sink)
    except TiffinError as exc:
        exc.ends_with(EXIT_OWN_FAILURE)
        raise


def _failed_without_a_trace(session: Session) -> KeptStep | None:
    """Return the step in which the last build failed, if it was no RUN whose result is kept; else None."""
    from tiffin.builder.api.buildx.history import History
    from tiffin.builder.api.buildx.recorder import ERROR
    from tiffin.builder.api.steps.kept_steps import steps_of_build

    record = next(History(session).records(), None)
    if record is None or record.status != ERROR or record.failure or not record.plans:
        return None
    try:
        failed = next((step for _, step in steps_of_build(session, record) if step.failed), None)
    except (NotFoundError, CorruptError):
        return None
    return None if failed is None or isinstance(failed.step.op, RunOp) else failed


def _failed(options: DebugOptions, session: Session) -> FailedStep | None:
    """Return the failed step that is meant, None where a step of a build is. Raises NotFoundError."""
    from tiffin.builder.execute.debugging.failures import Failures

    if options.build:
        return None
    if not options.step or _FAILURE_ID.fullmatch(options.step):
        return Failures(session.state).find(options.step)
    return None


def _left(step: KeptStep, session: Session) -> FailedStep:
    """Return what a failed step left. Raises NotFoundError."""
    from tiffin.builder.execute.debugging.failures import Failures

    name = step.failure
    found = next((failed for failed in Failures(session.state).steps() if failed.name == name), None)
    if found is None:
        raise NotFoundError(f"what {step.label} left is not kept any more", remedy="use --before, or build again")
    return found


def _debug_failed(options: DebugOptions, failed: FailedStep, session: Session, sink: Sink) -> RunResult:
    from tiffin.builder.execute.debugging.failures import UPPER, Failures, with_secrets

    failures = Failures(session.state)
    with failures.using(failed.name):
        isolation = session.become_root(failed.tier)
        _check_same(failed, isolation)
        for mount in failed.secrets:
            if mount.id not in options.secrets:
                _warn(sink, f"secret {mount.id} is not there: give it again with --secret id={mount.id},…")
        with ExitStack() as stack:
            launcher = stack.enter_context(session.launch_one())
            scratch = stack.enter_context(session.state.scratch("debug"))
            with session.state.lock("prune", shared=True):
                trees = _layers(options, failed, isolation, session, sink).ensure_snapshots(
                    [(layer.diff_id, layer.blob) for layer in failed.layers]
                )
            lower_dirs = [*trees, *([] if options.before else [failures.place(failed) / UPPER])]
            spec = _over(with_secrets(failed, options.secrets), lower_dirs, scratch, sink)
            return _run(options, spec, failed.shell(), scratch, launcher)


def debug_step(step: KeptStep, options: DebugOptions, session: Session, sink: Sink) -> RunResult:
    """Run a command in a step of a plan. Raises TiffinError."""
    from tiffin.builder.api.steps.kept_steps import Opening, opened

    if step.failed and not options.before:
        raise NotFoundError(f"nothing of what {step.label} left is kept", remedy="use --before, or build again")
    isolation = session.become_root(step.kept.options.isolation or None)
    opening = Opening(after=not options.before, secrets=options.secrets, ssh=options.ssh, registry=options.registry)
    with ExitStack() as stack:
        launcher = stack.enter_context(session.launch_one())
        scratch = stack.enter_context(session.state.scratch("debug"))
        with session.state.lock("prune", shared=True):
            spec = stack.enter_context(opened(step, opening, isolation, scratch, session, sink))
        shell = (step.step.config.shell or DEFAULT_SHELL)[:1]
        return _run(options, spec, shell, Path(spec.scratch_dir), launcher)


def trees_of(step: KeptStep, before: bool, failure: str, session: Session, sink: Sink, stack: ExitStack) -> list[Path]:
    """Return the unpacked trees of a step (bottom first), before or after it or with what it left; `stack` holds them.

    Raises TiffinError, also where layers cannot be unpacked one by one.
    """
    from tiffin.builder.execute.debugging.failures import UPPER, Failures

    if failure:
        failures = Failures(session.state)
        failed = failures.find(failure.partition("-")[2])
        stack.enter_context(failures.using(failed.name))
        isolation = session.become_root(failed.tier)
        layers = _layers(DebugOptions(), failed, isolation, session, sink)
        return [
            *layers.ensure_snapshots([(layer.diff_id, layer.blob) for layer in failed.layers]),
            failures.place(failed) / UPPER,
        ]
    isolation = session.become_root(step.kept.options.isolation or None)
    if not isolation.overlay:
        raise BuildError(f"isolation {isolation.tier} has no trees of layers", remedy="run a command instead: ls -l")
    layers = session.layers(lambda: session.remote(sink, RegistryAccess()))
    layers.use_trees(isolation.idmap_tag)
    stack.enter_context(session.state.lock("prune", shared=True))
    return layers.ensure_snapshots([(layer.diff_id, layer.blob) for layer in step.chain(after=not before)])


def _run(
    options: DebugOptions, spec: SandboxSpec, shell: tuple[str, ...], scratch: Path, launcher: Launcher
) -> RunResult:
    """Run the command, or a shell, in a sandbox."""
    from tiffin.builder.containers.run import attend, forwarded_signals

    with ExitStack() as stack:
        forwarder = stack.enter_context(forwarded_signals()) if options.forwards else None
        attached = _streams(options, spec)
        stack.enter_context(attached)
        spec = _for_command(spec, options, shell, scratch, attached.path)
        stdin, stdout, stderr = attached.opened(spec)
        running = launcher.run(spec, stdin=stdin, stdout=stdout, stderr=stderr)
        if forwarder is not None:
            forwarder.to(running)
        status = attend(running, attached)
        return RunResult(exit_code=status.code, message=status.message)


def _check_same(failed: FailedStep, isolation: Isolation) -> None:
    """Refuse a step whose files have owners of another namespace than this one. Raises BuildError."""
    if failed.id_map != (isolation.emulated_idmap_tag if failed.emulated else isolation.idmap_tag):
        raise BuildError(
            f"the step {failed.id} failed while this user had other ids", remedy="build again, and debug that failure"
        )


def _layers(
    options: DebugOptions, failed: FailedStep, isolation: Isolation, session: Session, sink: Sink
) -> LayerStore:
    layers = session.layers(lambda: session.remote(sink, options.registry))
    layers.use_trees(isolation.idmap_tag)
    return layers.emulated(isolation.emulated_idmap_tag) if failed.emulated else layers


def _over(spec: SandboxSpec, lower_dirs: list[Path], scratch: Path, sink: Sink) -> SandboxSpec:
    """Return the sandbox of a failed step over its layers."""
    upper, work = scratch / "upper", scratch / "work"
    for directory in (upper, work):
        directory.mkdir()
        directory.chmod(ROOT_MODE)
    return replace(
        spec,
        lower_dirs=tuple(map(os.fspath, lower_dirs)),
        upper_dir=os.fspath(upper),
        work_dir=os.fspath(work),
        scratch_dir=os.fspath(scratch),
        mounts=tuple(mount for mount in spec.mounts if _is_there(mount, sink)),
    )


def _for_command(
    spec: SandboxSpec, options: DebugOptions, shell: tuple[str, ...], scratch: Path, console: str
) -> SandboxSpec:
    """Return a sandbox of a step with another command, and its own in the history of the shell."""
    from tiffin.builder.sandbox.child.spec import Bind

    added: list[Mount] = []
    if spec.has_namespaces:
        history = scratch / "history"
        history.write_text(f"{_as_line(spec.argv)}\n", encoding="utf-8", errors="surrogateescape")
        history.chmod(0o666)
        added.append(Bind(host_path=os.fspath(history), path=HISTORY))
        if console:
            added.append(Bind(host_path=console, path="/dev/console"))
    return replace(
        spec,
        argv=options.command or shell,
        env=(*spec.env, *_variables(spec, has_terminal=options.tty)),
        mounts=(*spec.mounts, *added),
        tty=options.tty,
        announces=True,
    )


def _streams(options: DebugOptions, spec: SandboxSpec) -> Terminal | Streams:
    from tiffin.builder.containers.run import attached_streams

    return attached_streams(spec.uid, tty=options.tty, interactive=options.interactive)


def _variables(spec: SandboxSpec, *, has_terminal: bool) -> list[str]:
    names = {item.partition("=")[0] for item in spec.env}
    more = {"HISTFILE": HISTORY, **({"TERM": os.environ.get("TERM", "xterm")} if has_terminal else {})}
    return [f"{name}={value}" for name, value in more.items() if name not in names]


def _is_there(mount: Mount, sink: Sink) -> bool:
    """Whether what a mount shows still exists; a warning tells of one that does not."""
    from tiffin.builder.sandbox.child.spec import Bind, Layers

    shown = (mount.host_path,) if isinstance(mount, Bind) else mount.lower_dirs if isinstance(mount, Layers) else ()
    is_there = all(map(os.path.exists, shown))
    if not is_there:
        _warn(sink, f"what the step had at {mount.path} is not there any more, and so not mounted")
    return is_there


def _as_line(argv: tuple[str, ...]) -> str:
    """Return a command as it would be typed into its shell."""
    import shlex

    is_script = len(argv) > 2 and argv[-2].startswith("-") and argv[-2].endswith("c")
    return argv[-1] if is_script else shlex.join(argv)


def _warn(sink: Sink, message: str) -> None:
    sink.emit(WarningMessage(message=message))
