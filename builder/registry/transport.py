"""HTTP to one registry: retries, redirects, tokens, and errors in words. Owner of requests.

Credentials go to the origin (scheme, host, port) they were given for and to the token realm it names, nowhere else; a
redirect to another origin carries none, and never leads from https to http.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import urlsplit

from tiffin.builder.errors import NotInRegistryError, RegistryError, UnauthorizedError
from tiffin.builder.registry.auth.credentials import RegistryCredentials
from tiffin.builder.registry.auth.files import DockerConfig
from tiffin.builder.registry.auth.tokens import Tokens
from tiffin.builder.registry.failures import (
    REDIRECTS,
    RETRIED,
    Unreachable,
    netloc,
    own_certificate,
    shake_hands,
    tls_error,
    wants_certificate,
)
from tiffin.builder.registry.guard import REMEDY, guarded_adapter, is_private
from tiffin.builder.registry.http_response import detail, joined, origin, split
from tiffin.builder.registry.insecure import is_insecure
from tiffin.builder.registry.proxies import Proxies, is_fault_of_socks, is_this_machine, needs_password, proxy_error
from tiffin.builder.registry.registries_conf import Registries
from tiffin.cache.connections import Connections, plain_adapter, read_out
from tiffin.cache.foundation.frozen import dataclass, field
from tiffin.cache.trust import Trust, host_port

if TYPE_CHECKING:
    from ssl import SSLContext

    import requests
    from requests import Response as Response
    from requests.adapters import BaseAdapter

CONNECT_TIMEOUT_SECONDS = 10
READ_TIMEOUT_SECONDS = 60
SLOW_ANSWER_SECONDS = 300  # a registry that got a large blob checks and moves it before it answers
MAX_TRIES = 5
MAX_REDIRECTS = 5
BACK_OFF_SECONDS = 0.5  # doubled each time, with jitter
MAX_WAIT_SECONDS = 30.0
PROXY_NEEDS_PASSWORD = 407
NO_ANSWER = 504  # a proxy's word: the registry itself may still be at work
HUB_HOST = "registry-1.docker.io"
Body = bytes | BinaryIO | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryOptions:
    """How to reach registries.

    `insecure_registries` are patterns (tiffin.builder.registry.insecure). `timeout_seconds` bounds every wait for an
    answer, `slow_seconds` for that to the last of a large blob, and `tries` how often one is asked for, with
    `back_off_seconds` after the first time; the defaults are for images, which must come.
    """

    insecure_registries: tuple[str, ...] = ()
    trust: Trust = field(default_factory=lambda: Trust({}))
    proxies: Proxies = field(default_factory=lambda: Proxies(settings={}))
    registries: Callable[[], Registries] = Registries  # mirrors and the like, read when first needed
    private_registries: tuple[str, ...] = ()  # patterns, too: hosts that may lead to private addresses
    user_agent: str = "tiffin"
    timeout_seconds: float = READ_TIMEOUT_SECONDS
    slow_seconds: float = SLOW_ANSWER_SECONDS
    tries: int = MAX_TRIES
    back_off_seconds: float = BACK_OFF_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request.

    `body` is called anew for every try; `again` gives what to send after one that failed, where that is not the same;
    it is told whether that one had no answer, so that the registry may still be at work on it. One that `is_slow` may
    be answered late.
    """

    method: str
    url: str  # absolute, or a path below the registry
    scope: str = ""  # "repository:NAME:pull,push"
    headers: Mapping[str, str] | None = None
    body: Callable[[], Body] | None = None
    again: Callable[[bool], Call] | None = None
    is_slow: bool = False
    what: str = ""  # for errors: "manifest of host/repo:tag"
    allowed: frozenset[int] = frozenset()  # statuses beyond 2xx that are answers, not failures
    is_shortcut: bool = False  # it may save work: asked once, and any status is an answer


