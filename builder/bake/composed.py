"""Compose files as bake takes them: each service with a build is a target."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tiffin.builder.bake.definition import DEFAULT, Config, Group, Target
from tiffin.builder.bake.entries import attest_entry, attest_text, cache_entries, export_entry, secret_entry, ssh_entry
from tiffin.builder.bake.fields import (
    ARGS,
    ATTEST,
    CACHE_FROM,
    CACHE_TO,
    CONTEXT,
    CONTEXTS,
    DOCKERFILE,
    EXTRA_HOSTS,
    INLINE,
    LABELS,
    NETWORK,
    NO_CACHE,
    NO_CACHE_FILTER,
    OUTPUT,
    PLATFORMS,
    PULL,
    SECRET,
    SHM_SIZE,
    SSH,
    STAGE,
    TAGS,
    ULIMITS,
)  # fmt: skip
from tiffin.builder.bake.hcl.faults import ExpressionError
from tiffin.builder.bake.places import TARGET, directory_of, rebased
from tiffin.builder.compose.dotenv import read_env_file
from tiffin.builder.compose.finding import name_in
from tiffin.builder.compose.loading import Loader
from tiffin.builder.compose.merging import text_of
from tiffin.builder.compose.normal import as_map, as_seq
from tiffin.builder.compose.places import Map, wrong
from tiffin.builder.compose.yaml_files import read_yaml
from tiffin.builder.errors import ComposeError
from tiffin.builder.options import size_bytes

if TYPE_CHECKING:
    from tiffin.builder.bake.files import File, Surroundings

KEPT, KEPT_OF_SERVICES = ("services", "secrets", "include"), ("image", "build", "environment", "env_file", "extends")
SERVICE = "service:"
X_BAKE = "x-bake"
PROJECT = "bake"
UNITS = ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"), (1, "B"))


def has_services(file: File) -> bool:
    """Whether a text is YAML with services."""
    try:
        return any("services" in document for document in read_yaml(file.text, file.name))
    except ComposeError:
        return False


def read_compose(files: Sequence[File], surroundings: Surroundings, warn: Callable[[str], None]) -> Config:
    """Return the targets of compose files and the group of them all. Raises ComposeError."""
    environment = _environment(surroundings, warn)
    texts = {file.name: file.text for file in files}
    documents = [document for file in files for document in read_yaml(file.text, file.name)]
    if name := name_in(documents, environment):
        environment["COMPOSE_PROJECT_NAME"] = name
    loader = Loader("", environment, lambda _: None, texts=texts, prepare=_builds_only)
    document = loader.load([file.name for file in files])
    services = as_map(document.get("services"))
    if not services and not document.get("secrets"):
        raise wrong("empty compose file", None, remedy="give it services:")
    reader = _Reader(as_map(document.get("secrets")), environment)
    base = directory_of(files[0].name) if surroundings.is_relative else None
    targets: dict[str, Target] = {}
    for name, service, place in services.entries():
        if as_map(service).get("build") is None:
            if not as_map(service).get("image"):
                raise wrong(
                    f'service "{name}" has neither an image nor a build context specified: invalid compose project',
                    place,
                    remedy="give it build: or image:",
                )
            continue
        target = name.replace(".", "_")
        try:
            values = reader.values(as_map(service))
        except ExpressionError as exc:
            raise wrong(f"services.{name}.build: {exc.message}", place, remedy=exc.remedy) from exc
        targets[target] = Target(name=target, values=_placed(values, base), directory=base)
    group = Group(name=DEFAULT, targets=list(targets))
    return Config(targets=targets, groups={DEFAULT: group} if services else {})


def _builds_only(raw: Map) -> Map:
    """Return a document without what says nothing of builds, which may then be as it likes."""
    kept = Map(entry for entry in raw.entries() if entry[0] in KEPT)
    services = kept.get("services")
    if isinstance(services, Map):
        cut = Map()
        for name, service, place in services.entries():
            if isinstance(service, Map):
                service = Map(entry for entry in service.entries() if entry[0] in KEPT_OF_SERVICES)
            cut.put(name, Map() if service is None else service, place)
        kept.put("services", cut, kept.place("services"))
    return kept


def _environment(surroundings: Surroundings, warn: Callable[[str], None]) -> dict[str, str]:
    known = dict(surroundings.environ)
    file = Path(surroundings.directory) / ".env"
    below = read_env_file(file, known, warn) if file.is_file() else {}
    return {"COMPOSE_PROJECT_NAME": PROJECT, **below, **known, **surroundings.given}


def _placed(values: dict[str, Any], base: str | None) -> dict[str, Any]:
    if base is None:
        return values
    placed = dict(values)
    if CONTEXT in values:
        placed[CONTEXT] = rebased(base, values[CONTEXT])
    if CONTEXTS in values:
        placed[CONTEXTS] = {name: rebased(base, place) for name, place in values[CONTEXTS].items()}
    return placed


class _Reader:
    """Reads the builds of services."""

    def __init__(self, secrets: Map, environment: Mapping[str, str]) -> None:
        self._secrets = secrets
        self._environment = environment

    def values(self, service: Map) -> dict[str, Any]:
        """Return the attributes of a service's target. Raises ExpressionError."""
        build = as_map(service["build"])
        tags = _texts(build, "tags") or ([str(service["image"])] if service.get("image") else [])
        found = {
            CONTEXT: build.get("context"),
            DOCKERFILE: build.get("dockerfile") or None,
            INLINE: build.get("dockerfile_inline") or None,
            STAGE: build.get("target") or None,
            NETWORK: build.get("network") or None,
            CONTEXTS: _contexts(as_map(build.get("additional_contexts"))),
            ARGS: self._args(build, service),
            LABELS: _pairs(build, "labels"),
            TAGS: tags,
            PLATFORMS: _texts(build, "platforms"),
            CACHE_FROM: [entry for text in _texts(build, "cache_from") for entry in cache_entries(text)],
            CACHE_TO: [entry for text in _texts(build, "cache_to") for entry in cache_entries(text)],
            SSH: _sorted_ssh([ssh_entry(text) for text in _ssh_texts(build)]),
            SECRET: [self._secret(as_map(item)) for item in as_seq(build.get("secrets"))],
            SHM_SIZE: _size(build.get("shm_size")),
            ULIMITS: _ulimits(as_map(build.get("ulimits"))),
            EXTRA_HOSTS: _hosts(build.get("extra_hosts")),
            ATTEST: [
                attest_entry(attest_text(kind, text_of(build[kind])))
                for kind in ("sbom", "provenance")
                if build.get(kind) not in (None, "")
            ],
            NO_CACHE: True if text_of(build.get("no_cache", "")) == "true" else None,
            PULL: True if text_of(build.get("pull", "")) == "true" else None,
        }
        given = {name: value for name, value in found.items() if value not in (None, [], {})}
        return _extended(given, as_map(build.get(X_BAKE)))

    def _args(self, build: Map, service: Map) -> dict[str, str]:
        """Return build arguments; those without a value have it from the service or from the caller."""
        found: dict[str, str] = {}
        environment: dict[str, Any] = {}
        for item in as_seq(service.get("env_file")):
            path = Path(text_of(item.get("path")))
            if path.is_file():
                environment |= read_env_file(path, {**environment, **self._environment}, lambda _: None)
        environment |= as_map(service.get("environment"))
        for name, value in as_map(build.get("args")).items():
            if value is None:
                value = environment.get(name)
            if value is None:
                value = self._environment.get(name)
            if value is not None:
                found[name] = text_of(value)
        return found

    def _secret(self, used: Map) -> dict[str, Any]:
        name = str(used.get("source", ""))
        if name not in self._secrets:
            raise ExpressionError(f'refers to undefined build secret "{name}"', remedy="declare it in secrets:")
        secret = as_map(self._secrets.get(name))
        if text_of(secret.get("external", "")) == "true":
            raise ExpressionError(f"unsupported external secret {name}", remedy="give it file: or environment:")
        return secret_entry({"id": name, "src": secret.get("file"), "env": secret.get("environment")})


