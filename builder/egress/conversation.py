"""One connection of a step with its way out: requests of HTTP/1.1 to a proxy, and within tunnels (h11)."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import tempfile
from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import IO
from urllib.parse import urlsplit

import h11

from tiffin.builder.egress.allowed import Connections, Egress
from tiffin.builder.egress.authority import Authority
from tiffin.builder.egress.record import Answer, Recording, Replay, Request
from tiffin.builder.egress.servers import READ_SECONDS, Servers
from tiffin.builder.errors import TiffinError
from tiffin.builder.registry.download import shown
from tiffin.cache.foundation.frozen import dataclass

CHUNK_BYTES = 1 << 16
SPOOL_BYTES = 1 << 20
TLS_HANDSHAKE = 0x16  # the first byte of what a client sends that begins TLS
HOPS = frozenset(
    [b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"te",
     b"trailer", b"transfer-encoding", b"upgrade", b"expect"]
)  # fmt: skip
UNKEPT = frozenset({"set-cookie", "set-cookie2", "www-authenticate"})
FORBIDDEN, BAD_GATEWAY, NOT_RECORDED = 403, 502, 504


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """What a way out does: limits (`egress`), records, or answers from a record, whose steps reach no server."""

    servers: Servers
    connections: Connections
    egress: Egress | None = None
    recording: Recording | None = None
    replay: Replay | None = None
    authority: Authority | None = None  # where what is within TLS is read


class _Refused(Exception):
    """Says to the step why there is no answer."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


def converse(line: socket.socket, way: Way, target: tuple[str, int] | None = None) -> None:
    """Serve a connection to its end. `target`: whose place it takes within a tunnel."""
    client = h11.Connection(h11.SERVER)
    while True:
        request = _next(client, line)
        if not isinstance(request, h11.Request):
            return
        if request.method == b"CONNECT" and target is None:
            _tunnel(client, line, request, way)
            return
        try:
            _answer(client, line, request, way, target)
        except _Refused as exc:
            _say(client, line, exc)
        if client.our_state is not h11.DONE or client.their_state is not h11.DONE:
            return
        client.start_next_cycle()


def _next(client: h11.Connection, line: socket.socket) -> object:
    while True:
        event = client.next_event()
        if event is not h11.NEED_DATA:
            return event
        if client.they_are_waiting_for_100_continue:
            line.sendall(client.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
        client.receive_data(line.recv(CHUNK_BYTES))


def _say(client: h11.Connection, line: socket.socket, refused: _Refused) -> None:
    if client.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
        return
    text = f"tiffin: {refused.text}\n".encode()
    headers = [
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Content-Length", str(len(text))),
        ("Connection", "close"),
    ]
    _send(client, line, h11.Response(status_code=refused.status, headers=headers))
    _send(client, line, h11.Data(data=text))
    _send(client, line, h11.EndOfMessage())


def _send(connection: h11.Connection, line: socket.socket, event: h11.Event) -> None:
    data = connection.send(event)
    if data:
        line.sendall(data)


# -- tunnels -----------------------------------------------------------------------------------------------------------


def _tunnel(client: h11.Connection, line: socket.socket, request: h11.Request, way: Way) -> None:
    host, _, port = request.target.decode("latin-1").rpartition(":")
    host = host.strip("[]")
    number = int(port) if port.isdigit() else 443
    while not isinstance(_next(client, line), h11.EndOfMessage | h11.ConnectionClosed):
        continue
    server = None
    try:
        if way.replay is None:
            _check(way, host, number)
        if way.authority is None:
            server = _opened(lambda: way.servers.tunnel(host, number), host)
    except _Refused as exc:
        _say(client, line, exc)
        return
    _send(client, line, h11.Response(status_code=200, headers=[], reason=b"Connection established"))
    if server is not None:
        with contextlib.closing(server):
            server.sendall(client.trailing_data[0])
            _splice(line, server)
        return
    assert way.authority is not None
    first = line.recv(1, socket.MSG_PEEK)
    if first[:1] != bytes((TLS_HANDSHAKE,)):
        return  # nothing that can be recorded; the step sees a connection that ends
    with way.authority.context(host).wrap_socket(line, server_side=True) as secured:
        converse(secured, way, (host, number))


def _splice(one: socket.socket, other: socket.socket) -> None:
    """Carry bytes both ways until one side ends."""
    others = {one: other, other: one}
    while others:
        ready, _, _ = select.select(list(others), [], [], READ_SECONDS)
        if not ready:
            return
        for line in ready:
            data = line.recv(CHUNK_BYTES)
            if data:
                others[line].sendall(data)
                continue
            with contextlib.suppress(OSError):
                others[line].shutdown(socket.SHUT_WR)
            del others[line]
            break


def _check(way: Way, host: str, port: int) -> None:
    """Refuse what may not be reached."""
    allowed = way.egress is None or way.egress.allows(host, port)
    way.connections.note(host, port, allowed=allowed)
    if not allowed:
        raise _Refused(FORBIDDEN, f"--egress does not allow {host}:{port}")


def _opened(connect, host: str) -> socket.socket:  # type: ignore[no-untyped-def]  # a function without arguments
    try:
        line: socket.socket = connect()
        return line
    except (OSError, TiffinError) as exc:
        raise _Refused(BAD_GATEWAY, f"cannot reach {host}: {exc}") from exc


# -- requests ----------------------------------------------------------------------------------------------------------


def _answer(
    client: h11.Connection, line: socket.socket, request: h11.Request, way: Way, target: tuple[str, int] | None
) -> None:
    text = request.target.decode("latin-1")
    if target is not None:
        default = "" if target[1] == 443 else f":{target[1]}"
        url = f"https://{target[0]}{default}{text}"
    else:
        url = text
    parts = urlsplit(url)
    with tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES) as body:
        digest, size = _read_body(client, line, body)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise _Refused(FORBIDDEN, f"{shown(url)} is not a URL of a server")
        part = next((value.decode("latin-1") for name, value in request.headers if name == b"range"), "")
        asked = Request(method=request.method.decode("ascii"), url=url, body=digest if size else "", part=part)
        if way.replay is not None:
            _replay(client, line, asked, way.replay)
            return
        host, port = parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)
        _check(way, host, port)
        _forward(client, line, request, asked, (host, port), body, size, way)


