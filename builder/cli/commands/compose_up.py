"""tiffin compose up, create, scale, down."""

from __future__ import annotations

import contextlib
import time

from tiffin.builder.cli.compose.arguments import OnProject, OnServices, PatienceArguments, whole_number
from tiffin.builder.cli.options.command import CONTAINERS, Command
from tiffin.builder.cli.options.option import Flag, Many, Maybe, Text, Words
from tiffin.builder.cli.output.console import print_error
from tiffin.builder.errors import UsageError
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tiffin.builder.api.compose.up import Up
    from tiffin.builder.api.session import Session
    from tiffin.builder.cli.compose.printing import ChangeSink
    from tiffin.builder.cli.compose.service_lines import ServiceLines
    from tiffin.builder.compose.model.values import Project

EXIT_INTERRUPTED = 130
LOOK_SECONDS = 0.3  # between two looks whether something runs again


class CreateArguments(OnServices):
    """What up and create share."""

    build = Flag("--build", help="Build images before containers are made.")
    no_build = Flag("--no-build", help="Build nothing, even if an image is missing.")
    pull = Text(
        "--pull", choices=("always", "missing", "never", "build", "policy"), default="policy", help="When to pull."
    )
    quiet_pull = Flag("--quiet-pull", help="Do not show the progress of pulls.")
    force_recreate = Flag("--force-recreate", help="Make containers anew, even if nothing changed.")
    no_recreate = Flag("--no-recreate", help="Keep containers, even if something changed.")
    remove_orphans = Flag("--remove-orphans", help="Remove containers of services that the files no longer have.")
    scale = Many("--scale", metavar="SERVICE=N", help="How many containers a service has; repeatable.")
    yes = Flag("-y", "--yes", help="Make volumes anew that are not as the files say; their data is lost.")


class UpArguments(PatienceArguments, CreateArguments):
    """What may stand on the line."""

    detach = Flag("-d", "--detach", help="Leave the containers in the background.")
    no_start = Flag("--no-start", help="Make containers, and start none.")
    no_deps = Flag("--no-deps", help="Leave alone what the services depend on.")
    always_recreate_deps = Flag("--always-recreate-deps", help="Make containers anew that the services depend on.")
    renew_anon_volumes = Flag("-V", "--renew-anon-volumes", help="Do not keep volumes without a name.")
    wait = Flag("--wait", help="Wait until services run, or are healthy; implies -d.")
    wait_timeout = Maybe("--wait-timeout", metavar="SECONDS", help="How long to wait for that.")
    abort_on_container_exit = Flag("--abort-on-container-exit", help="Stop all when one container ends.")
    abort_on_container_failure = Flag("--abort-on-container-failure", help="Stop all when one container fails.")
    exit_code_from = Text("--exit-code-from", metavar="SERVICE", help="Return its exit code; stop all when it ends.")
    attach = Many("--attach", metavar="SERVICE", help="Show the lines of this service alone; repeatable.")
    no_attach = Many("--no-attach", metavar="SERVICE", help="Do not show the lines of this service; repeatable.")
    attach_dependencies = Flag("--attach-dependencies", help="Show the lines of what the services depend on, too.")
    no_color = Flag("--no-color", help="No colours.")
    no_log_prefix = Flag("--no-log-prefix", help="No names before lines.")
    timestamps = Flag("--timestamps", help="The time before each line.")
    watch = Flag("-w", "--watch", help="Follow the files that develop.watch names, as tiffin compose watch does.")
    menu = Flag("--menu", off="--no-menu", help="There is no menu of keys.")


class DownArguments(PatienceArguments, OnServices):
    """What may stand on the line."""

    volumes = Flag("-v", "--volumes", help="Remove named and anonymous volumes, too.")
    rmi = Text("--rmi", choices=("all", "local"), help="Remove images: all, or those without a name of their own.")
    remove_orphans = Flag("--remove-orphans", help="Remove containers of services that the files no longer have.")


def up(session: Session, line: UpArguments) -> int:
    """Bring a project up; attached, stay with it. Raises TiffinError."""
    from tiffin.builder.api.compose.up import up
    from tiffin.builder.cli.compose.service_lines import ServiceLines

    _check(line)
    project = line.load(line.services)
    strangers = sorted({*line.attach, *line.no_attach} - project.services.keys())
    if strangers:
        raise UsageError(
            f"cannot attach to {strangers[0]}", remedy=f"services are {', '.join(sorted(project.services))}"
        )
    progress = "quiet" if line.quiet_pull else line.project.progress
    begun = time.time_ns()
    sink = line.sink()
    lines = ServiceLines(project, session, progress)
    beside = _watching(project, session, line, sink, lines)
    services = up(project, _how(line, project), session, sink, lines)
    if line.detach or line.wait or line.no_start:
        return 0
    with beside:
        return _attached(project, _shown(project, services, line), session, line, sink, begun)


