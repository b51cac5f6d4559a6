"""The way out of steps: limits, records and replays, with real connections on loopback."""

from __future__ import annotations

import http.client
import http.server
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tiffin.builder.egress.allowed import Connections, Egress, parse_egress
from tiffin.builder.egress.authority import Authority
from tiffin.builder.egress.conversation import Way
from tiffin.builder.egress.record import INDEX, Recording, Replay, Request
from tiffin.builder.egress.servers import Servers
from tiffin.builder.egress.surroundings import APT, CERTIFICATE, FOLDER, PORT
from tiffin.builder.egress.way_out import WayOut
from tiffin.builder.errors import TiffinError, UsageError
from tiffin.builder.registry.proxies import Proxies
from tiffin.builder.sandbox.child.fd_passing import Socket, send
from tiffin.cache.trust import Trust


class Site(http.server.BaseHTTPRequestHandler):
    """Answers with what was asked, and how often."""

    protocol_version = "HTTP/1.1"
    asked = 0

    def do_GET(self) -> None:
        Site.asked += 1
        self.answer(f"{self.path} {Site.asked}".encode() * (20_000 if "long" in self.path else 1))

    def do_POST(self) -> None:
        self.answer(b"got " + self.rfile.read(int(self.headers["Content-Length"])))

    def answer(self, body: bytes) -> None:
        self.send_response(404 if "missing" in self.path else 200)
        self.send_header("Set-Cookie", "session=s3cret")
        self.send_header("X-Kind", "site")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def site() -> Iterator[int]:
    """The port of a server on this machine."""
    Site.asked = 0
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def way(**more: object) -> Way:
    servers = Servers(Trust({}), Proxies(settings={}))
    return Way(servers=servers, connections=Connections(), **more)  # type: ignore[arg-type]


@contextmanager
def listening(found: Way) -> Iterator[int]:
    """The port at which a step would find its way out."""
    with WayOut(found).opened() as line, socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port: int = listener.getsockname()[1]
        with closing(Socket(fileno=socket.fromfd(line, socket.AF_UNIX, socket.SOCK_SEQPACKET).detach())) as end:
            send(end, b"listens", [listener.fileno()])
        yield port


def ask(port: int, url: str, method: str = "GET", body: bytes | None = None) -> tuple[int, bytes]:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as client:
        client.request(method, url, body=body)
        answer = client.getresponse()
        return answer.status, answer.read()


@pytest.mark.parametrize(
    ("texts", "host", "port", "allowed"),
    [
        (["allow=a.example"], "a.example", 443, True), (["allow=a.example"], "A.Example.", 80, True),
        (["allow=a.example"], "b.a.example", 443, False), (["allow=*.a.example"], "b.a.example", 443, True),
        (["allow=*.a.example"], "a.example.evil", 443, False), (["allow=a.example:443"], "a.example", 80, False),
        (["allow=a.example:443"], "a.example", 443, True), (["allow=x", "allow=y,z"], "z", 1, True),
        (["deny"], "a.example", 443, False), (["list"], "a.example", 443, True),
    ],
)  # fmt: skip
def test_where_steps_may_connect(texts: list[str], host: str, port: int, allowed: bool) -> None:
    found = parse_egress(texts)
    assert found is not None and found.allows(host, port) is allowed


@pytest.mark.parametrize("texts", [["allow"], ["allow="], ["deny=x"], ["some"], ["deny", "list"], ["allow=a/b"]])
def test_what_is_no_egress(texts: list[str]) -> None:
    with pytest.raises(UsageError, match="--egress"):
        parse_egress(texts)
    assert parse_egress([]) is None


