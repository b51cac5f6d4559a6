"""An application of four services, all from Debian packages: it comes up healthy, answers a load through its published
ports, survives a restart and the death of its supervisors, keeps its data, and goes down in time.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
import urllib.request

import pytest

from tests.conftest import CHECKOUT
from tests.support.servers import free_port
from tests.support.unprivileged import WITH_IDS, Users

pytestmark = [pytest.mark.userns, pytest.mark.network, pytest.mark.slow, pytest.mark.xdist_group("debian")]
SERVICES = {"proxy", "app", "db", "cache"}
LOAD_SECONDS = 4
STOP_SECONDS = 20  # of patience, in the file


class Guestbook:
    """The project of examples/compose, as an unprivileged user."""

    def __init__(self, users: Users, debian: str) -> None:
        self._users = users
        self._folder = users.home(WITH_IDS) / "guestbook"
        shutil.copytree(CHECKOUT / "examples/compose", self._folder)
        users.own(WITH_IDS, self._folder)
        self.http, self.database, self.cache = free_port(), free_port(), free_port()
        self._environ = {
            "BASE": debian,
            "HTTP_PORT": str(self.http),
            "DATABASE_PORT": str(self.database),
            "CACHE_PORT": str(self.cache),
        }

    def __call__(self, *words: str) -> str:
        file = str(self._folder / "compose.yaml")
        return self._users.run(WITH_IDS, ["compose", "-f", file, *words], check=True, **self._environ).stdout

    def tool(self, *words: str) -> str:
        """Run a program of an image in this machine's own network."""
        return self._users.run(WITH_IDS, ["run", "--rm", "--network", "host", *words]).stdout

    def get(self, path: str = "/", data: bytes | None = None) -> object:
        deadline = time.monotonic() + 10
        while True:
            try:
                url = f"http://127.0.0.1:{self.http}{path}"
                with urllib.request.urlopen(urllib.request.Request(url, data=data), timeout=5) as answer:
                    return json.load(answer)
            except OSError:  # the proxy has not found the application again
                assert time.monotonic() < deadline
                time.sleep(0.2)

    def healths(self) -> dict[str, str]:
        rows = map(json.loads, self("ps", "-a", "--format", "json").splitlines())
        return {row["Service"]: row["Health"] or row["State"] for row in rows}

    def supervisors(self) -> list[int]:
        state = self._users.home(WITH_IDS) / ".local/share/tiffin/containers"
        return [json.loads((state / name / "state.json").read_text())["pid"] for name in self("ps", "-q").split()]


def test_application(users: Users, debian: str) -> None:
    book = Guestbook(users, debian)
    try:
        book("up", "-d", "--wait", "--wait-timeout", "120")
        assert book.healths() == dict.fromkeys(SERVICES, "healthy")
        assert book.get(data=b"first") == {"kept": "first"}
        load(book)
        visits = book.get()
        book("restart")
        book("up", "-d", "--wait", "--wait-timeout", "60")
        assert book.get("/lines") == ["first"]
        for pid in book.supervisors():
            os.kill(pid, signal.SIGKILL)
        time.sleep(1)
        assert set(book.healths().values()) <= {"dead", "exited", "unhealthy"}
        book("up", "-d", "--wait", "--wait-timeout", "60")
        assert book.healths() == dict.fromkeys(SERVICES, "healthy")
        book.get(data=b"second")
        assert book.get("/lines") == ["first", "second"]
        after = book.get()
        assert isinstance(visits, dict) and isinstance(after, dict) and after["visits"] > visits["visits"] > 100
        began = time.monotonic()
        book("down")
        assert time.monotonic() - began < STOP_SECONDS + 10
        assert book.healths() == {}
        book("up", "-d", "--wait", "--wait-timeout", "120")
        assert book.get("/lines") == ["first", "second"]
    finally:
        book("down", "-v", "-t", "5")


def load(book: Guestbook) -> None:
    """Have every published port answer for a while."""
    address = f"http://127.0.0.1:{book.http}/"
    ab = ["ab", "-q", "-k", "-c", "8", "-n", "100000", "-t", str(LOAD_SECONDS), address]
    done = subprocess.run(ab, capture_output=True, text=True, check=True, timeout=60).stdout
    assert "Failed requests:        0" in done or "Non-2xx" not in done
    requests = next(int(line.split()[-1]) for line in done.splitlines() if line.startswith("Complete requests"))
    assert requests > 100
    bench = ["-e", "PGPASSWORD=for-trying-only", "guestbook-db", "pgbench", "-h", "127.0.0.1", "-p", str(book.database)]
    book.tool(*bench, "-U", "guest", "-i", "-q", "guest")
    said = book.tool(*bench, "-U", "guest", "-c", "4", "-T", str(LOAD_SECONDS), "guest")
    assert "number of failed transactions: 0" in said
    words = ["-h", "127.0.0.1", "-p", str(book.cache), "-q", "-t", "set,get", "-n", "5000"]
    assert book.tool("guestbook-cache", "redis-benchmark", *words).count("requests per second") == 2
