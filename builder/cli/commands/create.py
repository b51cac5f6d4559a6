"""tiffin create."""

from __future__ import annotations

import os

from tiffin.builder.cli.commands.run import WarningSink, renderer
from tiffin.builder.cli.options.command import CONTAINERS, EXIT_OF_CONTAINERS, Command
from tiffin.builder.cli.options.run_arguments import CreateArguments
from tiffin.builder.cli.output.console import print_result, warn
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.api.session import Session


def create(session: Session, line: CreateArguments) -> None:
    """Make a container and print its id. Raises TiffinError."""
    from tiffin.builder.api.containers.lifecycle import create
    from tiffin.builder.cli.options.run_values import container_options, run_options
    from tiffin.builder.containers.limits import begin_in_scope

    for remark in line.notices():
        warn(remark)
    container = container_options(line)
    begin_in_scope(container.limits, os.environ)
    print_result(create(run_options(line, lambda: container), session, WarningSink(), lambda: renderer(line)).id)


COMMANDS = (
    Command(
        "create",
        CreateArguments,
        create,
        about="Make a container without starting it.",
        help="Make a container of IMAGE, to be started by tiffin start; print its id.",
        section=CONTAINERS,
        examples=("tiffin create --name db -v data:/var/lib/db app",),
        aliases=("container create",),
        usage_code=EXIT_OF_CONTAINERS,
        unknown_option_code=EXIT_OF_CONTAINERS,
    ),
)
