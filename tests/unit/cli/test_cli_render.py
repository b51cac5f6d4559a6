"""Progress: plain lines, JSON lines, nothing, and the live view on a terminal."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tiffin.builder.cli.output.plain.step_lines import MAX_LINE_BYTES, NONE
from tiffin.builder.cli.output.render import (
    JsonRenderer,
    PlainRenderer,
    QuietRenderer,
    make_renderer,
)
from tiffin.builder.cli.output.renderer import Renderer
from tiffin.builder.events import (
    Event,
    InfoMessage,
    StepCached,
    StepFailed,
    StepFinished,
    StepOutput,
    StepStarted,
    Transfer,
    WarningMessage,
)
from tiffin.builder.plain_text import plain_line, plain_lines, size_text

SHOW_CURSOR, HIDE_CURSOR = b"\x1b[?25h", b"\x1b[?25l"
BUILD: tuple[Event, ...] = (
    StepCached(step_id=1, name="[stage 1/2] FROM base"),
    StepStarted(step_id=2, name="[stage 2/2] RUN make"),
    StepOutput(step_id=2, stream=1, data=b"one\ntw"),
    StepOutput(step_id=2, stream=2, data=b"error\r\n"),
    StepOutput(step_id=2, stream=1, data=b"o\nlast"),
    StepFinished(step_id=2, seconds=1.25),
    StepStarted(step_id=3, name="[stage 3/3] RUN false"),
    StepFailed(step_id=3, seconds=0.1, message="exit code: 1"),
    WarningMessage(message="careful", where="Dockerfile:3"),
    InfoMessage(message="pushed\nit"),
)


def plain(*events: Event) -> str:
    stream = io.BytesIO()
    renderer = PlainRenderer(stream)
    for event in events:
        renderer.emit(event)
    return stream.getvalue().decode("latin-1")


def test_plain_lines_are_those_of_buildkit() -> None:
    assert re.sub(r"#(\d) \d\.\d{3} ", r"#\1 T ", plain(*BUILD)).split("\n") == [
        "#1 [stage 1/2] FROM base",
        "#1 CACHED",
        "",
        "#2 [stage 2/2] RUN make",
        "#2 T one",
        "#2 T error",
        "#2 T two",
        "#2 T last",
        "#2 DONE 1.2s",
        "",
        "#3 [stage 3/3] RUN false",
        "#3 ERROR: exit code: 1",
        "warning: Dockerfile:3: careful",
        "pushed it",
        "",
    ]


def test_plain_passes_bytes_through() -> None:
    raw = b"\xff\xfe \x1b[31mred\x1b[0m 10%\r20%"
    shown = plain(StepStarted(step_id=1, name="x"), StepOutput(step_id=1, stream=1, data=raw + b"\n"))
    assert shown.encode("latin-1").endswith(raw + b"\n")


def test_plain_has_no_control_characters_where_there_is_no_terminal() -> None:
    stream = io.BytesIO()
    renderer = PlainRenderer(stream, NONE)
    renderer.emit(StepStarted(step_id=1, name="RUN \x1b[31mx\x07"))
    renderer.emit(StepOutput(step_id=1, stream=1, data=b"\xff \x1b[31mred\x1b[0m\t10%\r20%\xc2\x9b1m\xe2\x80\xae\r\n"))
    renderer.emit(InfoMessage(message="\x1b[2Jdone"))
    shown = re.sub(rb" \d\.\d{3} ", b" T ", stream.getvalue())
    assert shown == b"#1 RUN x\n#1 T 20%\ndone\n"


def test_plain_shows_a_line_without_end_in_parts() -> None:
    shown = plain(StepStarted(step_id=1, name="x"), StepOutput(step_id=1, stream=1, data=b"y" * (MAX_LINE_BYTES + 1)))
    assert shown.count("y") == MAX_LINE_BYTES + 1


def test_plain_tells_transfers_at_a_modest_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    stream = io.BytesIO()
    renderer = PlainRenderer(stream)
    for step in range(41):
        now = step / 10
        renderer.emit(Transfer(key="k", label="pull x", done_bytes=step * 1_000_000, total_bytes=40_000_000))
    renderer.emit(Transfer(key="k", label="pull x", done_bytes=40_000_000, total_bytes=40_000_000, finished=True))
    renderer.emit(
        Transfer(key="m", label="push y", done_bytes=5, total_bytes=None, finished=True, note="already there")
    )
    assert stream.getvalue().decode().splitlines() == [
        "pull x 10MB / 40MB",
        "pull x 20MB / 40MB",
        "pull x 30MB / 40MB",
        "pull x 40MB / 40MB",
        "pull x 40MB done",
        "push y 5B already there",
    ]


def test_json_is_one_object_a_line() -> None:
    stream = io.BytesIO()
    renderer = JsonRenderer(stream)
    for event in BUILD:
        renderer.emit(event)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["type"] for line in lines] == [
        *("step_cached", "step_started", "step_output", "step_output", "step_output", "step_finished"),
        *("step_started", "step_failed", "warned", "noted"),
    ]
    assert all(isinstance(line.pop("time"), float) for line in lines)
    assert lines[1] == {"type": "step_started", "step_id": 2, "name": "[stage 2/2] RUN make"}
    assert lines[3] == {"type": "step_output", "step_id": 2, "stream": 2, "data": "error\r\n"}


def test_json_keeps_characters_that_were_cut_and_replaces_what_is_no_text() -> None:
    stream = io.BytesIO()
    renderer = JsonRenderer(stream)
    for data in ("ä".encode()[:1], "ä".encode()[1:] + b"\xff.", b"\n"):
        renderer.emit(StepOutput(step_id=1, stream=1, data=data))
    assert "".join(json.loads(line)["data"] for line in stream.getvalue().splitlines()) == "ä\ufffd.\n"


def test_quiet_tells_warnings_only() -> None:
    stream = io.BytesIO()
    renderer = QuietRenderer(stream)
    for event in BUILD:
        renderer.emit(event)
    assert stream.getvalue() == b"warning: Dockerfile:3: careful\n"


class Closed(io.BytesIO):
    def write(self, _: object) -> int:
        raise BrokenPipeError


@pytest.mark.parametrize("kind", [PlainRenderer, JsonRenderer, QuietRenderer])
def test_sink_never_raises(kind: type[PlainRenderer]) -> None:
    renderer = kind(Closed())
    for event in BUILD:
        renderer.emit(event)


@pytest.mark.parametrize("kind", [PlainRenderer, JsonRenderer])
def test_lines_of_many_threads_stay_whole(kind: type[PlainRenderer]) -> None:
    stream = io.BytesIO()
    renderer = kind(stream)

    def work(number: int) -> None:
        for _ in range(200):
            renderer.emit(StepOutput(step_id=number, stream=1, data=b"%d" % number * 50 + b"\n"))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = stream.getvalue().decode().splitlines()
    assert len(lines) == 800
    if kind is PlainRenderer:
        assert all(re.fullmatch(r"#(\d) 0\.000 \1{50}", line) for line in lines)
    else:
        assert all(json.loads(line) for line in lines)


@pytest.mark.parametrize(
    ("progress", "kind"),
    [("auto", PlainRenderer), ("tty", PlainRenderer), ("plain", PlainRenderer), ("json", JsonRenderer)],
)
def test_renderer_where_there_is_no_terminal(progress: str, kind: type[Renderer]) -> None:
    with io.TextIOWrapper(io.BytesIO()) as stream:
        assert type(make_renderer(progress, stream)) is kind


# -- plain text ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("plain ä 漢", "plain ä 漢"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("a\x1b[2Jb\x1b[10;20Hc\x1b[?1049h", "abc"),
        ("\x1b]0;title\x07x", "x"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1bPq#0;2\x1b\\x", "x"),
        ("\x1bc\x1b(Bx\x1b7", "x"),
        ("\x9b31mx\x9d0;t\x07y", "xy"),
        ("10%\r 20%\r", "20%".rjust(4)),
        ("bell\x07\x08\x00", "bell"),
        ("a\tb", "a       b"),
        ("\x1b", ""),
        ("\x1b[", ""),
        ("rtl\u202eabc", "rtlabc"),
    ],
)
def test_control_sequences_are_taken_out(text: str, wanted: str) -> None:
    assert plain_line(text) == wanted


def test_nothing_that_controls_a_terminal_is_left() -> None:
    for code in {*range(0x20), *range(0x7F, 0xA0)} - {ord("\n")}:
        for tail in ("", "[", "[1", "]0;x", "P", "c"):
            shown = plain_line(f"a{chr(code)}{tail}\x1b{tail}")
            assert all(character.isprintable() for character in shown), (code, tail)


def test_blank_lines_are_left_out() -> None:
    assert plain_lines("a\n\n\x1b[0m\nb\n") == ["a", "b"]


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0B"), (999, "999B"), (1000, "1kB"), (1_234_567, "1.23MB"), (7 * 10**12, "7TB")]
)
def test_size_text(size: int, text: str) -> None:
    assert size_text(size) == text


# -- the live view ---------------------------------------------------------------------------------------------------


@contextmanager
def terminal(columns: int = 80, lines: int = 24, **env: str) -> Iterator[tuple[Renderer, list[bytes]]]:
    """A live renderer on a pseudo-terminal, and all it writes (after the block)."""
    outer, inner = pty.openpty()
    output: list[bytes] = []

    def collect() -> None:
        while True:
            try:
                data = os.read(outer, 65536)
            except OSError:
                return
            output.append(data)

    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("NO_COLOR", raising=False)
        for name, value in {"TERM": "xterm-256color", "COLUMNS": str(columns), "LINES": str(lines), **env}.items():
            patch.setenv(name, value)
        thread = threading.Thread(target=collect)
        with open(inner, "w", buffering=1) as stream:
            thread.start()
            renderer = make_renderer("auto", stream)
            assert type(renderer).__name__ == "LiveRenderer"
            yield renderer, output
        thread.join(10)
        os.close(outer)


def progress_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "progress"]


def test_live_view_shows_steps_and_ends_clean() -> None:
    with terminal() as (renderer, output), renderer:
        for event in BUILD[:3]:
            renderer.emit(event)
        time.sleep(0.3)  # two redraws
        for event in BUILD[3:]:
            renderer.emit(event)
    shown = b"".join(output)
    text = re.sub(rb"\x1b\[[0-9;?]*[a-zA-Z]", b"", shown).decode()
    assert re.search(r"\[\+\] Building \d\.\ds \(1/2\)", text)
    assert "=> CACHED [stage 1/2] FROM base" in text
    assert "=> [stage 2/2] RUN make  1.2s" in text
    assert "=> ERROR [stage 3/3] RUN false" in text
    assert "   one" in text
    assert "warning: Dockerfile:3: careful" in text
    assert shown.count(HIDE_CURSOR) == shown.count(SHOW_CURSOR) > 0
    assert shown.rindex(SHOW_CURSOR) > shown.rindex(HIDE_CURSOR)
    assert progress_threads() == []


@pytest.mark.parametrize("exc", [KeyboardInterrupt, SystemExit, ValueError])
def test_cursor_comes_back_however_it_ends(exc: type[BaseException]) -> None:
    with terminal() as (renderer, output), pytest.raises(exc), renderer:
        renderer.emit(StepStarted(step_id=1, name="x"))
        raise exc
    shown = b"".join(output)
    assert shown.rindex(SHOW_CURSOR) > shown.rindex(HIDE_CURSOR)


def test_no_thread_is_left_between_steps() -> None:
    """A user namespace can only be entered by a process with one thread."""
    with terminal() as (renderer, _), renderer:
        assert progress_threads() == []
        for number in range(3):
            renderer.emit(StepStarted(step_id=number, name="x"))
            assert len(progress_threads()) == 1
            renderer.emit(StepFinished(step_id=number, seconds=0.1))
            deadline = time.monotonic() + 2
            while progress_threads():
                assert time.monotonic() < deadline
                time.sleep(0.001)


def test_output_of_steps_cannot_control_the_terminal() -> None:
    hostile = b"\x1b[2J\x1b[?1049h\x1b]0;owned\x07\x1bc" + "\x9b5n".encode() + b"after\n"
    with terminal() as (renderer, output), renderer:
        renderer.emit(StepStarted(step_id=1, name="name \x1b[31m\x1b]0;t\x07"))
        renderer.emit(StepOutput(step_id=1, stream=1, data=hostile))
        time.sleep(0.3)
        renderer.emit(StepFailed(step_id=1, seconds=0, message="\x1b[2J"))
        renderer.emit(InfoMessage(message="\x1b[2J"))
    shown = b"".join(output)
    for sequence in (b"\x1b[2J", b"\x1b[?1049h", b"\x1b]0", b"\x1bc", b"5n", b"\x07"):
        assert sequence not in shown
    assert b"after" in shown


@pytest.mark.parametrize(("columns", "lines"), [(20, 5), (40, 24), (200, 50)])
def test_live_view_stays_within_the_screen(columns: int, lines: int) -> None:
    with terminal(columns, lines) as (renderer, output), renderer:
        for number in range(3):
            renderer.emit(StepStarted(step_id=number, name=f"[stage {number}] RUN " + "long " * 60))
            for row in range(10):
                renderer.emit(StepOutput(step_id=number, stream=1, data=b"output %d " % row * 40 + b"\n"))
        renderer.emit(Transfer(key="t", label="pull " + "x" * 100, done_bytes=5, total_bytes=10))
        time.sleep(0.3)
    frames = re.split(rb"\x1b\[2K", b"".join(output))
    text = re.sub(rb"\x1b\[[0-9;?]*[a-zA-Z]", b"", b"".join(frames)).decode()
    assert max(len(line) for line in re.split(r"[\r\n]+", text)) <= columns


def test_transfers_have_bars_where_there_is_room() -> None:
    for columns, bars in ((100, True), (50, False)):
        with terminal(columns) as (renderer, output), renderer:
            renderer.emit(Transfer(key="t", label="pull abc", done_bytes=5_000_000, total_bytes=10_000_000))
            time.sleep(0.3)
            renderer.emit(
                Transfer(key="t", label="pull abc", done_bytes=10_000_000, total_bytes=10_000_000, finished=True)
            )
        text = b"".join(output).decode()
        assert "5MB / 10MB" in text
        assert ("━" in text) is bars


def test_no_color_is_honoured() -> None:
    for no_color, coloured in (("", True), ("1", False)):
        with terminal(NO_COLOR=no_color) as (renderer, output), renderer:
            for event in BUILD:
                renderer.emit(event)
        assert bool(re.search(rb"\x1b\[[0-9;]*3[0-7]m", b"".join(output))) is coloured


def test_dumb_terminal_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    outer, inner = pty.openpty()
    with open(inner, "w") as stream:
        assert type(make_renderer("auto", stream)) is PlainRenderer
    os.close(outer)
