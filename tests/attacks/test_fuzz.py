"""Whatever bytes come, what comes out is a value or an error in words; a time box each."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.fuzz import texts
from tiffin.builder.errors import TiffinError
from tiffin.builder.image.archive import Loader
from tiffin.builder.image.store import ImageStore
from tiffin.builder.image.users import resolve_owner, resolve_user
from tiffin.builder.layer.compression.codecs import decompressor
from tiffin.builder.oci.config import ImageConfig
from tiffin.builder.oci.reference import Reference
from tiffin.builder.oci.spec import Index, Manifest, Platform
from tiffin.builder.registry.auth.challenges import parse_challenges
from tiffin.builder.registry.auth.files import DockerConfig
from tiffin.cache.backend import StepRecord
from tiffin.cache.shared.bundle import Bundle
from tiffin.cache.store.blobs import BlobStore
from tiffin.cache.store.local import Table
from tiffin.cache.store.statedir import StateDir

DIGEST = f"sha256:{'0' * 64}"
DESCRIPTOR = {
    "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
    "digest": DIGEST,
    "size": 1,
    "annotations": {"a": "b"},
}
DOCUMENTS: dict[str, tuple[Callable[[bytes], Any], dict[str, Any]]] = {
    "manifest": (Manifest.decode,
        {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": DESCRIPTOR,
            "layers": [DESCRIPTOR, DESCRIPTOR], "annotations": {"x": "y"}}),
    "index": (Index.decode, {"schemaVersion": 2,
        "manifests": [{**DESCRIPTOR,
            "platform": {"os": "linux", "architecture": "arm", "variant": "v7", "os.version": "1"}}]}),
    "config": (ImageConfig.decode, {
        "os": "linux", "architecture": "amd64", "created": "2024-01-01T00:00:00Z",
        "rootfs": {"type": "layers", "diff_ids": [DIGEST]},
        "config": {"User": "a", "Env": ["A=b"], "Cmd": ["c"], "Entrypoint": None, "ExposedPorts": {"80/tcp": {}},
            "Volumes": {"/v": {}}, "Labels": {"a": "b"},
                   "Healthcheck": {"Test": ["NONE"], "Interval": 1}, "OnBuild": ["RUN x"], "Shell": ["sh"],
                   "StopSignal": "9", "WorkingDir": "/"},
        "history": [{"created": "x", "created_by": "y", "empty_layer": True}],
    }),
    "record": (StepRecord.decode,
        {"schema": 1, "diffId": DIGEST, "parentChain": DIGEST, "created": "x", "seconds": 1, "parts": [["a", "b"]],
            "layer": DESCRIPTOR, "empty": False, "description": "x"}),
    "bundle": (Bundle.decode, {"schema": 1, "records": {DIGEST: {"layer": DESCRIPTOR, "created": "x"}}}),
}  # fmt: skip
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-(1 << 70), 1 << 70), st.floats(), texts(20), st.just("\ud800"),
    st.just("a\0b"), st.just(DIGEST),
    st.lists(st.one_of(st.integers(), texts(4), st.none()), max_size=3),
    st.dictionaries(texts(5), st.one_of(st.integers(), texts(4)), max_size=3),
)  # fmt: skip
BOX = settings(max_examples=400, deadline=None, database=None, derandomize=False)


def spots(value: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a document."""
    found = [way]
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        found += spots(inner, (*way, key))
    return found


def changed(document: Any, way: tuple[Any, ...], value: Any) -> Any:
    if not way:
        return value
    result = copy.deepcopy(document)
    place = result
    for key in way[:-1]:
        place = place[key]
    place[way[-1]] = value
    return result


@pytest.mark.attack("T11", "T29")
@pytest.mark.parametrize("name", DOCUMENTS)
def test_documents_with_something_else_in_one_place(name: str) -> None:
    decode, document = DOCUMENTS[name]

    @given(st.sampled_from(spots(document)), VALUES)
    @BOX
    def fuzz(way: tuple[Any, ...], value: Any) -> None:
        data = json.dumps(changed(document, way, value)).encode()
        with contextlib.suppress(TiffinError):
            decode(data).encode()

    fuzz()


@pytest.mark.attack("T11")
@given(
    st.binary(max_size=200),
    st.sampled_from([Manifest.decode, Index.decode, ImageConfig.decode, StepRecord.decode, Bundle.decode]),
)
@BOX
def test_documents_of_any_bytes(data: bytes, decode: Callable[[bytes], object]) -> None:
    with contextlib.suppress(TiffinError):
        decode(data)


