"""A Redis that knows what tiffin asks: SET with a time to live, GETRANGE, EXISTS, EXPIRE, AUTH."""

from __future__ import annotations

import contextlib
import socketserver
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.support.serving import serving


@dataclass
class FakeRedis:
    """`refuses` is answered to each command, if it is said."""

    url: str = ""
    values: dict[bytes, bytes] = field(default_factory=dict)
    until: dict[bytes, float] = field(default_factory=dict)
    password: str = ""
    refuses: str = ""
    log: list[bytes] = field(default_factory=list)

    def alive(self, key: bytes) -> bool:
        return key in self.values and self.until.get(key, float("inf")) > time.monotonic()


@contextlib.contextmanager
def fake_redis() -> Iterator[FakeRedis]:
    """Serve on a loopback port until the block ends."""
    fake = FakeRedis()

    class Handler(_Handler):
        pass

    Handler.fake = fake
    server = _Server(("127.0.0.1", 0), Handler)
    fake.url = f"redis://127.0.0.1:{server.server_address[1]}/0"
    with serving(server):
        yield fake


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False


class _Handler(socketserver.StreamRequestHandler):
    fake: FakeRedis

    def handle(self) -> None:
        is_known = not self.fake.password
        with contextlib.suppress(OSError, ValueError):
            while head := self.rfile.readline():
                words = [self._word() for _ in range(int(head[1:]))]
                name = words[0].upper()
                self.fake.log.append(name)
                if name == b"AUTH":
                    is_known = words[-1].decode() == self.fake.password
                    self.wfile.write(b"+OK\r\n" if is_known else b"-WRONGPASS invalid\r\n")
                elif not is_known:
                    self.wfile.write(b"-NOAUTH Authentication required.\r\n")
                elif self.fake.refuses and name not in (b"CLIENT", b"SELECT", b"HELLO"):
                    self.wfile.write(f"-{self.fake.refuses}\r\n".encode())
                else:
                    self.wfile.write(self._answer(name, words[1:]))

    def _word(self) -> bytes:
        size = int(self.rfile.readline()[1:])
        return self.rfile.read(size + 2)[:-2]

    def _answer(self, name: bytes, words: list[bytes]) -> bytes:
        key = words[0] if words else b""
        match name:
            case b"SET":
                self.fake.values[key] = words[1]
                self.fake.until.pop(key, None)
                if len(words) > 3:
                    self.fake.until[key] = time.monotonic() + float(words[3])
                return b"+OK\r\n"
            case b"GETRANGE":
                data = self.fake.values[key][int(words[1]) : int(words[2]) + 1] if self.fake.alive(key) else b""
                return b"$%d\r\n%s\r\n" % (len(data), data)
            case b"EXISTS":
                return b":%d\r\n" % self.fake.alive(key)
            case b"EXPIRE":
                there = self.fake.alive(key)
                if there:
                    self.fake.until[key] = time.monotonic() + float(words[1])
                return b":%d\r\n" % there
            case b"HELLO":
                return b"-ERR unknown command\r\n"
            case _:
                return b"+OK\r\n"
