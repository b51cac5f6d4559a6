"""What the kernel would refuse to an emulated user: to it all have one id, so calls are checked before they are
answered.

Who has a root's capabilities is asked about nothing.
"""

from __future__ import annotations

from tiffin.builder.sandbox.child.emulation.checks.access import AccessChecks
from tiffin.builder.sandbox.child.emulation.checks.inode_changes import InodeChecks
from tiffin.builder.sandbox.child.emulation.checks.names import NameChecks
from tiffin.builder.sandbox.child.emulation.checks.permissions import is_mighty
from tiffin.builder.sandbox.child.emulation.checks.sockets import SocketChecks
from tiffin.builder.sandbox.child.emulation.checks.subjects import Check
from tiffin.builder.sandbox.child.emulation.creation_calls import Creation
from tiffin.builder.sandbox.child.emulation.credential_calls import Identity
from tiffin.builder.sandbox.child.emulation.filter import asked
from tiffin.builder.sandbox.child.emulation.notification import CONTINUE, Answer, Caller, Handler
from tiffin.builder.sandbox.child.emulation.owner_calls import Owners
from tiffin.builder.sandbox.child.emulation.walk import Walker

_Arguments = tuple[int, ...]
# what may close a directory to somebody, or put another in its place
MOVING = frozenset({
    "chmod", "fchmod", "fchmodat", "fchmodat2", "chown", "lchown", "fchown", "fchownat", "setxattr", "lsetxattr",
    "fsetxattr",
    "removexattr", "lremovexattr", "fremovexattr", "rename", "renameat", "renameat2", "rmdir", "unlinkat",
    "chroot", "pivot_root", "setns", "unshare", "clone",
})  # fmt: skip


def owner_handlers(caller: Caller, *, has_users: bool) -> dict[str, Handler]:
    """Return what answers each system call where owners are emulated, by name; `has_users` as for the filter."""
    handlers = Owners(caller).handlers | Creation(caller).handlers | Identity(caller).handlers
    return enforced(caller, handlers, asked(looks=has_users))


def enforced(caller: Caller, handlers: dict[str, Handler], names: frozenset[str]) -> dict[str, Handler]:
    """Return `handlers`, and the kernel for what has none, behind the checks of the calls `names`."""
    walker = Walker(caller)
    kinds = (AccessChecks, NameChecks, InodeChecks, SocketChecks)
    checks = {name: check for kind in kinds for name, check in kind(caller, walker).checks.items()}
    guarded = {name: _guarded(caller, checks[name], handlers.get(name, _leave)) for name in names & checks.keys()}
    result = handlers | guarded
    return result | {name: _forgetting(walker, result[name]) for name in result.keys() & MOVING}


def _forgetting(walker: Walker, handler: Handler) -> Handler:
    def forgetting(tid: int, arguments: _Arguments) -> Answer:
        try:
            return handler(tid, arguments)
        finally:  # what the handler looked up is what was before
            walker.forget()

    return forgetting


def _guarded(caller: Caller, check: Check, handler: Handler) -> Handler:
    of = caller.processes.credentials

    def guarded(tid: int, arguments: _Arguments) -> Answer:
        who = of(tid)
        if not is_mighty(who):
            try:
                answer = check(tid, who, arguments)
            except PermissionError:
                raise
            except OSError:  # the kernel tells it, when it comes to that
                answer = CONTINUE
            if answer is not CONTINUE:
                return answer
        return handler(tid, arguments)

    return guarded


def _leave(tid: int, arguments: _Arguments) -> Answer:
    return CONTINUE
