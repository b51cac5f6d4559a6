"""Execute RUN: a command over the stage's file system, its output as events, its changes as a list."""

from __future__ import annotations

import os
import selectors
import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from tiffin.builder.containers.rootfs import RootView
from tiffin.builder.dockerfile.durations import format_duration
from tiffin.builder.errors import CanceledError, RunError, Span
from tiffin.builder.events import Sink, StepOutput, WarningMessage
from tiffin.builder.execute.emulation import Emulation, Emulator
from tiffin.builder.execute.run_mounts import PreparedMounts
from tiffin.builder.image.users import ProcessUser, resolve_user
from tiffin.builder.instructions.ops import RunOp
from tiffin.builder.instructions.run import SCRIPT_DIRECTORY
from tiffin.builder.sandbox.child.kernel import CAPABILITIES
from tiffin.builder.sandbox.child.network.name_files import host_resolv_conf, hosts_file
from tiffin.builder.sandbox.child.spec import DEFAULT_CAPABILITIES, DEFAULT_SHM_BYTES, Bind, SandboxSpec, Stub
from tiffin.builder.sandbox.expected_users import expects_users
from tiffin.builder.sandbox.isolation import Isolation
from tiffin.builder.sandbox.launch import Launcher, Running
from tiffin.builder.sandbox.mount_substitutes import stream_pipe
from tiffin.builder.sandbox.seccomp.filters import UNCONFINED, filter_for
from tiffin.cache.foundation.frozen import dataclass, replace
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.egress.way_out import WayOut

HOSTNAME = "buildkitsandbox"  # what Dockerfiles written for BuildKit see
READ_BYTES = 1 << 16
TAIL_BYTES = 4096  # of the last output, shown again with the error
ROOT_MODE = 0o755
MAX_PAUSE_SECONDS = 5  # before a command runs again


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """A RUN step ready to go, over `lower_dirs` (bottom first; `upper` and `work` exist and are empty) or in
    `root_dir`.
    """

    op: RunOp
    step_id: int
    scratch: Path
    span: Span
    lower_dirs: Sequence[Path] = ()
    upper: Path | None = None
    work: Path | None = None
    root_dir: Path | None = None
    emulation: Emulation = Emulation()

    def over(self, lower_dirs: Sequence[Path]) -> RunRequest:
        """Return the request over layers, with new directories below `scratch` for what it writes."""
        upper, work = self.scratch / "upper", self.scratch / "work"
        for directory in (upper, work):
            directory.mkdir()
            directory.chmod(ROOT_MODE)
        return replace(self, lower_dirs=lower_dirs, upper=upper, work=work)


