"""tiffin cache: what the build cache holds, and why a step misses."""

from __future__ import annotations

from tiffin.builder.cli.commands.build import build
from tiffin.builder.cli.options.build_arguments import BuildArguments
from tiffin.builder.cli.options.command import BUILDS, Command, Group
from tiffin.builder.cli.options.option import WITHOUT_EFFECT, Arguments, Flag, Many, Number, Text
from tiffin.builder.cli.output.console import confirm, print_result
from tiffin.builder.errors import UsageError
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.api.session import Session

SHORT_TEXT = 60


class LsArguments(Arguments):
    """Of the list of steps."""

    quiet = Flag("-q", "--quiet", help="Print keys only.")
    no_trunc = Flag("--no-trunc", help="Do not truncate keys and steps.")
    form = Text("--format", choices=("table", "json"), default="table", help="A table, or one line of JSON per item.")


def ls(session: Session, line: LsArguments) -> None:
    """Print the steps whose results are kept."""
    import json

    from tiffin.builder.api.storage import build_cache
    from tiffin.builder.cli.output.lists import age_text, print_table
    from tiffin.builder.plain_text import size_text

    rows = sorted(build_cache.steps(session), key=lambda row: row[1].created, reverse=True)
    if line.quiet:
        for key, _ in rows:
            print_result(key)
    elif line.form == "json":
        for key, record in rows:
            print_result(json.dumps({"key": key} | json.loads(record.encode())))
    else:
        lines = [["KEY", "CREATED", "SIZE", "TIME", "STEP"]]
        for key, record in rows:
            text = " ".join(record.description.split())
            if not line.no_trunc:
                key, text = key[:12], text if len(text) <= SHORT_TEXT else text[: SHORT_TEXT - 1] + "…"
            size = size_text(record.layer.size_bytes) if record.layer is not None else "unpacked"
            lines.append([key, age_text(record.created), size, f"{record.seconds:.1f}s", text])
        print_table(lines)


class DuArguments(Arguments):
    """What may stand on the line."""

    verbose = Flag("--verbose", effect=WITHOUT_EFFECT)
    builder = Many("--builder", effect=WITHOUT_EFFECT)


def du(session: Session, _: DuArguments) -> None:
    """Print what the build cache takes on disk."""
    from tiffin.builder.api.storage import build_cache
    from tiffin.builder.api.storage.prune import reach_trees, size_on_disk
    from tiffin.builder.cli.output.lists import print_table
    from tiffin.builder.plain_text import size_text
    from tiffin.cache.store.mounts import CacheMounts
    from tiffin.cache.store.snapshots import Snapshots

    reach_trees(session)
    state = session.state
    mounts = CacheMounts(state, "").list()
    lines = [
        ["WHAT", "COUNT", "SIZE"],
        ["Step records", str(sum(1 for _ in build_cache.steps(session))), size_text(size_on_disk(state.cache))],
        ["Packed layers", str(sum(1 for _ in session.blobs)), size_text(size_on_disk(state.images))],
        ["Unpacked layers", str(len(list(Snapshots(state)))), size_text(size_on_disk(state.layers))],
        *([f"Cache mount {info.id}", "1", size_text(size_on_disk(info.path))] for info in mounts),
    ]
    print_table(lines)


class PruneArguments(Arguments):
    """Which steps go."""

    max_size = Text("--max-size", metavar="SIZE", help="Remove the oldest steps until the cache takes at most this.")
    older_than = Text("--older-than", metavar="TIME", help="Remove steps made longer ago, such as 12h or 30d.")
    keep = Number("--keep", metavar="N", default=-1, minimum=0, help="Keep the N newest steps only.")
    force = Flag("-f", "--force", help="Do not ask.")
    everything = Flag("-a", "--all", help="Remove all steps.")
    filters = Many("--filter", metavar="until=TIME", help="As --older-than.")
    reserved_space = Text("--reserved-space", "--keep-storage", metavar="SIZE", help="As --max-size.")
    max_used_space = Text("--max-used-space", metavar="SIZE", help="As --max-size.")
    verbose = Flag("--verbose", effect=WITHOUT_EFFECT)
    builder = Many("--builder", effect=WITHOUT_EFFECT)


