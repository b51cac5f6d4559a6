"""The sources of a build before a policy, and what a build makes."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tiffin.builder.api.build_options import BuildOptions
from tiffin.builder.api.rules.evidence import contents_of, digest_named, packages_in, packages_of
from tiffin.builder.api.rules.gate import Gate, gate_of
from tiffin.builder.api.session import Session
from tiffin.builder.errors import Span
from tiffin.builder.instructions.base import Remote
from tiffin.builder.instructions.ops import UrlOrigin
from tiffin.builder.instructions.remote import filename_of, is_git, is_http, parse_git
from tiffin.builder.oci.reference import Reference
from tiffin.builder.oci.spec import Platform
from tiffin.builder.plan.plan_options import PREFIX_BUILT, PREFIX_LAYOUT, BaseImage, SourceRules
from tiffin.builder.policy.facts import GIT, IMAGE, LOCAL, URL, Environment, Judge, Package, Subject
from tiffin.builder.policy.rules import USER
from tiffin.builder.registry.download import shown
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.frozen import replace

if TYPE_CHECKING:
    from tiffin.builder.api.inputs.context import BuildContext
    from tiffin.builder.solver.build import Built, Request, Services
    from tiffin.builder.sources.remote_sources import RemoteSources

_COMMIT = r"[0-9a-f]{40}|[0-9a-f]{64}"
CONTEXT = "context"  # what buildx calls the main one


class GatedRules(SourceRules):
    """Asks a gate of every source, after `inner` (a lock) said what it is to be."""

    def __init__(
        self,
        gate: Gate,
        inner: SourceRules | None,
        environment: Environment,
        packages: Callable[[str], Callable[[], Sequence[Package]]],
        named: Callable[[str, Platform, Digest], str],
    ) -> None:
        self.gate = gate
        self.environment = environment
        self._inner = inner
        self._packages = packages
        self._named = named
        self._given: dict[tuple[str, Platform], str] = {}
        self._pinners: dict[tuple[str, Platform], Judge] = {}

    def image(self, name: str, platform: Platform, span: Span) -> str:
        """Return what the lock has, if the name may be used."""
        given = self._inner.image(name, platform, span) if self._inner is not None else name
        self._given[name, platform] = given
        subject = self._image(name, given, platform, span)
        if subject is not None:
            self.gate.judge(subject)
        return given

    def found(self, name: str, platform: Platform, image: BaseImage, span: Span) -> str:
        """Judge an image by what it is; return what a policy pins it to. A lock says itself what it is."""
        subject = self._seen(name, platform, image, span)
        if subject is None:
            return ""
        pinner = self._pinners.get((name, platform))
        given = self._pin(name, platform, subject) if pinner is None and self._inner is None else ""
        if not given:
            self.gate.judge(subject, pinner)
        return given

    def pinned(self, name: str, platform: Platform, image: BaseImage, span: Span) -> str:
        """Return what a policy pins an image to, "" for nothing; it is not judged."""
        subject = self._seen(name, platform, image, span)
        return self._pin(name, platform, subject) if subject is not None else ""

    def _seen(self, name: str, platform: Platform, image: BaseImage, span: Span) -> Subject | None:
        """Return an image with what it holds; None for what the same command made."""
        subject = self._image(name, self._given.get((name, platform), name), platform, span)
        if subject is None:
            return None
        digest = image.manifest_digest
        packages = self._packages(f"{image.name.partition('@')[0]}@{digest}")
        named = self._named(image.name, platform, digest)
        contents = contents_of(digest, image.config, image.manifest, packages, named)
        return replace(subject, contents=contents)

    def _pin(self, name: str, platform: Platform, subject: Subject) -> str:
        """Return the name to use instead, by a policy's digest; "" for none."""
        digest, pinner = self.gate.pin(subject) if subject.kind == IMAGE else ("", None)
        if pinner is None:
            return ""
        assert subject.reference is not None
        self._pinners[name, platform] = pinner
        self._given[name, platform] = str(replace(subject.reference, digest=Digest.parse(digest)))
        return self._given[name, platform]

    def source(self, origin: Remote, span: Span | None) -> Remote:
        """Return what the lock has, if it may be used."""
        given = self._inner.source(origin, span) if self._inner is not None else origin
        self.gate.judge(replace(subject_of(given), span=span, environment=self.environment))
        return given

    def syntax(self, name: str, span: Span) -> None:
        """Hand on the frontend."""
        if self._inner is not None:
            self._inner.syntax(name, span)

    def _image(self, name: str, given: str, platform: Platform, span: Span) -> Subject | None:
        """Return an image as it is judged; None for what the same command made."""
        if name.startswith(PREFIX_BUILT):
            return None
        if name.startswith(PREFIX_LAYOUT):
            return Subject(kind=LOCAL, name=name, span=span, environment=self.environment)
        reference = Reference.parse(given)
        return Subject(
            kind=IMAGE,
            name=name,
            span=span,
            platform=platform,
            reference=reference,
            checksum=str(reference.digest or ""),
            environment=self.environment,
        )


