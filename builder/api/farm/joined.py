"""The farm of one command: joined by the first of its builds that has a step to run there."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from tiffin.builder.errors import UsageError
from tiffin.builder.events import Sink, WarningMessage
from tiffin.builder.farm.address import FarmAccess

if TYPE_CHECKING:
    from tiffin.builder.farm.dask.driver import Farm

EXTRA = 'run pip install "tiffin[farm]"'


def load_requests() -> None:
    """Load what speaks to registries: it takes longer than a small push does."""
    from tiffin.cache.connections import Connections

    Connections(trust_env=False).session()


class JoinedFarm:
    """The farm of one command: joined by the first who needs it, left at the end."""

    def __init__(self, access: FarmAccess) -> None:
        self._access = access
        self._lock = threading.Lock()  # guards the next
        self._farm: Farm | None = None

    def join(self, sink: Sink) -> Farm:
        """Return the farm. Raises UsageError without the libraries it needs, BuildError where nobody answers."""
        with self._lock:
            if self._farm is None:
                try:
                    from tiffin.builder.farm.dask.driver import Farm
                except ImportError as exc:
                    raise UsageError(f"--farm needs the package {exc.name}", remedy=EXTRA) from exc
                self._farm = Farm(self._access, lambda text: sink.emit(WarningMessage(message=text)), load_requests)
            return self._farm

    @property
    def joined(self) -> Farm | None:
        """The farm, if anybody joined it."""
        return self._farm

    def leave(self) -> None:
        """Leave it."""
        with self._lock:
            if self._farm is not None:
                self._farm.close()


class BarredFarm(JoinedFarm):
    """A farm that is not joined yet: what would run there is an `error`."""

    def __init__(self, access: FarmAccess, error: type[Exception]) -> None:
        super().__init__(access)
        self._error = error

    def join(self, sink: Sink) -> Farm:
        """Raise the error."""
        raise self._error