def _extended(values: dict[str, Any], extension: Map) -> dict[str, Any]:
    """Return attributes with what x-bake says on top. Raises ExpressionError."""
    target = Target(name="", values=values)
    lists: Mapping[str, Callable[[str], list[Any]]] = {
        TAGS: lambda text: [text],
        PLATFORMS: lambda text: [text],
        NO_CACHE_FILTER: lambda text: [text],
        CACHE_FROM: cache_entries,
        CACHE_TO: cache_entries,
        SECRET: lambda text: [secret_entry(text)],
        SSH: lambda text: [ssh_entry(text)],
        OUTPUT: lambda text: [export_entry(text)],
    }
    made = dict(target.values)
    for name, read in lists.items():
        items = extension.get(name)
        texts = items.split() if isinstance(items, str) else [text_of(item) for item in as_seq(items)]
        added = [entry for text in texts for entry in read(text)]
        if added:
            made[name] = [*made.get(name, ()), *added]
    if SSH in made:
        made[SSH] = _sorted_ssh(made[SSH])
    for name in (PULL, NO_CACHE):
        if extension.get(name) is not None:
            made[name] = text_of(extension[name]) == "true"
    if extension.get(CONTEXTS):
        made[CONTEXTS] = {**_contexts(as_map(extension[CONTEXTS])), **made.get(CONTEXTS, {})}
    return dict(Target(name="", values=made).normal().values)


