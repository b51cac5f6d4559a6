"""Look into a step that failed: a command in the root, environment, mounts and network that it had."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

from tiffin.builder.api.run import EXIT_OWN_FAILURE, RunResult
from tiffin.builder.api.session import Session
from tiffin.builder.errors import BuildError, TiffinError
from tiffin.builder.events import Sink, WarningMessage
from tiffin.builder.settings.access import RegistryAccess
from tiffin.cache.foundation.frozen import dataclass, field, replace
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.execute.failures import FailedStep
    from tiffin.builder.image.layers import LayerStore
    from tiffin.builder.sandbox.child.spec import Mount, SandboxSpec
    from tiffin.builder.sandbox.isolation import Isolation

HISTORY = "/dev/tiffin_history"  # of the shell: the command that failed is its last line
ROOT_MODE = 0o755


@dataclass(frozen=True, slots=True, kw_only=True)
class DebugOptions:
    """What is to run in which failed step: `step` is its id or the begin of that, "" the last one; no `command` is its
    shell. `before`: as it was before its own command began. `secrets`: those of the step that are given again, by id.
    """

    step: str = ""
    command: tuple[str, ...] = ()
    before: bool = False
    secrets: Mapping[str, bytes] = field(default_factory=dict)
    interactive: bool = True
    tty: bool = False
    registry: RegistryAccess = RegistryAccess()


def failed_steps(session: Session) -> Iterator[FailedStep]:
    """Yield the steps that failed and are kept, the newest first."""
    from tiffin.builder.execute.failures import Failures

    return Failures(session.state).steps()


def debug(options: DebugOptions, session: Session, sink: Sink) -> RunResult:
    """Run a command, with this process's streams, where a step failed; what it changes is thrown away at its end.

    Raises TiffinError, whose exit code is Docker's for a container that never started.
    """
    from tiffin.builder.execute.failures import Failures

    try:
        failures = Failures(session.state)
        failed = failures.find(options.step)
        with failures.using(failed.name):
            return _debug(options, failed, failures.place(failed), session, sink)
    except TiffinError as exc:
        exc.ends_with(EXIT_OWN_FAILURE)
        raise


def _debug(options: DebugOptions, failed: FailedStep, place: Path, session: Session, sink: Sink) -> RunResult:
    from tiffin.builder.containers.run import attached_streams, attend, forwarded_signals
    from tiffin.builder.execute.failures import UPPER, with_secrets

    isolation = session.become_root(failed.tier)
    _check_same(failed, isolation)
    for mount in failed.secrets:
        if mount.id not in options.secrets:
            _warn(sink, f"secret {mount.id} is not there: it is not kept; give it again with --secret id={mount.id},…")
    with ExitStack() as stack:
        launcher = stack.enter_context(session.launch_one())
        forwarder = stack.enter_context(forwarded_signals())
        scratch = stack.enter_context(session.state.scratch("debug"))
        with session.state.lock("prune", shared=True):
            trees = _layers(options, failed, isolation, session, sink).ensure_snapshots(
                [(layer.diff_id, layer.blob) for layer in failed.layers]
            )
        spec = with_secrets(failed, options.secrets)
        attached = attached_streams(spec.uid, tty=options.tty, interactive=options.interactive)
        stack.enter_context(attached)
        lower_dirs = [*trees, *([] if options.before else [place / UPPER])]
        spec = _sandbox(spec, failed, options, lower_dirs, scratch, attached.path, sink)
        stdin, stdout, stderr = attached.opened(spec)
        running = launcher.run(spec, stdin=stdin, stdout=stdout, stderr=stderr)
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


def _sandbox(
    spec: SandboxSpec,
    failed: FailedStep,
    options: DebugOptions,
    lower_dirs: list[Path],
    scratch: Path,
    console: str,
    sink: Sink,
) -> SandboxSpec:
    """Return the sandbox of the step over its layers, with another command."""
    from tiffin.builder.sandbox.child.spec import Bind

    upper, work = scratch / "upper", scratch / "work"
    for directory in (upper, work):
        directory.mkdir()
        directory.chmod(ROOT_MODE)
    history = scratch / "history"
    history.write_text(f"{_as_line(spec.argv)}\n", encoding="utf-8", errors="surrogateescape")
    history.chmod(0o666)
    added = [Bind(host_path=os.fspath(history), path=HISTORY)]
    if console:
        added.append(Bind(host_path=console, path="/dev/console"))
    return replace(
        spec,
        argv=options.command or failed.shell(),
        env=(*spec.env, *_variables(spec, has_terminal=options.tty)),
        lower_dirs=tuple(map(os.fspath, lower_dirs)),
        upper_dir=os.fspath(upper),
        work_dir=os.fspath(work),
        scratch_dir=os.fspath(scratch),
        mounts=(*(mount for mount in spec.mounts if _is_there(mount, sink)), *added),
        tty=options.tty,
        announces=True,
    )


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
