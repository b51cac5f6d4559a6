"""Signals that end the command: an exception in the middle of asyncio's loop would be lost."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from typing import Any

ENDING = (signal.SIGTERM, signal.SIGHUP)


class Signals:
    """Those that came while it watched: `received` is the last one, 0 for none."""

    def __init__(self) -> None:
        self.received = 0
        self._before: dict[int, Any] = {}

    def watch(self, told: Callable[[], None]) -> None:
        """Call `told` in the running loop when one comes, until `restore`."""

        def note(number: int) -> None:
            self.received = number
            told()

        for number in ENDING:
            if signal.getsignal(number) != signal.SIG_IGN:  # nohup stays nohup
                self._before[number] = signal.getsignal(number)
                asyncio.get_running_loop().add_signal_handler(number, note, number)

    def restore(self) -> None:
        """Have signals do again what they did before."""
        for number, handler in self._before.items():
            asyncio.get_running_loop().remove_signal_handler(number)
            signal.signal(number, handler)
