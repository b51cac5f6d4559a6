"""tiffin buildx create | ls | inspect | use | rm | stop: builders by name, of which tiffin needs none."""

from __future__ import annotations

import os

from tiffin.builder.cli.options.command import BUILDS, Command, Group
from tiffin.builder.cli.options.common import ListArguments
from tiffin.builder.cli.options.option import REFUSED, WITHOUT_EFFECT, Arguments, Flag, Many, Text, Word, Words
from tiffin.builder.cli.output.console import print_error, print_result
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.api.buildx.builders import Builder
    from tiffin.builder.api.session import Session

ALWAYS_THERE = "a builder is always there"
HEADINGS = {
    "Name": "NAME/NODE", "DriverEndpoint": "DRIVER/ENDPOINT", "Status": "STATUS", "Buildkit": "BUILDKIT",
    "Platforms": "PLATFORMS",
}  # fmt: skip
BUILDX_VERSION = "0.36.0"  # what programs ask for at least, as API_VERSION of `version`
VARIABLE = "BUILDX_BUILDER"  # names the one that is used where none is named
RUNNING, ENDPOINT = "running", "tiffin"
NEVER = "0001-01-01T00:00:00Z"  # Go's zero time
WIDTH = 23  # of the names of members


class CreateArguments(Arguments):
    """What may stand on the line."""

    endpoint = Word("[ENDPOINT]", "")
    name = Text("--name", metavar="NAME", help="Name of the builder (default: one is made up).")
    driver = Text("--driver", metavar="docker-container", default="docker-container", help="Only of this machine.")
    driver_options = Many("--driver-opt", metavar="K=V", help="Kept and shown.")
    flags = Text("--buildkitd-flags", metavar="FLAGS", help="Kept and shown.")
    platforms = Many("--platform", metavar="OS/ARCH", help="Kept and shown.")
    node = Text("--node", metavar="NAME", help="Name of its node.")
    use = Flag("--use", help="Use it where no builder is named.")
    append = Flag("--append", help="Add a node to a builder that is there.")
    config = Many("--buildkitd-config", "--config", why="there is no buildkitd", effect=WITHOUT_EFFECT)
    bootstrap = Flag("--bootstrap", why=ALWAYS_THERE, effect=WITHOUT_EFFECT)
    progress = Many("--progress", effect=WITHOUT_EFFECT)
    timeout = Many("--timeout", effect=WITHOUT_EFFECT)
    leave = Flag("--leave", effect=REFUSED, why="a builder has one node")


class NameArguments(Arguments):
    """What may stand on the line of inspect, use and stop."""

    name = Word("[NAME]", "")
    builder = Text("--builder", metavar="NAME", help="The builder's name.")
    bootstrap = Flag("--bootstrap", effect=WITHOUT_EFFECT)
    timeout = Many("--timeout", effect=WITHOUT_EFFECT)
    is_default = Flag("--default", effect=WITHOUT_EFFECT)
    is_global = Flag("--global", effect=WITHOUT_EFFECT)


class VersionArguments(Arguments):
    """Nothing may stand on the line."""


class RmArguments(Arguments):
    """What may stand on the line."""

    names = Words("[NAME]...")
    builder = Text("--builder", metavar="NAME", help="The builder's name.")
    all_inactive = Flag("--all-inactive", help="Remove all that were created.")
    force = Flag("-f", "--force", help="Do not ask.")
    keep_state = Flag("--keep-state", effect=WITHOUT_EFFECT)
    keep_daemon = Flag("--keep-daemon", effect=WITHOUT_EFFECT)
    timeout = Many("--timeout", effect=WITHOUT_EFFECT)


class LsArguments(ListArguments):
    """What may stand on the line."""

    no_trunc = Flag("--no-trunc", effect=WITHOUT_EFFECT)
    timeout = Many("--timeout", effect=WITHOUT_EFFECT)


def create(session: Session, line: CreateArguments) -> None:
    """Keep a builder's name and print it."""
    from tiffin.builder.api.buildx.builders import Builder, create_builder

    for message in line.notices():
        print_error(f"warning: {message}")
    asked = Builder(
        name=line.name,
        node=line.node,
        driver_options=line.driver_options,
        flags=line.flags,
        platforms=tuple(part for text in line.platforms for part in text.split(",")),
    )
    print_result(create_builder(session, asked, driver=line.driver, use=line.use, append=line.append).name)


def inspect(session: Session, line: NameArguments) -> None:
    """Print what is known of a builder, in buildx's form."""
    from tiffin.builder.api.buildx.builders import read_builders
    from tiffin.builder.plain_text import rfc3339

    found = read_builders(session).find(line.name or line.builder or os.environ.get(VARIABLE, ""))
    rows = [("Name", found.name), ("Driver", found.driver)]
    rows += [("Last Activity", rfc3339(found.last_used))] if found.last_used else []
    print_result("\n".join(f"{name + ':':<{WIDTH}}{value}" for name, value in rows))
    nodes = [("Name", found.node), ("Endpoint", ENDPOINT), ("Status", RUNNING)]
    nodes += [("Driver Options", " ".join(f'{name}="{value}"' for name, value in _options(found)))] * bool(
        found.driver_options
    )
    nodes += [("BuildKit daemon flags", found.flags)] * bool(found.flags)
    nodes.append(("Platforms", ", ".join(_platforms(found))))
    print_result("\nNodes:\n" + "\n".join(f"{name + ':':<{WIDTH}}{value}" for name, value in nodes))


