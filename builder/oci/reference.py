"""Image references: `[HOST[:PORT]/]PATH[:TAG][@DIGEST]`, read as Docker reads them."""

from __future__ import annotations

import re

from tiffin.builder.errors import ImageError
from tiffin.cache.errors import DigestError
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.frozen import dataclass, replace

DOCKER_HUB = "docker.io"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_HOST = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9A-Fa-f:]+\])(?::[0-9]+)?"
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
MAX_TAG_LENGTH = 128
_TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
MAX_PORT = (1 << 16) - 1
MAX_REPOSITORY_LENGTH = 255  # distribution-spec, and every registry


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A parsed name. `registry` is the host as users write it, `repository` the path below it."""

    registry: str
    repository: str
    tag: str = ""
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Read a reference; no tag and no digest means tag `latest`. Raises ImageError with the reason."""
        rest, digest = text, None
        if "@" in rest:
            rest, _, digest_text = rest.partition("@")
            if "/" in digest_text:  # not shown, as it may be a password
                raise ImageError(
                    "an image reference holds no user or password",
                    remedy="run tiffin login, and leave out the part before @",
                )
            try:
                digest = Digest.parse(digest_text)
            except DigestError as exc:
                raise _invalid(text, f'"{digest_text}" is not a valid digest') from exc
        head, slash, tail = rest.rpartition("/")
        name, colon, tag = tail.partition(":")
        if colon and not re.fullmatch(_TAG, tag):
            raise _invalid(text, f'"{tag}" is not a valid tag')
        registry, repository = _split_host(head + slash + name)
        if registry != DOCKER_HUB and not (re.fullmatch(_HOST, registry) and _has_usable_port(registry)):
            raise _invalid(text, f'"{registry}" is not a valid host name')
        if not repository:
            raise _invalid(text, "the name is empty")
        for component in repository.split("/"):
            if not _is_plain(component) and not re.fullmatch(_COMPONENT, component):
                capitals = component != component.lower()
                hint = "repository names are lower case" if capitals else f'"{component}" is not a valid name'
                raise _invalid(text, hint)
        if len(repository) > MAX_REPOSITORY_LENGTH:
            raise _invalid(text, f"the name is longer than {MAX_REPOSITORY_LENGTH} characters")
        return cls(registry=registry, repository=repository, tag=tag or ("" if digest else "latest"), digest=digest)

    @property
    def name(self) -> str:
        """Registry and repository, without tag or digest."""
        return f"{self.registry}/{self.repository}"

    @property
    def familiar(self) -> str:
        """As users write it: without docker.io and library/."""
        text = str(self)
        for prefix in (f"{DOCKER_HUB}/library/", f"{DOCKER_HUB}/"):
            if text.startswith(prefix):
                return text[len(prefix) :]
        return text

    @property
    def without_localhost(self) -> Reference | None:
        """Return NAME for localhost/NAME, as podman calls what was made on its machine as NAME; None for any other."""
        host, repository = _split_host(self.repository)
        is_one = self.registry == "localhost" and host == DOCKER_HUB
        return replace(self, registry=host, repository=repository) if is_one else None

    @property
    def selector(self) -> str:
        """What a manifest URL ends in: the digest if there is one, else the tag."""
        return str(self.digest) if self.digest else self.tag

    @property
    def is_loopback(self) -> bool:
        """Whether the registry is this machine, so that plain http is in order."""
        host = self.registry.rsplit(":", 1)[0] if not self.registry.endswith("]") else self.registry
        if host == "localhost" or host.endswith(".localhost"):
            return True
        import ipaddress

        try:
            return ipaddress.ip_address(host.strip("[]")).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.registry}/{self.repository}{tag}{digest}"


def _split_host(name: str) -> tuple[str, str]:
    """Apply Docker's rule: the first component is a host if it has a dot, a colon, is localhost or has capitals."""
    first, slash, rest = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost" or first != first.lower()):
        host = DOCKER_HUB if first == "index.docker.io" else first
        return host, f"library/{rest}" if host == DOCKER_HUB and "/" not in rest else rest
    return DOCKER_HUB, name if slash else f"library/{name}" if name else ""


def _is_plain(component: str) -> bool:
    """Whether a part of a name is of letters and digits alone, as most are: the pattern need not be compiled."""
    return component.isascii() and component.isalnum() and component == component.lower()


def _has_usable_port(registry: str) -> bool:
    """Whether there is no port, or one that a server may listen on."""
    port = registry.rpartition("]")[2].partition(":")[2]
    return not port or (len(port) <= 5 and 0 < int(port) <= MAX_PORT)


def _invalid(text: str, reason: str) -> ImageError:
    return ImageError(
        f'invalid image reference "{text}": {reason}', remedy="write [HOST[:PORT]/]NAME[:TAG][@sha256:DIGEST]"
    )
