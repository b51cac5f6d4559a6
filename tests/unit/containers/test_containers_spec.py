"""From configuration and options to a command, capabilities and forwarded signals."""

from __future__ import annotations

import signal

import pytest

from tiffin.builder.containers.run import ContainerOptions, Forwarder, choose_capabilities, command_of
from tiffin.builder.errors import UsageError
from tiffin.builder.oci.config import RunConfig
from tiffin.builder.sandbox.kernel import CAPABILITIES
from tiffin.builder.sandbox.spec import DEFAULT_CAPABILITIES


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
    with pytest.raises(UsageError, match='no capability "FLY"'):
        choose_capabilities(["FLY"], [])


class FakeRunning:
    def __init__(self) -> None:
        self.killed: list[int] = []

    def kill(self, number: int) -> None:
        self.killed.append(number)


def test_second_interrupt_kills() -> None:
    forwarder, running = Forwarder(), FakeRunning()
    forwarder.to(running)  # type: ignore[arg-type]  # a fake
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGINT):
        forwarder.received(number, None)
    assert running.killed == [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGKILL]


def test_early_signals_are_kept_for_the_command() -> None:
    forwarder, running = Forwarder(), FakeRunning()
    forwarder.received(signal.SIGTERM, None)
    forwarder.to(running)  # type: ignore[arg-type]  # a fake
    assert running.killed == [signal.SIGTERM]
