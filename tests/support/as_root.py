"""What takes root, in a test that needs none: a user is root of a namespace that a fork makes."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable

import pytest


def as_root(act: Callable[[], object]) -> None:
    """Run a function as root, or in a fork that is root of a user namespace of one id; what it raises fails the test.

    What it changes in this process's memory is lost there.
    """
    if os.getuid() == 0:
        act()
        return
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        told = b""
        try:
            _become_root()
            act()
        except BaseException:
            told = traceback.format_exc().encode() or b"?"
        finally:
            os.close(reader)
            with os.fdopen(writer, "wb") as stream:
                stream.write(told)
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        told = stream.read()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if told or code:
        pytest.fail(f"exit code {code}\n{told.decode(errors='replace')}")


def _become_root() -> None:
    from tiffin.builder.sandbox.child import kernel

    uid, gid = os.getuid(), os.getgid()
    kernel.unshare(kernel.CLONE_NEWUSER)
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)
