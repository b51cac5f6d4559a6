"""Package URLs (purl-spec), as syft and Docker's scanner write them."""

from __future__ import annotations

from collections.abc import Mapping

from tiffin.builder.sbom.facts import Package, Release
from tiffin.cache.foundation.frozen import dataclass

_SYSTEM = ("deb", "apk", "rpm")
_NAMESPACES: Mapping[str, str] = {"deb": "debian", "apk": "alpine"}  # where nothing says which distribution it is


def package_url(package: Package, release: Release | None) -> str:
    """Return the URL of a package in an image of that distribution."""
    from packageurl import PackageURL

    namespace, qualifiers = package.namespace, dict(package.qualifiers)
    if package.type in _SYSTEM:
        namespace = release.id if release is not None else _NAMESPACES.get(package.type, "")
        qualifiers |= {"arch": package.architecture, "distro": _distro(release)}
        if package.source:
            version = f"@{package.source_version}" if package.source_version else ""
            qualifiers.setdefault("upstream", f"{package.source}{version}")
    made = PackageURL(
        type=package.type,
        namespace=namespace or None,
        name=package.name,
        version=package.version or None,
        qualifiers={name: value for name, value in qualifiers.items() if value} or None,
    )
    return str(made.to_string())


def _distro(release: Release | None) -> str:
    if release is None:
        return ""
    return f"{release.id}-{release.version or release.codename}".rstrip("-")


def covers(wanted: str, purl: str) -> bool:
    """Whether a package URL that may leave out version and qualifiers means another; one that is none means nothing."""
    from packageurl import PackageURL

    try:
        one, other = PackageURL.from_string(wanted), PackageURL.from_string(purl)
    except ValueError:
        return False
    if (one.type, one.namespace, one.name) != (other.type, other.namespace, other.name):
        return False
    told = dict(other.qualifiers or {})
    same = all(_agree(name, value, told.get(name, "")) for name, value in dict(one.qualifiers or {}).items())
    return same and (not one.version or one.version == other.version)


def _agree(name: str, wanted: str, told: str) -> bool:
    """Whether a qualifier is what is wanted; a distribution may be told with its point release (debian-12.13)."""
    if name == "distro" and told and wanted:
        return f"{told}.".startswith(f"{wanted}.") or f"{wanted}.".startswith(f"{told}.")
    return told == wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedUrl:
    """The parts of a package URL; `path` is namespace and name."""

    type: str
    path: str
    version: str
    qualifiers: Mapping[str, str]


def parsed(text: str) -> ParsedUrl | None:
    """Return the parts of a package URL, None for what is not one."""
    from packageurl import PackageURL

    try:
        found = PackageURL.from_string(text)
    except ValueError:
        return None
    path = f"{found.namespace}/{found.name}" if found.namespace else str(found.name)
    told = {str(name): str(value) for name, value in dict(found.qualifiers or {}).items()}
    return ParsedUrl(type=str(found.type), path=path, version=str(found.version or ""), qualifiers=told)
