"""Removing a container enters the namespace of its files only where it has to."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from pathlib import Path

import pytest

from tiffin.builder.api.containers.removal import remove_container
from tiffin.builder.api.session import Session
from tiffin.builder.containers.container import Container, Containers
from tiffin.builder.containers.state import new_state
from tiffin.builder.errors import ContainerError, StoreError


class CountingSession(Session):
    """Notes that a namespace was to be entered."""

    entered = 0

    def isolate(self, *_: object, **__: object) -> None:  # type: ignore[override]
        self.entered += 1


def made(session: Session, **more: object) -> Container:
    wanted = {"image": "i", "image_id": "sha256:1", "command": (), "layers": (), "name": "", "remove": False}
    with Containers(session.state).create(new_state(pid=os.getpid(), **{**wanted, **more})) as container:  # type: ignore[arg-type]
        return container


@pytest.fixture
def session(tmp_path: Path) -> CountingSession:
    return CountingSession(tmp_path / "state")


def test_own_files_go_from_here(session: CountingSession) -> None:
    container = made(session)
    (container.upper / "file").touch()
    remove_container(Containers(session.state), container.state, session)
    assert session.entered == 0
    assert not container.folder.exists()


def test_files_of_others_go_from_their_namespace(session: CountingSession, monkeypatch: pytest.MonkeyPatch) -> None:
    container, containers = made(session), Containers(session.state)
    real = Containers.remove

    def refused(self: Containers, *given: object, **named: object) -> None:
        if not session.entered:
            raise StoreError("not permitted", remedy="enter")
        real(self, *given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(Containers, "remove", refused)
    remove_container(containers, container.state, session)
    assert session.entered == 1
    assert not container.folder.exists()


def test_anonymous_volumes_are_removed_in_the_namespace(session: CountingSession) -> None:
    container = made(session, volumes={"/data": "a" * 64})
    remove_container(Containers(session.state), container.state, session, volumes=True)
    assert session.entered == 1


def test_what_runs_is_refused_without_entering_anything(session: CountingSession) -> None:
    containers = Containers(session.state)
    wanted = new_state(name="", remove=False, pid=os.getpid(), image="i", image_id="", command=(), layers=())
    with containers.create(wanted) as container, pytest.raises(ContainerError, match="is running"):
        remove_container(containers, container.state, session)
    assert session.entered == 0


def test_who_asks_whether_it_runs_for_long_does_not_hold_it(session: CountingSession) -> None:
    container, begun = made(session), threading.Event()

    def ask() -> None:
        with (container.folder / "lock").open("r+b") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH)
            begun.set()
            time.sleep(0.3)  # as on a machine that is busy

    asking = threading.Thread(target=ask)
    asking.start()
    begun.wait()
    remove_container(Containers(session.state), container.state, session)
    asking.join()
    assert not container.folder.exists()


def test_one_that_ends_by_itself_as_it_is_to_be_killed_is_fine(session: CountingSession) -> None:
    state = made(session).state
    state = state.__class__.decode(state.encode().replace(b'"pid_started": "', b'"pid_started": "another '))
    Containers(session.state).kill(state)  # of a process that is gone, whose number another one has
