"""What proves who we are to a registry, and the names under which files keep it. No files and no sockets here."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping

from tiffin.builder.errors import UsageError
from tiffin.cache.foundation.frozen import dataclass, field

HUB = "docker.io"
HUB_AUTH_KEY = "https://index.docker.io/v1/"  # where Docker keeps the credentials of docker.io
HUB_NAMES = (HUB, "index.docker.io", "registry-1.docker.io")
API_PATHS = ("", "v1", "v2")  # behind a host in keys that old clients wrote


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryCredentials:
    """A user name and secret, or an identity token to trade for access tokens. Never shown."""

    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)

    @property
    def basic(self) -> str:
        """The value of a Basic Authorization header."""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


def decode_entry(entry: Mapping[str, object]) -> RegistryCredentials | None:
    """Return one of `auths`; None for one without credentials. Raises ValueError for one that cannot be read."""
    token = entry.get("identitytoken")
    if isinstance(token, str) and token:
        return RegistryCredentials(identity_token=token)
    auth = entry.get("auth")
    if isinstance(auth, str) and auth.strip():
        try:  # some tools break base64 into lines, or leave its end out
            text = "".join(auth.split())
            plain = base64.b64decode(text + "=" * (-len(text) % 4), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise ValueError("it is not base64") from None  # nothing of it may be told
        username, colon, password = plain.partition(":")
        if not colon or not username:
            raise ValueError("it is not NAME:PASSWORD")
        return RegistryCredentials(username=username, password=password.rstrip("\0"))
    name, secret = entry.get("username"), entry.get("password")
    if isinstance(name, str) and isinstance(secret, str) and name:
        return RegistryCredentials(username=name, password=secret)
    return None


def registry_of(text: str) -> str:
    """Return the registry that login and logout mean: HOST[:PORT] of what people write, URLs too. Raises UsageError."""
    host = text.strip().rpartition("://")[2].split("/", 1)[0].lower()
    if not host or any(char.isspace() or char in "@?#%\\" for char in host):
        raise UsageError(f'"{text.rpartition("@")[2]}" is not a valid registry', remedy="write HOST or HOST:PORT")
    return HUB if host in HUB_NAMES else host


def exact_keys(registry: str) -> tuple[str, ...]:
    """Return the names of a registry in files and for helpers; the first is the one to write."""
    return (HUB_AUTH_KEY, *HUB_NAMES) if registry == HUB else (registry,)


def scoped_keys(registry: str, repository: str) -> list[str]:
    """Return names of parts of a registry that hold a repository, the narrowest first (containers-auth.json(5))."""
    parts = repository.split("/") if repository else []
    return [f"{registry}/{'/'.join(parts[:count])}" for count in range(len(parts), 0, -1)]


def host_of(key: str) -> str | None:
    """Return the registry that a key means by another name: `https://HOST/v1/`, `HOST/v2`; None for a part of one."""
    scheme, _, rest = key.rpartition("://")
    host, _, path = rest.partition("/")
    if not scheme and path.strip("/") not in API_PATHS:
        return None
    return HUB if host.lower() in HUB_NAMES else host.lower()
