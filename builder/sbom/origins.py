"""Where the layers of an image come from: lines of a Dockerfile where tiffin built it, else what its history says."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from tiffin.builder.oci.config import ImageConfig
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.frozen import dataclass, replace

Lines = Callable[[Digest], "bytes | None"]  # of an image by its id: see tiffin.builder.solver.results.lines_of
MAX_BASES = 100  # that stand on each other


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A step: where it stands, the name of its stage, and the step as progress names it."""

    file: str
    first: int
    last: int
    stage: str
    step: str

    def __str__(self) -> str:
        return f"{self.file}:{self.first}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where one layer comes from. `base`: the name of the base image that brought it, "" for a layer of the image's
    own, or where that is not known; `text` is what the image's history says.
    """

    diff_id: Digest
    text: str = ""
    lines: tuple[Line, ...] = ()
    base: str = ""

    @property
    def shown(self) -> str:
        """Return it in one line."""
        if self.lines:
            place = f"{self.lines[0]} {self.lines[0].step}"
            more = f" (and {len(self.lines) - 1} more)" if len(self.lines) > 1 else ""
            return f"{place}{more}" + (f" of {self.base}" if self.base else "")
        return f"{self.base or 'image'}: {' '.join(self.text.split()) or str(self.diff_id)}"


def origins_of(config: ImageConfig, image_id: Digest, lines: Lines) -> tuple[Origin, ...]:
    """Return the origin of each layer, bottom first."""
    texts = [entry.created_by for entry in config.history if not entry.empty_layer]
    if len(texts) != len(config.diff_ids):
        texts = [""] * len(config.diff_ids)
    found = [Origin(diff_id=diff_id, text=text) for diff_id, text in zip(config.diff_ids, texts, strict=True)]
    end, base = len(found), ""
    for _ in range(MAX_BASES):
        document = _document(lines(image_id))
        if document is None:
            break
        rows, below = document
        start = end - len(rows)
        if start < 0:
            break
        for number, steps in enumerate(rows):
            found[start + number] = replace(found[start + number], lines=steps, base=base)
        end = start
        if below is None:
            break
        base, image_id = below
        found[:end] = [replace(item, base=base) for item in found[:end]]
    return tuple(found)


def _document(data: bytes | None) -> tuple[list[tuple[Line, ...]], tuple[str, Digest] | None] | None:
    """Read what a build noted; None for nothing, or for what is damaged."""
    if data is None:
        return None
    try:
        document = json.loads(data)
        rows = [tuple(_line(row) for row in steps) for steps in document["layers"]]
        below = document["base"]
        return rows, (str(below["name"]), Digest.parse(below["id"])) if below else None
    except (ValueError, TypeError, LookupError):
        return None


def _line(row: Sequence[object]) -> Line:
    file, first, last, stage, step = row
    return Line(file=str(file), first=int(str(first)), last=int(str(last)), stage=str(stage), step=str(step))
