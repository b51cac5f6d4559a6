"""tiffin cache export and import: all steps of this machine's cache, to a shared cache and from one."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import click

from tiffin.builder.api.session import Session
from tiffin.builder.api.storage.transfer import Kind, TransferOptions, export_cache, import_cache
from tiffin.builder.cli.options.click_command import registry_options
from tiffin.builder.cli.output.render import make_renderer
from tiffin.builder.cli.output.renderer import quiet_if
from tiffin.builder.settings.access import RegistryAccess
from tiffin.builder.sharing.options import CacheSpec, parse_cache


@click.command("export")
@click.argument("destination", metavar="DIR|type=…")
@click.option(
    "--compression", type=click.Choice(["gzip", "zstd", "none"]), default="zstd", help="Of layers not packed yet."
)
@click.option("--cache-sign-key", "sign_key", type=click.Path(dir_okay=False), envvar="TIFFIN_CACHE_SIGN_KEY")
@click.option("--cache-mounts", "ids", multiple=True, metavar="ID", help="Cache mount to bring too; repeatable.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing.")
@registry_options
@click.pass_obj
def export_command(
    session: Session, /, destination: str, compression: str, sign_key: str | None, ids: tuple[str, ...], quiet: bool,
    registry: RegistryAccess,
) -> None:  # fmt: skip
    """Bring every step of the local cache to a shared cache: a directory, or what --cache-to takes."""
    options = _options(_spec(destination, "wo"), sign_key, ids, registry)
    with make_renderer(quiet_if(quiet, "plain")) as sink:
        export_cache(options, cast("Kind", compression), session, sink)


@click.command("import")
@click.argument("source", metavar="DIR|type=…")
@click.option("--cache-sign-key", "sign_key", type=click.Path(dir_okay=False), envvar="TIFFIN_CACHE_SIGN_KEY")
@click.option("--cache-mounts", "ids", multiple=True, metavar="ID", help="Cache mount to bring too; repeatable.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing.")
@registry_options
@click.pass_obj
def import_command(
    session: Session, /, source: str, sign_key: str | None, ids: tuple[str, ...], quiet: bool,
    registry: RegistryAccess,
) -> None:  # fmt: skip
    """Bring every step of a shared cache here, with its layers: a directory, or a registry as --cache-from names it."""
    options = _options(_spec(source, "ro"), sign_key, ids, registry)
    with make_renderer(quiet_if(quiet, "plain")) as sink:
        import_cache(options, session, sink)


def _spec(text: str, access: str) -> CacheSpec:
    if "=" in text:
        return parse_cache(text, "the cache", access)
    return CacheSpec(kind="dir", place=text, reads=access == "ro", writes=access == "wo", required=True)


def _options(spec: CacheSpec, sign_key: str | None, ids: tuple[str, ...], registry: RegistryAccess) -> TransferOptions:
    return TransferOptions(spec=spec, sign_key=Path(sign_key) if sign_key else None, ids=ids, registry=registry)
