"""Make an image of a container: its layers, one of what it changed, and its configuration."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from typing import Any

from tiffin.builder.api.containers.document import container_document
from tiffin.builder.api.containers.files.changes import Files, files_of
from tiffin.builder.api.session import Session
from tiffin.builder.containers.container import Containers
from tiffin.builder.containers.lifecycle.events import record_of_container
from tiffin.builder.containers.lifecycle.record import ContainerRecord
from tiffin.builder.containers.mounts import VolumeMount
from tiffin.builder.errors import ContainerError, ImageNotFoundError
from tiffin.builder.events import NullSink, Sink
from tiffin.builder.image.layers import LayerStore
from tiffin.builder.image.store import StoredImage
from tiffin.builder.layer.compression.codecs import Compression
from tiffin.builder.layer.pack import pack_layer
from tiffin.builder.oci.config import History, ImageConfig, RunConfig
from tiffin.builder.oci.json_fields import Fields, canonical
from tiffin.builder.oci.reference import Reference
from tiffin.builder.oci.spec import Platform
from tiffin.builder.plain_text import rfc3339
from tiffin.builder.plan.changes import changed_config
from tiffin.builder.settings.access import RegistryAccess
from tiffin.builder.solver.results import assemble_manifest
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.frozen import dataclass, replace
from tiffin.cache.store.snapshots import BlobRef

GZIP = Compression(kind="gzip")


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitOptions:
    """What the image is to be called and to say; `changes` are instructions of a Dockerfile."""

    container: str
    name: str = ""
    author: str = ""
    message: str = ""
    changes: tuple[str, ...] = ()
    pauses: bool = True


def commit(options: CommitOptions, session: Session, sink: Sink) -> Digest:
    """Make an image of a container, which is paused meanwhile; return the id of the image.

    Raises UsageError, ImageError, ContainerError, SandboxError.
    """
    names = [Reference.parse(options.name)] if options.name else []
    changed_config(RunConfig(), options.changes, Platform.local())  # what is wrong with them is told first
    config = changed_config(config_of(options.container, session), options.changes, Platform.local())
    with _paused(options, session, sink), files_of(options.container, session) as files:
        base = _base(files, session)
        layers = session.layers(lambda: session.remote(NullSink(), RegistryAccess()))
        layers.use_trees(files.isolation.idmap_tag)
        own = _packed(files, layers, session)
        blobs = [*_blobs_below(files, base, layers), *([own[1]] if own else [])]
        made = _image_config(files, base, config, options, own[0] if own else None)
        data = made.encode()
        manifest = assemble_manifest(data, blobs, annotations={}).encode()
        image = session.store.put(manifest, data, names)
        record_of_container(session.state, files.container.state, "commit", imageID=str(image.id))
        return image.id


def config_of(name: str, session: Session) -> RunConfig:
    """Return the configuration of a container as that of an image. Raises ImageNotFoundError, CorruptError."""
    document: dict[str, Any] = container_document(name, session)
    if "HostConfig" not in document:
        raise ContainerError(f"too little is known of container {name}", remedy="make it again with this version")
    record = ContainerRecord.read(Containers(session.state).folder(str(document["Id"])))
    shown = RunConfig.from_fields(Fields.decode(canonical(document["Config"]), "configuration of the container"))
    volumes = {mount.path for mount in record.options.mounts if isinstance(mount, VolumeMount) and not mount.name}
    return replace(
        shown,
        volumes=tuple(sorted({*shown.volumes, *volumes})),
        stop_signal=record.options.stop_signal or record.config.stop_signal,
    )


def _packed(files: Files, layers: LayerStore, session: Session) -> tuple[Digest, BlobRef] | None:
    """Pack what the container changed; None for nothing."""
    changes, _ = files.changes()
    if not changes:
        return None
    packed = pack_layer(changes, blobs=session.blobs, compression=GZIP)
    assert packed.blob is not None
    layers.keep_index(packed.diff_id, packed.index)
    layers.snapshots.add_blob(packed.diff_id, packed.blob)
    return packed.diff_id, packed.blob


@contextlib.contextmanager
def _paused(options: CommitOptions, session: Session, sink: Sink) -> Iterator[None]:
    """Pause a container that runs, unless it is paused already or is not to be.

    A child lets it go on, also when this process is killed: this one will be in the namespace of the files by then.
    """
    containers = Containers(session.state)
    state = containers.find(options.container)
    if not options.pauses or state.is_paused or not containers.is_alive(state.id):
        yield
        return
    from tiffin.builder.api.containers.change.pausing import pause, unpause

    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(writer)
            if os.read(reader, 1):  # it was paused
                os.read(reader, 1)
                unpause(state.id, session)
        finally:
            os._exit(0)
    os.close(reader)
    try:
        with contextlib.suppress(ContainerError):  # it ended, or somebody paused it
            pause(state.id, session, sink)
            os.write(writer, b"p")
        yield
    finally:
        os.close(writer)
        os.waitpid(child, 0)


def _base(files: Files, session: Session) -> StoredImage | None:
    """Return the image of the container, None where it was removed."""
    try:
        image = session.store.find(files.container.state.image_id)
    except ImageNotFoundError:
        return None
    diff_ids = tuple(str(diff_id) for diff_id in image.config.diff_ids)
    return image if diff_ids == files.container.state.layers else None


def _blobs_below(files: Files, base: StoredImage | None, layers: LayerStore) -> Sequence[BlobRef]:
    """Return the packed layers of the container's root, as its image has them or packed anew. Raises ImageError."""
    if base is not None:
        return [layers.bring(BlobRef.of(layer)) for layer in base.manifest.layers]
    return [layers.ensure_blob(Digest.parse(text), GZIP) for text in files.container.state.layers]


def _image_config(
    files: Files, base: StoredImage | None, config: RunConfig, options: CommitOptions, diff_id: Digest | None
) -> ImageConfig:
    below = tuple(Digest.parse(text) for text in files.container.state.layers)
    now = rfc3339(time.time())
    history = base.config.history if base is not None else tuple(History(created=now) for _ in below)
    made = History(
        created=now,
        created_by=" ".join(config_command(files)),
        author=options.author,
        comment=options.message,
        empty_layer=diff_id is None,
    )
    known = base.config if base is not None else None
    return ImageConfig(
        platform=known.platform if known is not None else Platform.local(),
        config=config,
        diff_ids=(*below, *((diff_id,) if diff_id is not None else ())),
        history=(*history, made),
        created=now,
        author=options.author,
        os_version=known.os_version if known is not None else "",
        os_features=known.os_features if known is not None else (),
    )


def config_command(files: Files) -> Sequence[str]:
    """Return the words of the container's command without its entry point, as docker notes them."""
    options, config = files.record.options, files.record.config
    return options.command or (config.cmd if options.entrypoint is None and config.cmd else ())
