"""Which containers a command is for: those named, or those of podman's --all, --latest, --filter, --cidfile."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from tiffin.builder.cli.options.option import Arguments, Flag, Many, Maybe, Words
from tiffin.builder.errors import ImageNotFoundError, UsageError
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.api.session import Session

MAX_ID_BYTES = 4096  # of a file that has the id of a container


class ChosenArguments(Arguments):
    """Names of containers, or what stands for them."""

    names = Words("CONTAINER...")
    everything = Flag("-a", "--all", help="All containers that it can be done to.")
    latest = Flag("-l", "--latest", help="The one that was made last.")
    filters = Many("--filter", metavar="NAME=VALUE", help="Those of them that fit, as ps has it; repeatable.")
    cidfiles = Many("--cidfile", metavar="FILE", help="Read an id from FILE; repeatable.")
    ignore = Flag("-i", "--ignore", help="Say nothing of containers that are not there.")

    @property
    def is_listed(self) -> bool:
        """Whether an option stands for the containers."""
        return self.everything or self.latest or bool(self.filters)

    def chosen(self, session: Session, statuses: Collection[str] = ()) -> Sequence[str]:
        """Return names and ids; of containers that are not named only those with one of `statuses`, ps's words, if any.

        Raises UsageError, and ContainerError for a filter.
        """
        if self.is_listed and (self.names or self.cidfiles):
            raise UsageError(
                "containers are named beside --all, --latest or --filter", remedy="leave the names or the option out"
            )
        if not self.is_listed and not self.names and not self.cidfiles:
            raise UsageError("Missing argument 'CONTAINER...'", remedy="name a container, or write --all")
        if self.is_listed:
            return self._listed(session, statuses)
        names = [*self.names, *(text for path in self.cidfiles if (text := self._id_in(path)))]
        return [name for name in names if is_there(session, name)] if self.ignore else names

    def _listed(self, session: Session, statuses: Collection[str]) -> Sequence[str]:
        from tiffin.builder.api.containers.watch.listing import FILTERS, list_containers
        from tiffin.builder.cli.output.lists import filters_of

        wanted = filters_of(self.filters, FILTERS)
        found = list_containers(session, wanted, everything=True, last=1 if self.latest else 0)
        is_wanted = not statuses or self.latest
        return [state.id for state, is_alive in found if is_wanted or state.status(alive=is_alive) in statuses]

    def _id_in(self, path: str) -> str:
        try:
            with Path(path).open("rb") as file:
                return file.read(MAX_ID_BYTES).decode("utf-8", "replace").strip()
        except FileNotFoundError:
            if self.ignore:
                return ""
            raise UsageError(f"--cidfile {path} does not exist", remedy="name a file that --cidfile wrote") from None
        except OSError as exc:
            raise UsageError(f"cannot read --cidfile {path}: {exc.strerror}", remedy="name a readable file") from exc


class PatientArguments(ChosenArguments):
    """The same, with how long a container may take to end."""

    seconds = Maybe("-t", "--time", "--timeout", metavar="SECONDS", help="Patience before it is killed; -1 for no end.")

    def patience(self) -> int | None:
        """Return the seconds, None where none were given. Raises UsageError."""
        if self.seconds is None:
            return None
        try:
            return int(self.seconds)
        except ValueError as exc:
            raise UsageError(f'--time "{self.seconds}" is not a whole number', remedy="write -t 10") from exc


def is_there(session: Session, name: str) -> bool:
    """Whether a container is called so, or has an id that begins so."""
    from tiffin.builder.containers.container import Containers

    try:
        Containers(session.state).find(name)
    except ImageNotFoundError:
        return False
    return True
