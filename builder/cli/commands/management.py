"""docker's groups of the same commands: image, container, builder, buildx; and what has its place only there."""

from __future__ import annotations

import click

from tiffin.builder.api.session import Session
from tiffin.builder.cli.groups import LazyGroup


def _named(*names: str, **renamed: str) -> dict[str, tuple[str, str, str]]:
    """Commands of the top level by their own names, and by others (`ls="images"`)."""
    from tiffin.builder.cli.fast_help import COMMANDS

    wanted = {name: name for name in names} | renamed
    return {name: (COMMANDS[target][0], "command", COMMANDS[target][1]) for name, target in wanted.items()}


@click.group(
    cls=LazyGroup,
    hidden_names=("list", "remove"),
    lazy={
        **_named("build", "pull", "push", "history", "tag", "save", "load"),
        "inspect": ("tiffin.builder.cli.commands.inspect", "image_command", "Show what images are, as JSON."),
        **_named(ls="images", list="images", rm="rmi", remove="rmi"),
        "prune": (
            "tiffin.builder.cli.commands.management",
            "image_prune",
            "Remove images without a name, or that no container uses.",
        ),
    },
)
def image() -> None:
    """Images."""


@click.group(
    cls=LazyGroup,
    hidden_names=("list", "ps", "remove"),
    lazy={
        **_named("run", "ps", "rm", "export", ls="ps", list="ps", remove="rm"),
        "inspect": ("tiffin.builder.cli.commands.inspect", "container_command", "Show what containers are, as JSON."),
        "prune": ("tiffin.builder.cli.commands.management", "container_prune", "Remove containers that ended."),
    },
)
def container() -> None:
    """Containers."""


@click.group(
    cls=LazyGroup,
    lazy={**_named("build"), "prune": ("tiffin.builder.cli.commands.cache", "prune", "Remove build cache.")},
)
def builder() -> None:
    """Builds."""


@click.group(
    cls=LazyGroup,
    lazy={
        **_named("build", "version"),
        "du": ("tiffin.builder.cli.commands.cache", "du", "Show what the build cache takes."),
        "prune": ("tiffin.builder.cli.commands.cache", "prune", "Remove build cache."),
    },
)
def buildx() -> None:
    """Builds, by the name of docker's plugin."""


@click.command("prune")
@click.option("-a", "--all", "everything", is_flag=True, help="All images that no container uses.")
@click.option("-f", "--force", is_flag=True, help="Do not ask.")
@click.pass_obj
def image_prune(session: Session, /, everything: bool, force: bool) -> None:
    """Remove images without a name, or with --all those that no container uses."""
    from tiffin.builder.api.storage.prune import reach_trees, remove_images, remove_unneeded
    from tiffin.builder.cli.commands.system import confirm
    from tiffin.builder.cli.output.pruned import show_images, told_total
    from tiffin.builder.containers.container import Containers

    confirm(force, "Remove all images that no container uses?" if everything else "Remove images without a name?")
    reach_trees(session)
    with told_total(session):
        used = {state.image_id for state in Containers(session.state).states()}
        unused = [image for image in session.store.images() if str(image.id) not in used]
        removed = [image for image in unused if everything or not image.names]
        remove_images(session, removed)
        show_images(removed)
        remove_unneeded(session, keep_records=True)


@click.command("prune")
@click.option("-f", "--force", is_flag=True, help="Do not ask.")
@click.pass_obj
def container_prune(session: Session, /, force: bool) -> None:
    """Remove containers that ended."""
    from tiffin.builder.api.storage.prune import reach_trees, remove_stopped
    from tiffin.builder.cli.commands.system import confirm
    from tiffin.builder.cli.output.pruned import show_containers, told_total

    confirm(force, "Remove all containers that ended?")
    reach_trees(session)
    with told_total(session):
        show_containers(remove_stopped(session))
