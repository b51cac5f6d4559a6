"""tiffin cache export and import: all steps of this machine's cache, to a shared cache and from one."""

from __future__ import annotations

from pathlib import Path

from tiffin.builder.cli.options.command import BUILDS, Command
from tiffin.builder.cli.options.common import RegistryArguments, SignatureArguments
from tiffin.builder.cli.options.option import Flag, Many, Text, Word
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.api.session import Session
    from tiffin.builder.api.storage.transfer import Kind, TransferOptions
    from tiffin.builder.sharing.options import CacheSpec


KINDS: dict[str, Kind] = {"gzip": "gzip", "zstd": "zstd", "none": "none"}


class _MoveArguments(SignatureArguments, RegistryArguments):
    ids = Many("--cache-mounts", metavar="ID", help="Cache mount to copy as well; repeatable.")
    quiet = Flag("-q", "--quiet", help="Print nothing.")


class ExportArguments(_MoveArguments):
    """Where to, and how."""

    destination = Word("DIR|type=…")
    compression = Text(
        "--compression", choices=tuple(KINDS), default="zstd", help="Compression of layers that are not compressed yet."
    )


class ImportArguments(_MoveArguments):
    """Where from."""

    source = Word("DIR|type=…")


def export_cache(session: Session, line: ExportArguments) -> None:
    """Bring the local cache to a shared one."""
    from tiffin.builder.api.storage.transfer import export_cache
    from tiffin.builder.cli.output.render import make_renderer
    from tiffin.builder.cli.output.renderer import quiet_if

    options = _options(_spec(line.destination, "wo"), line)
    with make_renderer(quiet_if(line.quiet, "plain")) as sink:
        export_cache(options, KINDS[line.compression], session, sink)


def import_cache(session: Session, line: ImportArguments) -> None:
    """Bring a shared cache here."""
    from tiffin.builder.api.storage.transfer import import_cache
    from tiffin.builder.cli.output.render import make_renderer
    from tiffin.builder.cli.output.renderer import quiet_if

    options = _options(_spec(line.source, "ro"), line)
    with make_renderer(quiet_if(line.quiet, "plain")) as sink:
        import_cache(options, session, sink)


def _spec(text: str, access: str) -> CacheSpec:
    from tiffin.builder.sharing.options import CacheSpec, parse_cache

    if "=" in text:
        return parse_cache(text, "the cache", access)
    return CacheSpec(kind="dir", place=text, reads=access == "ro", writes=access == "wo", required=True)


def _options(spec: CacheSpec, line: _MoveArguments) -> TransferOptions:
    from tiffin.builder.api.storage.transfer import TransferOptions

    key = Path(line.sign_key) if line.sign_key else None
    return TransferOptions(spec=spec, sign_key=key, ids=line.ids, registry=line.registry_access())


COMMANDS = (
    Command(
        "cache export",
        ExportArguments,
        export_cache,
        about="Copy every step of the local cache to a shared cache.",
        help="Copy every step of the local cache to a shared cache: a directory, or a cache as --cache-to names it.",
        section=BUILDS,
        examples=("tiffin cache export /mnt/cache", "tiffin cache export type=registry,ref=registry.example/cache"),
    ),
    Command(
        "cache import",
        ImportArguments,
        import_cache,
        about="Copy every step of a shared cache here, with its layers.",
        help=(
            "Copy every step of a shared cache here, with its layers: a directory, or a registry as --cache-from"
            " names it."
        ),
        section=BUILDS,
        examples=("tiffin cache import /mnt/cache",),
    ),
)
