"""The screens of tiffin explore, by keys, on a terminal that textual plays."""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Static

from tests.support.commands import Commands
from tests.support.minimal_image import write_image
from tiffin.builder.api.explore.image import explored
from tiffin.builder.api.session import Session
from tiffin.builder.cli.explore import app as app_module
from tiffin.builder.cli.explore import ask as ask_module
from tiffin.builder.cli.explore.app import ExploreApp
from tiffin.builder.cli.explore.progress import Progress
from tiffin.builder.cli.explore.rows import Rows
from tiffin.builder.errors import CorruptError, UsageError
from tiffin.builder.events import NullSink, Transfer
from tiffin.builder.settings.access import RegistryAccess

LOWER: dict[str, bytes | str | None] = {
    "etc/motd": "one\ntwo\x1b[2J\n\u202elast\n", "etc/gone": "x" * 3000, "loop": "-> loop", "lib": "-> usr/lib",
    "usr/lib/a.so": b"\x7fELF\0" * 900, "usr/lib/deep/er/leaf": "leaf", "new\nline\x1b]0;t\x07": "y",
    "big.log": "line\n" * 100_000,
}  # fmt: skip
UPPER: dict[str, bytes | str | None] = {"etc/motd": "new\n", "etc/.wh.gone": b"", "usr/lib/b.so": "B" * 10}
MOMENT = 0.02
Act = Callable[["Screen"], Awaitable[None]]


class Screen:
    """The app, and what it shows."""

    def __init__(self, app: ExploreApp, pilot: Pilot[BaseException | None]) -> None:
        self.app = app
        self.pilot = pilot

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.pilot.pause(2 * MOMENT)  # a filter, and another layer, are there after a moment

    def text(self, name: str) -> str:
        return str(self.app.screen.query_one(f"#{name}", Static).content)

    def lines(self, name: str = "files") -> list[str]:
        rows = self.app.screen.query_one(f"#{name}", Rows)
        shown = range(min(rows.size.height, rows.count))
        return ["".join(segment.text for segment in rows.render_line(y)).rstrip() for y in shown]

    def names(self) -> list[str]:
        """The paths that are listed, with their marks."""
        return [f"{line[0]}{line[39:].strip()}".strip() for line in self.lines()]


@pytest.fixture
def drive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    monkeypatch.setattr(app_module, "LAYER_SECONDS", MOMENT)
    monkeypatch.setattr(ask_module, "PAUSE_SECONDS", MOMENT)

    def run(act: Act, *, size: tuple[int, int] = (140, 40)) -> None:
        session = Session(tmp_path / "state")
        write_image(session.state.root, LOWER, UPPER, name="docker.io/library/app:1")
        progress = Progress(NullSink())

        async def body(app: ExploreApp) -> None:
            async with app.run_test(size=size) as pilot:
                for _ in range(100):
                    if "layer 2 of 2" in str(app.query_one("#state", Static).content):
                        break
                    await pilot.pause(0.05)
                await act(Screen(app, pilot))

        with explored("app:1", session, progress, RegistryAccess()) as image:
            asyncio.run(body(ExploreApp(image, progress)))

    return run


def test_layers_and_files(drive: Callable[..., None]) -> None:
    async def act(screen: Screen) -> None:
        assert "app:1" in screen.text("title") and "2 layers" in screen.text("title")
        first, second = screen.lines("layers")
        assert first.split()[:3] == ["1", "508kB", "3.02kB"] and second.split()[:2] == ["2", "14B"]
        assert screen.names()[:3] == [".▾ /", "big.log", ".▸ etc/"]
        assert "new\\x0aline\\x1b]0;t\\x07" in "\n".join(screen.lines())
        await screen.press("down", "down", "right")
        assert screen.names()[2:5] == [".▾ etc/", "-gone", "~motd"]
        assert "drwxr-xr-x" in screen.lines()[2] and "0:0" in screen.lines()[2]
        await screen.press("down", "down")
        assert "changed: content" in screen.text("about") and "from layer 2" in screen.text("about")
        await screen.press("tab", "up")
        assert screen.names()[2:5] == ["+▾ etc/", "+gone", "+motd"] and "wasted" in screen.lines()[3]
        assert "sha256:" in screen.text("about")
        await screen.press("q")
        assert screen.app.return_value is None

    drive(act)


