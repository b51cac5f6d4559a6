"""Answers where owners are true: to what asks for an id that the id map lacks, which the kernel would refuse (EINVAL).

A step that can be run again with emulated owners ends instead.
"""

from __future__ import annotations

import errno
import os

from tiffin.builder.owner_xattrs import NO_ID
from tiffin.builder.sandbox.child.emulation import process
from tiffin.builder.sandbox.child.emulation.credentials import CAP_CHOWN, CAP_SETGID, CAP_SETUID
from tiffin.builder.sandbox.child.emulation.filter import IDS
from tiffin.builder.sandbox.child.emulation.notification import CONTINUE, Answer, Caller, Handler

_MAX_GROUPS = 65536  # NGROUPS_MAX
_Arguments = tuple[int, ...]


class Bounds:
    """`limits`: the first uid and the first gid that the namespace lacks."""

    def __init__(self, caller: Caller, limits: tuple[int, int]) -> None:
        self._caller = caller
        self._limits = limits
        self.handlers: dict[str, Handler] = {name: self._handler(name) for name in IDS} | {"setgroups": self._setgroups}

    def _handler(self, name: str) -> Handler:
        uids, gids = IDS[name]
        capability = CAP_CHOWN if uids and gids else CAP_SETUID if uids else CAP_SETGID

        def handler(tid: int, arguments: _Arguments) -> Answer:
            ids = [arguments[position] & NO_ID for position in (*uids, *gids)]
            return self._beyond(tid, capability, f"{name} to {':'.join('-' if i == NO_ID else str(i) for i in ids)}")

        return handler

    def _setgroups(self, tid: int, arguments: _Arguments) -> Answer:
        count = arguments[0] & 0xFFFFFFFF
        if not 0 < count <= _MAX_GROUPS:
            return CONTINUE
        groups = process.unpack_words(self._caller.memory.read(tid, arguments[1], 4 * count))
        beyond = [group for group in groups if group >= self._limits[1]]
        return self._beyond(tid, CAP_SETGID, f"setgroups to {beyond[0]}") if beyond else CONTINUE

    def _beyond(self, tid: int, capability: int, what: str) -> Answer:
        if not process.effective_capabilities(tid) >> capability & 1:
            return -errno.EPERM
        if os.readlink(b"%d/ns/user" % tid) != os.readlink(b"self/ns/user"):
            return CONTINUE  # ids of a namespace of its own
        self._caller.check()
        if self._caller.beyond is not None:
            self._caller.beyond(what)
        return CONTINUE
