"""tiffin images."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence

from tiffin.builder.cli.options.command import IMAGES, Command
from tiffin.builder.cli.options.common import ListArguments
from tiffin.builder.cli.options.option import REFUSED, Flag, Many, Word
from tiffin.builder.cli.output.console import print_result
from tiffin.builder.cli.output.lists import age_text, created_text, filters_of, show_rows, timestamp
from tiffin.builder.errors import ImageError, UsageError
from tiffin.builder.options import has_labels
from tiffin.builder.plain_text import size_text
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.api.images import ImageStore, StoredImage
    from tiffin.builder.api.session import Session
    from tiffin.builder.oci.reference import Reference

HEADINGS = {
    "Repository": "REPOSITORY", "Tag": "TAG", "Digest": "DIGEST", "ID": "IMAGE ID", "CreatedSince": "CREATED",
    "CreatedAt": "CREATED AT", "Size": "SIZE",
}  # fmt: skip
FILTERS = ("dangling", "label", "reference", "before", "since")
NONE = "<none>"


class ImagesArguments(ListArguments):
    """What may stand on the line."""

    name = Word("[NAME]", "")
    everything = Flag("-a", "--all", help="No effect: all images are listed in any case.")
    quiet = Flag("-q", "--quiet", help="Print ids only.")
    no_trunc = Flag("--no-trunc", help="Do not truncate ids.")
    tree = Flag("--tree", effect=REFUSED, why="tiffin explore and tiffin history show what is in an image")
    digests = Flag("--digests", help="Print manifest digests.")
    filters = Many("-f", "--filter", metavar="NAME=VALUE", help="Filter, such as dangling=true; repeatable.")


def images(session: Session, line: ImagesArguments) -> None:
    """Print a list of images."""
    chosen = list(_chosen(session.store, filters_of(line.filters, FILTERS), line.name))
    if line.quiet:
        for identity in dict.fromkeys(_id(image, line.no_trunc) for image, _ in chosen):
            print_result(identity)
        return
    columns = ["Repository", "Tag", *(["Digest"] if line.digests else []), "ID", "CreatedSince", "Size"]
    show_rows([_row(image, reference, line.no_trunc) for image, reference in chosen], line.form, columns, HEADINGS)


def _chosen(
    store: ImageStore, filters: Mapping[str, Sequence[str]], name: str
) -> Iterator[tuple[StoredImage, Reference | None]]:
    """Yield images by name; one with several names comes several times."""
    dangling = {_flag(text) for text in filters.get("dangling", ())}
    limits = {kind: [_created(store.find(text)) for text in filters.get(kind, ())] for kind in ("before", "since")}
    for image in store.images():
        created = _created(image)
        if not (
            all(created < limit for limit in limits["before"])
            and all(created > limit for limit in limits["since"])
            and has_labels(image.config.config.labels, filters.get("label", ()))
            and dangling <= {not image.names}
        ):
            continue
        for reference in image.names or (None,):
            patterns = filters.get("reference", ())
            if (not name or _matches(reference, name)) and (
                not patterns or any(_matches(reference, pattern) for pattern in patterns)
            ):
                yield image, reference


def _matches(reference: Reference | None, pattern: str) -> bool:
    """Whether the familiar name, with or without its tag, is that of `pattern`."""
    if reference is None:
        return False
    from tiffin.builder.dockerfile.glob import match_path
    from tiffin.builder.oci.reference import Reference

    repository, tag = _name(reference)
    with contextlib.suppress(ImageError):  # a pattern need not be a name
        if reference == Reference.parse(pattern):
            return True
    return match_path(pattern, repository) or match_path(pattern, f"{repository}:{tag}")


def _created(image: StoredImage) -> float:
    return timestamp(image.config.created) or 0.0


def _flag(text: str) -> bool:
    if text not in ("true", "false", "1", "0"):
        raise UsageError(f'--filter dangling="{text}"', remedy="write dangling=true or dangling=false")
    return text in ("true", "1")


def _name(reference: Reference | None) -> tuple[str, str]:
    if reference is None:
        return NONE, NONE
    repository = reference.familiar.rsplit("@", 1)[0]
    if reference.tag:
        repository = repository.removesuffix(f":{reference.tag}")
    return repository, reference.tag or NONE


def _id(image: StoredImage, whole: bool) -> str:
    return str(image.id) if whole else image.id.short


def _row(image: StoredImage, reference: Reference | None, no_trunc: bool) -> dict[str, object]:
    repository, tag = _name(reference)
    return {
        "Repository": repository,
        "Tag": tag,
        "ID": _id(image, no_trunc),
        "Digest": str(image.descriptor.digest),
        "CreatedSince": age_text(image.config.created),
        "CreatedAt": created_text(image.config.created),
        "Size": size_text(image.size_bytes),
    }


COMMANDS = (
    Command(
        "images",
        ImagesArguments,
        images,
        about="List images.",
        help="List local images, or those whose name matches NAME (* matches anything).",
        section=IMAGES,
        examples=(
            "tiffin images",
            "tiffin images --filter dangling=true -q",
            "tiffin images --format '{{.Repository}}:{{.Tag}}'",
        ),
        aliases=("image ls", "image list"),
    ),
)
