"""Where a sandbox has one id, owners and devices are emulated: a script of system calls sees what real ones show."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import pytest

from tests.support.forked import Forked
from tests.support.raw_program import raw_program
from tiffin.builder.sandbox.child.syscalls import NATIVE

BEGIN = """
import base64, ctypes, errno, json, os, signal, socket, stat, struct, sys
seen = []

def note(what, function, *words, **more):
    try:
        value = function(*words, **more)
    except OSError as exc:
        value = errno.errorcode[exc.errno]
    seen.append([what, value])

def owner(path, **more):
    found = os.stat(path, **more)
    return [found.st_uid, found.st_gid, oct(found.st_mode)]

def write(path, flags=os.O_WRONLY | os.O_CREAT, mode=0o644):
    os.close(os.open(path, flags, mode))

os.umask(0o022)
"""
CALLS = """
write("/file")
note("new", owner, "/file")
os.chown("/file", 33, 44)
note("chown", owner, "/file")
with open("/file") as file:
    os.fchown(file.fileno(), -1, 45)
    note("fchown", owner, file.fileno())
    os.fchmod(file.fileno(), 0o4755)
os.symlink("file", "/link")
os.lchown("/link", 7, 8)
note("lchown", owner, "/link", follow_symlinks=False)
note("followed", owner, "/link")
os.lchown("/link", 0, 0)
note("taken back", owner, "/link", follow_symlinks=False)
os.chown("/file", 33, 33)
note("chown ends setuid", owner, "/file")
os.mkdir("/shared", 0o777)
os.chown("/shared", 0, 44)
os.chmod("/shared", 0o3777)
write("/shared/mine")
note("group of the folder", owner, "/shared/mine")
os.link("/file", "/hard")
note("one inode", owner, "/hard")
os.rename("/hard", "/moved")
note("moved", owner, "/moved")
os.mknod("/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
node = os.stat("/null")
note("device", lambda: [stat.S_ISCHR(node.st_mode), os.major(node.st_rdev), os.minor(node.st_rdev)])
os.mknod("/disk", stat.S_IFBLK | 0o600, os.makedev(7, 9))
note("block device", lambda: [stat.S_ISBLK(os.stat("/disk").st_mode), os.stat("/disk").st_rdev == os.makedev(7, 9)])
os.mkfifo("/fifo", 0o600)
note("pipe", owner, "/fifo")
os.setxattr("/file", "user.word", b"x")
note("attribute", lambda: os.getxattr("/file", "user.word").decode())
note("attributes", lambda: os.listxattr("/file"))
os.utime("/file", (1, 2))
note("time", lambda: os.stat("/file").st_mtime)
write("/secret", mode=0o600)
os.mkdir("/closed", 0o700)
write("/closed/file")
write("/program", mode=0o700)
os.truncate("/file", 3)
note("entries", lambda: [item.stat().st_uid for item in sorted(os.scandir("/shared"), key=lambda item: item.name)])

child = os.fork()
if child:
    assert os.waitpid(child, 0)[1] == 0
    note("made by the other", owner, "/shared/his")
    note("of root alone", os.listdir, "/closed")
    print(json.dumps(json.load(open("/shared/his")) + seen))
    sys.exit()

os.setgroups([44])
os.setresgid(1000, 1000, 1000)
os.setresuid(33, 33, 33)
seen.clear()
note("ids", lambda: [os.getresuid(), os.getresgid(), os.getgroups()])
note("root again", os.setuid, 0)
note("groups again", os.setgroups, [0])
note("read", open, "/secret")
note("access", os.access, "/secret", os.R_OK)
note("access of mine", os.access, "/file", os.R_OK | os.W_OK)
note("below closed", os.stat, "/closed/file")
note("into closed", os.chdir, "/closed")
note("execute", os.execv, "/program", ["program"])
note("create in the root", write, "/other")
note("chown what is mine", os.chown, "/file", 0, -1)
note("group of mine", os.chown, "/file", -1, 44)
note("chmod what is not", os.chmod, "/secret", 0o777)
note("utime what is not", os.utime, "/secret", (5, 5))
note("sticky", os.remove, "/shared/mine")
note("sticky rename", os.rename, "/shared/mine", "/shared/yours")
note("rename in the root", os.rename, "/file", "/stolen")
note("link to what is not", os.link, "/secret", "/shared/secret")
note("folder in the root", os.mkdir, "/folder")
note("remove a folder", os.rmdir, "/closed")
note("link in the root", os.symlink, "x", "/symlink")
note("device", os.mknod, "/shared/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
note("attribute of what is not", os.setxattr, "/secret", "user.word", b"x")
note("truncate", os.truncate, "/secret", 0)
note("chroot", os.chroot, "/shared")
server = socket.socket(socket.AF_UNIX)
note("socket in the root", server.bind, "/socket")
server.bind("/shared/socket")
note("socket", lambda: owner("/shared/socket")[:2])
note("signal", os.kill, os.getppid(), 0)
with open("/shared/his", "w") as file:
    json.dump(seen, file)
os._exit(0)
"""
EXPECTED: list[list[object]] = [
    ["ids", [[33, 33, 33], [1000, 1000, 1000], [44]]],
    ["root again", "EPERM"],
    ["groups again", "EPERM"],
    ["read", "EACCES"],
    ["access", False],
    ["access of mine", True],
    ["below closed", "EACCES"],
    ["into closed", "EACCES"],
    ["execute", "EACCES"],
    ["create in the root", "EACCES"],
    ["chown what is mine", "EPERM"],
    ["group of mine", None],
    ["chmod what is not", "EPERM"],
    ["utime what is not", "EPERM"],
    ["sticky", "EPERM"],
    ["sticky rename", "EPERM"],
    ["rename in the root", "EACCES"],
    ["link to what is not", "EPERM"],
    ["folder in the root", "EACCES"],
    ["remove a folder", "EACCES"],
    ["link in the root", "EACCES"],
    ["device", "EPERM"],
    ["attribute of what is not", "EACCES"],
    ["truncate", "EACCES"],
    ["chroot", "EPERM"],
    ["socket in the root", "EACCES"],
    ["socket", [33, 44]],
    ["signal", "EPERM"],
    ["new", [0, 0, "0o100644"]],
    ["chown", [33, 44, "0o100644"]],
    ["fchown", [33, 45, "0o100644"]],
    ["lchown", [7, 8, "0o120777"]],
    ["followed", [33, 45, "0o104755"]],
    ["taken back", [0, 0, "0o120777"]],
    ["chown ends setuid", [33, 33, "0o100755"]],
    ["group of the folder", [0, 44, "0o100644"]],
    ["one inode", [33, 33, "0o100755"]],
    ["moved", [33, 33, "0o100755"]],
    ["device", [True, 1, 3]],
    ["block device", [True, True]],
    ["pipe", [0, 0, "0o10600"]],
    ["attribute", "x"],
    ["attributes", ["user.word"]],
    ["time", 2.0],
    ["entries", [0]],
    ["made by the other", [33, 44, "0o100644"]],
    ["of root alone", ["file"]],
]


def test_owners_devices_and_rights_are_what_they_are_elsewhere(forked: Forked) -> None:
    """The expected ones are what tier range shows, whose owners are the kernel's."""
    done = forked.python(BEGIN + CALLS, "--rm", "--isolation", "single")
    assert json.loads(done.stdout) == EXPECTED


READS_SECRET = raw_program(("openat", (-100, b"/secret", 0)))  # AT_FDCWD
CREDENTIALS = """
libc = ctypes.CDLL(None, use_errno=True)

def call(name, *words):
    value = getattr(libc, name)(*words)
    return errno.errorcode[ctypes.get_errno()] if value < 0 else value

def program(path, mode):
    with open(path, "wb") as file:
        file.write(base64.b64decode("PROGRAM"))
    os.chmod(path, mode)

def run(path):
    child = os.fork()
    if not child:
        try:
            os.execv(path, [path])
        except OSError as exc:
            os._exit(exc.errno)
    return errno.errorcode.get(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), "ran")

def sets():
    lines = dict(line.split(":", 1) for line in open("/proc/self/status"))
    return [int(lines[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")]

def capget(pid=0):
    header, data = ctypes.create_string_buffer(struct.pack("=Ii", 0x20080522, pid)), ctypes.create_string_buffer(24)
    return call("capget", header, data) or list(struct.unpack("=6I", data.raw))[:3]

def capset(effective, permitted, inheritable):
    header = ctypes.create_string_buffer(struct.pack("=Ii", 0x20080522, 0))
    data = struct.pack("=6I", effective, permitted, inheritable, 0, 0, 0)
    return call("capset", header, ctypes.create_string_buffer(data))

def as_user(function, uid, gid, groups=()):
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        seen.clear()
        os.setgroups(groups)
        os.setgid(gid)
        function(uid)
        os.write(writer, json.dumps(seen).encode())
        os._exit(0)
    os.close(writer)
    with open(reader) as stream:
        seen.extend(json.load(stream))
    assert os.waitpid(child, 0)[1] == 0

write("/secret", mode=0o600)
program("/plain", 0o755)
program("/setuid", 0o4755)
program("/setgid", 0o2755)
program("/of-others", 0o4755)
os.chown("/of-others", 7, 7)
os.chmod("/of-others", 0o4755)
os.mkdir("/open", 0o777)
os.chmod("/open", 0o777)
os.mkdir("/sticky", 0o777)
os.chmod("/sticky", 0o1777)
write("/sticky/file", mode=0o666)
os.chmod("/sticky/file", 0o666)

def programs(uid):
    os.setuid(uid)
    for path in ("/plain", "/setuid", "/setgid", "/of-others"):
        note(path, run, path)

as_user(programs, 33, 33)

def makes(uid):
    os.setuid(uid)
    os.chdir("/open")
    os.mkdir("folder", 0o700)
    os.symlink("folder", "link")
    os.mkfifo("fifo")
    write("file", os.O_CREAT | os.O_EXCL | os.O_RDWR)
    os.close(os.open("by-number", os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=os.open("folder", os.O_RDONLY)))
    nameless = os.open(".", os.O_TMPFILE | os.O_RDWR, 0o600)
    note("nameless", lambda: owner(nameless)[:2])
    note("linked", os.link, "file", "hard")
    note("mine", lambda: [owner(name, follow_symlinks=False)[:2] for name in sorted(os.listdir("."))])
    note("swapped", os.replace, "hard", "file")
    note("gone", lambda: [os.remove("link"), os.rmdir("folder")][0])
    note("emptied", lambda: [os.remove("folder/by-number"), os.rmdir("folder")][0])
    note("chmod of mine", os.chmod, "file", 0o640)
    note("times of mine", os.utime, "file", (1, 1))
    note("times now of what may be written", os.utime, "/sticky/file")
    note("times of what may be written", os.utime, "/sticky/file", (1, 1))
    note("created again", write, "/sticky/file")
    note("appended", write, "/sticky/file", os.O_WRONLY | os.O_APPEND)
    note("without a time", lambda: os.close(os.open("/sticky/file", os.O_RDONLY | os.O_NOATIME)))
    note("attribute of mine", os.setxattr, "file", "user.a", b"1")
    note("attributes by number", lambda: os.listxattr(os.open("file", os.O_RDONLY)))
    note("attribute that goes", os.removexattr, "file", "user.a")
    note("capability", os.setxattr, "file", "security.capability", struct.pack("<5I", 0x02000000, 1, 0, 0, 0))
    note("fifo of mine", lambda: stat.S_ISFIFO(os.lstat("fifo").st_mode))
    note("empty name", lambda: call("fchownat", os.open("file", os.O_RDONLY), b"", 33, -1, 0x1000))
    note("wrong flag", lambda: call("fchownat", -100, b"file", 33, 33, 0x800000))
    note("group of others", os.chown, "file", -1, 99)
    note("peer", lambda: [socket.SO_PEERCRED for _ in (1,)] and peer())
    note("to a group", os.killpg, 0, 0)

def peer():
    first, second = socket.socketpair(socket.AF_UNIX)
    return list(struct.unpack("=3i", first.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)))[1:]

as_user(makes, 33, 44, (55,))

def returns(uid):
    os.setresuid(uid, uid, 0)
    note("kept", os.getresuid)
    note("real and effective", lambda: [os.setreuid(uid, 0), os.getresuid()][1])
    ids = (("setfsuid", 33), ("setfsuid", -1), ("setfsgid", 7), ("setfsgid", -1))
    note("file system ids", lambda: [call(*words) for words in ids])
    note("groups of real and effective", lambda: [os.setregid(44, -1), os.getresgid()][1])
    note("all", lambda: [os.setresuid(-1, 0, 0), os.setuid(uid), os.getresuid()][2])
    note("never again", os.setreuid, 0, 0)
    note("not all", os.setresuid, uid, 7, uid)

as_user(returns, 33, 33)

SETUID, CHOWN = 1 << 7, 1

def capabilities(uid):
    libc.prctl(8, 1, 0, 0, 0)
    note("keeps", lambda: call("prctl", 7, 0, 0, 0, 0))
    os.setuid(uid)
    note("after", lambda: [bool(part & CHOWN) for part in capget()])
    note("set", capset, SETUID | CHOWN, SETUID | CHOWN, CHOWN)
    note("more", capset, 1 << 21, 1 << 21, 0)
    note("chown by capability", os.chown, "/sticky/file", 5, 6)
    note("owner", lambda: owner("/sticky/file")[:2])
    note("raised", lambda: [call("prctl", 47, 2, 0, 0, 0), call("prctl", 47, 1, 0, 0, 0)])
    note("not inherited", lambda: call("prctl", 47, 2, 7, 0, 0))
    note("wrong", lambda: [call("prctl", 47, 9, 0, 0, 0), call("prctl", 47, 2, 99, 0, 0)])
    note("lowered", lambda: [call("prctl", 47, 3, 0, 0, 0), call("prctl", 47, 1, 0, 0, 0)])
    note("cleared", lambda: call("prctl", 47, 4, 0, 0, 0))
    note("of one that is not", capget, 999999)
    note("bounding", lambda: call("prctl", 24, 5, 0, 0, 0))
    note("user by capability", lambda: [os.setuid(77), os.getresuid()][1])
    note("no new ones", lambda: call("prctl", 38, 1, 0, 0, 0))
    note("setuid gives nothing", run, "/setuid")

as_user(capabilities, 33, 33)
note("too few", lambda: call("getgroups", 1, ctypes.create_string_buffer(64)) if len(os.getgroups()) > 1 else "EINVAL")
note("too many", lambda: call("setgroups", 70000, None))
os.chroot("/open")
os.chdir("/")
note("moved", lambda: owner("/file")[:2])
note("made there", lambda: [os.mkdir("/new"), os.chown("/new", 5, 6), owner("/new")[:2]][2])
print(json.dumps(seen))
""".replace("PROGRAM", base64.b64encode(READS_SECRET).decode())
CREDENTIALS_EXPECTED: list[list[object]] = [
    ["/plain", "EACCES"],
    ["/setuid", "ran"],
    ["/setgid", "EACCES"],
    ["/of-others", "EACCES"],
    ["nameless", [33, 44]],
    ["linked", None],
    ["mine", [[33, 44], [33, 44], [33, 44], [33, 44], [33, 44]]],
    ["swapped", None],
    ["gone", "ENOTEMPTY"],
    ["emptied", None],
    ["chmod of mine", None],
    ["times of mine", None],
    ["times now of what may be written", None],
    ["times of what may be written", "EPERM"],
    ["created again", None],
    ["appended", None],
    ["without a time", "EPERM"],
    ["attribute of mine", None],
    ["attributes by number", ["user.a"]],
    ["attribute that goes", None],
    ["capability", "EPERM"],
    ["fifo of mine", True],
    ["empty name", 0],
    ["wrong flag", "EINVAL"],
    ["group of others", "EPERM"],
    ["peer", [33, 44]],
    ["to a group", None],
    ["kept", [33, 33, 0]],
    ["real and effective", [33, 0, 0]],
    ["file system ids", [0, 33, 33, 7]],
    ["groups of real and effective", [44, 33, 33]],
    ["all", [33, 33, 33]],
    ["never again", "EPERM"],
    ["not all", "EPERM"],
    ["keeps", 1],
    ["after", [False, True, False]],
    ["set", 0],
    ["more", "EPERM"],
    ["chown by capability", None],
    ["owner", [5, 6]],
    ["raised", [0, 1]],
    ["not inherited", "EPERM"],
    ["wrong", ["EINVAL", "EINVAL"]],
    ["lowered", [0, 0]],
    ["cleared", 0],
    ["of one that is not", "ESRCH"],
    ["bounding", "EPERM"],
    ["user by capability", [77, 77, 77]],
    ["no new ones", 0],
    ["setuid gives nothing", "EACCES"],
    ["too few", "EINVAL"],
    ["too many", "EINVAL"],
    ["moved", [33, 44]],
    ["made there", [5, 6]],
]
TIERS = ["single", *(["range"] if os.getuid() == 0 else [])]  # the other's owners are the kernel's


@pytest.mark.parametrize("isolation", TIERS)
def test_credentials_change_as_they_do_elsewhere(isolation: str, forked: Forked) -> None:
    done = forked.python(BEGIN + CREDENTIALS, "--rm", "--isolation", isolation)
    assert json.loads(done.stdout) == CREDENTIALS_EXPECTED


RAW = """
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
NUMBERS = json.loads('NUMBERS_HERE')
HERE, EMPTY, NOFOLLOW = -100, 0x1000, 0x100

def call(name, *words):
    if name not in NUMBERS:
        return None
    value = libc.syscall(NUMBERS[name], *[ctypes.c_long(word) if isinstance(word, int) else word for word in words])
    return errno.errorcode[ctypes.get_errno()] if value < 0 else value

def looked(name, *words):
    buffer = ctypes.create_string_buffer(256)
    done = call(name, *(buffer if word is Ellipsis else word for word in words))
    return done or (list(struct.unpack_from("=II", buffer, 20)) if name == "statx" else "looked")

def how(flags, mode=0, resolve=0):
    return ctypes.create_string_buffer(struct.pack("=QQQ", flags, mode, resolve), 24)

def names(name, *words):
    buffer = ctypes.create_string_buffer(256)
    count = call(name, *words, buffer, 256)
    return count if isinstance(count, str) else buffer.raw[:count].decode()

write("/file")
os.chown("/file", 33, 44)
os.mkdir("/folder")
os.chown("/folder", 33, 44)
os.symlink("/folder/../file", "/link")
os.symlink("loop", "/loop")
os.mkdir("/sticky")
os.chmod("/sticky", 0o1777)
os.symlink("/file", "/sticky/link")
os.mkdir("/inherits")
os.chown("/inherits", 0, 55)
os.chmod("/inherits", 0o2777)
file, folder, root = os.open("/file", os.O_RDWR), os.open("/folder", os.O_RDONLY), os.open("/", os.O_RDONLY)

def looks():
    note("statx", looked, "statx", HERE, b"/link", 0, 0x7FF, ...)
    note("statx of the link", looked, "statx", HERE, b"/link", NOFOLLOW, 0x7FF, ...)
    note("statx by number", looked, "statx", file, b"", EMPTY, 0x7FF, ...)
    note("statx below", looked, "statx", root, b"folder", 0, 0x7FF, ...)
    note("statx of nothing", looked, "statx", HERE, b"/nothing", 0, 0x7FF, ...)
    note("loop", looked, "statx", HERE, b"/loop", 0, 0x7FF, ...)
    note("no folder", looked, "statx", HERE, b"/file/x", 0, 0x7FF, ...)
    note("slash", looked, "statx", HERE, b"/file/", 0, 0x7FF, ...)
    note("bad number", looked, "statx", 99, b"x", 0, 0x7FF, ...)
    note("too long", looked, "statx", HERE, b"x" * 300, 0, 0x7FF, ...)
    note("by proc", looked, "statx", HERE, b"/proc/self/fd/%d" % file, 0, 0x7FF, ...)
    note("by proc of the root", looked, "statx", HERE, b"/proc/self/root/file", 0, 0x7FF, ...)
    note("by proc of the folder", looked, "statx", HERE, b"/proc/self/cwd/file", 0, 0x7FF, ...)
    note("up", looked, "statx", folder, b"../file", 0, 0x7FF, ...)
    for name in ("stat", "lstat"):
        note(name, looked, name, b"/link", ...)
    note("fstat", lambda: owner(file))
    note("old fstat", looked, "fstat", file, ...)
    note("opened", lambda: os.close(call("openat2", HERE, b"/file", how(os.O_RDONLY), 24)))
    note("beneath", call, "openat2", folder, b"../file", how(os.O_RDONLY, 0, 8), 24)
    note("in the root", call, "openat2", folder, b"../../file", how(os.O_RDONLY, 0, 16), 24)
    note("old open", lambda: os.close(call("open", b"/file", os.O_RDONLY) or os.open("/file", 0)))
    note("names", names, "listxattr", b"/file")
    note("names of the link", names, "llistxattr", b"/link")
    note("names by number", names, "flistxattr", file)
    note("size of names", call, "listxattr", b"/file", None, 0)
    note("may", call, "faccessat2", HERE, b"/file", os.R_OK | os.W_OK, 0x200)
    note("may by number", call, "faccessat2", file, b"", os.R_OK, EMPTY)
    note("may of the link", call, "faccessat2", HERE, b"/link", os.R_OK, NOFOLLOW)

def changes():
    os.chdir("/")
    made = call("openat2", folder, b"made", how(os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o640), 24)
    note("made", lambda: owner(made))
    note("by creat", lambda: os.close(call("creat", b"/folder/creat", 0o600) or os.open("/folder/creat", 65, 0o600)))
    note("owner of creat", owner, "/folder/creat")
    note("below", call, "mkdirat", folder, b"below", 0o750)
    note("linked", call, "symlinkat", b"made", folder, b"symlink")
    note("pipe", call, "mknodat", folder, b"fifo", stat.S_IFIFO | 0o600, 0)
    note("plain node", call, "mknodat", folder, b"plain", stat.S_IFREG | 0o600, 0)
    note("socket node", call, "mknodat", folder, b"sock", stat.S_IFSOCK | 0o600, 0)
    there = sorted(os.listdir("/folder"))
    note("owners", lambda: [owner(f"/folder/{name}", follow_symlinks=False)[:2] for name in there])
    note("through a dangling link", lambda: [os.symlink("target", "/folder/dangling"), write("/folder/dangling")][1])
    note("its owner", lambda: owner("/folder/target")[:2])
    note("group of the folder", lambda: [os.mkdir("/inherits/x"), owner("/inherits/x")][1])
    note("set-id in it", lambda: [write("/inherits/set", os.O_RDONLY | os.O_CREAT, 0o6755), owner("/inherits/set")][1])
    note("set-id at home", lambda: [write("/folder/set", os.O_RDONLY | os.O_CREAT, 0o6755), owner("/folder/set")[2]][1])
    note("exchange", call, "renameat2", folder, b"made", folder, b"creat", 2)
    note("no replace", call, "renameat2", folder, b"made", folder, b"creat", 1)
    note("over a folder", call, "renameat2", folder, b"made", folder, b"below", 0)
    note("hard", call, "linkat", HERE, b"/link", folder, b"hard", 0x400)
    note("to a folder", call, "linkat", HERE, b"/folder", folder, b"hard2", 0)
    note("unlink", call, "unlinkat", folder, b"hard", 0)
    note("unlink a folder", call, "unlinkat", folder, b"below", 0)
    note("rmdir", call, "unlinkat", folder, b"below", 0x200)
    note("nothing", call, "unlinkat", folder, b"nothing", 0)
    note("owner by number", call, "fchownat", file, b"", -1, 44, EMPTY)
    note("owner of the link", call, "fchownat", HERE, b"/folder/symlink", -1, -1, NOFOLLOW)
    note("mode by number", os.fchmod, file, 0o2755)
    note("mode that stays", lambda: owner(file)[2])
    note("written", os.write, file, b"x")
    note("mode after", lambda: owner(file)[2])
    note("times", os.utime, file, (3, 3))
    note("times of the link", lambda: os.utime("/folder/symlink", (3, 3), follow_symlinks=False))
    note("truncated", os.ftruncate, file, 0)
    note("entered", os.fchdir, folder)
    note("here", lambda: os.stat("made").st_uid)
    note("by a link in a sticky folder", lambda: open("/sticky/link").close())
    note("executed", call, "execveat", folder, b"made", None, None, 0)
    note("bound", socket.socket(socket.AF_UNIX).bind, "/folder/socket")
    note("bound again", socket.socket(socket.AF_UNIX).bind, "/folder/socket")
    note("without a name", socket.socket(socket.AF_UNIX).bind, b"\\\\0abstract")
    note("connected", socket.socket(socket.AF_UNIX).connect, "/folder/socket")
    note("flags", call, "openat", HERE, b"/file", os.O_RDONLY | os.O_DIRECTORY)
    note("slash at a new one", call, "openat", HERE, b"/folder/new/", os.O_WRONLY | os.O_CREAT, 0o600)
    note("a folder to write", call, "openat", HERE, b"/folder", os.O_WRONLY)
    note("a link itself", call, "openat", HERE, b"/link", os.O_RDONLY | os.O_NOFOLLOW)
    note("only a path", lambda: os.close(os.open("/file", os.O_PATH)))

looks()
reader, writer = os.pipe()
child = os.fork()
if not child:
    seen.clear()
    os.setgroups([44, 55])
    os.setgid(33)
    os.setuid(33)
    looks()
    changes()
    os.write(writer, json.dumps(seen).encode())
    os._exit(0)
os.close(writer)
with open(reader) as stream:
    theirs = json.load(stream)
assert os.waitpid(child, 0)[1] == 0
print(json.dumps(seen + theirs))
""".replace("NUMBERS_HERE", json.dumps(NATIVE))


LOOKS: list[list[object]] = [
    ["statx", [33, 44]],
    ["statx of the link", [0, 0]],
    ["statx by number", [33, 44]],
    ["statx below", [33, 44]],
    ["statx of nothing", "ENOENT"],
    ["loop", "ELOOP"],
    ["no folder", "ENOTDIR"],
    ["slash", "ENOTDIR"],
    ["bad number", "EBADF"],
    ["too long", "ENAMETOOLONG"],
    ["by proc", [33, 44]],
    ["by proc of the root", [33, 44]],
    ["by proc of the folder", [33, 44]],
    ["up", [33, 44]],
    ["stat", "looked"],
    ["lstat", "looked"],
    ["fstat", [33, 44, "0o100644"]],
    ["old fstat", "looked"],
    ["opened", None],
    ["beneath", "EXDEV"],
    ["in the root", "ENOENT"],
    ["old open", None],
    ["names", ""],
    ["names of the link", ""],
    ["names by number", ""],
    ["size of names", 0],
    ["may", 0],
    ["may by number", 0],
    ["may of the link", 0],
]
CHANGES: list[list[object]] = [
    ["made", [33, 33, "0o100640"]],
    ["by creat", None],
    ["owner of creat", [33, 33, "0o100600"]],
    ["below", 0],
    ["linked", 0],
    ["pipe", 0],
    ["plain node", 0],
    ["socket node", 0],
    ["owners", [[33, 33], [33, 33], [33, 33], [33, 33], [33, 33], [33, 33], [33, 33]]],
    ["through a dangling link", None],
    ["its owner", [33, 33]],
    ["group of the folder", [33, 55, "0o42755"]],
    ["set-id in it", [33, 55, "0o106755"]],
    ["set-id at home", "0o106755"],
    ["exchange", 0],
    ["no replace", "EEXIST"],
    ["over a folder", "EISDIR"],
    ["hard", 0],
    ["to a folder", "EPERM"],
    ["unlink", 0],
    ["unlink a folder", "EISDIR"],
    ["rmdir", 0],
    ["nothing", "ENOENT"],
    ["owner by number", 0],
    ["owner of the link", 0],
    ["mode by number", None],
    ["mode that stays", "0o102755"],
    ["written", 1],
    ["mode after", "0o100755"],
    ["times", None],
    ["times of the link", None],
    ["truncated", None],
    ["entered", None],
    ["here", 33],
    ["by a link in a sticky folder", None],
    ["executed", "EACCES"],
    ["bound", None],
    ["bound again", "EADDRINUSE"],
    ["without a name", None],
    ["connected", "ECONNREFUSED"],
    ["flags", "ENOTDIR"],
    ["slash at a new one", "EISDIR"],
    ["a folder to write", "EISDIR"],
    ["a link itself", "ELOOP"],
    ["only a path", None],
]


@pytest.mark.parametrize("isolation", TIERS)
def test_calls_that_no_library_makes_are_answered_too(isolation: str, forked: Forked) -> None:
    done = forked.python(BEGIN + RAW, "--rm", "--isolation", isolation)
    assert json.loads(done.stdout) == [*LOOKS, *LOOKS, *CHANGES]


@pytest.mark.skipif(os.getuid() == 0, reason="root has no id to keep")
def test_files_of_who_keeps_his_id_are_his(forked: Forked, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir(mode=0o777)
    (tmp_path / "mine/file").touch()
    script = """
        import os
        os.close(os.open("/mine/made", os.O_CREAT | os.O_WRONLY))
        print(os.getuid(), *(os.stat(f"/mine/{name}").st_uid for name in ("file", "made")), os.stat("/etc").st_uid)
    """
    flags = ("--rm", "--isolation", "single", "--userns", "keep-id:uid=1000,gid=1000", "-v", f"{tmp_path}/mine:/mine")
    assert forked.python(script, *flags).stdout == "1000 1000 1000 0\n"
    assert {path.stat().st_uid for path in (tmp_path / "mine").iterdir()} == {os.getuid()}