def _watching(
    project: Project, session: Session, line: UpArguments, sink: ChangeSink, lines: ServiceLines
) -> contextlib.AbstractContextManager[None]:
    """Return what follows files while lines are shown. Raises ContainerError where no service is to be followed."""
    if not line.watch:
        return contextlib.nullcontext()
    from tiffin.builder.api.compose.following.watching import Watcher, watching_beside
    from tiffin.builder.compose.model.order import chosen

    services = chosen(project, line.services, with_dependencies=False)
    return watching_beside(Watcher(project, list(services), session, sink, lines), sink)


def _check(line: UpArguments) -> None:
    for one, other in (
        ("--build", "--no-build"),
        ("--force-recreate", "--no-recreate"),
        ("--detach", "--abort-on-container-exit"),
        ("--detach", "--abort-on-container-failure"),
        ("--detach", "--exit-code-from"),
        ("--detach", "--watch"),
        ("--wait", "--watch"),
        ("--no-start", "--watch"),
        ("--wait", "--abort-on-container-exit"),
        ("--no-start", "--wait"),
    ):
        fields = [name.removeprefix("--").replace("-", "_") for name in (one, other)]
        if all(line.__dict__.get(field) for field in fields):
            raise UsageError(f"{one} and {other} do not go together", remedy="leave out one of them")


def create(session: Session, line: CreateArguments) -> None:
    """Make the containers of a project, and start none. Raises TiffinError."""
    from tiffin.builder.api.compose.up import up
    from tiffin.builder.cli.compose.service_lines import ServiceLines
    from tiffin.cache.foundation.frozen import replace

    project = line.load(line.services)
    how = replace(_how(line, project), starts=False)
    up(project, how, session, line.sink(), ServiceLines(project, session, line.project.progress))


class ScaleArguments(OnProject):
    """What may stand on the line."""

    counts = Words("[SERVICE=NUMBER]...", needed=True)
    no_deps = Flag("--no-deps", help="Do not start what the services depend on.")


def scale(session: Session, line: ScaleArguments) -> None:
    """Have so many containers of services. Raises TiffinError."""
    from tiffin.builder.api.compose.up import Up, up
    from tiffin.builder.cli.compose.service_lines import ServiceLines

    counts = _scale(line.counts)
    project = line.load(tuple(counts))
    how = Up(services=tuple(counts), scale=counts, dependencies=not line.no_deps)
    up(project, how, session, line.sink(), ServiceLines(project, session, line.project.progress))


def _how(line: CreateArguments, project: Project) -> Up:
    from tiffin.builder.api.compose.converge import AUTO, FORCE, NEVER
    from tiffin.builder.api.compose.up import Up

    recreate = FORCE if line.force_recreate else NEVER if line.no_recreate else AUTO
    common = Up(
        services=line.services,
        builds=True if line.build else False if line.no_build else None,
        pulls="" if line.pull == "policy" else line.pull,
        recreate=recreate,
        recreate_dependencies=recreate,
        scale=_scale(line.scale),
        removes_orphans=line.remove_orphans,
        at_once=whole_number("--parallel", line.project.parallel),
        all_resources=line.project.all_resources,
        replaces_volumes=line.yes,
    )
    if not isinstance(line, UpArguments):
        return common
    from tiffin.cache.foundation.frozen import replace

    seconds = line.wait_timeout
    return replace(
        common,
        dependencies=not line.no_deps,
        recreate_dependencies=FORCE if line.always_recreate_deps else AUTO if line.services else recreate,
        stop_seconds=line.patience(),
        starts=not line.no_start,
        renews_volumes=line.renew_anon_volumes,
        waits=line.wait,
        wait_seconds=float(whole_number("--wait-timeout", seconds)) if seconds is not None else None,
    )


def _scale(texts: tuple[str, ...]) -> dict[str, int]:
    found = {}
    for text in texts:
        name, equals, count = text.partition("=")
        if not equals or not count.isdecimal():
            raise UsageError(f'"{text}" is not a valid SERVICE=NUMBER', remedy="write web=3")
        found[name] = int(count)
    return found


