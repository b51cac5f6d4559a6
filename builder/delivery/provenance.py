"""Provenance of an image: an in-toto statement (v1) with a predicate of SLSA (v1).

It names what was built, from what, by whom and when; with mode=max also with which arguments, labels and secrets' ids.
Values of secrets, and credentials in URLs, are in neither.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tiffin.builder.oci.json_fields import canonical
from tiffin.builder.oci.reference import Reference
from tiffin.builder.oci.spec import Platform
from tiffin.builder.solver.materials import IMAGE, Material
from tiffin.builder.version import VERSION
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.frozen import dataclass, field

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:tiffin:build:v1"
STATEMENT_MEDIA_TYPE = "application/vnd.in-toto+json"
MODES = ("min", "max")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvenanceRequest:
    """What a statement says of the build beyond its materials; `mode` is one of MODES."""

    mode: str
    builder_id: str = ""
    context: str = ""  # the URL of a context that is not local
    dockerfile: str = "Dockerfile"
    target: str = ""
    build_args: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()  # ids
    ssh: tuple[str, ...] = ()  # ids


def predicate(
    request: ProvenanceRequest, materials: Sequence[Material], platform: Platform, started: str, finished: str
) -> dict[str, object]:
    """Return the predicate; times are RFC 3339."""
    source = {"path": request.dockerfile, **({"uri": request.context} if request.context else {})}
    asked: dict[str, object] = {"target": request.target} if request.target else {}
    if request.mode == "max":
        asked |= {"args": dict(sorted(request.build_args.items())), "labels": dict(sorted(request.labels.items()))}
        asked |= {"secrets": [{"id": name} for name in request.secrets], "ssh": [{"id": name} for name in request.ssh]}
    return {
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": {"configSource": source, "request": asked},
            "internalParameters": {"builderPlatform": str(Platform.local()), "platform": str(platform)},
            "resolvedDependencies": [
                {"uri": _uri(material), "digest": {material.algorithm: material.digest}} for material in materials
            ],
        },
        "runDetails": {
            "builder": {"id": request.builder_id, "version": {"tiffin": VERSION}},
            "metadata": {"startedOn": started, "finishedOn": finished},
        },
    }


def statement(made: Mapping[str, object], names: Sequence[Reference], digest: Digest, platform: Platform) -> bytes:
    """Return the statement with the predicate `made` of an image, by its manifest's digest."""
    subjects = [{"name": _purl(str(name), platform), "digest": {digest.algorithm: digest.hex}} for name in names]
    return canonical(
        {"_type": STATEMENT_TYPE, "subject": subjects, "predicateType": PREDICATE_TYPE, "predicate": dict(made)}
    )


def _uri(material: Material) -> str:
    return _purl(material.name, material.platform) if material.kind == IMAGE else material.name


def _purl(name: str, platform: Platform | None) -> str:
    """Return a package URL of type docker, as BuildKit writes it."""
    from urllib.parse import quote

    reference = Reference.parse(name) if "://" not in name else None
    if reference is None:
        return name
    version = f"@{quote(reference.tag or str(reference.digest), safe='')}"
    query = f"?platform={quote(str(platform), safe='')}" if platform is not None else ""
    return f"pkg:docker/{reference.name.removeprefix('docker.io/library/').removeprefix('docker.io/')}{version}{query}"
