"""COPY and ADD: instructions that bring files in without running anything."""

from __future__ import annotations

import re

from tiffin.builder.dockerfile.parser import Heredoc, Instruction
from tiffin.builder.errors import DockerfileError, Span, UsageError
from tiffin.builder.instructions.base import StageScope, absolute
from tiffin.builder.instructions.flags import flags_of
from tiffin.builder.instructions.ops import ContextOrigin, CopyOp, InlineFile, Input, Origin, UrlOrigin
from tiffin.builder.instructions.remote import filename_of, is_git, is_http, parse_git
from tiffin.cache.foundation.frozen import dataclass

_OCTAL = r"0?[0-7]{1,4}"
_CLAUSE = r"[ugoa]*[-+=](?:[rwxXst]*|[ugo])(?:[-+=](?:[rwxXst]*|[ugo]))*"
_SYMBOLIC = rf"{_CLAUSE}(?:,{_CLAUSE})*"
_SHA256 = r"sha256:[0-9a-f]{64}"


def _words(node: Instruction) -> tuple[str, ...]:
    """Return the sources and the destination. Raises DockerfileError."""
    words = node.json if node.json is not None else tuple(node.value.split())
    if len(words) < 2:
        raise DockerfileError(
            f"{node.keyword} requires at least two arguments, but {len(words)} given; "
            "the destination could not be determined",
            span=node.span,
            remedy=f"write {node.keyword} SOURCE… DESTINATION",
        )
    if node.heredocs:
        if words[-1].lstrip("0123456789").startswith("<<"):
            raise DockerfileError(
                f"{node.keyword} cannot accept a heredoc as a destination",
                span=node.span,
                remedy="name the destination last",
            )
        words = tuple(node.value_without_heredocs.split())
    for heredoc in node.heredocs:
        if "/" in heredoc.name:
            raise DockerfileError(
                f'a heredoc makes a file of its name, and "{heredoc.name}" has a slash',
                span=node.span,
                remedy="write the directory into the destination",
            )
    return words


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """COPY and ADD `[flags] source… destination`; ADD also fetches, and unpacks archives."""

    keyword: str
    words: tuple[str, ...]  # sources without heredocs, then the destination
    heredocs: tuple[Heredoc, ...]
    source_name: str
    chown: str
    chmod: str
    exclude: tuple[str, ...]
    checksum: str
    parents: bool
    link: bool
    keep_git_dir: bool
    unpack: bool | None  # None: local archives only
    shown: str
    span: Span

    @classmethod
    def parse(cls, node: Instruction) -> Copy:
        is_add = node.keyword == "ADD"
        flags = flags_of(
            node,
            texts=("chown", "chmod", "checksum") if is_add else ("from", "chown", "chmod"),
            lists=("exclude",),
            switches=("link", "keep-git-dir", "unpack") if is_add else ("link", "parents"),
        )
        words = _words(node)
        return cls(
            keyword=node.keyword,
            words=words,
            heredocs=node.heredocs,
            source_name=flags.text("from"),
            chown=flags.text("chown"),
            chmod=flags.text("chmod"),
            exclude=flags.all("exclude"),
            checksum=flags.text("checksum"),
            parents=bool(flags.is_on("parents")),
            link=bool(flags.is_on("link")),
            keep_git_dir=bool(flags.is_on("keep-git-dir")),
            unpack=flags.is_on("unpack"),
            shown=f"{node.keyword} {node.raw.strip()}",
            span=node.span,
        )

    def apply(self, scope: StageScope) -> None:
        *sources, dest = (scope.expand(word, self.span) for word in self.words)
        chmod = self._checked_mode(scope.expand(self.chmod, self.span)) if self.chmod else ""
        chown = scope.expand(self.chown, self.span) if self.chown else ""
        target = absolute(dest, scope.workdir)
        # "", ".", "./" and a trailing slash all say: this is a directory
        if target != "/" and (dest in ("", ".") or dest.endswith(("/", "/."))):
            target += "/"
        op = CopyOp(
            sources=self._inputs(sources, scope),
            dest=target,
            inline=tuple(self._inline(heredoc, scope) for heredoc in self.heredocs),
            chown=chown,
            chmod=chmod,
            exclude=tuple(scope.expand_silently(pattern, self.span) for pattern in self.exclude),
            parents=self.parents,
            link=self.link,
            is_add=self.keyword == "ADD",
        )
        flags = ["--parents"] * self.parents + [f"--chown={chown}"] * bool(chown) + [f"--chmod={chmod}"] * bool(chmod)
        names = [f"<<{heredoc.name}" for heredoc in self.heredocs]
        created_by = " ".join([self.keyword, *flags, *sources, *names, dest]) + " # buildkit"
        scope.add_step(op, text=scope.shown(self.shown), created_by=created_by, span=self.span)

    def _inputs(self, sources: list[str], scope: StageScope) -> tuple[Input, ...]:
        """Return the sources in order, neighbours of one origin together."""
        local: Origin = ContextOrigin()
        if self.source_name:
            local = scope.planner.origin(scope.expand_reference(self.source_name, self.span), self.span)
        self._check_checksum(sources)
        result: list[Input] = []
        for source in sources:
            remote = None if self.source_name else self._remote(source, scope)
            if remote is not None:
                result.append(remote)
                continue
            unpack = self.keyword == "ADD" and self.unpack is not False
            if result and result[-1].origin == local:
                paths = (*result.pop().paths, source)
            else:
                paths = (source,)
            result.append(Input(origin=local, paths=paths, unpack=unpack))
        return tuple(result)

    def _remote(self, source: str, scope: StageScope) -> Input | None:
        """Return a source that lies on the network."""
        if not (is_http(source) or is_git(source)):
            return None
        if self.keyword == "COPY":
            raise DockerfileError(
                f'source "{source}" can\'t be a URL or git reference for COPY', span=self.span, remedy="use ADD"
            )
        checksum = scope.expand(self.checksum, self.span)
        if is_git(source):
            try:
                origin = parse_git(source, keep_git_dir=self.keep_git_dir, checksum=checksum)
            except UsageError as exc:
                raise DockerfileError(exc.message, span=self.span, remedy=exc.remedy) from exc
            return Input(origin=scope.planner.remote(origin, self.span), paths=("/",))
        if checksum and not re.fullmatch(_SHA256, checksum):
            raise DockerfileError(
                f'invalid checksum "{checksum}"', span=self.span, remedy="write --checksum=sha256: and 64 digits"
            )
        name = filename_of(source)
        return Input(
            origin=scope.planner.remote(UrlOrigin(url=source, filename=name, checksum=checksum), self.span),
            paths=(re.sub(r"([*?\[\\])", r"\\\1", name),),
            unpack=bool(self.unpack),
        )

    def _check_checksum(self, sources: list[str]) -> None:
        if not self.checksum:
            return
        if len(sources) > 1:
            raise DockerfileError(
                "checksum can't be specified for multiple sources", span=self.span, remedy="use one ADD for each"
            )
        if not any(is_http(source) or is_git(source) for source in sources):
            raise DockerfileError(
                "checksum requires HTTP(S) or Git sources", span=self.span, remedy="leave --checksum out"
            )

    def _inline(self, heredoc: Heredoc, scope: StageScope) -> InlineFile:
        content = heredoc.content
        if heredoc.expand:
            content = scope.expand_heredoc(content, self.span)
        return InlineFile(name=heredoc.name, data=content.encode("utf-8", "surrogateescape"))

    def _checked_mode(self, text: str) -> str:
        if re.fullmatch(_OCTAL, text) or (not text[:1].isdigit() and re.fullmatch(_SYMBOLIC, text)):
            return text
        raise DockerfileError(
            f"invalid chmod parameter: '{text}'",
            span=self.span,
            remedy="it should be an octal string between 0 and 07777, or symbolic such as u=rwX,go=rX",
        )
