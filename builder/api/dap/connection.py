"""The connection to an editor: responses, events and requests, numbered."""

from __future__ import annotations

from typing import Any

from tiffin.builder.api.dap import framing


class Connection:
    """Sends messages; `incoming` has those that come."""

    def __init__(self, incoming: int, outgoing: int) -> None:
        self.incoming = framing.Incoming(incoming)
        self._outgoing = outgoing
        self._sequence = 0

    def _send(self, **message: object) -> None:
        self._sequence += 1
        framing.write(self._outgoing, {"seq": self._sequence, **message})

    def respond(self, request: dict[str, Any], body: dict[str, Any] | None = None) -> None:
        """Answer a request."""
        self._send(
            type="response", request_seq=request["seq"], success=True, command=request["command"], body=body or {}
        )

    def refuse(self, request: dict[str, Any], message: str, remedy: str = "") -> None:
        """Say why a request is not answered."""
        text = f"{message}; {remedy}" if remedy else message
        self._send(
            type="response",
            request_seq=request["seq"],
            success=False,
            command=request["command"],
            message=text,
            body={"error": {"id": 1, "format": text.replace("{", "{{"), "showUser": True}},
        )

    def ask(self, command: str, arguments: dict[str, Any]) -> None:
        """Ask the editor for something; its answer does not matter."""
        self._send(type="request", command=command, arguments=arguments)

    def tell(self, event: str, **body: object) -> None:
        """Send an event."""
        self._send(type="event", event=event, body=body)

    def written(self, text: str, category: str = "stdout") -> None:
        """Show text in the editor's console."""
        self.tell("output", category=category, output=text)
