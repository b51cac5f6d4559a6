"""The main screen of tiffin explore: layers left, files right."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from textwrap import wrap
from typing import TypeVar

from rich.style import Style
from textual import events
from textual.app import App, ComposeResult
from textual.containers import Horizontal, Vertical
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import Static

from tiffin.builder.api.explore.image import ExploredImage, Waste
from tiffin.builder.api.explore.tree import ADDED, CHANGED, REMOVED, SAME, FileNode, find, follow
from tiffin.builder.cli.explore.ask import FILTER, SEARCH, AskLine
from tiffin.builder.cli.explore.details import about_file, about_layer, file_line, title_text, told_of
from tiffin.builder.cli.explore.files import FileList, number_of
from tiffin.builder.cli.explore.keys import KEYS
from tiffin.builder.cli.explore.progress import Progress
from tiffin.builder.cli.explore.rows import PLAIN, Line, Rows
from tiffin.builder.cli.explore.screens import FileScreen, HelpScreen, ListScreen, wasted_lines
from tiffin.builder.cli.explore.signals import Signals
from tiffin.builder.plain_text import shown_name, size_text

STYLES = {ADDED: Style(color="green"), CHANGED: Style(color="yellow"), REMOVED: Style(color="red"), SAME: PLAIN}
TOUCHED = Style(bold=True)
W = TypeVar("W", bound=Widget)
NARROW = 80  # columns for both sides; with less there is one at a time
REFRESH_SECONDS = 0.2
LAYER_SECONDS = 0.1  # on a layer, before its files are listed: a large one takes a second


class ExploreApp(App[BaseException | None]):
    """Looks through an image; ends with what went wrong, None for nothing."""

    ENABLE_COMMAND_PALETTE = False
    BINDINGS = KEYS
    CSS = """
    Screen { layout: vertical; }
    #title { height: 1; text-style: bold; }
    #sides { height: 1fr; }
    #left { width: 40%; border-right: solid $primary; }
    #right { width: 1fr; }
    #layers { height: 2fr; }
    #files { height: 1fr; }
    #about { height: 1fr; min-height: 4; border-top: solid $primary; overflow: auto; }
    #state { height: 1; }
    #ask { height: 1; border: none; }
    .gone { display: none; }
    .alone #left { width: 100%; border-right: none; }
    """

    def __init__(self, image: ExploredImage, progress: Progress) -> None:
        super().__init__()
        self._image = image
        self._progress = progress
        self._waste: Waste | None = None
        self._files: FileList | None = None
        self._lines: Sequence[tuple[FileNode, int]] = ()
        self._layer = len(image.layers)
        self._side = "layers"  # that has the keys
        self._soon: Timer | None = None
        self._wanted = ""
        self.signals = Signals()

    # -- what is on the screen -----------------------------------------------------------------------------------------

    def compose(self) -> ComposeResult:
        """Make what is on it."""
        yield Static(id="title", markup=False)
        with Horizontal(id="sides"):
            with Vertical(id="left"):
                yield Rows("layers")
                yield Static(id="about", markup=False)
            with Vertical(id="right"):
                yield Rows("files")
        yield AskLine()
        yield Static(id="state", markup=False)

    def on_mount(self) -> None:
        """Begin to read tables."""
        self._title()
        layers = self._rows("layers")
        layers.show(len(self._image.layers), self._layer_line, self._layer - 1)
        layers.focus()
        self._fit(self.size.width)
        self._ticking = self.set_interval(REFRESH_SECONDS, self._tick)
        threading.Thread(target=self._read, name="explore", daemon=True).start()
        self.signals.watch(self.action_quit_now)

    def on_unmount(self) -> None:
        """Have signals do again what they did."""
        self.signals.restore()

    def on_resize(self, event: events.Resize) -> None:
        """Have one side alone where there is no room for two."""
        self._fit(event.size.width)

    def _fit(self, width: int) -> None:
        is_narrow = width < NARROW
        self._main("#sides", Horizontal).set_class(is_narrow, "alone")
        self._main("#left", Vertical).set_class(is_narrow and self._side != "layers", "gone")
        self._main("#right", Vertical).set_class(is_narrow and self._side != "files", "gone")

    def _focus_side(self, name: str) -> None:
        """Give the keys to the layers or to the files."""
        self._side = name
        self._fit(self.size.width)
        self.screen_stack[0].set_focus(self._rows(name))
        self._tell()

    def _main(self, name: str, kind: type[W]) -> W:
        """Return a part of the main screen, whatever covers it."""
        return self.screen_stack[0].query_one(name, kind)

    def _rows(self, name: str) -> Rows:
        return self._main(f"#{name}", Rows)

    def _text(self, name: str) -> Static:
        return self._main(f"#{name}", Static)

    def _title(self) -> None:
        self._text("title").update(title_text(self._image, self._waste))

    def _layer_line(self, number: int, _width: int) -> Line:
        layer = self._image.layers[number]
        if self._waste is None:
            told = self._progress.told(layer.number, layer.packed_bytes)
            return f"{layer.number:>3} {told:>21}  {shown_name(layer.origin.shown)}", PLAIN
        size, wasted = self._waste.sizes[number], self._waste.wasted[number]
        sizes = f"{size_text(size):>7} {size_text(wasted) if wasted else '':>7}"
        return f"{layer.number:>3} {sizes}  {shown_name(layer.origin.shown)}", PLAIN

    def _file_line(self, number: int, width: int) -> Line:
        node, depth = self._lines[number]
        files, waste = self._files, self._waste
        assert files is not None and waste is not None
        text = file_line(
            node,
            depth,
            is_open=files.is_open(node),
            width=width,
            is_wasted=(node.layer, node.entry.path) in waste.hidden,
        )
        return text, TOUCHED if node.mark == SAME and node.touched else STYLES[node.mark]

    def _tell(self) -> None:
        """Say what is listed, and what the cursor is on."""
        files = self._files
        if files is None:
            self._text("state").update(self._progress.summary(self._image.layers) + "   q quit, ? keys")
            return
        told = [f"layer {self._layer} of {len(self._image.layers)}", *told_of(files), f"{len(self._lines)} lines"]
        self._text("state").update(", ".join(told) + "   ? keys, q quit")
        self._text("about").update(self._about(is_file=self._side == "files"))

    def _about(self, *, is_file: bool) -> str:
        node = self._node() if is_file else None
        return (
            about_layer(self._image.layers[self._layer - 1]) if node is None else about_file(node, self._image.layers)
        )

    def _node(self) -> FileNode | None:
        """Return the path that the cursor is on."""
        number = self._rows("files").cursor
        return self._lines[number][0] if number < len(self._lines) else None

    # -- tables and trees, in threads ----------------------------------------------------------------------------------

    def _tick(self) -> None:
        self._rows("layers").refresh()
        self._tell()

    def _read(self) -> None:
        try:
            self._image.read_tables(self._progress.reached, lambda: self._progress.is_wanted)
            if not self._progress.is_wanted:
                return
            waste = self._image.waste()
            tree = self._image.tree(self._layer)
        except BaseException as exc:  # told where the command ends
            self._later(self.exit, exc)
            return
        self._later(self._show_all, waste, tree)

    def _later(self, call: object, *args: object) -> None:
        """Have the screen's own thread do it, if there is a screen still."""
        if self.is_running:
            self.call_from_thread(call, *args)  # type: ignore[arg-type]

    def _show_all(self, waste: Waste, tree: FileNode) -> None:
        self._ticking.stop()
        self._waste, self._files = waste, FileList(tree)
        self._title()
        self._rows("layers").refresh()
        self._list(None)
        if self._image.layers:
            self._choose_layer(self._rows("layers").cursor + 1)
            self._focus_side("files")

    def _choose_layer(self, number: int) -> None:
        """Show what there is up to a layer; folding and filters stay."""
        if self._files is None or number == self._layer:
            return
        self._layer = number
        node = self._node()
        self._files.use(self._image.tree(number))
        self._list(self._files.nearest(node.path) if node is not None else None)

    def _list(self, at: FileNode | None) -> None:
        """List the files anew, the cursor on a path, or on the nearest above it that is listed."""
        assert self._files is not None
        self._lines = self._files.lines()
        self._rows("files").show(len(self._lines), self._file_line, number_of(self._lines, at))
        self._tell()

    def _go_to(self, node: FileNode) -> None:
        assert self._files is not None
        self._files.reveal(node)
        self._list(node)
        self._focus_side("files")

    def _again(self) -> None:
        """List the files by other filters, the cursor on the path that it is on."""
        self._list(self._node())

    # -- keys ----------------------------------------------------------------------------------------------------------

    def on_rows_clicked(self, event: Rows.Clicked) -> None:
        """Follow a click into the other list."""
        if event.rows.id in ("layers", "files"):
            self._focus_side(event.rows.id)

    def on_rows_moved(self, event: Rows.Moved) -> None:
        """Show what the cursor is on."""
        if event.rows.id == "layers" and event.rows.count:
            if self._soon is not None:
                self._soon.stop()
            self._soon = self.set_timer(LAYER_SECONDS, lambda: self._choose_layer(self._rows("layers").cursor + 1))
        if event.rows.id in ("layers", "files"):
            self._tell()

    def on_rows_chosen(self, event: Rows.Chosen) -> None:
        """Open what the cursor is on."""
        if event.rows.id == "layers":
            self.action_other_side()
            return
        node = self._node() if event.rows.id == "files" else None
        if node is None or self._files is None:
            return
        if node.children:
            self.action_fold_one()
        elif node.entry.kind == "symlink":
            self._follow(node)
        elif node.entry.kind in ("file", "hardlink"):
            self.push_screen(FileScreen(node.path, lambda: self._image.head(node)))

    def _follow(self, node: FileNode) -> None:
        """Go where a link leads."""
        assert self._files is not None
        target = follow(self._files.root, node)
        if target is None:
            self.notify(f"{shown_name(node.entry.link)} is not there", severity="warning", markup=False)
        else:
            self._go_to(target)

    def action_other_side(self) -> None:
        """Go to the other list."""
        if len(self.screen_stack) == 1:
            self._focus_side("layers" if self._side == "files" else "files")

    def action_fold_one(self) -> None:
        """Fold or unfold a directory."""
        node = self._node()
        if self._files is not None and node is not None and self._files.toggle(node):
            self._again()

    def action_open(self, is_open: bool) -> None:
        """Unfold a directory, or fold it; from what is folded go to the directory that it is in."""
        node = self._node()
        if self._files is None or node is None or self._side != "files":
            return
        if node.children and self._files.is_open(node) != is_open:
            self.action_fold_one()
        elif not is_open and node.parent is not None:
            self._rows("files").move_to(number_of(self._lines, node.parent))

    def action_fold(self, is_open: bool) -> None:
        """Unfold all, or fold all."""
        if self._files is not None:
            self._files.open_all(is_open=is_open)
            self._again()

    def action_mark(self, mark: str) -> None:
        """List or leave out what has a mark."""
        if self._files is not None:
            self._files.toggle_mark(mark)
            self._again()

    def action_only_wasted(self) -> None:
        """List only what is wasted, or all again."""
        if self._files is not None and self._waste is not None:
            self._files.toggle_wasted(self._waste.hidden)
            self._again()

    def action_everything(self) -> None:
        """Leave nothing out."""
        if self._files is not None:
            self._files.leave_nothing_out()
            node = self._node()
            if node is not None:
                self._files.reveal(node)
            self._again()

    def action_sort(self) -> None:
        """Sort by size, or by name."""
        if self._files is not None:
            self._files.toggle_order()
            self._again()

    def action_all_wasted(self) -> None:
        """List all that is wasted; the one that is chosen is shown in its layer."""
        if self._waste is None:
            return
        waste = self._waste

        def go(number: int | None) -> None:
            if number is None or not waste.paths:
                return
            chosen = waste.paths[number]
            self._rows("layers").move_to(chosen.layer - 1)
            self._choose_layer(chosen.layer)
            assert self._files is not None
            node = find(self._files.root, chosen.path)
            if node is not None:
                self._go_to(node)

        heading = f"wasted {size_text(sum(waste.wasted))}: bytes, copies, path   Enter shows it, Esc back"
        self.push_screen(ListScreen(heading, wasted_lines(waste.paths)), go)

    def action_details(self) -> None:
        """Show all that is known of what the cursor is on, where the panel has no room for it."""
        text = self._about(is_file=self._side == "files")
        lines = [part for line in text.splitlines() for part in wrap(line, self.size.width) or [""]]
        self.push_screen(ListScreen("details   Esc back", lines))

    def action_help(self) -> None:
        """Show the keys."""
        self.push_screen(HelpScreen())

    def action_quit_now(self) -> None:
        """End."""
        self._progress.leave()
        self.exit(None)

    # -- search and filter ---------------------------------------------------------------------------------------------

    def action_ask(self, what: str) -> None:
        """Ask what to look for, or what to list."""
        if self._files is not None:
            self.query_one(AskLine).ask(what, self._files.text if what == FILTER else "")

    def on_ask_line_left(self) -> None:
        """Go back to the files."""
        self._focus_side("files")

    def on_ask_line_answered(self, event: AskLine.Answered) -> None:
        """Filter, or go to what was looked for."""
        if event.is_over:
            self._focus_side("files")
        if event.what == SEARCH:
            self._wanted = event.text
            self.action_search(1)
        elif self._files is not None and event.text != self._files.text:
            self._files.filter(event.text)
            self._again()

    def action_search(self, step: int) -> None:
        """Go to the next path that has what was looked for."""
        node = self._node()
        if self._files is None or node is None or not self._wanted:
            return
        found = self._files.next_match(self._wanted, node, step)
        if found is None:
            self.notify(f"nothing has {shown_name(self._wanted)}", severity="warning", markup=False)
        else:
            self._go_to(found)