def subject_of(origin: Remote) -> Subject:
    """Return a source on the network as it is judged."""
    has_credentials = "@" in urlsplit(origin.url).netloc
    name = shown(origin.url)
    if isinstance(origin, UrlOrigin):
        return Subject(kind=URL, name=name, checksum=origin.checksum, has_credentials=has_credentials, origin=origin)
    commit = origin.ref if re.fullmatch(_COMMIT, origin.ref) else origin.checksum
    return Subject(
        kind=GIT,
        name=name,
        ref=origin.ref,
        subdir=origin.subdir,
        checksum=commit,
        has_credentials=has_credentials,
        origin=origin,
    )


def gated(
    options: BuildOptions,
    main: BuildContext,
    inner: SourceRules | None,
    session: Session,
    sources: Callable[[], RemoteSources],
) -> SourceRules | None:
    """Return rules that keep to the policies of a build, `inner` where there are none. Raises PolicyError, UsageError.

    The main context is judged at once. What policies ask repositories and servers is what the build then uses, if
    `sources` are those of the build.
    """
    gate = gate_of(options.registry, dockerfile_of(main), session, sources)
    if gate is None:
        return inner
    environment = Environment(args=options.build_args, labels=options.labels, filename=main.name, target=options.target)
    gate.judge(replace(_context_of(options.context), environment=environment))  # also by the policy that it brings
    return GatedRules(
        gate,
        inner,
        environment,
        lambda name: packages_of(name, session, options.registry),
        lambda name, platform, digest: digest_named(session, Reference.parse(name), platform, digest),
    )


def dockerfile_of(main: BuildContext) -> Path | None:
    """Return where the Dockerfile is on this machine: beside it may be a policy. A checkout is here, too."""
    return main.beside or (main.root / main.name if isinstance(main.root, Path) else None)


def is_remote(context: str) -> bool:
    """Whether a context is fetched."""
    return is_git(context, context=True) or is_http(context)


def judge_context(options: BuildOptions, session: Session, sources: Callable[[], RemoteSources]) -> None:
    """Judge a context on the network before it is fetched. Raises PolicyError."""
    gate = gate_of(options.registry, None, session, sources) if is_remote(options.context) else None
    if gate is not None:
        gate.judge(_context_of(options.context))


def _context_of(text: str) -> Subject:
    """Return the main context as it is judged."""
    if is_git(text, context=True):
        return subject_of(parse_git(text))
    if is_http(text):
        return subject_of(UrlOrigin(url=text, filename=filename_of(text)))
    return Subject(kind=LOCAL, name=CONTEXT)


def judge_results(
    options: BuildOptions,
    request: Request,
    services: Services,
    builds: Sequence[tuple[Platform, Built]],
    lines_of: Callable[[Digest], bytes | None],
) -> None:
    """Judge what was built before it goes anywhere. Raises PolicyError."""
    rules = request.plan_options.source_rules
    if not isinstance(rules, GatedRules):
        return
    names = [*options.names, *(Reference.parse(name) for spec in options.outputs for name in spec.names)]
    lines: dict[str, Span] = {}
    for node in request.dockerfile.instructions:
        if node.keyword == USER or (node.keyword == "FROM" and USER not in lines):
            lines[USER] = node.span
        elif node.keyword == "ENV":
            lines.update(dict.fromkeys(re.findall(r"(?:^|\s)([A-Za-z_]\w*)(?==|\s)", node.value), node.span))
    for platform, built in builds:
        digest = Digest.of(built.manifest_bytes or built.config_bytes)
        subject = Subject(kind=IMAGE, name="", platform=platform, lines=lines, environment=rules.environment)
        contents = contents_of(digest, built.config, built.manifest, _packages_of(built, services, lines_of))
        rules.gate.judge_result(names, contents, subject)


def _packages_of(
    built: Built, services: Services, lines_of: Callable[[Digest], bytes | None]
) -> Callable[[], Sequence[Package]]:
    def listed() -> Sequence[Package]:
        from tiffin.builder.api.sbom.producer import SbomProducer

        own = Digest.of(built.config_bytes)  # whose lines are noted after this
        producer = SbomProducer("image", services, lambda image: built.lines if image == own else lines_of(image))
        return packages_in(producer.bill(built))

    return listed
