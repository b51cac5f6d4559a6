"""Which proxy a request goes through, and what is said of one that fails."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from tiffin.builder.registry.proxies import Proxies, configured_proxies, is_excepted, proxy_error, read_docker_config


@pytest.mark.parametrize(
    ("no_proxy", "host", "port", "excepted"),
    [
        ("corp.example", "corp.example", 443, True),
        ("corp.example", "a.corp.example", 443, True),
        ("corp.example", "notcorp.example", 443, False),
        (".corp.example", "a.corp.example", 443, True),
        (".corp.example", "corp.example", 443, False),
        ("*.corp.example", "a.b.corp.example", 443, True),
        ("*.corp.example", "corp.example", 443, False),
        ("CORP.example", "a.Corp.Example", 443, True),
        ("*", "any.example", 443, True),
        ("x, corp.example", "corp.example", 443, True),
        ("x corp.example", "corp.example", 443, True),
        ("corp.example:8443", "corp.example", 8443, True),
        ("corp.example:8443", "corp.example", 443, False),
        ("10.0.0.0/8", "10.2.3.4", 443, True),
        ("10.0.0.0/8", "11.2.3.4", 443, False),
        ("10.0.0.0/8", "ten.example", 443, False),
        ("10.1.2.3", "10.1.2.3", 443, True),
        ("10.1.2.3:80", "10.1.2.3", 443, False),
        ("fd00::/8", "fd00::1", 443, True),
        ("[fd00::1]:443", "fd00::1", 443, True),
        (" , ,", "corp.example", 443, False),
    ],
)
def test_no_proxy(no_proxy: str, host: str, port: int, excepted: bool) -> None:
    assert is_excepted(host, port, no_proxy) is excepted


CONFIGURED = {"proxies": {"default": {"httpsProxy": "http://conf:1", "noProxy": "*.in.example"}}}


@pytest.mark.parametrize(
    ("environ", "url", "proxy"),
    [
        ({}, "https://a.example/", "http://conf:1"),
        ({}, "http://a.example/", ""),
        ({}, "https://a.in.example/", ""),
        ({"HTTPS_PROXY": "env:2"}, "https://a.example/", "http://env:2"),
        ({"HTTPS_PROXY": "env:2"}, "https://a.in.example/", "http://env:2"),
        ({"https_proxy": "http://low:3", "HTTPS_PROXY": "http://up:4"}, "https://a.example/", "http://low:3"),
        ({"ALL_PROXY": "socks5h://s:5"}, "http://a.example/", "socks5h://s:5"),
        ({"NO_PROXY": "a.example"}, "https://a.example/", ""),
        ({"HTTPS_PROXY": "http://env:2"}, "https://localhost:5000/", ""),
        ({"HTTP_PROXY": "http://env:2"}, "http://127.0.0.1:5000/", ""),
    ],
)
def test_which_one(environ: Mapping[str, str], url: str, proxy: str) -> None:
    assert Proxies.read(environ, configured_proxies(CONFIGURED)).of(url) == proxy


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Tunnel connection failed: 407 Proxy Authentication Required", "wants a user and a password"),
        ("Tunnel connection failed: 503 Service Unavailable", "answered 503"),
        ("[Errno 111] Connection refused", "refused the connection"),
        ("NameResolutionError(...)", "could not resolve the proxy"),
        ("Missing dependencies for SOCKS support.", "speaks SOCKS"),
        ("Remote end closed connection", "broke"),
    ],
)
def test_what_is_said(text: str, message: str) -> None:
    error = proxy_error(Exception(text), "http://me:secret@proxy.example:3128")
    assert "proxy.example:3128" in error.message and message in error.message
    assert "secret" not in error.message + error.remedy


@pytest.mark.parametrize("text", ["", "{", '"proxies"', '{"proxies": 3}', '{"proxies": {"default": []}}'])
def test_a_config_that_cannot_be_read_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    assert configured_proxies(read_docker_config({"DOCKER_CONFIG": str(tmp_path)})) == {}
