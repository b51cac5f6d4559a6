"""An attestation: what is said of an image, as an in-toto statement (v1) says it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tiffin.builder.errors import ImageError
from tiffin.builder.oci.json_fields import Fields, canonical
from tiffin.builder.oci.reference import Reference
from tiffin.builder.oci.spec import Platform
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.frozen import dataclass, field

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
OLD_STATEMENT_TYPE = "https://in-toto.io/Statement/v0.1"
IN_TOTO = "application/vnd.in-toto+json"
PREDICATE_ANNOTATION = "in-toto.io/predicate-type"
PROVENANCE = "https://slsa.dev/provenance/v1"
OLD_PROVENANCE = "https://slsa.dev/provenance/v0.2"
SPDX = "https://spdx.dev/Document"
CYCLONEDX = "https://cyclonedx.org/bom"
NAMELESS = "_"  # BuildKit's subject of an image without a name
_PLAIN = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attestation:
    """What a producer says of one image: a predicate, and of which type (a URI) it is. `written` is the predicate in
    canonical JSON, in the place of a value: to encode a long one takes longer than a rebuild with nothing changed.
    """

    predicate_type: str
    predicate: Mapping[str, object] = field(default_factory=dict)
    written: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """A statement that was read: an attestation, of what it is by digest, and what it says of these besides."""

    attestation: Attestation
    subjects: tuple[Digest, ...]
    claims: Mapping[str, object]

    @classmethod
    def decode(cls, data: bytes) -> Statement:
        """Read a statement; raises ImageError."""
        fields = Fields.decode(data, "statement")
        if fields.text("_type") not in (STATEMENT_TYPE, OLD_STATEMENT_TYPE):
            raise fields.wrong("_type", f'"{STATEMENT_TYPE}"')
        subjects: list[Digest] = []
        claims: dict[str, object] = {}
        for child in fields.children("subject"):
            digest = child.text_map("digest").get("sha256")
            if digest is not None:
                subjects.append(Digest.parse(f"sha256:{digest}"))
                claims |= child.child("annotations").members if child.has("annotations") else {}
        if not subjects:
            raise ImageError(
                "statement.subject names nothing by sha256", remedy="the document breaks its specification"
            )
        predicate = fields.child("predicate").members if fields.has("predicate") else {}
        return cls(
            attestation=Attestation(predicate_type=fields.text("predicateType"), predicate=predicate),
            subjects=tuple(subjects),
            claims=claims,
        )


def statement(made: Attestation, names: Sequence[Reference], digest: Digest, platform: Platform | None) -> bytes:
    """Return the statement that an attestation is about an image, by its manifest's digest and its names."""
    texts = [package_url(str(name), platform) for name in names] or [NAMELESS]
    subjects = [{"name": text, "digest": {digest.algorithm: digest.hex}} for text in texts]
    head, tail = {"_type": STATEMENT_TYPE}, {"predicateType": made.predicate_type, "subject": subjects}
    predicate = made.written or canonical(made.predicate)
    return b'%b,"predicate":%b,%b' % (canonical(head)[:-1], predicate, canonical(tail)[1:])  # members in their order


def package_url(name: str, platform: Platform | None) -> str:
    """Return a package URL of type docker, as BuildKit writes it."""
    reference = Reference.parse(name) if "://" not in name else None
    if reference is None:
        return name
    version = f"@{_quoted(reference.tag or str(reference.digest))}"
    query = f"?platform={_quoted(str(platform))}" if platform is not None else ""
    return f"pkg:docker/{reference.name.removeprefix('docker.io/library/').removeprefix('docker.io/')}{version}{query}"


def _quoted(text: str) -> str:
    """Return a text as URLs have it. urllib is not loaded: that takes a quarter of what a rebuild does for this."""
    return "".join(chr(byte) if chr(byte) in _PLAIN else f"%{byte:02X}" for byte in text.encode())
