"""A tier is one file and one row: what is chosen, remembered, told of and run asks the object, whatever it is
called.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.support.tiers import CHROOT, NONE, PROOT, RANGE, SINGLE
from tiffin.builder.api.machine import look
from tiffin.builder.api.session import Session
from tiffin.builder.containers.reach import reach_of
from tiffin.builder.errors import SandboxError, UsageError
from tiffin.builder.image.users import ProcessUser
from tiffin.builder.sandbox.isolation import Advice, Isolation, Tier, TierReport
from tiffin.builder.sandbox.isolation_cache import TierMemory
from tiffin.builder.sandbox.tiers import table
from tiffin.builder.sandbox.tiers.choice import choose, probe
from tiffin.builder.sandbox.tiers.remediation import advice
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.store.snapshots import Snapshots
from tiffin.cache.store.statedir import StateDir


class VirtualMachine(Tier):
    """A tier as another could be: its owners are true, its roots are copies, and it needs something of the machine."""

    name = "machine"
    keeps_owners = True
    works = True

    def probe(self, directory: Path) -> TierReport:
        if self.works:
            return TierReport(tier=self, isolation=Isolation(tier=self, own_pids=True))
        return TierReport(tier=self, reason="there is no /dev/kvm", remedy="give it")

    def advise(self, mounted: TierReport | None) -> list[Advice]:
        return [Advice(what="Hardware that makes machines", text="modprobe kvm")]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> VirtualMachine:
    module, tier = ModuleType("machine"), VirtualMachine()
    module.__dict__["TIER"] = tier
    monkeypatch.setitem(sys.modules, f"{table.__package__}.machine", module)
    monkeypatch.setattr(table, "NAMES", ("machine", *table.NAMES))
    return tier


@pytest.mark.thorough
def test_a_tier_is_a_file_and_a_row(machine: VirtualMachine, tmp_path: Path) -> None:
    assert choose(None, tmp_path) == choose("machine", tmp_path) == Isolation(tier=machine, own_pids=True)
    assert next(report.name for report in probe(tmp_path)) == "machine"
    memory = TierMemory(tmp_path / "tier")
    memory.remember(choose(None, tmp_path))
    assert memory.recall() == Isolation(tier=machine, own_pids=True)
    assert look(Session(tmp_path / "state")).chosen == "machine"


@pytest.mark.thorough
def test_a_tier_says_itself_what_it_lacks(
    machine: VirtualMachine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(VirtualMachine, "works", False)
    with pytest.raises(SandboxError, match="isolation machine does not work here: there is no /dev/kvm"):
        choose("machine", tmp_path)
    assert "modprobe kvm" in [found.text for found in advice(probe(tmp_path))]
    user = ProcessUser(uid=(1 << 32) - 1, gid=0, groups=(0,), home="/")
    with pytest.raises(SandboxError, match="isolation machine emulates none"):
        reach_of(Isolation(tier=machine), Snapshots(StateDir.open(tmp_path)), [Digest.of(b"layer")], user)


def test_a_name_that_no_tier_has_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match='unknown isolation "machine"') as caught:
        choose("machine", tmp_path)
    assert caught.value.remedy == "use one of range, single, chroot, proot, none"


def test_what_each_tier_does_with_owners() -> None:
    tiers = (RANGE, SINGLE, CHROOT, PROOT, NONE)
    assert [tier.emulates_on_demand for tier in tiers] == [True, False, False, False, False]
    assert [tier.emulates_always for tier in tiers] == [False, True, False, False, False]
    assert [tier.refuses_owners for tier in tiers] == [False, False, True, False, False]
    assert [tier.runs_commands for tier in tiers] == [True, True, True, True, False]


def test_a_note_of_what_is_never_taken_by_itself_is_not_believed(tmp_path: Path) -> None:
    memory = TierMemory(tmp_path / "tier")
    for tier in (PROOT, NONE):
        memory.remember(Isolation(tier=tier))
        assert memory.recall() is None
    memory.remember(Isolation(tier=CHROOT))
    assert memory.recall() == Isolation(tier=CHROOT)


def test_none_that_was_asked_for_says_so(tmp_path: Path) -> None:
    found = choose("none", tmp_path)
    assert not found.tier.runs_commands and found.refusal == "--isolation none was asked for"
