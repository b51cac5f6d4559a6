"""Whole builds of the solver on real stores, with a launcher that starts nothing: no namespace, no network."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.fakes.images import PLATFORM, FakeImages
from tests.fakes.launcher import FakeLauncher
from tests.fakes.sink import RecordingSink
from tests.support.minimal_image import Files, layer
from tests.support.tiers import SINGLE
from tiffin.builder.dockerfile.parser import parse
from tiffin.builder.image.chain import Chain
from tiffin.builder.image.layers import LayerStore
from tiffin.builder.layer.compression.codecs import Compression
from tiffin.builder.layer.index import MergedTree
from tiffin.builder.oci.config import ImageConfig, RunConfig
from tiffin.builder.oci.spec import OCI_CONFIG, OCI_LAYER, Descriptor, Manifest
from tiffin.builder.plan.plan_options import BaseImage, PlanOptions
from tiffin.builder.sandbox.isolation import Isolation
from tiffin.builder.sandbox.userns import IdMap
from tiffin.builder.solver.build import Built, Request, Services, build
from tiffin.builder.solver.explain import Explainer
from tiffin.builder.sources.context import Contexts
from tiffin.builder.sources.layer_files import Members
from tiffin.cache.backend import AvailableOnly, Tiered
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.store.blobs import BlobStore
from tiffin.cache.store.local import LocalCache, Table
from tiffin.cache.store.snapshots import BlobRef, Snapshots
from tiffin.cache.store.statedir import StateDir

OVERLAYS = Isolation(tier=SINGLE, overlay=True, own_pids=True)
OWN = ((0, os.geteuid(), 1),)
MOUNTS = Isolation(  # of a machine with mounts and one id
    tier=SINGLE, id_map=IdMap(tag="own", uids=OWN, gids=OWN, helpers=None), overlay=True, own_pids=True
)
COPIES = Isolation(tier=SINGLE, overlay=False, own_pids=True)
GZIP, PLAIN = Compression(kind="gzip"), Compression(kind="none")
PASSWD = "root:x:0:0:root:/root:/bin/sh\nwww:x:33:34::/www:/bin/sh\n"


def not_here(ref: BlobRef, _: object) -> None:
    raise AssertionError(f"{ref.digest} is fetched, and there is nobody to fetch it from")


@dataclass(kw_only=True)
class Bench:
    """One state directory, and a context in a directory of this machine."""

    place: Path
    isolation: Isolation = OVERLAYS
    launcher: FakeLauncher = field(default_factory=FakeLauncher)
    sink: RecordingSink = field(default_factory=RecordingSink)
    secrets: dict[str, bytes] = field(default_factory=dict)
    entered: int = 0

    def __post_init__(self) -> None:
        self.state = StateDir.open(self.place / "state")
        self.blobs = BlobStore(self.state)
        self.table = Table(self.state, print)
        self.layers = LayerStore(self.state, self.blobs, Snapshots(self.state), not_here)
        self.images = FakeImages({})
        self.context = self.place / "context"
        self.context.mkdir(exist_ok=True)

    def close(self) -> None:
        self.table.close()

    def write(self, files: Mapping[str, str]) -> None:
        for name, text in files.items():
            path = self.context / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def keep(self, data: bytes) -> Digest:
        with self.blobs.ingest() as writer:
            writer.write(data)
            return writer.commit()[0]

    def image(self, name: str, *layers: Files, config: RunConfig | None = None) -> BaseImage:
        """A base image of real layers, found by that name."""
        tars = [layer(files) for files in layers]
        digests = [self.keep(tar) for tar in tars]
        described = ImageConfig(
            platform=PLATFORM, diff_ids=tuple(digests), config=config or RunConfig(), created="2025-01-01T00:00:00Z"
        )
        manifest = Manifest(
            config=Descriptor(
                media_type=OCI_CONFIG, digest=self.keep(described.encode()), size_bytes=len(described.encode())
            ),
            layers=tuple(
                Descriptor(media_type=OCI_LAYER, digest=digest, size_bytes=len(tar))
                for digest, tar in zip(digests, tars, strict=True)
            ),
        )
        digest = self.keep(manifest.encode())
        self.images.images[name] = BaseImage(name=name, manifest=manifest, config=described, manifest_digest=digest)
        return self.images.images[name]

    def enter(self) -> Isolation:
        self.entered += 1
        self.layers.use_trees(self.isolation.idmap_tag)
        return self.isolation

    def services(self, **changes: Any) -> Services:
        given: dict[str, Any] = {
            "state": self.state,
            "blobs": self.blobs,
            "layers": self.layers,
            "cache": Tiered([AvailableOnly(LocalCache(self.table), self.layers.has)]),
            "contexts": Contexts(
                self.context, {}, dockerfile=None, table=self.table, remote=_no_network, state=self.state.root
            ),
            "sink": self.sink,
            "resolve_image": self.images.resolve,
            "enter": self.enter,
            "secrets": self.secrets,
            "launch": lambda: self.launcher,
            "keep": self.table.set,
            "kept": self.table.get,
        }
        return Services(**(given | changes))

    def request(self, text: str, **changes: Any) -> Request:
        plan_fields = ("build_args", "target", "labels", "contexts", "allowed", "run_defaults")
        plan_options = PlanOptions(
            platform=PLATFORM, **{name: changes.pop(name) for name in plan_fields if name in changes}
        )
        given: dict[str, Any] = {
            "dockerfile": parse(text.encode(), "Dockerfile"),
            "plan_options": plan_options,
            "compression": GZIP,
        }
        return Request(**(given | changes))

    def build(self, text: str, *, services: Mapping[str, Any] | None = None, **changes: Any) -> Built:
        self.launcher.is_closed = False
        return build(self.request(text, **changes), self.services(**(services or {})))

    def explainer(self) -> Explainer:
        return Explainer([record for _, record in LocalCache(self.table).records()], self.table.get)

    def files(self, chain: Chain) -> dict[str, str]:
        """What the layers show: the content of files, `KIND MODE UID:GID` of what is none."""
        tables = [self.layers.ensure_index(item.diff_id, item.blob) for item in chain]
        found = {}
        with self.state.scratch("look") as scratch, Members(self.layers, scratch) as members:
            tree = MergedTree(tables)
            for located in tree.walk():
                entry = tree.target(located)
                if entry.entry.kind == "file":
                    stream = members.open(chain[entry.layer], entry.entry) if entry.entry.size else io.BytesIO()
                    with closing(stream):
                        found[located.entry.path] = stream.read().decode()
                elif entry.entry.kind == "symlink":
                    found[located.entry.path] = f"-> {entry.entry.link}"
                else:
                    owner = f"{entry.entry.uid}:{entry.entry.gid}"
                    found[located.entry.path] = f"{entry.entry.kind} {entry.entry.mode:o} {owner}"
        return found


def _no_network() -> Any:
    raise AssertionError("nothing of the network is read here")
