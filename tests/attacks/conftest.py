"""Fixtures of the attacks: grounds for each tier; what lies outside is compared after every test."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from tests.attacks.ground import Ground, fingerprint, make_canary
from tests.conformance.forkserver import ForkServer
from tests.conftest import CHECKOUT
from tests.support.run_machine import own_machine, users_machine
from tests.support.unprivileged import WITH_IDS, WITHOUT_IDS, Users, has_one_id

TIERS = ("root", "range", "single")


def _grounds(tier: str, request: pytest.FixtureRequest, folder: Path) -> Iterator[Ground]:
    with ExitStack() as stack:
        if tier in ("root", "chroot"):
            machine = stack.enter_context(own_machine(folder))
        else:
            users: Users = request.getfixturevalue("users")
            user = WITH_IDS if tier == "range" else WITHOUT_IDS
            machine = stack.enter_context(users_machine(users, user))
        if tier == "chroot":
            machine = replace(machine, env={**machine.env, "TIFFIN_ISOLATION": tier})
        canary = make_canary(machine.folder)
        machine.own(canary)
        place = machine.folder / "fork"
        place.mkdir()
        program = place / "forkserver.py"
        shutil.copy(CHECKOUT / "tests/conformance/forkserver.py", program)
        machine.own(place)
        server = stack.enter_context(ForkServer(place, [machine.python, str(program)], **machine.options()))
        own = "single" if tier == "root" and has_one_id() else tier
        yield Ground(machine=machine, tier=own, canary=canary, server=server)


@pytest.fixture(scope="session")
def _root_ground(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    yield from _grounds("root", request, tmp_path_factory.mktemp("root"))


@pytest.fixture(scope="session")
def _range_ground(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    yield from _grounds("range", request, tmp_path_factory.mktemp("range"))


@pytest.fixture(scope="session")
def _single_ground(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    yield from _grounds("single", request, tmp_path_factory.mktemp("single"))


@pytest.fixture(scope="session")
def _chroot_ground(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    if os.getuid() != 0:
        pytest.skip("a chroot takes root")
    yield from _grounds("chroot", request, tmp_path_factory.mktemp("chroot"))


def _unharmed(ground: Ground) -> Iterator[Ground]:
    before = fingerprint(ground.canary)
    yield ground
    ground.tidy()
    assert fingerprint(ground.canary) == before, "an attack changed something outside"
    assert [item for item in ground.machine.left() if "forkserver" not in item] == [], "an attack left something behind"


@pytest.fixture
def ground(request: pytest.FixtureRequest, users: Users) -> Iterator[Ground]:
    """The common place: an unprivileged user with subordinate ids, or with one id where nobody has more."""
    tier = "range" if users.usual == WITH_IDS else "single"
    yield from _unharmed(request.getfixturevalue(f"_{tier}_ground"))


@pytest.fixture
def root_ground(_root_ground: Ground) -> Iterator[Ground]:
    """Whoever runs the tests."""
    yield from _unharmed(_root_ground)


@pytest.fixture
def single_ground(_single_ground: Ground) -> Iterator[Ground]:
    """An unprivileged user with one id, whose owners are emulated."""
    yield from _unharmed(_single_ground)


@pytest.fixture(params=TIERS)
def each_ground(request: pytest.FixtureRequest) -> Iterator[Ground]:
    """Each tier in turn."""
    yield from _unharmed(request.getfixturevalue(f"_{request.param}_ground"))


@pytest.fixture(params=(*TIERS, "chroot"))
def every_ground(request: pytest.FixtureRequest) -> Iterator[Ground]:
    """Each tier, and root confined by a chroot alone."""
    yield from _unharmed(request.getfixturevalue(f"_{request.param}_ground"))
