"""What test_permissions runs inside a sandbox, by itself: users do random things to random trees, and each result is
told.

`ROUNDS SEED FIRST`: as root a tree is made, a child becomes a user and acts, root tells what became of the tree.
"""

from __future__ import annotations

import ctypes
import errno
import os
import random
import socket
import stat
import struct
import sys
from collections.abc import Callable

ACTS_PER_ROUND = 40
NAMES = ("a", "b", "c", "f", "g", "l", "t")
MODES = (
    0,
    0o7,
    0o70,
    0o700,
    0o600,
    0o060,
    0o006,
    0o644,
    0o640,
    0o664,
    0o755,
    0o750,
    0o711,
    0o771,
    0o775,
    0o777,
    0o444,
    0o555,
)
SPECIAL = (0, 0, 0, 0o1000, 0o2000, 0o3000, 0o4000, 0o6000)
IDS = (0, 0, 33, 1000, 1001)
GROUPS = (0, 5, 7, 33)
USERS = ((1000, 5, (7,)), (1000, 5, ()), (33, 33, ()), (1001, 7, (5, 7)), (1001, 0, ()))
FLAGS = (0, 0, 0, os.O_CREAT, os.O_CREAT | os.O_EXCL, os.O_TRUNC, os.O_CREAT | os.O_TRUNC, os.O_DIRECTORY,
    os.O_NOFOLLOW, os.O_PATH,
         os.O_TMPFILE, os.O_NOATIME, os.O_CREAT | os.O_NOFOLLOW)  # fmt: skip
TOP = "/w"
LIBC = ctypes.CDLL(None, use_errno=True)
NOREPLACE, EXCHANGE = 1, 2
RENAMEAT2 = {"x86_64": 316, "aarch64": 276}[os.uname().machine]


