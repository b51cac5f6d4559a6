"""The spans of a build, sent to a collector of OpenTelemetry: OTLP over HTTP, in JSON (OTLP 1.5, section OTLP/HTTP)."""

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections.abc import Mapping
from urllib.parse import unquote

from tiffin.builder.cli.output.renderer import Renderer
from tiffin.builder.events import (
    BuildFinished,
    Event,
    StepCached,
    StepFailed,
    StepFinished,
    StepStarted,
    WarningMessage,
)
from tiffin.builder.version import VERSION
from tiffin.cache.foundation.frozen import dataclass

ENDPOINT, TRACES_ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
PATH = "/v1/traces"
DEFAULT_MILLISECONDS = 10_000
OK, ERROR = 1, 2  # of a span's status
_PARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")  # W3C Trace Context


def wants_traces(environ: Mapping[str, str]) -> bool:
    """Whether the environment names a collector, and does not say that nothing is to be sent."""
    is_off = environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or environ.get("OTEL_TRACES_EXPORTER") == "none"
    return bool(environ.get(TRACES_ENDPOINT) or environ.get(ENDPOINT)) and not is_off


@dataclass(frozen=True, slots=True, kw_only=True)
class _Begun:
    """A step that works: times are nanoseconds since 1970."""

    name: str
    at: int
    worker: str


class TraceExporter(Renderer):
    """Passes events on, and sends a span for the command and for each step at its end. What goes wrong there is a
    warning.
    """

    def __init__(self, inner: Renderer, command: str, environ: Mapping[str, str]) -> None:
        parent = _PARENT.fullmatch(environ.get("TRACEPARENT", ""))
        self._inner = inner
        self._command = command
        self._environ = environ
        self._trace = parent[1] if parent else os.urandom(16).hex()
        self._parent = parent[2] if parent else ""
        self._span = os.urandom(8).hex()
        self._began = time.time_ns()
        self._lock = threading.Lock()  # guards what follows
        self._begun: dict[int, _Begun] = {}
        self._spans: list[dict[str, object]] = []
        self._result: dict[str, object] = {}

    def __enter__(self) -> Renderer:
        self._inner.__enter__()
        return self

    def __exit__(self, *raised: object) -> None:
        _, error, _ = raised
        try:
            self._send(error if isinstance(error, BaseException) else None)
        finally:
            self._inner.__exit__(*raised)

    def emit(self, event: Event) -> None:
        """Receive an event."""
        with self._lock:
            self._note(event, time.time_ns())
        self._inner.emit(event)

    def _note(self, event: Event, now: int) -> None:
        match event:
            case StepStarted():
                self._begun[event.step_id] = _Begun(name=event.name, at=now, worker=event.worker)
            case StepCached():
                self._spans.append(self._step(event.name, now, now, {"tiffin.cache": event.source}, ""))
            case StepFinished() | StepFailed() if event.step_id in self._begun:
                begun = self._begun.pop(event.step_id)
                failure = event.message if isinstance(event, StepFailed) else ""
                worker = {"tiffin.worker": begun.worker} if begun.worker else {}
                self._spans.append(self._step(begun.name, begun.at, now, worker, failure))
            case BuildFinished():
                self._result = {
                    "tiffin.image.names": list(event.names),
                    "tiffin.image.digest": event.digest,
                    "tiffin.image.bytes": event.size_bytes,
                    "tiffin.steps": event.steps,
                    "tiffin.steps.cached": event.cached_steps,
                }
            case _:
                pass

    def _step(
        self, name: str, began: int, ended: int, attributes: Mapping[str, object], failure: str
    ) -> dict[str, object]:
        return _span(self._trace, os.urandom(8).hex(), self._span, name, began, ended, attributes, failure)

    def _document(self, error: BaseException | None) -> dict[str, object]:
        """Return the request: ExportTraceServiceRequest, with ids in hexadecimal as OTLP wants them in JSON."""
        now = time.time_ns()
        stopped = [self._step(begun.name, begun.at, now, {}, "canceled") for begun in self._begun.values()]
        failure = "" if error is None else str(error) or type(error).__name__
        root = _span(self._trace, self._span, self._parent, self._command, self._began, now, self._result, failure)
        resource = {
            "service.name": self._environ.get("OTEL_SERVICE_NAME") or "tiffin",
            "service.version": VERSION,
            **_pairs(self._environ.get("OTEL_RESOURCE_ATTRIBUTES", "")),
        }
        scope = {"scope": {"name": "tiffin", "version": VERSION}, "spans": [root, *self._spans, *stopped]}
        return {"resourceSpans": [{"resource": {"attributes": _attributes(resource)}, "scopeSpans": [scope]}]}

    def _send(self, error: BaseException | None) -> None:
        import requests

        environ = self._environ
        address = environ.get(TRACES_ENDPOINT) or environ[ENDPOINT].rstrip("/") + PATH
        protocol = environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or environ.get("OTEL_EXPORTER_OTLP_PROTOCOL", "")
        if protocol == "grpc":
            self._warn("they are sent by HTTP: set OTEL_EXPORTER_OTLP_PROTOCOL=http/json, and the port of HTTP (4318)")
            return
        given = environ.get("OTEL_EXPORTER_OTLP_TRACES_HEADERS") or environ.get("OTEL_EXPORTER_OTLP_HEADERS", "")
        wait = environ.get("OTEL_EXPORTER_OTLP_TIMEOUT", "")
        seconds = (int(wait) if wait.isdecimal() else DEFAULT_MILLISECONDS) / 1000
        try:
            answer = requests.post(
                address,
                data=json.dumps(self._document(error)),
                headers={**_pairs(given), "Content-Type": "application/json"},
                timeout=seconds,
            )
            if not answer.ok:
                self._warn(f"the collector answered {answer.status_code}")
        except (requests.RequestException, ValueError) as exc:  # the second for headers that cannot be
            self._warn(type(exc).__name__)

    def _warn(self, reason: str) -> None:
        self._inner.emit(WarningMessage(message=f"traces of OpenTelemetry were not sent: {reason}"))


def _span(
    trace: str,
    span: str,
    parent: str,
    name: str,
    began: int,
    ended: int,
    attributes: Mapping[str, object],
    failure: str,
) -> dict[str, object]:
    return {
        "traceId": trace,
        "spanId": span,
        **({"parentSpanId": parent} if parent else {}),
        "name": name,
        "kind": 1,  # internal
        "startTimeUnixNano": str(began),
        "endTimeUnixNano": str(ended),
        "attributes": _attributes(attributes),
        "status": {"code": ERROR, "message": failure} if failure else {"code": OK},
    }


def _attributes(values: Mapping[str, object]) -> list[dict[str, object]]:
    return [{"key": key, "value": _value(value)} for key, value in values.items()]


def _value(value: object) -> dict[str, object]:
    if isinstance(value, list):
        return {"arrayValue": {"values": [_value(item) for item in value]}}
    return {"intValue": str(value)} if isinstance(value, int) else {"stringValue": str(value)}


def _pairs(text: str) -> dict[str, str]:
    """Return `key=value,…`, percent-encoded, as the variables of OpenTelemetry have headers and attributes."""
    items = (item.partition("=") for item in text.split(",") if "=" in item)
    return {unquote(key.strip()): unquote(value.strip()) for key, _, value in items}
