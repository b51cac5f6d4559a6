"""Where a target is built from: its context, its Dockerfile, its further contexts, as a build takes them."""

from __future__ import annotations

import os
from collections.abc import Mapping

from tiffin.builder.bake.definition import Target
from tiffin.builder.bake.fields import CONTEXT, CONTEXTS, DOCKERFILE, INLINE
from tiffin.builder.bake.places import CWD, TARGET, clean, is_remote, is_special
from tiffin.builder.errors import UsageError
from tiffin.builder.instructions.remote import is_git
from tiffin.cache.foundation.frozen import dataclass

STDIN = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """`contexts` without those that are targets, whose names are in `needs`, by the names of contexts."""

    context: str
    dockerfile: str
    contexts: Mapping[str, str]
    needs: Mapping[str, str]

    def local_paths(self) -> list[str]:
        """Return what is read of this machine."""
        paths = [path for path in (self.context, *self.contexts.values()) if not is_special(path)]
        return [*paths, *([self.dockerfile] if not is_remote(self.context) else [])]


def inputs_of(target: Target, remote: str = "") -> Inputs:
    """Return the inputs of a target whose definition came from `remote`, "" for a local one. Raises UsageError."""
    for name in (CONTEXT, DOCKERFILE):
        if target.get(name) == STDIN:
            raise UsageError(
                f"target {target.name}: {name} from stdin not allowed in bake", remedy="name a directory or a file"
            )
    context = _place(target.get(CONTEXT), remote)
    dockerfile = target.get(DOCKERFILE)
    if dockerfile.startswith(CWD):
        dockerfile = os.path.abspath(clean(dockerfile.removeprefix(CWD)))  # noqa: PTH100 # links stay as they are
    elif not is_remote(dockerfile):
        dockerfile = clean(dockerfile)
        if not is_remote(context) and not os.path.isabs(dockerfile):  # noqa: PTH117
            dockerfile = os.path.join(context, dockerfile)  # noqa: PTH118
            dockerfile = clean(dockerfile)
    places = {name: _place(text, remote) for name, text in (target.get(CONTEXTS) or {}).items() if text}
    return Inputs(
        context=context,
        dockerfile="" if target.get(INLINE) is not None else dockerfile,
        contexts={name: place for name, place in places.items() if not place.startswith(TARGET)},
        needs={name: place.removeprefix(TARGET) for name, place in places.items() if place.startswith(TARGET)},
    )


def _place(text: str, remote: str) -> str:
    """Return a context; one of a remote definition is in its repository."""
    if text.startswith(CWD):
        return clean(text.removeprefix(CWD))
    if is_special(text):
        return text
    path = clean(text)
    return within(remote, path) if remote else path


def within(remote: str, directory: str) -> str:
    """Return the URL of a directory of a repository."""
    directory = clean(directory)
    if directory == "." or not is_git(remote, context=True):
        return remote
    base, _, fragment = remote.partition("#")
    before, question, query = base.partition("?")
    fields = query.split("&") if question else []
    if not fragment and any(item.startswith("subdir=") for item in fields):
        made = [f"subdir={_joined(item[7:], directory)}" if item.startswith("subdir=") else item for item in fields]
        return f"{before}?{'&'.join(made)}"
    ref, _, subdir = fragment.partition(":")
    return f"{base}#{ref}:{_joined(subdir, directory)}"


def _joined(first: str, second: str) -> str:
    return clean(f"{first}/{second}") if first else clean(second)
