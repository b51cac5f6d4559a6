"""GitHub's jobs: groups in the log, annotations beside files, the page of a job's results (workflow commands).

The runner takes a line that begins with `::`, or has `##[` anywhere, for a command. Text that has either is written
with commands stopped, until a token that the text cannot know.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from tiffin.builder.cli.output.plain.sections import SectionRenderer
from tiffin.builder.errors import BuildError, DockerfileError, DockerfileErrors, Span, TiffinError
from tiffin.builder.events import BuildFinished, WarningMessage
from tiffin.builder.plain_text import size_text

SUMMARY = "GITHUB_STEP_SUMMARY"
WANTS_SUMMARY = "DOCKER_BUILD_SUMMARY"  # of docker's own action, which writes one itself
SLOWEST = 10  # steps in a summary
_COMMAND = re.compile(rb"(?m)^[^\x21-\x7e]*::|##\[")


def github_renderer(stream: BinaryIO, environ: Mapping[str, str]) -> SectionRenderer:
    """Return what writes progress in a job of GitHub."""
    return SectionRenderer(stream, GitHubLog(environ), colours=not environ.get("NO_COLOR"))


class GitHubLog:
    """The log of one step of a job."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def begin(self, number: int, title: str) -> bytes:
        return _command("group", {}, title)

    def end(self, number: int) -> bytes:
        return _command("endgroup", {}, "")

    def safe(self, lines: bytes) -> bytes:
        return without_commands(lines)

    def annotate(self, event: WarningMessage) -> bytes:
        file, _, line = event.where.rpartition(":")
        if not file or not line.isdecimal():
            return b""
        place = {"file": _in_workspace(event.path or file, self._environ), "line": line, "title": event.rule}
        return _command("warning", place, event.message)

    def finish(self, event: BuildFinished, steps: Sequence[tuple[str, float]]) -> None:
        slowest = sorted(steps, key=lambda step: -step[1])[:SLOWEST]
        lines = ["### tiffin build", "", "| | |", "|---|---|"]
        lines += [f"| image | {_code(name)} |" for name in event.names]
        if event.digest:
            lines += [f"| digest | {_code(event.digest)} |", f"| size | {size_text(event.size_bytes)} |"]
        lines += [f"| time | {event.seconds:.1f}s |", f"| from a cache | {event.cached_steps} of {event.steps} steps |"]
        if slowest:
            lines += ["", "| step that ran | time |", "|---|---|"]
            lines += [f"| {_code(name)} | {seconds:.1f}s |" for name, seconds in slowest]
        append_summary("\n".join(lines), self._environ)


def without_commands(text: bytes) -> bytes:
    """Return lines so that the runner takes none of them for a command."""
    if not _COMMAND.search(text):
        return text
    token = os.urandom(16).hex()
    end = b"" if text.endswith(b"\n") else b"\n"
    return b"%s%s%s::%s::\n" % (_command("stop-commands", {}, token), text, end, token.encode())


def annotated(error: TiffinError, text: str, environ: Mapping[str, str]) -> str:
    """Return `text`, which tells an error, after what shows it beside the lines that it is about."""
    spans = [(one.span, one.message) for one in _located(error) if one.span is not None]
    commands = b"".join(_command("error", _place(span, environ), message) for span, message in spans)
    if spans:
        append_summary(f"### tiffin build failed\n\n<pre>{_html(text)}</pre>", environ)
    return (commands + without_commands(text.encode("utf-8", "replace"))).decode().removesuffix("\n")


def _located(error: TiffinError) -> Sequence[BuildError | DockerfileError]:
    match error:
        case DockerfileErrors():
            return error.errors
        case BuildError() | DockerfileError():
            return (error,)
        case _:
            return ()


def _place(span: Span, environ: Mapping[str, str]) -> dict[str, str]:
    return {
        "file": _in_workspace(span.path or span.file, environ),
        "line": str(span.first_line),
        "endLine": str(span.last_line),
        "title": "tiffin build",
    }


def _in_workspace(file: str, environ: Mapping[str, str]) -> str:
    """Return the path as the repository has it."""
    workspace = environ.get("GITHUB_WORKSPACE", "")
    path = Path(file).resolve()
    root = Path(workspace).resolve()
    return str(path.relative_to(root)) if workspace and path.is_relative_to(root) else file


def append_summary(text: str, environ: Mapping[str, str]) -> None:
    """Add to the page of the job's results; that there is none, or that it cannot be written, ends no build."""
    path = environ.get(SUMMARY, "")
    if not path or environ.get(WANTS_SUMMARY, "").lower() in ("false", "0"):
        return
    try:
        with Path(path).open("a", encoding="utf-8", errors="replace") as file:
            file.write(text + "\n\n")
    except OSError:
        return


def _code(text: str) -> str:
    return f"<code>{_html(text).replace('|', '&#124;')}</code>"


def _html(text: str) -> str:
    from html import escape

    return escape(text)


def _command(name: str, properties: Mapping[str, str], data: str) -> bytes:
    """Return a workflow command, escaped as GitHub's toolkit does."""
    given = ",".join(f"{key}={_escape_property(value)}" for key, value in properties.items() if value)
    return f"::{name}{' ' if given else ''}{given}::{_escape(data)}\n".encode("utf-8", "replace")


def _escape(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _escape_property(text: str) -> str:
    return _escape(text).replace(":", "%3A").replace(",", "%2C")