class Transport:
    """Requests to one registry; thread-safe."""

    def __init__(
        self,
        registry: str,
        config: DockerConfig,
        options: RegistryOptions,
        *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.registry = registry
        self._options = options
        self._sleep = sleep
        self.host = HUB_HOST if registry == "docker.io" else registry
        self._base = ""
        self._is_insecure = is_insecure(registry, options.insecure_registries)
        self.chunk_bytes = 0  # what an upload may send in one request, once one was refused as too large
        self._connections = Connections(self._adapter, trust_env=False)
        self._hosts = {split(f"//{self.host}").hostname or ""}  # that are shown our certificate
        self._tokens = Tokens(
            registry, config, send=self._ask_service, check_way=self._check_way, base_url=self._base_url
        )

    def send(self, call: Call) -> requests.Response:
        """Send, with retries; the response streams and is the caller's to close. Raises RegistryError."""
        tries = 1 if call.is_shortcut else self._options.tries
        for number in range(1, tries + 1):
            last = number == tries
            try:
                response = self._authorized(call)
            except Unreachable as exc:
                if last or not exc.again:
                    raise RegistryError(exc.message, remedy=exc.remedy) from exc
                retry_after, unanswered = exc.retry_after, exc.is_late
            else:
                if response.status_code not in RETRIED or last:
                    return self._checked(call, response)
                retry_after, unanswered = response.headers.get("Retry-After"), response.status_code == NO_ANSWER
                read_out(response)
            self.pause(number, retry_after)
            call = call.again(unanswered) if call.again else call
        raise AssertionError("unreachable")

    @property
    def timeout_seconds(self) -> float:
        """What an answer may take."""
        return self._options.timeout_seconds

    def use(self, credentials: RegistryCredentials) -> None:
        """Use these instead of the configured ones (login)."""
        self._tokens.use(credentials)

    # -- one try -----------------------------------------------------------------------------------------------------

    def _authorized(self, call: Call) -> requests.Response:
        """Answer one challenge, if there is one."""
        authorization = self._tokens.authorization(call.scope)
        response = self._redirected(call, authorization)
        if response.status_code != 401 or self._led_away(response):
            return response
        header = response.headers.get("WWW-Authenticate", "")  # several are joined by commas
        authorization = self._tokens.challenged(header, call.scope, authorization)
        if not authorization:
            return response
        read_out(response)
        return self._redirected(call, authorization)

    def _led_away(self, response: requests.Response) -> bool:
        """Return whether another answered than the registry: no credentials answer what that one asks for."""
        return origin(response.url) != origin(self._base_url())

    def _redirected(self, call: Call, authorization: str) -> requests.Response:
        url = self._absolute(call.url)
        if origin(url) != origin(self._base_url()):  # an upload's Location, a list's next page
            self._check_way(self._base_url(), url)
        for _ in range(MAX_REDIRECTS + 1):
            same_origin = origin(url) == origin(self._base_url())
            headers = dict(call.headers or {})
            if authorization and same_origin:
                headers["Authorization"] = authorization
            body = call.body() if call.body else None
            response = self._raw(call.method, url, headers, body, is_slow=call.is_slow)
            if response.status_code not in REDIRECTS or "Location" not in response.headers:
                return response
            target = joined(url, response.headers["Location"])
            read_out(response)
            self._check_way(url, target)
            url = target
        raise RegistryError(f"{self.registry} redirects without end", remedy="check its configuration")

    def _raw(
        self, method: str, url: str, headers: Mapping[str, str], body: Body, *, is_slow: bool = False
    ) -> requests.Response:
        import requests

        session, options = self._connections.session(), self._options
        proxy = options.proxies.of(url)
        try:
            response = session.request(
                method,
                url,
                headers={"Accept-Encoding": "identity", **headers, "User-Agent": options.user_agent},
                data=body,
                stream=True,
                allow_redirects=False,
                proxies={"http": proxy, "https": proxy} if proxy else {},
                timeout=(self._connect_seconds(), options.slow_seconds if is_slow else options.timeout_seconds),
            )
            if response.status_code == PROXY_NEEDS_PASSWORD and proxy:
                read_out(response)
                raise needs_password(proxy)
            if method == "HEAD" or response.headers.get("Content-Length") == "0":
                read_out(response)  # there is no more to come
            return response
        except (requests.exceptions.ProxyError, requests.exceptions.InvalidSchema) as exc:
            raise self._proxy_error(exc, proxy) from exc
        except requests.exceptions.SSLError as exc:
            broke = "EOF" in str(exc) and not self._wants_certificate(url)
            raise (self._connection_error(exc, url) if broke else tls_error(exc, netloc(url))) from exc
        except requests.exceptions.ConnectionError as exc:
            if proxy.startswith("socks") and is_fault_of_socks(exc):
                raise self._proxy_error(exc, proxy) from exc
            raise self._connection_error(exc, url) from exc
        except requests.exceptions.Timeout as exc:
            raise Unreachable(
                f"{self._asked(url)} did not answer in time", "try again later", again=True, is_late=True
            ) from exc
        except (requests.exceptions.RequestException, OSError) as exc:
            reason, passes = type(exc).__name__, not isinstance(exc, ValueError)  # no address, or none that is spoken
            raise Unreachable(
                f"the request to {self._asked(url)} failed ({reason})", "try again", again=passes
            ) from exc

    def _adapter(self) -> BaseAdapter:
        if self._may_lead_home() or is_private(split(f"//{self.host}").hostname or ""):
            return plain_adapter(self._tls_context)
        return guarded_adapter(self.registry, self._tls_context, self._may_lead_home)

    def _tls_context(self, name: str, port: int | None) -> SSLContext:
        """Return the TLS context for a server that the registry is, or leads to.

        Whoever vouches for the registry does for that, too; what shows who we are goes to the registry's own host, and
        to its token service.
        """
        here = host_port(name, port)
        itself = (self.host, self.registry)
        return self._options.trust.context(
            dict.fromkeys((*itself, here)),
            own=dict.fromkeys((*(itself if name in self._hosts else ()), here)),
            verifies=not self._is_insecure,
        )

    def _ask_service(self, method: str, url: str, headers: Mapping[str, str], body: Body) -> requests.Response:
        self._hosts.add(split(url).hostname or "")
        return self._raw(method, url, headers, body)

    def _is_loopback(self) -> bool:
        return is_this_machine(urlsplit(f"//{self.host}").hostname or "")

    def _may_lead_home(self, host: str = "") -> bool:
        """Whether the user said so, of this registry or of a host it leads to."""
        patterns = self._options.private_registries
        return is_insecure(self.registry, patterns) or (bool(host) and is_insecure(host, patterns))

    # -- where -------------------------------------------------------------------------------------------------------

    def _base_url(self) -> str:
        """Return the https address, or http where it is allowed and https is not spoken; found out once."""
        if not self._base:
            secure = f"https://{self.host}"
            if self._is_loopback():
                self._base = f"http://{self.host}" if not self._speaks_tls() else secure
            elif self._is_insecure:
                self._base = secure if self._speaks_tls() else f"http://{self.host}"
            else:
                self._base = secure
        return self._base

    def _speaks_tls(self) -> bool:
        """Whether the other side answers a TLS hello; who it is does not matter yet."""
        parts = urlsplit(f"//{self.host}")
        port = parts.port or (443 if not self._is_loopback() else 80)
        return shake_hands(parts.hostname or "", port, self._connect_seconds()) is not None

    def _wants_certificate(self, url: str) -> bool:
        """Whether a server that broke a connection off did so because we showed it no certificate that it takes."""
        parts = split(url)
        alert = shake_hands(parts.hostname or "", parts.port or 443, self._connect_seconds(), listens=True)
        return wants_certificate(alert or "")

    def _absolute(self, url: str) -> str:
        return url if "://" in url else self._base_url() + url

    def _check_way(self, source: str, target: str) -> None:
        """Check the way from an address to one that its answer names."""
        parts = split(target)
        if parts.scheme not in ("http", "https"):
            raise RegistryError(f"{self.registry} leads to a {parts.scheme} address", remedy="it is misconfigured")
        if split(source).scheme == "https" and parts.scheme == "http" and not self._is_insecure:
            raise RegistryError(
                f"{self.registry} leads from https to http ({parts.hostname})", remedy="it is misconfigured"
            )
        self._check_address(parts.hostname or "")

    def _check_address(self, host: str) -> None:
        """Refuse an address of this machine's own network that a public registry names."""
        if self._may_lead_home(host):
            return
        if is_private(host) and not is_private(split(f"//{self.host}").hostname or ""):
            raise RegistryError(f"{self.registry} leads to the private address {host}", remedy=REMEDY)

    # -- failures ----------------------------------------------------------------------------------------------------

    def send_at_most(self, size_bytes: int) -> None:
        """Have uploads send no more in one request from now on."""
        self.chunk_bytes = size_bytes

    def pause(self, number: int, retry_after: str | None = None) -> float:
        """Wait before the try after try `number`; the seconds."""
        seconds: float = self._options.back_off_seconds * 2.0 ** (number - 1) * (1 + random.random() / 4)
        if retry_after and retry_after.isdigit():
            seconds = max(seconds, float(retry_after))
        seconds = min(seconds, MAX_WAIT_SECONDS, self._options.timeout_seconds)
        self._sleep(seconds)
        return seconds

    def _connect_seconds(self) -> float:
        return min(CONNECT_TIMEOUT_SECONDS, self._options.timeout_seconds)

    def _checked(self, call: Call, response: requests.Response) -> requests.Response:
        status = response.status_code
        if 200 <= status < 300 or status in call.allowed or call.is_shortcut:
            return response
        with response:
            words = detail(response.raw)
        what = call.what or f"{self.registry}"
        if status in (401, 403) and self._led_away(response):
            raise RegistryError(
                f"{what}: {self._asked(response.url)} denied access ({status}{words})",
                remedy="try again later: such an address may have been for a while only",
            )
        if status in (401, 403):
            raise UnauthorizedError(f"{what}: access denied ({status}{words})", remedy=self._tokens.remedy)
        if status == 404:
            raise NotInRegistryError(f"{what}: not found{words}", remedy="check the name")
        if "SSL certificate" in words:  # nginx
            raise RegistryError(f"{what}: access denied{words}", remedy=own_certificate(self.registry))
        if status == 429:
            raise RegistryError(f"{what}: too many requests{words}", remedy="wait, or log in for a higher limit")
        remedy = "try again later" if status >= 500 else "check the name and the registry"
        raise RegistryError(f"{what}: the registry answered {status}{words}", remedy=remedy)

    def _proxy_error(self, exc: Exception, proxy: str) -> Exception:
        error = proxy_error(exc, proxy)
        return Unreachable(error.message, error.remedy, again="refused" in error.message or "broke" in error.message)

    def _connection_error(self, exc: Exception, url: str) -> Exception:
        text, host = str(exc), netloc(url)
        if wants_certificate(text):
            return tls_error(exc, host)
        if "Name or service not known" in text or "NameResolution" in text or "Temporary failure in name" in text:
            return Unreachable(f"no host is called {host}", "check the name and the network", again=False)
        if "Connection refused" in text:
            return Unreachable(f"{self._asked(url)} refused the connection", "is the registry running?", again=True)
        return Unreachable(f"the connection to {self._asked(url)} broke", "try again", again=True)

    def _asked(self, url: str) -> str:
        """Return who was asked, for messages: the registry, or another to whom it leads."""
        host = netloc(url)
        return self.registry if host == self.host else f"{host}, to where {self.registry} leads,"
