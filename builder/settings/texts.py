"""What texts from outside must be."""

from __future__ import annotations

from collections.abc import Sequence

from tiffin.builder.errors import UsageError


def need_text(texts: Sequence[str], flag: str) -> Sequence[str]:
    """Check that NAME=VALUE options are UTF-8: Python keeps other bytes as lone surrogates, which no document can
    hold.
    """
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError as exc:
            name = ascii(text.partition("=")[0]).strip("'")
            raise UsageError(f"{flag} {name}: the value is not UTF-8 text", remedy="write it in UTF-8") from exc
    return texts
