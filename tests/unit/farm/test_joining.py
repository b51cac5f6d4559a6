"""Builds that are to be made on a farm, and what becomes part of one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.fakes.sink import RecordingSink
from tests.support.plans import FakeBuild
from tiffin.builder.api.bake.sharing import SharedSession
from tiffin.builder.api.build import prepared
from tiffin.builder.api.build_options import ONE, BuildOptions
from tiffin.builder.api.farm import nodes
from tiffin.builder.api.farm.joined import BarredFarm, JoinedFarm
from tiffin.builder.api.farm.joining import check_farm
from tiffin.builder.api.session import Session
from tiffin.builder.delivery.output_spec import OutputSpec
from tiffin.builder.errors import BuildError, UsageError
from tiffin.builder.farm.address import FarmAccess, FarmTrust
from tiffin.builder.farm.dask import nodes as dask_nodes
from tiffin.builder.farm.executor import FarmExecutor
from tiffin.builder.solver.results import Split
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.store.snapshots import BlobRef

NOWHERE = FarmAccess(address="tcp://127.0.0.1:1")
HERE = FarmTrust()


@pytest.mark.parametrize(
    "options, flag",
    [
        ({"egress": "x"}, "--egress"),
        ({"record": "x"}, "--record"),
        ({"replay": "x"}, "--replay"),
        ({"cache_mounts": ("a",)}, "--cache-mounts"),
        ({"layering": ONE}, "--squash"),
        ({"outputs": (OutputSpec(kind="image", split=Split()),)}, "layers=split"),
    ],
)
def test_what_a_farm_does_not_do_is_refused(options: dict[str, Any], flag: str) -> None:
    check_farm(BuildOptions(farm=NOWHERE, seccomp="/profile.json", ssh=("default",)))
    with pytest.raises(UsageError, match=flag):
        check_farm(BuildOptions(farm=NOWHERE, **options))


def test_a_farm_is_joined_when_a_step_has_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tiffin.builder.farm.dask.driver.START_SECONDS", 0.3)
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    session, sink = Session(tmp_path / "state"), RecordingSink()
    options = BuildOptions(context=str(tmp_path), farm=NOWHERE)
    with prepared(options, session, sink) as found:
        assert found.services.elsewhere is not None
        plan = FakeBuild.at(tmp_path / "plan").plan("FROM scratch\nCOPY --from=base /a /\n")
        executor = found.services.elsewhere(plan, (), None, None)
        assert isinstance(executor, FarmExecutor)
        executor._build.expect(BlobRef(media_type="", digest=Digest.of(b"x"), size_bytes=1), Digest.of(b"y"))
        assert found.remote()._shared[-1](BlobRef(media_type="", digest=Digest.of(b"x"), size_bytes=1)) is False
        with pytest.raises(BuildError, match="does not answer"):
            session.farm(NOWHERE).join(sink)
    assert session.farm(NOWHERE) is session.farm(NOWHERE)
    session.leave_farm()


def test_builds_of_one_command_share_a_farm(tmp_path: Path) -> None:
    outer = Session(tmp_path / "state")
    barred = SharedSession(outer).farm(NOWHERE)
    assert isinstance(barred, BarredFarm)
    with pytest.raises(Exception):  # noqa: B017  # the process has no namespace yet
        barred.join(RecordingSink())
    shared = SharedSession(outer, object())  # type: ignore[arg-type]
    assert shared.farm(NOWHERE) is outer.farm(NOWHERE) and isinstance(outer.farm(NOWHERE), JoinedFarm)
    shared.leave_farm()
    outer.leave_farm()


def test_nodes_off_this_machine_need_certificates(tmp_path: Path) -> None:
    for listen, dashboard in (("0.0.0.0:8786", ""), ("127.0.0.1:0", "0.0.0.0:8787")):
        with pytest.raises(UsageError, match="no TLS"):
            nodes.run_scheduler(Session(tmp_path), listen, dashboard, HERE, print)
    for scheduler, listen in (("farm.example", ""), ("127.0.0.1:1", "10.0.0.1")):
        with pytest.raises(UsageError, match="no TLS"):
            nodes.run_worker(
                Session(tmp_path), scheduler, name="", slots=1, listen=listen, labels=(), isolation="", trust=HERE,
                ready=print,
            )  # fmt: skip


def test_a_worker_is_what_its_line_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dask_nodes.WorkerOptions] = []
    said: list[tuple[Any, ...]] = []

    def run_worker(options: dask_nodes.WorkerOptions, ready: Any) -> None:
        asked.append(options)
        ready("tcp://127.0.0.1:5", options.slots, "single")

    monkeypatch.setattr(dask_nodes, "run_worker", run_worker)
    monkeypatch.setattr(dask_nodes, "run_scheduler", lambda *words: said.append(words))
    monkeypatch.setenv("TIFFIN_ROOT", "")
    session = Session(tmp_path / "state")
    for name, slots in (("", 0), ("one", 3)):
        nodes.run_worker(
            session, "127.0.0.1", name=name, slots=slots, listen="", labels=("gpu",), isolation="", trust=HERE,
            ready=lambda *words: said.append(words),
        )  # fmt: skip
    assert asked[1].name == "one" and asked[1].slots == 3 and asked[0].slots > 0 and asked[0].name
    assert asked[0].host == "127.0.0.1" and asked[0].scheduler == "tcp://127.0.0.1:8786"
    assert said.pop() == ("one", "tcp://127.0.0.1:5", 3, "single")
    nodes.run_scheduler(session, "127.0.0.1:5", "", HERE, print)
    *asked_for, scratch, _ = said.pop()
    assert asked_for[:3] == ["127.0.0.1", 5, ""] and Path(scratch).is_relative_to(session.state.root)
    with pytest.raises(UsageError, match="not a label"):
        nodes.run_worker(
            session, "127.0.0.1", name="", slots=1, listen="", labels=("a,b",), isolation="", trust=HERE, ready=print
        )
