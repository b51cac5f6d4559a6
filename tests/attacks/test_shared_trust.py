"""What others may put before us: shared caches, directories, layouts and agents' clients that are hostile."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import os
import shutil
import socket
import subprocess
import threading
import time
import tracemalloc
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.attacks.harness import PRECIOUS, Harness, error_of, fingerprint
from tests.support.cache_servers import running_redis
from tests.support.cli_runner import own_cli
from tests.support.servers import TIED, ended
from tests.support.serving import serving
from tiffin.builder.errors import CorruptError, DigestError, ImageError, StoreError, UsageError
from tiffin.builder.execute.ssh_agents import MAX_CONNECTIONS, Agents
from tiffin.builder.image.archive import TarMembers
from tiffin.builder.image.cache_image import CONFIG_TYPE, EMBEDDED, _embedded
from tiffin.builder.oci.spec import Descriptor, Manifest
from tiffin.cache.backend import MAX_RECORD_BYTES, StepRecord
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.keys import SCHEMA
from tiffin.cache.shared.bundle import Bundle
from tiffin.cache.shared.deadline import _by_child, bounded
from tiffin.cache.shared.protocol import MAX_ROW_BYTES
from tiffin.cache.shared.signing import signer_of
from tiffin.cache.shared.stores.directory import DirectoryStore
from tiffin.cache.shared.stores.http import HttpStore
from tiffin.cache.shared.stores.peers import Peers
from tiffin.cache.shared.stores.redis import RedisStore
from tiffin.cache.store.blobs import BlobStore
from tiffin.cache.store.snapshots import BlobRef
from tiffin.cache.store.statedir import StateDir

ZEROS = "0" * 64
LONG_AGO = 1_000_000_000
DATA = b"layer" * (1 << 15)
RECORD = {
    "schema": SCHEMA,
    "diffId": f"sha256:{ZEROS}",
    "parentChain": f"sha256:{ZEROS}",
    "created": "2026-01-02T03:04:05.6Z",
    "seconds": 1,
    "parts": [],
    "layer": {"mediaType": "x", "digest": f"sha256:{ZEROS}", "size": 1},
    "empty": False,
    "description": "a step",
}


def ref(data: bytes = DATA) -> BlobRef:
    return BlobRef(media_type="application/octet-stream", digest=Digest.of(data), size_bytes=len(data))


@pytest.mark.attack("T11")
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("seconds", "1" + 400 * "0"),
        ("seconds", "NaN"),
        ("seconds", "1e999"),
        ("seconds", "-1"),
        ("seconds", '"1" 2'),
        ("created", '"yesterday"'),
        ("created", '"2026-01-02T03:04:05Z\\n"'),
        ("created", "5"),
        ("created", "null"),
        ("layer", (f'{{"mediaType": "x", "digest": "sha256:{ZEROS}", "size": -1}}')),
        ("layer", ('{"mediaType": "x", "digest": "sha256:../../x", "size": 1}')),
        ("parts", '[["a"]]'),
        ("parts", "[" * 100000),
        ("empty", "0"),
    ],
)
def test_records_of_nonsense_are_refused(field: str, value: str) -> None:
    """A number no float holds had ended a build in a traceback; a time that is none had become that of an image."""
    assert StepRecord.decode(json.dumps(RECORD).encode()).description == "a step"
    members = [f'"{name}": {value if name == field else json.dumps(other)}' for name, other in RECORD.items()]
    with pytest.raises((CorruptError, DigestError)):
        StepRecord.decode(f"{{{', '.join(members)}}}".encode())


# -- servers ---------------------------------------------------------------------------------------------------------


@contextmanager
def answering(body: bytes, *headers: tuple[str, str], status: int = 200) -> Iterator[tuple[str, list[str]]]:
    """A web server that gives everybody the same; its address, and the credentials that came."""
    seen: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.headers.get("Authorization", ""))
            self.send_response(status)
            for name, value in (("Content-Length", str(len(body))), *headers):
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return None

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    with serving(server):
        yield f"http://127.0.0.1:{server.server_port}", seen


@pytest.mark.attack("T10", "T27")
@pytest.mark.network
def test_rows_of_a_web_server_have_a_limit_and_no_other_host() -> None:
    with answering(bytes(2 * MAX_ROW_BYTES)) as (url, _):
        assert len(HttpStore(url, timeout_seconds=5).read([ZEROS])[ZEROS]) == MAX_ROW_BYTES + 1
    packed = gzip.compress(bytes(1 << 28))
    with answering(packed, ("Content-Encoding", "gzip")) as (url, _):
        assert HttpStore(url, timeout_seconds=5).read([ZEROS])[ZEROS] == packed, "a bomb was unpacked"
    with answering(b"{}") as (stranger, seen), answering(b"", ("Location", stranger), status=307) as (url, asked):
        with pytest.raises(StoreError):
            HttpStore(url, timeout_seconds=5, token="canary").read([ZEROS])
        assert asked == ["Bearer canary"] and seen == [], "a token followed a redirect"


@pytest.mark.attack("T20")
@pytest.mark.network
@pytest.mark.parametrize("sent", [DATA[:-1] + b"x", DATA[:-1], DATA + b"more"], ids=["other", "short", "long"])
def test_peers_that_send_something_else_are_left_out(tmp_path: Path, sent: bytes) -> None:
    said: list[str] = []
    state = StateDir.open(tmp_path / "state")
    with answering(sent) as (url, seen):
        peers = Peers([url], "", said.append)
        for _ in range(2):
            assert not peers.bring(ref(), "registry.invalid", "x", BlobStore(state))
        assert len(seen) == len(said) == 1, "a peer that lied is asked again"
        assert len(sent) <= len(DATA) or "sends more than it should" in said[0], "it was read to its end"
    assert not BlobStore(state).has(ref().digest)
    assert not list(state.tmp.iterdir())


@pytest.mark.attack("T10")
@pytest.mark.network
def test_rows_and_layers_of_redis_have_a_limit(tmp_path: Path) -> None:
    """Whoever else writes to it may put there what its own limits allow: half a gibibyte for each key."""
    import redis

    with running_redis(tmp_path) as server, redis.Redis.from_url(server.url) as other:
        store = RedisStore(server.url, timeout_seconds=10)
        for key in (f"tiffin:step:{ZEROS}", f"tiffin:blob:{ref().digest}"):
            other.setrange(key, 2 * MAX_ROW_BYTES, "x")
        assert len(store.read([ZEROS, "1" * 64])[ZEROS]) == MAX_ROW_BYTES + 1
        assert store.read(["1" * 64]) == {}
        with store.read_blob(ref()) or io.BytesIO() as stream:
            assert len(stream.read()) == ref().size_bytes + 1


@pytest.mark.attack("T11", "T20")
@pytest.mark.network
def test_a_served_cache_bears_with_any_question(root_harness: Harness) -> None:
    argv = root_harness.cli.argv("cache", "serve", "--no-token", "--listen", "127.0.0.1:0", "--upstream=127.0.0.1:9")
    server = subprocess.Popen(  # type: ignore[call-overload]
        [*TIED, *argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE, **root_harness.cli.options()
    )
    with ended(server):
        port = int(server.stdout.readline().rpartition(b":")[2])
        digest = f"sha256:{ZEROS}"
        for path, status in (
            ("http://[", 400),
            ("/v2/x/blobs/sha256:..%2f..", 404),
            (f"/v2/x/blobs/sha256:{ZEROS}0", 400),
            (f"/v2/../blobs/{digest}", 404),
            ((f"/v2/x/blobs/{digest}?ns=127.0.0.1:9&size=%C2%B2"), 404),
            ((f"/v2/x/blobs/{digest}?ns=127.0.0.1:9&size={'9' * 5000}"), 404),
            (f"/v2/x/blobs/{digest}?ns=other&size=7", 404),
            ("/cas/../../format", 404),
            ("/cas/%2e%2e/%2e%2e/format", 404),
            (f"/ac/{ZEROS}%0a", 404),
            ("/ac/" + "A" * 64, 404),
        ):
            with socket.create_connection(("127.0.0.1", port), 10) as client:
                client.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
                assert client.recv(64).split()[1:2] == [str(status).encode()], path
    said = server.stderr.read()
    assert said == b"", f"a question ended in a traceback: {said.decode()}"
    for stream in (server.stdout, server.stderr):
        stream.close()


LIES: dict[str, dict[str, object]] = {
    "parent": {"parentChain": f"sha256:{ZEROS}"},
    "content": {"diffId": f"sha256:{ZEROS}"},
    "size": {"size": 77},
    "digest": {"digest": f"sha256:{ZEROS}"},
    "type": {"mediaType": "application/x-evil"},
    "compression": {"mediaType": "application/vnd.oci.image.layer.v1.tar+zstd"},
}


@pytest.mark.attack("T20", "T21")
@pytest.mark.parametrize("lie", LIES)
def test_records_that_lie_never_become_an_image(tmp_path: Path, lie: str) -> None:
    """Well-formed, and not true: of other layers, of other content, of another size or form."""
    shared = tmp_path / "shared"
    (tmp_path / "context").mkdir()
    (tmp_path / "context/Dockerfile").write_text("FROM minimal\nRUN echo right > /made\nRUN cat /made > /again\n")
    with own_cli(tmp_path / "a") as first, own_cli(tmp_path / "b") as second:
        made = first.run("build", "-q", "--cache-to", f"type=dir,path={shared},mode=max", tmp_path / "context")
        assert made.returncode == 0, made.stderr
        rows = list((shared / "records").glob("*/*"))
        for path in rows:
            row = json.loads(path.read_bytes())
            for name, value in LIES[lie].items():
                (row if name in row else row["layer"])[name] = value
            path.write_text(json.dumps(row))
        archive = tmp_path / "image.tar"
        words = ("-t", "made", "-o", f"type=docker,dest={archive}", "--cache-from", f"type=dir,path={shared}")
        done = second.run("build", "--progress=plain", *words, tmp_path / "context")
        assert rows and done.returncode == 0, done.stderr
        with own_cli(tmp_path / "c") as third:
            assert third.run("load", "-i", archive).returncode == 0
            assert third.output("made", "cat", "/again") == "right\n"
        assert not first.left() and not second.left()


@pytest.mark.attack("T20")
def test_signatures_are_of_one_kind_and_one_name(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_bytes(b"x" * 15)
    with pytest.raises(UsageError, match="shorter than"):
        signer_of(key)
    key.write_bytes(b"x" * 16)
    signer = signer_of(key)
    row = signer.sign("name", b"{}")
    assert signer.verify("name", row) == b"{}"
    for name, other in (
        ("name2", row),
        ("name", row.replace(b"hmac-sha256:", b"ed25519:")),
        ("name", row.replace(b"{", b'{"a":1,')),
    ):
        with pytest.raises(CorruptError):
            signer.verify(name, other)


# -- directories -----------------------------------------------------------------------------------------------------


@pytest.mark.attack("T1", "T5")
@pytest.mark.parametrize("link", ["tmp", "records", "records/00", "blobs", "blobs/sha256"])
def test_links_in_a_shared_directory_lead_nowhere(tmp_path: Path, link: str) -> None:
    """Who may write to it, too, had old files elsewhere removed, and new ones made."""
    shared, victim = tmp_path / "shared", tmp_path / "victim"
    for folder in ("", "aa", "sha256"):
        (victim / folder).mkdir(parents=True)
        (victim / folder / "old").write_text(PRECIOUS)
        os.utime(victim / folder / "old", (LONG_AGO, LONG_AGO))
    (shared / link).parent.mkdir(parents=True)
    (shared / link).symlink_to(victim)
    before = fingerprint(victim)
    store = DirectoryStore(shared, ttl_seconds=60)
    for write in (lambda: store.write({ZEROS: b"{}"}), lambda: store.write_blob(ref(), lambda: io.BytesIO(DATA))):
        try:
            write()
        except StoreError as exc:
            assert "cannot use" in exc.message
    assert fingerprint(victim) == before, "a shared cache changed something outside"


@pytest.mark.attack("T7", "T11")
def test_fifos_in_a_shared_directory_are_nothing(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    for path in (tmp_path / "records/00" / ZEROS, tmp_path / "blobs/sha256" / ref().digest.hex):
        path.parent.mkdir(parents=True)
        os.mkfifo(path)
    began = time.monotonic()
    assert store.read([ZEROS]) == {}
    assert store.read_blob(ref()) is None
    assert time.monotonic() - began < 5


@pytest.mark.attack("T1", "T7")
def test_layouts_lead_nowhere_else(root_harness: Harness, tmp_path: Path) -> None:
    """A directory that somebody else made: paths and links out of it, and fifos that would be waited for."""
    outside = tmp_path / "outside"
    outside.mkdir()
    saved = tmp_path / "image.tar"
    assert root_harness.run("save", "-o", saved, "minimal").returncode == 0
    subprocess.run(["tar", "-xf", saved, "-C", outside], check=True)
    manifest = json.loads((outside / "manifest.json").read_text())
    layer = bytes(20480)  # an empty one that nobody has: what is here already is not read
    (outside / "layer.tar.gz").write_bytes(gzip.compress(layer))
    document = json.loads((outside / manifest[0]["Config"]).read_text())
    document["rootfs"]["diff_ids"] = ["sha256:" + hashlib.sha256(layer).hexdigest()]
    for number, (config, layers) in enumerate(
        (
            (f"../outside/{manifest[0]['Config']}", None),
            (str(outside / manifest[0]["Config"]), None),
            ("config", ["../outside/layer.tar.gz"]),
            ("config", ["link/layer.tar.gz"]),
            ("config", ["fifo"]),
            ("fifo", None),
        )
    ):
        folder = tmp_path / f"hostile-{number}"
        folder.mkdir()
        (folder / "link").symlink_to(outside)
        os.mkfifo(folder / "fifo")
        (folder / "config").write_text(json.dumps(document))
        listed = layers or manifest[0]["Layers"]
        (folder / "manifest.json").write_text(json.dumps([{"Config": config, "RepoTags": ["evil"], "Layers": listed}]))
        error = error_of(root_harness.run("load", "-i", folder))
        assert "leads out of" in error or "is not a file" in error, error
    hostile = tmp_path / "hostile"
    shutil.copytree(outside, hostile)
    blob = next(
        path
        for path in (hostile / "blobs/sha256").iterdir()
        if path.name == json.loads((hostile / "index.json").read_text())["manifests"][0]["digest"][7:]
    )
    blob.unlink()
    os.mkfifo(blob)
    assert "is not a file" in error_of(root_harness.run("load", "-i", hostile))


@pytest.mark.attack("T10", "T20")
def test_archives_are_what_their_digests_say(
    root_harness: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved, folder = tmp_path / "image.tar", tmp_path / "layout"
    folder.mkdir()
    assert root_harness.run("save", "-o", saved, "minimal").returncode == 0
    subprocess.run(["tar", "-xf", saved, "-C", folder], check=True)
    with own_cli(tmp_path / "empty") as cli:
        shutil.rmtree(cli.state)
        for blob in (folder / "blobs/sha256").iterdir():
            data = blob.read_bytes()
            blob.chmod(0o644)
            for damaged in (data[:-1] + bytes([data[-1] ^ 1]), data + b" "):  # the second is as good a document
                blob.write_bytes(damaged)
                assert error_of(cli.run("load", "-i", folder)), f"a damaged {blob.name} is taken"
            assert cli.run("images", "-q").stdout == ""
            blob.write_bytes(data)
        assert cli.run("load", "-i", folder).returncode == 0
    for limit, match in (("MAX_MEMBERS", "more than 2 members"), ("MAX_DOCUMENT_BYTES", "too large")):
        monkeypatch.setattr(f"tiffin.builder.image.archive.{limit}", 2)
        with pytest.raises(ImageError, match=match):
            TarMembers(saved).read("index.json")
        monkeypatch.undo()


@pytest.mark.attack("T10", "T11")
def test_bundles_are_bounded_and_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """All rows of a registry's cache in one document, and once more in the manifest that names it."""
    row = dict(RECORD)
    data = Bundle({ZEROS: json.dumps(row).encode()}).encode()
    assert set(Bundle.decode(data).rows) == {ZEROS} and not Bundle.decode(data).only({Digest.of(b"other")}).rows
    for damaged in (b"", b"[]", b"[" * 100000, data[:-1], data.replace(b'"records"', b'"rec"')):
        with pytest.raises(CorruptError):
            Bundle.decode(damaged)
    config = Descriptor(media_type=CONFIG_TYPE, digest=Digest.of(data), size_bytes=len(data))
    for text, expected in (
        (zlib.compress(data), data),
        (zlib.compress(data + b" "), None),
        (zlib.compress(bytes(1 << 28)), None),
        (b"nothing packed", None),
    ):
        annotations = {EMBEDDED: base64.b64encode(text).decode()}
        tracemalloc.start()
        assert _embedded(Manifest(config=config, layers=(), annotations=annotations)) == expected
        assert tracemalloc.get_traced_memory()[1] < 16 << 20, "a bomb was unpacked"
        tracemalloc.stop()
    monkeypatch.setattr("tiffin.cache.shared.bundle.MAX_BUNDLE_BYTES", 100)
    with pytest.raises(CorruptError, match="larger than 100 bytes"):
        Bundle.decode(data)


