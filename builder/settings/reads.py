"""Whether steps are found by what they read, and how often that is checked: options of a line, then the configuration
file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from tiffin.builder.errors import UsageError
from tiffin.builder.settings.config_file import config_path, table_of

CACHE_READS, VERIFY_READS = "cache-reads", "verify-reads"
NAMES = (CACHE_READS, VERIFY_READS)


def reads_options(environ: Mapping[str, str], *, is_asked_for: bool, verify: str) -> tuple[bool, float]:
    """Return whether all RUN steps are looked for by what they read, and the percentage of those found so that runs
    again; `verify`: that percentage as text, "" for what the configuration says. Raises UsageError.
    """
    path = config_path(environ)
    table = table_of(path, "build") if path is not None else {}
    for name, value in table.items():
        if name not in NAMES or not isinstance(value, (bool if name == CACHE_READS else (int, float))):
            raise UsageError(
                f"{path}: build.{name} is not understood", remedy="write cache-reads = true, verify-reads = 5"
            )
    if verify:
        percent = percentage(verify, "--verify-reads ")
    else:
        percent = percentage(str(table.get(VERIFY_READS, 0)), f"{path}: build.verify-reads ")
    return is_asked_for or bool(verify) or bool(table.get(CACHE_READS, False)), percent


def percentage(text: str, what: str) -> float:
    """Parse a percentage such as 5, 2.5 or 5%; raises UsageError beginning with `what`."""
    number = text.removesuffix("%")
    if not re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,6})?", number) or float(number) > 100:
        raise UsageError(f"{what}{text} is not a percentage", remedy="write a number from 0 to 100")
    return float(number)
