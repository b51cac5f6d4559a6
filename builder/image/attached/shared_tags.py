"""Change what is under tags that several write at once: lists of referrers, signatures of cosign's first form.

The distribution spec has no safe way to do that. Where a registry looks at conditions (RFC 9110 13.1), no change is
lost. Elsewhere each writer looks again after its write, later than any other can still write what it read before.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping

from tiffin.builder.errors import NotInRegistryError, RegistryError
from tiffin.builder.registry.client import FetchedManifest, RegistryClient

Change = Callable[[bytes | None], bytes | None]  # what is there (None: nothing) to what shall be; None: it is so

MAX_TRIES = 30
PAUSE_SECONDS = 0.5
PATIENCE = 5  # a look again comes so many times later than it took to read and to write
SPREAD, SPREAD_AGAIN = 0.1, 0.5  # and by up to that part later still: much where others were met, who look again, too
# what docker-registry 2.8 says of a good manifest whose blobs another pushes at this moment: it reads half a file
BUSY = "did not match uploaded content"


def change_tags(client: RegistryClient, repository: str, media_type: str, changes: Mapping[str, Change]) -> None:
    """Change manifests by tag, until each has what is wanted and nobody else took it away. Raises RegistryError."""
    tags = {tag: _Tag(client, repository, tag, media_type, change) for tag, change in changes.items()}
    spread = SPREAD
    for _ in range(MAX_TRIES):
        tags = {name: tag for name, tag in tags.items() if tag.write()}
        if not tags:
            return
        slowest = max(tag.took_seconds for tag in tags.values())
        time.sleep(max(PAUSE_SECONDS, PATIENCE * slowest) * random.uniform(1, 1 + spread))
        spread = SPREAD_AGAIN
    name, tag = next(iter(tags.items()))
    if tag.failure is not None:
        raise tag.failure
    raise RegistryError(
        f"{client.registry} does not keep what is written under the tag {name} in {repository}",
        remedy="run the command again if others write the same tag, or use --attest-form=index",
    )


class _Tag:
    """One tag; `took_seconds`: from the last reading to the end of the writing; `failure`: why that failed, if it may
    go another time.
    """

    def __init__(self, client: RegistryClient, repository: str, tag: str, media_type: str, change: Change) -> None:
        self.took_seconds = 0.0
        self.failure: RegistryError | None = None
        self._client = client
        self._name = (repository, tag)
        self._media_type = media_type
        self._change = change
        self._refused: FetchedManifest | None = None
        self._is_refused = False

    def write(self) -> bool:
        """Read it, and write it if it has not what is wanted; return whether it had not."""
        began = time.monotonic()
        before = self._read()
        data = self._change(before.data if before is not None else None)
        if data is None:
            return False
        self.failure = None
        try:
            self._put(data, before)
        except RegistryError as exc:
            if BUSY not in exc.message:
                raise
            self.failure = exc
        self.took_seconds = time.monotonic() - began
        return True

    def _put(self, data: bytes, before: FetchedManifest | None) -> None:
        if self._is_refused and self._refused == before:  # refused, though nobody changed it: conditions do not work
            self._client.put_manifest(*self._name, data, self._media_type)
            self._is_refused = False
        else:
            self._is_refused = not self._client.replace_manifest(*self._name, data, self._media_type, before)
            self._refused = before

    def _read(self) -> FetchedManifest | None:
        try:
            return self._client.get_manifest(*self._name)
        except NotInRegistryError:
            return None
