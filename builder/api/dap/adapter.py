"""The adapter: requests of an editor in, responses and events out.

A build stops before a place (places.Place), and after its last step. What was made stays: a step back looks at layers
that are there, and so does the next step forward. All work is done in children; this process only listens.
"""

from __future__ import annotations

import os
import selectors
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tiffin.builder.api.build_options import BuildOptions
from tiffin.builder.api.dap import work
from tiffin.builder.api.dap.breakpoints import Breakpoints, lines_of
from tiffin.builder.api.dap.children import PAUSE, Child, Children
from tiffin.builder.api.dap.connection import Connection
from tiffin.builder.api.dap.evaluation import Evaluation
from tiffin.builder.api.dap.movement import THREAD, Movement
from tiffin.builder.api.dap.places import Place
from tiffin.builder.api.dap.position import Position
from tiffin.builder.api.dap.variables import Directory, References, scopes, variables_of_files
from tiffin.builder.api.session import Session
from tiffin.builder.errors import TiffinError, UsageError
from tiffin.builder.events import Sink
from tiffin.cache.foundation.frozen import dataclass

FAILED = "failed"  # the filter of exceptions
SOURCE = 1  # the reference of a Dockerfile that is no file of this machine
CAPABILITIES = {
    "supportsConfigurationDoneRequest": True,
    "supportsStepBack": True,
    "supportsRestartRequest": True,
    "supportsTerminateRequest": True,
    "supportsEvaluateForHovers": True,
    "supportsExceptionInfoRequest": True,
    "supportsBreakpointLocationsRequest": True,
    "exceptionBreakpointFilters": [{"filter": FAILED, "label": "Failed steps", "default": True}],
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What an editor launches: arguments by buildx's names, each "" where it gives none."""

    dockerfile: str = ""
    context: str = ""
    target: str = ""


Answer = dict[str, Any]
Handler = Callable[[Answer, Answer], "Answer | None"]  # of a request, and its arguments
LATER = None  # in the place of an answer that a child gives


class Adapter:
    """Serves one editor. `options_of` gives the options of the build; `sink_of` a sink that writes what happens to the
    editor's console; `terminal` are the words that open a terminal in a step, to which a file is added.
    """

    def __init__(
        self,
        incoming: int,
        outgoing: int,
        session: Session,
        options_of: Callable[[Launch], BuildOptions],
        sink_of: Callable[[Callable[[str], object]], Sink],
        terminal: Sequence[str],
    ) -> None:
        self._connection = Connection(incoming, outgoing)
        self._options_of = options_of
        self._selector = selectors.DefaultSelector()
        self._children = Children(session, self._selector)
        self._breakpoints = Breakpoints()
        self._references = References()
        self._movement = Movement(
            self._connection,
            self._children,
            self._breakpoints,
            self._references,
            sink_of(self._connection.written),
        )
        self._evaluation = Evaluation(self._children, self._connection.ask, terminal, session)
        self._launch: Mapping[str, Any] = {}
        self._is_configured = self._is_over = False
        self._handlers = self._handlers_by_command()

    def _handlers_by_command(self) -> dict[str, Handler]:
        return {
            "initialize": self._initialize,
            "launch": self._launched,
            "configurationDone": self._configured,
            "setBreakpoints": self._set_breakpoints,
            "breakpointLocations": self._locations,
            "setExceptionBreakpoints": self._set_exceptions,
            "threads": lambda request, given: {"threads": [{"id": THREAD, "name": self._name()}]},
            "stackTrace": self._stack,
            "scopes": self._scopes,
            "variables": self._variables,
            "source": self._source,
            "evaluate": self._evaluate,
            "exceptionInfo": self._exception,
            **{
                name: lambda request, given, name=name: self._moved(name)  # type: ignore[misc]
                for name in ("continue", "next", "stepIn", "stepOut", "stepBack", "reverseContinue", "pause")
            },
            "restart": self._restart,
            "terminate": self._terminate,
            "disconnect": self._disconnect,
        }

    def _moved(self, command: str) -> Answer:
        """Do what moves the build."""
        movement = self._movement
        if command == "pause":
            return movement.pause()
        at = movement.stopped.at
        match command:
            case "continue":
                return movement.go(self._breakpoints.next(at))
            case "stepOut":
                return movement.go(movement.end_of_stage(), "step")
            case "stepBack":  # from a failure to before its step
                return movement.back(at - (movement.here.problem is None), "step")
            case "reverseContinue":
                return movement.back(self._breakpoints.before(at) or 0)
            case _:
                return movement.go(at + 1, "step")

    # -- the loop ------------------------------------------------------------------------------------------------------

    def serve(self) -> int:
        """Serve until the editor is gone or the build is over; return the exit code. Raises UsageError for what is no
        message of the protocol.
        """
        self._selector.register(self._connection.incoming.fd, selectors.EVENT_READ, self._hear)
        try:
            while not self._connection.incoming.ended and not self._is_over:
                for key, _ in self._selector.select():
                    key.data()
        finally:
            self._children.end_all()
            self._evaluation.close()
            self._selector.close()
        return self._movement.exit_code

    def _hear(self) -> None:
        for message in self._connection.incoming.read():
            if message.get("type") == "request":
                self._take(message)

    def _take(self, request: Answer) -> None:
        command, given = str(request.get("command")), request.get("arguments") or {}
        handler = self._handlers.get(command)
        try:
            if handler is None:
                raise UsageError(f"tiffin dap knows no request {command}")
            body = handler(request, given)
            if body is not LATER:
                self._connection.respond(request, body)
        except TiffinError as exc:
            self._connection.refuse(request, exc.message, exc.remedy)
        except (ValueError, TypeError, LookupError) as exc:
            self._connection.refuse(request, f"the arguments of {command} are not understood: {exc}")

    # -- beginning and end ---------------------------------------------------------------------------------------------

    def _initialize(self, request: Answer, given: Answer) -> Answer:
        self._evaluation.use_terminals(has_any=bool(given.get("supportsRunInTerminalRequest")))
        return CAPABILITIES

    def _launched(self, request: Answer, given: Answer) -> None:
        self._launch = given
        self._movement.stop_at_failures(stops=not given.get("noDebug"))
        self._plan(request)

    def _plan(self, request: Answer) -> None:
        given = self._launch
        launch = Launch(
            dockerfile=str(given.get("dockerfile") or ""),
            context=str(given.get("contextPath") or ""),
            target=str(given.get("target") or ""),
        )
        options = self._options_of(launch)
        is_first = self._movement.position is None

        def ended(child: Child) -> None:
            if child.problem is not None:
                self._connection.refuse(request, child.problem.message, child.problem.remedy)
                self._movement.end(1)
                return
            position = Position(options, child.result)
            self._movement.plan(position)
            self._evaluation.give(options.secrets, options.ssh)
            for row in self._breakpoints.plan(position.places, child.result.path):
                self._connection.tell("breakpoint", reason="changed", breakpoint=row)
            self._connection.respond(request)
            if is_first:
                self._connection.tell("initialized")
            if self._is_configured:
                self._movement.begin(self._launch)

        self._children.begin(lambda session, teller: work.plan(options, session, teller), self._movement.heard, ended)

    def _configured(self, request: Answer, given: Answer) -> Answer:
        self._is_configured = True
        if self._movement.position is not None:
            self._connection.respond(request)
            self._movement.begin(self._launch)
            return LATER  # type: ignore[return-value]
        return {}

    def _restart(self, request: Answer, given: Answer) -> None:
        """Read the Dockerfile again, and begin anew: what did not change comes from the cache."""
        self._movement.halt()
        self._launch = given.get("arguments") or self._launch
        self._plan(request)

    def _terminate(self, request: Answer, given: Answer) -> Answer:
        self._connection.respond(request)
        self._movement.end(1)
        return LATER  # type: ignore[return-value]

    def _disconnect(self, request: Answer, given: Answer) -> Answer:
        self._connection.respond(request)
        self._is_over = True
        return LATER  # type: ignore[return-value]

    def _name(self) -> str:
        return (self._movement.position.options.target if self._movement.position is not None else "") or "build"

    # -- breakpoints ---------------------------------------------------------------------------------------------------

    def _set_breakpoints(self, request: Answer, given: Answer) -> Answer:
        source = given.get("source") or {}
        return {"breakpoints": self._breakpoints.set(str(source.get("path") or source.get("name")), lines_of(given))}

    def _set_exceptions(self, request: Answer, given: Answer) -> Answer:
        stops = FAILED in given.get("filters", ()) and not self._launch.get("noDebug")
        self._movement.stop_at_failures(stops=stops)
        return {}

    def _locations(self, request: Answer, given: Answer) -> Answer:
        first, last = int(given["line"]), int(given.get("endLine") or given["line"])
        places = self._movement.position.places if self._movement.position is not None else ()
        lines = sorted({place.span.first_line for place in places if first <= place.span.first_line <= last})
        return {"breakpoints": [{"line": line} for line in lines]}

    # -- looking -------------------------------------------------------------------------------------------------------

    def _stack(self, request: Answer, given: Answer) -> Answer:
        position = self._movement.stopped
        frames = [self._frame(position.at)]
        for index, number in position.planned.waiting(position.place.index):
            frames.append(
                self._frame(
                    next(n for n, place in enumerate(position.places) if (place.index, place.number) == (index, number))
                )
            )
        return {"stackFrames": frames, "totalFrames": len(frames)}

    def _frame(self, number: int) -> Answer:
        place = self._movement.here.places[number]
        span = place.span
        source = {"name": Path(span.path or span.file).name}
        source |= {"path": span.path} if span.path else {"sourceReference": SOURCE}  # type: ignore[dict-item]
        return {
            "id": number + 1,
            "name": place.name,
            "source": source,
            "line": span.first_line,
            "column": 1,
            "endLine": span.last_line,
        }

    def _place(self, frame: object) -> Place:
        position = self._movement.stopped
        number = int(str(frame)) - 1 if frame is not None else position.at
        if not 0 <= number < len(position.places):
            raise UsageError(f"there is no frame {frame}")
        return position.places[number]

    def _source(self, request: Answer, given: Answer) -> Answer:
        return {"content": self._movement.here.planned.source.decode("utf-8", "replace")}

    def _scopes(self, request: Answer, given: Answer) -> Answer:
        return {"scopes": scopes(self._movement.here, self._place(given["frameId"]), self._references)}

    def _variables(self, request: Answer, given: Answer) -> Answer:
        found = self._references.get(int(given["variablesReference"]))
        if not isinstance(found, Directory):
            return {"variables": found or []}

        def ended(child: Child) -> None:
            rows = (
                [{"name": "error", "value": child.problem.message, "variablesReference": 0}]
                if child.problem is not None
                else variables_of_files(child.result, found, self._references)
            )
            self._connection.respond(request, {"variables": rows})

        state = self._movement.stopped.state(found.place)
        self._children.begin(
            lambda session, teller: work.files(state, found.path, session, teller), lambda kind, value: None, ended
        )
        return LATER  # type: ignore[return-value]

    def _evaluate(self, request: Answer, given: Answer) -> None:
        position, place = self._movement.stopped, self._place(given.get("frameId"))

        def answer(text: str, is_wrong: bool) -> None:
            if is_wrong:
                self._connection.refuse(request, text)
            else:
                self._connection.respond(request, {"result": text, "variablesReference": 0})

        self._evaluation.evaluate(
            str(given["expression"]), str(given.get("context") or "repl"), position, place, answer
        )

    def _exception(self, request: Answer, given: Answer) -> Answer:
        problem = self._movement.stopped.problem
        if problem is None:
            raise UsageError("no step failed here")
        kind = f"exit code {problem.status}" if problem.status else "error"
        text = f"{problem.message}\n{problem.tail}" if problem.tail else problem.message
        return {"exceptionId": kind, "description": text, "breakMode": "always"}


def ignore_signals() -> None:
    """Leave the end of the editor to the end of its stream; children know what to do with PAUSE."""
    for number in (signal.SIGPIPE, PAUSE):
        signal.signal(number, signal.SIG_IGN)


def stream_pair() -> tuple[int, int]:
    """Return descriptors of stdin and stdout, which nothing else of the process reads or writes from now on."""
    incoming, outgoing = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    os.close(nothing)
    return incoming, outgoing
