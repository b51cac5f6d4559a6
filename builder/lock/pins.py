"""What a plan asks about its sources: `Locked` gives what a lock has and nothing else, `Gatherer` notes what is asked
for.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from hashlib import sha256
from urllib.parse import urlsplit

from tiffin.builder.errors import DockerfileError, Span
from tiffin.builder.instructions.base import Remote
from tiffin.builder.instructions.ops import GitOrigin, UrlOrigin
from tiffin.builder.lock.lockfile import Lock
from tiffin.builder.oci.spec import Platform
from tiffin.builder.plan.plan_options import PREFIX_BUILT, BaseImage, SourceRules
from tiffin.builder.registry.download import shown
from tiffin.cache.foundation.frozen import dataclass, replace

Pins = Callable[[str, Platform, BaseImage, Span], str]


def no_pins(name: str, platform: Platform, image: BaseImage, span: Span) -> str:
    """Pin no image."""
    return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """A source that a lock does not have. `span` None: it is named on the command line."""

    what: str
    span: Span | None


class Locked(SourceRules):
    """Names and origins as a lock has them; `where` is its file. Raises DockerfileError for what it does not have."""

    def __init__(self, lock: Lock, where: str) -> None:
        self._lock = lock
        self._where = where

    def image(self, name: str, platform: Platform, span: Span) -> str:
        """Return a name with the digest of its manifest."""
        if name.startswith(PREFIX_BUILT):  # made by the same command
            return name
        pinned = pinned_image(self._lock, name, platform)
        if pinned:
            return pinned
        known = name in self._lock.images
        raise self._missing(
            f"{name} for {platform}" if known else name,
            span,
            f"run tiffin lock --platform {platform}" if known else "run tiffin lock",
        )

    def found(self, name: str, platform: Platform, image: BaseImage, span: Span) -> str:
        """Take what a digest led to: it is what was locked."""
        return ""

    def source(self, origin: Remote, span: Span | None) -> Remote:
        """Return an origin that names a commit or a digest."""
        pinned = pinned_source(self._lock, origin)
        if pinned is None:
            raise self._missing(told(origin), span, "run tiffin lock")
        if isinstance(origin, UrlOrigin) and origin.checksum and pinned != origin:
            raise DockerfileError(
                f"{told(origin)} has another digest in {self._where} than in its --checksum",
                span=span,
                remedy=f"run tiffin lock --update={told(origin)}, or correct --checksum",
            )
        return pinned

    def syntax(self, name: str, span: Span) -> None:
        """Check that the lock has a frontend."""
        if name not in self._lock.syntaxes:
            raise self._missing(f"syntax={name}", span, "run tiffin lock")

    def _missing(self, what: str, span: Span | None, remedy: str) -> DockerfileError:
        return DockerfileError(f"{what} is not in {self._where}", span=span, remedy=remedy)


class Gatherer(SourceRules):
    """Notes what a plan asks for: `images` by name and platform, `sources`. What is in `kept`, and not among the names
    `renewed`, is given as it is there; `every` renews all. `pins` says what an image has to be instead, "" for nothing.
    """

    def __init__(self, kept: Lock, renewed: Collection[str] = (), *, every: bool = False, pins: Pins = no_pins) -> None:
        self._pins = pins
        self._kept = kept
        self._renewed = renewed
        self._every = every
        self.images: dict[tuple[str, Platform], str] = {}  # and what was given for it
        self.sources: dict[UrlOrigin | GitOrigin, UrlOrigin | GitOrigin] = {}
        self.missing: list[Missing] = []

    def image(self, name: str, platform: Platform, span: Span) -> str:
        """Return a name as it is, or with the digest that is kept for it."""
        if name.startswith(PREFIX_BUILT):
            return name
        pinned = pinned_image(self._kept, name, platform)
        if not pinned and (name, platform) not in self.images:
            self.missing.append(Missing(what=f"{name} for {platform}", span=span))
        given = pinned if pinned and not self.renews(name) else name
        self.images[name, platform] = given
        return given

    def found(self, name: str, platform: Platform, image: BaseImage, span: Span) -> str:
        """Return what the image has to be instead. What a name led to notes whoever resolves it."""
        given = self._pins(name, platform, image, span)
        if not given or given == self.images.get((name, platform)):
            return ""
        self.images[name, platform] = given
        return given

    def source(self, origin: Remote, span: Span | None) -> Remote:
        """Return an origin as it is, or as it is kept."""
        pinned = pinned_source(self._kept, origin)
        if pinned is None and origin not in self.sources:
            self.missing.append(Missing(what=told(origin), span=span))
        given = pinned if pinned is not None and not self.renews(told(origin)) else origin
        self.sources[origin] = given
        return given

    def syntax(self, name: str, span: Span) -> None:
        """Note a frontend that is not kept."""
        if name not in self._kept.syntaxes:
            self.missing.append(Missing(what=f"syntax={name}", span=span))

    def renews(self, name: str) -> bool:
        """Whether what is called so is looked up again."""
        return self._every or name in self._renewed


def pinned_image(lock: Lock, name: str, platform: Platform) -> str:
    """Return a name with the digest that a lock has for it, "" if it has none."""
    known = lock.images.get(name)
    digest = known.manifests.get(platform, "") if known is not None else ""
    if known is None or not digest:
        return ""
    return f"{known.resolved.partition('@')[0]}@{digest}"


def pinned_source(lock: Lock, origin: Remote) -> Remote | None:
    """Return an origin with the commit or digest that a lock has for it, None if it has none."""
    if isinstance(origin, GitOrigin):
        commit = lock.commits.get(key_of(origin))
        return replace(origin, ref=commit) if commit else None
    digest = lock.files.get(key_of(origin))
    return replace(origin, checksum=digest) if digest else None


def key_of(origin: UrlOrigin | GitOrigin) -> tuple[str, str]:
    """Return what stands for an origin in a lock: never its credentials, nor a query, which may be a signature."""
    if isinstance(origin, GitOrigin):
        return told(origin), origin.ref
    query = urlsplit(origin.url).query
    return told(origin), sha256(query.encode()).hexdigest() if query else ""


def told(origin: UrlOrigin | GitOrigin) -> str:
    """Return the URL of an origin as it is shown."""
    return shown(origin.url)
