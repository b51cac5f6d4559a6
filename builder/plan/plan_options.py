"""What the user asked for, and what it refers to: the values a plan is made from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from tiffin.builder.errors import Span
from tiffin.builder.instructions.base import Remote
from tiffin.builder.instructions.ops import GitOrigin, RunDefaults, UrlOrigin
from tiffin.builder.oci.config import ImageConfig
from tiffin.builder.oci.spec import Manifest, Platform
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.frozen import dataclass, field

PREFIX_LAYOUT = "oci-layout://"  # of a named context that is an image of an OCI layout
PREFIX_BUILT = "built://"  # an image that another target of the same command made


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseImage:
    """An image as a plan needs it: what it is, not its bytes."""

    name: str
    manifest: Manifest
    config: ImageConfig
    manifest_digest: Digest


class SourceRules(Protocol):
    """Says of every source of a plan what it is to be, or that it may not be used (DockerfileError, PolicyError)."""

    def image(self, name: str, platform: Platform, span: Span) -> str:
        """Return the name under which an image is looked up."""

    def found(self, name: str, platform: Platform, image: BaseImage, span: Span) -> str:
        """Take note of what such a name led to; return another name to look up instead, "" for none."""

    def source(self, origin: Remote, span: Span | None) -> Remote:
        """Return what is fetched in the place of `origin`; without a span it is named on the command line."""

    def syntax(self, name: str, span: Span) -> None:
        """Take note of the frontend that a Dockerfile names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryContext:
    """--build-context NAME=DIRECTORY (or an archive): files that the solver's Contexts holds under that name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageContext:
    """--build-context NAME=docker-image://REFERENCE, or NAME=oci-layout://PATH, which is its own reference, as is
    PREFIX_BUILT with the name of what was built before.
    """

    reference: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StageContext:
    """--build-context NAME=target:STAGE, a stage of the same Dockerfile."""

    stage: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteContext:
    """--build-context NAME=URL: a git repository, or one file."""

    origin: GitOrigin | UrlOrigin


NamedContext = DirectoryContext | ImageContext | StageContext | RemoteContext


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanOptions:
    """What the user asked for, apart from the Dockerfile and the context themselves."""

    platform: Platform
    build_args: Mapping[str, str] = field(default_factory=dict)
    target: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    contexts: Mapping[str, NamedContext] = field(default_factory=dict)
    run_defaults: RunDefaults = field(default_factory=RunDefaults)
    allowed: frozenset[str] = frozenset()
    checks_only: bool = False  # every stage is planned, nothing will be built
    source_rules: SourceRules | None = None