class Runner:
    """Runs commands through the launcher; `stop` kills all of them and lets no other begin."""

    def __init__(
        self,
        launcher: Launcher,
        sink: Sink,
        isolation: Isolation,
        filters: Path,
        way_out: WayOut | None = None,
        idle: Callable[[], object] = lambda: None,
    ) -> None:
        self._launcher = launcher
        self._idle = idle  # called once a command has begun
        self._way_out = way_out  # the only one that steps have
        self._filters = filters  # where seccomp filters are kept
        self._sink = sink
        self.isolation = isolation
        self._lock = threading.Lock()  # guards all below
        self._running: set[Running] = set()
        self._stopped = False
        self._has_warned = False

    def spec(self, request: RunRequest, root: RootView, mounted: PreparedMounts, emulator: Emulator) -> SandboxSpec:
        """Return the sandbox of a step. Raises StepAbandoned for a user whom it does not know."""
        spec = _spec(request, root, mounted, self.isolation, self._filters)
        if self._way_out is not None and spec.network != "none":
            spec = _with_way_out(spec, self._way_out, request.scratch)
        emulator.check_user(spec.uid, (spec.gid, *spec.groups), request.emulation, request.span)
        return spec

    def run(self, request: RunRequest, spec: SandboxSpec) -> None:
        """Run to the end; raises RunError for a non-zero exit, SandboxError when it could not start."""
        limits = request.op.run_defaults.limits
        if limits is None:
            self._run(request, spec, lambda: False)
            return
        from tiffin.builder.execute.step_limits import limited

        with limited(spec, limits, request.step_id, self._warn_of_limits) as confined:
            self._run(request, confined.spec, confined.lacked_memory)

    def _run(self, request: RunRequest, spec: SandboxSpec, lacked_memory: Callable[[], bool]) -> None:
        with ExitStack() as stack:
            stdin = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
            stack.callback(os.close, stdin)
            pipes = []
            writers = []
            for name in ("stdout", "stderr"):
                reader, writer = stream_pipe(spec, name)
                stack.callback(os.close, reader)
                pipes.append(reader)
                writers.append(writer)
            line = None
            if spec.way_out and self._way_out is not None:
                line = stack.enter_context(self._way_out.opened())
            try:
                running = self._start(spec, stdin, writers, line)
            finally:
                for writer in writers:
                    os.close(writer)
            try:
                self._idle()
                limit = request.op.run_defaults.timeout_seconds
                tail, is_late = self._pump(request.step_id, pipes, running, limit)
                status = running.wait()
            finally:
                with self._lock:
                    self._running.discard(running)
        if self._stopped:
            raise CanceledError
        if status.code != 0 or is_late:
            command = " ".join(request.op.argv)
            late = f"within {format_duration(int(limit * 1e9))}"
            how = late if is_late else f"successfully: exit code: {status.code}"
            if lacked_memory():
                how += ": cannot allocate memory"  # BuildKit's words
            raise RunError(
                f'process "{command}" did not complete {how}',
                status=status.code,
                tail=tail.decode("utf-8", "replace"),
                span=request.span,
            )

    def await_another_try(self, label: str, error: RunError, tries: int, most: int) -> None:
        """Tell that a command runs again, over the same layers: nothing of what it did is left."""
        text = f"{label.partition(']')[0]}] {error.message}; it runs again ({tries} of {most})"
        self._sink.emit(WarningMessage(message=text))
        time.sleep(min(tries, MAX_PAUSE_SECONDS))

    def ways(self) -> Sequence[str]:
        """Return the variables of steps that lead to their only way out, where they have one."""
        return self._way_out.variables() if self._way_out is not None else ()

    def stop(self) -> None:
        """Kill what runs; what would start is refused."""
        with self._lock:
            self._stopped = True
            for running in self._running:
                running.kill(signal.SIGKILL)

    def _warn_of_limits(self, text: str) -> None:
        """Tell it once: it is the same for all steps."""
        with self._lock:
            told, self._has_warned = self._has_warned, True
        if not told:
            self._sink.emit(WarningMessage(message=f"limits of RUN: {text}"))

    def _start(self, spec: SandboxSpec, stdin: int, writers: Sequence[int], line: int | None) -> Running:
        with self._lock:
            if self._stopped:
                raise CanceledError
            running = self._launcher.run(spec, stdin=stdin, stdout=writers[0], stderr=writers[1], way_out=line)
            self._running.add(running)
            return running

    def _pump(self, step_id: int, pipes: Sequence[int], running: Running, limit: float) -> tuple[bytes, bool]:
        """Send output on as events until both pipes end; return its tail, and whether the command was killed because it
        took longer than `limit` seconds (0: it may).
        """
        tail, is_late = b"", False
        ends = time.monotonic() + limit if limit else None
        with selectors.DefaultSelector() as selector:
            for stream, reader in enumerate(pipes, start=1):
                selector.register(reader, selectors.EVENT_READ, stream)
            while selector.get_map():
                left = None if ends is None or is_late else max(0.0, ends - time.monotonic())
                found = selector.select(left)
                if not found and left is not None:
                    is_late = True
                    running.kill(signal.SIGKILL)
                for key, _ in found:
                    data = os.read(key.fd, READ_BYTES)
                    if not data:
                        selector.unregister(key.fd)
                        continue
                    tail = (tail + data)[-TAIL_BYTES:]
                    self._sink.emit(StepOutput(step_id=step_id, stream=key.data, data=data))
                if ends is not None and not is_late and time.monotonic() > ends and selector.get_map():
                    is_late = True  # it writes all the time
                    running.kill(signal.SIGKILL)
        return tail, is_late


