"""tiffin cache: what the build cache holds, why a step misses, and moving it between machines."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

import click

from tiffin.builder.api.build import Invocation
from tiffin.builder.api.prune import no_remote, reach_trees, remove_unneeded, size_on_disk, told_total
from tiffin.builder.api.session import Session
from tiffin.builder.cli.commands.build import command as build_command
from tiffin.builder.cli.commands.cache_move import export_command, import_command
from tiffin.builder.cli.commands.cache_serve import serve_command
from tiffin.builder.cli.commands.system import confirm
from tiffin.builder.cli.groups import Group
from tiffin.builder.cli.output.lists import age_text, print_table
from tiffin.builder.cli.output.render import make_renderer
from tiffin.builder.errors import CorruptError, StoreError, TiffinError, UsageError
from tiffin.builder.options import size_bytes
from tiffin.builder.plain_text import size_text
from tiffin.builder.sharing.options import seconds_of
from tiffin.cache.digest import COPY_CHUNK_BYTES, Digest
from tiffin.cache.local import LocalCache
from tiffin.cache.mounts import CacheMounts
from tiffin.cache.snapshots import Snapshots

if TYPE_CHECKING:
    from tiffin.builder.image.layers import LayerStore
    from tiffin.cache.backend import StepRecord

SHORT_TEXT = 60


@click.group("cache", cls=Group)
def command() -> None:
    """The build cache: what it holds, why a step misses, sharing it."""


command.add_command(export_command)
command.add_command(import_command)
command.add_command(serve_command)


@command.command("ls")
@click.option("-q", "--quiet", is_flag=True, help="Print keys only.")
@click.option("--no-trunc", is_flag=True, help="Print whole keys and steps.")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table")
@click.pass_obj
def ls(session: Session, /, quiet: bool, no_trunc: bool, form: str) -> None:
    """List the steps whose results are kept, newest first. SIZE is that of the packed layer, TIME what it took to make."""
    rows = sorted(_steps(session), key=lambda row: row[1].created, reverse=True)
    if quiet:
        for key, _ in rows:
            click.echo(key)
    elif form == "json":
        for key, record in rows:
            click.echo(json.dumps({"key": key} | json.loads(record.encode())))
    else:
        lines = [["KEY", "CREATED", "SIZE", "TIME", "STEP"]]
        for key, record in rows:
            text = " ".join(record.description.split())
            if not no_trunc:
                key, text = key[:12], text if len(text) <= SHORT_TEXT else text[: SHORT_TEXT - 1] + "…"
            size = size_text(record.layer.size_bytes) if record.layer is not None else "unpacked"
            lines.append([key, age_text(record.created), size, f"{record.seconds:.1f}s", text])
        print_table(lines)


@command.command("du")
@click.pass_obj
def du(session: Session, /) -> None:
    """Show what the build cache takes on disk."""
    reach_trees(session)
    state = session.state
    mounts = CacheMounts(state, "").list()
    lines = [
        ["WHAT", "COUNT", "SIZE"],
        ["Step records", str(sum(1 for _ in _steps(session))), size_text(size_on_disk(state.cache))],
        ["Packed layers", str(sum(1 for _ in session.blobs)), size_text(size_on_disk(state.images))],
        ["Unpacked layers", str(len(list(Snapshots(state)))), size_text(size_on_disk(state.layers))],
        *([f"Cache mount {info.id}", "1", size_text(size_on_disk(info.path))] for info in mounts),
    ]
    print_table(lines)


@command.command("prune")
@click.option("--max-size", metavar="SIZE", help="Remove the oldest steps until the cache takes at most this.")
@click.option("--older-than", metavar="TIME", help="Remove steps made longer ago, such as 12h or 30d.")
@click.option("--keep", type=click.IntRange(min=0), metavar="N", help="Keep the N newest steps only.")
@click.option("-f", "--force", is_flag=True, help="Do not ask.")
@click.pass_obj
def prune(session: Session, /, max_size: str | None, older_than: str | None, keep: int | None, force: bool) -> None:
    """Remove steps from the cache, and layers that no image needs. Without options: what no record needs."""
    try:
        limit = size_bytes(max_size) if max_size else None
    except ValueError as exc:
        raise UsageError(f"--max-size {max_size} is no size", remedy="write --max-size 10g") from exc
    age = seconds_of(older_than, "--older-than ") if older_than else None
    confirm(force, "Remove steps from the build cache?")
    reach_trees(session)
    with told_total(session):
        _prune(session, limit, age, keep)


def _prune(session: Session, limit: int | None, age: float | None, keep: int | None) -> None:
    cache = LocalCache(session.table)
    rows = sorted(cache.records(), key=lambda row: row[1].created, reverse=True)
    kept = []
    for number, (name, record) in enumerate(rows):
        is_old = age is not None and time.time() - _moment(record) > age
        if is_old or (keep is not None and number >= keep):
            cache.forget(name)
        else:
            kept.append(name)
    remove_unneeded(session, keep_records=True)
    while limit is not None and kept and size_on_disk(session.state.root) > limit:
        for name in kept[-max(1, len(kept) // 8) :]:
            cache.forget(name)
            kept.remove(name)
        remove_unneeded(session, keep_records=True)


@command.command("verify")
@click.option("--repair", is_flag=True, help="Remove what is damaged.")
@click.pass_obj
def verify(session: Session, /, repair: bool) -> None:
    """Read every blob and every unpacked layer and compare them with their digests; exit code 1 if one is damaged."""
    layers = session.layers(no_remote)
    snapshots = layers.snapshots = Snapshots(session.state, reach_trees(session))
    damaged = 0
    checked = 0
    for digest in list(session.blobs):
        checked += 1
        if problem := _damage_of_blob(session, digest):
            damaged += 1
            click.echo(f"blob {digest}: {problem}")
            if repair:
                session.blobs.delete(digest)
    for diff_id in list(snapshots):
        checked += 1
        if problem := _damage_of_tree(layers, diff_id):
            damaged += 1
            click.echo(f"layer {diff_id}: {problem}")
            if repair:
                snapshots.remove(diff_id)
    for name in session.store.broken(forget=repair):
        damaged += 1
        click.echo(f"image {name}: its manifest or configuration is lost; pull or build it again")
    click.echo(f"{checked} checked, {damaged} damaged{' and removed' if repair and damaged else ''}")
    if damaged and not repair:
        raise SystemExit(1)


@command.command("explain", params=build_command.params)
@click.pass_obj
def explain(session: Session, /, **given: object) -> None:
    """Tell which steps of a build would run now, and why; takes the options of tiffin build, and builds nothing."""
    with make_renderer("quiet") as sink:
        Invocation(session, {**given, "call": "explain"}).run(sink)


def _steps(session: Session) -> Iterator[tuple[str, StepRecord]]:
    """Each step once, by one of its keys: it has one for its definition and one for its content."""
    seen = set()
    for name, record in LocalCache(session.table).records():
        identity = (record.diff_id, record.parent_chain, record.created, record.description)
        if identity not in seen:
            seen.add(identity)
            yield name.partition(":")[2], record


def _moment(record: StepRecord) -> float:
    with contextlib.suppress(ValueError):
        return datetime.fromisoformat(record.created).timestamp()
    return 0.0


def _damage_of_blob(session: Session, digest: Digest) -> str:
    try:
        with session.blobs.open(digest) as stream:
            while stream.read(COPY_CHUNK_BYTES):
                pass
    except (CorruptError, StoreError) as exc:
        return exc.message
    except OSError as exc:
        return str(exc.strerror)
    return ""


def _damage_of_tree(layers: LayerStore, diff_id: Digest) -> str:
    """What is wrong with the table of contents or the tree of a layer."""
    from tiffin.builder.layer.compare import first_change
    from tiffin.builder.layer.diff import diff_upper
    from tiffin.builder.layer.index import LayerIndex
    from tiffin.builder.layer.pack import pack_layer

    try:
        data = layers.snapshots.read_index(diff_id)
        if data is not None and not LayerIndex.is_current(data):
            data = None  # of another tiffin: it is made anew when it is needed
        if data is not None:
            LayerIndex.decode(data)
        layers.snapshots.blobs(diff_id)
        tree = layers.snapshots.fs(diff_id)
        if tree is None:
            return ""
        now = pack_layer(diff_upper(tree), blobs=None, compression=None)
        if now.diff_id == diff_id:
            return ""
        if data is None and not layers.has_blob(diff_id):
            return f"its unpacked tree was changed (now {now.diff_id})"
        change = first_change(layers.ensure_index(diff_id, None), now.index)  # tiffin may not be who packed it
        return f"its unpacked tree was changed: {change}" if change else ""
    except (TiffinError, OSError) as exc:
        return str(exc)
