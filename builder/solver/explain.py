"""Why a step ran: what of its key differs from the nearest record there was before the build."""

from __future__ import annotations

import json
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from tiffin.builder.solver.step_keys import READS
from tiffin.cache.backend import MAX_PART_CHARACTERS, StepRecord
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.keys import KeyPart

MAX_NAMED = 5  # files, or variables, that are named; the rest is counted
MAX_LISTED = 20_000  # files of one listing; larger ones are not kept
SHOWN_CHARACTERS = 60
LISTING_PREFIX = "listing:"
FINGERPRINT_CHARACTERS = 16
Listing = Mapping[str, str]  # what a path is and holds, by path, as a short fingerprint


def encode_listing(listing: Listing) -> bytes:
    """Return a listing as it is kept."""
    return zlib.compress(json.dumps(listing).encode(), 1)


def decode_listing(data: bytes) -> Listing | None:
    """Return a listing, None for anything else."""
    try:
        value = json.loads(zlib.decompress(data))
    except (ValueError, zlib.error):
        return None
    return value if isinstance(value, dict) else None


class Explainer:
    """Compares steps with the records `known` before the build. `kept` gives what a build kept by name."""

    def __init__(self, known: Iterable[StepRecord], kept: Callable[[str], bytes | None]) -> None:
        self._by_text: dict[str, list[StepRecord]] = {}
        self._by_op: dict[str, list[StepRecord]] = {}
        self._kept = kept
        for record in known:
            if any(part.name == READS for part in record.parts):
                continue  # it has the step's result, and not what its key is made of
            self._by_text.setdefault(record.description, []).append(record)
            self._by_op.setdefault(_operation(record.parts), []).append(record)

    def reasons(
        self, text: str, parts: Sequence[KeyPart], below: Digest | None, listings: Mapping[str, Listing]
    ) -> list[str]:
        """Return in words, each naming a part that differs.

        `below` is the ChainID the step stands on, None if that is not known yet; `listings` holds what its inputs are
        now, by content digest.
        """
        nearest = self._nearest(text, parts)
        if nearest is None:
            return ["no record of such a step is known"]
        reasons = [
            reason
            for name in dict.fromkeys(part.name for part in (*nearest.parts, *parts))
            for reason in self._difference(name, _values(nearest.parts, name), _values(parts, name), listings)
        ]
        if not reasons:
            if below is None or nearest.parent_chain != below:
                reasons.append("what is below it changed")
            else:
                reasons.append("its layer is no longer available")
        return reasons

    def _nearest(self, text: str, parts: Sequence[KeyPart]) -> StepRecord | None:
        """Return the record with most parts in common, of those of the same text, else of the same kind; the newest of
        equals.
        """
        same_text = self._by_text.get(text, [])
        candidates = same_text or self._by_op.get(_operation(parts), [])
        wanted = Counter(_shortened(parts))

        def common(record: StepRecord) -> int:
            return (wanted & Counter(_shortened(record.parts))).total()

        best = max(candidates, key=lambda record: (common(record), record.created), default=None)
        if best is None or (not same_text and common(best) * 2 < len(parts)):
            return None
        return best

    def _difference(
        self, name: str, before: Sequence[str], now: Sequence[str], listings: Mapping[str, Listing]
    ) -> Iterable[str]:
        if before == now:
            return
        match name:
            case "env":
                changed = _changed_names(_pairs(before), _pairs(now))
                yield f"environment: {named(changed)}"
            case "content":
                for old, new in zip(before, now, strict=False):
                    if old != new:
                        yield self._files(old, new, listings)
            case "from":
                yield "the stage or image it copies from changed"
            case "mount":
                yield "its mounts changed"
            case _ if name.startswith("heredoc") or name == "script":
                yield "the text of its heredoc changed"
            case _:
                yield f"{name} was {_shown(before)}, is {_shown(now)}"

    def _files(self, before: str, now: str, listings: Mapping[str, Listing]) -> str:
        data = self._kept(LISTING_PREFIX + before)
        old, new = decode_listing(data) if data is not None else None, listings.get(now)
        if old is None or new is None:
            return "the content of its files changed"
        return f"files: {named(_changed_names(old, new))}"


def _operation(parts: Sequence[KeyPart]) -> str:
    return next((part.value for part in parts if part.name == "op"), "")


def _values(parts: Sequence[KeyPart], name: str) -> list[str]:
    return [part.value[:MAX_PART_CHARACTERS] for part in parts if part.name == name]


def _shortened(parts: Sequence[KeyPart]) -> list[tuple[str, str]]:
    return [(part.name, part.value[:MAX_PART_CHARACTERS]) for part in parts]


def _pairs(values: Sequence[str]) -> dict[str, str]:
    """Return the variables of an "env" part; one that was too long to be kept whole has none."""
    try:
        items = [str(item).partition("=") for text in values for item in json.loads(text)]
        return {name: value for name, _, value in items}
    except (ValueError, TypeError):
        return {}


def _changed_names(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    names = sorted({*before, *now})
    return [
        f"{name} {'changed' if name in before and name in now else 'is new' if name in now else 'is gone'}"
        for name in names
        if before.get(name) != now.get(name)
    ]


def named(items: Sequence[str]) -> str:
    """Return the first items in words, and how many more there are."""
    more = f" and {len(items) - MAX_NAMED} more" if len(items) > MAX_NAMED else ""
    return (", ".join(items[:MAX_NAMED]) or "no difference found") + more


def _shown(values: Sequence[str]) -> str:
    text = " ".join(values) or "nothing"
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"