@pytest.mark.attack("T11", "T34")
@given(texts(300))
@BOX
def test_names_of_any_text(text: str) -> None:
    for parse in (Reference.parse, Platform.parse):
        with contextlib.suppress(TiffinError):
            parse(text)
    parse_challenges(text)


@pytest.mark.attack("T11", "T33")
@given(texts(30), st.binary(max_size=300))
@BOX
def test_users_of_any_bytes(name: str, data: bytes) -> None:
    for resolve in (resolve_user, resolve_owner):
        for text in (
            data,
            b"root:x:0:0:root:/root:/bin/sh\n" + data,
            name.encode("utf-8", "surrogatepass") + b":x:" + data,
        ):
            with contextlib.suppress(TiffinError):
                resolve(name, lambda _, text=text: text)  # type: ignore[misc]


@pytest.mark.attack("T10", "T11")
@given(st.binary(max_size=400), st.sampled_from(["gzip", "zstd", "bzip2", "xz", "auto"]), st.booleans())
@BOX
def test_streams_of_any_bytes(data: bytes, kind: str, with_magic: bool) -> None:
    magic = {"gzip": b"\x1f\x8b\x08\x00", "zstd": b"\x28\xb5\x2f\xfd", "bzip2": b"BZh9", "xz": b"\xfd7zXZ\x00"}
    with (
        contextlib.suppress(TiffinError),
        decompressor(io.BytesIO(magic.get(kind, b"") * with_magic + data), kind) as stream,
    ):
        while stream.read(1 << 16):
            pass


@pytest.mark.attack("T24", "T11")
@given(
    st.recursive(
        VALUES,
        lambda inner: st.dictionaries(
            st.sampled_from(
                ["auths", "h.io", "auth", "credHelpers", "credsStore", "identitytoken", "username", "password"]
            ),
            inner,
            max_size=4,
        ),
        max_leaves=6,
    )
)
@settings(max_examples=150, deadline=None, database=None)
def test_docker_configs_of_any_form(document: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(document))
        with contextlib.suppress(TiffinError):
            DockerConfig.load({"DOCKER_CONFIG": folder, "PATH": ""}).credentials_for("h.io")


@pytest.fixture(scope="module")
def loader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Loader, StateDir]]:
    """`tiffin load` on one state directory."""
    state = StateDir.open(tmp_path_factory.mktemp("fuzz") / "state")
    blobs = BlobStore(state)
    with contextlib.closing(Table(state, lambda text: None)) as table:
        yield Loader(state, blobs, ImageStore(state, blobs, lambda: table)), state


@pytest.mark.attack("T9", "T11")
@given(st.binary(max_size=60), st.integers(0, 12_000))
@settings(max_examples=200, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_archives_of_any_bytes(loader: tuple[Loader, StateDir], noise: bytes, position: int) -> None:
    """A whole archive with noise in it, through all of `tiffin load`."""
    whole = bytearray(ARCHIVE)
    whole[position : position + len(noise)] = noise
    with contextlib.suppress(TiffinError):
        loader[0].load(None, io.BytesIO(bytes(whole)))
    assert list(loader[1].tmp.iterdir()) == [], "an archive that is refused leaves something"


def an_archive() -> bytes:
    """A docker archive and an OCI layout in one."""
    import hashlib
    import tarfile

    config = json.dumps({"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": []}}).encode()

    def digest(data: bytes) -> str:
        return hashlib.sha256(data).hexdigest()

    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": f"sha256:{digest(config)}",
                "size": len(config),
            },
            "layers": [],
        }
    ).encode()
    index = {
        "schemaVersion": 2,
        "manifests": [
            {
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "digest": f"sha256:{digest(manifest)}",
                "size": len(manifest),
            }
        ],
    }
    files = {
        "oci-layout": b'{"imageLayoutVersion":"1.0.0"}',
        "index.json": json.dumps(index).encode(),
        "manifest.json": json.dumps(
            [{"Config": f"blobs/sha256/{digest(config)}", "RepoTags": ["a:b"], "Layers": []}]
        ).encode(),
        f"blobs/sha256/{digest(config)}": config,
        f"blobs/sha256/{digest(manifest)}": manifest,
    }
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return stream.getvalue()


ARCHIVE = an_archive()