def tell(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")


def access_list(choose: random.Random) -> bytes:
    """Owner, group, mask and others; a namespace with one id takes no list that names somebody."""
    entries = [(1, choose.randrange(8)), (4, choose.randrange(8)), (16, choose.randrange(8)), (32, choose.randrange(8))]
    if choose.random() < 0.3:
        entries.pop(2)
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", tag, bits, 0xFFFFFFFF) for tag, bits in entries)


def path(choose: random.Random) -> str:
    words = [choose.choice(NAMES) for _ in range(choose.choice((1, 1, 2, 2, 2, 3)))]
    if choose.random() < 0.15:
        words.insert(choose.randrange(len(words) + 1), choose.choice((".", "..", "")))
    text = "/".join(words) or "."
    where = choose.random()
    if where < 0.3:
        text = f"{TOP}/{text}"
    elif where < 0.33:
        text = f"/proc/self/cwd/{text}"
    return text + ("/" if choose.random() < 0.05 else "")


# -- the tree --------------------------------------------------------------------------------------------------------


def make_tree(choose: random.Random) -> None:
    os.system(f"rm -rf {TOP}/* {TOP}/.??*" if os.listdir(TOP) else "true")
    os.chown(TOP, choose.choice(IDS), choose.choice(GROUPS))
    os.chmod(TOP, choose.choice((0o777, 0o777, 0o1777, 0o775, 0o755, 0o2777)))
    places = [TOP]
    for name in ("a", "b", "t"):
        places.append(f"{choose.choice(places)}/{name}")
        os.mkdir(places[-1])
    made = places[1:]
    for _ in range(8):
        name = f"{choose.choice(places)}/{choose.choice(NAMES)}"
        kind = choose.choice(("file", "file", "file", "link", "fifo", "hard", "socket"))
        try:
            make(choose, kind, name, made)
        except OSError:  # the name is taken
            continue
        made.append(name)
    for name in reversed(made):
        is_link = os.path.islink(name)
        os.chown(name, choose.choice(IDS), choose.choice(GROUPS), follow_symlinks=False)
        if is_link:
            continue
        os.chmod(name, choose.choice(MODES) | choose.choice(SPECIAL))
        for kind in ("access", "default") if os.path.isdir(name) else ("access",):
            if choose.random() < 0.15 and not stat.S_ISSOCK(os.stat(name).st_mode):
                os.setxattr(name, f"system.posix_acl_{kind}", access_list(choose))


def make(choose: random.Random, kind: str, name: str, made: list[str]) -> None:
    if kind == "file":
        os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        os.truncate(name, 5)
        if choose.random() < 0.3:
            os.setxattr(name, "user.x", b"1")
    elif kind == "link":
        os.symlink(choose.choice((*NAMES, "../f", "../a/g", f"{TOP}/b/f", "a/", "new")), name)
    elif kind == "fifo":
        os.mkfifo(name)
    elif kind == "hard":
        os.link(
            choose.choice([item for item in made if not os.path.isdir(item)] or [name]), name, follow_symlinks=False
        )
    else:
        listener(name)


def listener(name: str) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(name)


def show(directory: str) -> None:
    for name in sorted(os.listdir(directory)):
        full = f"{directory}/{name}"
        st = os.lstat(full)
        words = [
            full,
            f"{st.st_mode:o}",
            st.st_uid,
            st.st_gid,
            st.st_nlink,
            0 if stat.S_ISDIR(st.st_mode) else st.st_size,
        ]
        if stat.S_ISLNK(st.st_mode):
            words.append(os.readlink(full))
        elif not stat.S_ISSOCK(st.st_mode):
            words += [f"{item}={os.getxattr(full, item).hex()}" for item in sorted(os.listxattr(full))]
        tell(*words)
        if stat.S_ISDIR(st.st_mode):
            show(full)


# -- what users do ---------------------------------------------------------------------------------------------------


def open_it(choose: random.Random) -> str:
    how = choose.choice((os.O_RDONLY, os.O_RDONLY, os.O_WRONLY, os.O_RDWR)) | choose.choice(FLAGS) | os.O_NONBLOCK
    fd = os.open(path(choose), how, choose.choice(MODES))
    if how & (os.O_WRONLY | os.O_RDWR) and not how & os.O_PATH and stat.S_ISREG(os.fstat(fd).st_mode):
        os.write(fd, b"written")  # from then on its set-id bits are gone in any case
    words = ids_of(os.fstat(fd))
    if choose.random() < 0.2 and not how & os.O_PATH:
        words += act(choose.choice((os.fchmod, lambda fd, mode: os.fchown(fd, -1, mode & 7))), fd, choose.choice(MODES))
        words += act(os.utime, fd)
    os.close(fd)
    return words


def rename_in_a_way(choose: random.Random) -> None:
    first, second = path(choose).encode(), path(choose).encode()
    if LIBC.syscall(RENAMEAT2, -100, first, -100, second, choose.choice((NOREPLACE, EXCHANGE))) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def connect(choose: random.Random) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(path(choose))


def times(choose: random.Random) -> None:
    place = path(choose)
    choose.choice(
        (lambda: os.utime(place), lambda: os.utime(place, (5, 6)), lambda: os.utime(place, follow_symlinks=False))
    )()


def below_a_descriptor(choose: random.Random) -> str:
    fd = os.open(path(choose), os.O_RDONLY | os.O_DIRECTORY)
    try:
        name = choose.choice(NAMES)
        calls: tuple[Callable[[], object], ...] = (
            lambda: os.close(os.open(name, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK, 0o640, dir_fd=fd)),
            lambda: os.mkdir(name, 0o750, dir_fd=fd),
            lambda: os.unlink(name, dir_fd=fd),
            lambda: os.chmod(name, 0o750, dir_fd=fd),
            lambda: os.chown(name, -1, 7, dir_fd=fd, follow_symlinks=False),
            lambda: os.fchdir(fd),
            lambda: os.utime(name, (1, 2), dir_fd=fd),
            lambda: os.access(name, os.W_OK, dir_fd=fd),
            lambda: os.stat(name, dir_fd=fd).st_uid,
            lambda: os.rename(name, choose.choice(NAMES), src_dir_fd=fd, dst_dir_fd=fd),
        )
        return act(choose.choice(calls))
    finally:
        os.close(fd)


def ids_of(st: os.stat_result) -> str:
    return f"{st.st_mode:o} {st.st_uid} {st.st_gid}"


ACTS: dict[str, Callable[[random.Random], object]] = {
    "open": open_it,
    "open again": open_it,
    "open once more": open_it,
    "mkdir": lambda c: os.mkdir(path(c), c.choice(MODES) | c.choice(SPECIAL)),
    "rmdir": lambda c: os.rmdir(path(c)),
    "unlink": lambda c: os.unlink(path(c)),
    "rename": lambda c: os.rename(path(c), path(c)),
    "rename in a way": rename_in_a_way,
    "link": lambda c: os.link(path(c), path(c), follow_symlinks=c.random() < 0.5),
    "symlink": lambda c: os.symlink(c.choice(NAMES), path(c)),
    "mkfifo": lambda c: os.mkfifo(path(c), c.choice(MODES)),
    "mknod": lambda c: os.mknod(path(c), stat.S_IFREG | c.choice(MODES) | c.choice(SPECIAL)),
    "device": lambda c: os.mknod(path(c), stat.S_IFCHR | 0o666, os.makedev(1, 3)),
    "chmod": lambda c: os.chmod(path(c), c.choice(MODES) | c.choice(SPECIAL)),
    "chown": lambda c: os.chown(path(c), c.choice((-1, *IDS)), c.choice((-1, *GROUPS)),
        follow_symlinks=c.random() < 0.7),
    "times": times,
    "truncate": lambda c: os.truncate(path(c), 3),
    "access": lambda c: os.access(path(c), c.randrange(8)),
    "effective access": lambda c: os.access(path(c), c.randrange(8), effective_ids=True),
    "chdir": lambda c: os.chdir(path(c)),
    "home": lambda c: os.chdir(TOP),
    "list": lambda c: sorted(os.listdir(path(c))),
    "stat": lambda c: ids_of(os.stat(path(c))),
    "lstat": lambda c: ids_of(os.lstat(path(c))),
    "set attribute": lambda c: os.setxattr(path(c), "user.x", b"2", follow_symlinks=c.random() < 0.7),
    "set list": lambda c: os.setxattr(path(c), "system.posix_acl_access", access_list(c)),
    "get attribute": lambda c: os.getxattr(path(c), "user.x", follow_symlinks=c.random() < 0.7),
    "remove attribute": lambda c: os.removexattr(path(c), "user.x"),
    "capability": lambda c: os.setxattr(path(c), "security.capability", struct.pack("<5I", 0x02000001, 1, 0, 0, 0)),
    "bind": lambda c: listener(path(c)),
    "connect": connect,
    "execute": lambda c: os.execv(path(c), ["x"]),  # all are empty, or no program
    "chroot": lambda c: os.chroot(path(c)),
    "below a descriptor": below_a_descriptor,
}  # fmt: skip


def act(call: Callable[..., object], *arguments: object) -> str:
    try:
        return f" {call(*arguments)}"
    except OSError as exc:
        return f" {errno.errorcode[exc.errno or 0]}"


def be_user(choose: random.Random) -> None:
    uid, gid, groups = choose.choice(USERS)
    os.umask(choose.choice((0, 0o022, 0o027, 0o077)))
    os.chdir(TOP)
    os.setgroups(list(groups))
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    tell("user", uid, gid, *groups)
    names = list(ACTS)
    for number in range(ACTS_PER_ROUND):
        name = choose.choice(names)
        seed = choose.randrange(1 << 32)
        tell(number, name, seed, act(ACTS[name], random.Random(seed)))
    tell("signals", act(os.kill, 1, 0), act(os.kill, os.getppid(), 0), act(os.kill, os.getpid(), 0))


def main(rounds: int, seed: int, first: int) -> None:
    os.umask(0)
    os.makedirs(TOP, exist_ok=True)
    for number in range(first, first + rounds):
        choose = random.Random(f"{seed} {number}")
        make_tree(choose)
        tell("round", number)
        show(TOP)
        sys.stdout.flush()
        if os.fork() == 0:
            try:
                be_user(choose)
            finally:
                sys.stdout.flush()
                os._exit(0)
        os.wait()
        show(TOP)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
