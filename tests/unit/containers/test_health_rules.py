"""What health checks say of a container, by docker's rules, with checks that are pipes of this process."""

from __future__ import annotations

import contextlib
import os
import select
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tiffin.builder.containers.health import HealthCheck, check_of, parse_health
from tiffin.builder.containers.lifecycle.health_monitor import HealthMonitor, read_health
from tiffin.builder.errors import SandboxError, UsageError
from tiffin.builder.oci.config import Healthcheck, RunConfig

OPTIONS = {
    "command": "", "interval": "", "timeout": "", "retries": "", "start_period": "", "start_interval": "",
    "on_failure": "",
}  # fmt: skip


class Check:
    """A check that ends at once with a code, or never (None)."""

    def __init__(self, output: int, code: int | None, text: bytes) -> None:
        self._code = code
        self.killed = False
        self._reader, writer = os.pipe()
        os.write(output, text)
        if code is None:
            self._writer = writer
        else:
            os.close(writer)

    def fileno(self) -> int:
        return self._reader

    def finish(self) -> tuple[int, str]:
        os.close(self._reader)
        assert self._code is not None
        return self._code, "not found" if self._code == 127 else ""

    def kill(self) -> None:
        self.killed = True
        os.close(self._reader)
        os.close(self._writer)


class Bench:
    def __init__(self, folder: Path, codes: list[int | None], **more: float) -> None:
        self.codes = codes
        self.text = b"said"
        self.changes: list[str] = []
        self.checks: list[Check] = []
        self.is_paused = False
        check = HealthCheck(
            test=("CMD-SHELL", "x"),
            interval=more.get("interval", 0.001),
            timeout=0.05,
            retries=2,
            start_period=more.get("start_period", 0.0),
            start_interval=more.get("start_interval", 0.001),
        )
        self.folder = folder
        self.monitor = HealthMonitor(
            folder, check, begin_probe=self._begin, change=self.changes.append, is_paused=lambda: self.is_paused
        )

    def _begin(self, output: int) -> Check:
        if not self.codes:
            raise SandboxError("cannot enter", remedy="wait")
        self.checks.append(Check(output, self.codes.pop(0), self.text))
        return self.checks[-1]

    def run_until(self, done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 10
        while not done():
            assert time.monotonic() < deadline
            poller = select.poll()
            for fd in self.monitor.descriptors():
                poller.register(fd, select.POLLIN)
            ready = dict(poller.poll(max(self.monitor.seconds() * 1000, 1)))
            self.monitor.attend(ready)

    def log(self) -> list[dict[str, object]]:
        found = read_health(self.folder)
        assert found is not None
        log: list[dict[str, object]] = found["Log"]
        return log


@contextlib.contextmanager
def bench(folder: Path, *codes: int | None, **more: float) -> Iterator[Bench]:
    made = Bench(folder, list(codes), **more)
    yield made
    made.monitor.end()


def test_so_many_failures_in_a_row_and_one_success_decide(tmp_path: Path) -> None:
    with bench(tmp_path, 1, 0, 1, 127, 0) as made:
        made.run_until(lambda: len(made.changes) == 3)
        assert made.changes == ["healthy", "unhealthy", "healthy"]
        assert [row["ExitCode"] for row in made.log()] == [1, 0, 1, 127, 0]
        assert [row["Output"] for row in made.log()] == ["said", "said", "said", "not found", "said"]
    found = read_health(tmp_path)
    assert found is not None
    assert found["Status"] == "unhealthy"  # nobody checks any more


def test_one_that_cannot_be_begun_or_hangs_is_a_failure(tmp_path: Path) -> None:
    with bench(tmp_path, None) as made:
        made.run_until(lambda: made.changes == ["unhealthy"])
        assert made.checks[0].killed
        first, second = made.log()
    assert (first["ExitCode"], first["Output"]) == (-1, "Health check exceeded timeout (50ms)")
    assert (second["ExitCode"], second["Output"]) == (-1, "cannot enter; wait")


def test_failures_of_the_start_period_do_not_count_and_a_success_ends_it(tmp_path: Path) -> None:
    with bench(tmp_path, 1, 1, 1, 1, 0, start_period=100.0, interval=1000.0) as made:
        made.run_until(lambda: made.changes == ["healthy"])
        assert made.monitor.seconds() > 900
        assert len(made.log()) == 5


def test_the_first_check_after_the_start_period_is_not_late(tmp_path: Path) -> None:
    with bench(tmp_path, 1, start_period=30.0, start_interval=1000.0, interval=2.0) as made:
        assert 30 < made.monitor.seconds() < 33


def test_output_is_bounded_and_so_are_results(tmp_path: Path) -> None:
    with bench(tmp_path, *[0] * 8) as made:
        made.text = b"x" * 5000
        made.run_until(lambda: not made.codes and len(made.log()) == 5 and not made.monitor.descriptors())
        assert {len(str(row["Output"])) for row in made.log()} == {4096}


def test_nothing_is_checked_while_it_is_paused(tmp_path: Path) -> None:
    with bench(tmp_path, 0) as made:
        made.is_paused = True
        made.run_until(lambda: made.monitor.seconds() > 0.5)
        assert made.checks == []


@pytest.mark.parametrize(
    ("wanted", "own", "test"),
    [
        (None, None, None),
        (None, ("NONE",), None),
        (None, ("CMD", "a"), ("CMD", "a")),
        (HealthCheck(interval=2), ("CMD", "a"), ("CMD", "a")),
        (HealthCheck(test=("NONE",)), ("CMD", "a"), None),
        (HealthCheck(test=("CMD-SHELL", "b")), None, ("CMD-SHELL", "b")),
        (HealthCheck(interval=2), None, None),
    ],
)
def test_options_go_before_the_image(
    wanted: HealthCheck | None, own: tuple[str, ...] | None, test: tuple[str, ...] | None
) -> None:
    config = RunConfig(healthcheck=Healthcheck(test=own, interval_ns=7_000_000_000) if own else None)
    found = check_of(wanted, config)
    assert (found.test if found else None) == test
    if found:
        assert found.interval == (wanted.interval if wanted and wanted.interval else 7 if own else 30)
        assert found.argv(None) == (("a",) if found.test[0] == "CMD" else ("/bin/sh", "-c", "b"))


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"interval": "-1s"}, "cannot be negative"),
        ({"timeout": "1us"}, "cannot be less than 1ms"),
        ({"timeout": "soon"}, "--health-timeout"),
        ({"retries": "some"}, "not a whole number"),
        ({"command": "x", "is_off": True}, "conflicts"),
    ],
)
def test_wrong_options_are_refused(more: dict[str, object], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        parse_health(**{**OPTIONS, "is_off": False, **more})  # type: ignore[arg-type]


def test_options_become_a_check() -> None:
    assert parse_health(**OPTIONS, is_off=False) is None
    assert parse_health(**OPTIONS, is_off=True) == HealthCheck(test=("NONE",))
    made = parse_health(**{**OPTIONS, "command": "x", "interval": "1m30s", "retries": "7"}, is_off=False)
    assert made == HealthCheck(test=("CMD-SHELL", "x"), interval=90, retries=7)


@pytest.mark.parametrize(
    ("text", "meant"), [("", ""), ("none", ""), ("kill", "kill"), ("restart", "restart"), ("stop", "stop")]
)
def test_what_is_done_with_one_that_is_unhealthy(text: str, meant: str) -> None:
    found = check_of(parse_health(**{**OPTIONS, "command": "x", "on_failure": text}, is_off=False), RunConfig())
    assert found is not None
    assert found.on_failure == meant


def test_what_is_not_known_is_not_done_with_one_that_is_unhealthy() -> None:
    with pytest.raises(UsageError, match="--health-on-failure"):
        parse_health(**{**OPTIONS, "command": "x", "on_failure": "reboot"}, is_off=False)
