"""What every cataloger is: a row that says which files it reads, and the function that reads one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import BinaryIO

from tiffin.builder.sbom.facts import Fact
from tiffin.cache.foundation.frozen import dataclass

MAX_DOCUMENT_BYTES = 64 << 20  # of a database or manifest that is read whole


class TooLargeError(ValueError):
    """A file is larger than what any program would have written there."""


class Source:
    """One file to read: its path in the image, its content, and which paths catalogers of other packages read."""

    def __init__(self, path: str, size: int, file: BinaryIO, is_claimed: Callable[[str], bool]) -> None:
        self.path = path
        self.size = size
        self.file = file
        self.is_claimed = is_claimed

    @cached_property
    def data(self) -> bytes:
        """Return the whole content. Raises TooLargeError."""
        if self.size > MAX_DOCUMENT_BYTES:
            raise TooLargeError(f"it has {self.size} bytes, and {MAX_DOCUMENT_BYTES} are read")
        return self.file.read()

    @cached_property
    def text(self) -> str:
        """Return the content as text."""
        return self.data.decode("utf-8", "replace")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cataloger:
    """One kind of package. `pattern` matches whole paths, all of which have one of `endings` or begin with `folder`,
    which is quicker to see; `reads_programs`: all executable files besides.

    `is_system`: its packages own files that tell of packages of other kinds. `read` raises ValueError, LookupError or
    TypeError for a file that is not what its name says.
    """

    name: str
    read: Callable[[Source], Iterable[Fact]]
    pattern: str = ""
    endings: tuple[str, ...] = ()
    folder: str = ""
    reads_programs: bool = False
    is_system: bool = False


def paragraphs(text: str) -> Iterable[dict[str, str]]:
    """Yield the paragraphs of a control file (deb822), fields by their names in small letters."""
    for block in re.split(r"\n[ \t]*\n", text):
        fields: dict[str, str] = {}
        name = ""
        for line in block.split("\n"):
            if line[:1] in (" ", "\t"):
                if name:
                    fields[name] += "\n" + line.strip()
            elif ":" in line:
                name, _, value = line.partition(":")
                name = name.lower()
                fields[name] = value.strip()
        if fields:
            yield fields
