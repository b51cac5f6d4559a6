"""What registries said: which manifest a name led to and when, where blobs lie, under which digests an image is in a
registry.

Rows of the Table: `resolved:NAME|PLATFORM`, `origin:DIGEST`, `repodigests:IMAGE-ID`, `lines:IMAGE-ID`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

from tiffin.builder.oci.reference import Reference
from tiffin.builder.oci.spec import Platform
from tiffin.cache.errors import DigestError
from tiffin.cache.foundation import json_text
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.frozen import dataclass
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.cache.store.local import Table

RESOLVED = "resolved:"
LINES = "lines:"
MAX_ORIGINS = 8  # of a blob in one registry: a base may be in hundreds of its repositories


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """What a name led to. `told` is the digest a registry has under it (of an index, or the manifest itself)."""

    manifest: Digest
    reported: Digest
    asked: float = 0  # when the registry said so, in seconds since 1970; 0 for long ago
    tried: float = 0  # when it was last asked in vain


class RegistryNotes:
    """Those rows."""

    def __init__(self, table: Callable[[], Table]) -> None:
        self._table = table  # opened when it is first used: most looks at images need none

    def resolved(self, reference: Reference, platform: Platform) -> Resolved | None:
        """Return what a name led to the last time, or None."""
        data = self._table().get(_resolved_key(reference, platform))
        with contextlib.suppress(ValueError, KeyError, TypeError, DigestError):
            if data is not None and data.startswith(b"sha256:"):  # of an older tiffin
                return Resolved(manifest=Digest.parse(data.decode()), reported=Digest.parse(data.decode()))
            fields = json_text.loads(data or b"")
            return Resolved(
                manifest=Digest.parse(fields["manifest"]),
                reported=Digest.parse(fields["told"]),
                asked=float(fields["asked"]),
                tried=float(fields["tried"]),
            )
        return None

    def keep_resolved(self, reference: Reference, platform: Platform, found: Resolved) -> None:
        """Remember what a name leads to."""
        fields = {
            "manifest": str(found.manifest),
            "told": str(found.reported),
            "asked": found.asked,
            "tried": found.tried,
        }
        self._table().set(_resolved_key(reference, platform), json_text.dumps(fields).encode())

    def all_resolved(self) -> list[tuple[Reference, Platform]]:
        """Return every name that led to something."""
        found = []
        for name in self._table().names():
            text, separator, platform = name.removeprefix(RESOLVED).rpartition("|")
            if name.startswith(RESOLVED) and separator:
                found.append((Reference.parse(text), Platform.parse(platform)))
        return found

    def lines(self, image_id: Digest) -> bytes | None:
        """Return where in a Dockerfile the layers of an image were made, None for one that was not built here."""
        return self._table().get(f"{LINES}{image_id}")

    def keep_lines(self, image_id: Digest, data: bytes) -> None:
        """Remember that; the last build counts."""
        if self.lines(image_id) != data:  # to read is cheap
            self._table().set(f"{LINES}{image_id}", data)

    def add_origin(self, digest: Digest, registry: str, repository: str) -> None:
        """Remember that a blob lies in a repository; of those of one registry the last count."""
        known = self.origins(digest)
        if known[-1:] != ((registry, repository),):
            rest = [row for row in known if row != (registry, repository)]
            beside = [row for row in rest if row[0] == registry]
            old = beside[: max(0, len(beside) - MAX_ORIGINS + 1)]
            rows = [*(row for row in rest if row not in old), (registry, repository)]
            self._table().set(f"origin:{digest}", json_text.dumps(rows).encode())

    def origins(self, digest: Digest) -> tuple[tuple[str, str], ...]:
        """Return the registries and repositories that had a blob, the one seen last at the end."""
        data = self._table().get(f"origin:{digest}")
        return tuple((str(registry), str(repository)) for registry, repository in json_text.loads(data)) if data else ()

    def repo_digests(self, image_id: Digest) -> tuple[str, ...]:
        """Return REPOSITORY@DIGEST of an image, where it was pushed to or pulled from."""
        data = self._table().get(f"repodigests:{image_id}")
        return tuple(str(item) for item in json_text.loads(data)) if data else ()

    def is_in(self, repository: str, image_id: Digest) -> bool:
        """Whether an image was pulled from a repository (a Reference's name), or pushed to it."""
        return any(text.startswith(f"{repository}@") for text in self.repo_digests(image_id))

    def add_repo_digest(self, image_id: Digest, reference: Reference, digest: Digest) -> None:
        """Remember that an image is in a repository, under a digest of its own or of an index."""
        known, text = self.repo_digests(image_id), f"{reference.name}@{digest}"
        if text not in known:
            self._set_repo_digests(image_id, [*known, text])

    def forget_repo_digests(self, image_id: Digest, repository: str | None = None) -> None:
        """Forget those of one repository (a Reference's name), or all."""
        known = self.repo_digests(image_id)
        rest = [text for text in known if repository is not None and text.partition("@")[0] != repository]
        if len(rest) < len(known):
            self._set_repo_digests(image_id, rest)

    def _set_repo_digests(self, image_id: Digest, texts: Sequence[str]) -> None:
        if texts:
            self._table().set(f"repodigests:{image_id}", json_text.dumps(texts).encode())
        else:
            self._table().delete(f"repodigests:{image_id}")


def _resolved_key(reference: Reference, platform: Platform) -> str:
    return f"{RESOLVED}{reference}|{platform}"
