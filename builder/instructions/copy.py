"""COPY, ADD and WORKDIR: instructions that change files without running anything."""

from __future__ import annotations

import re
from dataclasses import dataclass

from builder.dockerfile.heredoc import expand_body
from builder.dockerfile.parser import Heredoc, Instruction
from builder.errors import DockerfileError, Span
from builder.instructions.base import (
    ContextOrigin,
    CopyOp,
    InlineFile,
    StageScope,
    WorkdirOp,
    absolute,
    at,
    flags_of,
)

_URL = re.compile(r"(?:https?|ftp|git|ssh)://|git@[^/]+:|.+\.git(?:#.*)?$", re.IGNORECASE)
_OCTAL = re.compile(r"0?[0-7]{1,4}")
_SYMBOLIC = re.compile(
    r"[ugoa]*[-+=](?:[rwxXst]*|[ugo])(?:[-+=](?:[rwxXst]*|[ugo]))*(?:,[ugoa]*[-+=](?:[rwxXst]*|[ugo])(?:[-+=](?:[rwxXst]*|[ugo]))*)*"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """COPY and ADD `[flags] source… destination`; ADD also unpacks local archives."""

    keyword: str
    words: tuple[str, ...]  # sources, then the destination
    heredocs: tuple[Heredoc, ...]
    from_: str
    chown: str
    chmod: str
    shown: str
    span: Span

    @classmethod
    def parse(cls, node: Instruction) -> Copy:
        is_add = node.keyword == "ADD"
        known = ("chown", "chmod") if is_add else ("from", "chown", "chmod")
        later = ("link", "exclude", "checksum", "keep-git-dir", "unpack") if is_add else ("link", "parents", "exclude")
        flags = flags_of(node, known=known, later=later)
        words = node.json if node.json is not None else tuple(node.value.split())
        if len(words) < 2:
            raise DockerfileError(
                f"{node.keyword} requires at least two arguments, but {len(words)} given; "
                "the destination could not be determined",
                span=node.span,
                remedy=f"write {node.keyword} SOURCE… DESTINATION",
            )
        if node.heredocs and words[-1].lstrip("0123456789").startswith("<<"):
            raise DockerfileError(
                f"{node.keyword} cannot accept a heredoc as a destination",
                span=node.span,
                remedy="name the destination last",
            )
        return cls(
            keyword=node.keyword,
            words=words,
            heredocs=node.heredocs,
            from_=flags.get("from", ""),
            chown=flags.get("chown", ""),
            chmod=flags.get("chmod", ""),
            shown=f"{node.keyword} {node.raw.strip()}",
            span=node.span,
        )

    def apply(self, scope: StageScope) -> None:
        *sources, dest = (scope.expand(word, self.span) for word in self._plain_words())
        inline = tuple(self._inline(heredoc, scope) for heredoc in self.heredocs)
        self._refuse_remote(sources)
        chmod = self._checked_mode(scope.expand(self.chmod, self.span)) if self.chmod else ""
        chown = scope.expand(self.chown, self.span) if self.chown else ""
        target = absolute(dest, scope.workdir)
        # "", ".", "./" and a trailing slash all say: this is a directory
        if target != "/" and (dest in ("", ".") or dest.endswith(("/", "/."))):
            target += "/"
        origin = scope.planner.origin(scope.expand(self.from_, self.span), self.span) if self.from_ else ContextOrigin()
        op = CopyOp(
            sources=tuple(sources),
            dest=target,
            origin=origin,
            inline=inline,
            chown=chown,
            chmod=chmod,
            extract=self.keyword == "ADD",
        )
        flags = [f"--chown={chown}"] * bool(chown) + [f"--chmod={chmod}"] * bool(chmod)
        names = [f"<<{heredoc.name}" for heredoc in self.heredocs]
        created_by = " ".join([self.keyword, *flags, *sources, *names, dest]) + " # buildkit"
        scope.add_step(op, text=self.shown, created_by=created_by, span=self.span)

    def _plain_words(self) -> list[str]:
        """The words that are no heredoc markers."""
        if not self.heredocs:
            return list(self.words)
        return [word for word in self.words if not re.fullmatch(r"\d*<<-?(['\"]?)[^<\s]+\1", word)]

    def _inline(self, heredoc: Heredoc, scope: StageScope) -> InlineFile:
        content = heredoc.content
        if heredoc.expand:
            with at(self.span):
                content = expand_body(content, scope.env)
        return InlineFile(name=heredoc.name, data=content.encode("utf-8", "surrogateescape"))

    def _refuse_remote(self, sources: list[str]) -> None:
        for source in sources:
            if not _URL.match(source) or self.from_:
                continue
            if self.keyword == "COPY":
                raise DockerfileError(
                    f'source "{source}" can\'t be a URL or git reference for COPY', span=self.span, remedy="use ADD"
                )
            raise DockerfileError(
                f'ADD of a URL or git repository ("{source}") is not supported yet',
                span=self.span,
                remedy="fetch it in a RUN step, or put it into the context",
            )

    def _checked_mode(self, text: str) -> str:
        if _OCTAL.fullmatch(text) or (not text[:1].isdigit() and _SYMBOLIC.fullmatch(text)):
            return text
        raise DockerfileError(
            f"invalid chmod parameter: '{text}'",
            span=self.span,
            remedy="it should be an octal string between 0 and 07777, or symbolic such as u=rwX,go=rX",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Workdir:
    """WORKDIR path: relative to the one before; makes it, owned by the current USER."""

    text: str
    span: Span

    @classmethod
    def parse(cls, node: Instruction) -> Workdir:
        flags_of(node)
        value = node.value.strip()
        if not value:
            raise DockerfileError("WORKDIR requires exactly one argument", span=node.span, remedy="write WORKDIR PATH")
        return cls(text=value, span=node.span)

    def apply(self, scope: StageScope) -> None:
        path = absolute(scope.expand(self.text, self.span), scope.workdir)
        if path == "/":
            scope.configure("WORKDIR /", working_dir="/")
            return
        user = scope.config.user
        scope.configure(f"WORKDIR {path}", working_dir=path)
        scope.history.pop()  # the step's own entry takes its place
        scope.add_step(
            WorkdirOp(path=path, user=user), text=f"WORKDIR {path}", created_by=f"WORKDIR {path}", span=self.span
        )