@pytest.mark.attack("T10")
def test_answers_of_a_cache_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The child that asks may send on what it was sent; and a record is not a book."""
    monkeypatch.setattr("tiffin.cache.shared.deadline.MAX_ANSWER_BYTES", 1 << 20)
    assert len(bounded(lambda: {ZEROS: bytes(1000)}, 10)[ZEROS]) == 1000
    with pytest.raises(StoreError):
        _by_child(lambda: {ZEROS: b"x" * (2 << 20)}, 10)
    with pytest.raises(CorruptError):
        StepRecord.decode(json.dumps({**RECORD, "description": "x" * MAX_RECORD_BYTES}).encode())


# -- clients of an agent ---------------------------------------------------------------------------------------------


@pytest.mark.attack("T24")
def test_an_agent_is_asked_for_names_and_signatures_alone(tmp_path: Path) -> None:
    """Whatever the user's own agent does besides: add keys, remove them, lock itself, load a library."""
    asked: list[int] = []

    def answer(request: bytes) -> bytes:
        asked.append(request[0])
        return b"\x06"

    with ExitStack() as stack:
        path = Agents({"k": answer}).listen("k", tmp_path / "a", stack)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            for number in range(256):
                client.sendall(b"\0\0\0\1" + bytes([number]))
                assert client.recv(5) == b"\0\0\0\1" + (b"\x06" if number in (11, 13) else b"\x05")
        with socket.socket(
            socket.AF_UNIX
        ) as client:  # a length beyond any message ends it, without waiting for so much
            client.settimeout(10)
            client.connect(str(path))
            client.sendall((1 << 20).to_bytes(4, "big"))
            assert client.recv(1) == b""
    assert asked == [11, 13]


@pytest.mark.attack("T10")
def test_connections_to_an_agent_are_counted(tmp_path: Path) -> None:
    """A step that opens thousands takes no thread and no descriptor of the builder beyond a few."""
    with ExitStack() as stack:
        path = Agents({"k": lambda request: b"\x0c\0\0\0\0"}).listen("k", tmp_path / "a", stack)
        threads = threading.active_count()
        clients = [stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(4 * MAX_CONNECTIONS)]
        for client in clients:
            client.connect(str(path))
            client.settimeout(10)
        assert clients[-1].recv(1) == b""
        assert threading.active_count() - threads <= MAX_CONNECTIONS
        for client in clients:
            client.close()
        deadline = time.monotonic() + 10
        while threading.active_count() > threads and time.monotonic() < deadline:
            time.sleep(0.01)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            client.sendall(b"\0\0\0\1\x0b")
            assert client.recv(64) == b"\0\0\0\5\x0c\0\0\0\0", "the agent does not answer any more"
