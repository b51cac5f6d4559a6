"""tiffin cache: what the build cache holds, why a step misses, and moving it between machines."""

from __future__ import annotations

import json

import click

from tiffin.builder.api.session import Session
from tiffin.builder.api.storage import build_cache as cache
from tiffin.builder.api.storage.prune import reach_trees, size_on_disk
from tiffin.builder.cli.actions import build
from tiffin.builder.cli.commands.cache_move import export_command, import_command
from tiffin.builder.cli.commands.cache_serve import serve_command
from tiffin.builder.cli.commands.system import confirm
from tiffin.builder.cli.groups import Group
from tiffin.builder.cli.options.build_arguments import BuildArguments
from tiffin.builder.cli.options.click_command import rows_command
from tiffin.builder.cli.output.lists import age_text, print_table
from tiffin.builder.cli.output.pruned import told_total
from tiffin.builder.errors import UsageError
from tiffin.builder.options import size_bytes
from tiffin.builder.plain_text import size_text
from tiffin.builder.settings.times import seconds_of
from tiffin.cache.store.mounts import CacheMounts
from tiffin.cache.store.snapshots import Snapshots

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
    rows = sorted(cache.steps(session), key=lambda row: row[1].created, reverse=True)
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
        ["Step records", str(sum(1 for _ in cache.steps(session))), size_text(size_on_disk(state.cache))],
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
        raise UsageError(f"--max-size {max_size} is not a valid size", remedy="write --max-size 10g") from exc
    age = seconds_of(older_than, "--older-than ") if older_than else None
    confirm(force, "Remove steps from the build cache?")
    reach_trees(session)
    with told_total(session):
        cache.prune(session, max_bytes=limit, max_age_seconds=age, keep=keep)


@command.command("verify")
@click.option("--repair", is_flag=True, help="Remove what is damaged.")
@click.pass_obj
def verify(session: Session, /, repair: bool) -> None:
    """Read every blob and every unpacked layer and compare them with their digests; exit code 1 if one is damaged."""
    report = cache.verify(session, repair=repair)
    for line in report.damaged:
        click.echo(line)
    count = len(report.damaged)
    click.echo(f"{report.checked} checked, {count} damaged{' and removed' if repair and count else ''}")
    if count and not repair:
        raise SystemExit(1)


def _explain(session: Session, line: BuildArguments) -> None:
    values = {row.field: getattr(line, row.field) for row in line.rows}
    asked = {"check": False, "profile": "", "iidfile": "", "metadata_file": "", "call": "explain", "quiet": True}
    build(session, BuildArguments({**values, **asked}))


command.add_command(
    rows_command(
        "explain",
        BuildArguments,
        _explain,
        help="Tell which steps of a build would run now, and why; takes the options of tiffin build, and builds nothing.",
        examples=("tiffin cache explain -t app .",),
    )
)
