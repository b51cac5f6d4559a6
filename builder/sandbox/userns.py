"""Enter a user namespace, once per process: then plain file operations make true owners.

Three id maps: a range through newuidmap and /etc/subuid; the process's own ids written directly (it has CAP_SETUID, as
root on a machine); or the one id a process may always map.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence

from tiffin.builder.errors import SandboxError
from tiffin.builder.sandbox.child import kernel
from tiffin.builder.sandbox.child.idmaps import Extent, first_missing, own_extents
from tiffin.cache.foundation.frozen import dataclass
from tiffin.cache.foundation.signals import signal

HELPER_DIRECTORIES = ("/usr/bin", "/bin", "/usr/local/bin", "/usr/sbin")  # never $PATH: they are setuid
CAP_SETGID_BIT, CAP_SETUID_BIT = 6, 7
SINGLE_THREAD_WAIT_SECONDS = 2.0  # joined threads leave the kernel's list a moment later
ALL_IDS = (1 << 32) - 1
PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP = 28, 1 << 2
MIN_RANGE = 1000  # below it not even the system users of a distribution fit
SHELL = "/bin/sh"
# newuidmap ($1, with the words of $3) and newgidmap ($2, $4), side by side; fails if one of them does
MAPPER = 'read -r _ || exit 1; "$1" $3 & uids=$!; "$2" $4 & gids=$!; wait $uids && wait $gids'


@dataclass(frozen=True, slots=True, kw_only=True)
class IdMap:
    """A planned id map. `tag` names it in file names: trees unpacked under one map are useless under another."""

    tag: str
    uids: tuple[Extent, ...]
    gids: tuple[Extent, ...]
    helpers: tuple[str, str] | None  # newuidmap and newgidmap, None to write directly
    needs_mapper: bool = True  # another process has to write it; a process may map its own one id itself
    keeps: bool = False  # the process does not become root in it: tiffin.builder.sandbox.keepid
    base: IdMap | None = None  # of one that keeps: the map of the user's other containers

    @property
    def limits(self) -> tuple[int, int]:
        """The first uid and the first gid that are not mapped."""
        return first_missing(self.uids), first_missing(self.gids)

    @property
    def tag_of_one(self) -> str:
        """The tag of a map of one id that is made within this one: as if it were made without."""
        return f"one-{next(outside for inside, outside, _ in self.uids if inside == 0)}"


def plan_range() -> IdMap | None:
    """Return a map of many ids, or None: no CAP_SETUID, and no newuidmap or no line in /etc/subuid."""
    uid, gid = os.getuid(), os.getgid()
    capabilities = effective_capabilities()
    if capabilities >> CAP_SETUID_BIT & 1 and capabilities >> CAP_SETGID_BIT & 1:
        uids, gids = _own_ids("/proc/self/uid_map"), _own_ids("/proc/self/gid_map")
        if uid == 0 and sum(count for _, _, count in uids) >= MIN_RANGE:
            limits = first_missing(uids), first_missing(gids)
            tag = "root" if min(limits) >= ALL_IDS else f"root-{limits[0]}-{limits[1]}"
            return IdMap(tag=tag, uids=uids, gids=gids, helpers=None)
    helpers = (_helper("newuidmap"), _helper("newgidmap")) if os.access(SHELL, os.X_OK) else ("", "")
    subuid, subgid = _subordinate("/etc/subuid", uid), _subordinate("/etc/subgid", uid)
    if uid == 0 or not (helpers[0] and helpers[1] and subuid and subgid):
        return None
    return IdMap(
        tag=f"{uid}-{subuid[0]}-{subuid[1]}",
        uids=((0, uid, 1), (1, subuid[0], subuid[1])),
        gids=((0, gid, 1), (1, subgid[0], subgid[1])),
        helpers=(helpers[0], helpers[1]),
    )


def plan_single() -> IdMap:
    """Return the map every process may write: its own id becomes root."""
    uid, gid = os.getuid(), os.getgid()
    return IdMap(tag=f"one-{uid}", uids=((0, uid, 1),), gids=((0, gid, 1),), helpers=None, needs_mapper=False)


def why_no_range() -> str:
    """Return what is missing for a map of many ids, in words."""
    uid = os.getuid()
    if uid == 0:
        return f"the process is root with fewer than {MIN_RANGE} ids, or without CAP_SETUID and CAP_SETGID"
    if not (_helper("newuidmap") and _helper("newgidmap")):
        return "newuidmap and newgidmap are not installed (Debian package uidmap)"
    if not os.access(SHELL, os.X_OK):
        return f"{SHELL}, which starts newuidmap and newgidmap, does not exist"
    for path in ("/etc/subuid", "/etc/subgid"):
        if _subordinate(path, uid) is None:
            return f"{path} has no range of at least {MIN_RANGE} ids for uid {uid}"
    return "the kernel refused the map"


def enter(id_map: IdMap, meanwhile: Callable[[], object] = lambda: None) -> None:
    """Enter a user namespace with `id_map` and become its root; raises SandboxError. There is no way back.

    `meanwhile` runs once in the namespace; it may fork, and starts no thread. It runs while setuid helpers write the
    map. Where none are needed it runs when the map is there: such a process may have rights over files of others, which
    count only then.
    """
    _wait_single_threaded()
    ready_reader, ready_writer = os.pipe2(os.O_CLOEXEC)
    mapper = _start_mapper(id_map, os.getpid(), ready_reader, ready_writer) if id_map.needs_mapper else 0
    os.close(ready_reader)
    try:
        kernel.unshare(kernel.CLONE_NEWUSER)
    except OSError as exc:
        if mapper:
            os.kill(mapper, signal.SIGKILL)
            os.waitpid(mapper, 0)
        os.close(ready_writer)
        raise SandboxError(f"user namespaces are refused: {exc.strerror}", remedy=unshare_remedy()) from exc
    if mapper:
        os.write(ready_writer, b"\n")
    os.close(ready_writer)
    if not mapper:
        write_maps(id_map, "self", deny_setgroups=True)
    elif id_map.helpers is None:
        _check_map(mapper)
    else:
        try:
            meanwhile()
        finally:
            _check_map(mapper)
    if not id_map.keeps:
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
    kernel.prctl(kernel.PR_SET_DUMPABLE, 1)
    if id_map.helpers is None:
        meanwhile()


def join(namespace: int, meanwhile: Callable[[], object] = lambda: None) -> None:
    """Enter a user namespace that this user's process made before, and become its root; raises SandboxError.

    There is no way back.
    """
    _wait_single_threaded()
    try:
        kernel.setns(namespace, kernel.CLONE_NEWUSER)
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
    except OSError as exc:
        raise SandboxError(
            f"the user namespace of other containers cannot be entered: {exc.strerror}",
            remedy="end these containers, and try again",
        ) from exc
    kernel.prctl(kernel.PR_SET_DUMPABLE, 1)
    meanwhile()


def _check_map(mapper: int) -> None:
    """Wait until the map is written; raises SandboxError if it is not."""
    if os.waitpid(mapper, 0)[1] != 0:
        raise SandboxError(
            "the id map was refused",
            remedy="check the user's lines in /etc/subuid and /etc/subgid, and that newuidmap is setuid",
        )


def write_maps(id_map: IdMap, pid: str, *, deny_setgroups: bool) -> None:
    """Write the maps of process `pid` directly; raises SandboxError."""
    try:
        if deny_setgroups:
            _write(f"/proc/{pid}/setgroups", "deny")
        _write(f"/proc/{pid}/uid_map", _lines(id_map.uids))
        _write(f"/proc/{pid}/gid_map", _lines(id_map.gids))
    except OSError as exc:
        raise SandboxError(f"the id map was refused: {exc.strerror}", remedy=unshare_remedy()) from exc


def unshare_remedy() -> str:
    """Return what to do about a kernel that refuses user namespaces."""
    for path, bad in (
        ("/proc/sys/kernel/unprivileged_userns_clone", "0"),
        ("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1"),
        ("/proc/sys/user/max_user_namespaces", "0"),
    ):
        try:
            with open(path, encoding="utf-8") as file:
                if file.read().strip() == bad:
                    name = path.removeprefix("/proc/sys/").replace("/", ".")
                    return f"the administrator has to change sysctl {name}; see tiffin info"
        except OSError:
            continue
    return (
        "a seccomp or AppArmor profile, or a chroot that tiffin is in, forbids them; allow unshare and mount, or build"
        " without RUN"
    )


def _start_mapper(id_map: IdMap, target: int, ready_reader: int, ready_writer: int) -> int:
    """Return a child that stays outside and writes the maps when a line tells that the namespace is there."""
    if id_map.helpers is not None:  # a shell begins in a third of the time of a fork of this process
        maps = [f"{target} {_lines(extents)}" for extents in (id_map.uids, id_map.gids)]
        argv = [SHELL, "-c", MAPPER, SHELL, *id_map.helpers, *maps]
        return os.posix_spawn(SHELL, argv, {}, file_actions=[(os.POSIX_SPAWN_DUP2, ready_reader, 0)])
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        os.close(ready_writer)
        if os.read(ready_reader, 1):
            write_maps(id_map, str(target), deny_setgroups=False)
            status = 0
    finally:
        os._exit(status)


def _wait_single_threaded() -> None:
    deadline = time.monotonic() + SINGLE_THREAD_WAIT_SECONDS
    while len(os.listdir("/proc/self/task")) > 1:
        if time.monotonic() > deadline:
            raise SandboxError("the process has threads already", remedy="run with --debug and report it")
        time.sleep(0.001)


def effective_capabilities() -> int:
    """Return the process's own, a bit for each."""
    with open("/proc/self/status", encoding="utf-8", errors="replace") as file:
        for line in file:
            if line.startswith("CapEff:"):
                return int(line.split()[1], 16)
    return 0


