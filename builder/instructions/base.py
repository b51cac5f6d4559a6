"""What instructions are made of: operations (what a step does), origins (where its input lies), and the stage scope.

An operation is a pure value. It says what it does and which parts of it belong in its cache key; it knows neither
cache nor disk. An instruction class checks its arguments (`parse`), then changes a StageScope (`apply`).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Protocol, Self

from builder.dockerfile.expand import Lexer
from builder.dockerfile.parser import Instruction
from builder.dockerfile.suggest import did_you_mean
from builder.errors import DockerfileError, Span
from builder.oci.config import RunConfig
from builder.oci.spec import Platform
from cache.keys import KeyPart

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DEFAULT_SHELL = ("/bin/sh", "-c")
PROXY_ARGS = ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextOrigin:
    """A local directory: the build context (name "") or one given by --build-context."""

    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageOrigin:
    """The result of an earlier stage of the same Dockerfile."""

    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageOrigin:
    """An image that is no stage; `name` is the reference as the plan resolved it."""

    name: str


Origin = ContextOrigin | StageOrigin | ImageOrigin


@dataclass(frozen=True, slots=True, kw_only=True)
class InlineFile:
    """A file whose content stands in the Dockerfile (heredoc)."""

    name: str
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOp:
    """Run a command over the stage's file system. `proxies` reach the command but never a key or the history."""

    argv: tuple[str, ...]
    env: tuple[str, ...]
    cwd: str
    user: str
    network: str
    script: InlineFile | None = None  # a heredoc that begins with #!, run as a file
    proxies: tuple[str, ...] = ()

    def key_parts(self) -> tuple[KeyPart, ...]:
        parts = [
            KeyPart("op", "run"),
            KeyPart("argv", _json(self.argv)),
            KeyPart("env", _json(self.env)),
            KeyPart("cwd", self.cwd),
            KeyPart("user", self.user),
            KeyPart("network", self.network),
        ]
        if self.script:
            parts.append(KeyPart("script", self.script.data.decode("utf-8", "surrogateescape")))
        return tuple(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyOp:
    """Copy paths of `origin` (and inline files) to `dest`; `extract` unpacks local archives as ADD does.

    `sources` are as written after expansion; `dest` is absolute, a trailing slash kept as it means "a directory".
    """

    sources: tuple[str, ...]
    dest: str
    origin: Origin
    inline: tuple[InlineFile, ...] = ()
    chown: str = ""
    chmod: str = ""
    extract: bool = False

    def key_parts(self) -> tuple[KeyPart, ...]:
        """All but the content of the sources, which the solver adds."""
        parts = [
            KeyPart("op", "add" if self.extract else "copy"),
            KeyPart("sources", _json(self.sources)),
            KeyPart("dest", self.dest),
            KeyPart("chown", self.chown),
            KeyPart("chmod", self.chmod),
        ]
        parts += [KeyPart(f"heredoc {file.name}", file.data.decode("utf-8", "surrogateescape")) for file in self.inline]
        return tuple(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkdirOp:
    """Make the directory `path` (absolute) with missing parents, owned by `user`."""

    path: str
    user: str

    def key_parts(self) -> tuple[KeyPart, ...]:
        return (KeyPart("op", "workdir"), KeyPart("path", self.path), KeyPart("user", self.user))


Op = RunOp | CopyOp | WorkdirOp


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryItem:
    """One entry of the stage's history; `step` is the index of the step whose layer it names, None for metadata."""

    created_by: str
    step: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One layer-producing step of a stage."""

    op: Op
    text: str  # the instruction as shown, "RUN make"
    span: Span


class Planner(Protocol):
    """What instructions may ask of the whole build."""

    def origin(self, name: str, span: Span) -> Origin:
        """Where `--from=name` lies: a stage, a named context, an image. Raises DockerfileError."""

    def build_arg(self, name: str) -> str | None:
        """The value of --build-arg, if given; marks it as used."""

    def global_arg(self, name: str) -> str | None:
        """The value of an ARG before the first FROM, or of a predefined one."""

    @property
    def proxies(self) -> Mapping[str, str]:
        """Proxy arguments given, in both cases of their names."""

    @property
    def run_network(self) -> str:
        """The network of RUN when the instruction does not say."""


@dataclass(slots=True)
class StageScope:
    """The state of a stage while its instructions are read in order."""

    planner: Planner
    lexer: Lexer
    platform: Platform
    config: RunConfig
    env: dict[str, str]  # ENV and ARG as in force for RUN and expansion, in order of first appearance
    args: dict[str, str | None] = field(default_factory=dict)  # declared ARGs, for the history of RUN
    author: str = ""
    steps: list[Step] = field(default_factory=list)
    history: list[HistoryItem] = field(default_factory=list)
    cmd_set: bool = False  # CMD was set in this stage, so ENTRYPOINT leaves it alone

    def expand(self, word: str, span: Span) -> str:
        """Expand variables and remove quotes in one word; raises DockerfileError at `span`."""
        with at(span):
            return self.lexer.process_word(word, self.env)

    def configure(self, created_by: str, **changes: object) -> None:
        """Change the image configuration and note it in the history."""
        self.config = replace(self.config, **changes)  # type: ignore[arg-type]  # names are checked by replace
        self.history.append(HistoryItem(created_by=created_by))

    def note(self, created_by: str) -> None:
        """Add a history entry that changes no configuration."""
        self.history.append(HistoryItem(created_by=created_by))

    def add_step(self, op: Op, *, text: str, created_by: str, span: Span) -> None:
        """Add a layer-producing step."""
        self.history.append(HistoryItem(created_by=created_by, step=len(self.steps)))
        self.steps.append(Step(op=op, text=text, span=span))

    @property
    def shell(self) -> tuple[str, ...]:
        return self.config.shell or DEFAULT_SHELL

    @property
    def workdir(self) -> str:
        return self.config.working_dir or "/"


class at:
    """Give a DockerfileError raised inside the place it lacks."""

    def __init__(self, span: Span) -> None:
        self._span = span

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, DockerfileError) and error.span is None:
            error.span = self._span


class InstructionClass(Protocol):
    """One instruction of the language: `parse` checks the arguments, `apply` does what it means to a stage."""

    @classmethod
    def parse(cls, node: Instruction) -> Self:
        """Check what can be checked without variables; raises DockerfileError at the node's span."""

    def apply(self, scope: StageScope) -> None:
        """Change `scope`; raises DockerfileError."""


NO_FLAGS: Mapping[str, str] = MappingProxyType({})


def flags_of(node: Instruction, *, known: Collection[str] = (), later: Collection[str] = ()) -> Mapping[str, str]:
    """The flags of `node` by name, each at most once and with a value, which may be empty: then it is as if not given.

    `later` names the flags tiffin does not have yet.
    """
    if not node.flags:
        return NO_FLAGS
    result: dict[str, str] = {}
    for flag in node.flags:
        if flag.name in later:
            raise DockerfileError(
                f"{node.keyword} --{flag.name} is not supported yet", span=node.span, remedy="leave the flag out"
            )
        if flag.name not in known:
            raise DockerfileError(
                f"unknown flag for {node.keyword}: --{flag.name}",
                span=node.span,
                remedy=did_you_mean(f"--{flag.name}", [f"--{name}" for name in (*known, *later)])
                or f"{node.keyword} takes {', '.join(f'--{name}' for name in known) or 'no flags'}",
            )
        if flag.name in result:
            raise DockerfileError(
                f"{node.keyword} --{flag.name} is given twice", span=node.span, remedy="keep one of them"
            )
        if flag.value is None:
            raise DockerfileError(
                f"{node.keyword} --{flag.name} needs a value", span=node.span, remedy=f"write --{flag.name}=VALUE"
            )
        result[flag.name] = flag.value
    return result


def go_words(words: Sequence[str]) -> str:
    """A list as Go's %q prints it: `["sh" "-c" "x"]`; the form of CMD and ENTRYPOINT in history."""
    return "[" + " ".join(json.dumps(word, ensure_ascii=False) for word in words) + "]"


def absolute(path: str, workdir: str) -> str:
    """`path` joined to `workdir` and cleaned; dots never climb above the root. A trailing slash is dropped."""
    joined = path if path.startswith("/") else f"{workdir}/{path}"
    parts: list[str] = []
    for part in joined.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return "/" + "/".join(parts)


def _json(words: Sequence[str]) -> str:
    return json.dumps(list(words), ensure_ascii=True, separators=(",", ":"))
