"""What GitHub's runner makes of a log: which lines are commands, and which of them it obeys (actions/runner)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

KNOWN = ("group", "endgroup", "error", "warning", "notice", "debug", "add-mask", "set-output", "save-state", "echo",
    "add-matcher", "remove-matcher", "set-env", "add-path")  # fmt: skip


@dataclass(slots=True)
class Command:
    """One that the runner obeyed."""

    name: str
    properties: dict[str, str]
    data: str


@dataclass(slots=True)
class Runner:
    """Reads lines as the runner does."""

    obeyed: list[Command] = field(default_factory=list)
    shown: list[str] = field(default_factory=list)
    _token: str = ""

    def read(self, log: str) -> Runner:
        for line in re.split(r"\r\n|\r|\n", log):
            self._line(line)
        return self

    def _line(self, line: str) -> None:
        found = re.match(r"\s*::([^ :]+)(?: (.*?))?::(.*)", line) or re.search(r"##\[([^ \]]+)(?: (.*?))?\](.*)", line)
        name = found[1].lower() if found else ""
        if self._token:
            if name == self._token:
                self._token = ""
            else:
                self.shown.append(line)
        elif found and name == "stop-commands":
            self._token = found[3]
        elif found and name in KNOWN:
            pairs = (pair.partition("=") for pair in (found[2] or "").split(",") if pair)
            self.obeyed.append(Command(name, {key: _plain(value) for key, _, value in pairs}, _plain(found[3])))
        else:
            self.shown.append(line)


def _plain(text: str) -> str:
    for token, code in ((":", "%3A"), (",", "%2C"), ("\r", "%0D"), ("\n", "%0A"), ("%", "%25")):
        text = text.replace(code, token)
    return text
