"""Errors of the builder, above those of the stores.

TiffinError (tiffin.cache.errors)
├── DockerfileError     a Dockerfile that cannot be built as written; carries file and lines
    │   └── DockerfileErrors    several of them
├── BuildError          a step that failed
│   ├── RunError        a command in the sandbox ended with a non-zero code
│   ├── PolicyError     a policy denies it; exit 3
│   └── CanceledError   a step that was stopped because another failed
├── ComposeError        a compose file that cannot serve as written; carries file and line
├── BakeError           a bake file that cannot serve as written; carries file and line
├── ContextError        the build context, or a path in it
├── SandboxError        namespaces, mounts, id maps
├── ContainerError      a container that is in another state than is needed
├── ImageError          an image that cannot be used
│   └── ImageNotFoundError
├── NotFoundError       no volume or network of that name
└── RegistryError       a registry that refused, failed or lied
    ├── UnauthorizedError
    └── NotInRegistryError
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tiffin.cache.errors import (
    CorruptError,
    DigestError,
    DiskFullError,
    MissingBlobError,
    MissingLayerError,
    StoreError,
    TiffinError,
    UsageError,
)
from tiffin.cache.foundation.frozen import dataclass, replace

__all__ = [
    "CANCELED",
    "BakeError",
    "BuildError",
    "CanceledError",
    "ComposeError",
    "ContainerError",
    "ContextError",
    "CorruptError",
    "DigestError",
    "DiskFullError",
    "DockerfileError",
    "DockerfileErrors",
    "ImageError",
    "ImageNotFoundError",
    "LocatedError",
    "MissingBlobError",
    "MissingLayerError",
    "NotFoundError",
    "NotInRegistryError",
    "PolicyError",
    "RegistryError",
    "RunError",
    "SandboxError",
    "Span",
    "StoreError",
    "TiffinError",
    "UnauthorizedError",
    "UsageError",
]


CANCELED = "canceled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Lines of a file, 1-based and inclusive, with their text; `path`: where the file is, if it is on this machine."""

    file: str
    first_line: int
    last_line: int
    text: str = ""
    path: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.first_line}"


class LocatedError(TiffinError):
    """A fault of a place in a file; `span` tells which, where that is known."""

    def __init__(self, message: str, *, span: Span | None = None, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.span = span

    def __str__(self) -> str:
        where = f"{self.span}: " if self.span else ""
        return where + super().__str__()


class DockerfileError(LocatedError):
    """A Dockerfile that cannot be built as written."""

    def locate(self, span: Span) -> None:
        """Have `span`, unless there is a place already: what finds a fault may not know where the text stands."""
        self.span = self.span or span


class DockerfileErrors(DockerfileError):
    """Several faults of one Dockerfile, told together."""

    def __init__(self, errors: Sequence[DockerfileError]) -> None:
        super().__init__(errors[0].message, span=errors[0].span, remedy=errors[0].remedy)
        self.errors = tuple(errors)

    def __str__(self) -> str:
        return "\n".join(str(error) for error in self.errors)


class ComposeError(LocatedError):
    """A compose file, or one that it names, cannot serve as written; `span` tells where."""


class BakeError(LocatedError):
    """A bake file cannot serve as written; `span` tells where."""

    def quote(self, texts: Mapping[str, str]) -> None:
        """Have the line that it is about, from the texts of the files."""
        if self.span is not None and not self.span.text and self.span.file in texts:
            lines = texts[self.span.file].split("\n")
            if self.span.first_line <= len(lines):
                self.span = replace(self.span, text=lines[self.span.first_line - 1])


class BuildError(LocatedError):
    """A step of a build failed; `span` tells which."""


class RunError(BuildError):
    """The command of a RUN step ended with `status`; `tail` is its last output."""

    def __init__(self, message: str, *, status: int, tail: str = "", span: Span | None = None) -> None:
        super().__init__(message, span=span)
        self.status = status
        self.tail = tail
        self.kept = ""  # the name of what the command left, where that is kept

    def leaves(self, kept: str, remedy: str) -> None:
        """Tell what can be done with what the command left."""
        self.kept = kept
        self.remedy = remedy


class CanceledError(BuildError):
    """A step was stopped, or not begun, because another failed; that one's error is to be told."""

    def __init__(self) -> None:
        super().__init__(CANCELED)


class PolicyError(BuildError):
    """A policy denies what is wanted. `rules`: which of its rules, each with the name of the policy."""

    exit_code = 3

    def __init__(self, message: str, *, rules: Sequence[str], span: Span | None = None, remedy: str = "") -> None:
        super().__init__(message, span=span, remedy=remedy)
        self.rules = tuple(rules)


class ContextError(TiffinError):
    """The build context, or a path in it, cannot be used."""


class SandboxError(TiffinError):
    """The machine refused a namespace, a mount or an id map."""


class ContainerError(TiffinError):
    """A container that is in another state than is needed: it runs, or it does not."""


class ImageError(TiffinError):
    """An image that is malformed or cannot serve here."""


class ImageNotFoundError(ImageError):
    """No image of that name where it was looked for."""


class NotFoundError(TiffinError):
    """No volume or network of that name."""


class VerificationError(ImageError):
    """An image that is not signed as was asked for, or lacks what its signature says it has."""


class RegistryError(TiffinError):
    """A registry refused, failed or lied."""


class UnauthorizedError(RegistryError):
    """The registry wants other credentials (401 or 403)."""


class NotInRegistryError(RegistryError):
    """The registry has no such repository, manifest or blob (404)."""