def test_what_is_not_allowed_is_refused_and_noted(site: int) -> None:
    found = way(egress=Egress(hosts=("127.0.0.1",)))
    with listening(found) as port:
        assert ask(port, f"http://127.0.0.1:{site}/a") == (200, b"/a 1")
        status, text = ask(port, f"http://localhost:{site}/a")
        assert status == 403 and b"--egress does not allow localhost" in text
        assert ask(port, "/only-a-path")[0] == 403
        assert ask(port, "http://127.0.0.1:1/")[0] == 502
    assert found.connections.made() == ["127.0.0.1:1", f"127.0.0.1:{site}"]
    assert found.connections.refused() == [f"localhost:{site}"]


def test_tunnels_carry_anything_where_nothing_is_recorded(site: int) -> None:
    with listening(way(egress=Egress(hosts=("127.0.0.1",)))) as port:
        with closing(socket.create_connection(("127.0.0.1", port), timeout=10)) as line:
            line.sendall(f"CONNECT 127.0.0.1:{site} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
            assert line.recv(1000).startswith(b"HTTP/1.1 200")
            line.sendall(b"GET /inner HTTP/1.0\r\n\r\n")
            assert b"".join(iter(lambda: line.recv(1000), b"")).endswith(b"/inner 1")
        with closing(socket.create_connection(("127.0.0.1", port), timeout=10)) as line:
            line.sendall(b"CONNECT other.example:443 HTTP/1.1\r\nHost: h\r\n\r\n")
            assert line.recv(1000).startswith(b"HTTP/1.1 403")


def test_a_record_answers_alone(site: int, tmp_path: Path) -> None:
    place = f"http://127.0.0.1:{site}"
    recording = Recording(tmp_path / "record")
    with listening(way(recording=recording)) as port:
        first = [ask(port, f"{place}/a"), ask(port, f"{place}/a"), ask(port, f"{place}/long")]
        posts = [ask(port, f"{place}/p?sig=s3cret", "POST", body) for body in (b"one", b"two")]
        missing = ask(port, f"{place}/missing")
    recording.finish()
    text = (tmp_path / "record" / INDEX).read_text()
    assert "s3cret" not in text and missing[0] == 404 and first[0] != first[1]
    replay = Replay(tmp_path / "record")
    asked = Site.asked
    with listening(way(replay=replay)) as port:
        assert [ask(port, f"{place}/a"), ask(port, f"{place}/a"), ask(port, f"{place}/long")] == first
        assert ask(port, f"{place}/a") == first[1], "the last answer stays"
        assert [ask(port, f"{place}/p?sig=s3cret", "POST", body) for body in (b"one", b"two")] == posts
        assert ask(port, f"{place}/missing") == missing
        status, told = ask(port, f"{place}/p?sig=s3cret", "POST", b"three")
        assert status == 504 and b"is not in the record" in told and b"s3cret" not in told
    assert Site.asked == asked, "no server was asked"
    assert replay.missing() == [f"POST {place}/p"]
    for blob in (tmp_path / "record/blobs/sha256").iterdir():
        blob.write_bytes(b"other")
    with listening(way(replay=Replay(tmp_path / "record"))) as port:
        status, told = ask(port, f"{place}/a")
        assert status == 502 and b"is damaged" in told


def test_what_is_within_tls_is_recorded(tmp_path: Path) -> None:
    """The step trusts the authority of its build; the server is reached by the names and trust of this machine."""
    theirs = Authority(tmp_path)
    bundle = tmp_path / "theirs.pem"
    bundle.write_bytes(theirs.pem)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        server.socket = theirs.context("localhost").wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            number = server.server_address[1]
            own = Authority(tmp_path)
            recording = Recording(tmp_path / "record")
            servers = Servers(Trust({}, cert_file=str(bundle)), Proxies(settings={}))
            found = Way(servers=servers, connections=Connections(), recording=recording, authority=own)
            with listening(found) as port:
                first = secured(port, own, number)
            recording.finish()
        finally:
            server.shutdown()
            thread.join()
    assert first[0] == 200
    again = Authority(tmp_path)
    replayed = way(replay=Replay(tmp_path / "record"), authority=again)
    with listening(replayed) as port:
        assert secured(port, again, number) == first
        with pytest.raises(ssl.SSLError):
            secured(port, own, number)
    assert {path.name for path in tmp_path.iterdir()} == {"record", "theirs.pem"}, "no key is left"


def secured(port: int, authority: Authority, number: int) -> tuple[int, bytes]:
    context = ssl.create_default_context(cadata=authority.pem.decode())
    with closing(http.client.HTTPSConnection("127.0.0.1", port, timeout=10, context=context)) as client:
        client.set_tunnel("localhost", number)
        client.request("GET", "/inner")
        answer = client.getresponse()
        return answer.status, answer.read()


def test_what_a_step_is_given(tmp_path: Path) -> None:
    plain, whole = WayOut(way()), WayOut(way(authority=Authority(tmp_path)))
    names = {item.partition("=")[0] for item in plain.variables()}
    assert {"http_proxy", "https_proxy", "HTTP_PROXY", "no_proxy"} <= names and "SSL_CERT_FILE" not in names
    assert plain.files(tmp_path) == {}
    assert f"http_proxy=http://127.0.0.1:{PORT}" in whole.variables()
    assert f"SSL_CERT_FILE={FOLDER}/{CERTIFICATE}" in whole.variables()
    files = whole.files(tmp_path)
    assert b"BEGIN CERTIFICATE" in files[f"{FOLDER}/{CERTIFICATE}"].read_bytes()
    assert b"PRIVATE" not in b"".join(path.read_bytes() for path in files.values())
    assert CERTIFICATE in files[f"{FOLDER}/{APT}"].read_text()


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ("", "not a record"),
        ("{}", "schema"),
        (json.dumps({"schema": 2}), "its schema is 2"),
        (json.dumps({"schema": 1, "exchanges": [], "images": [], "files": [{"url": "x"}]}), "not a record"),
        (
            json.dumps(
                {
                    "schema": 1,
                    "exchanges": [{"key": "k", "status": 200, "headers": [], "body": "../x"}],
                    "images": [],
                    "files": [],
                }
            ),
            "is not a digest",
        ),
    ],
)
def test_what_is_not_a_record(tmp_path: Path, document: str, reason: str) -> None:
    (tmp_path / INDEX).write_text(document)
    with pytest.raises(UsageError, match=reason):
        Replay(tmp_path)
    with pytest.raises(UsageError, match="there is a record already"):
        Recording(tmp_path)


