"""What authorizes a request to one registry: Basic, or tokens that its token service gives (distribution's token
spec).
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from urllib.parse import urlencode

from tiffin.builder.errors import RegistryError, UnauthorizedError
from tiffin.builder.registry.auth.challenges import Challenge, parse_challenges
from tiffin.builder.registry.auth.credentials import RegistryCredentials
from tiffin.builder.registry.auth.files import DockerConfig
from tiffin.builder.registry.failures import REDIRECTS, RETRIED, Unreachable
from tiffin.builder.registry.http_response import Answer, body_of, joined, origin, split

MAX_TOKEN_BYTES = 1 << 20
MAX_REDIRECTS = 5
TOKEN_LIFE_SECONDS = 60  # the token spec's default
MARGIN_SECONDS = 10  # a token is not used so shortly before its end
FORM = "application/x-www-form-urlencoded"
Send = Callable[[str, str, Mapping[str, str], bytes | None], Answer]


class Tokens:
    """The authorization for each scope, as far as the registry said what it wants; thread-safe.

    `send` makes one request, `check_way` raises RegistryError for an address that may not be gone to from another, and
    `base_url` is the registry's own.
    """

    def __init__(
        self,
        registry: str,
        config: DockerConfig,
        *,
        send: Send,
        check_way: Callable[[str, str], None],
        base_url: Callable[[], str],
    ) -> None:
        self._registry = registry
        self._config = config
        self._send = send
        self._check_way = check_way
        self._base_url = base_url
        self._given: RegistryCredentials | None = None
        self._lock = threading.Lock()  # guards everything below; nothing is asked or sent under it
        self._challenge: Challenge | None = None
        self._tokens: dict[str, tuple[str, float]] = {}
        self._asking: dict[str, threading.Lock] = {}  # by scope: one thread asks for a token, the others wait for it

    def use(self, credentials: RegistryCredentials) -> None:
        """Use these instead of the configured ones (login)."""
        self._given = credentials

    @property
    def remedy(self) -> str:
        """What helps who is refused."""
        log_in = f"run tiffin login {self._registry}"
        problems = self._config.problems
        return f"{problems[0]}: mend that, or {log_in}" if problems and self._given is None else log_in

    def authorization(self, scope: str) -> str:
        """Return the header for `scope`; "" to go without. Raises RegistryError, Unreachable."""
        with self._lock:
            challenge = self._challenge
            asking = self._asking.setdefault(scope, threading.Lock())
        if challenge is None:
            return ""
        credentials = self._credentials(scope)
        if challenge.scheme == "basic":
            return credentials.basic if credentials and credentials.username else ""
        with asking:
            with self._lock:
                token, until = self._tokens.get(scope, ("", 0.0))
            if not token or time.monotonic() >= until:
                token, life = self._ask(challenge, scope, credentials)
                with self._lock:
                    self._tokens[scope] = (token, time.monotonic() + max(life - MARGIN_SECONDS, 1))
        return f"Bearer {token}"

    def challenged(self, header: str, scope: str, refused: str) -> str:
        """Return another header for `scope` after `refused` was answered 401 with this WWW-Authenticate; "" where there
        is none.
        """
        challenges = parse_challenges(header)
        challenge = self._best(challenges)
        if challenge is None:
            if challenges:
                names = ", ".join(dict.fromkeys(challenge.scheme[:20] for challenge in challenges[:5]))
                raise UnauthorizedError(
                    f"{self._registry} wants {names}, which tiffin does not speak",
                    remedy="let it offer Basic or Bearer as well",
                )
            return ""
        with self._lock:
            self._challenge = challenge
            if f"Bearer {self._tokens.get(scope, ('', 0))[0]}" == refused:  # another thread may have a newer one
                del self._tokens[scope]
        authorization = self.authorization(scope)
        return authorization if authorization != refused else ""

    def _best(self, challenges: tuple[Challenge, ...]) -> Challenge | None:
        """Return a token service that may be asked, then Basic; a token service that may not, where there is nothing
        else.
        """
        bearers = [challenge for challenge in challenges if challenge.scheme == "bearer"]
        for challenge in bearers:
            try:
                self._check_realm(challenge)
                return challenge
            except RegistryError:
                continue
        basics = [challenge for challenge in challenges if challenge.scheme == "basic"]
        return next(iter([*basics, *bearers]), None)

    def _credentials(self, scope: str) -> RegistryCredentials | None:
        if self._given is not None:
            return self._given
        repository = scope.split(" ")[0].removeprefix("repository:").rpartition(":")[0]
        return self._config.credentials_for(self._registry, repository)

    # -- the token service -------------------------------------------------------------------------------------------

    def _check_realm(self, challenge: Challenge) -> str:
        """Return the address of the token service, if credentials may go there."""
        realm = challenge.parameters.get("realm", "")
        parts = split(realm) if realm else None
        if parts is None or parts.scheme not in ("http", "https"):
            raise UnauthorizedError(f"{self._registry} names no usable token service", remedy="it is misconfigured")
        self._check_way(self._base_url(), realm)
        return realm

    def _ask(self, challenge: Challenge, scope: str, credentials: RegistryCredentials | None) -> tuple[str, float]:
        """Return a token and how long it lasts: GET with Basic, or POST with a refresh token."""
        realm = self._check_realm(challenge)
        query = [("service", challenge.parameters.get("service", ""))]
        query += [("scope", item) for item in (scope or challenge.parameters.get("scope", "")).split(" ") if item]
        if credentials and credentials.identity_token:
            refresh = [
                ("grant_type", "refresh_token"),
                ("refresh_token", credentials.identity_token),
                ("client_id", "tiffin"),
            ]
            body = urlencode([*refresh, *query]).encode()
            response = self._send("POST", realm, {"Content-Type": FORM}, body)
        else:
            headers = {"Authorization": credentials.basic} if credentials and credentials.username else {}
            separator = "&" if split(realm).query else "?"
            response = self._get(realm + separator + urlencode(query), headers)
        with closing(response):
            self._check_status(response)
            data = body_of(response, MAX_TOKEN_BYTES, f"the token of {self._registry}")
        return self._token_of(data)

    def _get(self, url: str, headers: Mapping[str, str]) -> Answer:
        """Return the answer, after redirects; credentials stay with their origin, or go to the https of the same
        host.
        """
        for _ in range(MAX_REDIRECTS + 1):
            response = self._send("GET", url, headers, None)
            if response.status_code not in REDIRECTS or "Location" not in response.headers:
                return response
            target = joined(url, response.headers["Location"])
            response.close()
            self._check_way(url, target)
            upgraded = (
                split(target).scheme == "https" != split(url).scheme and split(target).hostname == split(url).hostname
            )
            if origin(target) != origin(url) and not upgraded:
                headers = {}
            url = target
        raise RegistryError(f"the token service of {self._registry} redirects without end", remedy="check it")

    def _check_status(self, response: Answer) -> None:
        status, who = response.status_code, f"the token service of {self._registry}"
        if status in (401, 403):
            raise UnauthorizedError(f"{self._registry} refused the credentials", remedy=self.remedy)
        if status in RETRIED:
            raise Unreachable(
                f"{who} answered {status}",
                "wait, or log in for a higher limit" if status == 429 else "try again later",
                again=True,
                retry_after=response.headers.get("Retry-After"),
            )
        if status != 200:
            raise RegistryError(f"{who} answered {status}", remedy="check the name and the registry")

    def _token_of(self, data: bytes) -> tuple[str, float]:
        try:
            document = json.loads(data)
            token = str(document.get("token") or document["access_token"])
            if not token.isascii() or not token.isprintable():
                raise ValueError("no text for a header")
            return token, float(document.get("expires_in") or TOKEN_LIFE_SECONDS)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
            raise RegistryError(
                f"the token service of {self._registry} gave an unreadable answer", remedy="it is misconfigured"
            ) from exc
