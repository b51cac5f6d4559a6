"""tiffin compose stop, start, restart, kill, pause, unpause, rm, wait."""

from __future__ import annotations

from tiffin.builder.cli.compose.arguments import OnServices, PatienceArguments, whole_number
from tiffin.builder.cli.options.command import CONTAINERS, Command
from tiffin.builder.cli.options.option import Flag, Maybe, Text
from tiffin.builder.cli.output.console import confirm, print_error, print_result
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from tiffin.builder.api.compose.members import Member
    from tiffin.builder.api.session import Session
    from tiffin.builder.compose.model.values import Project


class StopArguments(PatienceArguments, OnServices):
    """What may stand on the line."""


class RestartArguments(StopArguments):
    """What may stand on the line."""

    no_deps = Flag("--no-deps", help="Leave alone what depends on the services.")


class StartArguments(OnServices):
    """What may stand on the line."""

    wait = Flag("--wait", help="Wait until services run, or are healthy.")
    wait_timeout = Maybe("--wait-timeout", metavar="SECONDS", help="How long to wait for that.")


class KillArguments(OnServices):
    """What may stand on the line."""

    signal = Text("-s", "--signal", metavar="SIGNAL", default="KILL", help="What is sent.")
    remove_orphans = Flag("--remove-orphans", help="Containers of services that the files no longer have, too.")


class RmArguments(OnServices):
    """What may stand on the line."""

    force = Flag("-f", "--force", help="Do not ask.")
    stop = Flag("-s", "--stop", help="Stop containers first.")
    volumes = Flag("-v", "--volumes", help="Remove their anonymous volumes, too.")


class WaitArguments(OnServices):
    """What may stand on the line."""

    down_project = Flag("--down-project", help="Take the project down when the first container ends.")


def chosen(
    session: Session,
    line: OnServices,
    *,
    one_off: bool | None = False,
    strangers: bool = False,
    with_dependencies: bool = False,
) -> tuple[str, Project | None, list[Member]]:
    """Return the project and the containers that a line means; `strangers`: also those of services that its files do
    not have. `with_dependencies`: also those that the services that are named depend on. Raises ContainerError,
    ComposeError.
    """
    from tiffin.builder.api.compose.members import check_known, members, of_services

    name, project = line.known(line.services)
    found = members(session, name, one_off=one_off)
    wanted: Collection[str] = line.services
    if project is None:
        check_known(found, line.services)
    else:
        known = project.services.keys() | project.disabled.keys()
        found = [one for one in found if strangers or one.service in known]
        if with_dependencies and line.services:
            from tiffin.builder.compose.model.order import chosen as chosen_services

            wanted = chosen_services(project, line.services, with_dependencies=True)
    return name, project, of_services(found, wanted)


def stop(session: Session, line: StopArguments) -> None:
    """Stop containers. Raises TiffinError."""
    from tiffin.builder.api.compose.life import stop

    _, project, found = chosen(session, line)
    stop(found, session, line.sink(), seconds=line.patience(), project=project)


def start(session: Session, line: StartArguments) -> None:
    """Start containers that were made. Raises TiffinError."""
    from tiffin.builder.api.compose.life import start
    from tiffin.builder.api.compose.waiting import await_up
    from tiffin.builder.errors import ContainerError

    name, project, found = chosen(session, line, with_dependencies=True)
    missing = sorted(set(line.services) - {one.service for one in found})
    if missing:
        raise ContainerError(
            f'service "{missing[0]}" has no container to start', remedy=f"make it with tiffin compose up {missing[0]}"
        )
    start(found, session, line.sink(), project=project)
    if line.wait:
        seconds = float(whole_number("--wait-timeout", line.wait_timeout)) if line.wait_timeout is not None else None
        await_up(name, [one.service for one in found], session, line.sink(), seconds=seconds)


def restart(session: Session, line: RestartArguments) -> None:
    """Stop containers and start them again. Raises TiffinError."""
    from tiffin.builder.api.compose.life import restart, restarted_with
    from tiffin.builder.api.compose.members import members

    name, project, found = chosen(session, line)
    if project is not None and line.services and not line.no_deps:
        again = restarted_with(line.services, project)
        found += [one for one in members(session, name) if one.service in again and one.is_alive]
    restart(found, session, line.sink(), seconds=line.patience(), project=project)


def kill(session: Session, line: KillArguments) -> None:
    """Send a signal to containers. Raises TiffinError."""
    from tiffin.builder.api.compose.life import kill

    _, _, found = chosen(session, line)
    kill(found, session, line.sink(), line.signal)


def pause(session: Session, line: OnServices) -> None:
    """Freeze containers. Raises TiffinError."""
    from tiffin.builder.api.compose.life import pause

    _, _, found = chosen(session, line)
    pause(found, session, line.sink())


def unpause(session: Session, line: OnServices) -> None:
    """Let containers go on. Raises TiffinError."""
    from tiffin.builder.api.compose.life import unpause

    _, _, found = chosen(session, line)
    unpause(found, session, line.sink())


def rm(session: Session, line: RmArguments) -> None:
    """Remove containers that do not run. Raises TiffinError."""
    from tiffin.builder.api.compose.life import remove, stop

    _, project, found = chosen(session, line, one_off=None)
    if line.stop:
        stop(found, session, line.sink(), project=project)
        found = chosen(session, line, one_off=None)[-1]
    dead = [one for one in found if not one.is_alive]
    if not dead:
        print_error("No stopped containers")
        return
    confirm(line.force, f"Going to remove {', '.join(one.name for one in dead)}")
    remove(dead, session, line.sink(), volumes=line.volumes)


def wait(session: Session, line: WaitArguments) -> int:
    """Wait until a container of the services ends; return its exit code. Raises TiffinError."""
    from tiffin.builder.api.compose.life import Down, down
    from tiffin.builder.api.containers import lifecycle

    name, project, found = chosen(session, line)
    code = 0
    for one in found:
        code = lifecycle.wait(one.state.id, session)
        print_result(str(code))
        if line.down_project:
            down(name, project, Down(orphans=project is None), session, line.sink())
            break
    return code


COMMANDS = (
    Command("compose stop", StopArguments, stop, about="Stop containers.", section=CONTAINERS,
            examples=("tiffin compose stop -t 30 db",)),
    Command("compose start", StartArguments, start, about="Start containers that were made.", section=CONTAINERS,
            examples=("tiffin compose start",)),
    Command("compose restart", RestartArguments, restart, about="Stop containers and start them again.",
            section=CONTAINERS, examples=("tiffin compose restart web",)),
    Command("compose kill", KillArguments, kill, about="Send a signal to containers.", section=CONTAINERS,
            examples=("tiffin compose kill -s HUP web",)),
    Command("compose pause", OnServices, pause, about="Freeze containers.", section=CONTAINERS,
            examples=("tiffin compose pause db",)),
    Command("compose unpause", OnServices, unpause, about="Let frozen containers go on.", section=CONTAINERS,
            examples=("tiffin compose unpause db",)),
    Command("compose rm", RmArguments, rm, about="Remove containers that do not run.", section=CONTAINERS,
            examples=("tiffin compose rm -fsv web",)),
    Command("compose wait", WaitArguments, wait, about="Wait until containers end.", section=CONTAINERS,
            examples=("tiffin compose wait job",)),
)  # fmt: skip