def prune(session: Session, line: PruneArguments) -> None:
    """Remove steps and layers; print how much they took."""
    from tiffin.builder.api.storage import build_cache
    from tiffin.builder.api.storage.prune import reach_trees
    from tiffin.builder.cli.output.lists import filters_of
    from tiffin.builder.cli.output.pruned import print_total
    from tiffin.builder.options import size_bytes
    from tiffin.builder.settings.times import seconds_of

    size = line.max_size or line.max_used_space or line.reserved_space
    try:
        limit = size_bytes(size) if size else None
    except ValueError as exc:
        raise UsageError(f"{size} is not a valid size", remedy="write --max-size 10g") from exc
    until = filters_of(line.filters, ("until",)).get("until", [""])[-1]
    age = seconds_of(line.older_than or until, "--older-than ") if line.older_than or until else None
    keep = line.keep if line.keep >= 0 else 0 if line.everything and limit is None and age is None else None
    confirm(line.force, "Remove steps from the build cache?")
    reach_trees(session)
    with print_total(session):
        build_cache.prune(session, max_bytes=limit, max_age_seconds=age, keep=keep)


class VerifyArguments(Arguments):
    """What becomes of what is damaged."""

    repair = Flag("--repair", help="Remove damaged data.")


def verify(session: Session, line: VerifyArguments) -> int | None:
    """Print what is damaged; return 1 where that stays."""
    from tiffin.builder.api.storage import build_cache

    report = build_cache.verify(session, repair=line.repair)
    for text in report.damaged:
        print_result(text)
    count = len(report.damaged)
    print_result(f"{report.checked} checked, {count} damaged{' and removed' if line.repair and count else ''}")
    return 1 if count and not line.repair else None


def explain(session: Session, line: BuildArguments) -> None:
    """Print what a build would do."""
    values = {row.field: row.on(line) for row in line.rows}
    files = dict.fromkeys(("profile", "iidfile", "metadata_file"), "")
    build(session, BuildArguments({**values, **files}, check=False, call="explain", quiet=True))


COMMANDS = (
    Group("cache", about="Look into the build cache and share it.", section=BUILDS),
    Command(
        "cache ls",
        LsArguments,
        ls,
        about="List the steps whose results are kept.",
        help=(
            "List the steps whose results are kept, newest first. SIZE is that of the compressed layer, TIME how "
            "long it took"
            " to make."
        ),
        examples=("tiffin cache ls", "tiffin cache ls --format json"),
    ),
    Command(
        "cache du",
        DuArguments,
        du,
        about="Show the disk usage of the build cache.",
        examples=("tiffin cache du",),
        aliases=("buildx du",),
    ),
    Command(
        "cache prune",
        PruneArguments,
        prune,
        about="Remove steps from the cache, and layers that no image needs.",
        help=(
            "Remove steps from the cache, and layers that no image needs. Without options: only layers that no step "
            "needs."
        ),
        examples=("tiffin cache prune -f --max-size 10g", "tiffin cache prune -f --older-than 30d"),
        aliases=("builder prune", "buildx prune"),
    ),
    Command(
        "cache verify",
        VerifyArguments,
        verify,
        about="Compare every blob and every layer with its digest.",
        help=(
            "Read every blob and every unpacked layer and compare them with their digests; exit code 1 if one is"
            " damaged."
        ),
        examples=("tiffin cache verify", "tiffin cache verify --repair"),
    ),
    Command(
        "cache explain",
        BuildArguments,
        explain,
        about="Explain which steps of a build would run now, and why.",
        help=(
            "Explain which steps of a build would run now, and why; takes the options of tiffin build, builds nothing."
        ),
        examples=("tiffin cache explain -t app .",),
    ),
)