def test_requests_that_differ() -> None:
    base = Request(method="GET", url="http://h/a")
    others = [
        Request(method="HEAD", url="http://h/a"), Request(method="GET", url="http://h/b"),
        Request(method="GET", url="http://h/a", part="bytes=0-1"), Request(method="GET", url="http://h/a", body="x"),
    ]  # fmt: skip
    assert len({base.key(), *(other.key() for other in others)}) == 5


def test_the_proxy_of_this_machine_is_used(site: int) -> None:
    with listening(way()) as outer:
        servers = Servers(
            Trust({}), Proxies(settings={"http_proxy": f"http://u:p@127.0.0.1:{outer}", "https_proxy": ""})
        )
        found = Way(servers=servers, connections=Connections())
        with listening(found) as port:
            status, _ = ask(port, "http://nothing.invalid/")
            assert status == 502, "it was asked, and says that it cannot"
    with pytest.raises(OSError, match="refused"), listening(way(egress=Egress())) as outer:
        proxies = Proxies(settings={"https_proxy": f"http://127.0.0.1:{outer}"})
        Servers(Trust({}), proxies).tunnel("nothing.invalid", 443)


def test_a_record_that_cannot_be_read(tmp_path: Path) -> None:
    recording = Recording(tmp_path / "r")
    recording.finish()
    with pytest.raises(TiffinError, match="cannot read"):
        Replay(tmp_path / "r").open("0" * 64)
