"""Who we are to a registry: the files where docker's and podman's clients keep credentials, and the helpers they name.

Nothing here stops what needs no credentials: what cannot be read or asked is noted as a problem, for the case that a
registry refuses us.
"""

from __future__ import annotations

import base64
import json
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from tiffin.builder.errors import UnauthorizedError, UsageError
from tiffin.builder.registry.auth import helpers
from tiffin.builder.registry.auth.credentials import (
    RegistryCredentials,
    decode_entry,
    exact_keys,
    host_of,
    scoped_keys,
)
from tiffin.cache.foundation.files import write_atomically

MAX_CONFIG_BYTES = 4 << 20
Read = Callable[[], dict[str, object]]


class AuthFile:
    """One document: of a file, or a variable. `read` raises ValueError, whose words hold nothing of it."""

    def __init__(self, name: str, read: Read, search_path: str, problems: list[str]) -> None:
        self._name = name
        self._read = read
        self._search_path = search_path
        self._problems = problems
        self._known: dict[str, object] | None = None

    def find(self, registry: str, repository: str) -> RegistryCredentials | None:
        """Return credentials for the narrowest part of a registry that is named here: by its own entry, a helper, or
        another name.
        """
        for key in scoped_keys(registry, repository):
            found = self._entry(key)
            if found is not None:
                return found
        found = self._ask_helper(registry)
        if found is not None:
            return found
        keys = exact_keys(registry)
        others = [key for key in self._member("auths") if key not in keys and host_of(key) == registry]
        return next((found for key in (*keys, *others) if (found := self._entry(key)) is not None), None)

    def helper_for(self, registry: str) -> tuple[str, str]:
        """Return the helper that keeps a registry's credentials, "" for none (also where the file says so), and the key
        to ask for.
        """
        named = self._member("credHelpers")
        for key in exact_keys(registry):
            if key in named:
                return str(named[key] or ""), key
        return str(self._document().get("credsStore") or ""), exact_keys(registry)[0]

    def _ask_helper(self, registry: str) -> RegistryCredentials | None:
        helper, key = self.helper_for(registry)
        if not helper:
            return None
        try:
            return helpers.get(helper, key, self._search_path)
        except UnauthorizedError as exc:
            self._problems.append(exc.message)
            return None

    def _entry(self, key: str) -> RegistryCredentials | None:
        entry = self._member("auths").get(key)
        try:
            return decode_entry(entry) if isinstance(entry, dict) else None
        except ValueError as exc:
            self._problems.append(f"the entry for {key} in {self._name} cannot be used: {exc}")
            return None

    def _member(self, name: str) -> dict[str, object]:
        value = self._document().get(name)
        return value if isinstance(value, dict) else {}

    def _document(self) -> dict[str, object]:
        if self._known is None:
            try:
                self._known = self._read()
            except ValueError as exc:
                self._known = {}
                self._problems.append(f"{self._name} cannot be read: {exc}")
        return self._known