def test_filters_search_and_sorting(drive: Callable[..., None]) -> None:
    async def act(screen: Screen) -> None:
        await screen.press("equals_sign")
        assert screen.names() == [".▾ /", ".▾ etc/", "-gone", "~motd", ".▾ usr/", ".▾ lib/", "+b.so"]
        await screen.press("minus", "plus")
        assert [name for name in screen.names() if name[0] in "+-~"] == ["~motd"]
        assert "only changed" in screen.text("state")
        await screen.press("escape", "f", *"lib *.SO")
        assert [name for name in screen.names() if ".so" in name] == ["a.so", "+b.so"]
        await screen.press("enter")
        assert 'filter "lib *.SO"' in screen.text("state")
        await screen.press("escape", "f", *">100kB", "enter")
        assert screen.names() == [".▾ /", "big.log"]
        await screen.press("escape", "c", "slash", *"leaf", "enter")
        assert "/usr/lib/deep/er/leaf" in screen.text("about")
        await screen.press("slash", *"motd", "enter", "n", "N")
        assert screen.text("about").startswith("/etc/motd")
        await screen.press("slash", *"nowhere", "enter", "f", "x", "escape", "escape", "s", "c")
        assert screen.names()[:3] == [".▾ /", "big.log", ".▸ usr/"] and "by size" in screen.text("state")
        await screen.press("e", "home", "left")
        assert screen.names() == [".▸ /"]
        await screen.press("enter", "end", "space", "pageup", "pagedown", "h", "w")
        assert "only wasted" in screen.text("state")

    drive(act)


@pytest.mark.thorough
def test_contents(drive: Callable[..., None]) -> None:
    async def content(screen: Screen, name: str) -> list[str]:
        await screen.press("slash", *name, "enter", "enter")
        for _ in range(100):
            if screen.text("note") != "reading…":
                break
            await screen.pilot.pause(0.02)
        return screen.lines("list")

    async def act(screen: Screen) -> None:
        assert await content(screen, "a.so") and screen.lines("list")[0].endswith(" .ELF..ELF..ELF..")
        assert screen.text("note").startswith("no text, 256 lines, the first 4096 of 4500 bytes")
        await screen.press("escape")
        await content(screen, "big.log")
        assert "the first 262144 of 500000 bytes" in screen.text("note")
        await screen.press("left")
        assert await content(screen, "gone") == ["x" * 139 + "…"]  # of the layer below: this one removed it
        await screen.press("right", "right")
        (line,) = screen.lines("list")
        assert len(line) == 140
        await screen.press(*["right"] * 42)
        assert screen.lines("list") == [""]
        await screen.press("left", "left", "left")
        assert screen.lines("list") == ["x" * (3000 - 41 * 70)]
        await screen.press("escape", "tab", "up", "tab")
        assert await content(screen, "motd") == ["one", "two\\x1b[2J", "\\u202elast"]
        await screen.press("slash", *"LAST", "enter")
        assert screen.app.screen.query_one("#list", Rows).cursor == 2
        await screen.press("n", "slash", *"none", "enter", "left")
        await screen.press("slash", *"lib", "enter", "enter")
        assert screen.text("about").startswith("/usr/lib\n")
        await screen.press("slash", *"loop", "enter", "enter")  # which leads nowhere
        assert screen.text("about").startswith("/loop\n")

    drive(act)


def test_what_is_wasted_and_help(drive: Callable[..., None]) -> None:
    async def act(screen: Screen) -> None:
        await screen.press("W")
        assert screen.lines("list") == ["    3kB    1  /etc/gone", "    20B    1  /etc/motd"]
        await screen.press("down", "enter")
        assert "layer 1 of 2" in screen.text("state") and screen.text("about").startswith("/etc/motd")
        await screen.press("d")
        assert "".join(screen.lines("list")).startswith("/etc/motdfile -rw-r--r-- 0:0 20 bytes")
        await screen.press("escape", "W", "escape", "question_mark")
        assert "unfold all" in screen.text("help")
        await screen.press("escape", "ctrl+c")

    drive(act)


