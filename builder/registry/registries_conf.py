"""registries.conf, as podman, buildah and skopeo read it (containers-registries.conf(5), version 2): mirrors, other
places, blocked names.

$CONTAINERS_REGISTRIES_CONF names the only file; else the user's counts, or the machine's, and then the `*.conf` of the
directories beside both. Mirrors of docker.io may be named as dockerd does (`--registry-mirror`); they come first. Names
without a registry stay docker.io's, as docker has it, but for aliases: those of distributions' lists
(`*shortnames.conf`) are not read, as they would make another image of `FROM fedora` than docker does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tiffin.builder.errors import ImageError, UsageError
from tiffin.builder.oci.reference import DOCKER_HUB, Reference
from tiffin.cache.foundation.frozen import dataclass, field, replace

VARIABLE = "CONTAINERS_REGISTRIES_CONF"
MACHINE = "/etc/containers/registries.conf"
LISTS_OF_DISTRIBUTIONS = "shortnames.conf"
MAX_BYTES = 1 << 20
ALL, DIGEST_ONLY, TAG_ONLY = "all", "digest-only", "tag-only"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where images of a prefix lie: HOST[:PORT][/PATH]. `pulls` says for which references a mirror is asked."""

    location: str
    insecure: bool = False
    pulls: str = ALL


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryRule:
    """One [[registry]]. `prefix` is the beginning of names, or *.DOMAIN."""

    prefix: str
    place: Place
    mirrors: tuple[Place, ...] = ()
    blocked: bool = False
    only_mirrors: bool = False
    source: str = ""  # the file


@dataclass(frozen=True, slots=True, kw_only=True)
class Registries:
    """What the files say together."""

    rules: tuple[RegistryRule, ...] = ()
    aliases: Mapping[str, str] = field(default_factory=dict)

    def sources(self, reference: Reference) -> list[Reference]:
        """Return where to ask for an image, mirrors first; raises ImageError for a name that is blocked."""
        rule = self._rule(reference)
        if rule is None:
            return [reference]
        if rule.blocked:
            raise ImageError(
                f'images of "{rule.prefix}" are blocked',
                remedy=f"use another registry, or take blocked=true out of {rule.source}",
            )
        unwanted = TAG_ONLY if reference.digest is not None else DIGEST_ONLY
        places = [mirror for mirror in rule.mirrors if mirror.pulls != unwanted]
        if not (places and rule.only_mirrors):
            places.append(rule.place)
        return list(dict.fromkeys(_moved(reference, rule.prefix, place.location) for place in places))

    def alias(self, text: str) -> str:
        """Return what a name stands for: the same, but for a short name that has an alias."""
        match = re.fullmatch(r"([^:@]+)([:@].*)?", text)
        return self.aliases.get(match[1], match[1]) + (match[2] or "") if match else text

    def insecure(self) -> tuple[str, ...]:
        """Return the hosts that are named insecure."""
        places = [place for rule in self.rules for place in (rule.place, *rule.mirrors) if place.insecure]
        return tuple(dict.fromkeys(place.location.partition("/")[0] for place in places))

    def with_mirrors(
        self, urls: Sequence[str], *, host: str = DOCKER_HUB, source: str = "--registry-mirror"
    ) -> Registries:
        """Add mirrors of a registry, as dockerd names them: asked before any other. Raises UsageError."""
        if not urls:
            return self
        mirrors = tuple(_mirror_of(url, source) for url in urls)
        own = RegistryRule(prefix=host, place=Place(location=host), source=source)
        if not any(rule.prefix == host for rule in self.rules):
            return replace(self, rules=(*self.rules, replace(own, mirrors=mirrors)))
        rules = (
            replace(rule, mirrors=(*mirrors, *rule.mirrors)) if rule.prefix == host else rule for rule in self.rules
        )
        return replace(self, rules=tuple(rules))

    def without_places_of_mirrors(self) -> Registries:
        """Ask a registry that has mirrors never itself."""
        return replace(self, rules=tuple(replace(rule, only_mirrors=True) for rule in self.rules))

    def _rule(self, reference: Reference) -> RegistryRule | None:
        """Return the longest prefix that names the reference."""
        found = [rule for rule in self.rules if _matched(str(reference), rule.prefix)]
        return max(found, key=lambda rule: len(rule.prefix), default=None)


