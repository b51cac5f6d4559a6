"""Images that are pulled, run and pushed, before a policy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tiffin.builder.api.rules.evidence import contents_of, digest_named, packages_of
from tiffin.builder.api.rules.gate import Gate, gate_of
from tiffin.builder.api.session import Session
from tiffin.builder.oci.reference import Reference
from tiffin.builder.oci.spec import Platform
from tiffin.builder.policy.facts import IMAGE, PULL, PUSH, RUN, Contents, Subject
from tiffin.builder.settings.access import RegistryAccess

if TYPE_CHECKING:
    from tiffin.builder.image.remote import Remote
    from tiffin.builder.image.store import StoredImage

__all__ = ["PULL", "RUN", "judge_elsewhere", "judge_here", "judge_push"]


def judge_elsewhere(
    name: str,
    reference: Reference,
    platform: Platform,
    remote: Remote,
    access: RegistryAccess,
    operation: str,
    session: Session,
) -> Gate | None:
    """Judge an image of a registry, before its layers come here; return who judged.

    Raises PolicyError, RegistryError.
    """
    gate = gate_of(access, session=session)
    if gate is None:
        return None
    gate.judge_image(name, reference, platform, operation)
    image = remote.look_up(reference, platform)
    contents = _contents(image, reference, session, access)
    gate.judge_contents(name, reference, contents, operation)
    return gate


def judge_here(name: str, image: StoredImage, access: RegistryAccess, session: Session) -> None:
    """Judge an image that is here and is to be run. Raises PolicyError."""
    gate = gate_of(access, session=session)
    if gate is None:
        return
    reference = Reference.parse(name)  # an id looks like a name, too
    if image.names and reference not in image.names and reference.digest is None:
        reference = image.names[0]
    contents = _contents(image, reference, session, access)
    gate.judge_image(name, reference, image.config.platform, RUN)
    gate.judge_contents(name, reference, contents, RUN)
    gate.record(RUN, {"name": str(reference), "digest": contents.digest})


def judge_push(
    images: Sequence[StoredImage], reference: Reference, access: RegistryAccess, session: Session
) -> Gate | None:
    """Judge what is to be pushed, each image of an index; return who judged. Raises PolicyError."""
    gate = gate_of(access, session=session)
    for image in images if gate is not None else ():
        assert gate is not None
        subject = Subject(kind=IMAGE, name="", operation=PUSH, platform=image.config.platform)
        contents = _contents(image, reference, session, access)
        gate.judge_result([reference], contents, subject)
    return gate


def _contents(image: StoredImage, reference: Reference, session: Session, access: RegistryAccess) -> Contents:
    digest = image.descriptor.digest
    packages = packages_of(f"{reference.name}@{digest}", session, access)
    named = digest_named(session, reference, image.config.platform, digest)
    return contents_of(digest, image.config, image.manifest, packages, named)
