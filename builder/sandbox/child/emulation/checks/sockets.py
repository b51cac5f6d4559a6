"""Checks of calls about sockets that have a name among the files: unix(7), "Pathname socket ownership and
permissions".
"""

from __future__ import annotations

from tiffin.builder.sandbox.child.emulation.checks.permissions import WRITE
from tiffin.builder.sandbox.child.emulation.checks.subjects import Arguments, Checks
from tiffin.builder.sandbox.child.emulation.credentials import Credentials
from tiffin.builder.sandbox.child.emulation.notification import CONTINUE, Answer, Caller
from tiffin.builder.sandbox.child.emulation.process import AT_FDCWD, socket_path
from tiffin.builder.sandbox.child.emulation.walk import Found, Walker


class SocketChecks(Checks):
    def __init__(self, caller: Caller, walker: Walker) -> None:
        super().__init__(caller, walker)
        self.checks = {"bind": self._bind, "connect": self._connect}

    def _named(self, tid: int, who: Credentials, arguments: Arguments, *, is_entry: bool) -> Found | None:
        """Return where the address leads; None for one that is not a path."""
        text = socket_path(self._caller.memory, tid, arguments[1], arguments[2])
        return self._walker.look(tid, who, AT_FDCWD, text, follow=not is_entry, is_entry=is_entry) if text else None

    def _bind(self, tid: int, who: Credentials, arguments: Arguments) -> Answer:
        found = self._named(tid, who, arguments, is_entry=True)
        if found is not None and found.st is None and not found.is_slashed:
            self._must_change(who, found)
        return CONTINUE

    def _connect(self, tid: int, who: Credentials, arguments: Arguments) -> Answer:
        """Check also what is not a socket: that is found out last."""
        found = self._named(tid, who, arguments, is_entry=False)
        if found is not None and found.st is not None:
            self._must(who, found, WRITE)
        return CONTINUE
