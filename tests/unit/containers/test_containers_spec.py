"""From configuration and options to a command, capabilities and forwarded signals."""

from __future__ import annotations

import signal

import pytest

from tiffin.builder.containers.run import (
    ContainerOptions,
    Forwarder,
    choose_capabilities,
    command_of,
    forwarded_signals,
)
from tiffin.builder.errors import UsageError
from tiffin.builder.oci.config import RunConfig
from tiffin.builder.sandbox.child.kernel import CAPABILITIES
from tiffin.builder.sandbox.child.spec import DEFAULT_CAPABILITIES


@pytest.mark.parametrize(
    ("entrypoint", "cmd", "given_entrypoint", "words", "wanted"),
    [
        (None, ("c",), None, (), ("c",)),
        (None, ("c",), None, ("w", "x"), ("w", "x")),
        (("e",), ("c", "d"), None, (), ("e", "c", "d")),
        (("e",), ("c",), None, ("w",), ("e", "w")),
        (("e",), None, None, (), ("e",)),
        (("e",), ("c",), "n", (), ("n",)),
        (("e",), ("c",), "n", ("w",), ("n", "w")),
        (("e",), ("c",), "", ("w",), ("w",)),
    ],
)
def test_entrypoint_and_cmd(
    entrypoint: tuple[str, ...] | None,
    cmd: tuple[str, ...] | None,
    given_entrypoint: str | None,
    words: tuple[str, ...],
    wanted: tuple[str, ...],
) -> None:
    config = RunConfig(entrypoint=entrypoint, cmd=cmd)
    assert command_of(config, ContainerOptions(entrypoint=given_entrypoint, command=words)) == wanted


@pytest.mark.parametrize("given", [None, ""])
def test_no_command_is_refused(given: str | None) -> None:
    config = RunConfig(entrypoint=("e",), cmd=("c",)) if given == "" else RunConfig()
    with pytest.raises(UsageError, match="no command specified"):
        command_of(config, ContainerOptions(entrypoint=given))


def test_capabilities() -> None:
    assert set(choose_capabilities([], [])) == set(DEFAULT_CAPABILITIES)
    assert choose_capabilities([], ["ALL"]) == ()
    assert choose_capabilities(["net_admin"], ["ALL"]) == ("NET_ADMIN",)
    assert choose_capabilities(["ALL"], []) == CAPABILITIES
    assert set(CAPABILITIES) - set(choose_capabilities(["all"], ["CAP_CHOWN"])) == {"CHOWN"}
    with pytest.raises(UsageError, match='unknown capability "FLY"'):
        choose_capabilities(["FLY"], [])


class FakeRunning:
    def __init__(self) -> None:
        self.killed: list[int] = []

    def kill(self, number: int) -> None:
        self.killed.append(number)


def test_third_request_to_end_kills() -> None:
    forwarder, running = Forwarder(), FakeRunning()
    forwarder.to(running)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGUSR1, signal.SIGINT, signal.SIGTERM):
        forwarder.received(number, None)
    assert running.killed == [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGUSR1, *(signal.SIGKILL,) * 2]


def test_early_signals_end_us_or_are_kept_for_the_command() -> None:
    ended: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: ended.append(number))
    try:
        with forwarded_signals() as forwarder:
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGUSR1)
            assert ended == [signal.SIGTERM]
            running = FakeRunning()
            forwarder.to(running)
            signal.raise_signal(signal.SIGTERM)
            assert running.killed == [signal.SIGUSR1, signal.SIGTERM]
        signal.raise_signal(signal.SIGTERM)
        assert ended == [signal.SIGTERM, signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)
