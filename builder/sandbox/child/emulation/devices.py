"""Answers to mknod where owners are true and only device nodes are refused, as in any user namespace.

A step that can be run again with emulated owners ends: only there a program sees a node. A command that cannot (`tiffin
run`) is refused the node, as by every rootless engine. In the /dev of a step, which no layer has, a socket stands for
it.
"""

from __future__ import annotations

import errno
import os
import stat

from tiffin.builder.owner_xattrs import NO_ID
from tiffin.builder.sandbox.child.emulation import process
from tiffin.builder.sandbox.child.emulation.credentials import CAP_MKNOD
from tiffin.builder.sandbox.child.emulation.inodes import Record, device_of, make_placeholder, parent_of, remove
from tiffin.builder.sandbox.child.emulation.notification import CONTINUE, Answer, Caller, Handler, tell_of_device
from tiffin.builder.sandbox.child.emulation.process import AT_FDCWD

_MODE = 0o7777


class Devices:
    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self.handlers: dict[str, Handler] = {
            "mknod": lambda tid, a: self._mknod(tid, AT_FDCWD, a[0], a[1], a[2]),
            "mknodat": lambda tid, a: self._mknod(tid, a[0], a[1], a[2], a[3]),
        }

    def _mknod(self, tid: int, directory: int, address: int, mode: int, number: int) -> Answer:
        kind, number = stat.S_IFMT(mode & 0xFFFF), number & 0xFFFFFFFF
        if kind == stat.S_IFCHR and not number:
            return CONTINUE  # a whiteout; the overlay refuses it
        if not process.effective_capabilities(tid) >> CAP_MKNOD & 1:
            return CONTINUE  # EPERM, if it comes to that
        if os.readlink(b"%d/ns/user" % tid) != os.readlink(b"self/ns/user"):
            return CONTINUE  # what it may in a namespace of its own says nothing about our files
        if self._caller.beyond is None:
            return -errno.EPERM
        path = self._caller.path(tid, directory, address, follow=False)
        uid, gid = process.file_system_ids(tid)
        mode &= _MODE & ~process.umask(tid)
        self._caller.check()
        device = device_of(kind, number)
        tell_of_device(self._caller, path, device)
        make_placeholder(path, mode)
        try:
            inherits = os.stat(parent_of(path)).st_mode & stat.S_ISGID
            os.chown(path, uid, -1 if inherits else gid, follow_symlinks=False)
            self._caller.inodes.write(path, Record(NO_ID, NO_ID, device), follow=False)
        except OSError:
            remove(path, is_directory=False)
            raise
        return 0
