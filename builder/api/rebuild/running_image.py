"""What runs of the image that was built last: one container after another."""

from __future__ import annotations

import contextlib
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tiffin.builder.api.compose.jobs import run_apart
from tiffin.builder.api.containers.lifecycle import stop
from tiffin.builder.api.session import Session
from tiffin.builder.errors import TiffinError
from tiffin.builder.events import NullSink, Sink
from tiffin.builder.sandbox.child import kernel

ID_FILE = "id"
STOP_SECONDS = 2  # before the command is killed, where the options of run do not say
END_SECONDS = 10.0  # for a client whose container has ended


class RunningImage:
    """The container of an image, replaced when there is another image; use it in `with`.

    `program` is what calls tiffin; `options` stand before the image in `tiffin run`, `command` after it. Output goes
    where this process's goes.
    """

    def __init__(
        self, session: Session, program: Sequence[str], options: Sequence[str], command: Sequence[str]
    ) -> None:
        self._session = session
        self._program = program
        self._options = options
        self._command = command
        self._stack = contextlib.ExitStack()
        self._id_file = Path()
        self._image = ""
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> RunningImage:
        self._id_file = self._stack.enter_context(self._session.state.scratch("watch")) / ID_FILE
        return self

    def __exit__(self, *_: object) -> None:
        with self._stack:
            self.stop()

    def replace(self, image: str) -> None:
        """Run `image` instead of what runs, unless that is a container of it which has not ended."""
        if image == self._image and self._process is not None and self._process.poll() is None:
            return
        self.stop()
        self._image = image
        own = ("run", "--rm", f"--stop-timeout={STOP_SECONDS}", f"--cidfile={self._id_file}")
        self._process = subprocess.Popen(
            [*self._program, *own, *self._options, image, *self._command], preexec_fn=_end_with_parent
        )

    def stop(self) -> None:
        """Stop what runs, as `tiffin stop` does."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            self._stop(process)
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()  # its container ends with it
            process.wait()
        self._id_file.unlink(missing_ok=True)

    def _stop(self, process: subprocess.Popen[bytes]) -> None:
        """Ask the container to end; where there is none yet, the client."""
        identity = self._id_file.read_text().strip() if self._id_file.exists() else ""
        if not identity:
            process.terminate()
            return

        def stop_it(session: Session, _: Sink) -> None:
            stop(identity, session)

        with contextlib.suppress(TiffinError):  # it has just ended, or will be killed
            run_apart(stop_it, self._session, NullSink())


def _end_with_parent() -> None:
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)  # a command need not care about SIGTERM
