"""Connections to web servers that are kept and used again: by all threads of a process, never by a process forked from
it.

A connection is worth as many as four round trips (TCP, TLS), so each answer is read to its end, where that is near.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ssl import SSLContext

    import requests
    from requests.adapters import BaseAdapter

ContextFor = Callable[[str, "int | None"], "SSLContext"]
RETRIED = frozenset({429, 500, 502, 503, 504})  # answers that another try may mend
KEPT_CONNECTIONS = 32  # for each server: as many as threads of ours ask at once
SMALL_BYTES = 64 << 10  # an answer nobody wants is read to its end up to here; beyond, a new connection costs less
IMPORTING = threading.Lock()  # libraries that change the filters of warnings while they are imported: one at a time


class Connections:
    """Sessions, one for each thread, over the same connections. `make_adapter` makes what opens them; `trust_env` says
    whether proxies of the environment count."""

    def __init__(self, make_adapter: Callable[[], BaseAdapter] | None = None, *, trust_env: bool) -> None:
        self._make_adapter = make_adapter
        self._trust_env = trust_env
        self._lock = threading.Lock()  # guards the three below
        self._pid = 0
        self._adapter: BaseAdapter | None = None
        self._local = threading.local()

    def session(self) -> requests.Session:
        """Return this thread's session. It reads no ~/.netrc."""
        with self._lock:
            if self._adapter is None or self._pid != os.getpid():  # what a parent opened is the parent's
                self._pid, self._local = os.getpid(), threading.local()
                self._adapter = self._make_adapter() if self._make_adapter else plain_adapter()
            adapter, local = self._adapter, self._local
        session: requests.Session | None = getattr(local, "session", None)
        if session is None:
            import requests

            session = requests.Session()
            session.trust_env = self._trust_env
            session.auth = _no_auth
            for scheme in ("http://", "https://"):
                session.mount(scheme, adapter)
            local.session = session
        return session


def plain_adapter(context_for: ContextFor | None = None, pools: Mapping[str, type] | None = None) -> BaseAdapter:
    """Return what opens connections.

    `context_for` gives the TLS context for a host and port (requests' own trust otherwise), `pools` the classes of
    urllib3 that make them, by scheme.
    """
    with IMPORTING:
        from requests.adapters import HTTPAdapter
        from urllib3.exceptions import InsecureRequestWarning

        if context_for is not None:  # which says what is verified
            warnings.simplefilter("ignore", InsecureRequestWarning)

    class Adapter(HTTPAdapter):
        def init_poolmanager(self, *args: Any, **options: Any) -> None:
            super().init_poolmanager(*args, **options)
            if pools is not None:
                self.poolmanager.pool_classes_by_scheme = dict(pools)

        def build_connection_pool_key_attributes(self, request: Any, verify: Any, cert: Any = None) -> Any:
            host, options = super().build_connection_pool_key_attributes(request, verify, cert)
            if context_for is None or host["scheme"] != "https":
                return host, options
            return host, {"ssl_context": context_for(host["host"] or "", host["port"])}

        def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
            if context_for is None:
                super().cert_verify(conn, url, verify, cert)  # type: ignore[no-untyped-call]  # so it is stubbed

    return Adapter(pool_maxsize=KEPT_CONNECTIONS)


def read_out(response: requests.Response) -> None:
    """Close an answer nobody wants the body of, so that its connection can be used again if the body is short."""
    try:
        length = response.headers.get("Content-Length", "")
        is_empty = response.request.method == "HEAD" or response.status_code == 204
        if is_empty or (length.isdigit() and int(length) <= SMALL_BYTES):
            response.raw.read(SMALL_BYTES, decode_content=False)
    except Exception:  # urllib3's many names for a broken connection, which closing ends as well
        pass
    finally:
        response.close()


def _no_auth(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request
