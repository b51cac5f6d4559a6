"""Instructions that only change the configuration: CMD, ENTRYPOINT, EXPOSE, HEALTHCHECK, MAINTAINER, ONBUILD,
SHELL, STOPSIGNAL, USER, VOLUME."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Self

from tiffin.builder.dockerfile.durations import format_duration, parse_duration
from tiffin.builder.dockerfile.parser import Instruction, parse_trigger
from tiffin.builder.errors import DockerfileError, Span
from tiffin.builder.instructions import findings
from tiffin.builder.instructions.base import ErrorSpan, StageScope, go_words
from tiffin.builder.instructions.flags import flags_of
from tiffin.builder.oci.config import Healthcheck
from tiffin.cache.foundation.frozen import dataclass

MAX_PORT = 65535
MIN_HEALTH_NS = 1_000_000  # Docker refuses durations above zero and below one millisecond
SIGNALS = frozenset(
    (
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "IOT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
        "ALRM", "TERM", "STKFLT", "CHLD", "CLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
        "VTALRM", "PROF", "WINCH", "IO", "POLL", "PWR", "SYS", "RTMIN", "RTMAX",
        *(f"RTMIN+{n}" for n in range(1, 16)), *(f"RTMAX-{n}" for n in range(1, 15)),
    )
)  # fmt: skip


def require_value(node: Instruction, *, exactly_one: bool = False) -> str:
    """Return the argument text, which must not be empty."""
    value = node.value.strip()
    if not value:
        count = "exactly one argument" if exactly_one else "at least one argument"
        raise DockerfileError(
            f"{node.keyword} requires {count}", span=node.span, remedy=f"see {node.keyword} in the docs"
        )
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class _Command:
    """What CMD and ENTRYPOINT share: the words in exec form, or the text for the shell in force."""

    words: tuple[str, ...] | None
    text: str
    keyword: str
    written: str
    span: Span

    @classmethod
    def parse(cls, node: Instruction) -> Self:
        flags_of(node)
        return cls(words=node.json, text=node.value.strip(), keyword=node.keyword, written=node.written, span=node.span)

    def argv(self, scope: StageScope) -> tuple[str, ...]:
        """Return the words, with what there is to say of the instruction."""
        findings.once(scope, self.keyword, self.written, self.span)
        if self.words is not None:
            return self.words
        findings.shell_form(scope, self.written, self.span)
        return (*scope.shell, self.text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cmd(_Command):
    """CMD: the default command, or the default arguments of ENTRYPOINT."""

    def apply(self, scope: StageScope) -> None:
        argv = self.argv(scope)
        scope.configure(f"CMD {go_words(argv)}", cmd=argv or None, args_escaped=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrypoint(_Command):
    """ENTRYPOINT: clears a CMD that came with the base, not one set in this stage."""

    def apply(self, scope: StageScope) -> None:
        argv = self.argv(scope)
        cmd = scope.config.cmd if "CMD" in scope.last_of else None
        scope.configure(f"ENTRYPOINT {go_words(argv)}", entrypoint=argv or None, cmd=cmd)


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthcheckInstruction:
    """HEALTHCHECK NONE, or HEALTHCHECK [options] CMD command. Only given values are stored."""

    healthcheck: Healthcheck
    written: str
    span: Span

    @classmethod
    def parse(cls, node: Instruction) -> HealthcheckInstruction:
        names = ("interval", "timeout", "start-period", "start-interval", "retries")
        flags = flags_of(node, texts=names)
        kind, _, command = require_value(node).partition(" ")
        command = command.strip()
        if kind.upper() == "NONE":
            if command:
                raise DockerfileError("HEALTHCHECK NONE takes no arguments", span=node.span, remedy="leave them out")
            return cls(healthcheck=Healthcheck(test=("NONE",)), written=node.written, span=node.span)
        if kind.upper() != "CMD":
            raise DockerfileError(
                f'unknown type "{kind}" in HEALTHCHECK', span=node.span, remedy="write HEALTHCHECK CMD … or NONE"
            )
        if not command or node.json == ():
            raise DockerfileError(
                "missing command after HEALTHCHECK CMD", span=node.span, remedy="write HEALTHCHECK CMD COMMAND"
            )
        test = ("CMD", *node.json) if node.json is not None else ("CMD-SHELL", command)

        def duration(name: str) -> int:
            return cls._duration(node, name, flags.text(name)) if flags.text(name) else 0

        return cls(
            healthcheck=Healthcheck(
                test=test,
                interval_ns=duration("interval"),
                timeout_ns=duration("timeout"),
                start_period_ns=duration("start-period"),
                start_interval_ns=duration("start-interval"),
                retries=cls._retries(node, flags.text("retries")) if flags.text("retries") else 0,
            ),
            written=node.written,
            span=node.span,
        )

    @staticmethod
    def _duration(node: Instruction, name: str, text: str) -> int:
        with ErrorSpan(node.span):
            value = parse_duration(text)
        if value < 0 or 0 < value < MIN_HEALTH_NS:
            raise DockerfileError(
                f"HEALTHCHECK --{name}={text} cannot be less than 1ms", span=node.span, remedy="give 0 or at least 1ms"
            )
        return value

    @staticmethod
    def _retries(node: Instruction, text: str) -> int:
        if not re.fullmatch(r"\d{1,9}", text):
            raise DockerfileError(
                f"HEALTHCHECK --retries={text} is not a valid count",
                span=node.span,
                remedy="give a whole number from 0",
            )
        return int(text)

    def apply(self, scope: StageScope) -> None:
        findings.once(scope, "HEALTHCHECK", self.written, self.span)
        check = self.healthcheck
        shown = (
            f"{{Test:[{' '.join(check.test)}] Interval:{format_duration(check.interval_ns)} "
            f"Timeout:{format_duration(check.timeout_ns)} StartPeriod:{format_duration(check.start_period_ns)} "
            f"StartInterval:{format_duration(check.start_interval_ns)} Retries:{check.retries}}}"
        )
        scope.configure(f"HEALTHCHECK {shown}", healthcheck=check)


@dataclass(frozen=True, slots=True, kw_only=True)
class Maintainer:
    """MAINTAINER text: the image's author. Deprecated, no expansion."""

    text: str

    @classmethod
    def parse(cls, node: Instruction) -> Maintainer:
        flags_of(node)
        return cls(text=require_value(node, exactly_one=True))

    def apply(self, scope: StageScope) -> None:
        scope.set_author(self.text)
        scope.note(f"MAINTAINER {self.text}")


