"""What is asked in an editor's console, or of a word in the file: commands, variables, files."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack

from tiffin.builder.api.dap import work
from tiffin.builder.api.dap.children import Child, Children
from tiffin.builder.api.dap.places import Place
from tiffin.builder.api.dap.position import Position
from tiffin.builder.api.dap.variables import environment_of, text_of
from tiffin.builder.api.session import Session
from tiffin.builder.api.steps.debug import DebugOptions
from tiffin.builder.instructions.base import DEFAULT_SHELL
from tiffin.builder.value_bytes import encode

EXEC = "exec"  # buildx's word: a terminal in the step
ON_COMMAND_LINE = ("repl", "")
Reply = Callable[[str, bool], None]  # a text, and whether it says what is wrong


class Evaluation:
    """Evaluates. `ask` asks the editor; `terminal` are the words that open a terminal, to which a file is added."""

    def __init__(
        self,
        children: Children,
        ask: Callable[[str, dict[str, object]], None],
        terminal: Sequence[str],
        session: Session,
    ) -> None:
        self._children = children
        self._ask = ask
        self._terminal = terminal
        self._session = session
        self._stack = ExitStack()
        self._files = 0
        self._has_terminal = False
        self._secrets: Mapping[str, bytes] = {}
        self._ssh: tuple[str, ...] = ()

    def use_terminals(self, *, has_any: bool) -> None:
        """Take note whether the editor opens terminals."""
        self._has_terminal = has_any

    def give(self, secrets: Mapping[str, bytes], ssh: tuple[str, ...]) -> None:
        """Give steps their secrets and ssh agents."""
        self._secrets, self._ssh = secrets, ssh

    def close(self) -> None:
        """Remove what terminals were told."""
        self._stack.close()

    def evaluate(self, expression: str, context: str, position: Position, place: Place, reply: Reply) -> None:
        """Evaluate an expression at a place: on the command line a command, elsewhere a variable or a path."""
        text = expression.strip()
        if context not in ON_COMMAND_LINE:
            self._look(text, position, place, reply)
        elif text == EXEC:
            self._open_terminal(position, place, reply)
        elif text:
            words = shlex.split(text.removeprefix(f"{EXEC} ")) if text.startswith(f"{EXEC} ") else None
            shell = position.step_at(place).config.shell or DEFAULT_SHELL
            self._run(tuple(words or (*shell, text)), position, place, reply)
        else:
            reply("", False)

    def _run(self, command: tuple[str, ...], position: Position, place: Place, reply: Reply) -> None:
        state = position.state(place)
        asked = DebugOptions(command=command, interactive=False, forwards=False, secrets=self._secrets, ssh=self._ssh)

        def ended(child: Child) -> None:
            if child.problem is not None:
                problem = child.problem
                reply(f"{problem.message}; {problem.remedy}" if problem.remedy else problem.message, True)
                return
            text = child.output.decode("utf-8", "replace")
            reply(text if child.result == 0 else f"{text}[exit code {child.result}]", False)

        self._children.begin(
            lambda session, teller: work.evaluate(state, asked, session, teller), lambda kind, value: None, ended
        )

    def _look(self, text: str, position: Position, place: Place, reply: Reply) -> None:
        """Tell the value of a variable, or what a file holds."""
        name = text.removeprefix("$").strip("{}")
        variables = environment_of(position.step_at(place))
        if name in variables:
            reply(variables[name], False)
            return
        if not text.startswith("/"):
            reply(f"there is no variable {name} here", True)
            return
        state = position.state(place)

        def ended(child: Child) -> None:
            if child.problem is not None:
                reply(child.problem.message, True)
            elif len(child.result) == 1 and child.result[0].data is not None:
                reply(text_of(child.result[0]), False)
            else:
                reply("\n".join(file.name for file in child.result), False)

        self._children.begin(
            lambda session, teller: work.files(state, text, session, teller), lambda kind, value: None, ended
        )

    def _open_terminal(self, position: Position, place: Place, reply: Reply) -> None:
        """Have the editor open a terminal in the step."""
        if not self._has_terminal:
            reply("this editor opens no terminals (runInTerminal); write a command, or exec COMMAND", True)
            return
        folder = self._stack.enter_context(self._session.state.scratch("dap"))
        file = folder / "step"
        file.touch(0o600)
        file.write_bytes(encode(position.state(place)))
        self._ask(
            "runInTerminal",
            {
                "kind": "integrated",
                "title": place.name,
                "cwd": os.getcwd(),  # noqa: PTH109
                "args": [*self._terminal, os.fspath(file)],
            },
        )
        reply(f"A terminal opens in {place.name}.", False)
