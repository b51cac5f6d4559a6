"""Fixtures of the attacks: grounds for each tier; what lies outside is compared after every test."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from tests.attacks.harness import Harness, fingerprint, make_canary
from tests.conformance.forkserver import ForkServer
from tests.conftest import CHECKOUT
from tests.support.cli_runner import own_cli, user_cli
from tests.support.unprivileged import WITH_IDS, WITHOUT_IDS, Users, has_one_id

TIERS = ("root", "range", "single")


def _harnesss(tier: str, request: pytest.FixtureRequest, folder: Path) -> Iterator[Harness]:
    with ExitStack() as stack:
        if tier in ("root", "chroot"):
            cli = stack.enter_context(own_cli(folder))
        else:
            users: Users = request.getfixturevalue("users")
            user = WITH_IDS if tier == "range" else WITHOUT_IDS
            cli = stack.enter_context(user_cli(users, user))
        if tier == "chroot":
            cli = replace(cli, env={**cli.env, "TIFFIN_ISOLATION": tier})
        canary = make_canary(cli.folder)
        cli.own(canary)
        place = cli.folder / "fork"
        place.mkdir()
        program = place / "forkserver.py"
        shutil.copy(CHECKOUT / "tests/conformance/forkserver.py", program)
        cli.own(place)
        server = stack.enter_context(ForkServer(place, [cli.python, str(program)], **cli.options()))
        own = "single" if tier == "root" and has_one_id() else tier
        yield Harness(cli=cli, tier=own, canary=canary, server=server)


@pytest.fixture(scope="session")
def _root_harness(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harness]:
    yield from _harnesss("root", request, tmp_path_factory.mktemp("root"))


@pytest.fixture(scope="session")
def _range_harness(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harness]:
    yield from _harnesss("range", request, tmp_path_factory.mktemp("range"))


@pytest.fixture(scope="session")
def _single_harness(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harness]:
    yield from _harnesss("single", request, tmp_path_factory.mktemp("single"))


@pytest.fixture(scope="session")
def _chroot_harness(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harness]:
    if os.getuid() != 0:
        pytest.skip("a chroot takes root")
    yield from _harnesss("chroot", request, tmp_path_factory.mktemp("chroot"))


def _unharmed(harness: Harness) -> Iterator[Harness]:
    before = fingerprint(harness.canary)
    yield harness
    harness.tidy()
    assert fingerprint(harness.canary) == before, "an attack changed something outside"
    assert [item for item in harness.cli.left() if "forkserver" not in item] == [], "an attack left something behind"


@pytest.fixture
def harness(request: pytest.FixtureRequest, users: Users) -> Iterator[Harness]:
    """The common place: an unprivileged user with subordinate ids, or with one id where nobody has more."""
    tier = "range" if users.usual == WITH_IDS else "single"
    yield from _unharmed(request.getfixturevalue(f"_{tier}_harness"))


@pytest.fixture
def root_harness(_root_harness: Harness) -> Iterator[Harness]:
    """Whoever runs the tests."""
    yield from _unharmed(_root_harness)


@pytest.fixture
def single_harness(_single_harness: Harness) -> Iterator[Harness]:
    """An unprivileged user with one id, whose owners are emulated."""
    yield from _unharmed(_single_harness)


@pytest.fixture(params=TIERS)
def each_harness(request: pytest.FixtureRequest) -> Iterator[Harness]:
    """Each tier in turn."""
    yield from _unharmed(request.getfixturevalue(f"_{request.param}_harness"))


@pytest.fixture(params=(*TIERS, "chroot"))
def every_harness(request: pytest.FixtureRequest) -> Iterator[Harness]:
    """Each tier, and root confined by a chroot alone."""
    yield from _unharmed(request.getfixturevalue(f"_{request.param}_harness"))
