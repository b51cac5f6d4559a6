"""Health checks: what a command says of a container, by the rules of docker's HEALTHCHECK."""

from __future__ import annotations

from tiffin.builder.errors import TiffinError, UsageError
from tiffin.builder.oci.config import Healthcheck, RunConfig
from tiffin.cache.foundation.frozen import dataclass

STARTING, HEALTHY, UNHEALTHY = "starting", "healthy", "unhealthy"
DEFAULT_SHELL = ("/bin/sh", "-c")
NONE, EXEC, IN_SHELL = "NONE", "CMD", "CMD-SHELL"  # with which a test begins
NANOSECONDS = 1_000_000_000
SHORTEST_SECONDS = 0.001  # docker's
NOTHING, KILL, RESTART, STOP = "none", "kill", "restart", "stop"  # what is done with one that is unhealthy: podman's
DEFAULT_INTERVAL, DEFAULT_TIMEOUT, DEFAULT_START_INTERVAL, DEFAULT_RETRIES = 30.0, 30.0, 5.0, 3  # docker's


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthCheck:
    """What is asked of a container's health, in seconds; empty values leave the image's own.

    `test` begins with NONE, CMD or CMD-SHELL, as docker's does. `on_failure`: KILL, RESTART, STOP, or "" for nothing.
    """

    test: tuple[str, ...] = ()
    interval: float = 0.0
    timeout: float = 0.0
    retries: int = 0
    start_period: float = 0.0
    start_interval: float = 0.0
    on_failure: str = ""

    def argv(self, shell: tuple[str, ...] | None) -> tuple[str, ...]:
        """Return the command of a check; `shell` is the image's."""
        kind, *words = self.test
        return tuple(words) if kind == EXEC else (*(shell or DEFAULT_SHELL), *words)

    def to_config(self) -> Healthcheck:
        """Return it as an image's configuration has it."""
        return Healthcheck(
            test=self.test,
            interval_ns=round(self.interval * NANOSECONDS),
            timeout_ns=round(self.timeout * NANOSECONDS),
            start_period_ns=round(self.start_period * NANOSECONDS),
            start_interval_ns=round(self.start_interval * NANOSECONDS),
            retries=self.retries,
        )


def check_of(wanted: HealthCheck | None, config: RunConfig) -> HealthCheck | None:
    """Return the check of a container, docker's defaults filled in; None where there is none to be run."""
    found = with_image(wanted, config)
    if found is None or not found.test or found.test[0] == NONE or len(found.test) < 2:
        return None
    return HealthCheck(
        test=found.test,
        interval=found.interval or DEFAULT_INTERVAL,
        timeout=found.timeout or DEFAULT_TIMEOUT,
        retries=found.retries or DEFAULT_RETRIES,
        start_period=found.start_period,
        start_interval=found.start_interval or DEFAULT_START_INTERVAL,
        on_failure=found.on_failure,
    )


def with_image(wanted: HealthCheck | None, config: RunConfig) -> HealthCheck | None:
    """Return what is wanted with the image's own check in the place of what is not said; None for nothing."""
    own = config.healthcheck
    if own is None:
        return wanted
    given = wanted or HealthCheck()
    return HealthCheck(
        test=given.test or own.test,
        interval=given.interval or own.interval_ns / NANOSECONDS,
        timeout=given.timeout or own.timeout_ns / NANOSECONDS,
        retries=given.retries or own.retries,
        start_period=given.start_period or own.start_period_ns / NANOSECONDS,
        start_interval=given.start_interval or own.start_interval_ns / NANOSECONDS,
        on_failure=given.on_failure,
    )


def parse_health(
    *,
    command: str,
    interval: str,
    timeout: str,
    retries: str,
    start_period: str,
    start_interval: str,
    on_failure: str,
    is_off: bool,
) -> HealthCheck | None:
    """Return the check that options ask for, by docker's rules; None for the image's own. Raises UsageError."""
    if retries and not retries.isdecimal():
        raise UsageError(f'--health-retries "{retries}" is not a whole number', remedy="write --health-retries 3")
    if on_failure not in ("", NOTHING, KILL, RESTART, STOP):
        raise UsageError(
            f'--health-on-failure "{on_failure}" is not known', remedy=f"use {NOTHING}, {KILL}, {RESTART} or {STOP}"
        )
    found = HealthCheck(
        on_failure="" if on_failure == NOTHING else on_failure,
        test=(IN_SHELL, command) if command else (),
        interval=_seconds("--health-interval", interval),
        timeout=_seconds("--health-timeout", timeout),
        start_period=_seconds("--health-start-period", start_period),
        start_interval=_seconds("--health-start-interval", start_interval),
        retries=int(retries or 0),
    )
    if not is_off:
        return None if found == HealthCheck() else found
    if found != HealthCheck():
        raise UsageError("--no-healthcheck conflicts with --health-* options", remedy="leave out one of them")
    return HealthCheck(test=(NONE,))


def _seconds(option: str, text: str) -> float:
    from tiffin.builder.dockerfile.durations import parse_duration

    try:
        seconds = parse_duration(text) / NANOSECONDS if text else 0.0
    except TiffinError as exc:
        raise UsageError(f"{option}: {exc.message}", remedy=exc.remedy) from exc
    if seconds < 0:
        raise UsageError(f"{option} cannot be negative", remedy="give 0 or more")
    if 0 < seconds < SHORTEST_SECONDS:
        raise UsageError(f"{option} cannot be less than 1ms", remedy="give 0 or at least 1ms")
    return seconds
