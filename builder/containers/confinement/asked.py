"""What a container is asked to have of the machine, as values."""

from __future__ import annotations

from tiffin.cache.foundation.frozen import dataclass

HOST, PRIVATE, SHAREABLE, NONE = "host", "private", "shareable", "none"
CONTAINER = "container:"  # the namespace of another
ALL_ACCESS = "rwm"  # read, write, mknod


@dataclass(frozen=True, slots=True, kw_only=True)
class Namespaces:
    """What was asked for, in docker's words; "" is a namespace of the container's own."""

    ipc: str = ""
    pid: str = ""
    uts: str = ""
    cgroup: str = ""

    @property
    def ipc_of(self) -> str:
        """The container whose IPC namespace it has, "" for none."""
        return _of_container(self.ipc)

    @property
    def pid_of(self) -> str:
        """The container whose pid namespace it has, "" for none."""
        return _of_container(self.pid)

    @property
    def of_others(self) -> tuple[tuple[str, str], ...]:
        """Options that name another container, which runs, and its name."""
        return tuple((option, name) for option, name in (("ipc", self.ipc_of), ("pid", self.pid_of)) if name)

    @property
    def shared(self) -> tuple[str, ...]:
        """Those that the container has from the machine, as SandboxSpec names them."""
        return tuple(name for name in self.__slots__ if getattr(self, name) == HOST)


def _of_container(text: str) -> str:
    return text.removeprefix(CONTAINER) if text.startswith(CONTAINER) else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A node of this machine, or a directory of such, shown at `path`.

    Its own owner and mode say who opens it: without root there is no control group of devices, so that `access` is
    what inspect shows.
    """

    host_path: str
    path: str
    access: str = ALL_ACCESS
