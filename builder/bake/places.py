"""Paths of contexts: which are local, and where they begin."""

from __future__ import annotations

import posixpath

from tiffin.builder.instructions.remote import is_git, is_http

CWD = "cwd://"
TARGET = "target:"
_SPECIAL = (CWD, TARGET, "docker-image:", "oci-layout://")


def is_remote(text: str) -> bool:
    """Whether a text names something that is fetched."""
    return is_http(text) or is_git(text, context=True)


def is_special(text: str) -> bool:
    """Whether a context is not a path."""
    return text.startswith(_SPECIAL) or is_remote(text)


def clean(path: str) -> str:
    """Return a path without detours."""
    return posixpath.normpath(path) if path else "."


def directory_of(file: str) -> str:
    """Return where a definition is, "" for one that is in no directory."""
    return "" if file in ("", "-") or is_remote(file) else posixpath.dirname(file) or "."


def rebased(directory: str, path: str) -> str:
    """Return a path as it is from here, where it is one of `directory`."""
    if not directory or not path or is_special(path) or posixpath.isabs(path):
        return path
    return clean(posixpath.join(directory, path))
