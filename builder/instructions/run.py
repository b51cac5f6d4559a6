"""RUN: shell form, exec form, and heredocs."""

from __future__ import annotations

from collections.abc import Sequence

from tiffin.builder.dockerfile.durations import parse_duration
from tiffin.builder.dockerfile.parser import Instruction
from tiffin.builder.dockerfile.suggest import did_you_mean
from tiffin.builder.errors import DockerfileError, Span
from tiffin.builder.instructions.base import StageScope
from tiffin.builder.instructions.flags import flags_of
from tiffin.builder.instructions.mounts import MountFlag
from tiffin.builder.instructions.ops import DeviceRequest, InlineFile, RunDefaults, RunMount, RunOp, SshMount
from tiffin.builder.options import csv_pairs, truth
from tiffin.cache.foundation.frozen import dataclass, replace

NETWORKS = ("default", "host", "none")
SECURITY = ("sandbox", "insecure")
INSECURE = "security.insecure"  # what --allow must name
SCRIPT_DIRECTORY = "/dev/pipes"  # where BuildKit shows a heredoc that is a script of its own
MARK = "tiffin:"
PATIENCE_REMEDY = "write # tiffin: retry=3 timeout=5m reads"
MAX_RETRIES = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How often and how long a RUN may be tried, as `# tiffin: retry=3 timeout=5m` directly above it says, and whether
    it is found by what it reads (`reads`).

    None where it says nothing.
    """

    retries: int | None = None
    timeout_seconds: float | None = None
    reads: bool | None = None

    @classmethod
    def of(cls, comments: Sequence[str], span: Span) -> Patience:
        """Read the comments above an instruction. Raises DockerfileError."""
        result = cls()
        for comment in comments:
            if comment.startswith(MARK):
                for word in comment.removeprefix(MARK).split():
                    result = result._with(word, span)
        return result

    def _with(self, word: str, span: Span) -> Patience:
        name, _, value = word.partition("=")
        if name == "retry" and value.isdecimal() and len(value) < 4 and int(value) <= MAX_RETRIES:
            return replace(self, retries=int(value))
        if word in ("reads", "reads=off"):
            return replace(self, reads=word == "reads")
        if name == "timeout":
            try:
                return replace(self, timeout_seconds=parse_duration(value) / 1e9)
            except DockerfileError as exc:
                raise DockerfileError(f"# tiffin: {exc.message}", span=span, remedy=PATIENCE_REMEDY) from exc
        raise DockerfileError(f'# tiffin: "{word}" is not understood', span=span, remedy=PATIENCE_REMEDY)

    def instead_of(self, given: RunDefaults) -> RunDefaults:
        """Return `given` with what is said here in the place of what is said for all."""
        if self.retries is None and self.timeout_seconds is None and self.reads is None:
            return given
        return replace(
            given,
            retries=given.retries if self.retries is None else self.retries,
            timeout_seconds=given.timeout_seconds if self.timeout_seconds is None else self.timeout_seconds,
            reads=given.reads if self.reads is None else self.reads,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """RUN command | ["executable", …] | <<EOF. The shell, not tiffin, expands variables."""

    words: tuple[str, ...] | None  # exec form
    text: str  # shell form, with heredoc bodies where a shell must read them
    script: InlineFile | None
    shown: str
    network: str
    insecure: bool
    mounts: tuple[MountFlag, ...]
    devices: tuple[DeviceRequest, ...]
    patience: Patience
    span: Span

    @classmethod
    def parse(cls, node: Instruction) -> Run:
        flags = flags_of(node, texts=("network", "security"), lists=("mount", "device"))
        value = node.value.strip()
        if not value and node.json is None:
            raise DockerfileError("RUN requires at least one argument", span=node.span, remedy="write RUN COMMAND")
        script, text = cls._heredoc(node)
        return cls(
            words=node.json,
            text=text,
            script=script,
            shown=f"RUN {node.raw.strip()}" if flags.all("mount") else f"RUN {value}",
            network=_choice(node, "network", flags.text("network"), NETWORKS),
            insecure=_choice(node, "security", flags.text("security"), SECURITY) == "insecure",
            mounts=tuple(MountFlag.parse(item, node.span) for item in flags.all("mount")),
            devices=tuple(_device(item, node.span) for item in flags.all("device")),
            patience=Patience.of(node.comments, node.span),
            span=node.span,
        )

    @staticmethod
    def _heredoc(node: Instruction) -> tuple[InlineFile | None, str]:
        """Return the command of a lone heredoc: the shell's program, or a script of its own when it begins with #!."""
        if not node.heredocs:
            return None, node.value.strip()
        only = len(node.heredocs) == 1 and node.is_lone_heredoc
        if not only:
            return None, node.raw_with_heredocs.strip("\n")
        heredoc = node.heredocs[0]
        if heredoc.content.startswith("#!"):
            data = heredoc.content.encode("utf-8", "surrogateescape")
            return InlineFile(name=heredoc.name, data=data), ""
        return None, heredoc.content

    def argv(self, scope: StageScope) -> tuple[str, ...]:
        if self.words is not None:
            return self.words
        if self.script:
            return (*scope.shell, f"{SCRIPT_DIRECTORY}/{self.script.name}")
        return (*scope.shell, self.text)

    def apply(self, scope: StageScope) -> None:
        argv = self.argv(scope)
        run_defaults = scope.planner.run_defaults
        network = self.network or run_defaults.network
        if self.insecure:
            scope.planner.check_allowed(INSECURE, self.span)
        op = RunOp(
            argv=argv,
            env=tuple(f"{name}={value}" for name, value in scope.env.items()),
            cwd=scope.workdir,
            user=scope.config.user,
            network="host" if network == "default" else network,
            script=self.script,
            proxies=tuple(f"{name}={value}" for name, value in scope.planner.proxies.items() if name not in scope.env),
            mounts=self._mounts(scope),
            insecure=self.insecure,
            devices=self.devices,
            run_defaults=self.patience.instead_of(run_defaults),
        )
        shown = [] if not scope.args else [f"|{len(scope.args)}"]
        for name in scope.args:
            shown.append(f"{name}={scope.env.get(name, '')}")
        scope.add_step(op, text=self.shown, created_by=" ".join(["RUN", *shown, *argv]) + " # buildkit", span=self.span)

    def _mounts(self, scope: StageScope) -> tuple[RunMount, ...]:
        mounts: list[RunMount] = []
        for flag in self.mounts:
            mount = flag.apply(scope, sum(isinstance(item, SshMount) for item in mounts))
            if mount.target and any(item.target == mount.target for item in mounts):
                raise DockerfileError(
                    f"two mounts want {mount.target}", span=self.span, remedy="give one of them another target"
                )
            mounts.append(mount)
        return tuple(mounts)