@pytest.mark.thorough
@pytest.mark.parametrize("size", [(60, 12), (20, 4), (3, 2), (79, 24)])
def test_a_narrow_terminal_has_one_side(drive: Callable[..., None], size: tuple[int, int]) -> None:
    async def act(screen: Screen) -> None:
        def shown() -> list[bool]:
            return [bool(screen.app.screen.query_one(f"#{name}").display) for name in ("left", "right")]

        assert shown() == [False, True]
        await screen.press("tab")
        assert shown() == [True, False]
        await screen.press("tab", "down")
        assert shown() == [False, True]
        await screen.pilot.resize_terminal(120, 40)
        await screen.pilot.pause(0.1)
        assert shown() == [True, True]

    drive(act, size=size)


def test_the_mouse(drive: Callable[..., None]) -> None:
    async def act(screen: Screen) -> None:
        await screen.pilot.click("#files", offset=(60, 2))
        await screen.pilot.pause()
        assert screen.text("about").startswith("/etc\n")
        await screen.pilot.click("#files", offset=(60, 2))
        await screen.pilot.pause(0.1)
        assert screen.names()[3:5] == ["-gone", "~motd"]
        await screen.pilot.click("#layers", offset=(5, 0))
        await screen.pilot.pause(0.1)
        assert "layer 1 of 2" in screen.text("state")

    drive(act)


def test_a_layer_that_is_damaged_ends_it(tmp_path: Path) -> None:
    session = Session(tmp_path / "state")
    write_image(session.state.root, LOWER, name="docker.io/library/app:1")
    for blob in (session.state.root / "images/blobs/sha256").iterdir():
        if blob.read_bytes()[:2] == b"\x1f\x8b":
            blob.write_bytes(blob.read_bytes()[:-50])
    progress = Progress(NullSink())

    async def body(app: ExploreApp) -> None:
        async with app.run_test() as pilot:
            await pilot.pause(1)

    with explored("app:1", session, progress, RegistryAccess()) as image:
        app = ExploreApp(image, progress)
        asyncio.run(body(app))
        assert isinstance(app.return_value, CorruptError)


def test_progress() -> None:
    progress = Progress(NullSink())
    assert progress.told(1, 500) == "waiting 500B"
    progress.reached(1, False)
    progress.emit(Transfer(key="k", label="pull", done_bytes=100, total_bytes=500))
    assert progress.told(1, 500) == "100B / 500B"
    progress.emit(Transfer(key="k", label="pull", done_bytes=500, total_bytes=500, finished=True))
    assert progress.told(1, 500) == "reading 500B 0s"
    progress.reached(1, True)
    assert progress.told(1, 500) == "read 500B"
    progress.leave()
    with pytest.raises(KeyboardInterrupt):
        progress.emit(Transfer(key="k", label="pull", done_bytes=1, total_bytes=2))


def test_it_needs_a_terminal_and_textual(tiffin_here: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    done = tiffin_here("explore", "base", check=False)
    assert done.code == 2 and "explore needs a terminal" in done.err and "tiffin report" in done.err

    class Tty(io.StringIO):
        def isatty(self) -> bool:
            return True

    from tiffin.builder.cli.commands.explore import ExploreArguments, explore

    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, Tty())
    line = ExploreArguments()
    monkeypatch.setenv("TERM", "dumb")
    with pytest.raises(UsageError, match="TERM is dumb"):
        explore(Session(tiffin_here.root), line)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setitem(sys.modules, "tiffin.builder.cli.explore.app", None)
    for name in [name for name in sys.modules if name.split(".")[0] == "textual"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "tiffin.builder.cli.explore.app")
    with pytest.raises(UsageError, match="explore needs the package textual") as raised:
        explore(Session(tiffin_here.root), line)
    assert raised.value.remedy == 'pip install "tiffin[explore]"'
