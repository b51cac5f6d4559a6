"""Spans of builds, received by a server and read with the definitions of OpenTelemetry."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf.json_format import Parse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.support.bench_of_builds import OVERLAYS
from tests.support.commands import Commands
from tests.support.contexts import context_at

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Collector(http.server.ThreadingHTTPServer):
    """Keeps what is posted; `status` is its answer."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.status = 200
        self.posted: list[tuple[str, dict[str, str], bytes]] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def spans(self) -> list[Span]:
        request = Parse(self.posted[-1][2], ExportTraceServiceRequest())
        return [span for item in request.resource_spans for scope in item.scope_spans for span in scope.spans]


class Handler(http.server.BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.posted.append((self.path, {key.lower(): value for key, value in self.headers.items()}, body))
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        return None


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"{server.address}/")
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def builds(tiffin_here: Commands, collector: Collector) -> Commands:
    tiffin_here.isolation = OVERLAYS
    return tiffin_here


def test_a_build_and_its_steps_are_spans(
    builds: Commands, collector: Collector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACEPARENT", PARENT)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20x,x-team=a")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "pipeline")
    folder = context_at(tmp_path)("FROM base\nRUN say one\nRUN say two\n")
    assert "warning" not in builds("build", "-t", "app", folder).err
    path, headers, body = collector.posted[-1]
    assert (path, headers["authorization"], headers["x-team"]) == ("/v1/traces", "Bearer x", "a")
    assert b'"stringValue": "pipeline"' in body and b'"parentSpanId": "b7ad6b7169203331"' in body
    root, one, two = collector.spans()
    assert (root.name, one.name, two.name) == ("build", "[2/3] RUN say one", "[3/3] RUN say two")
    assert one.parent_span_id == two.parent_span_id == root.span_id and len({one.span_id, two.span_id}) == 2
    assert one.trace_id == two.trace_id == root.trace_id and b"0af7651916cd43dd8448eb211c80319c" in body
    assert root.start_time_unix_nano <= one.start_time_unix_nano <= one.end_time_unix_nano <= root.end_time_unix_nano
    assert {root.status.code, one.status.code} == {Status.STATUS_CODE_OK}
    values = {item.key: item.value for item in root.attributes}
    assert values["tiffin.steps"].int_value == 2 and values["tiffin.image.digest"].string_value.startswith("sha256:")
    builds("build", "-t", "app", folder)
    cached = collector.spans()[1]
    assert [(item.key, item.value.string_value) for item in cached.attributes] == [("tiffin.cache", "local")]


def test_a_failure_is_told(builds: Commands, collector: Collector, tmp_path: Path) -> None:
    builds("build", context_at(tmp_path)("FROM base\nRUN exit 3\n"), check=False)
    root, failed = collector.spans()
    assert root.status.code == failed.status.code == Status.STATUS_CODE_ERROR
    assert "exit code: 3" in root.status.message and root.parent_span_id == b""


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("OTEL_TRACES_EXPORTER", "none", ""),
        ("OTEL_SDK_DISABLED", "true", ""),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "they are sent by HTTP"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://127.0.0.1:1/", "ConnectionError"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "nonsense", "MissingSchema"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a%0Ab=c", "InvalidHeader"),
    ],
)
def test_what_is_not_sent_ends_no_build(
    builds: Commands,
    collector: Collector,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    value: str,
    told: str,
) -> None:
    monkeypatch.setenv(name, value)
    done = builds("build", context_at(tmp_path)("FROM base\nRUN say x\n"))
    assert collector.posted == [] and told in done.err and ("were not sent" in done.err) is bool(told)


def test_an_answer_that_refuses_is_told(builds: Commands, collector: Collector, tmp_path: Path) -> None:
    collector.status = 503
    done = builds("build", context_at(tmp_path)("FROM base\nRUN say x\n"))
    assert "traces of OpenTelemetry were not sent: the collector answered 503" in done.err