@dataclass(frozen=True, slots=True, kw_only=True)
class OnBuild:
    """ONBUILD instruction: kept as text, run right after FROM in a child. No history entry."""

    text: str

    @classmethod
    def parse(cls, node: Instruction) -> OnBuild:
        flags_of(node)
        text = node.raw_with_heredocs.strip()
        if not text:
            raise DockerfileError(
                "ONBUILD requires an instruction", span=node.span, remedy="write ONBUILD INSTRUCTION …"
            )
        parse_trigger(text, node.span.file, node.span)
        return cls(text=text)

    def apply(self, scope: StageScope) -> None:
        scope.add_trigger(self.text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shell:
    """SHELL ["executable", "argument", …]; JSON is mandatory."""

    words: tuple[str, ...]

    @classmethod
    def parse(cls, node: Instruction) -> Shell:
        flags_of(node)
        if node.json == ():
            raise DockerfileError(
                "SHELL requires at least one argument", span=node.span, remedy='write SHELL ["executable", "argument"]'
            )
        if node.json is None:
            raise DockerfileError(
                "SHELL requires the arguments to be in JSON form",
                span=node.span,
                remedy='write SHELL ["executable", "argument"]',
            )
        return cls(words=node.json)

    def apply(self, scope: StageScope) -> None:
        scope.configure(f"SHELL [{' '.join(self.words)}]", shell=self.words)


@dataclass(frozen=True, slots=True, kw_only=True)
class StopSignal:
    """STOPSIGNAL name or number, checked at build time."""

    text: str
    span: Span

    @classmethod
    def parse(cls, node: Instruction) -> StopSignal:
        flags_of(node)
        return cls(text=require_value(node, exactly_one=True), span=node.span)

    def apply(self, scope: StageScope) -> None:
        signal = scope.expand(self.text, self.span)
        name = signal.upper().removeprefix("SIG")
        is_number = re.fullmatch(r"0*[1-9][0-9]{0,8}", signal)  # whether the kernel knows it, a run will tell
        if name not in SIGNALS and not is_number:
            raise DockerfileError(
                f'invalid signal "{signal}" in STOPSIGNAL',
                span=self.span,
                remedy="give a name like SIGTERM or a number",
            )
        scope.configure(f"STOPSIGNAL {signal}", stop_signal=signal)


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """USER user[:group]; stored as it stands, looked up when something runs."""

    text: str
    span: Span

    @classmethod
    def parse(cls, node: Instruction) -> User:
        flags_of(node)
        return cls(text=require_value(node, exactly_one=True), span=node.span)

    def apply(self, scope: StageScope) -> None:
        user = scope.expand(self.text, self.span)
        scope.configure(f"USER {user}", user=user)


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """VOLUME path …; metadata only, what is written there later stays in the image."""

    words: tuple[str, ...]
    span: Span

    @classmethod
    def parse(cls, node: Instruction) -> Volume:
        flags_of(node)
        words: Sequence[str] = node.json if node.json is not None else require_value(node).split()
        if not words:
            raise DockerfileError("VOLUME requires at least one argument", span=node.span, remedy="write VOLUME PATH")
        return cls(words=tuple(words), span=node.span)

    def apply(self, scope: StageScope) -> None:
        paths = [scope.expand(word, self.span) for word in self.words]
        if not all(path.strip() for path in paths):
            raise DockerfileError("VOLUME specified can not be an empty string", span=self.span, remedy="name a path")
        both = tuple(sorted({*scope.config.volumes, *paths}))
        scope.configure(f"VOLUME [{' '.join(paths)}]", volumes=both)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expose:
    """EXPOSE port[-port][/proto] …; sorted as written, then expanded, then split; the history keeps that order."""

    text: str
    span: Span

    @classmethod
    def parse(cls, node: Instruction) -> Expose:
        flags_of(node)
        return cls(text=require_value(node), span=node.span)

    def apply(self, scope: StageScope) -> None:
        words: list[str] = []
        for word in sorted(self.text.split()):
            with ErrorSpan(self.span):
                words += scope.lexer.process_words(word, scope.env)
        ports = [port for word in words for port in self._ports(scope, word)]
        both = tuple(sorted({*scope.config.exposed_ports, *ports}))
        scope.configure(f"EXPOSE [{' '.join(ports)}]", exposed_ports=both)

    def _ports(self, scope: StageScope, word: str) -> list[str]:
        host, colon, container = word.rpartition(":")  # a host mapping is read and forgotten
        match = re.fullmatch(r"(\d+)(?:-(\d+))?(?:/([A-Za-z]*))?", container)
        written = (match[3] or "tcp") if match else ""
        protocol = written.lower()
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if protocol not in ("tcp", "udp", "sctp") or not 0 <= first <= last <= MAX_PORT:
            raise DockerfileError(
                f'invalid port "{word}" in EXPOSE',
                span=self.span,
                remedy="write PORT[-PORT][/tcp|udp|sctp] with ports from 0 to 65535",
            )
        findings.exposed_port(scope, word, written, self.span, mapped=bool(colon and host.strip(":")))
        return [f"{port}/{protocol}" for port in range(first, last + 1)]
