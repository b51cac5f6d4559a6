"""Python's `signal` with plain numbers: to make its enumerations takes 2 % of a small command."""

from __future__ import annotations

TYPE_CHECKING = False  # as in typing_shim, which nothing else may need

if TYPE_CHECKING:
    import signal as signal
else:
    try:
        import _signal as signal
    except ImportError:  # another Python than CPython
        import signal as signal
