"""tiffin volume create | ls | inspect | rm | prune | exists."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from tiffin.builder.cli.options.command import CONTAINERS, EXIT_OF_CONTAINERS, Command, Group
from tiffin.builder.cli.options.common import ListArguments
from tiffin.builder.cli.options.option import Arguments, Flag, Many, Text, Word, Words
from tiffin.builder.cli.output.console import EXIT_REFUSED, as_refused, confirm, each, print_result
from tiffin.builder.cli.output.lists import filters_of, show_documents, show_rows
from tiffin.builder.errors import NotFoundError
from tiffin.builder.options import has_labels
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.api.session import Session
    from tiffin.builder.api.volumes import ListedVolume

HEADINGS = {
    "Driver": "DRIVER", "Name": "VOLUME NAME", "Mountpoint": "MOUNTPOINT", "Labels": "LABELS", "Scope": "SCOPE",
    "Links": "LINKS", "Size": "SIZE", "Availability": "AVAILABILITY", "Group": "GROUP", "Status": "STATUS",
}  # fmt: skip
COLUMNS = ("Driver", "Name")


class CreateArguments(Arguments):
    """What may stand on the line."""

    name = Word("[VOLUME]", "")
    driver = Text("-d", "--driver", metavar="local", default="local", help="Only local.")
    labels = Many("--label", "-l", metavar="K[=V]", help="Label; repeatable.")
    options = Many("-o", "--opt", metavar="K=V", help="type=none, o=bind and device=DIR: a directory of this machine.")


class LsArguments(ListArguments):
    """What may stand on the line."""

    quiet = Flag("-q", "--quiet", help="Print names only.")
    filters = Many("-f", "--filter", metavar="NAME=VALUE", help="name=, label=, driver=, dangling=; repeatable.")
    no_heading = Flag("-n", "--noheading", help="No headings, which templates have none of.")


class InspectArguments(Arguments):
    """What may stand on the line."""

    names = Words("VOLUME...", needed=True)
    form = Text("-f", "--format", metavar="TEMPLATE", help="Go template, such as {{.Mountpoint}}.")


class RmArguments(Arguments):
    """What may stand on the line."""

    names = Words("VOLUME...", needed=True)
    force = Flag("-f", "--force", help="Ignore missing ones.")


class PruneArguments(Arguments):
    """What may stand on the line."""

    everything = Flag("-a", "--all", help="Also those that were given a name.")
    filters = Many("--filter", metavar="label=K[=V]", help="Only those with the label; repeatable.")
    force = Flag("-f", "--force", help="Do not ask.")


class ExistsArguments(Arguments):
    """What may stand on the line."""

    name = Word("VOLUME")


def create(session: Session, line: CreateArguments) -> None:
    """Make a volume and print its name."""
    from tiffin.builder.api.volumes import create_volume
    from tiffin.builder.containers.environment import parse_labels

    options = dict(text.partition("=")[::2] for text in line.options)
    labels = parse_labels(line.labels, ())
    with as_refused():
        volume = create_volume(line.name, session, labels=labels, driver=line.driver, options=options)
    print_result(volume.name)


def ls(session: Session, line: LsArguments, names: Collection[str] | None = None) -> None:
    """Print a list of volumes: of those in `names`, where it is given."""
    from tiffin.builder.api.volumes import list_volumes

    wanted = filters_of(line.filters, ("name", "label", "driver", "dangling"))
    found = [item for item in list_volumes(session) if _is_wanted(item, wanted)]
    found = [item for item in found if names is None or item.volume.name in names]
    if line.quiet:
        for item in found:
            print_result(item.volume.name)
    else:
        form = "{{.Driver}}\t{{.Name}}" if line.no_heading and line.form == "table" else line.form
        show_rows([_row(item) for item in found], form, COLUMNS, HEADINGS)


def _is_wanted(item: ListedVolume, wanted: Mapping[str, list[str]]) -> bool:
    dangling = ["true" if text.lower() in ("true", "1") else "false" for text in wanted.get("dangling", [])]
    return (
        any(text in item.volume.name for text in wanted.get("name", [""]))
        and "local" in wanted.get("driver", ["local"])
        and has_labels(item.volume.labels, wanted.get("label", []))
        and (not dangling or ("false" if item.users else "true") in dangling)
    )


def _row(item: ListedVolume) -> dict[str, object]:
    volume = item.volume
    return {
        "Driver": "local",
        "Name": volume.name,
        "Mountpoint": item.place,
        "Labels": ",".join(f"{name}={value}" for name, value in sorted(volume.labels.items())),
        "Scope": "local",
        "Links": "N/A",
        "Size": "N/A",
        "Availability": "N/A",
        "Group": "N/A",
        "Status": "N/A",
    }


def inspect(session: Session, line: InspectArguments) -> None:
    """Print documents of volumes."""
    from tiffin.builder.api.volumes import inspect_volume

    show_documents(line.names, lambda name: inspect_volume(name, session), line.form)


def rm(session: Session, line: RmArguments) -> None:
    """Remove volumes and print their names."""
    from tiffin.builder.api.volumes import remove_volume

    def remove(name: str) -> None:
        remove_volume(name, session)
        print_result(name)

    each(line.names, remove, ignored=NotFoundError if line.force else ())


def prune(session: Session, line: PruneArguments) -> None:
    """Remove volumes that no container has; print how much they took."""
    from tiffin.builder.api.volumes import prune_volumes
    from tiffin.builder.cli.output.pruned import print_total, show_names

    wanted = filters_of(line.filters, ("label", "all"))
    everything = line.everything or any(text.lower() in ("true", "1") for text in wanted.get("all", []))
    what = "all" if everything else "anonymous"
    confirm(line.force, f"Remove {what} volumes that no container has?")
    with print_total(session):
        show_names("Volumes", prune_volumes(session, everything=everything, labels=wanted.get("label", [])))


def exists(session: Session, line: ExistsArguments) -> int:
    """Tell by the exit code whether a volume is there, as podman does."""
    from tiffin.builder.api.volumes import exists_volume

    return 0 if exists_volume(line.name, session) else 1


COMMANDS = (
    Group("volume", about="Volumes: directories that outlive containers.", section=CONTAINERS),
    Command(
        "volume create",
        CreateArguments,
        create,
        about="Make a volume.",
        help="Make a volume and print its name. It is empty until a container has it: then it is filled with what the "
        "image has there.",
        section=CONTAINERS,
        examples=("tiffin volume create --label app=web data",),
        usage_code=EXIT_REFUSED,
        unknown_option_code=EXIT_OF_CONTAINERS,
    ),
    Command(
        "volume ls",
        LsArguments,
        ls,
        about="List volumes.",
        section=CONTAINERS,
        examples=("tiffin volume ls -q -f dangling=true",),
        aliases=("volume list",),
        usage_code=EXIT_REFUSED,
        unknown_option_code=EXIT_OF_CONTAINERS,
    ),
    Command(
        "volume inspect",
        InspectArguments,
        inspect,
        about="Show details of volumes as JSON.",
        section=CONTAINERS,
        examples=("tiffin volume inspect -f '{{.Mountpoint}}' data",),
        usage_code=EXIT_REFUSED,
        unknown_option_code=EXIT_OF_CONTAINERS,
    ),
    Command(
        "volume rm",
        RmArguments,
        rm,
        about="Remove volumes.",
        help="Remove volumes that no container has.",
        section=CONTAINERS,
        examples=("tiffin volume rm data",),
        aliases=("volume remove",),
        usage_code=EXIT_REFUSED,
        unknown_option_code=EXIT_OF_CONTAINERS,
    ),
    Command(
        "volume prune",
        PruneArguments,
        prune,
        about="Remove volumes that no container has.",
        help="Remove anonymous volumes that no container has, with --all named ones, too.",
        section=CONTAINERS,
        examples=("tiffin volume prune -f", "tiffin volume prune -a -f --filter label=ci"),
        usage_code=EXIT_REFUSED,
        unknown_option_code=EXIT_OF_CONTAINERS,
    ),
    Command(
        "volume exists",
        ExistsArguments,
        exists,
        about="Tell by the exit code whether a volume is there.",
        section=CONTAINERS,
        examples=("tiffin volume exists data",),
        usage_code=EXIT_REFUSED,
        unknown_option_code=EXIT_OF_CONTAINERS,
    ),
)
