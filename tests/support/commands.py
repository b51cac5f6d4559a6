"""The commands of tiffin in this process: no interpreter is started, nothing is entered, so none that runs programs."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import click
import pytest

from tests.fakes.launcher import FakeLauncher
from tests.support.tiers import NONE
from tiffin.builder.api.session import Session
from tiffin.builder.cli.app import app
from tiffin.builder.cli.output.errors import told
from tiffin.builder.errors import TiffinError
from tiffin.builder.sandbox.isolation import Isolation
from tiffin.builder.sandbox.launch import Launcher
from tiffin.cache.store.statedir import finish

NOTHING = Isolation(tier=NONE, refusal="it is a test", remedy="use another tier")


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str
    raw: bytes  # its stdout


@dataclass(slots=True)
class Commands:
    """Runs commands on one state directory.

    What would run in sandboxes goes to `launcher`, if `isolation` is a tier that runs any.
    """

    root: Path
    capture: pytest.CaptureFixture[bytes]
    monkeypatch: pytest.MonkeyPatch
    isolation: Isolation = NOTHING
    launcher: FakeLauncher = field(default_factory=FakeLauncher)

    def _session(self, root: str | None, _warn: Callable[[str], None]) -> Session:
        return _Session(root, self.isolation, self.launcher)

    def __call__(self, *words: str | Path, check: bool = True, stdin: bytes = b"") -> Done:
        self.capture.readouterr()
        self.monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        error, code = "", 0
        try:
            app(
                ["--root", str(self.root), *map(str, words)],
                prog_name="tiffin",
                standalone_mode=False,
                obj=self._session,
            )
        except TiffinError as exc:
            error, code = told(exc, os.environ), exc.exit_code
        except click.ClickException as exc:
            error, code = exc.format_message(), exc.exit_code
        except SystemExit as exc:
            code = exc.code if isinstance(exc.code, int) else 0
        finally:
            finish()
        sys.stdout.flush()
        said = self.capture.readouterr()
        done = Done(code=code, out=said.out.decode(errors="replace"), err=said.err.decode() + error, raw=said.out)
        assert not check or code == 0, done.err
        assert [item.name for item in (self.root / "tmp").iterdir()] == [] if (self.root / "tmp").exists() else True
        return done


class _Session(Session):
    """A session that enters no namespace."""

    def __init__(self, root: str | None, isolation: Isolation, launcher: FakeLauncher) -> None:
        super().__init__(root)
        self._given = isolation
        self._launcher = launcher

    def isolate(
        self,
        isolation: str | None,
        meanwhile: Callable[[Isolation], object] = lambda _: None,
        *,
        keep: tuple[int, int] | None = None,
    ) -> Isolation:
        return self._given

    def launch(self) -> Launcher:
        self._launcher.is_closed = False
        return self._launcher

    def launch_one(self, *, stays: bool = False) -> Launcher:
        return self.launch()
