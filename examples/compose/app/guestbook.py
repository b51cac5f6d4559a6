"""A guest book: GET / counts visits, POST / keeps a line, GET /lines shows them, GET /health tells of it all."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psycopg2
import redis

PASSWORD = Path("/run/secrets/database_password").read_text().strip()
CACHE = redis.Redis(host=os.environ["CACHE"], socket_timeout=5)
KEPT = threading.local()


def query(text: str, *values: object) -> list[tuple[object, ...]]:
    """Ask the database; a connection that broke is made anew."""
    for attempt in range(3):
        try:
            if not getattr(KEPT, "connection", None):
                KEPT.connection = psycopg2.connect(os.environ["DATABASE"], password=PASSWORD, connect_timeout=5)
                KEPT.connection.autocommit = True
            with KEPT.connection.cursor() as cursor:
                cursor.execute(text, values)
                return cursor.fetchall() if cursor.description else []
        except psycopg2.OperationalError:
            KEPT.connection = None
            if attempt == 2:
                raise
            time.sleep(0.5)
    return []


class Handler(BaseHTTPRequestHandler):
    """Answers one connection."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Show something."""
        try:
            match self.path:
                case "/health":
                    self.answer({"database": query("SELECT 1") == [(1,)], "cache": CACHE.ping()})
                case "/lines":
                    self.answer([line for (line,) in query("SELECT line FROM lines ORDER BY id")])
                case _:
                    self.answer({"visits": CACHE.incr("visits")})
        except Exception as exc:
            self.answer({"error": str(exc)}, 503)

    def do_POST(self) -> None:
        """Keep a line."""
        line = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        query("INSERT INTO lines (line) VALUES (%s)", line)
        self.answer({"kept": line}, 201)

    def answer(self, value: object, status: int = 200) -> None:
        """Write JSON."""
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *values: object) -> None:
        """Keep quiet."""


class Server(ThreadingHTTPServer):
    """Takes many connections at once."""

    request_queue_size = 512
    daemon_threads = True


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    query("CREATE TABLE IF NOT EXISTS lines (id serial PRIMARY KEY, line text NOT NULL)")
    print("the guest book is open")
    Server(("", 8000), Handler).serve_forever()
