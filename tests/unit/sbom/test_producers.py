"""SBOMs of builds as attestations."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.images import PLATFORM
from tests.support import software_files as software
from tests.support.bench_of_builds import GZIP, Bench
from tiffin.builder.api.build_options import BuildOptions
from tiffin.builder.api.sbom.ahead import ReadingAhead
from tiffin.builder.api.sbom.generator import GeneratorProducer
from tiffin.builder.api.sbom.producer import SbomProducer
from tiffin.builder.errors import BuildError, ImageError, UsageError
from tiffin.builder.events import WarningMessage
from tiffin.builder.oci.config import RunConfig
from tiffin.builder.sbom import reading
from tiffin.builder.sbom.facts import Fact
from tiffin.builder.solver.build import Built
from tiffin.builder.solver.results import base_chain

SPDX = "https://spdx.dev/Document"


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(place=tmp_path)
    yield made
    made.close()


def built(bench: Bench) -> Built:
    bench.image("base", software.IMAGE)
    bench.write({"more/package.json": '{"name": "more", "version": "1.0.0"}'})
    return bench.build("FROM base\n\nCOPY more /srv/node_modules/more\n")


def test_a_build_tells_its_packages_with_their_lines(bench: Bench) -> None:
    producer = SbomProducer("app:1", bench.services(), lambda _: image.lines)
    image = built(bench)
    [attestation] = producer.attestations(PLATFORM, image)
    document = json.loads(attestation.written)
    assert attestation.predicate_type == SPDX and document["name"] == "app:1"
    packages: Any = document["packages"]
    told = {row["name"]: row["annotations"][0]["comment"] for row in packages if "annotations" in row}
    assert told["more"].startswith("brought by Dockerfile:3 ") and "base" in told["libc6"]
    assert [
        event for event in bench.sink.events if isinstance(event, WarningMessage) and "Packages.db" in event.message
    ]


def test_what_was_told_is_told_again_without_a_look(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    image = built(bench)
    [first] = SbomProducer("app:1", bench.services(), lambda _: None).attestations(PLATFORM, image)
    monkeypatch.setattr(SbomProducer, "_made", None)
    [again] = SbomProducer("app:1", bench.services(), lambda _: None).attestations(PLATFORM, image)
    assert again.written == first.written
    with pytest.raises(TypeError):
        SbomProducer("app:2", bench.services(), lambda _: None).attestations(PLATFORM, image)


def test_layers_that_a_step_goes_over_are_read_meanwhile(bench: Bench) -> None:
    below = [bench.image(name, {**software.IMAGE, name: ""}).config.diff_ids[0] for name in ("tools", "base")]
    text = "FROM tools AS made\nRUN write /made 1\nFROM base\nCOPY --from=made /made /\nRUN write /x 1\n"
    image = bench.build(text, services={"beside": partial(ReadingAhead, bench.layers, bench.state)})
    was_read = [bench.layers.snapshots.packages(layer) is not None for layer in below]
    assert was_read == [False, True]  # an SBOM does not tell of another stage

    bill = SbomProducer("app:1", bench.services(), lambda _: None).bill(image)
    assert {item.package.name for item in bill.inventory.components} >= {"libc6"}


def test_reading_ahead_ends_with_a_build_that_fails(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    chain = base_chain(bench.image("base", software.IMAGE))
    is_reading, is_over = threading.Event(), threading.Event()

    def facts_of(*_: object) -> list[Fact]:
        is_reading.set()
        assert is_over.wait(20)
        return []

    monkeypatch.setattr(reading, "facts_of", facts_of)
    with pytest.raises(BuildError), ReadingAhead(bench.layers, bench.state) as ahead:
        ahead(chain)
        assert is_reading.wait(20)
        threading.Timer(0.1, is_over.set).start()
        raise BuildError("a step failed")
    assert bench.layers.snapshots.packages(chain[0].diff_id) is None


def test_what_has_no_manifest_has_no_sbom(bench: Bench) -> None:
    image = bench.build("FROM scratch\nLABEL a=b\n", compression=None)
    assert SbomProducer("app", bench.services(), lambda _: None).attestations(PLATFORM, image) == ()
    assert generator(bench, image).attestations(PLATFORM, image) == ()


def generator(bench: Bench, written: Built, **arguments: str) -> GeneratorProducer:
    """A scanner whose build comes out as `written`."""
    asked: list[BuildOptions] = []

    def solve(options: BuildOptions) -> Built:
        asked.append(options)
        bench.sink.emit(WarningMessage(message=options.dockerfile or ""))
        return written

    return GeneratorProducer(
        generator="scanner", arguments=arguments, services=bench.services(), options=BuildOptions(), solve=solve
    )


def outcome(bench: Bench, **files: str) -> Built:
    """What a scanner leaves behind."""
    bench.image("scanner", {"bin/scan": b"x"}, config=RunConfig(entrypoint=("/bin/scan",), cmd=("--all",)))
    bench.write({f"out/{name}": text for name, text in files.items()} | {"out/empty": ""})
    return bench.build("FROM scanner\nCOPY out /run/out/\n", compression=GZIP)


def test_a_scanner_is_a_step_of_a_build(bench: Bench) -> None:
    image = built(bench)
    spdx, cyclonedx = {"spdxVersion": "SPDX-2.3"}, {"bomFormat": "CycloneDX"}
    statement = {"predicateType": "https://example.org/x", "predicate": {"a": 1}}
    texts = {"a.spdx.json": json.dumps(spdx), "b.json": json.dumps(cyclonedx), "c.json": json.dumps(statement)}
    found = generator(bench, outcome(bench, **texts), depth='2 "x" $y').attestations(PLATFORM, image)
    assert [(item.predicate_type, item.predicate) for item in found] == [
        (SPDX, spdx),
        ("https://cyclonedx.org/bom", cyclonedx),
        ("https://example.org/x", {"a": 1}),
    ]
    [dockerfile] = [event.message for event in bench.sink.events if isinstance(event, WarningMessage)]
    assert 'BUILDKIT_SCAN_DEPTH="2 \\"x\\" \\$y"' in dockerfile and 'target=/tmp ["/bin/scan", "--all"]' in dockerfile


def test_a_scanner_that_writes_nothing_good_is_named(bench: Bench) -> None:
    image = built(bench)
    with pytest.raises(ImageError, match="scanner scanner wrote no document"):
        generator(bench, outcome(bench)).attestations(PLATFORM, image)
    with pytest.raises(ImageError, match=r"wrote /run/out/a\.json, which is not a document"):
        generator(bench, outcome(bench, **{"a.json": "[]"})).attestations(PLATFORM, image)
    bench.image("scanner", {"x": "y"})
    with pytest.raises(UsageError, match="does not have cmd"):
        generator(bench, image).attestations(PLATFORM, image)
