"""Going through the places of a build: forward by making steps, back by looking at what was made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tiffin.builder.api.dap import work
from tiffin.builder.api.dap.breakpoints import Breakpoints
from tiffin.builder.api.dap.children import PAUSE, Child, Children, Paused, Problem
from tiffin.builder.api.dap.connection import Connection
from tiffin.builder.api.dap.position import Position
from tiffin.builder.api.dap.variables import References
from tiffin.builder.errors import CANCELED, UsageError
from tiffin.builder.events import Sink, StepFailed, StepStarted

THREAD = 1  # the only one
Answer = dict[str, Any]


class Movement:
    """Where a build stands, and how it moves. `references` are forgotten when it does; `sink` is told what happens."""

    def __init__(
        self, connection: Connection, children: Children, breakpoints: Breakpoints, references: References, sink: Sink
    ) -> None:
        self._connection = connection
        self._children = children
        self._breakpoints = breakpoints
        self._references = references
        self._sink = sink
        self._moving: Child | None = None  # makes steps
        self._is_finishing = False
        self._failed_label = ""
        self._names: dict[int, str] = {}
        self.position: Position | None = None
        self.stops_at_failures = False
        self.exit_code = 0

    @property
    def here(self) -> Position:
        """Return where it stands. Raises UsageError before it is launched."""
        if self.position is None:
            raise UsageError("nothing is launched")
        return self.position

    @property
    def stopped(self) -> Position:
        """Return where it has stopped. Raises UsageError where it has not."""
        if self._moving is not None or self.here.at < 0:
            raise UsageError("the build is not stopped")
        return self.here

    def begin(self, launch: Mapping[str, Any]) -> None:
        """Begin, and stop at once or at the first breakpoint, as the arguments of the launch say."""
        position = self.here
        if launch.get("noDebug"):
            self._move(None)
        elif launch.get("stopOnEntry"):
            position.go_to(0)
            self._stop("entry")
        else:
            self._move(self._breakpoints.next(-1))

    def end(self, code: int) -> None:
        """Tell the editor that the build is over; it disconnects then."""
        self._children.end_all()
        self._moving, self.exit_code = None, code
        self._connection.tell("terminated")
        self._connection.tell("exited", exitCode=code)

    def go(self, to: int | None, reason: str = "breakpoint") -> Answer:
        """Go to a place, None for the end of the build. Raises UsageError where it is not stopped."""
        position = self.stopped
        if position.problem is not None or position.at == position.end:
            self._finish() if position.problem is None else self.end(1)
            return {"allThreadsContinued": True}
        self._move(to, reason)
        return {"allThreadsContinued": True}

    def back(self, to: int, reason: str = "breakpoint") -> Answer:
        """Go back to a place. Raises UsageError where it is not stopped."""
        position = self.stopped
        position.go_to(max(0, to))
        self._stop("entry" if position.at == 0 and reason != "step" else reason)
        return {}

    def end_of_stage(self) -> int:
        """Return the first place of another stage."""
        position = self.stopped
        index = position.place.index
        later = range(position.at + 1, len(position.places))
        return next((number for number in later if position.places[number].index != index), position.end)

    def _move(self, to: int | None, reason: str = "breakpoint") -> None:
        """Make what lies before a place, and stop there; None: go to the end, and finish."""
        position = self.here
        target = position.end if to is None else to
        if reason == "step":  # a breakpoint on the way is none if it is where the step ends
            target = min(target, self._breakpoints.next(position.at) or target)
        stops = position.stops(target)
        self._is_finishing = False
        self._references.clear()

        def ended(child: Child) -> None:
            self._moving = None
            if child.problem is not None:
                self._failed(child.problem)
                return
            position.go_to(target)
            if to is None:
                self._finish()
            else:
                self._stop("breakpoint" if self._breakpoints.at(target) and reason != "step" else reason)

        if not stops:
            position.go_to(target)
            self._finish() if to is None else self._stop(reason)
            return
        self._failed_label = ""
        known = dict(position.known)
        options = position.options
        self._moving = self._children.begin(
            lambda session, teller: work.advance(options, stops, known, session, teller), self.heard, ended
        )

    def _finish(self) -> None:
        """Build the image and write the outputs."""
        options = self.here.options
        self._is_finishing = True

        def ended(child: Child) -> None:
            self._moving = None
            if child.problem is not None:
                self._failed(child.problem)
                return
            self._connection.written(f"{child.result}\n", "console")
            self.end(0)

        self._moving = self._children.begin(
            lambda session, teller: work.finish(options, session, teller), self.heard, ended
        )

    def plan(self, position: Position) -> None:
        """Stand before another plan."""
        self.position = position

    def stop_at_failures(self, *, stops: bool) -> None:
        """Stop where a step fails, or end there."""
        self.stops_at_failures = stops

    def halt(self) -> None:
        """End what is being done."""
        self._children.end_all()
        self._moving = None
        self._references.clear()

    def _failed(self, problem: Problem) -> None:
        position = self.here
        if problem.message == Paused().message:
            position.go_to(position.first_open())
            self._stop("pause")
            return
        where = f"{problem.span}: " if problem.span is not None else ""
        self._connection.written(f"error: {where}{problem.message}\n", "stderr")
        if not self.stops_at_failures:
            self.end(1)
            return
        position.go_to(position.place_of(self._failed_label, problem), problem)
        self._stop("exception", text=problem.message)

    def pause(self) -> Answer:
        """Stop before the next step, once what runs has ended."""
        if self._moving is not None and not self._is_finishing:
            self._moving.kill(PAUSE)
        return {}

    def _stop(self, reason: str, text: str = "") -> None:
        found = self._breakpoints.at(self.here.at) if reason == "breakpoint" else []
        body = {"hitBreakpointIds": found} if found else {}
        if text:
            body |= {"description": "A step failed", "text": text}  # type: ignore[dict-item]
        self._connection.tell("stopped", reason=reason, threadId=THREAD, allThreadsStopped=True, **body)

    def heard(self, kind: str, value: Any) -> None:
        """Take what a child tells."""
        position = self.position
        if kind == "made" and position is not None:
            position.learn(*value)
        elif kind == "known" and position is not None:
            position.known.update(value)
        elif kind == "event":
            if isinstance(value, StepStarted):
                self._names[value.step_id] = value.name
            elif isinstance(value, StepFailed) and value.message != CANCELED:
                self._failed_label = self._names.get(value.step_id, "")
            self._sink.emit(value)
