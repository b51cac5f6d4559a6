"""What the control groups of a container are to limit, as a value: every run has one, few have groups."""

from __future__ import annotations

from tiffin.cache.foundation.frozen import dataclass

PERIOD_MICROSECONDS = 100_000  # Docker's
CONTROLLERS = ("memory", "cpu", "pids", "cpuset", "blkio")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a container may use; 0 is no limit. `swap_bytes` is memory and swap together, -1 as much as there is."""

    memory_bytes: int = 0
    swap_bytes: int = 0
    reserved_bytes: int = 0  # what is left to it where memory is short
    cpus: float = 0.0
    cpu_shares: int = 0  # beside others, which have 1024
    cpu_period: int = 0  # in microseconds; with `cpu_quota` in place of `cpus`
    cpu_quota: int = 0
    cpuset: str = ""  # which processors, such as 0-2,4
    memory_nodes: str = ""
    pids: int = 0
    blkio_weight: int = 0

    def controllers(self) -> tuple[str, ...]:
        """Return what has to be controlled."""
        wanted = (
            self.memory_bytes or self.reserved_bytes,
            self.cpus or self.cpu_shares or self.cpu_quota,
            self.pids,
            self.cpuset or self.memory_nodes,
            self.blkio_weight,
        )
        return tuple(name for name, value in zip(CONTROLLERS, wanted, strict=True) if value)

    def quota(self) -> tuple[int, int]:
        """Return how many microseconds of how many the processors may be used; 0 is no limit."""
        if self.cpus:
            return round(self.cpus * PERIOD_MICROSECONDS), PERIOD_MICROSECONDS
        return max(self.cpu_quota, 0), self.cpu_period or PERIOD_MICROSECONDS
