"""A list of lines of which only those on the screen are made: an image may have a hundred thousand files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

PLAIN = Style()
CHOSEN, CHOSEN_ELSEWHERE = Style(reverse=True), Style(bold=True, underline=True)
Line = tuple[str, Style]


class Rows(ScrollView, can_focus=True, inherit_bindings=False):
    """Lines with a cursor. Set `make` with `show`: it gives the text and the style of one line."""

    DEFAULT_CSS = "Rows { overflow-x: hidden; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        ("up,k", "move(-1)"),
        ("down,j", "move(1)"),
        ("pageup,ctrl+b", "page(-1)"),
        ("pagedown,ctrl+f", "page(1)"),
        ("home,g", "ends(0)"),
        ("end,G", "ends(1)"),
        ("enter", "choose"),
    ]

    class Moved(Message):
        """The cursor is at another line, or the lines are others."""

        def __init__(self, rows: Rows) -> None:
            super().__init__()
            self.rows = rows

        @property
        def control(self) -> Rows:
            return self.rows

    class Clicked(Moved):
        """It was clicked."""

    class Chosen(Moved):
        """Enter was pressed on the line of the cursor, or it was clicked again."""

    def __init__(self, id: str) -> None:
        super().__init__(id=id)
        self.cursor = 0
        self.count = 0
        self.skipped = 0  # cells of every line that are left of the screen
        self._make: Callable[[int, int], Line] = lambda _number, _width: ("", PLAIN)

    def show(self, count: int, make: Callable[[int, int], Line], cursor: int | None = None) -> None:
        """Have other lines: `make` gives number and width to text and style."""
        self.count, self._make = count, make
        self.virtual_size = Size(0, count)
        self.move_to(self.cursor if cursor is None else cursor)
        self.refresh()

    def show_texts(self, texts: Sequence[str]) -> None:
        """Have these lines."""
        self.show(len(texts), lambda number, _: (texts[number], PLAIN), 0)

    def shift(self, cells: int) -> bool:
        """Show what is further right, or left of it; return whether there was something left of it."""
        before = self.skipped
        self.skipped = max(0, before + cells)
        self.refresh()
        return before > 0 or cells > 0

    def move_to(self, number: int) -> None:
        """Put the cursor on a line, and that on the screen."""
        self.cursor = max(0, min(number, self.count - 1))
        self.scroll_to_region(Region(0, self.cursor, 1, 1), animate=False, force=True)
        self.refresh()
        self.post_message(self.Moved(self))

    def render_line(self, y: int) -> Strip:
        """Return one line of the screen."""
        width = self.scrollable_content_region.width
        number = y + self.scroll_offset.y
        if number >= self.count:
            return Strip.blank(width)
        text, style = self._make(number, width)
        if number == self.cursor:
            style += CHOSEN if self.has_focus else CHOSEN_ELSEWHERE
        strip = Strip([Segment(text, style)])
        if self.skipped:
            strip = strip.crop(self.skipped)
        if strip.cell_length > width:
            strip = Strip([*strip.crop(0, max(0, width - 1)), Segment("…", style)])
        return strip.extend_cell_length(width, style).crop(0, width)

    def action_move(self, step: int) -> None:
        """Go one line on."""
        self.move_to(self.cursor + step)

    def action_page(self, step: int) -> None:
        """Go one screen on."""
        self.move_to(self.cursor + step * max(1, self.size.height - 1))

    def action_ends(self, is_end: int) -> None:
        """Go to the first or the last line."""
        self.move_to(self.count - 1 if is_end else 0)

    def action_choose(self) -> None:
        """Tell that a line is chosen."""
        if self.count:
            self.post_message(self.Chosen(self))

    def on_click(self, event: events.Click) -> None:
        """Go to the line that is clicked; choose it where the cursor is there already."""
        self.post_message(self.Clicked(self))
        number = event.y + self.scroll_offset.y
        if number < self.count:
            was_there = number == self.cursor
            self.move_to(number)
            if was_there:
                self.action_choose()

    def on_resize(self) -> None:
        """Keep the cursor on the screen."""
        self.virtual_size = Size(0, self.count)
        self.scroll_to_region(Region(0, self.cursor, 1, 1), animate=False, force=True)

    def on_focus(self) -> None:
        """Show where the cursor is."""
        self.refresh()

    def on_blur(self) -> None:
        """Show that keys go elsewhere."""
        self.refresh()
