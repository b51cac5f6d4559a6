"""The software of a whole image: what its layers tell, merged as their files are.

A file that an upper layer hides or replaces tells nothing any more. A package comes from the lowest layer since which
the same version has been there without a break.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tiffin.builder.layer.index import LayerIndex, MergedTree
from tiffin.builder.sbom.facts import LayerRecord, LicenceNote, OwnedFiles, Package, Release, Unread
from tiffin.builder.sbom.purls import package_url
from tiffin.cache.foundation.frozen import dataclass, replace

_RELEASES = ("etc/os-release", "usr/lib/os-release")  # in the order in which they count


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """A package of an image. `purl` tells it from others; `paths` are the files that tell of it, `layer` the number of
    the layer that brought it, bottom 0; `owner` the package of the system that its files are of, "" for none.
    """

    package: Package
    purl: str
    paths: tuple[str, ...]
    layer: int
    owner: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """All software of an image, by type and name. `unread`: files that tell of packages and were not read, and why."""

    components: tuple[Component, ...]
    release: Release | None
    unread: tuple[tuple[str, str], ...]


class _Merged:
    """The records of layers, and which of their files are to be seen."""

    def __init__(self, records: Sequence[LayerRecord], tables: Sequence[LayerIndex]) -> None:
        self._records = records
        self._tables = tables
        tree = MergedTree(tables)
        self.visible = {
            path: number
            for number, record in enumerate(records)
            for path in record.facts
            if (located := tree.lookup(path)) is not None and located.layer == number
        }

    def facts(self, path: str) -> Sequence[object]:
        return self._records[self.visible[path]].facts[path]

    def origin(self, path: str, package: Package) -> int:
        """Return the layer that brought a package which the file at `path` tells of."""
        found = top = self.visible[path]
        for number in range(top - 1, -1, -1):
            known = _identities(self._records[number].facts.get(path))
            if known is None:
                if path in self._tables[number].by_path:
                    break  # it was removed in between, or told of nothing
                continue
            if _identity(package) not in known:
                break
            found = number
        return found


def take_stock(records: Sequence[LayerRecord], tables: Sequence[LayerIndex]) -> Inventory:
    """Return the software of an image, from what its layers tell, bottom first."""
    merged = _Merged(records, tables)
    licences: dict[str, str] = {}
    owners: dict[str, str] = {}
    releases: dict[str, Release] = {}
    unread = []
    for path in merged.visible:
        for fact in merged.facts(path):
            match fact:
                case LicenceNote():
                    licences[fact.package] = fact.licence
                case OwnedFiles():
                    owners |= dict.fromkeys(fact.paths, fact.package)
                case Release():
                    releases[path] = fact
                case Unread():
                    unread.append((path, fact.reason))
    release = next((releases[path] for path in _RELEASES if path in releases), None)
    components = _components(merged, licences, owners, release)
    return Inventory(components=components, release=release, unread=tuple(sorted(unread)))


def _components(
    merged: _Merged, licences: Mapping[str, str], owners: Mapping[str, str], release: Release | None
) -> tuple[Component, ...]:
    """Return all packages; one that several files tell of is one, which the lowest of their layers brought."""
    found: dict[str, Component] = {}
    for path in sorted(merged.visible):
        for fact in merged.facts(path):
            if not isinstance(fact, Package):
                continue
            package = fact
            if package.type == "deb" and not package.licence and package.name in licences:
                package = replace(package, licence=licences[package.name])
            purl = package_url(package, release)
            layer, known = merged.origin(path, fact), found.get(purl)
            owner = owners.get(path, owners.get(path.rpartition("/")[0], ""))
            if known is None:
                found[purl] = Component(package=package, purl=purl, paths=(path,), layer=layer, owner=owner)
            elif path not in known.paths:
                # files of which one is nobody's make the package nobody's
                both = known.owner if owner else ""
                found[purl] = replace(known, paths=(*known.paths, path), layer=min(layer, known.layer), owner=both)
    return tuple(sorted(found.values(), key=lambda item: (item.package.type, item.package.name, item.purl)))


def _identity(package: Package) -> tuple[str, ...]:
    return (package.type, package.namespace, package.name, package.version, package.architecture)


def _identities(facts: Sequence[object] | None) -> frozenset[tuple[str, ...]] | None:
    """Return the packages that facts tell of; None where there are no facts."""
    if facts is None:
        return None
    return frozenset(_identity(fact) for fact in facts if isinstance(fact, Package))
