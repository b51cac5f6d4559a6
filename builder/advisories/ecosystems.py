"""OSV's ecosystems: which packages of an image are of one, what they are called there, and how versions compare."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from tiffin.builder.advisories.apk_versions import ApkVersion
from tiffin.builder.sbom.facts import Package, Release
from tiffin.cache.foundation.frozen import dataclass

_LANGUAGES = {  # by type of package URL
    "pypi": "PyPI",
    "npm": "npm",
    "gem": "RubyGems",
    "maven": "Maven",
    "golang": "Go",
    "cargo": "crates.io",
}
_DISTRIBUTIONS = {  # by the ID of os-release
    "debian": "Debian",
    "ubuntu": "Ubuntu",
    "alpine": "Alpine",
    "wolfi": "Wolfi",
    "chainguard": "Chainguard",
    "rocky": "Rocky Linux",
    "almalinux": "AlmaLinux",
    "rhel": "Red Hat",
    "opensuse-leap": "openSUSE",
    "sles": "SUSE",
    "mageia": "Mageia",
    "photon": "Photon OS",
    "openEuler": "openEuler",
}
SYSTEM = ("deb", "apk", "rpm")
Compared = Callable[[str], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What a package is called in an ecosystem, with the version that is compared there."""

    ecosystem: str
    name: str
    version: str


def known_as(package: Package, release: Release | None) -> Known | None:
    """Return how OSV names a package, None where it has no ecosystem for it."""
    if package.type in SYSTEM:
        name = _DISTRIBUTIONS.get(release.id) if release is not None else None
        if name is None:
            return None
        version = package.version
        if package.type == "rpm":
            epoch = dict(package.qualifiers).get("epoch")
            version = f"{epoch}:{version}" if epoch else version
            return Known(ecosystem=name, name=package.name, version=version)
        # Debian's and Alpine's advisories are about what packages are built from
        return Known(ecosystem=name, name=package.source or package.name, version=package.source_version or version)
    ecosystem = _LANGUAGES.get(package.type)
    if ecosystem is None:
        return None
    return Known(ecosystem=ecosystem, name=canonical(ecosystem, _full_name(package)), version=package.version)


def _full_name(package: Package) -> str:
    separator = ":" if package.type == "maven" else "/"
    return f"{package.namespace}{separator}{package.name}" if package.namespace else package.name


def canonical(ecosystem: str, name: str) -> str:
    """Return a name as it is compared."""
    if family(ecosystem) == "PyPI":
        return re.sub(r"[-_.]+", "-", name).lower()
    return name


def family(ecosystem: str) -> str:
    """Return an ecosystem without the release of its distribution: Debian:12 is Debian."""
    return ecosystem.partition(":")[0]


def is_for(ecosystem: str, release: Release | None) -> bool:
    """Whether advisories of an ecosystem hold for a release of the distribution: Debian:12 for 12, Alpine:v3.19 for
    3.19.1; those without a release for all.
    """
    _, _, wanted = ecosystem.partition(":")
    if not wanted or release is None or family(ecosystem) != _DISTRIBUTIONS.get(release.id):
        return not wanted or family(ecosystem) in _LANGUAGES.values()
    number = next((part.removeprefix("v") for part in wanted.split(":") if re.match(r"v?[0-9]", part)), "")
    version = release.version
    return bool(number) and (version == number or version.startswith(f"{number}."))


def versions_of(ecosystem: str) -> Compared:
    """Return what makes versions of an ecosystem comparable; it raises ValueError for what is not one."""
    from univers import versions

    classes: Mapping[str, Compared] = {
        "PyPI": versions.PypiVersion,
        "npm": versions.SemverVersion,
        "RubyGems": versions.RubygemsVersion,
        "Maven": versions.MavenVersion,
        "Go": _go_version,
        "crates.io": versions.SemverVersion,
        "Debian": versions.DebianVersion,
        "Ubuntu": versions.DebianVersion,
        "Alpine": ApkVersion,
        "Wolfi": ApkVersion,
        "Chainguard": ApkVersion,
    }
    return classes.get(family(ecosystem), versions.RpmVersion)


def _go_version(text: str) -> Any:
    from univers.versions import SemverVersion

    return SemverVersion(text.removeprefix("v").removesuffix("+incompatible"))
