"""One build from text to image: on real stores, with commands that only a launcher of the tests knows."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.fakes.sink import RecordingSink
from tests.support.bench_of_builds import COPIES, GZIP, OVERLAYS, PASSWD, PLAIN, Bench
from tests.support.tiers import NONE
from tiffin.builder.errors import BuildError, DockerfileError, RunError, SandboxError
from tiffin.builder.events import Event, PhaseFinished
from tiffin.builder.instructions.ops import RunDefaults
from tiffin.builder.oci.config import RunConfig
from tiffin.builder.sandbox.isolation import Isolation
from tiffin.builder.solver.build import forecast
from tiffin.builder.solver.results import COMMITS, ONE
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.frozen import replace

BASE = {"etc/passwd": PASSWD, "bin/sh": "a shell", "etc/motd": "hello\n"}
BOTH = pytest.mark.parametrize("isolation", [OVERLAYS, COPIES], ids=["overlays", "copies"])


@pytest.fixture(autouse=True)
def base(bench: Bench) -> None:
    bench.image("base", BASE, config=RunConfig(env=("PATH=/bin",), cmd=("/bin/sh",)))


# -- COPY, ADD, WORKDIR: no namespace
# ------------------------------------------------------------------------------------


def test_a_build_without_run_enters_no_namespace_and_unpacks_nothing(bench: Bench) -> None:
    bench.write({"src/a": "A", "src/b/c": "C"})
    built = bench.build("FROM base\nCOPY src /app/\nWORKDIR /app/w\nLABEL x=y\n")
    assert bench.entered == 0 and bench.launcher.specs == []
    assert list(bench.state.layers.glob("*/fs.*")) == []
    found = bench.files(built.chain)
    assert {path: found[path] for path in ("app/a", "app/b/c", "app/w", "etc/motd")} == {
        "app/a": "A",
        "app/b/c": "C",
        "app/w": "dir 755 0:0",
        "etc/motd": "hello\n",
    }


def test_the_image_tells_its_layers_its_history_and_its_configuration(bench: Bench) -> None:
    bench.write({"f": "F"})
    built = bench.build('FROM base\nENV A=1\nCOPY f /\nCMD ["run"]\n', labels={"made": "by a test"})
    document = json.loads(built.config_bytes)
    assert document["rootfs"]["diff_ids"] == [str(layer.diff_id) for layer in built.chain]
    assert document["config"]["Env"] == ["PATH=/bin", "A=1"] and document["config"]["Cmd"] == ["run"]
    assert document["config"]["Labels"] == {"made": "by a test"}
    assert [(item.get("created_by", ""), item.get("empty_layer", False)) for item in document["history"]] == [
        ("", False),  # of the base, whose own history says nothing of its layer
        ("ENV A=1", True),
        ("COPY f / # buildkit", False),
        ('CMD ["run"]', True),
    ]
    assert built.manifest is not None
    assert built.manifest.config.digest == Digest.of(built.config_bytes)
    assert [layer.size_bytes for layer in built.manifest.layers] == [ref.size_bytes for ref in built.layer_refs]
    assert built.manifest.layers[0] == bench.images.images["base"].manifest.layers[0], "a base's layer keeps its bytes"
    assert [layer.media_type.rpartition("+")[2] for layer in built.manifest.layers[1:]] == ["gzip"]


def test_a_layer_of_a_base_keeps_what_tells_where_its_files_are(bench: Bench) -> None:
    base = bench.images.images["base"]
    told = {"io.github.containers.zstd-chunked.manifest-checksum": "sha256:1", "org.example.other": "x"}
    layers = tuple(replace(layer, annotations=told) for layer in base.manifest.layers)
    bench.images.images["base"] = replace(base, manifest=replace(base.manifest, layers=layers))
    bench.write({"f": "F"})
    built = bench.build("FROM base\nCOPY f /\n")
    assert built.manifest is not None
    assert [dict(layer.annotations) for layer in built.manifest.layers] == [dict([*told.items()][:1]), {}]


def test_a_second_build_gives_the_same_bytes_and_reads_no_file(bench: Bench) -> None:
    bench.write({"f": "F"})
    text = "FROM base\nCOPY f /\nENV A=1\nWORKDIR /w\n"
    first = bench.build(text)
    again = bench.build(text)
    assert (again.config_bytes, again.manifest_bytes) == (first.config_bytes, first.manifest_bytes)
    assert [source for _, source in bench.sink.cached()] == ["local", "local"]


def test_epoch_decides_every_time(bench: Bench) -> None:
    bench.write({"f": "F"})
    built = bench.build("FROM base\nCOPY f /\nWORKDIR /new\n", epoch=1_000_000)
    document = json.loads(built.config_bytes)
    assert document["created"] == "1970-01-12T13:46:40Z"
    assert {item["created"] for item in document["history"][1:]} == {"1970-01-12T13:46:40Z"}
    table = bench.layers.ensure_index(built.chain[-1].diff_id, built.chain[-1].blob)
    assert {entry.mtime_ns for entry in table.entries} == {1_000_000 * 10**9}
    assert (
        bench.build("ARG SOURCE_DATE_EPOCH=1000000\nFROM base\nCOPY f /\nWORKDIR /new\n").config_bytes
        == built.config_bytes
    )
    with pytest.raises(BuildError, match="is not a valid time"):
        bench.build("ARG SOURCE_DATE_EPOCH=yesterday\nFROM base\nCOPY f /\n")


def test_users_of_chown_are_those_of_the_image(bench: Bench) -> None:
    bench.write({"d/f": "F"})
    built = bench.build("FROM base\nCOPY --chown=www d /srv/\nUSER www\nWORKDIR /srv/w\n")
    found = bench.files(built.chain)
    assert (found["srv"], found["srv/w"]) == ("dir 755 33:34", "dir 755 33:34")
    with pytest.raises(BuildError, match="no user is called"):
        bench.build("FROM base\nCOPY --chown=nobody d /srv/\n")


def test_what_changes_nothing_makes_an_empty_layer(bench: Bench) -> None:
    built = bench.build("FROM base\nWORKDIR /etc\n")
    assert bench.files(built.chain[1:]) == {}


def test_files_of_other_stages_and_images_are_copied_from_tables(bench: Bench) -> None:
    bench.image("tools", {"bin/tool": "a tool", "bin/link": "-> tool"})
    bench.write({"f": "F"})
    text = "FROM base AS one\nCOPY f /x/f\nFROM scratch\nCOPY --from=one /x /y\nCOPY --from=tools /bin/link /t\n"
    assert bench.files(bench.build(text).chain) == {"y": "dir 755 0:0", "y/f": "F", "t": "a tool"}
    assert bench.entered == 0


def test_heredocs_are_files(bench: Bench) -> None:
    built = bench.build("FROM scratch\nCOPY <<one <<two /d/\n1\none\n2\ntwo\n")
    assert bench.files(built.chain) == {"d": "dir 755 0:0", "d/one": "1\n", "d/two": "2\n"}


def test_a_file_that_changes_while_it_is_copied_is_no_layer(bench: Bench) -> None:
    """Its content would be cached under the key of what it was."""
    bench.write({"f": "before"})

    class Meddling(RecordingSink):
        def emit(self, event: Event) -> None:
            if isinstance(event, PhaseFinished) and event.name == "keys and cache":
                bench.write({"f": "after!"})

    with pytest.raises(BuildError, match="changed while it was being copied"):
        bench.build("FROM scratch\nCOPY f /\n", services={"sink": Meddling()})


@pytest.mark.parametrize(
    ("layering", "layers"), [("steps", ["1", "2", "3"]), (ONE, ["1 2 3"]), (COMMITS, ["1 2", "3"])]
)
def test_layers_are_made_as_the_layering_says_and_show_the_same(bench: Bench, layering: str, layers: list[str]) -> None:
    bench.write({"f1": "1", "f2": "2", "f3": "3"})
    text = "FROM base\nCOPY f1 /f1\nCOPY f2 /f2 #!COMMIT\nCOPY f3 /f3\n"
    if layering != COMMITS:
        text = text.replace(" #!COMMIT", "")
    built = bench.build(text, layering=layering)
    shown = [" ".join(bench.files(built.chain[number : number + 1]).values()) for number in range(1, len(built.chain))]
    assert shown == layers
    again = bench.build(text, layering=layering)
    assert again.manifest_bytes == built.manifest_bytes
    assert len(json.loads(built.config_bytes)["rootfs"]["diff_ids"]) == 1 + len(layers)


def test_a_squashed_layer_has_no_file_that_a_later_step_replaced(bench: Bench) -> None:
    bench.write({"a": "first", "b": "second"})
    built = bench.build("FROM base\nCOPY a /x/f\nCOPY b /x/f\nCOPY a /etc/motd\n", layering=ONE)
    assert bench.files(built.chain[1:]) == {
        "x": "dir 755 0:0",
        "x/f": "second",
        "etc": "dir 755 0:0",
        "etc/motd": "first",
    }


# -- RUN
# -----------------------------------------------------------------------------------------------------------------


@BOTH
def test_what_a_command_wrote_is_its_layer(bench: Bench, isolation: Isolation) -> None:
    bench.isolation = isolation
    built = bench.build("FROM base\nRUN write /x/new text\nRUN show /x/new\nRUN show /etc/motd\n")
    assert bench.files(built.chain[1:2]) == {"x": bench.files(built.chain)["x"], "x/new": "text"}
    assert bench.sink.output() == b"texthello\n"
    assert bench.files(built.chain[2:]) == {}
    assert bench.launcher.is_closed and bench.entered


def test_a_command_in_a_copied_root_removes_what_is_below(bench: Bench) -> None:
    bench.isolation = COPIES
    built = bench.build("FROM base\nRUN remove /etc/motd\n")
    assert "etc/motd" in bench.files(built.chain[:1]) and "etc/motd" not in bench.files(built.chain)


@BOTH
def test_a_copied_file_is_seen_by_a_command_above_it(bench: Bench, isolation: Isolation) -> None:
    bench.isolation = isolation
    bench.write({"f": "from the context"})
    bench.build("FROM base\nCOPY f /f\nRUN show /f\n")
    assert bench.sink.output() == b"from the context"


@BOTH
def test_stages_upon_each_other_and_beside_each_other(bench: Bench, isolation: Isolation) -> None:
    bench.isolation = isolation
    text = (
        "FROM base AS low\nRUN write /low 1\nFROM low AS left\nRUN write /left 2\nFROM low AS right\n"
        "RUN write /right 3\n"
        "FROM low\nCOPY --from=left /left /l\nCOPY --from=right /right /r\nRUN show /l\n"
    )
    found = bench.files(bench.build(text).chain)
    assert [found.get(name) for name in ("low", "l", "r", "left")] == ["1", "2", "3", None]


def test_failing_command_is_told_with_its_output_and_leaves_nothing(bench: Bench) -> None:
    with pytest.raises(RunError, match=r"did not complete successfully: exit code: 3") as caught:
        bench.build('FROM base\nRUN <<E\nsay "much work"\ncomplain "no space"\nexit 3\nE\n')
    assert caught.value.status == 3 and "much work" in caught.value.tail and "no space" in caught.value.tail
    assert caught.value.span is not None and caught.value.span.first_line == 2


def test_failure_ends_the_command_of_another_branch(bench: Bench) -> None:
    text = "FROM base AS a\nRUN sleep\nFROM base AS b\nRUN exit 2\nFROM base\nCOPY --from=a / /a\nCOPY --from=b / /b\n"
    with pytest.raises(RunError, match="exit code: 2"):
        bench.build(text)


def test_a_sandbox_is_told_all_that_the_dockerfile_says(bench: Bench) -> None:
    around = RunDefaults(hosts=(("db", "10.0.0.1"),), shm_bytes=1 << 20, ulimits=(("nofile", 1, 2),))
    bench.build('FROM base\nENV A=1\nUSER www\nWORKDIR /w\nARG B=2\nRUN --network=none say ""\n', run_defaults=around)
    (spec,) = bench.launcher.specs
    assert spec.argv == ("/bin/sh", "-c", 'say ""') and (spec.uid, spec.gid, spec.cwd) == (33, 34, "/w")
    assert {"PATH=/bin", "A=1", "B=2", "HOME=/www"} <= set(spec.env)
    assert (spec.network, spec.shm_size_bytes, spec.ulimits) == ("none", 1 << 20, (("nofile", 1, 2),))
    assert "10.0.0.1\tdb" in spec.hosts and spec.hostname == "buildkitsandbox"
    assert "SYS_ADMIN" not in spec.capabilities and spec.seccomp and spec.landlock_scoped
    assert {stub.path for stub in spec.stubs} >= {"etc/hosts", "etc/resolv.conf"}


def test_an_insecure_run_has_no_walls_and_needs_to_be_allowed(bench: Bench) -> None:
    text = 'FROM base\nRUN --security=insecure say ""\n'
    with pytest.raises(DockerfileError, match="is not allowed"):
        bench.build(text)
    bench.build(text, allowed=frozenset({"security.insecure"}))
    (spec,) = bench.launcher.specs
    assert "SYS_ADMIN" in spec.capabilities and not spec.seccomp and spec.unmasked and not spec.landlock_scoped


def test_script_of_a_heredoc_is_a_file_of_the_sandbox(bench: Bench) -> None:
    bench.build("FROM base\nRUN <<E\n#!/bin/program\nsay ran\nE\n")
    (spec,) = bench.launcher.specs
    (script,) = spec.mounts
    assert script.path == spec.argv[-1] and bench.sink.output() == b"ran\n"


def test_where_nothing_runs_commands_a_run_is_refused_before_anything_is_made(bench: Bench) -> None:
    bench.isolation = Isolation(tier=NONE, refusal="no user namespaces", remedy="allow them")
    bench.write({"f": "F"})
    with pytest.raises(BuildError, match=r"this machine allows none .no user namespaces"):
        bench.build("FROM base\nCOPY f /\nRUN a\n")
    assert bench.sink.started() == []
    bench.build("FROM base\nCOPY f /\n")


def test_platform_that_this_machine_cannot_run_is_refused(bench: Bench) -> None:
    bench.image("s390x", BASE)
    with pytest.raises(BuildError, match="cannot run programs for linux/s390x"):
        bench.build("FROM --platform=linux/s390x base\nRUN a\n")


def test_a_command_that_the_sandbox_cannot_start_is_told(bench: Bench) -> None:
    with pytest.raises(SandboxError, match="no more processes"):
        bench.build('FROM base\nRUN break "no more processes"\n')


# -- what is told of a build
# ---------------------------------------------------------------------------------------------


def test_unused_build_arguments_are_warned_of(bench: Bench) -> None:
    bench.build("FROM base\nARG USED\nCOPY <<f /\n\nf\n", build_args={"USED": "1", "OTHER": "2"})
    assert bench.sink.warnings() == ["--build-arg OTHER is not used by any ARG of the stages built"]


def test_findings_come_with_the_build_or_refuse_it(bench: Bench) -> None:
    built = bench.build("FROM base AS X\nCOPY <<f /\n\nf\n")
    assert [finding.rule for finding in built.findings] == ["StageNameCasing"]
    with pytest.raises(BuildError, match="lint violation found for rules: StageNameCasing"):
        bench.build("# check=error=true\nFROM base AS X\nCOPY <<f /\n\nf\n")


def test_limits_of_a_tier_are_noted(bench: Bench) -> None:
    bench.isolation = COPIES
    bench.build("FROM base\nRUN write /x y\n")
    assert any(note.startswith("isolation single: overlay mounts are refused") for note in bench.sink.notes())


def test_records_are_shared_as_asked(bench: Bench) -> None:
    text = "FROM base AS low\nRUN write /x y\nFROM base\nCOPY --from=low /x /x\n"
    built = bench.build(text, shares=frozenset({"min", "max"}))
    reported = {mode: {record.description for record in records.values()} for mode, records in built.records.items()}
    assert reported == {"min": {"COPY --from=low /x /x"}, "max": {"COPY --from=low /x /x", "RUN write /x y"}}
    assert len(built.requested_keys) == 2


def test_inline_cache_names_layers_as_the_image_has_them(bench: Bench) -> None:
    seen: dict[Digest, Any] = {}

    def inline(records: Any) -> str:
        seen.update(records)
        return "the records"

    built = bench.build("FROM base\nCOPY <<f /\n1\nf\nRUN write /x y\n", inline=inline)
    assert built.config.inline_cache == "the records"
    refs = set(built.layer_refs[1:])
    assert {record.layer for record in seen.values()} == refs
    assert all(record.parts == () and record.seconds == 0 for record in seen.values())


def test_without_packed_layers_there_is_no_manifest(bench: Bench) -> None:
    built = bench.build("FROM base\nCOPY <<f /\n1\nf\n", compression=None)
    assert built.manifest is None and built.layer_refs == () and "f" in bench.files(built.chain)


@pytest.mark.parametrize("compression", [GZIP, PLAIN])
def test_layers_of_runs_are_packed_for_an_image(bench: Bench, compression: Any) -> None:
    built = bench.build("FROM base\nRUN write /x y\n", compression=compression)
    assert all(bench.blobs.has(ref.digest) for ref in built.layer_refs)
    other = bench.build("FROM base\nRUN write /x y\n", compression=PLAIN if compression is GZIP else GZIP)
    assert [layer.diff_id for layer in other.chain] == [layer.diff_id for layer in built.chain]
    assert other.layer_refs != built.layer_refs


def test_explanation_names_what_differed(bench: Bench) -> None:
    bench.write({"d/a": "1", "d/b": "1"})
    text = "FROM base\nCOPY d /d\nENV A=1\nRUN write /x y\n"
    first = bench.build(text, services={"explainer": bench.explainer})
    assert first.report is not None
    assert list(first.report.lines(str)) == [
        "[2/3] COPY d /d: miss, no record of such a step is known",
        "[3/3] RUN write /x y: miss, no record of such a step is known",
        "2 steps missed",
    ]
    bench.write({"d/a": "2", "d/c": "new"})
    changed = bench.build(text.replace("A=1", "A=2"), services={"explainer": bench.explainer})
    assert changed.report is not None
    assert list(changed.report.lines(str)) == [
        "[2/3] COPY d /d: miss, files: d/a changed, d/c is new",
        "[3/3] RUN write /x y: miss, environment: A changed",
        "2 steps missed",
    ]


def test_foreseen_explanation_makes_nothing(bench: Bench) -> None:
    bench.write({"f": "F"})
    report = forecast(bench.request("FROM base\nCOPY f /\nRUN a\n"), bench.services(explainer=bench.explainer))
    lines = list(report.lines(str))
    assert len(lines) == 3 and lines[-1] == "2 steps missed" and bench.sink.started() == []
