"""Containers' folders: names, locks, and what is swept after a process was killed."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from tiffin.builder.containers.container import Containers
from tiffin.builder.containers.state import ContainerState, new_state
from tiffin.builder.errors import ContainerError, CorruptError, ImageNotFoundError, StoreError, UsageError
from tiffin.cache.foundation.files import remove_tree
from tiffin.cache.foundation.frozen import replace
from tiffin.cache.store.statedir import StateDir


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    return StateDir.open(tmp_path / "state")


def make(state: StateDir, *, name: str = "", remove: bool = False):  # type: ignore[no-untyped-def]  # a context
    return Containers(state).create(
        new_state(
            image="image:tag",
            image_id="sha256:1",
            command=("a", "b"),
            layers=("sha256:2",),
            name=name,
            remove=remove,
            pid=os.getpid(),
        )
    )


def abandon(state: StateDir, *, remove: bool, name: str = "") -> str:
    """A container whose process died without a word; returns its id."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        with make(state, remove=remove, name=name) as container:
            (container.upper / "file").write_text("x")
            closed = container.work / "work"
            closed.mkdir(mode=0o000)  # as overlayfs leaves it
            os.write(writer, container.state.id.encode())
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(writer)
    with open(reader, "rb") as stream:
        return stream.read().decode()


def test_removed_container_leaves_nothing(state: StateDir) -> None:
    with make(state, remove=True) as container:
        (container.upper / "dir").mkdir(mode=0o000)
        assert Containers(state).is_alive(container.state.id)
        assert [item.id for item in Containers(state).states()] == [container.state.id]
    assert list(state.containers.iterdir()) == []


def test_removed_even_when_the_block_fails(state: StateDir) -> None:
    with pytest.raises(KeyboardInterrupt), make(state, remove=True):
        raise KeyboardInterrupt
    assert list(state.containers.iterdir()) == []


def test_kept_container_keeps_its_upper_and_exit_code(state: StateDir) -> None:
    with make(state, name="kept") as container:
        (container.upper / "file").write_text("x")
        container.finish(7)
    containers = Containers(state)
    found = containers.find("kept")
    assert (found.exit_code, found.command, found.layers, found.image) == (7, ("a", "b"), ("sha256:2",), "image:tag")
    assert not containers.is_alive(found.id)
    assert sorted(item.name for item in (state.containers / found.id).iterdir()) == ["lock", "state.json", "upper"]
    assert containers.find(found.id[:6]) == found
    containers.remove(found)
    assert list(state.containers.iterdir()) == []


def test_name_in_use_is_refused(state: StateDir) -> None:
    with make(state, name="one"), pytest.raises(UsageError, match='"one" is already in use'), make(state, name="one"):
        pass


def test_bad_name_is_refused(state: StateDir) -> None:
    for name in ("a", "-ab", "a b", "a/b", "../ab"):
        with pytest.raises(UsageError, match="invalid container name"), make(state, name=name):
            pass
    assert list(state.containers.iterdir()) == []


def test_given_names_differ(state: StateDir) -> None:
    names = set()
    for _ in range(30):
        with make(state) as container:
            names.add(container.state.name)
    assert len(names) == 30


def test_two_containers_do_not_wait_for_each_other(state: StateDir) -> None:
    with make(state) as first, make(state) as second:
        assert Containers(state).is_alive(first.state.id)
        assert Containers(state).is_alive(second.state.id)


def test_killed_container_with_rm_is_swept(state: StateDir) -> None:
    identity = abandon(state, remove=True)
    containers = Containers(state)
    assert not containers.is_alive(identity)
    assert containers.has_dead()
    assert len(containers.sweep(stopped=False)) == 1
    assert list(state.containers.iterdir()) == []


def test_killed_container_without_rm_stays_until_it_is_asked_for(state: StateDir) -> None:
    identity = abandon(state, remove=False, name="stays")
    containers = Containers(state)
    assert not containers.has_dead()
    assert len(containers.sweep(stopped=False)) == 0
    assert containers.find("stays").exit_code is None
    assert (state.containers / identity / "upper/file").read_text() == "x"
    assert len(containers.sweep(stopped=True)) == 1


