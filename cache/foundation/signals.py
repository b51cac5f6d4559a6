"""Python's `signal` with plain numbers (to make its enumerations takes 2 % of a small command), and how long the main
thread waits without a look for signals.
"""

from __future__ import annotations

# A signal that comes between Python's own look and the system call that waits is not seen before that ends.
MAX_WAIT_SECONDS = 1.0
TYPE_CHECKING = False  # as in typing_shim, which nothing else may need

if TYPE_CHECKING:
    import signal as signal
else:
    try:
        import _signal as signal
    except ImportError:  # another Python than CPython
        import signal as signal
