"""A change: an entry of a layer to be, and where its content comes from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

from builder.layer.index import Entry


@dataclass(frozen=True, slots=True)
class Change:
    """`open` gives the content of a file that is not empty; None for everything else."""

    entry: Entry
    open: Callable[[], BinaryIO] | None = None
