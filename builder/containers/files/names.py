"""Where a copy goes and under which name: docker's rules for names, ends in "/" and "/." included. Pure."""

from __future__ import annotations

import posixpath

from tiffin.builder.errors import ContainerError
from tiffin.cache.foundation.frozen import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One end of a copy: `path` as it was asked for or as its links lead; `name` what its top is to be called."""

    path: str
    exists: bool = True
    is_directory: bool = False
    name: str = ""  # "" for the last part of `path`

    @property
    def base(self) -> str:
        """Return the name of its top, "." for what is in it."""
        return self.name or split_entry(self.path)[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A directory, and what the top of the copy is called in it; "" where what it holds goes straight in there."""

    directory: str
    name: str


def split_argument(text: str) -> tuple[str, str]:
    """Return the container ("" for this machine) and the path of CONTAINER:PATH; a "." in front makes it a path."""
    container, colon, path = text.partition(":")
    if text.startswith("/") or not colon or container.startswith("."):
        return "", text
    return container, path


def split_entry(path: str) -> tuple[str, str]:
    """Return the directory and the name of the last part; "x/." is "." in x."""
    cleaned = clean(path)
    if names_content(path):
        cleaned = f"{cleaned.rstrip('/')}/."
    directory, _, base = cleaned.rpartition("/")
    return directory or ("/" if cleaned.startswith("/") else "."), base or "/"


def clean(path: str) -> str:
    """Return a path without dots and slashes that say nothing."""
    cleaned = posixpath.normpath(path or ".")
    return f"/{cleaned.lstrip('/')}" if cleaned.startswith("/") else cleaned


def names_content(path: str) -> bool:
    """Whether what a directory holds is meant, not the directory itself."""
    return posixpath.basename(path.rstrip("/")) == "." or path == ""


def is_certainly_directory(path: str) -> bool:
    """Whether only a directory is meant."""
    return path.endswith("/") or names_content(path)


def with_end_of(cleaned: str, asked: str) -> str:
    """Return `cleaned` with the "/." or "/" that `asked` ends in."""
    if names_content(asked) and not names_content(cleaned):
        cleaned = f"{cleaned.rstrip('/')}/."
    if asked.endswith("/") and not cleaned.endswith("/"):
        cleaned += "/"
    return cleaned


def absolute(path: str, directory: str) -> str:
    """Return a path of this machine from the root, its end kept."""
    return with_end_of(clean(posixpath.join(directory, path)), path)


def inside(path: str) -> str:
    """Return a path of a container from its root, its end kept."""
    return with_end_of(clean(f"/{path}"), path)


def followed(asked: str, leads_to: str) -> Place:
    """Return where a link `asked` leads to (`leads_to`), which keeps its name and its end."""
    path = with_end_of(leads_to, asked)
    asked_base, base = split_entry(asked)[1], split_entry(path)[1]
    return Place(path=path, name=asked_base if asked_base != base else "")


def target_of(source: Place, destination: Place) -> Target:
    """Return where a copy goes. Raises ContainerError for what cannot be."""
    directory, base = split_entry(destination.path)
    if destination.exists and destination.is_directory:
        top = source.base
        return Target(directory=destination.path, name="" if top in (".", "/") else top)
    if destination.exists and source.is_directory:
        raise ContainerError(
            f"cannot copy directory: {destination.path} is a file", remedy="name a directory, or one to be"
        )
    if not destination.exists and not source.is_directory and is_certainly_directory(destination.path):
        raise ContainerError(
            f"no such directory: {destination.path}", remedy='make it first, or leave out the "/" at the end'
        )
    return Target(directory=directory, name="" if base == "." else base)
