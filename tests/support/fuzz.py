"""How hard Hypothesis looks: as each test says, or FUZZ_EXAMPLES random examples of each. With FUZZ_QUICK (ci/check) a
fifth of what it says; ci/test looks as hard as it says.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

QUICK_SHARE, QUICK_LEAST = 5, 20


def examples(count: int) -> int:
    """Return how many of `count` examples to try."""
    return max(QUICK_LEAST, count // QUICK_SHARE) if os.environ.get("FUZZ_QUICK") else count


def fuzzing(max_examples: int) -> settings:
    """The same `max_examples` examples every time, unless FUZZ_EXAMPLES asks for another number of random ones."""
    asked = os.environ.get("FUZZ_EXAMPLES", "")
    return settings(
        max_examples=int(asked or examples(max_examples)),
        derandomize=not asked,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


def texts(max_size: int) -> st.SearchStrategy[str]:
    """Any text that has bytes; what Hypothesis means by text() takes seconds to find out what UTF-8 can encode."""
    return st.text(st.characters(exclude_categories=["Cs"]), max_size=max_size)
