"""When a registry is asked for an image that is known: --pull, and how long an answer holds."""

from __future__ import annotations

from collections.abc import Mapping

from tiffin.builder.image.remote import Remote
from tiffin.builder.image.store import StoredImage
from tiffin.builder.oci.reference import Reference
from tiffin.builder.settings.config_file import config_path, registry_texts
from tiffin.builder.settings.times import seconds_of
from tiffin.cache.foundation.digest import Digest

ALWAYS, MISSING, NEWER, NEVER = POLICIES = ("always", "missing", "newer", "never")
VARIABLE = "TIFFIN_PULL_AFTER"
DAY = 24 * 60 * 60
ASK_SECONDS = 5.0  # what an answer may take where there is something to go on with


def pull_after(environ: Mapping[str, str]) -> float:
    """Return after how many seconds a tag is looked up again: $TIFFIN_PULL_AFTER, pull-after of [registries] in the
    configuration file, else a day. Raises UsageError.
    """
    if environ.get(VARIABLE):
        return seconds_of(environ[VARIABLE], f"{VARIABLE} ")
    for text in registry_texts(config_path(environ), "pull-after"):
        return seconds_of(text, "registries.pull-after ")
    return DAY


def is_current(remote: Remote, reference: Reference, image: StoredImage, reported: Digest) -> bool:
    """Whether `image` is what a registry calls so."""
    return reported == image.descriptor.digest or f"{reference.name}@{reported}" in remote.repo_digests(image)