def read_registries(environ: Mapping[str, str]) -> Registries:
    """Read all registries.conf files there are. Raises UsageError naming a file at fault."""
    rules: dict[str, RegistryRule] = {}
    aliases: dict[str, str] = {}
    for path in _files(environ):
        document = _read(path)
        if document is None:
            continue
        for table in _tables(document.get("registry", []), path, "registry"):
            rule = _rule_of(table, path)
            rules[rule.prefix] = rule
        named = document.get("aliases", {})
        if isinstance(named, dict) and not path.name.endswith(LISTS_OF_DISTRIBUTIONS):
            aliases |= {str(name): str(value) for name, value in named.items()}
    return Registries(rules=tuple(rules.values()), aliases={name: value for name, value in aliases.items() if value})


def _files(environ: Mapping[str, str]) -> Iterator[Path]:
    if environ.get(VARIABLE):
        yield Path(environ[VARIABLE])
        return
    home = environ.get("XDG_CONFIG_HOME") or (f"{environ['HOME']}/.config" if environ.get("HOME") else "")
    own = Path(home or "/nonexistent") / "containers/registries.conf"
    yield own if own.exists() else Path(MACHINE)
    for folder in (Path(f"{MACHINE}.d"), own.with_name("registries.conf.d")):
        try:
            yield from sorted(path for path in folder.iterdir() if path.suffix == ".conf")
        except OSError:
            continue


def _read(path: Path) -> dict[str, object] | None:
    import tomllib

    try:
        with path.open("rb") as stream:
            return tomllib.loads(stream.read(MAX_BYTES).decode())
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
    except (OSError, ValueError) as exc:
        raise UsageError(f"cannot read {path}: {exc}", remedy="repair it, or name another in $" + VARIABLE) from exc


def _rule_of(table: Mapping[str, object], path: Path) -> RegistryRule:
    location, prefix = _text(table, "location", path), _text(table, "prefix", path)
    if not (location or prefix) or (not location and not prefix.startswith("*.")):
        raise UsageError(f"{path}: a [[registry]] has no location", remedy='write location = "HOST/PATH"')
    only_digests = table.get("mirror-by-digest-only") is True
    mirrors = tuple(
        Place(
            location=_text(mirror, "location", path).rstrip("/"),
            insecure=mirror.get("insecure") is True,
            pulls=DIGEST_ONLY if only_digests else _text(mirror, "pull-from-mirror", path) or ALL,
        )
        for mirror in _tables(table.get("mirror", []), path, "registry.mirror")
    )
    for mirror in mirrors:
        if not mirror.location or mirror.pulls not in (ALL, DIGEST_ONLY, TAG_ONLY):
            raise UsageError(
                f'{path}: a mirror of "{prefix or location}" has no location, or pull-from-mirror = "{mirror.pulls}"',
                remedy=f'write location = "HOST/PATH"; pull-from-mirror is {ALL}, {DIGEST_ONLY} or {TAG_ONLY}',
            )
    return RegistryRule(
        prefix=(prefix or location).rstrip("/"),
        place=Place(location=location.rstrip("/"), insecure=table.get("insecure") is True),
        mirrors=mirrors,
        blocked=table.get("blocked") is True,
        source=str(path),
    )


def _tables(value: object, path: Path, name: str) -> list[dict[str, object]]:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise UsageError(f"{path}: {name} is not a list of tables", remedy=f"write [[{name}]]")
    return value


def _text(table: Mapping[str, object], name: str, path: Path) -> str:
    value = table.get(name, "")
    if not isinstance(value, str):
        raise UsageError(f"{path}: {name} is not text", remedy=f'write {name} = "…"')
    return value


def _mirror_of(url: str, source: str) -> Place:
    scheme, _, rest = url.rpartition("://")
    location = rest.rstrip("/")
    if scheme not in ("", "http", "https") or not location or "@" in location:
        raise UsageError(f"{source} {url.rpartition('@')[2]} is not a valid mirror", remedy="write https://HOST[:PORT]")
    return Place(location=location, insecure=scheme == "http")


def _matched(name: str, prefix: str) -> int:
    """Return how much of a full name a prefix names, 0 for nothing: whole components, or with *. a domain below it."""
    if prefix.startswith("*."):
        host = name.partition("/")[0]
        return len(host) if host.partition(":")[0].endswith(prefix[1:]) else 0
    return len(prefix) if name == prefix or (name.startswith(prefix) and name[len(prefix)] in "/:@") else 0


def _moved(reference: Reference, prefix: str, location: str) -> Reference:
    """Return a reference with what the prefix names replaced; without a location it stays."""
    text = str(reference)
    return Reference.parse(location + text[_matched(text, prefix) :]) if location else reference
