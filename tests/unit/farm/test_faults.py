"""A command that fails on a machine without space or memory."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.plans import FakeBuild
from tiffin.builder.api.farm import faults
from tiffin.builder.errors import BuildError, RunError
from tiffin.builder.execute.steps import StepTask
from tiffin.builder.farm.values import MACHINE, OWN, Unit
from tiffin.builder.layer.compression.codecs import Compression


@pytest.fixture
def unit(tmp_path: Path) -> Unit:
    stage = FakeBuild.at(tmp_path).plan("FROM base\nRUN x\n").stages[0]
    task = StepTask(stage=stage, number=0, chain=(), step_id=1, needs_tree=False, for_target=True, sources={})
    plain = Compression(kind="none")
    return Unit(name="x", tasks=(task,), looks=(), trees={}, compression=None, others=plain, epoch=None)


def failed(status: int) -> RunError:
    return RunError("it failed", status=status)


def test_a_full_disk_is_the_machines(tmp_path: Path, unit: Unit, monkeypatch: pytest.MonkeyPatch) -> None:
    found = faults.Faults(tmp_path)
    assert found.failure(failed(1), unit).kind == OWN
    monkeypatch.setattr(faults, "LEAST_FREE_BYTES", os.statvfs("/").f_blocks << 40)
    told = found.failure(failed(1), unit)
    assert told.kind == MACHINE and "disk is full" in told.message and told.status is None
    assert found.failure(BuildError("no such file"), unit).kind == OWN


def test_a_lack_of_memory_is_the_machines(tmp_path: Path, unit: Unit, monkeypatch: pytest.MonkeyPatch) -> None:
    vmstat = tmp_path / "vmstat"
    vmstat.write_text("nr_free 7\noom_kill 3\n")
    monkeypatch.setattr(faults, "VMSTAT", vmstat)
    found = faults.Faults(tmp_path)
    assert found.failure(failed(137), unit).kind == OWN  # somebody killed it
    vmstat.write_text("oom_kill 4\n")
    assert found.failure(failed(1), unit).kind == OWN
    assert "memory" in found.failure(failed(137), unit).message
    vmstat.unlink()
    assert found.failure(failed(137), unit).kind == OWN
