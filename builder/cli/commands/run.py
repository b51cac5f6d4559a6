"""tiffin run."""

from __future__ import annotations

import sys

import click

from tiffin.builder.api.run import EXIT_OWN_FAILURE
from tiffin.builder.api.session import Session
from tiffin.builder.cli.actions import run
from tiffin.builder.cli.options.common import progress_option, raw_registry_options
from tiffin.builder.cli.options.confinement import confinement_options
from tiffin.builder.cli.options.docker_run import docker_run_options

REFUSED = {  # options of Docker's that are refused by name: (takes a value, why)
    ("-d", "--detach"): (False, "containers in the background are not supported yet"),
    ("--device",): (True, "give a device as a mount, such as -v /dev/fuse:/dev/fuse"),
    ("--gpus",): (True, "devices are given as mounts"),
    ("--restart",): (True, "containers in the background are not supported yet"),
    ("--link",): (True, "containers share this machine's network"),
}

NOTHING = {"", "no"}  # what of their values asks for what is so anyhow: --restart no


class OwnUsageError(click.UsageError):
    exit_code = EXIT_OWN_FAILURE


class RunCommand(click.Command):
    """Docker's exit code for every failure of our own, wrong usage included: others are the command's."""

    usage_error = OwnUsageError

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: object
    ) -> click.Context:
        try:
            return super().make_context(info_name, args, parent, **extra)
        except click.UsageError as exc:
            raise OwnUsageError(exc.format_message(), exc.ctx) from exc


def refused_options(command: click.Command) -> click.Command:
    """Add the options that exist to be refused in words."""

    def refuse(_: click.Context, option: click.Parameter, value: object) -> None:
        if value is True or (isinstance(value, tuple) and set(value) - NOTHING):
            raise click.UsageError(f"{option.opts[-1]} is not supported: {REFUSED[tuple(option.opts)][1]}")

    for names, (takes_value, why) in REFUSED.items():
        command.params.append(
            click.Option(
                names,
                is_flag=None if takes_value else True,
                multiple=takes_value,
                metavar="VALUE" if takes_value else None,
                help=f"Refused: {why}.",
                expose_value=False,
                callback=refuse,
            )
        )
    return command


@refused_options
@click.command("run", cls=RunCommand, context_settings={"allow_interspersed_args": False})
@click.option("--rm", "remove", is_flag=True, help="Leave nothing behind.")
@click.option("-i", "--interactive", is_flag=True, help="Pass stdin on.")
@click.option("-t", "--tty", is_flag=True, help="Give the command a terminal.")
@click.option("-e", "--env", "env", multiple=True, metavar="K[=V]", help="Environment variable; repeatable.")
@click.option("--env-file", "env_files", multiple=True, metavar="FILE", help="File of K=V lines; repeatable.")
@click.option("-v", "--volume", "volumes", multiple=True, metavar="HOST|NAME:PATH[:ro]", help="Mount; repeatable.")
@click.option("--mount", "mounts", multiple=True, metavar="type=…,source=…,target=…", help="Mount; repeatable.")
@click.option("--tmpfs", "tmpfs", multiple=True, metavar="PATH[:size=…]", help="An empty file system in memory.")
@click.option("-w", "--workdir", default="", metavar="DIR", help="Working directory.")
@click.option("-u", "--user", default="", metavar="USER[:GROUP]", help="User to run as.")
@click.option(
    "--userns", default="", metavar="host|keep-id[:uid=N,gid=N]", help="keep-id: you have your own ids inside."
)
@click.option("--entrypoint", metavar="PROGRAM", help="Replace the image's entrypoint.")
@click.option("--read-only", is_flag=True, help="Make the root file system read-only.")
@click.option("-h", "--hostname", default="", metavar="NAME", help="Host name.")
@click.option("--name", default="", metavar="NAME", help="Name of the container.")
@click.option("-l", "--label", "labels", multiple=True, metavar="K[=V]", help="Label of the container; repeatable.")
@click.option("--label-file", "label_files", multiple=True, metavar="FILE", help="File of K[=V] lines; repeatable.")
@click.option("--add-host", "hosts", multiple=True, metavar="NAME:ADDRESS", help="Line of /etc/hosts; repeatable.")
@click.option("--shm-size", default="64m", metavar="SIZE", help="Size of /dev/shm.")
@click.option("--init", is_flag=True, help="An init of tiffin's is process 1: it reaps and passes signals on.")
@click.option(
    "--pull", type=click.Choice(["always", "missing", "newer", "never"]), default="missing", help="When to pull."
)
@click.option("--platform", metavar="OS/ARCH", help="Platform to pull (default: this machine's).")
@click.option("--isolation", metavar="TIER", help="Force an isolation tier: range, single, chroot, proot.")
@click.option("-q", "--quiet", is_flag=True, help="No progress of a pull.")
@confinement_options
@docker_run_options
@progress_option
@raw_registry_options
@click.argument("image")
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[COMMAND]...")
@click.help_option("--help")
@click.pass_obj
def command(session: Session, /, **options: object) -> None:
    """Run COMMAND (or the image's own) in a new container of IMAGE.

    The exit code is the command's; 125 says that tiffin failed, 126 and 127 that the command could not be run.
    """
    sys.exit(run(session, options))
