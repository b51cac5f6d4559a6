"""Who we are to a registry: Docker's config.json, credential helpers, and what they say. No sockets here."""

from __future__ import annotations

import base64
import binascii
import json
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from builder.errors import UnauthorizedError, UsageError
from builder.programs import find_program
from cache.files import write_atomically
from cache.values import dataclass, field

HUB_AUTH_KEY = "https://index.docker.io/v1/"  # where Docker keeps the credentials of docker.io
HELPER_TIMEOUT_SECONDS = 60
MAX_CONFIG_BYTES = 4 << 20
TOKEN_USER = "<token>"  # a helper's user name that says the secret is an identity token
_HELPER_NAME = re.compile(r"[A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """A user name and secret, or an identity token to trade for access tokens. Never shown."""

    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)

    @property
    def basic(self) -> str:
        """The value of a Basic Authorization header."""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


class DockerConfig:
    """`config.json` of Docker's client, in $DOCKER_CONFIG or ~/.docker."""

    def __init__(self, path: Path, document: dict[str, object], search_path: str) -> None:
        self._path = path
        self._document = document
        self._search_path = search_path

    @classmethod
    def load(cls, environ: Mapping[str, str]) -> DockerConfig:
        """Read the file; a missing one is empty. Raises UsageError for a damaged one."""
        folder = environ.get("DOCKER_CONFIG") or f"{environ.get('HOME', '')}/.docker"
        path = Path(folder) / "config.json"
        document: object = {}
        try:
            with path.open("rb") as stream:
                document = json.loads(stream.read(MAX_CONFIG_BYTES))
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            document = {}
        except (OSError, ValueError, RecursionError) as exc:
            raise UsageError(f"cannot read {path}: {exc}", remedy="repair or remove it") from exc
        if not isinstance(document, dict):
            raise UsageError(f"{path} is no JSON object", remedy="repair or remove it")
        return cls(path, document, environ.get("PATH", ""))

    def credentials_for(self, registry: str, repository: str = "") -> Credentials | None:
        """From the registry's helper, the common store, or the file itself; None to go anonymous."""
        keys = _keys(registry)
        helpers = self._member("credHelpers")
        for key in keys:
            helper = helpers.get(key)
            if isinstance(helper, str):
                return self._ask(helper, key)
        store = self._document.get("credsStore")
        auths = self._member("auths")
        if isinstance(store, str) and store:
            found = self._ask(store, keys[0])
            if found is not None:
                return found
        for key, entry in auths.items():
            if _host_of(key) in {_host_of(item) for item in keys} and isinstance(entry, dict):
                found = _decode(entry)
                if found is not None:
                    return found
        return None

    def save(self, registry: str, credentials: Credentials) -> str:
        """Keep credentials, in the helper if one is named; returns where. Raises StoreError, UnauthorizedError."""
        key = _keys(registry)[0]
        helper = self._helper_for(key)
        if helper:
            secret = {"ServerURL": key, "Username": credentials.username, "Secret": credentials.password}
            self._run(helper, "store", json.dumps(secret))
            return f"docker-credential-{helper}"
        token = base64.b64encode(f"{credentials.username}:{credentials.password}".encode()).decode()
        self._document["auths"] = {**self._member("auths"), key: {"auth": token}}
        self._write()
        return str(self._path)

    def erase(self, registry: str) -> bool:
        """Forget a registry's credentials; whether there were any."""
        key = _keys(registry)[0]
        helper = self._helper_for(key)
        if helper:
            self._run(helper, "erase", key)
            return True
        auths = self._member("auths")
        if key not in auths:
            return False
        self._document["auths"] = {name: value for name, value in auths.items() if name != key}
        self._write()
        return True

    def _member(self, name: str) -> dict[str, object]:
        value = self._document.get(name)
        return value if isinstance(value, dict) else {}

    def _helper_for(self, key: str) -> str:
        helper = self._member("credHelpers").get(key) or self._document.get("credsStore")
        return helper if isinstance(helper, str) else ""

    def _write(self) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(self._path, json.dumps(self._document, indent="\t").encode() + b"\n")

    def _ask(self, helper: str, key: str) -> Credentials | None:
        answer = self._run(helper, "get", key)
        if answer is None:
            return None
        try:
            document = json.loads(answer)
            username, secret = str(document["Username"]), str(document["Secret"])
        except (ValueError, KeyError, TypeError, RecursionError) as exc:
            raise UnauthorizedError(
                f"docker-credential-{helper} gave an unreadable answer", remedy="check the helper, or remove it"
            ) from exc
        if username == TOKEN_USER:
            return Credentials(identity_token=secret)
        return Credentials(username=username, password=secret)

    def _run(self, helper: str, verb: str, text: str) -> str | None:
        """Run a helper; None when it has no credentials. It is never looked up in the current directory."""
        program = (
            find_program(f"docker-credential-{helper}", self._search_path) if _HELPER_NAME.fullmatch(helper) else ""
        )
        if not program:
            raise UnauthorizedError(
                f"docker-credential-{helper} is not installed", remedy="install it, or remove it from config.json"
            )
        try:
            done = subprocess.run(
                [program, verb], input=text, capture_output=True, text=True, timeout=HELPER_TIMEOUT_SECONDS, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as exc:
            raise UnauthorizedError(f"docker-credential-{helper} failed: {exc}", remedy="run it by hand") from exc
        if done.returncode == 0:
            return done.stdout
        if verb == "get" and "not found" in done.stdout.lower():
            return None
        reason = (done.stdout or done.stderr).strip().splitlines()
        raise UnauthorizedError(
            f"docker-credential-{helper} failed: {reason[0] if reason else done.returncode}", remedy="run it by hand"
        )


def _keys(registry: str) -> tuple[str, ...]:
    return (HUB_AUTH_KEY, "docker.io", "index.docker.io") if registry == "docker.io" else (registry,)


def _host_of(key: str) -> str:
    """Keys are hosts, or URLs as old clients wrote them."""
    return key.split("://", 1)[-1].split("/", 1)[0]


def _decode(entry: Mapping[str, object]) -> Credentials | None:
    token = entry.get("identitytoken")
    if isinstance(token, str) and token:
        return Credentials(identity_token=token)
    auth = entry.get("auth")
    if isinstance(auth, str) and auth:
        try:
            username, _, password = base64.b64decode(auth, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return None
        return Credentials(username=username, password=password.rstrip("\0"))
    name, secret = entry.get("username"), entry.get("password")
    if isinstance(name, str) and isinstance(secret, str) and name:
        return Credentials(username=name, password=secret)
    return None
