"""What was removed, in docker's words."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from tiffin.builder.api.images import StoredImage
from tiffin.builder.api.session import Session
from tiffin.builder.api.storage.prune import reclaimed
from tiffin.builder.cli.output.console import print_result
from tiffin.builder.plain_text import size_text


@contextlib.contextmanager
def print_total(session: Session) -> Iterator[None]:
    """Say at the end how much less the state directory takes."""
    with reclaimed(session) as found:
        yield
    print_result(f"Total reclaimed space: {size_text(found[0])}")


def show_containers(ids: Sequence[str]) -> None:
    """Print the containers that were removed, if any."""
    show_names("Containers", ids)


def show_names(what: str, names: Sequence[str]) -> None:
    """Print what was removed of a kind, if anything."""
    if names:
        print_result("\n".join([f"Deleted {what}:", *names, ""]))


def show_images(images: Sequence[StoredImage]) -> None:
    """Print the images that were removed, if any."""
    lines = []
    for image in images:
        lines += [f"untagged: {name.familiar}" for name in image.names]
        lines.append(f"deleted: {image.id}")
    if lines:
        print_result("\n".join(["Deleted Images:", *lines, ""]))