def _shown(project: Project, services: Sequence[str], line: UpArguments) -> list[str]:
    """Return the services whose lines are shown."""
    wanted = list(line.attach) or [
        name
        for name in (services if not line.services or line.attach_dependencies else line.services)
        if project.services[name].attach
    ]
    return [name for name in wanted if name not in line.no_attach]


def _attached(
    project: Project, shown: Sequence[str], session: Session, line: UpArguments, sink: ChangeSink, begun: int
) -> int:
    """Show lines until all containers have ended, or somebody ends it; then only the services of the line stop."""
    from tiffin.builder.api.compose.life import kill, stop
    from tiffin.builder.api.compose.members import Member, members, of_services

    def own() -> list[Member]:
        return of_services(members(session, project.name), line.services)

    seconds = line.patience()
    try:
        code = _followed(project, shown, session, line, begun)
        while code is None and line.watch:  # all have ended: some may be made anew
            begun = time.time_ns()
            time.sleep(LOOK_SECONDS)
            code = _followed(project, shown, session, line, begun)
        if code is not None:
            stop(own(), session, sink, seconds=seconds, project=project)
        ended = [one for one in members(session, project.name) if one.service == line.exit_code_from]
        return (ended[0].state.exit_code or 0) if ended else code or 0
    except KeyboardInterrupt:
        print_error("Gracefully Stopping... press Ctrl+C again to force")
    try:
        stop(own(), session, sink, seconds=seconds, project=project)
    except KeyboardInterrupt:
        kill(own(), session, sink, "KILL")
    return EXIT_INTERRUPTED


def _followed(project: Project, shown: Sequence[str], session: Session, line: UpArguments, begun: int) -> int | None:
    """Show lines; return the exit code where the end of one container is to be that of all, None at the end of all."""
    from tiffin.builder.api.compose.following.logs import Follower, LogLine
    from tiffin.builder.api.compose.members import members
    from tiffin.builder.cli.compose.printing import LinePrinter, has_colours, shown_name

    printer = LinePrinter(
        coloured=has_colours(line.project.ansi, is_off=line.no_color),
        prefixed=not line.no_log_prefix,
        timestamps=line.timestamps,
    )
    printer.know([shown_name(one) for one in members(session, project.name) if one.service in shown])
    awaited = line.services or shown
    follower = Follower(project.name, (), session, since_ns=begun, awaited=awaited)
    try:
        for event in follower.follow():
            if isinstance(event, LogLine):
                if event.member.service in shown:
                    printer.line(event)
                continue
            if event.member.service in shown:
                printer.told(event.member, f"exited with code {event.exit_code}")
            if event.member.service in awaited and (
                line.exit_code_from
                or line.abort_on_container_exit
                or (line.abort_on_container_failure and event.exit_code)
            ):
                return event.exit_code
        return None
    finally:
        follower.close()


def down(session: Session, line: DownArguments) -> None:
    """Stop and remove what up made. Raises TiffinError."""
    from tiffin.builder.api.compose.life import Down, down

    name, project = line.known()
    seconds = line.patience()
    how = Down(
        services=line.services,
        seconds=seconds,
        volumes=line.volumes,
        images=line.rmi,
        orphans=line.remove_orphans or project is None,
    )
    down(name, project, how, session, line.sink())


COMMANDS = (
    Command(
        "compose up",
        UpArguments,
        up,
        about="Make and start containers.",
        help="Make what a project needs, start its services in the order of their dependencies, and show their lines. "
        "Containers whose service changed are made anew.",
        section=CONTAINERS,
        examples=(
            "tiffin compose up -d --wait",
            "tiffin compose up --build --scale web=3",
            "tiffin compose up --watch",
        ),
    ),
    Command(
        "compose create",
        CreateArguments,
        create,
        about="Make containers, and start none.",
        section=CONTAINERS,
        examples=("tiffin compose create",),
    ),
    Command(
        "compose scale",
        ScaleArguments,
        scale,
        about="Have so many containers of services.",
        section=CONTAINERS,
        examples=("tiffin compose scale web=3",),
    ),
    Command(
        "compose down",
        DownArguments,
        down,
        about="Stop and remove containers and networks.",
        section=CONTAINERS,
        examples=("tiffin compose down", "tiffin compose down -v --rmi local"),
    ),
)
