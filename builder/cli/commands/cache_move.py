"""tiffin cache export and import: all steps of this machine's cache, to a shared cache and from one."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from tiffin.builder.api.prune import reach_trees
from tiffin.builder.api.session import Session
from tiffin.builder.cli.options.common import registry_options
from tiffin.builder.cli.output.render import make_renderer
from tiffin.builder.cli.output.renderer import quiet_if
from tiffin.builder.errors import StoreError, UsageError
from tiffin.builder.events import Noted, Sink
from tiffin.builder.layer.compress import Compression, Kind
from tiffin.builder.sharing.mounts import SharedMounts, is_mount
from tiffin.builder.sharing.options import CacheSpec, parse_cache
from tiffin.cache.digest import Digest
from tiffin.cache.local import LocalCache
from tiffin.cache.sealing import sealer_of
from tiffin.cache.trust import Trust

if TYPE_CHECKING:
    from tiffin.builder.image.layers import LayerStore
    from tiffin.builder.image.remote import Remote
    from tiffin.builder.sharing.caches import SharedCaches

CANNOT_LIST = ("redis", "http", "s3")


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
    insecure: tuple[str, ...], cert: str | None,
) -> None:  # fmt: skip
    """Bring every step of the local cache to a shared cache: a directory, or what --cache-to takes."""
    spec = _spec(destination, "wo")
    with make_renderer(quiet_if(quiet, "plain")) as sink:
        shared, layers, _ = _open(session, spec, sink, sign_key, insecure, cert)
        layers.snapshots.flavor = reach_trees(session)
        records = {
            Digest("sha256", name.partition(":")[2]): record
            for name, record in LocalCache(session.table).records()
            if layers.has(record.diff_id)
        }
        mounts = _mounts(ids, session, shared, layers, sink)
        shared.bring_up(records, Compression(kind=cast("Kind", compression)), mounts.records())


@click.command("import")
@click.argument("source", metavar="DIR|type=…")
@click.option("--cache-sign-key", "sign_key", type=click.Path(dir_okay=False), envvar="TIFFIN_CACHE_SIGN_KEY")
@click.option("--cache-mounts", "ids", multiple=True, metavar="ID", help="Cache mount to bring too; repeatable.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing.")
@registry_options
@click.pass_obj
def import_command(
    session: Session, /, source: str, sign_key: str | None, ids: tuple[str, ...], quiet: bool,
    insecure: tuple[str, ...], cert: str | None,
) -> None:  # fmt: skip
    """Bring every step of a shared cache here, with its layers: a directory, or a registry as --cache-from names it."""
    spec = _spec(source, "ro")
    if spec.kind in CANNOT_LIST:
        raise UsageError(
            f"type={spec.kind} cannot tell what it holds",
            remedy="use it with --cache-from, which asks for what it needs",
        )
    with make_renderer(quiet_if(quiet, "plain")) as sink:
        shared, layers, remote = _open(session, spec, sink, sign_key, insecure, cert)
        found = {key: record for key, record in shared.everything().items() if not is_mount(record)}
        if not found:
            raise StoreError(f"{spec.kind} cache {spec.place} holds no steps", remedy="check the name")
        remote().fetch_all([record.layer for record in found.values() if record.layer is not None])
        cache = LocalCache(session.table)
        for key, record in found.items():
            if record.layer is not None and session.blobs.has(record.layer.digest):
                layers.snapshots.add_blob(record.diff_id, record.layer)
                cache.put(key, record)
        if ids:
            _mounts(ids, session, shared, layers, sink).fetch()
        sink.emit(Noted(message=f"brought {len(found)} records from {spec.kind} cache {spec.place}"))


def _spec(text: str, access: str) -> CacheSpec:
    if "=" in text:
        return parse_cache(text, "the cache", access)
    return CacheSpec(kind="dir", place=text, reads=access == "ro", writes=access == "wo", required=True)


def _mounts(
    ids: tuple[str, ...], session: Session, shared: SharedCaches, layers: LayerStore, sink: Sink
) -> SharedMounts:
    if ids:
        session.enter(layers, None)
    return SharedMounts(ids, shared=shared, layers=layers, blobs=session.blobs, state=session.state, sink=sink)


def _open(
    session: Session, spec: CacheSpec, sink: Sink, sign_key: str | None, insecure: tuple[str, ...], cert: str | None
) -> tuple[SharedCaches, LayerStore, Callable[[], Remote]]:
    from tiffin.builder.sharing.caches import SharedCaches
    from tiffin.cache.values import replace

    made: list[Remote] = []

    def remote() -> Remote:
        if not made:
            made.append(session.remote(sink, insecure, cert))
        return made[0]

    layers = session.layers(remote)
    shared = SharedCaches(
        [replace(spec, required=True)],
        blobs=session.blobs,
        layers=layers,
        remote=remote,
        sink=sink,
        sealer=sealer_of(Path(sign_key) if sign_key else None),
        trust=Trust(os.environ, cert_file=cert or ""),
    )
    return shared, layers, remote
