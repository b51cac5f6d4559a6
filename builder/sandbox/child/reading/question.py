"""The question which files a command looks up, and its answer: both are files beside the sandbox."""

from __future__ import annotations

from collections.abc import Iterable

COMPLETE = b"complete"  # the first of an answer: then all that follows is what was looked up


def answer_path(watched: str) -> str:
    """Return where the answer to the question in a file is."""
    return f"{watched}.found"


def written(paths: Iterable[str]) -> bytes:
    """Return paths as a question has them."""
    return b"".join(path.encode("utf-8", "surrogateescape") + b"\0" for path in paths)


def read_answer(data: bytes) -> list[str] | None:
    """Return the paths of an answer, None where it is none."""
    first, *paths = data.split(b"\0")
    return [path.decode("utf-8", "surrogateescape") for path in paths] if first == COMPLETE else None
