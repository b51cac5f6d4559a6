"""The answer to a whole question as one more row: one request where a store has a request for each row.

A question is the keys of a build, so the next builder of the same asks the same. The answer may be older than the rows:
what it lacks is asked for row by row.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

MIN_QUESTION = 4  # rows; fewer are asked for at once
PARALLEL_ROWS = 16


def batch_key(names: Sequence[str]) -> str:
    """Return the name of the row that answers for all of `names`."""
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()


def read_rows(names: Sequence[str], read: Callable[[str], bytes | None]) -> dict[str, bytes]:
    """Return the rows of a question: those a stored answer to it has, the others one by one, many at a time.

    `read` reads one.
    """
    rows = answered(read(batch_key(names)), names) if len(names) >= MIN_QUESTION else {}
    missing = [name for name in names if name not in rows]
    if missing:
        with ThreadPoolExecutor(PARALLEL_ROWS, "cache rows") as pool:
            found = zip(missing, pool.map(read, missing), strict=True)
            rows.update((name, row) for name, row in found if row is not None)
    return rows


def answer(names: Sequence[str], rows: Mapping[str, bytes]) -> bytes:
    """Return the rows of a question as one."""
    return json.dumps({name: rows[name].decode() for name in names if name in rows}).encode()


def answered(data: bytes | None, names: Sequence[str]) -> dict[str, bytes]:
    """Return the rows that an answer has; nothing where it is none."""
    try:
        rows = json.loads(data or b"{}")
        return {name: rows[name].encode() for name in names if name in rows}
    except (ValueError, TypeError, AttributeError, RecursionError):
        return {}