def test_living_container_is_never_swept(state: StateDir) -> None:
    with make(state, remove=True) as container:
        assert len(Containers(state).sweep(stopped=True)) == 0
        assert container.folder.is_dir()
        with pytest.raises(ContainerError, match="is running"):
            Containers(state).remove(container.state)


def test_half_made_folder_is_swept(state: StateDir) -> None:
    (state.containers / ("0" * 64)).mkdir()
    assert Containers(state).has_dead()
    assert len(Containers(state).sweep(stopped=False)) == 1


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"null", b'{"id": 1}', b"\xff"])
def test_damaged_state_harms_nobody(data: bytes, state: StateDir) -> None:
    with make(state, name="broken") as container:
        pass
    (container.folder / "state.json").write_bytes(data)
    containers = Containers(state)
    assert containers.states() == []
    with make(state, name="other"):
        assert [item.name for item in containers.states()] == ["other"]
    assert len(containers.sweep(stopped=True)) == 2


def test_unknown_and_ambiguous_names(state: StateDir) -> None:
    containers = Containers(state)
    with make(state), make(state):
        for text in ("none", ""):
            with pytest.raises((ImageNotFoundError, UsageError)):
                containers.find(text)


def test_kill_ends_the_process_and_only_that(state: StateDir) -> None:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        with make(state, remove=True):
            os.write(writer, b"x")
            signal.pause()
    os.read(reader, 1)
    containers = Containers(state)
    (found,) = containers.states()
    with pytest.raises(StoreError, match="cannot be reached"):
        containers.kill(replace(found, pid_started="another"))
    assert os.waitpid(pid, os.WNOHANG) == (0, 0)
    (found,) = containers.states()
    containers.kill(found)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    for fd in (reader, writer):
        os.close(fd)


def test_state_round_trips(state: StateDir) -> None:
    with make(state, name="round") as container:
        decoded = type(container.state).decode(container.state.encode())
        assert decoded == container.state
    with pytest.raises(CorruptError):
        type(container.state).decode(b"{")


def test_a_name_is_not_another_text_of_a_container(state: StateDir) -> None:
    containers = Containers(state)
    with make(state, name="one"):
        for text in ("image:tag", "on", "name"):
            with pytest.raises(ImageNotFoundError):
                containers.find(text)
        with pytest.raises(UsageError, match="already in use"), make(state, name="one"):
            pass
        with make(state, name="image:tag".replace(":", "-")), make(state) as third:
            assert containers.find(third.state.name).id == third.state.id
            assert containers.find(third.state.id).name == third.state.name


def test_who_removes_and_who_sweeps_do_not_stand_in_the_way_of_each_other(
    state: StateDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    swept: list[Path] = []

    def raced(path: Path) -> None:
        if path.parent == state.containers and not swept:
            swept.append(path)
            (path / "lock").unlink()  # as the last removal begins; now nobody seems to hold it
            assert Containers(state).sweep(stopped=False) == [path.name]
            raise FileNotFoundError(path)
        remove_tree(path)

    monkeypatch.setattr("tiffin.builder.containers.folder.remove_tree", raced)
    with make(state, remove=True):
        pass
    assert swept and list(state.containers.iterdir()) == []


@pytest.mark.parametrize(("members", "status"), [({"exit_code": 0, "finished": 2.0}, "exited"), ({}, "dead")])
def test_a_container_of_an_earlier_version_was_begun(members: dict[str, object], status: str) -> None:
    """It wrote no time of the beginning, and published ports as a text."""
    written = {
        "command": ["cat", "/hi"], "created": 1.0, "id": "79", "image": "old", "image_id": "sha256:74", "labels": {},
        "layers": ["sha256:6a"], "name": "kept", "pid": 7, "pid_started": "pid:[1] 5", "remove": False,
        "ports": ["0.0.0.0:8080->80/tcp"], **members,
    }  # fmt: skip
    state = ContainerState.decode(json.dumps(written).encode())
    assert state.status(alive=False) == status and state.started == 1.0
    assert (state.ports[0].host, state.ports[0].container) == (8080, 80)
