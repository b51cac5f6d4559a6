"""What commands share: the stores, opened when first needed."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

from tiffin.builder.errors import SandboxError
from tiffin.cache.foundation.frozen import replace
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING
from tiffin.cache.store.statedir import StateDir, sweep_at_end

if TYPE_CHECKING:
    from tiffin.builder.api.farm.joined import JoinedFarm
    from tiffin.builder.events import Sink
    from tiffin.builder.farm.address import FarmAccess
    from tiffin.builder.image.layers import LayerStore
    from tiffin.builder.image.remote import Remote
    from tiffin.builder.image.store import ImageStore
    from tiffin.builder.sandbox.isolation import Isolation
    from tiffin.builder.sandbox.launch import Launcher
    from tiffin.builder.settings.access import RegistryAccess
    from tiffin.cache.store.blobs import BlobStore
    from tiffin.cache.store.local import Table

BUILDING = "building"  # a lock that builds share, and who makes their cache smaller has alone


class Session:
    """One command's view of the state directory: `root`, or where there is none the usual one of the user. `warn` is
    told what is amiss in it and stops nothing.
    """

    def __init__(self, root: str | Path | None = None, warn: Callable[[str], None] = lambda _: None) -> None:
        self._root = root
        self._warn = warn
        self._isolation: Isolation | None = None  # once chosen
        self._shared: Callable[[Isolation], int] | None = None
        self._farm: JoinedFarm | None = None
        self._is_base = False  # of a user's ids that are kept it is the namespace around

    @cached_property
    def state(self) -> StateDir:
        root = Path(self._root) if self._root else StateDir.default_root(os.environ)
        state = StateDir.open(root)
        sweep_at_end(state)
        self._sweep_containers(state)
        return state

    def has_state(self) -> bool:
        """Whether there is a state directory already."""
        return (Path(self._root) if self._root else StateDir.default_root(os.environ)).is_dir()

    def _sweep_containers(self, state: StateDir) -> None:
        """Remove what is left of killed `run --rm`, in a child: it may have to enter the namespace of the files."""
        if not any(state.containers.iterdir()):
            return
        from tiffin.builder.containers.container import Containers

        containers = Containers(state)
        if not containers.has_dead() or (containers.sweep(stopped=False) and not containers.has_dead()):
            return
        child = os.fork()
        if child == 0:
            try:
                self.__dict__["state"] = state  # else it would be opened again, and swept in a child again
                self.isolate(None)
                containers.sweep(stopped=False)
            finally:
                os._exit(0)
        os.waitpid(child, 0)

    @cached_property
    def blobs(self) -> BlobStore:
        from tiffin.cache.store.blobs import BlobStore

        return BlobStore(self.state)

    @cached_property
    def table(self) -> Table:
        from tiffin.cache.store.local import Table

        return Table(self.state, self._warn)

    @cached_property
    def store(self) -> ImageStore:
        from tiffin.builder.image.store import ImageStore

        return ImageStore(self.state, self.blobs, lambda: self.table)

    def farm(self, access: FarmAccess) -> JoinedFarm:
        """Return the farm of this command, which is joined when a step has to run."""
        if self._farm is None:
            from tiffin.builder.api.farm.joined import JoinedFarm

            self._farm = JoinedFarm(access)
        return self._farm

    def leave_farm(self) -> None:
        """Leave it, if it was joined."""
        if self._farm is not None:
            self._farm.leave()
            self._farm = None

    def remote(self, sink: Sink, access: RegistryAccess, peers: Sequence[str] | None = ()) -> Remote:
        """Return the registries as `access` reaches them; `peers` are builders to ask first, as are those of
        $TIFFIN_CACHE_PEERS.

        None: no other builder is asked.
        """
        from tiffin.builder.image.remote import Remote
        from tiffin.builder.settings.access import TOKEN_VARIABLE, peer_names
        from tiffin.builder.settings.registries import read_registry_options

        environ = access.environment(os.environ)
        options = read_registry_options(environ, access)
        asked = None
        names = () if peers is None else peer_names(os.environ, peers)
        if names:
            from tiffin.builder.events import WarningMessage
            from tiffin.cache.shared.stores.peers import Peers

            token = os.environ.get(TOKEN_VARIABLE, "")
            asked = Peers(names, token, lambda text: sink.emit(WarningMessage(message=text)), options.trust)
        return Remote(
            state=self.state,
            blobs=self.blobs,
            store=self.store,
            sink=sink,
            environ=environ,
            options=options,
            peers=asked,
        )

    def layers(self, remote: Callable[[], Remote]) -> LayerStore:
        """Return the layers; blobs that are missing come through `remote`, made when first needed."""
        from tiffin.builder.image.layers import LayerStore
        from tiffin.cache.store.snapshots import Snapshots

        return LayerStore(
            self.state, self.blobs, Snapshots(self.state), lambda ref, follower: remote().fetch(ref, follower)
        )

    def enter(self, layers: LayerStore, isolation: str | None) -> Isolation:
        """Choose the best tier and enter its user namespace, once; from then on its unpacked trees are at hand."""
        found = self._isolation or self.isolate(isolation)
        layers.use_trees(found.idmap_tag)
        return found

    def launch(self) -> Launcher:
        """Return what starts sandboxes; to be called while the process has one thread."""
        from tiffin.builder.sandbox.launch import Launcher

        return Launcher.start()

    def launch_one(self, *, stays: bool = False) -> Launcher:
        """Return what starts one sandbox. `stays`: this process does little more than wait for it."""
        from tiffin.builder.sandbox.direct import DirectLauncher

        return DirectLauncher(stays=stays)

    def become_root(
        self,
        isolation: str | None,
        meanwhile: Callable[[Isolation], object] = lambda _: None,
        *,
        keep: tuple[int, int] | None = None,
    ) -> Isolation:
        """Enter the user namespace of the best tier that runs commands. Raises SandboxError where none does."""
        found = self.isolate(isolation, meanwhile, keep=keep)
        if not found.tier.runs_commands:
            raise SandboxError(
                f"a command needs a sandbox, and this machine allows none ({found.refusal})", remedy=found.remedy
            )
        return found

    def share_namespace(self, shared: Callable[[Isolation], int], *, is_base: bool = False) -> None:
        """Have this process enter a user namespace that others are in; `shared` returns a descriptor of it.

        `is_base`: one that keeps the caller's ids is made within it.
        """
        self._shared, self._is_base = shared, is_base

    def isolate(
        self,
        isolation: str | None,
        meanwhile: Callable[[Isolation], object] = lambda _: None,
        *,
        keep: tuple[int, int] | None = None,
    ) -> Isolation:
        """Return the best tier, or the one forced, its user namespace entered; NONE where none runs commands.

        `meanwhile` is for tiffin.builder.sandbox.userns.enter; it does not run where there is no namespace to enter.
        `keep`: the caller's ids inside.
        """
        if self._isolation is not None:
            return self._entered_again(self._isolation, isolation, meanwhile, keep)
        from tiffin.builder.sandbox import userns
        from tiffin.builder.sandbox.isolation_cache import TierMemory

        forced = isolation or os.environ.get("TIFFIN_ISOLATION") or None
        memory = TierMemory(self.state.locks / (f"tier-{forced}" if forced else "tier"))
        found = memory.recall()
        if found is None:
            from tiffin.builder.sandbox.tiers.choice import choose

            with self.state.scratch("probe") as place:
                found = choose(forced, place)
            memory.remember(found)
        if keep is not None and found.id_map is not None and found.id_map.helpers is not None:
            from tiffin.builder.sandbox.keepid import keeping

            found = replace(found, id_map=keeping(found.id_map, *keep))
        if self._shared is not None:
            self._join(self._shared(found), found, meanwhile)
        elif found.id_map is not None:
            try:
                userns.enter(found.id_map, lambda: meanwhile(found))
            except SandboxError:
                memory.forget()
                raise
        self._isolation = found
        return found

    def _join(self, namespace: int, found: Isolation, meanwhile: Callable[[Isolation], object]) -> None:
        """Enter the user namespace of others, and where ids are kept one of its own within it. Raises SandboxError."""
        from tiffin.builder.sandbox import userns

        if not self._is_base or found.id_map is None or not found.id_map.keeps:
            userns.join(namespace, lambda: meanwhile(found))
            return
        from tiffin.builder.sandbox.keepid import within_base

        userns.join(namespace)
        userns.enter(within_base(found.id_map), lambda: meanwhile(found))

    def _entered_again(
        self,
        entered: Isolation,
        wanted: str | None,
        meanwhile: Callable[[Isolation], object],
        keep: tuple[int, int] | None,
    ) -> Isolation:
        """Go on in the namespace that this process is in; raises SandboxError for what only another one has."""
        keeps = entered.id_map is not None and entered.id_map.keeps
        if wanted not in (None, "", entered.tier.name) or (keep is not None) != keeps:
            raise SandboxError(
                f"this process already entered the user namespace of isolation {entered.tier} and cannot leave it",
                remedy="run this in a separate process",
            )
        if entered.id_map is not None:
            meanwhile(entered)
        return entered
