"""tiffin compose exec, run."""

from __future__ import annotations

import os

from tiffin.builder.cli.commands.run import WarningSink, print_not_begun
from tiffin.builder.cli.compose.arguments import OnProject, whole_number
from tiffin.builder.cli.compose.one_off import RunArguments, is_on_terminal, named_variables, one_off_changes, published
from tiffin.builder.cli.options.command import CONTAINERS, Command
from tiffin.builder.cli.options.option import Flag, Many, Text, Word, Words
from tiffin.builder.cli.output.console import print_result
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    from tiffin.builder.api.run_options import RunOptions
    from tiffin.builder.api.session import Session
    from tiffin.builder.compose.model.values import Project, Service


class ExecArguments(OnProject):
    """What may stand on the line."""

    ends_options = True
    service = Word("SERVICE")
    words = Words("COMMAND [ARG]...", needed=True)
    detach = Flag("-d", "--detach", help="Run it in the background.")
    no_tty = Flag("-T", "--no-tty", help="No terminal (default: one where stdin and stdout are one).")
    tty = Flag("-t", "--tty", help="A terminal, as is the default.")
    interactive = Flag("-i", "--interactive", help="Pass stdin on, as is the default.")
    user = Text("-u", "--user", metavar="USER[:GROUP]", help="User to run as.")
    env = Many("-e", "--env", metavar="K[=V]", help="Environment variable; repeatable.")
    workdir = Text("-w", "--workdir", metavar="DIR", help="Working directory.")
    privileged = Flag("--privileged", help="Every capability, no filter.")
    index = Text("--index", metavar="N", default="0", help="Which container of the service.")


def exec_(session: Session, line: ExecArguments) -> int:
    """Run a command in a container of a service; return its exit code. Raises TiffinError."""
    from tiffin.builder.api.compose.members import members, one_of
    from tiffin.builder.api.containers.exec import ExecOptions, execute, execute_detached

    name, project = line.known()
    member = one_of(members(session, name, one_off=None), line.service, whole_number("--index", line.index))
    environment = project.environment if project is not None else os.environ
    options = ExecOptions(
        container=member.state.id,
        command=line.words,
        variables=tuple(named_variables(line.env, (), environment).items()),
        workdir=line.workdir,
        user=line.user,
        interactive=not line.detach,
        tty=not line.no_tty and not line.detach and is_on_terminal(),
        privileged=line.privileged,
    )
    result = (execute_detached if line.detach else execute)(options, session)
    if result.message:
        print_not_begun(result.message, whose="container")
    return result.exit_code


def run(session: Session, line: RunArguments) -> int:
    """Run a command in a container of its own, as a service has it; return its exit code. Raises TiffinError."""
    from tiffin.builder.api.compose.images import Images, check_refused
    from tiffin.builder.api.compose.life import mind_orphans
    from tiffin.builder.api.compose.resources import make_resources
    from tiffin.builder.api.compose.up import Up, up
    from tiffin.builder.api.containers.lifecycle import run_detached
    from tiffin.builder.api.run import run as run_attached
    from tiffin.builder.cli.compose.printing import ChangeSink
    from tiffin.builder.cli.compose.service_lines import ServiceLines

    project = line.load([line.service])
    service = one_off_changes(project.services[line.service], line, project.environment)
    check_refused([service])
    is_quiet = line.quiet_build if service.build is not None else line.quiet_pull
    lines = ServiceLines(project, session, "quiet" if is_quiet else line.project.progress)
    sink = ChangeSink("quiet") if line.quiet else line.sink()
    dependencies = () if line.no_deps else tuple(name for name in service.depends_on if name in project.services)
    if dependencies:
        up(project, Up(services=dependencies, removes_orphans=line.remove_orphans), session, sink, lines)
    else:
        mind_orphans(project, session, sink, removes=line.remove_orphans)
    images = Images(project, session, sink, lines)
    pulls = "" if line.pull == "policy" else line.pull
    image = images.ensure([service], builds=True if line.build else None, pulls=pulls)
    make_resources(project, [service], session, sink)
    if dependencies:
        from tiffin.builder.api.compose.jobs import run_apart
        from tiffin.builder.api.compose.waiting import await_dependencies

        run_apart(lambda session, sink: await_dependencies(service, project.name, session, sink), session, sink)
    options = _one_off(project, service, lines, line, image[service.name])
    if line.detach:
        started = run_detached(options, session, WarningSink())
        print_result(options.name)
        if started.message:
            print_not_begun(started.message)
        return started.exit_code
    result = run_attached(options, session, WarningSink())
    if result.message:
        print_not_begun(result.message)
    return result.exit_code


def _one_off(project: Project, service: Service, lines: Any, line: RunArguments, image_id: str) -> RunOptions:
    """Return the options of the container."""
    from tiffin.builder.api.compose import naming

    name = line.name or f"{project.name}-{service.name}-run-{os.urandom(6).hex()}"
    labels = naming.container_labels(project, service, 1, image_id, one_off=True)
    labels |= dict(text.partition("=")[::2] for text in line.labels)
    changes = {"remove": line.remove, "volumes": line.volumes, "publish": published(service, line)}
    options: RunOptions = lines.container(service, name=name, number=1, labels=labels, changes=changes)
    return options


COMMANDS = (
    Command(
        "compose exec",
        ExecArguments,
        exec_,
        about="Run a command in a container of a service.",
        section=CONTAINERS,
        examples=("tiffin compose exec db psql -U postgres",),
    ),
    Command(
        "compose run",
        RunArguments,
        run,
        about="Run a command in a container of its own, as a service has it.",
        section=CONTAINERS,
        examples=("tiffin compose run --rm web pytest",),
    ),
)
