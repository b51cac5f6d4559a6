"""Which answers of servers pass, and the failures that another try may mend."""

from __future__ import annotations

RETRIED = frozenset({429, 500, 502, 503, 504})
REDIRECTS = frozenset({301, 302, 303, 307, 308})


class Unreachable(Exception):
    """No answer, or one that may be another soon; `again` if another try may get it, after what `retry_after` says;
    `is_late` if the request may have arrived all the same."""

    def __init__(
        self, message: str, remedy: str, *, again: bool, is_late: bool = False, retry_after: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.again = again
        self.is_late = is_late
        self.retry_after = retry_after
