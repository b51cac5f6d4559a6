"""One user namespace and one server of sandboxes for all builds of a command."""

from __future__ import annotations

import signal
import threading
from functools import cached_property

from tiffin.builder.api.session import Session
from tiffin.builder.errors import CanceledError
from tiffin.builder.image.layers import LayerStore
from tiffin.builder.image.store import ImageStore
from tiffin.builder.sandbox.child.fd_passing import Socket
from tiffin.builder.sandbox.child.spec import SandboxSpec
from tiffin.builder.sandbox.isolation import Isolation
from tiffin.builder.sandbox.launch import Launcher, Running
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING
from tiffin.cache.store.blobs import BlobStore
from tiffin.cache.store.local import Table
from tiffin.cache.store.statedir import StateDir

if TYPE_CHECKING:
    from tiffin.builder.api.farm.joined import JoinedFarm
    from tiffin.builder.farm.address import FarmAccess


class NamespaceNeededError(Exception):
    """A build has to work in the user namespace, which this process has not entered yet."""


class SharedLauncher(Launcher):
    """A server that outlives each of the builds that it serves."""

    def __init__(self, server: Socket, pid: int) -> None:
        super().__init__(server, pid)
        self._lock = threading.Lock()
        self._stopped = False
        self._running: list[Running] = []

    def run(self, spec: SandboxSpec, *, stdin: int, stdout: int, stderr: int, way_out: int | None = None) -> Running:
        """Start a sandbox. Raises CanceledError once all are stopped."""
        with self._lock:
            if self._stopped:
                raise CanceledError
            running = super().run(spec, stdin=stdin, stdout=stdout, stderr=stderr, way_out=way_out)
            self._running.append(running)
            return running

    def stop(self) -> None:
        """Kill what runs; what would start is refused."""
        with self._lock:
            self._stopped = True
            for running in self._running:
                running.kill(signal.SIGKILL)

    def close(self) -> None:
        """Leave it running: others use it."""

    def end(self) -> None:
        """End the server and all that runs in its sandboxes."""
        super().close()


class SharedSession(Session):
    """The session of one build among several. Its stores are those of `outer`; without a `launcher` it does not enter
    the namespace.
    """

    def __init__(self, outer: Session, launcher: SharedLauncher | None = None) -> None:
        super().__init__(outer.state.root)
        self._outer = outer
        self._launcher = launcher

    @cached_property
    def state(self) -> StateDir:
        return self._outer.state

    @cached_property
    def blobs(self) -> BlobStore:
        return self._outer.blobs

    @cached_property
    def table(self) -> Table:
        return self._outer.table

    @cached_property
    def store(self) -> ImageStore:
        return self._outer.store

    def farm(self, access: FarmAccess) -> JoinedFarm:
        """Return the farm of all builds; without a launcher it is one that cannot be joined yet."""
        if self._launcher is None:
            from tiffin.builder.api.farm.joined import BarredFarm

            return BarredFarm(access, NamespaceNeededError)
        return self._outer.farm(access)

    def leave_farm(self) -> None:
        """Do nothing: others use it."""

    def enter(self, layers: LayerStore, isolation: str | None) -> Isolation:
        """Tell how far the process is. Raises NamespaceNeededError where it has to enter first."""
        if self._launcher is None:
            raise NamespaceNeededError
        return self._outer.enter(layers, isolation)

    def launch(self) -> Launcher:
        """Return the server of all builds."""
        assert self._launcher is not None
        return self._launcher
