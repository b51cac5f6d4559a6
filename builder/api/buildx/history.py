"""What builds ran, as `buildx history` tells it from the files of `tiffin.builder.api.buildx.recorder`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from io import StringIO
from pathlib import Path

from tiffin.builder.api.buildx.recorder import FOLDER, PLANS, BuildRecord, write
from tiffin.builder.errors import CorruptError, NotFoundError
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.api.session import Session


class History:
    """The builds of a state directory, the newest first."""

    def __init__(self, session: Session) -> None:
        self._folder = session.state.root / FOLDER

    def records(self) -> Iterator[BuildRecord]:
        """Yield all that can be read."""
        for path in self._paths():
            with suppress(CorruptError, NotFoundError):
                yield _read(path)

    def find(self, text: str) -> BuildRecord:
        """Return the build of a reference, an id or its beginning, `^N` for the Nth before the last, or "" for that.

        Raises NotFoundError.
        """
        return _read(self._path(text))

    def events(self, text: str) -> Iterator[str]:
        """Yield the lines of its log, in JSON. Raises NotFoundError."""
        lines = StringIO(_text(self._path(text)))
        next(lines)
        yield from lines

    def add(self, record: BuildRecord, lines: Sequence[str]) -> bool:
        """Keep a build of elsewhere with the lines of its log; False where it is here already. Raises OSError."""
        if any(path.name.endswith(f"-{record.id}") for path in self._paths()):
            return False
        write(self._folder, record, lines)
        return True

    def remove(self, text: str) -> None:
        """Forget a build, and plans that no other has. Raises NotFoundError."""
        self._path(text).unlink(missing_ok=True)
        named = {document["plan"] for record in self.records() for document in record.plans}
        plans = self._folder.with_name(PLANS)
        for path in plans.iterdir() if plans.is_dir() else ():
            if path.name not in named:
                path.unlink(missing_ok=True)

    def _paths(self) -> Sequence[Path]:
        if not self._folder.is_dir():
            return ()
        return sorted((path for path in self._folder.iterdir() if path.name[0] != "."), reverse=True)

    def _path(self, text: str) -> Path:
        paths = self._paths()
        if not text or text.startswith("^"):
            number = text[1:] or "0"
            if number.isdecimal() and int(number) < len(paths):
                return paths[int(number)]
        else:
            wanted = text.rpartition("/")[2]
            found = [path for path in paths if wanted and path.name.partition("-")[2].startswith(wanted)]
            if len(found) == 1:
                return found[0]
        raise NotFoundError(f"no build record {text or 'is there'}".strip(), remedy="see buildx history ls")


def record_of(text: str) -> BuildRecord:
    """Return the record that is written as JSON. Raises ValueError, TypeError, AttributeError for anything else."""
    from tiffin.builder.api.buildx.builders import tuples_of

    row = json.loads(text)
    plans = row.pop("plans", ())
    return BuildRecord(**{**row, **tuples_of(row)}, plans=tuple(plans))


def _read(path: Path) -> BuildRecord:
    try:
        return record_of(_text(path).partition("\n")[0])
    except (ValueError, TypeError, AttributeError) as exc:
        raise CorruptError(f"{path} is damaged", remedy="remove it: it only tells of a build") from exc


def _text(path: Path) -> str:
    """Return the text of a file. Raises NotFoundError where it is gone, ValueError."""
    try:
        data = path.read_bytes()
        path.stat()  # a build that writes over the file of an old one renames it before
    except FileNotFoundError as exc:
        raise NotFoundError("the build record was removed meanwhile", remedy="see buildx history ls") from exc
    return data.decode()
