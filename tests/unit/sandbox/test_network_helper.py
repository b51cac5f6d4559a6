"""The helper of a network starts a tool beside the sandbox, tells it what to connect, and says what went wrong; the
tools are scripts that note what they are told.
"""

from __future__ import annotations

import json
import os
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from tiffin.builder.sandbox import userns
from tiffin.builder.sandbox.child import kernel
from tiffin.builder.sandbox.child.network import helper
from tiffin.builder.sandbox.child.spec import Connection, Port

PASTA = """
import json, os, sys
place = os.stat(sys.argv[sys.argv.index("--netns") + 1]).st_ino
json.dump([place, sys.argv[1:]], open("told", "w"))
"""
SLIRP = """
import json, os, socket, sys
told = []
ready = next(int(word.partition("=")[2]) for word in sys.argv if word.startswith("--ready-fd="))
server = socket.socket(socket.AF_UNIX)
server.bind("slirp4netns.sock")
server.listen()
os.write(ready, b"1")
json.dump([os.stat(sys.argv[-2]).st_ino, told], open("told", "w"))
while True:
    connection, _ = server.accept()
    asked = json.loads(connection.recv(4096))
    told.append(asked["arguments"])
    json.dump([os.stat(sys.argv[-2]).st_ino, told], open("told", "w"))
    refused = {"error": {"desc": "that port is taken"}} if asked["arguments"]["host_port"] == 1 else {}
    connection.sendall(json.dumps(refused).encode())
    connection.close()
"""
FAILS = """
import sys
print("first", "the device is missing", sep=chr(10), file=sys.stderr)
sys.exit(1)
"""
PORTS = (Port(container=80, host=8080, address="127.0.0.1"), Port(container=53, host=5353, protocol="udp"))


def connected(tmp_path: Path, name: str, script: str, ports: tuple[Port, ...] = PORTS) -> dict[str, Any]:
    """What became of a connection in a child that has a network namespace of its own."""
    tool = tmp_path / name
    tool.write_text(f"#!{os.path.realpath(sys.executable)} -IS\n{textwrap.dedent(script)}")
    tool.chmod(0o755)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        found: dict[str, Any] = {}
        try:
            userns.enter(userns.plan_single())
            connector = helper.start(Connection(name=name, path=str(tool), ports=ports), str(scratch))
            kernel.unshare(kernel.CLONE_NEWNET)
            found["namespace"] = os.stat("/proc/self/ns/net").st_ino
            try:
                connector.attach()
            except OSError as exc:
                found["error"] = exc.strerror
            found["told"] = json.loads((scratch / "told").read_text()) if (scratch / "told").exists() else None
            connector.close()
        finally:
            os.write(writer, json.dumps(found).encode())
            os._exit(0)
    os.close(writer)
    with open(reader) as stream:
        result: dict[str, Any] = json.load(stream)
    assert os.waitpid(child, 0)[1] == 0
    return result


def test_pasta_gets_the_network_and_its_ports_and_nothing_else(tmp_path: Path) -> None:
    found = connected(tmp_path, "pasta", PASTA)
    place, words = found["told"]
    assert "error" not in found and place == found["namespace"]
    text = " ".join(words)
    assert "-t 127.0.0.1/8080:80 -u 5353:53 -T none -U none" in text
    assert {"--no-map-gw", "--netns-only", "--config-net"} <= set(words)


def test_protocols_without_ports_are_closed(tmp_path: Path) -> None:
    _, words = connected(tmp_path, "pasta", PASTA, ())["told"]
    assert "-t none -u none -T none -U none" in " ".join(words)


def test_slirp_is_asked_for_each_port_when_it_is_ready(tmp_path: Path) -> None:
    found = connected(tmp_path, "slirp4netns", SLIRP)
    place, asked = found["told"]
    assert "error" not in found and place == found["namespace"]
    assert asked == [
        {"proto": "tcp", "host_port": 8080, "guest_port": 80, "host_addr": "127.0.0.1"},
        {"proto": "udp", "host_port": 5353, "guest_port": 53},
    ]


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("name", "script", "ports", "error"),
    [
        ("pasta", FAILS, PORTS, "pasta: the device is missing"),
        ("slirp4netns", FAILS, PORTS, "slirp4netns: the device is missing"),
        ("slirp4netns", SLIRP, (Port(container=1, host=1),), "slirp4netns: that port is taken"),
    ],
)
def test_what_a_tool_says_is_told(name: str, script: str, ports: tuple[Port, ...], error: str, tmp_path: Path) -> None:
    assert connected(tmp_path, name, script, ports)["error"] == error
