"""Compare an image with the same one built again: which files of which step differ, and why that may be."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Sequence

from tiffin.builder.image.chain import Chain, LayerRef
from tiffin.builder.image.layers import LayerStore
from tiffin.builder.layer.compare import first_change
from tiffin.builder.layer.index import Entry, LayerIndex
from tiffin.builder.solver.trace import TracedStep

MAX_FILES = 10  # told of one layer
MAX_TEXT = 60  # of an instruction
MAX_COMPARED_BYTES = 4 << 20  # of one file
AROUND = 48  # bytes beside the first difference, in which a date is looked for
_DATE = re.compile(
    rb"\d{4}[-/]\d\d[-/]\d\d|\d\d:\d\d:\d\d|\b(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)\b|\b1[5-9]\d{8}\b"
)
GZIP, PYTHON_MAGIC = b"\x1f\x8b", b"\r\n"  # how they begin; compiled Python has its magic's end at 2
TIMES = "its time differs: build with SOURCE_DATE_EPOCH, and rewrite-timestamp=true"


def differences_of_layers(
    before: Chain, after: Chain, layers: LayerStore, steps: Sequence[TracedStep], keys: Collection[str]
) -> Iterator[str]:
    """Yield what differs in the layers, by the step that made each; `keys` are those of the steps of then."""
    made = {step.diff_id: step for step in steps}
    is_told = False
    for old, new in zip(before, after, strict=False):
        if old.diff_id == new.diff_id:
            continue
        step = made.get(new.diff_id)
        where = _where(step) if step is not None else f"layer {new.diff_id.short}"
        if step is not None and keys and str(step.key) not in keys and not is_told:
            is_told = True
            yield f"{where}: the instruction, or what it reads, is not what it was then"
        yield from (f"{where}: {text}" for text in _differences_of_layer(old, new, layers))
    if len(before) != len(after):
        yield f"it has {len(after)} layers, and had {len(before)}"


def _where(step: TracedStep) -> str:
    text = " ".join(step.text.split())
    return f"{step.span} ({text if len(text) <= MAX_TEXT else text[:MAX_TEXT] + '…'})"


def differences_of_config(before: bytes, after: bytes) -> Iterator[str]:
    """Yield what differs in the configurations besides the layers, which are told apart."""
    old, new = json.loads(before), json.loads(after)
    for document in (old, new):
        document.pop("rootfs", None)
    found = list(_differences_of_values(old, new, "configuration"))
    times = [path for path, _ in found if path.endswith("created")]
    yield from (f"{path} {what}" for path, what in found if path not in times)
    if times:
        more = f" (and {len(times) - 1} more times)" if len(times) > 1 else ""
        yield f"{times[0]}{more} is another: build with SOURCE_DATE_EPOCH"


def _differences_of_values(old: object, new: object, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(old, dict) and isinstance(new, dict):
        for name in sorted(old.keys() | new.keys()):
            yield from _differences_of_values(old.get(name), new.get(name), f"{path}.{name}")
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for number, pair in enumerate(zip(old, new, strict=True)):
            yield from _differences_of_values(*pair, f"{path}[{number}]")
    elif old != new:
        yield path, f"was {json.dumps(old)} and is {json.dumps(new)}"


def _differences_of_layer(old: LayerRef, new: LayerRef, layers: LayerStore) -> Iterator[str]:
    before, after = layers.ensure_index(old.diff_id, old.blob), layers.ensure_index(new.diff_id, new.blob)
    found = list(_paths(before, after))
    for path, first, second in found[:MAX_FILES]:
        yield f"{path}: {_reason(first, second, old, new, layers)}"
    if len(found) > MAX_FILES:
        yield f"and {len(found) - MAX_FILES} more files"
    if not found:
        yield "it holds the same files, packed in another order or form"


def _paths(before: LayerIndex, after: LayerIndex) -> Iterator[tuple[str, Entry | None, Entry | None]]:
    for path in sorted({entry.path for entry in (*before.entries, *after.entries)}):
        first, second = before.get(path), after.get(path)
        if first is None or second is None or first._replace(offset=0) != second._replace(offset=0):
            yield path, first, second


def _reason(first: Entry | None, second: Entry | None, old: LayerRef, new: LayerRef, layers: LayerStore) -> str:
    if first is None:
        return "it was not there"
    if second is None:
        return "it is no longer there"
    what = first_change(LayerIndex([first]), LayerIndex([second])).rpartition(" ")[2]
    if what == "content":
        return _reason_of_content(_content(layers, old, first), _content(layers, new, second))
    return TIMES if what == "time" else f"its {what or 'entry'} differs"


def _reason_of_content(old: bytes, new: bytes) -> str:
    """Say how two contents differ, as far as they were read."""
    position = next((at for at, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
    if old.startswith(GZIP) and 4 <= position < 8:
        return "gzip wrote a time into its head: use gzip -n"
    if old[2:4] == PYTHON_MAGIC and 8 <= position < 12:
        return (
            "compiled Python has the time of its source: use SOURCE_DATE_EPOCH, or --invalidation-mode unchecked-hash"
        )
    if sorted(old.splitlines()) == sorted(new.splitlines()):
        return "the same lines in another order: sort them"
    near = slice(max(0, position - AROUND), position + AROUND)
    if _DATE.search(old[near]) and _DATE.search(new[near]):
        return f"a date is embedded at byte {position}: take it from SOURCE_DATE_EPOCH"
    return f"its content differs from byte {position}"


def _content(layers: LayerStore, ref: LayerRef, entry: Entry) -> bytes:
    """Return the beginning of a file of a layer, by its place in the plain tar."""
    with layers.open_tar(ref.diff_id, ref.blob) as stream:
        left = max(entry.offset, 0)
        while left:
            skipped = len(stream.read(min(left, 1 << 20)))
            if not skipped:
                return b""
            left -= skipped
        return stream.read(min(entry.size, MAX_COMPARED_BYTES))
