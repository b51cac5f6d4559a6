"""What commands share: the stores, opened when first needed, and the options that reach registries."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from cache.statedir import StateDir

if TYPE_CHECKING:
    from builder.events import Sink
    from builder.image.layers import LayerStore
    from builder.image.remote import Remote
    from builder.image.store import ImageStore
    from cache.blobs import BlobStore
    from cache.local import Table

_Command = TypeVar("_Command", bound=Callable[..., Any])


class Session:
    """One command's view of the state directory."""

    def __init__(self, root: str | None) -> None:
        self._root = root

    @cached_property
    def state(self) -> StateDir:
        root = Path(self._root) if self._root else StateDir.default_root(os.environ)
        state = StateDir.open(root)
        state.sweep()
        return state

    @cached_property
    def blobs(self) -> BlobStore:
        from cache.blobs import BlobStore

        return BlobStore(self.state)

    @cached_property
    def table(self) -> Table:
        from cache.local import Table

        return Table(self.state, lambda text: click.echo(f"warning: {text}", err=True))

    @cached_property
    def store(self) -> ImageStore:
        from builder.image.store import ImageStore

        return ImageStore(self.state, self.blobs, self.table)

    def remote(self, sink: Sink, insecure: tuple[str, ...], cert: str | None) -> Remote:
        """Registries, with this command's options."""
        from builder.image.remote import Remote
        from builder.registry.transport import RegistryOptions
        from builder.version import VERSION

        options = RegistryOptions(insecure_registries=insecure, cert_file=cert or "", user_agent=f"tiffin/{VERSION}")
        return Remote(
            state=self.state, blobs=self.blobs, store=self.store, sink=sink, environ=os.environ, options=options
        )

    def layers(self, remote: Callable[[], Remote]) -> LayerStore:
        """The layers; blobs that are missing come through `remote`, made when first needed."""
        from builder.image.layers import LayerStore
        from cache.snapshots import Snapshots

        return LayerStore(self.state, self.blobs, Snapshots(self.state), lambda ref: remote().fetch(ref))

    def enter(self, layers: LayerStore, isolation: str | None) -> None:
        """Enter the user namespace of the best tier; from then on unpacked trees are at hand."""
        from builder.sandbox import tiers, userns

        if layers.snapshots.flavor:
            return
        id_map = tiers.choose(isolation or os.environ.get("TIFFIN_ISOLATION") or None)
        userns.enter(id_map)
        layers.snapshots.flavor = id_map.tag
        self.state.sweep()


def registry_options(command: _Command) -> _Command:
    """The options of every command that talks to registries."""
    for option in (
        click.option(
            "--registry-cert", "cert", type=click.Path(exists=True, dir_okay=False), help="PEM file to trust."
        ),
        click.option(
            "--insecure-registry", "insecure", multiple=True, metavar="HOST", help="Allow plain http to HOST."
        ),
    ):
        command = option(command)
    return command


def progress_option(command: _Command) -> _Command:
    """--progress, for commands that take time."""
    return click.option(
        "--progress",
        type=click.Choice(["auto", "tty", "plain", "json", "quiet"]),
        default="auto",
        envvar="BUILDKIT_PROGRESS",
        help="How to show progress.",
    )(command)


def quiet_if(quiet: bool, progress: str) -> str:
    """-q wins over --progress."""
    return "quiet" if quiet else progress


def is_terminal() -> bool:
    """Whether stdout is a terminal, where binary output would do harm."""
    return sys.stdout.isatty()
