"""A token service for docker-registry (distribution's token spec), with users and what they may do."""

from __future__ import annotations

import base64
import contextlib
import http.server
import json
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from tests.support.serving import serving

SERVICE = "company"


@dataclass(slots=True)
class TokenService:
    """`users`: their passwords; `rights`: for each user, the actions by the beginning of a repository's name.

    "" is who gives no name. `others` says what comes of scopes beyond the first: given, left out, or refused with a
    status.
    """

    folder: Path
    users: Mapping[str, str]
    rights: Mapping[str, Mapping[str, str]]
    others: str | int = "given"
    busy: int = 0  # so many of the next answers are 503
    asked: list[list[str]] = field(default_factory=list)  # the scopes of each question
    port: int = 0

    @property
    def bundle(self) -> Path:
        """Whose tokens the registry takes."""
        return self.folder / "token.crt"

    def actions(self, user: str, scope: str) -> dict[str, object]:
        kind, name, wanted = scope.split(":")
        may = next((rights for start, rights in self.rights[user].items() if name.startswith(start)), "")
        return {"type": kind, "name": name, "actions": [one for one in wanted.split(",") if one in may.split(",")]}

    def token(self, user: str, scopes: list[str]) -> str:
        """A signed JSON web token."""
        now = int(time.time())
        access = [self.actions(user, scope) for scope in scopes]
        claims = {"iss": SERVICE, "aud": SERVICE, "sub": user, "iat": now, "nbf": now - 10, "exp": now + 60,
                  "jti": str(len(self.asked)), "access": access}  # fmt: skip
        chain = "".join(self.bundle.read_text().splitlines()[1:-1])
        text = f"{_encoded({'typ': 'JWT', 'alg': 'RS256', 'x5c': [chain]})}.{_encoded(claims)}"
        sign = ["openssl", "dgst", "-sha256", "-sign", str(self.folder / "token.key")]
        signature = subprocess.run(sign, input=text.encode(), capture_output=True, check=True).stdout
        return f"{text}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"


@contextlib.contextmanager
def token_service(
    folder: Path, users: Mapping[str, str], rights: Mapping[str, Mapping[str, str]]
) -> Iterator[TokenService]:
    """Serve on a loopback port, by plain http: TLS is for who stands before it."""
    service = TokenService(folder=folder, users=users, rights=rights)
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=tokens"]
    subprocess.run([*make, "-keyout", folder / "token.key", "-out", service.bundle], check=True, capture_output=True)
    handler = type("Handler", (_Handler,), {"service": service})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    service.port = server.server_address[1]
    with serving(server):
        yield service


class _Handler(http.server.BaseHTTPRequestHandler):
    service: TokenService

    def do_GET(self) -> None:
        service, query = self.service, parse_qs(urlsplit(self.path).query)
        scopes = query.get("scope", [])
        service.asked.append(scopes)
        user, _, password = (
            base64.b64decode(self.headers.get("Authorization", "").removeprefix("Basic ")).decode().partition(":")
        )
        if service.busy:
            service.busy -= 1
            self._answer(503, {})
        elif user and service.users.get(user) != password:
            self._answer(401, {})
        elif query.get("service") != [SERVICE]:
            self._answer(400, {})
        elif isinstance(service.others, int) and len(scopes) > 1:
            self._answer(service.others, {})
        else:
            given = scopes if service.others == "given" else scopes[:1]
            self._answer(200, {"token": service.token(user, given), "expires_in": 60})

    def _answer(self, status: int, document: Mapping[str, object]) -> None:
        data = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        return None


def _encoded(document: Mapping[str, object]) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).decode().rstrip("=")
