"""What policies judge: sources that come in, images that go out; and what they say."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tiffin.builder.errors import PolicyError, Span
from tiffin.builder.instructions.ops import GitOrigin, UrlOrigin
from tiffin.builder.oci.config import ImageConfig
from tiffin.builder.oci.reference import Reference
from tiffin.builder.oci.spec import Platform
from tiffin.cache.foundation.frozen import dataclass, field
from tiffin.cache.foundation.typing_shim import Protocol

IMAGE, GIT, URL, LOCAL, RESULT = KINDS = ("image", "git", "url", "local", "result")
BUILD, PULL, RUN, PUSH = OPERATIONS = ("build", "pull", "run", "push")


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A package in an image, as an SBOM has it. `line`: of the Dockerfile, where it is known."""

    name: str
    version: str
    kind: str = ""  # the type of its package URL: deb, apk, pypi
    licenses: tuple[str, ...] = ()
    line: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """What a repository has under a reference: its name in full (refs/heads/…, or a commit), the object there and the
    commit that it leads to (hex), both as git keeps them; `tag` b"" where it is no annotated tag.
    """

    ref: str
    checksum: str
    commit_checksum: str
    commit: bytes
    tag: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """What a provenance says: the predicate, and of which type (a URI)."""

    predicate_type: str
    predicate: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedSignature:
    """A good signature by a certificate: `signer` has what that says, by buildx's names; `timestamps` (type, uri,
    timestamp) when logs saw it. `is_bundle`: not of cosign's first form.
    """

    signer: Mapping[str, str]
    timestamps: Sequence[Mapping[str, str]] = ()
    is_bundle: bool = True
    docker_reference: str = ""


class Evidence(Protocol):
    """Finds what is attached to an image or in it, and what is behind a name. Raises TiffinError where that cannot be
    told.
    """

    def signed_by(self, reference: Reference, digest: str, key: str) -> bool:
        """Whether a signature of the image is of this key (a PEM file)."""

    def builders(self, reference: Reference, digest: str, key: str) -> Sequence[str]:
        """Return the ids of the builders in the provenance of the image that this key (a PEM file) vouches for: it
        signed that, or an image with that.
        """

    def has_provenance(self, reference: Reference, digest: str) -> bool:
        """Whether there is a provenance of the image, signed or not, or another attestation in its index."""

    def provenance(self, reference: Reference, digest: str) -> Statement | None:
        """Return the provenance of the image, signed or not; None where there is none."""

    def signatures(self, reference: Reference, digest: str) -> Sequence[VerifiedSignature]:
        """Return good signatures of identities (Sigstore's certificates): of the image, its index, its attestations."""

    def artifact_signature(self, bundle: bytes, digest: str) -> VerifiedSignature | None:
        """Return who signed a provenance of a file, None where the bundle is not good for its digest."""

    def repository(self, origin: GitOrigin) -> Repository:
        """Ask a repository; the build uses the same commit."""

    def file(self, origin: UrlOrigin) -> Path:
        """Fetch a file; the build uses the same."""

    def image(self, reference: Reference, platform: Platform) -> Contents:
        """Look an image up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """An image that was looked at. `packages` lists what is in it; it may have to fetch its layers.

    `named`: the digest that its registry has under its name, which may be that of an index; "" where it is not known.
    """

    digest: str
    config: ImageConfig
    size_bytes: int
    named: str = ""
    packages: Callable[[], Sequence[Package]] = lambda: ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """What was asked for on the command line, as Rego sees it."""

    args: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    filename: str = ""
    target: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is judged. `name` is shown, and has no credentials; `contents` None: it was not looked at yet.

    `checksum`: of an image its digest, of a repository a commit, of a URL what --checksum says; "" where nothing says
    which bytes are meant. `lines` of a result: where the Dockerfile sets USER and each variable.
    """

    kind: str
    name: str
    operation: str = BUILD
    span: Span | None = None
    platform: Platform | None = None
    reference: Reference | None = None
    checksum: str = ""
    ref: str = ""  # of a repository
    subdir: str = ""  # of that
    has_credentials: bool = False
    origin: GitOrigin | UrlOrigin | None = None  # of what is on the network
    contents: Contents | None = None
    lines: Mapping[str, Span] = field(default_factory=dict)
    environment: Environment = Environment()

    def full_name(self) -> str:
        """Return what patterns are compared with."""
        return str(self.reference) if self.reference is not None else self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Denial:
    """One rule that is not kept: of which policy, why, what to do, and where that stands in the Dockerfile."""

    policy: str
    rule: str
    reason: str
    remedy: str
    span: Span | None = None

    def __str__(self) -> str:
        return f"{self.policy}: {self.rule}: {self.reason}"


class Judge(Protocol):
    """A policy. Raises TiffinError where it cannot judge; what it cannot judge is not allowed.

    `asks`: to judge a source it may ask the network, so what is denied already is not shown to it.
    """

    name: str
    asks: bool = False

    def judge(self, subject: Subject, evidence: Callable[[], Evidence]) -> Sequence[Denial]:
        """Return what is not kept."""

    def pin(self, subject: Subject, evidence: Callable[[], Evidence]) -> str:
        """Return the digest that an image is to have instead, "" for none."""
        return ""


def refusal(denials: Sequence[Denial], what: str) -> PolicyError:
    """Return the error that tells of denials."""
    first = denials[0]
    more = f" (and {len(denials) - 1} more: {', '.join(denial.rule for denial in denials[1:])})"
    return PolicyError(
        f"{what} is denied by policy {first}{more if len(denials) > 1 else ''}",
        rules=[f"{denial.policy}: {denial.rule}" for denial in denials],
        span=first.span,
        remedy=first.remedy,
    )
