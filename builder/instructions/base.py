"""What instructions share: the stage scope they change, and what they may ask of the whole build.

An instruction class checks its arguments (`parse`), then changes a StageScope (`apply`): configuration, history, and
the operations of its steps (tiffin.builder.instructions.ops).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, Self

from tiffin.builder.dockerfile.expand import Lexer
from tiffin.builder.dockerfile.parser import Instruction
from tiffin.builder.dockerfile.suggest import almost
from tiffin.builder.errors import DockerfileError, Span
from tiffin.builder.instructions.ops import GitOrigin, Op, Origin, RunDefaults, RunOp, UrlOrigin
from tiffin.builder.oci.config import RunConfig
from tiffin.builder.oci.spec import Platform
from tiffin.cache.foundation.frozen import dataclass, field, replace

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DEFAULT_SHELL = ("/bin/sh", "-c")
Remote = UrlOrigin | GitOrigin  # a source on the network
NEVER_VARIABLES = ("BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE")
PROXY_ARGS = ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryItem:
    """One entry of the stage's history; `step` is the index of the step whose layer it names, None for metadata."""

    created_by: str
    step: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One layer-producing step of a stage. `config`, and `env` of ENV and ARG (NAME=value), are as in force there."""

    op: Op
    text: str  # the instruction as shown, "RUN make"
    span: Span
    config: RunConfig = RunConfig()
    env: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """An ARG as --call outline tells it."""

    name: str
    value: str
    description: str
    span: Span


def description_of(name: str, comments: Sequence[str]) -> str:
    """Return what the comments above a definition say of it: the rest of the first line that begins with its name."""
    return next((line.removeprefix(f"{name} ") for line in comments if name and line.startswith(f"{name} ")), "")


class Planner(Protocol):
    """What instructions may ask of the whole build."""

    def origin(self, name: str, span: Span, *, mount_target: str = "") -> Origin:
        """Return where `--from=name` lies: a stage, a named context, an image. Raises DockerfileError.

        `mount_target` says that it is for a mount there, for the error.
        """

    def remote(self, origin: Remote, span: Span) -> Remote:
        """Return what is fetched for a source on the network. Raises DockerfileError for one that may not be used."""

    def build_arg(self, name: str) -> str | None:
        """Return the value of --build-arg, if given; marks it as used."""

    def global_arg(self, name: str) -> str | None:
        """Return the value of an ARG before the first FROM, or of a predefined one."""

    @property
    def global_args(self) -> Mapping[str, str]:
        """All of them that have a value."""

    @property
    def proxies(self) -> Mapping[str, str]:
        """Proxy arguments given, in both cases of their names."""

    @property
    def run_defaults(self) -> RunDefaults:
        """What the command line says of every RUN."""

    def found(self, rule: str, message: str, span: Span) -> None:
        """Note the finding of a build check."""

    def check_allowed(self, entitlement: str, span: Span) -> None:
        """Raise DockerfileError unless --allow gave `entitlement` (security.insecure)."""


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
    last_of: dict[str, Span] = field(default_factory=dict)  # CMD, ENTRYPOINT and HEALTHCHECK of this stage, by keyword
    workdir_set: bool = False  # by a WORKDIR of this stage or of one below it
    own_args: dict[str, Declared | None] = field(default_factory=dict)  # ARGs here; None: as declared before FROM

    def expand(self, word: str, span: Span) -> str:
        """Expand variables and remove quotes in one word; raises DockerfileError at `span`."""
        unset: set[str] = set()
        try:
            with ErrorSpan(span):
                return self.lexer.process_word(word, self.env, unset)
        finally:
            self._report(unset, span)

    def expand_heredoc(self, content: str, span: Span) -> str:
        """Expand the body of a heredoc of COPY or ADD; raises DockerfileError at `span`."""
        unset: set[str] = set()
        try:
            with ErrorSpan(span):
                return self.lexer.expand_body(content, self.env, unset)
        finally:
            self._report(unset, span)

    def shown(self, text: str) -> str:
        """Return a whole instruction as progress names it: expanded as one word, as BuildKit does, or as written if
        that fails.
        """
        try:
            return self.lexer.process_word(text, self.env)
        except DockerfileError:
            return text

    def _report(self, unset: set[str], span: Span) -> None:
        """Report UndefinedVar for names without a value, except those that an ARG declares without one."""
        for name in sorted(unset.difference(self.args, NEVER_VARIABLES)):
            near = almost(name, self.env)
            hint = f" (did you mean ${near}?)" if near else ""
            self.planner.found("UndefinedVar", f"Usage of undefined variable '${name}'{hint}", span)

    def expand_silently(self, word: str, span: Span) -> str:
        """Expand what BuildKit does not expand, and so does not check."""
        with ErrorSpan(span):
            return self.lexer.process_word(word, self.env)

    def expand_reference(self, word: str, span: Span) -> str:
        """Expand the name of a stage or image (`--from`): ARGs before the first FROM count too."""
        with ErrorSpan(span):
            return self.lexer.process_word(word, {**self.planner.global_args, **self.env})

    def configure(self, created_by: str, **changes: object) -> None:
        """Change the image configuration and note it in the history."""
        self.config = replace(self.config, **changes)
        self.history.append(HistoryItem(created_by=created_by))

    def set_author(self, author: str) -> None:
        """Name the author of the image, which the configuration of a run does not have."""
        self.author = author

    def declare(self, name: str, value: str | None, shown: Declared | None) -> None:
        """Declare an ARG. `shown` is how it is told; None for one that was declared before the first FROM."""
        if shown is None:
            self.own_args.setdefault(name, None)
        else:
            self.own_args[name] = shown
        self.args[name] = value
        if value is not None:
            self.env[name] = value

    def set_variables(self, changes: Sequence[tuple[str, str]]) -> None:
        """Set variables for what follows; the configuration has those of ENV beside."""
        self.env.update(changes)

    def add_trigger(self, text: str) -> None:
        """Keep an instruction for the child of the image."""
        self.config = replace(self.config, on_build=(*self.config.on_build, text))

    def take_triggers(self) -> tuple[str, ...]:
        """Return the instructions that the base keeps for its children, which are not handed on."""
        triggers, self.config = self.config.on_build, replace(self.config, on_build=())
        return triggers

    def rename_steps(self, first: int, prefix: str) -> None:
        """Show the steps from `first` on as made by an instruction before their own."""
        self.steps[first:] = [replace(step, text=f"{prefix} {step.text}") for step in self.steps[first:]]

    def replaces(self, keyword: str, span: Span) -> Span | None:
        """Note that `keyword` stands at `span`; return where it stood before in this stage."""
        before = self.last_of.get(keyword)
        self.last_of[keyword] = span
        return before

    def set_workdir(self, shown: str, *, step: Op | None, span: Span) -> None:
        """Change the working directory; a step that makes it has the entry in the history."""
        self.workdir_set = True
        self.config = replace(self.config, working_dir=shown)
        text = f"WORKDIR {shown}"
        if step is None:
            self.note(text)
        else:
            self.add_step(step, text=text, created_by=text, span=span)

    def note(self, created_by: str) -> None:
        """Add a history entry that changes no configuration."""
        self.history.append(HistoryItem(created_by=created_by))

    def add_step(self, op: Op, *, text: str, created_by: str, span: Span) -> None:
        """Add a layer-producing step."""
        self.history.append(HistoryItem(created_by=created_by, step=len(self.steps)))
        env = op.env if isinstance(op, RunOp) else tuple(f"{name}={value}" for name, value in self.env.items())
        self.steps.append(Step(op=op, text=text, span=span, config=self.config, env=env))

    @property
    def shell(self) -> tuple[str, ...]:
        return self.config.shell or DEFAULT_SHELL

    @property
    def workdir(self) -> str:
        """Where RUN runs and relative paths begin: cleaned, as the configuration need not be."""
        return absolute(self.config.working_dir, "/")


class ErrorSpan:
    """Give a DockerfileError raised inside the place it lacks."""

    def __init__(self, span: Span) -> None:
        self._span = span

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, DockerfileError):
            error.locate(self._span)


class InstructionClass(Protocol):
    """One instruction of the language: `parse` checks the arguments, `apply` does what it means to a stage."""

    @classmethod
    def parse(cls, node: Instruction) -> Self:
        """Check what can be checked without variables; raises DockerfileError at the node's span."""

    def apply(self, scope: StageScope) -> None:
        """Change `scope`; raises DockerfileError."""


def go_words(words: Sequence[str]) -> str:
    """Return a list as Go's %q prints it: `["sh" "-c" "x"]`; the form of CMD and ENTRYPOINT in history."""
    return "[" + " ".join(map(go_quoted, words)) + "]"


def go_quoted(word: str) -> str:
    """Return a text as Go's %q prints it."""
    return f'"{"".join(map(_go_character, word))}"'


_GO_ESCAPES = {
    '"': '\\"',
    "\\": "\\\\",
    "\a": r"\a",
    "\b": r"\b",
    "\f": r"\f",
    "\n": r"\n",
    "\r": r"\r",
    "\t": r"\t",
    "\v": r"\v",
}


def _go_character(char: str) -> str:
    """Return a character in Go's double quotes (strconv.Quote)."""
    if char in _GO_ESCAPES:
        return _GO_ESCAPES[char]
    if char.isprintable():
        return char
    code = ord(char)
    if code < 0x20 or code == 0x7F:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def absolute(path: str, workdir: str) -> str:
    """Return `path` joined to `workdir` and cleaned; dots never climb above the root. A trailing slash is dropped."""
    joined = path if path.startswith("/") else f"{workdir}/{path}"
    parts: list[str] = []
    for part in joined.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return "/" + "/".join(parts)
