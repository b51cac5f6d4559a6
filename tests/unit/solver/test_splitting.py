"""Builds whose layers are cut into parts."""

from __future__ import annotations

import json
import random
import re

import pytest

from tests.support.bench_of_builds import PASSWD, PLAIN, Bench
from tiffin.builder.api.build_options import BuildOptions
from tiffin.builder.api.inputs.build_request import check_options
from tiffin.builder.delivery.output_spec import OutputSpec, parse_output, parse_outputs, with_split
from tiffin.builder.errors import CorruptError, UsageError
from tiffin.builder.events import InfoMessage, WarningMessage
from tiffin.builder.layer.compression.codecs import Compression
from tiffin.builder.solver.layering.splitting import forget_parts
from tiffin.builder.solver.results import ONE, Split

SMALL = Split(part_bytes=10_000, max_layers=60)
TEXT = "FROM base\nENV A=1\nCOPY site /site\nCOPY small /\nLABEL a=b\n"


@pytest.fixture(autouse=True)
def base(bench: Bench) -> None:
    bench.image("base", {"etc/passwd": PASSWD, "bin/sh": "a shell"})
    lots = random.Random(7)
    bench.write({f"site/p{number}/m{part}": lots.randbytes(1000).hex() for number in range(20) for part in range(3)})
    bench.write({"small": "small"})


def told(bench: Bench) -> list[str]:
    return [event.message for event in bench.sink.events if isinstance(event, InfoMessage | WarningMessage)]


def test_a_large_layer_becomes_several_with_the_same_files(bench: Bench) -> None:
    plain = bench.build(TEXT, epoch=1000)
    split = bench.build(TEXT, split=SMALL, epoch=1000)
    assert bench.files(split.chain) == bench.files(plain.chain)
    assert len(split.chain) > 10 and len(plain.chain) == 3
    assert split.chain[0] == plain.chain[0] and split.chain[-1].diff_id == plain.chain[-1].diff_id
    assert len(split.layer_refs) == len(split.chain) == len(split.config.diff_ids)
    assert max(ref.size_bytes for ref in split.layer_refs) < 12_000


def test_history_has_an_entry_for_each_layer(bench: Bench) -> None:
    split = bench.build(TEXT, split=SMALL)
    count = len(split.chain) - 2
    rows = [(entry.created_by, entry.comment, entry.empty_layer) for entry in split.config.history]
    assert rows == [
        ("", "layer of the base image", False),
        ("ENV A=1", "buildkit.dockerfile.v0", True),
        *(
            ("COPY site /site # buildkit", f"buildkit.dockerfile.v0, split {number} of {count}", False)
            for number in range(1, count + 1)
        ),
        ("COPY small / # buildkit", "buildkit.dockerfile.v0", False),
        ("LABEL a=b", "buildkit.dockerfile.v0", True),
    ]
    assert len(json.loads(split.lines)["layers"]) == len(split.chain) - 1


def test_a_rebuild_packs_nothing_and_a_change_packs_little(bench: Bench) -> None:
    first = bench.build(TEXT, split=SMALL, epoch=1000)
    bench.sink.events.clear()
    again = bench.build(TEXT, split=SMALL, epoch=1000)
    assert again.manifest_bytes == first.manifest_bytes and told(bench) == []
    bench.write({"site/p3/m1": "x" * 2000})
    changed = bench.build(TEXT, split=SMALL, epoch=1000)
    count = len(changed.chain) - 2
    assert told(bench) == [f"split 1 layer into {count}; {count - 1} of them as before"]
    assert len({layer.diff_id for layer in changed.chain} - {layer.diff_id for layer in first.chain}) == 1


def test_the_bytes_do_not_depend_on_what_was_there_before(bench: Bench) -> None:
    first = bench.build(TEXT, split=SMALL, epoch=1000)
    bench.write({"site/p3/m1": "x" * 2000})
    bench.build(TEXT, split=SMALL, epoch=1000)
    changed = bench.build(TEXT, split=SMALL, epoch=1000)
    for name in list(bench.table.names()):
        if name.startswith("part"):
            bench.table.delete(name)
    assert bench.build(TEXT, split=SMALL, epoch=1000).manifest_bytes == changed.manifest_bytes != first.manifest_bytes


@pytest.mark.thorough
@pytest.mark.parametrize("compression", [PLAIN, Compression(kind="zstd"), Compression(kind="zstd:chunked")])
def test_parts_are_packed_again_in_another_way(bench: Bench, compression: Compression) -> None:
    first = bench.build(TEXT, split=SMALL)
    other = bench.build(TEXT, split=SMALL, compression=compression)
    assert other.config.diff_ids == first.config.diff_ids
    assert {ref.media_type for ref in first.layer_refs[1:]}.isdisjoint(ref.media_type for ref in other.layer_refs[1:])


def test_a_part_that_is_lost_is_made_again(bench: Bench) -> None:
    first = bench.build(TEXT, split=SMALL)
    bench.blobs.delete(first.layer_refs[4].digest)
    assert bench.build(TEXT, split=SMALL).manifest_bytes == first.manifest_bytes
    assert bench.blobs.has(first.layer_refs[4].digest)


def test_what_was_noted_of_parts_goes_with_them(bench: Bench) -> None:
    first = bench.build(TEXT, split=SMALL)
    live = {layer.diff_id for layer in first.chain}
    forget_parts(bench.table, live)
    assert sum(name.startswith("part") for name in bench.table.names()) == len(first.chain) - 2 + 1
    forget_parts(bench.table, live - {first.chain[2].diff_id})
    assert sum(name.startswith("part") for name in bench.table.names()) == len(first.chain) - 2 - 1


