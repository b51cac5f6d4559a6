"""A layer in its forms, each made from another; images by name; archives and registries that say something else."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.fakes.registry import Fake, fake_registry
from tests.fakes.sink import RecordingSink
from tests.support.bench_of_builds import GZIP, PASSWD, PLAIN, Bench
from tests.support.minimal_image import layer
from tiffin.builder.errors import CorruptError, ImageError, MissingBlobError, StoreError
from tiffin.builder.image.archive import Loader
from tiffin.builder.image.archive_write import Saved, save, save_directory
from tiffin.builder.image.layers import LayerStore
from tiffin.builder.image.remote import Remote
from tiffin.builder.image.store import ImageStore, StoredImage
from tiffin.builder.layer.compression.codecs import Compression
from tiffin.builder.oci.reference import Reference
from tiffin.builder.oci.spec import OCI_LAYER
from tiffin.builder.owner_xattrs import noted_owner
from tiffin.builder.registry.registries_conf import read_registries
from tiffin.builder.registry.transport import RegistryOptions
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.store.snapshots import BlobRef, Snapshots

FILES: dict[str, bytes | str | None] = {"etc/passwd": PASSWD, "bin/sh": b"#!" * 3000, "bin/ash": "-> sh", "tmp": None}
TAR = layer(FILES)
DIFF_ID = Digest.of(TAR)
REF = BlobRef(media_type=OCI_LAYER, digest=DIFF_ID, size_bytes=len(TAR))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with closing(Bench(place=tmp_path)) as bench:
        bench.layers.use_trees("own")
        yield bench


def ours(bench: Bench) -> tuple[Digest, BlobRef]:
    """A layer that tiffin packed: it is the same bytes when it is packed again."""
    bench.write({"d/f": "F" * 6000})
    (layer,) = bench.build("FROM scratch\nCOPY --chown=7:8 d /d\n", compression=PLAIN).chain
    assert layer.blob is not None
    return layer.diff_id, layer.blob


# -- layers
# ----------------------------------------------------------------------------------------------------------------


def test_each_form_is_made_from_another_and_has_the_same_diff_id(bench: Bench) -> None:
    diff_id, ref = ours(bench)
    index = bench.layers.ensure_index(diff_id, ref)
    (tree,) = bench.layers.ensure_snapshots([(diff_id, ref)])
    assert (tree / "d/f").read_text() == "F" * 6000
    packed = bench.layers.ensure_blob(diff_id, GZIP)
    assert packed.media_type.endswith("+gzip") and bench.layers.ensure_blob(diff_id, GZIP) == packed
    bench.blobs.path(ref.digest).unlink()
    with bench.layers.open_tar(diff_id, None) as stream:
        assert Digest.of(b"".join(iter(lambda: stream.read(1 << 16), b""))) == diff_id
    bench.blobs.path(packed.digest).unlink()
    anew = LayerStore(bench.state, bench.blobs, Snapshots(bench.state, "own"), _nobody)
    assert anew.ensure_index(diff_id, None).entries == index.entries
    zstd = anew.ensure_blob(diff_id, Compression(kind="zstd"))
    assert zstd.media_type.endswith("+zstd") and anew.has(diff_id)


def test_a_table_that_is_damaged_is_made_anew(bench: Bench) -> None:
    bench.keep(TAR)
    entries = bench.layers.ensure_index(DIFF_ID, REF).entries
    (place,) = bench.state.layers.glob("*/index")
    place.write_bytes(b"damage")
    anew = LayerStore(bench.state, bench.blobs, Snapshots(bench.state, "own"), _nobody)
    assert anew.ensure_index(DIFF_ID, REF).entries == entries


def test_a_tree_that_was_changed_is_no_layer_any_more(bench: Bench) -> None:
    bench.keep(TAR)
    (tree,) = bench.layers.ensure_snapshots([(DIFF_ID, REF)])
    (tree / "bin/sh").write_text("tampered")
    bench.blobs.path(DIFF_ID).unlink()
    with pytest.raises(CorruptError, match="was changed"):
        bench.layers.ensure_blob(DIFF_ID, PLAIN)


def test_a_layer_that_is_nowhere_is_told(bench: Bench) -> None:
    with pytest.raises(StoreError, match="is not in the store"):
        bench.layers.ensure_index(DIFF_ID, None)
    assert not bench.layers.has(DIFF_ID) and bench.layers.snapshot(DIFF_ID) is None


def test_a_missing_blob_is_fetched_and_an_unverified_one_that_is_wrong_is_lost(bench: Bench) -> None:
    """What a shared cache says is a layer, and is another, is as if it had nothing."""
    fetched: list[Digest] = []

    def fetch(ref: BlobRef, _: object) -> None:
        fetched.append(ref.digest)
        bench.keep(TAR if ref.digest == DIFF_ID else b"no tar")

    layers = LayerStore(bench.state, bench.blobs, Snapshots(bench.state, "own"), fetch)
    layers.expect(DIFF_ID, REF)
    assert layers.has_blob(DIFF_ID) and layers.ensure_blob(DIFF_ID, PLAIN) == REF and fetched == []
    assert layers.ensure_index(DIFF_ID, None).get("bin/sh") is not None and fetched == [DIFF_ID]
    wrong = BlobRef(media_type=OCI_LAYER, digest=Digest.of(b"no tar"), size_bytes=6)
    for unverified, error in (({wrong.digest}, MissingBlobError), (set[Digest](), CorruptError)):
        layers.unverified.clear()
        layers.unverified |= unverified
        with pytest.raises((error, ImageError) if error is CorruptError else error):
            layers.ensure_index(Digest.of(b"another"), wrong)


def test_layers_put_on_a_plain_root_merge(bench: Bench, tmp_path: Path) -> None:
    upper = layer({"bin/sh": b"another", "new/f": "F"})
    for tar in (TAR, upper):
        bench.keep(tar)
    (tmp_path / "root").mkdir()
    for tar in (TAR, upper):
        ref = BlobRef(media_type=OCI_LAYER, digest=Digest.of(tar), size_bytes=len(tar))
        bench.layers.add_to_root((ref.digest, ref), tmp_path / "root")
    assert (tmp_path / "root/bin/sh").read_text() == "another" and (tmp_path / "root/bin/ash").is_symlink()
    assert (tmp_path / "root/new/f").read_text() == "F"


def test_the_twin_for_one_id_notes_owners_and_takes_what_the_plain_store_has(bench: Bench) -> None:
    diff_id, ref = ours(bench)
    bench.layers.ensure_snapshots([(diff_id, ref)])
    bench.blobs.path(ref.digest).unlink()
    twin = bench.layers.emulated("one")
    (tree,) = twin.ensure_snapshots([(diff_id, None)])
    assert (tree / "d/f").read_text() == "F" * 6000 and tree != bench.layers.snapshot(diff_id)
    assert noted_owner(tree / "d/f") == (7, 8)


def test_more_layers_than_the_kernel_stacks_are_refused(bench: Bench) -> None:
    many = [(Digest.of(b"%d" % number), None) for number in range(500)]
    with pytest.raises(ImageError, match="500 of them different, and 499 can be mounted"):
        bench.layers.ensure_snapshots(many)


def _nobody(ref: BlobRef, _: object) -> None:
    raise AssertionError("there is nobody to fetch from")


# -- images
# ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def store(bench: Bench) -> ImageStore:
    return ImageStore(bench.state, bench.blobs, lambda: bench.table)


def saved(bench: Bench, *names: str) -> Saved:
    image = bench.image("base", FILES, {"srv/page": "hello"})
    references = tuple(Reference.parse(name) for name in names)
    return Saved(manifest=image.manifest.encode(), config=image.config.encode(), names=references)


def loaded(bench: Bench, store: ImageStore, data: bytes) -> list[StoredImage]:
    return Loader(bench.state, bench.blobs, store).load(None, io.BytesIO(data))


def test_an_archive_holds_each_blob_once_and_is_the_same_each_time(bench: Bench, store: ImageStore) -> None:
    image = saved(bench, "one:1", "two:2")
    first, again = io.BytesIO(), io.BytesIO()
    save([image, image], bench.blobs, first)
    save([image, image], bench.blobs, again)
    assert first.getvalue() == again.getvalue()
    with tarfile.open(fileobj=io.BytesIO(first.getvalue())) as archive:
        names = archive.getnames()
    assert len(names) == len(set(names)) and "manifest.json" in names
    images = loaded(bench, store, first.getvalue())
    assert {str(name) for image in images for name in image.names} == {
        "docker.io/library/one:1",
        "docker.io/library/two:2",
    }


def test_a_layout_directory_is_found_by_tag_digest_or_alone(bench: Bench, store: ImageStore, tmp_path: Path) -> None:
    image = saved(bench, "one:1")
    save_directory([image], bench.blobs, tmp_path / "layout")
    loader = Loader(bench.state, bench.blobs, store)
    platform = bench.images.images["base"].config.platform
    digest = str(Digest.of(image.manifest))
    for selector in ("", "1", digest):
        assert loader.find(tmp_path / "layout", selector, platform).descriptor.digest == Digest.of(image.manifest)
    for selector in ("none", f"sha256:{'0' * 64}"):
        with pytest.raises(ImageError):
            loader.find(tmp_path / "layout", selector, platform)
    with pytest.raises(ImageError):
        loader.find(tmp_path / "nothing", "", platform)


@pytest.mark.parametrize("what", ["layer", "config", "manifest", "missing"])
def test_an_archive_that_is_not_what_its_digests_say_is_refused(bench: Bench, store: ImageStore, what: str) -> None:
    image = saved(bench, "one:1")
    whole, changed = io.BytesIO(), io.BytesIO()
    save([image], bench.blobs, whole)
    target = {"layer": DIFF_ID.hex, "config": Digest.of(image.config).hex, "manifest": Digest.of(image.manifest).hex}
    with tarfile.open(fileobj=io.BytesIO(whole.getvalue())) as before, tarfile.open(fileobj=changed, mode="w") as after:
        for member in before:
            stream = before.extractfile(member)
            data = stream.read() if stream is not None else b""
            if member.name == "manifest.json" or (what == "missing" and member.name.endswith(DIFF_ID.hex)):
                continue
            if member.name.endswith(target.get(what, "?")):
                data = data[:-1] + b"X"
            after.addfile(member, io.BytesIO(data))
    for path in bench.blobs.path(DIFF_ID).parent.iterdir():
        path.unlink()
    with pytest.raises((ImageError, CorruptError, StoreError)):
        loaded(bench, store, changed.getvalue())
    assert store.images() == ()


def docker_archive(names: list[str], members: dict[str, bytes | str]) -> bytes:
    """What docker save writes; a text as member is where a link leads."""
    document = {
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [str(DIFF_ID)] * len(names)},
    }
    manifest = [{"Config": "c.json", "RepoTags": ["linked:1"], "Layers": names}]
    files = {"c.json": json.dumps(document).encode(), "manifest.json": json.dumps(manifest).encode(), **members}
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            if isinstance(data, str):
                member.type, member.linkname = tarfile.SYMTYPE, data
            else:
                member.size = len(data)
            archive.addfile(member, io.BytesIO(data) if isinstance(data, bytes) else None)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("names", "members"),
    [
        (["./a.tar"], {"a.tar": TAR}),
        (["a.tar"], {"./a.tar": TAR}),
        (["x//../a.tar"], {"a.tar": TAR}),
        (["/a.tar", "a.tar"], {"a.tar": TAR}),
        (["x/layer.tar"], {"x/layer.tar": "../a.tar", "a.tar": TAR}),
        (["x/layer.tar"], {"x/layer.tar": "/a.tar", "a.tar": TAR}),
        (["x/layer.tar"], {"x/layer.tar": "./../y/./l", "y/l": "../a.tar", "a.tar": TAR}),
        (["x/layer.tar"], {"x/layer.tar": "../../../a.tar", "a.tar": TAR}),
    ],
)
def test_layers_of_an_archive_are_found_by_any_name(
    bench: Bench, store: ImageStore, names: list[str], members: dict[str, bytes | str]
) -> None:
    """As in a directory that it was unpacked into: docker and skopeo write links, scripts `./`."""
    (image,) = loaded(bench, store, docker_archive(names, members))
    assert [str(name) for name in image.names] == ["docker.io/library/linked:1"] and bench.blobs.has(DIFF_ID)


@pytest.mark.parametrize(
    "members",
    [
        {"x/layer.tar": ".a.tar", "a.tar": TAR},
        {"x/layer.tar": "../y", "y": "x/layer.tar"},
        {"x/layer.tar": "../../../../etc/passwd"},
        {"x": "y"},
    ],
)
def test_links_of_an_archive_that_lead_to_no_member_are_refused(
    bench: Bench, store: ImageStore, members: dict[str, bytes | str]
) -> None:
    with pytest.raises(ImageError, match=r"x/layer.tar is missing from the archive"):
        loaded(bench, store, docker_archive(["x/layer.tar"], members))
    assert store.images() == ()


def test_names_move_and_images_are_found_by_them_and_by_ids(bench: Bench, store: ImageStore) -> None:
    data = io.BytesIO()
    save([saved(bench, "one:1")], bench.blobs, data)
    (image,) = loaded(bench, store, data.getvalue())
    assert store.find("one:1").id == store.find(image.id.hex[:10]).id == store.find(str(image.id)).id
    store.tag(image, Reference.parse("two"))
    (listed,) = store.images()
    assert {str(name) for name in listed.names} == {"docker.io/library/one:1", "docker.io/library/two:latest"}


# -- registries
# ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def registry() -> Iterator[Fake]:
    with fake_registry() as fake:
        yield fake


def remote(bench: Bench, store: ImageStore, conf: str = "", sink: RecordingSink | None = None) -> Remote:
    path = bench.place / "registries.conf"
    path.write_text(conf)
    options = RegistryOptions(
        tries=1, back_off_seconds=0.001, registries=lambda: read_registries({"CONTAINERS_REGISTRIES_CONF": str(path)})
    )
    return Remote(
        state=bench.state, blobs=bench.blobs, store=store, sink=sink or RecordingSink(), environ={}, options=options
    )


def offer(bench: Bench, fake: Fake, name: str) -> Saved:
    """Put the image into the registry."""
    image = saved(bench)
    for data in (
        image.config,
        *(bench.blobs.path(ref.digest).read_bytes() for ref in bench.images.images["base"].manifest.layers),
    ):
        fake.put(data)
    media_type = json.loads(image.manifest)["mediaType"]
    for selector in (name, str(Digest.of(image.manifest))):
        fake.manifests[selector] = (image.manifest, media_type)
    for path in bench.blobs.path(DIFF_ID).parent.iterdir():
        path.unlink()
    return image


def test_looking_up_brings_no_layer_and_pulling_all(bench: Bench, store: ImageStore, registry: Fake) -> None:
    image = offer(bench, registry, "1")
    reference, platform = Reference.parse(f"{registry.host}/app:1"), bench.images.images["base"].config.platform
    found = remote(bench, store).look_up(reference, platform)
    assert found.id == Digest.of(image.config) and not bench.blobs.has(DIFF_ID)
    assert registry.seen("GET", f"/blobs/{DIFF_ID}") == [] and store.images() == ()
    pulled = remote(bench, store).pull(reference, platform)
    assert bench.blobs.has(DIFF_ID) and store.find(f"{registry.host}/app:1").id == pulled.id
    assert registry.host in remote(bench, store).repo_digests(pulled)[0]


@pytest.mark.parametrize("state", ["has it", "is empty", "is down", "lies"])
def test_a_mirror_is_asked_first_and_what_it_has_not_comes_from_the_next(
    bench: Bench, store: ImageStore, registry: Fake, state: str
) -> None:
    with fake_registry() as mirror:
        offer(bench, registry, "1")
        platform = bench.images.images["base"].config.platform
        if state in ("has it", "lies"):
            mirror.blobs.update(registry.blobs)
            mirror.manifests.update(registry.manifests)
        if state == "lies":
            mirror.manifests["1"] = (b"{}", "text/html")
        mirror.refuses = state == "is down"
        conf = (
            f'[[registry]]\nlocation = "{registry.host}"\n[[registry.mirror]]\nlocation = "{mirror.host}"\n'
            "insecure = true\n"
        )
        sink = RecordingSink()
        found = remote(bench, store, conf, sink).look_up(Reference.parse(f"{registry.host}/app:1"), platform)
        assert found.manifest.layers[0].digest == DIFF_ID and mirror.log
        assert bool(registry.log) == (state != "has it") and bool(sink.notes()) == (state != "has it")


def test_a_layer_with_wrong_bytes_is_never_kept(bench: Bench, store: ImageStore, registry: Fake) -> None:
    offer(bench, registry, "1")
    registry.blobs[str(DIFF_ID)] = TAR[:-1] + b"X"
    platform = bench.images.images["base"].config.platform
    with pytest.raises(StoreError, match="wrong content"):
        remote(bench, store).pull(Reference.parse(f"{registry.host}/app:1"), platform)
    assert not bench.blobs.has(DIFF_ID) and store.images() == ()
