"""Compose files become one document: variables, include, extends, one file over another."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tiffin.builder.compose.canonical import canonical, with_defaults, with_paths
from tiffin.builder.compose.dotenv import read_env_file
from tiffin.builder.compose.merging import as_list, extended, merge, unique
from tiffin.builder.compose.places import NOWHERE, Map, Place, Reset, Seq, settled, wrong
from tiffin.builder.compose.schema.validation import validate
from tiffin.builder.compose.variables import Substitution
from tiffin.builder.compose.yaml_files import read_yaml

STDIN = "-"
SECTIONS = ("services", "networks", "volumes", "secrets", "configs", "models")


class Loader:
    """Loads the files of one project, or of one that is included: `directory` is what relative paths begin with.

    `texts` are those of files that were read before; `prepare` is given each document as it is written.
    """

    def __init__(
        self,
        directory: str,
        environment: Mapping[str, str],
        warn: Callable[[str], None],
        *,
        interpolates: bool = True,
        included: Sequence[str] = (),
        texts: Mapping[str, str] | None = None,
        prepare: Callable[[Map], Map] = lambda raw: raw,
    ) -> None:
        self._directory = directory
        self._environment = environment
        self._warn = warn
        self._interpolates = interpolates
        self._included = tuple(included)
        self.brought: dict[str, str] = {}  # variables of included files that secrets and configs are made of
        self._texts = texts or {}
        self._prepare = prepare
        self._substitution = Substitution(environment, warn)

    def load(self, files: Sequence[str]) -> Map:
        """Return the document of several files, later ones over earlier ones. Raises ComposeError."""
        document = Map()
        for file in files:
            for raw in self._read(file):
                document = self._add(document, raw, file)
        return with_paths(with_defaults(document), self._directory)

    def _read(self, file: str) -> list[Map]:
        text = self._texts[file] if file in self._texts else read_text(file)
        return [self._filled(self._prepare(raw)) for raw in read_yaml(text, file)]

    def _filled(self, raw: Map) -> Map:
        filled = self._substitution.apply(raw) if self._interpolates else raw
        assert isinstance(filled, Map)
        return filled

    def _add(self, document: Map, raw: Map, file: str) -> Map:
        """Return `document` with what one file says on top."""
        raw = self._with_included(raw, file)
        raw = self._with_extended(raw, file)
        merged = unique(settled(merge(document, raw)))
        validate(merged)
        if "version" in merged:
            self._warn(f"{file}: the attribute `version` is obsolete, it will be ignored, please remove it")
            merged = Map(entry for entry in merged.entries() if entry[0] != "version")
        result = unique(canonical(merged))
        assert isinstance(result, Map)
        return result

    # -- include -------------------------------------------------------------------------------------------------------

    def _with_included(self, raw: Map, file: str) -> Map:
        entries = raw.get("include")
        if entries is None:
            return raw
        if not isinstance(entries, Seq):
            raise wrong("include must be a list", raw.place("include"), remedy="write - FILE")
        result = Map(entry for entry in raw.entries() if entry[0] != "include")
        for entry, place in entries.entries():
            for section, content, at in self._include(entry, place, file).entries():
                if section in SECTIONS and isinstance(content, Map):
                    result.put(
                        section, _imported(content, result.get(section), section), result.places.get(section, at)
                    )
        return result

    def _include(self, entry: Any, place: Place, file: str) -> Map:
        """Return what an entry of `include` brings. Raises ComposeError."""
        entry = entry if isinstance(entry, Map) else Map([("path", entry, place)])
        paths = [self._path(str(path), place) for path in as_list(entry.get("path"), place)]
        if not paths:
            raise wrong("include names no path", place, remedy="write path: FILE")
        directory = str(entry.get("project_directory") or "")
        directory = self._path(directory, place) if directory else os.path.dirname(paths[0])  # noqa: PTH120
        loaded = (*self._included, os.path.realpath(file))
        if os.path.realpath(paths[0]) in loaded:
            raise wrong(
                f"include goes round in a circle: {' includes '.join((*loaded, paths[0]))}", place, remedy="break it"
            )
        for path in paths:
            if not os.path.isfile(path):  # noqa: PTH113
                raise wrong(f"included file {path} is not there", place, remedy="name a file")
        environment = {**self._included_variables(entry, directory, place), **self._environment}
        loader = Loader(
            directory,
            environment,
            self._warn,
            interpolates=self._interpolates,
            included=loaded,
            prepare=self._prepare,
        )
        document = loader.load(paths)
        self._note_variables(document, {**loader.brought, **environment})
        return document

    def _note_variables(self, document: Map, environment: Mapping[str, str]) -> None:
        """Note the values of variables that secrets and configs of an included file are made of."""
        for section in ("secrets", "configs"):
            resources = document.get(section)
            for _, resource, _ in resources.entries() if isinstance(resources, Map) else ():
                name = str(resource.get("environment") or "") if isinstance(resource, Map) else ""
                if name in environment:
                    self.brought.setdefault(name, environment[name])

    def _included_variables(self, entry: Map, directory: str, place: Place) -> dict[str, str]:
        files = [self._path(str(item), place) for item in as_list(entry.get("env_file"), place)]
        usual = os.path.join(directory, ".env")  # noqa: PTH118
        if not files and os.path.isfile(usual):  # noqa: PTH113
            files = [usual]
        variables: dict[str, str] = {}
        for path in files:
            if path != os.devnull:
                variables |= read_env_file(Path(path), {**variables, **self._environment}, self._warn)
        return variables

    def _path(self, text: str, place: Place) -> str:
        if "://" in text or text.startswith(("git@", "oci:")):
            raise wrong(f"{text}: files elsewhere are not supported", place, remedy="fetch it, and name the file")
        return os.path.normpath(os.path.join(self._directory, os.path.expanduser(text)))  # noqa: PTH111, PTH118

    # -- extends -------------------------------------------------------------------------------------------------------

    def _with_extended(self, raw: Map, file: str) -> Map:
        services = raw.get("services")
        if not isinstance(services, Map):
            return raw
        result = Map(raw.entries())
        done = ((name, self._extended(name, services, file, ()), place) for name, _, place in services.entries())
        result.put("services", Map(done), raw.place("services"))
        return result

    def _extended(self, name: str, services: Map, file: str, below: tuple[tuple[str, str], ...]) -> Any:
        """Return a service with what it extends, and what that extends. Raises ComposeError."""
        service = services[name]
        if not isinstance(service, Map) or service.get("extends") is None or isinstance(service["extends"], Reset):
            return service
        place = service.place("extends")
        wanted = settled(service["extends"])
        if not isinstance(wanted, Map):
            wanted = Map([("service", wanted, place)])
        other, path = wanted.get("service"), wanted.get("file")
        if not isinstance(other, str):
            raise wrong(f"services.{name}.extends names no service", place, remedy="write service: NAME")
        here = (file, name)
        if here in below:
            raise wrong(f"services.{name}.extends goes round in a circle", place, remedy="break it")
        source, origin = services, file
        if path is not None:
            origin = self._path(str(path), place)
            source = self._elsewhere(origin, place)
        if other not in source:
            where = f" in {origin}" if path is not None else ""
            raise wrong(
                f'services.{name} extends service "{other}", which is not there{where}',
                place,
                remedy="name one that is",
            )
        base = self._extended(other, source, origin, (*below, here))
        return extended(base, service, place) if isinstance(base, Map) else service

    def _elsewhere(self, full: str, place: Place) -> Map:
        """Return the services of another file, with paths from the top: also of what they extend in turn."""
        if not os.path.isfile(full):  # noqa: PTH113
            raise wrong(f"extended file {full} is not there", place, remedy="name a file")
        directory = os.path.dirname(full)  # noqa: PTH120
        inner = Loader(directory, self._environment, self._warn, interpolates=self._interpolates, prepare=self._prepare)
        document = Map()
        for raw in inner._read(full):
            document = merge(document, raw)
        services = document.get("services")
        if not isinstance(services, Map):
            raise wrong(f"extended file {full} has no services", place, remedy="name another")
        services = Map(entry for entry in services.entries() if entry[1] is not None)
        validate(settled(Map([("services", services, document.place("services"))])))
        chosen = Map([("services", services, document.place("services"))])
        located = with_paths(canonical(unique(chosen)), directory)["services"]
        assert isinstance(located, Map)
        return located


def _imported(content: Map, own: Any, section: str) -> Map:
    """Return the resources of an included file, those of the file that includes it on top."""
    result = Map(content.entries())
    for name, value, place in own.entries() if isinstance(own, Map) else ():
        result.put(name, merge(content[name], value, (section, name), place) if name in content else value, place)
    return result


def read_text(file: str) -> str:
    """Return the text of a compose file, that on stdin for "-". Raises ComposeError."""
    try:
        data = sys.stdin.buffer.read() if file == STDIN else Path(file).read_bytes()
        return data.decode("utf-8-sig")
    except OSError as exc:
        raise wrong(f"cannot read {file}: {exc.strerror}", NOWHERE, remedy="name a compose file with -f") from exc
    except UnicodeDecodeError as exc:
        raise wrong(f"{file} is not UTF-8", NOWHERE, remedy="convert it") from exc