def _read_body(client: h11.Connection, line: socket.socket, sink: IO[bytes]) -> tuple[str, int]:
    found, size = sha256(), 0
    while True:
        event = _next(client, line)
        if isinstance(event, h11.Data):
            found.update(event.data)
            sink.write(event.data)
            size += len(event.data)
        elif isinstance(event, h11.EndOfMessage):
            sink.seek(0)
            return found.hexdigest(), size
        else:
            raise ConnectionError("the request ended early")


def _replay(client: h11.Connection, line: socket.socket, asked: Request, replay: Replay) -> None:
    answer = replay.answer(asked)
    if answer is None:
        raise _Refused(NOT_RECORDED, f"{asked.method} {shown(asked.url)} is not in the record")
    try:
        stream = replay.open(answer.body)
    except TiffinError as exc:
        raise _Refused(BAD_GATEWAY, str(exc)) from exc
    with stream:
        _send(client, line, h11.Response(status_code=answer.status, headers=list(answer.headers)))
        while data := stream.read(CHUNK_BYTES):
            _send(client, line, h11.Data(data=data))
    _send(client, line, h11.EndOfMessage())


def _forward(
    client: h11.Connection,
    line: socket.socket,
    request: h11.Request,
    asked: Request,
    place: tuple[str, int],
    body: IO[bytes],
    size: int,
    way: Way,
) -> None:
    """Hand a request on, its answer back, and keep it where it is recorded."""
    parts, before = urlsplit(asked.url), ""
    headers = [(name, value) for name, value in request.headers if name not in HOPS]
    if parts.scheme == "https":
        server = _opened(lambda: way.servers.secure(*place), place[0])
    else:
        plain = way.servers.plain
        opened: list[str] = []

        def connect() -> socket.socket:
            found, prefix = plain(*place)
            opened.append(prefix)
            return found

        server = _opened(connect, place[0])
        before = opened[0]
        credentials = way.servers.proxy_authorization(*place) if before else ""
        headers += [(b"proxy-authorization", credentials.encode())] if credentials else []
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if size and not any(name == b"content-length" for name, _ in headers):
        headers.append((b"content-length", str(size).encode()))
    with contextlib.closing(server):
        upstream = h11.Connection(h11.CLIENT)
        try:
            sent = h11.Request(
                method=request.method, target=before + path, headers=[*headers, (b"connection", b"close")]
            )
            _send(upstream, server, sent)
            while data := body.read(CHUNK_BYTES):
                _send(upstream, server, h11.Data(data=data))
            _send(upstream, server, h11.EndOfMessage())
            response = _response(upstream, server)
        except (OSError, h11.ProtocolError) as exc:
            raise _Refused(BAD_GATEWAY, f"{place[0]} gave no answer: {exc}") from exc
        _hand_back(client, line, asked, response, _chunks(upstream, server), way.recording)


def _response(upstream: h11.Connection, server: socket.socket) -> h11.Response:
    while True:
        event = _next(upstream, server)
        if isinstance(event, h11.Response):
            return event
        if not isinstance(event, h11.InformationalResponse):
            raise h11.RemoteProtocolError("it closed the connection")


def _chunks(upstream: h11.Connection, server: socket.socket) -> Iterator[bytes]:
    while True:
        event = _next(upstream, server)
        if isinstance(event, h11.Data):
            yield bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            return
        else:
            raise ConnectionError("the answer ended early")


def _hand_back(
    client: h11.Connection,
    line: socket.socket,
    asked: Request,
    response: h11.Response,
    chunks: Iterable[bytes],
    recording: Recording | None,
) -> None:
    headers = [(name, value) for name, value in response.headers if name not in HOPS]
    sink = recording.sink() if recording is not None else None
    try:
        _send(client, line, h11.Response(status_code=response.status_code, headers=headers))
        for data in chunks:
            if sink is not None:
                sink.write(data)
            _send(client, line, h11.Data(data=data))
        if recording is not None and sink is not None:
            texts = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]
            kept = tuple((name, value) for name, value in texts if name not in UNKEPT)
            recording.add(sink.number, asked, Answer(status=response.status_code, headers=kept, body=sink.commit()))
        _send(client, line, h11.EndOfMessage())
    except BaseException:
        if sink is not None:
            sink.discard()
        raise


def quietly(line: socket.socket, way: Way) -> None:
    """Serve a connection; what goes wrong with it, the step sees as its end."""
    with contextlib.suppress(OSError, ssl.SSLError, h11.ProtocolError, ValueError), contextlib.closing(line):
        line.settimeout(READ_SECONDS)
        converse(line, way)