def _own_ids(path: str) -> tuple[Extent, ...]:
    """Return every id this process has, mapped to itself."""
    return tuple((inside, inside, count) for inside, _, count in own_extents(path))


def _subordinate(path: str, uid: int) -> tuple[int, int] | None:
    """Return the largest range of the user in /etc/subuid or /etc/subgid; lines name the user or the uid."""
    names = {str(uid)}
    try:
        import pwd

        names.add(pwd.getpwuid(uid).pw_name)
    except KeyError:
        pass
    best: tuple[int, int] | None = None
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file:
                name, _, rest = line.strip().partition(":")
                start, _, count = rest.partition(":")
                if name in names and start.isdigit() and count.isdigit() and int(count) >= MIN_RANGE:
                    best = max(best or (0, 0), (int(start), int(count)), key=lambda item: item[1])
    except OSError:
        return None
    return best


def _helper(name: str) -> str:
    for directory in HELPER_DIRECTORIES:
        path = f"{directory}/{name}"
        if os.access(path, os.X_OK):
            return path
    return ""


def _lines(extents: Sequence[Extent]) -> str:
    return "\n".join(" ".join(str(number) for number in extent) for extent in extents)


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


@contextlib.contextmanager
def root_of_files() -> Iterator[None]:
    """Make files as the namespace's root in this thread during the block, whichever user of it the process is."""
    if not is_kept():
        yield
        return
    before = os.geteuid(), os.getegid()
    kernel.prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP)  # or the way back would take capabilities away
    try:
        _become(0, 0)
        yield
    finally:
        _become(*before)
        kernel.prctl(PR_SET_SECUREBITS, 0)
        kernel.prctl(kernel.PR_SET_DUMPABLE, 1)  # another user's files were made: its namespaces could not be entered


def is_kept() -> bool:
    """Whether this process is in a namespace that keeps its ids (tiffin.builder.sandbox.keepid), not as its root."""
    if os.geteuid() == 0:
        return False
    with open("/proc/self/uid_map", encoding="utf-8") as file:
        rows = [line.split() for line in file]
    return len(rows) > 1


def _become(uid: int, gid: int) -> None:
    kernel.LIBC.setfsgid(gid)
    kernel.LIBC.setfsuid(uid)
