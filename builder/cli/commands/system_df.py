"""tiffin system df: sums, or with -v each image, container and volume."""

from __future__ import annotations

from collections.abc import Sequence

from tiffin.builder.cli.options.command import Command
from tiffin.builder.cli.options.common import ListArguments
from tiffin.builder.cli.options.option import Flag
from tiffin.builder.cli.output.console import print_result
from tiffin.builder.cli.output.lists import JSON, TABLE, Row, age_text, print_table, show_rows
from tiffin.builder.plain_text import size_text
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.api.session import Session
    from tiffin.builder.api.storage.usage import DiskUsage

HEADINGS = {
    "Type": "TYPE", "TotalCount": "TOTAL", "Active": "ACTIVE", "Size": "SIZE", "Reclaimable": "RECLAIMABLE",
}  # fmt: skip
SHORT_ID_LENGTH = 12


class DfArguments(ListArguments):
    """What may stand on the line."""

    verbose = Flag("-v", "--verbose", help="Each image, container and volume.")


def df(session: Session, line: DfArguments) -> None:
    """Print what takes room. Raises TiffinError."""
    from tiffin.builder.api.storage.usage import disk_usage

    (show_each if line.verbose else show_sums)(disk_usage(session), line.form)


def show_sums(usage: DiskUsage, form: str) -> None:
    """Print a row for each kind: how many there are and are in use, their size, what could go. Raises UsageError."""
    unused_images = sum(image.size for image in usage.images if not image.containers)
    all_images = sum(image.size for image in usage.images)
    rows = [
        _row(
            "Images",
            len(usage.images),
            sum(bool(image.containers) for image in usage.images),
            usage.images_size,
            usage.images_size * unused_images // all_images if all_images else usage.images_size,
        ),
        _row(
            "Containers",
            len(usage.containers),
            sum(container.is_alive for container in usage.containers),
            sum(container.size for container in usage.containers),
            sum(container.size for container in usage.containers if not container.is_alive),
        ),
        _row(
            "Local Volumes",
            len(usage.volumes),
            sum(bool(volume.links) for volume in usage.volumes),
            sum(volume.size for volume in usage.volumes),
            sum(volume.size for volume in usage.volumes if not volume.links),
        ),
        _row("Build Cache", usage.cache_entries, 0, usage.cache_size, usage.cache_size),
    ]
    show_rows(rows, form, tuple(HEADINGS), HEADINGS)


def _row(kind: str, total: int, active: int, size: int, reclaimable: int) -> Row:
    share = f" ({100 * reclaimable // size}%)" if size and kind != "Build Cache" else ""
    return {
        "Type": kind,
        "TotalCount": str(total),
        "Active": str(active),
        "Size": size_text(size),
        "Reclaimable": f"{size_text(reclaimable)}{share}",
    }


def show_each(usage: DiskUsage, form: str) -> None:
    """Print each image, container and volume. Raises UsageError."""
    tables = _tables(usage)
    if form != TABLE:
        document = {name.replace(" ", ""): rows for name, rows in tables.items()}
        document["BuildCache"] = [{"Size": size_text(usage.cache_size)}]
        show_rows([document], JSON if form == JSON else form, (), {})
        return
    for name, rows in tables.items():
        print_result(f"{name} space usage:\n")
        heads: Sequence[str] = list(rows[0]) if rows else ["(none)"]
        print_table([[_head(head) for head in heads], *([str(row[head]) for head in heads] for row in rows)])
        print_result("")
    print_result(f"Build cache usage: {size_text(usage.cache_size)}")


def _tables(usage: DiskUsage) -> dict[str, list[Row]]:
    images: list[Row] = [
        {
            "Repository": image.name.rpartition(":")[0] or image.name,
            "Tag": image.name.rpartition(":")[2],
            "ID": image.id.removeprefix("sha256:")[:SHORT_ID_LENGTH],
            "Created": age_text(image.created),
            "Size": size_text(image.size),
            "Containers": str(image.containers),
        }
        for image in usage.images
    ]
    containers: list[Row] = [
        {
            "ID": container.id[:SHORT_ID_LENGTH],
            "Image": container.image,
            "LocalVolumes": str(container.volumes),
            "Size": size_text(container.size),
            "Status": "Up" if container.is_alive else "Exited",
            "Names": container.name,
        }
        for container in usage.containers
    ]
    volumes: list[Row] = [
        {"Name": volume.name, "Links": str(volume.links), "Size": size_text(volume.size)} for volume in usage.volumes
    ]
    return {"Images": images, "Containers": containers, "Local Volumes": volumes}


def _head(name: str) -> str:
    return {"LocalVolumes": "LOCAL VOLUMES", "Name": "VOLUME NAME"}.get(name, name.upper())


COMMANDS = (Command("system df", DfArguments, df, about="Show disk usage.", examples=("tiffin system df -v",)),)