def _texts(build: Map, key: str) -> list[str]:
    return [text_of(item) for item in as_seq(build.get(key))]


def _pairs(build: Map, key: str) -> dict[str, str]:
    return {name: "" if value is None else text_of(value) for name, value in as_map(build.get(key)).items()}


def _contexts(given: Map) -> dict[str, str]:
    """Return named contexts; those that are services are targets."""
    found = {}
    for name, value in given.items():
        place = text_of(value)
        for prefix in (SERVICE, TARGET):
            if place.startswith(prefix):
                place = TARGET + place.removeprefix(prefix).replace(".", "_")
                break
        found[name] = place
    return found


def _sorted_ssh(entries: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(entries, key=lambda entry: (entry["id"], entry.get("paths", [])))


def _ssh_texts(build: Map) -> list[str]:
    given = build.get("ssh")
    if isinstance(given, Map):
        return [f"{name}={value}" if value not in (None, "") else name for name, value in given.items()]
    return [text_of(item) for item in as_seq(given)]


def _size(given: Any) -> str | None:
    """Return a size as buildx prints it."""
    size = size_bytes(text_of(given)) if given not in (None, "", 0) else 0
    if not size:
        return None
    unit, name = next(pair for pair in UNITS if size >= pair[0])
    return f"{size / unit:.4g}{name}"


def _ulimits(given: Map) -> list[str]:
    found = []
    for name, value in given.items():
        soft, hard = (value.get("soft"), value.get("hard")) if isinstance(value, Map) else (value, value)
        found.append(f"{name}={text_of(soft)}:{text_of(hard)}")
    return found


def _hosts(given: Any) -> dict[str, str]:
    found: dict[str, list[str]] = {}
    pairs = given.items() if isinstance(given, Map) else [text_of(item).partition("=")[::2] for item in as_seq(given)]
    for name, addresses in pairs:
        every = as_seq(addresses) if not isinstance(addresses, str) else [addresses]
        found.setdefault(name, []).extend(text_of(item) for item in every)
    return {name: ",".join(addresses) for name, addresses in found.items()}
