"""How large the files of containers are: what each changed, and its whole root."""

from __future__ import annotations

from collections.abc import Sequence

from tiffin.builder.api.session import Session
from tiffin.builder.containers.container import Containers
from tiffin.builder.containers.files.sizes import size_of_files
from tiffin.builder.containers.state import ContainerState
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.frozen import dataclass
from tiffin.cache.store.snapshots import Snapshots


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Bytes in files: `changed` of what a container wrote, `whole` with its layers."""

    changed: int
    whole: int


def sizes_of(states: Sequence[ContainerState], session: Session) -> dict[str, Sizes]:
    """Return the sizes of containers by their ids, in the namespace of their files. Raises SandboxError."""
    if not states:
        return {}
    isolation = session.isolate(None)
    containers = Containers(session.state)
    layers: dict[str, int] = {}
    found = {}
    for state in states:
        changed = size_of_files(containers.upper(state.id))
        if not isolation.overlay:
            found[state.id] = Sizes(changed=changed, whole=changed)
            continue
        for text in set(state.layers) - layers.keys():
            layers[text] = _size_of_layer(Snapshots(session.state, isolation.idmap_tag), Digest.parse(text))
        found[state.id] = Sizes(changed=changed, whole=changed + sum(layers[text] for text in set(state.layers)))
    return found


def _size_of_layer(snapshots: Snapshots, diff_id: Digest) -> int:
    """Return the bytes in the files of a layer: of its tree, else as its table has it; 0 for one that is gone."""
    tree = snapshots.tree(diff_id)
    if tree is not None:
        return size_of_files(tree)
    data = snapshots.read_index(diff_id)
    if data is None:
        return 0
    from tiffin.builder.layer.index import LayerIndex

    return sum(entry.size for entry in LayerIndex.decode(data).entries if entry.kind == "file")
