"""Connections of this machine to servers, for steps: directly, or through its own proxies."""

from __future__ import annotations

import base64
import socket
import ssl
from urllib.parse import unquote, urlsplit

from tiffin.builder.registry.proxies import Proxies
from tiffin.cache.trust import Trust

CONNECT_SECONDS = 15
READ_SECONDS = 300
MAX_HEAD_BYTES = 1 << 16


class Servers:
    """Connects; raises OSError."""

    def __init__(self, trust: Trust, proxies: Proxies) -> None:
        self._trust = trust
        self._proxies = proxies

    def tunnel(self, host: str, port: int) -> socket.socket:
        """Return a connection that carries anything."""
        proxy = self._proxies.of(f"https://{_netloc(host, port)}")
        if not proxy:
            return _connected(host, port)
        parts = urlsplit(proxy)
        line = _connected(parts.hostname or "", parts.port or 80)
        try:
            _ask_proxy(line, _netloc(host, port), _credentials(proxy))
        except BaseException:
            line.close()
            raise
        return line

    def secure(self, host: str, port: int) -> socket.socket:
        """Return a connection that speaks TLS with a server that this machine trusts."""
        line = self.tunnel(host, port)
        try:
            context: ssl.SSLContext = self._trust.context_for(host, port)
            return context.wrap_socket(line, server_hostname=host)
        except BaseException:
            line.close()
            raise

    def plain(self, host: str, port: int) -> tuple[socket.socket, str]:
        """Return a connection for plain HTTP, and what stands before paths: that of a proxy takes whole URLs."""
        place = f"http://{_netloc(host, port)}"
        proxy = self._proxies.of(place)
        if not proxy:
            return _connected(host, port), ""
        parts = urlsplit(proxy)
        return _connected(parts.hostname or "", parts.port or 80), place

    def proxy_authorization(self, host: str, port: int) -> str:
        """Return the header for the proxy of plain HTTP, "" for none."""
        return _credentials(self._proxies.of(f"http://{_netloc(host, port)}"))


def _connected(host: str, port: int) -> socket.socket:
    line = socket.create_connection((host, port), timeout=CONNECT_SECONDS)
    line.settimeout(READ_SECONDS)
    return line


def _ask_proxy(line: socket.socket, place: str, credentials: str) -> None:
    header = f"Proxy-Authorization: {credentials}\r\n" if credentials else ""
    line.sendall(f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n{header}\r\n".encode())
    head = b""
    while b"\r\n\r\n" not in head:
        data = line.recv(1)  # what follows is the server's
        if not data or len(head) > MAX_HEAD_BYTES:
            raise OSError("the proxy of this machine closed the connection")
        head += data
    if head.split(b" ", 2)[1:2] != [b"200"]:
        raise OSError(f"the proxy of this machine refused: {head.partition(bytes((13,)))[0].decode('latin-1')}")


def _credentials(proxy: str) -> str:
    parts = urlsplit(proxy)
    if not parts.username:
        return ""
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return "Basic " + base64.b64encode(pair.encode()).decode()


def _netloc(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
