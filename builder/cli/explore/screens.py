"""What covers the main screen: a file's content, what is wasted, help."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import ClassVar

from rich.style import Style
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from tiffin.builder.api.explore.contents import FileHead
from tiffin.builder.api.explore.image import WastedPath
from tiffin.builder.cli.explore.keys import HELP
from tiffin.builder.cli.explore.rows import PLAIN, Line, Rows
from tiffin.builder.errors import TiffinError
from tiffin.builder.plain_text import TAB_WIDTH, shown_name, size_text

FOUND = Style(bold=True)


class HelpScreen(ModalScreen[None]):
    """The keys."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape,q,question_mark,enter,space", "dismiss")]
    CSS = """
    HelpScreen { align: center middle; }
    #help { width: auto; max-width: 100%; height: auto; max-height: 100%; border: solid $primary; padding: 0 1;
        background: $surface; overflow: auto; }
    """

    def compose(self) -> ComposeResult:
        """Make what is on it."""
        yield Static(HELP, id="help", markup=False)


class ListScreen(ModalScreen[int | None]):
    """Lines in the whole terminal; it ends with the number of the one that is chosen."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape,q", "dismiss")]
    CSS = "#head { height: 1; text-style: bold; } #list { height: 1fr; }"

    def __init__(self, heading: str, lines: Sequence[str]) -> None:
        super().__init__()
        self._heading = heading
        self._lines = lines

    def compose(self) -> ComposeResult:
        """Make what is on it."""
        yield Static(self._heading, id="head", markup=False)
        yield Rows("list")

    def on_mount(self) -> None:
        """Fill it."""
        rows = self.query_one("#list", Rows)
        rows.show_texts(self._lines)
        rows.focus()

    def on_rows_chosen(self, event: Rows.Chosen) -> None:
        """End with it."""
        self.dismiss(event.rows.cursor)


class FileScreen(ModalScreen[None]):
    """What a file begins with; `read` gets it, in a thread of its own, as a layer may have to be read to there."""

    BINDINGS: ClassVar[list[BindingType]] = [
        ("escape,q", "dismiss"),
        ("right,l", "shift(1)"),
        ("left,h", "shift(-1)"),
        ("slash", "search"),
        ("n", "again(1)"),
        ("N", "again(-1)"),
    ]
    CSS = """
    #head { height: 1; text-style: bold; }
    #list { height: 1fr; }
    #note { height: 1; }
    #search { height: 1; border: none; display: none; }
    .asks#search { display: block; }
    """

    def __init__(self, path: str, read: Callable[[], FileHead]) -> None:
        super().__init__()
        self._path = shown_name(path)
        self._read = read
        self._lines: Sequence[str] = ()
        self._wanted = ""

    def compose(self) -> ComposeResult:
        """Make what is on it."""
        yield Static(self._path, id="head", markup=False)
        yield Rows("list")
        yield Input(id="search", placeholder="search", compact=True)
        yield Static("reading…", id="note", markup=False)

    def on_mount(self) -> None:
        """Begin to read."""
        self.query_one("#list", Rows).focus()
        threading.Thread(target=self._fetch, name="file", daemon=True).start()

    def _fetch(self) -> None:
        head: FileHead | TiffinError
        try:
            head = self._read()
        except TiffinError as exc:
            head = exc
        except OSError as exc:
            head = TiffinError(f"{self._path} cannot be read: {exc.strerror}")
        if self.is_attached and self.app.is_running:
            self.app.call_from_thread(self._fill, head)

    def _fill(self, head: FileHead | TiffinError) -> None:
        note = self.query_one("#note", Static)
        if isinstance(head, TiffinError):
            note.update(f"error: {head}")
            return
        self._lines = [shown_line(line) for line in head.lines]
        self.query_one("#list", Rows).show(len(self._lines), self._line, 0)
        kind = "text" if head.is_text else "no text"
        note.update(
            f"{kind}, {len(self._lines)} lines" + (f", {head.note}" if head.note else "") + "   Esc back, / search"
        )

    def _line(self, number: int, _width: int) -> Line:
        text = self._lines[number]
        return text, FOUND if self._wanted and self._wanted in text.casefold() else PLAIN

    def action_shift(self, step: int) -> None:
        """Show what is further right of long lines; left of their beginning is the list of files."""
        rows = self.query_one("#list", Rows)
        if not rows.shift(step * max(1, rows.size.width // 2)):
            self.dismiss()

    def action_search(self) -> None:
        """Ask for what to look for."""
        box = self.query_one("#search", Input)
        box.add_class("asks")
        box.focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Go to the first line that has it."""
        self._wanted = event.value.casefold()
        event.input.remove_class("asks")
        rows = self.query_one("#list", Rows)
        rows.focus()
        if not self._is_found(rows.cursor):
            self.action_again(1)

    def action_again(self, step: int) -> None:
        """Go to the next line that has it, around the end."""
        rows = self.query_one("#list", Rows)
        numbers = [(rows.cursor + step * more) % len(self._lines) for more in range(1, len(self._lines) + 1)]
        found = next(filter(self._is_found, numbers), None)
        if found is None:
            self.notify("not found", severity="warning", markup=False)
        else:
            rows.move_to(found)

    def _is_found(self, number: int) -> bool:
        return bool(self._wanted) and number < len(self._lines) and self._wanted in self._lines[number].casefold()


def shown_line(line: str) -> str:
    """Return a line of a file without anything that a terminal would obey."""
    return shown_name(line.removesuffix("\r").expandtabs(TAB_WIDTH))


def wasted_lines(paths: Sequence[WastedPath]) -> list[str]:
    """Return what is wasted as lines: bytes, copies, path."""
    return [f"{size_text(item.size):>7}  {item.copies:>3}  /{shown_name(item.path)}" for item in paths]