def _spec(
    request: RunRequest, root: RootView, mounted: PreparedMounts, isolation: Isolation, filters: Path
) -> SandboxSpec:
    op = request.op
    around = op.run_defaults
    user = resolve_user(op.user, root.read_file, span=request.span)
    hostname = around.hostname or HOSTNAME
    places = [Stub(path=root.resolve(path), is_directory=False) for path in ("etc/hosts", "etc/resolv.conf")]
    capabilities = isolation.tier.allowed(CAPABILITIES if op.insecure else DEFAULT_CAPABILITIES)
    seccomp = filter_for(UNCONFINED if op.insecure else around.seccomp, capabilities, filters)
    return SandboxSpec(
        scratch_dir=os.fspath(request.scratch),
        stubs=(*places, *mounted.stubs),
        lower_dirs=tuple(os.fspath(path) for path in request.lower_dirs),
        upper_dir=os.fspath(request.upper or ""),
        work_dir=os.fspath(request.work or ""),
        root_dir=os.fspath(request.root_dir or ""),
        has_namespaces=isolation.tier.has_namespaces,
        is_traced=isolation.tier.is_traced,
        emulated=request.emulation.owners,
        opens=request.emulation.opens,
        abandons=not request.emulation.opens or (isolation.tier.emulates_on_demand and not request.emulation.owners),
        own_pids=isolation.own_pids,
        volatile=True,
        argv=op.argv,
        env=_environment(op, mounted, user),
        cwd=op.cwd,
        uid=user.uid,
        gid=user.gid,
        groups=tuple(dict.fromkeys((*user.groups, *mounted.groups))),
        has_users=expects_users(user.uid, capabilities, _texts(op)),
        hostname=hostname,
        network=op.network,
        mounts=(*mounted.mounts, *_script(request)),
        hosts=hosts_file(hostname, around.hosts),
        resolv_conf=host_resolv_conf(network=op.network),
        shm_size_bytes=around.shm_bytes or DEFAULT_SHM_BYTES,
        capabilities=capabilities,
        no_new_privs=around.no_new_privs,
        seccomp=seccomp.text,
        seccomp_flags=seccomp.flags,
        unmasked=op.insecure or around.unmasked,
        landlock_scoped=not op.insecure,
        ulimits=around.ulimits,
    )


def _with_way_out(spec: SandboxSpec, way_out: WayOut, scratch: Path) -> SandboxSpec:
    """Return a sandbox with a network in which there is nothing but its way out."""
    from tiffin.builder.egress.surroundings import PORT

    binds = (
        Bind(host_path=os.fspath(path), path=place, read_only=True) for place, path in way_out.files(scratch).items()
    )
    given = dict(item.partition("=")[::2] for item in (*spec.env, *way_out.variables()))
    return replace(
        spec,
        network="none",
        way_out=PORT,
        mounts=(*spec.mounts, *binds),
        env=tuple(f"{name}={value}" for name, value in given.items()),
        resolv_conf=host_resolv_conf(network="none"),
    )


def _environment(op: RunOp, mounted: PreparedMounts, user: ProcessUser) -> tuple[str, ...]:
    env = (*op.proxies, *op.env, *mounted.env)
    return env if any(item.startswith("HOME=") for item in env) else (*env, f"HOME={user.home}")


def _script(request: RunRequest) -> tuple[Bind, ...]:
    """Write the script of a heredoc, where there is one; return what shows it."""
    script = request.op.script
    if not script:
        return ()
    file = request.scratch / "script"
    file.write_bytes(script.data)
    file.chmod(0o755)
    return (Bind(host_path=os.fspath(file), path=f"{SCRIPT_DIRECTORY}/{script.name}", read_only=True),)


def _texts(op: RunOp) -> tuple[str, ...]:
    """Return what the step says it does."""
    return (*op.argv, op.script.data.decode("utf-8", "replace")) if op.script else op.argv