def _device(text: str, span: Span) -> DeviceRequest:
    """Read [name=]NAME[,required[=BOOL]]."""
    name, required = "", False
    try:
        pairs = csv_pairs(text)
    except ValueError as exc:
        raise _bad_device(text, str(exc), span) from exc
    for key, value in pairs:
        if key == "required":
            found = truth(value or "true")
            if found is None:
                raise _bad_device(text, f'"{value}" is neither true nor false', span)
            required = found
        elif name:
            raise _bad_device(text, f'"{key}" is unknown, or a second name', span)
        else:
            name = (value or "") if key == "name" else key if value is None else f"{key}={value}"
    if "/" not in name.partition("=")[0]:
        raise _bad_device(text, f'"{name}" is not the name of a device', span)
    return DeviceRequest(name=name, required=required)


def _bad_device(text: str, reason: str, span: Span) -> DockerfileError:
    remedy = "write --device=vendor.com/class[=name|=*][,required]"
    return DockerfileError(f'RUN --device "{text}": {reason}', span=span, remedy=remedy)


def _choice(node: Instruction, flag: str, value: str, choices: tuple[str, ...]) -> str:
    if value and value not in choices:
        raise DockerfileError(
            f'unknown {flag} "{value}" in RUN --{flag}',
            span=node.span,
            remedy=did_you_mean(value, choices) or f"use {', '.join(choices)}",
        )
    return value
