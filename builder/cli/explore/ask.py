"""The line at the bottom that asks what to look for, or what to list."""

from __future__ import annotations

from textual import events
from textual.message import Message
from textual.timer import Timer
from textual.widgets import Input

SEARCH, FILTER = "search", "filter"
PAUSE_SECONDS = 0.15  # after the last key
HINT = "words, patterns (*.so), sizes (>10MB); Enter, Esc"


class AskLine(Input):
    """Hidden until it asks; what is typed for a filter is told at once, else with Enter."""

    class Answered(Message):
        """`text` was typed for `what`; `is_over`: the line is hidden again."""

        def __init__(self, what: str, text: str, *, is_over: bool) -> None:
            super().__init__()
            self.what = what
            self.text = text
            self.is_over = is_over

    class Left(Message):
        """Esc was pressed."""

    def __init__(self) -> None:
        super().__init__(id="ask", compact=True)
        self._asked_for = SEARCH
        self._pause: Timer | None = None
        self.display = False

    def ask(self, what: str, text: str) -> None:
        """Show it, with a text to begin with."""
        self._asked_for = what
        self.placeholder = f"{what}: {HINT}"
        self.display = True
        self.value = text
        self.screen.set_focus(self)  # at once: the next key is for it

    def on_input_changed(self) -> None:
        """Tell what is typed for a filter, once there is a pause."""
        if self._pause is not None:
            self._pause.stop()
        if self.display and self._asked_for == FILTER:
            self._pause = self.set_timer(PAUSE_SECONDS, lambda: self._answer(is_over=False))

    def on_input_submitted(self) -> None:
        """Tell what was typed, and be gone."""
        self._answer(is_over=True)

    def on_key(self, event: events.Key) -> None:
        """Be gone with Esc."""
        if event.key == "escape":
            event.stop()
            self.display = False
            self.post_message(self.Left())

    def _answer(self, *, is_over: bool) -> None:
        if not self.display:
            return
        if self._pause is not None:
            self._pause.stop()
        self.display = not is_over
        self.post_message(self.Answered(self._asked_for, self.value.strip(), is_over=is_over))