@pytest.mark.thorough
@pytest.mark.parametrize("damaged", [b"", b"{", b"[7]", b'[["sha256:short"]]', b"[[]]"])
def test_what_is_noted_and_damaged_is_made_anew(bench: Bench, damaged: bytes) -> None:
    first = bench.build(TEXT, split=SMALL)
    names = [name for name in bench.table.names() if name.startswith("part")]
    for name in names:
        bench.table.set(name, damaged)
    assert bench.build(TEXT, split=SMALL).layer_refs == first.layer_refs
    bench.table.set(names[0], damaged)
    forget_parts(bench.table, {layer.diff_id for layer in first.chain})
    assert names[0] not in set(bench.table.names())


def test_a_layer_that_is_not_as_its_table_says_is_an_error(bench: Bench) -> None:
    plain = bench.build(TEXT, compression=PLAIN)
    path = bench.blobs.path(plain.layer_refs[1].digest)
    path.chmod(0o600)
    data = path.read_bytes()
    inside = data.index(bench.context.joinpath("site/p3/m1").read_bytes())
    path.write_bytes(data[:inside] + b"#" + data[inside + 1 :])
    with pytest.raises(CorruptError, match="than its table says"):
        bench.build(TEXT, split=SMALL)


def test_an_image_with_too_many_layers_is_not_split(bench: Bench) -> None:
    built = bench.build(TEXT, split=Split(part_bytes=10_000, max_layers=3))
    assert len(built.chain) == 3
    assert told(bench) == ["no layer is split: the image has 3, and max=3"]


def test_nothing_is_cut_where_all_is_small(bench: Bench) -> None:
    plain = bench.build(TEXT)
    assert bench.build(TEXT, split=Split()).manifest_bytes == plain.manifest_bytes


# -- options


@pytest.mark.parametrize(
    ("text", "split"),
    [
        ("type=image", None),
        ("type=image,layers=split", Split()),
        ("type=oci,dest=a,layers=split,size=1m,max=125", Split(part_bytes=1 << 20, max_layers=125)),
        ("type=docker,dest=a,layers=split,max=2", Split(max_layers=2)),
        ("type=registry,layers=split,size=64kB", Split(part_bytes=64 << 10)),
    ],
)
def test_an_output_says_how_layers_are_split(text: str, split: Split | None) -> None:
    assert parse_output(text).split == split


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("type=image,layers=all", 'unknown layers "all" in --output; use layers=split'),
        ("type=image,size=1m", "size=1m in --output is about layers=split"),
        ("type=image,max=3", "max=3 in --output is about layers=split"),
        ("type=image,layers=split,size=x", "size=x is not a size"),
        ("type=image,layers=split,size=1k", "too small for a layer; give 64KB or more"),
        ("type=image,layers=split,max=126", "give 2 to 125, which is what Docker takes"),
        ("type=image,layers=split,max=1", "max=1 is not a number of layers"),
        ("type=image,layers=split,max=", "max= is not a number of layers"),
        ("type=tar,dest=a,layers=split", '--output type=tar takes no "layers"'),
        ("type=local,dest=a,layers=split", '--output type=local takes no "layers"'),
    ],
)
def test_bad_ways_to_split_are_refused(text: str, reason: str) -> None:
    with pytest.raises(UsageError, match=re.escape(reason)):
        parse_output(text)


def test_one_option_splits_all_images() -> None:
    specs = parse_outputs(["type=oci,dest=a", "type=image,layers=split,size=1m", "type=tar,dest=b"])
    made = with_split(specs, "max=9,size=2m")
    assert [spec.split for spec in made] == [Split(part_bytes=2 << 20, max_layers=9), Split(part_bytes=1 << 20), None]
    for text, reason in (
        ("parts=9", '--split-layers takes no "parts"; it takes size, max'),
        ("size", '"size" in --split-layers size is not NAME=VALUE'),
        ("max=1000", "max=1000 is not a number of layers"),
    ):
        with pytest.raises(UsageError, match=re.escape(reason)):
            with_split(specs, text)
    with pytest.raises(UsageError, match="about an image, and no output is one"):
        with_split(specs[2:], "max=9")


def test_options_that_do_not_go_together_are_refused() -> None:
    split, whole = OutputSpec(kind="image", split=Split()), OutputSpec(kind="image")
    with pytest.raises(UsageError, match="the outputs want different layers"):
        check_options(BuildOptions(outputs=(split, whole)))
    for inline in ({"inline_cache": True}, {"build_args": {"BUILDKIT_INLINE_CACHE": "1"}}):
        with pytest.raises(UsageError, match="cannot be an inline cache"):
            check_options(BuildOptions(outputs=(split,), **inline))
    check_options(BuildOptions(outputs=(split, OutputSpec(kind="tar", dest="x"))))


def test_squashed_layers_are_split_as_well(bench: Bench) -> None:
    plain = bench.build(TEXT, epoch=1000)
    built = bench.build(TEXT, split=SMALL, layering=ONE, epoch=1000)
    assert bench.files(built.chain) == bench.files(plain.chain)
    assert len(built.chain) > 10
    assert sum(not entry.empty_layer for entry in built.config.history) == len(built.chain)