def version(_: Session, line: VersionArguments) -> None:
    """Print the version of buildx whose commands these are, with tiffin's own."""
    from tiffin.builder.version import VERSION

    print_result(f"github.com/docker/buildx v{BUILDX_VERSION} tiffin-{VERSION}")


def ls(session: Session, line: LsArguments) -> None:
    """Print all builders, a row for each and one for its node."""
    from tiffin.builder.api.buildx.builders import DEFAULT, read_builders
    from tiffin.builder.cli.output.lists import JSON, show_rows

    found = read_builders(session)
    current = os.environ.get(VARIABLE) or found.current
    if line.form == JSON or line.form.replace(" ", "") == "{{json.}}":
        for name in sorted({DEFAULT, *found.by_name}):
            print_result(_document(found.find(name), is_current=name == current))
        return
    rows = []
    for name in sorted({DEFAULT, *found.by_name}):
        builder = found.find(name)
        mark = "*" if name == current else ""
        platforms = ", ".join(_platforms(builder))
        node = {"Name": f" \\_ {builder.node}", "DriverEndpoint": f" \\_ {ENDPOINT}", "Status": RUNNING}
        rows += [
            {"Name": name + mark, "DriverEndpoint": builder.driver, "Status": "", "Buildkit": "", "Platforms": ""},
            {**node, "Buildkit": "", "Platforms": platforms},
        ]
    show_rows(rows, line.form, tuple(HEADINGS), HEADINGS)


def _document(builder: Builder, *, is_current: bool) -> str:
    """Return a builder as one line of JSON, with the members that buildx writes."""
    from tiffin.builder.cli.output.template_values import to_json
    from tiffin.builder.plain_text import rfc3339

    node: dict[str, object] = {
        "Name": builder.node,
        "Endpoint": ENDPOINT,
        "Status": RUNNING,
        "Platforms": [name.rstrip("*") for name in _platforms(builder)],
    }
    node |= {"DriverOpts": dict(_options(builder))} if builder.driver_options else {}
    node |= {"Flags": builder.flags.split()} if builder.flags else {}
    members = {"Name": builder.name, "Driver": builder.driver, "Dynamic": False, "Nodes": [node], "Current": is_current}
    return to_json({**members, "LastActivity": rfc3339(builder.last_used) if builder.last_used else NEVER})


def use(session: Session, line: NameArguments) -> None:
    """Choose a builder."""
    from tiffin.builder.api.buildx.builders import use_builder

    use_builder(session, line.name or line.builder)


def stop(session: Session, line: NameArguments) -> None:
    """Find the builder: nothing of it runs between builds."""
    from tiffin.builder.api.buildx.builders import read_builders

    read_builders(session).find(line.name or line.builder)


def rm(session: Session, line: RmArguments) -> None:
    """Forget builders."""
    from tiffin.builder.api.buildx.builders import read_builders, remove_builder

    names = line.names or ((line.builder,) if line.builder else ())
    if line.all_inactive:
        names = tuple(read_builders(session).by_name)
    for name in names or ("",):
        print_error(f"{remove_builder(session, name).name} removed")


def _options(builder: Builder) -> list[tuple[str, str]]:
    return [(name, value) for name, _, value in (text.partition("=") for text in builder.driver_options)]


def _platforms(builder: Builder) -> list[str]:
    """Return what it was created for, and what this machine can execute."""
    from tiffin.builder.api.machine import own_platforms

    return list(dict.fromkeys((*(f"{name}*" for name in builder.platforms), *own_platforms())))


COMMANDS = (
    Group("buildx", about="Builds, under the name of docker's plugin.", section=BUILDS, is_hidden=True),
    Command(
        "buildx create",
        CreateArguments,
        create,
        about="Keep the name of a builder.",
        section=BUILDS,
        examples=("tiffin buildx create --name ci --use",),
    ),
    Command(
        "buildx inspect",
        NameArguments,
        inspect,
        about="Show a builder.",
        section=BUILDS,
        examples=("tiffin buildx inspect --bootstrap",),
    ),
    Command("buildx ls", LsArguments, ls, about="List builders.", section=BUILDS, examples=("tiffin buildx ls",)),
    Command(
        "buildx use", NameArguments, use, about="Choose a builder.", section=BUILDS, examples=("tiffin buildx use ci",)
    ),
    Command(
        "buildx stop",
        NameArguments,
        stop,
        about="Stop a builder; nothing of it runs between builds.",
        section=BUILDS,
        examples=("tiffin buildx stop ci",),
    ),
    Command(
        "buildx version",
        VersionArguments,
        version,
        about="Show the version of buildx whose commands these are.",
        section=BUILDS,
        examples=("tiffin buildx version",),
    ),
    Command(
        "buildx rm",
        RmArguments,
        rm,
        about="Forget builders.",
        section=BUILDS,
        examples=("tiffin buildx rm ci",),
    ),
)