class DockerConfig:
    """All that say who we are: `$DOCKER_AUTH_CONFIG`, `$REGISTRY_AUTH_FILE`, docker's config.json (in $DOCKER_CONFIG or
    ~/.docker), podman's auth.json, in this order. `login` writes config.json. `problems` tells what could not be
    used.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._search_path = environ.get("PATH", "")
        self.problems: list[str] = []
        folder = environ.get("DOCKER_CONFIG") or f"{environ.get('HOME', '')}/.docker"
        self._path = Path(folder) / "config.json"
        self._lock = threading.Lock()  # guards the answers: helpers are asked once
        self._answers: dict[tuple[str, str], RegistryCredentials | None] = {}
        self._files = [AuthFile(name, read, self._search_path, self.problems) for name, read in self._sources(environ)]

    @classmethod
    def load(cls, environ: Mapping[str, str]) -> DockerConfig:
        """Return what this environment names; nothing is read before it is asked for."""
        return cls(environ)

    def credentials_for(self, registry: str, repository: str = "") -> RegistryCredentials | None:
        """Return what is known for a repository; None to go anonymous."""
        with self._lock:
            asked = (registry, repository)
            if asked not in self._answers:
                found = (file.find(registry, repository) for file in self._files)
                self._answers[asked] = next((one for one in found if one is not None), None)
            return self._answers[asked]

    def save(self, registry: str, credentials: RegistryCredentials) -> str:
        """Keep credentials, in the helper if one is named; returns where.

        Raises UsageError for a config.json that is damaged, StoreError, UnauthorizedError.
        """
        document, helper, key = self._to_write(registry)
        if helper:
            secret = {"ServerURL": key, "Username": credentials.username, "Secret": credentials.password}
            helpers.run(helper, "store", json.dumps(secret), self._search_path)
            return f"docker-credential-{helper}"
        token = base64.b64encode(f"{credentials.username}:{credentials.password}".encode()).decode()
        self._write(document, {**_without(document, registry), key: {"auth": token}})
        return str(self._path)

    def erase(self, registry: str) -> bool:
        """Forget a registry's credentials, under any name of it; whether there were any."""
        document, helper, key = self._to_write(registry)
        if helper:
            helpers.run(helper, "erase", key, self._search_path)
        kept = _without(document, registry)
        if kept == document.get("auths", {}):
            return bool(helper)
        self._write(document, kept)
        return True

    def _to_write(self, registry: str) -> tuple[dict[str, object], str, str]:
        """Return config.json, and the helper and key of a registry there."""
        try:
            document = _read_file(self._path)
        except ValueError as exc:
            raise UsageError(f"{self._path} cannot be read: {exc}", remedy="repair or remove it") from None
        return document, *AuthFile(str(self._path), lambda: document, self._search_path, []).helper_for(registry)

    def _write(self, document: dict[str, object], auths: dict[str, object]) -> None:
        """Replace what a link leads to, not the link."""
        path = Path(os.path.realpath(self._path))
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(path, json.dumps({**document, "auths": auths}, indent="\t").encode() + b"\n")

    def _sources(self, environ: Mapping[str, str]) -> list[tuple[str, Read]]:
        """Return what is looked through, in order.

        In GitLab's jobs the variable is the runner's, and a login in the job counts more, as docker has it.
        """
        variable, named = environ.get("DOCKER_AUTH_CONFIG", ""), environ.get("REGISTRY_AUTH_FILE", "")
        home, runtime = environ.get("HOME", ""), environ.get("XDG_RUNTIME_DIR", "")
        given = [("DOCKER_AUTH_CONFIG", lambda: _parse(variable.encode()))] if variable else []
        own: list[tuple[str, Read]] = [(str(self._path), lambda: _read_file(self._path))]
        folders = [runtime or f"/run/containers/{os.getuid()}", environ.get("XDG_CONFIG_HOME", ""), f"{home}/.config"]
        paths = [Path(named)] if named else []
        others = [Path(folder) / "containers/auth.json" for folder in dict.fromkeys(folders) if folder.startswith("/")]
        first = [*own, *given] if environ.get("GITLAB_CI") == "true" else given
        return [
            *first,
            *((str(path), _reader(path)) for path in paths),
            *(own if own[0] not in first else ()),
            *((str(path), _reader(path)) for path in others),
        ]


def _reader(path: Path) -> Read:
    return lambda: _read_file(path)


def _read_file(path: Path) -> dict[str, object]:
    """Return a document of JSON; a file that is missing, or empty, holds nothing. Raises ValueError."""
    try:
        with path.open("rb") as stream:
            return _parse(stream.read(MAX_CONFIG_BYTES + 1))
    except FileNotFoundError:
        return {}
    except OSError as exc:
        raise ValueError(str(exc.strerror).lower()) from None


def _parse(data: bytes) -> dict[str, object]:
    if not data.strip():
        return {}
    try:
        document: object = json.loads(data)
    except (ValueError, RecursionError) as exc:
        where = f" (line {exc.lineno})" if isinstance(exc, json.JSONDecodeError) else ""
        raise ValueError(f"it is not valid JSON{where}") from None
    if not isinstance(document, dict):
        raise ValueError("it is not a JSON object")
    return document


def _without(document: Mapping[str, object], registry: str) -> dict[str, object]:
    """Return the entries of other registries, and of parts of this one."""
    auths = document.get("auths")
    keys = exact_keys(registry)
    entries = auths if isinstance(auths, dict) else {}
    return {key: value for key, value in entries.items() if key not in keys and host_of(key) != registry}
