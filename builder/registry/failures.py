"""Which answers of servers pass, the failures that another try may mend, and TLS's in words."""

from __future__ import annotations

import re
import socket

from tiffin.builder.errors import RegistryError
from tiffin.builder.registry.http_response import split

RETRIED = frozenset({429, 500, 502, 503, 504})
LISTEN_SECONDS = 3  # an alert follows the handshake at once
REDIRECTS = frozenset({301, 302, 303, 307, 308})


class Unreachable(Exception):
    """No answer, or one that may be another soon; `again` if another try may get it, after what `retry_after` says;
    `is_late` if the request may have arrived all the same."""

    def __init__(
        self, message: str, remedy: str, *, again: bool, is_late: bool = False, retry_after: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.again = again
        self.is_late = is_late
        self.retry_after = retry_after


def tls_error(exc: Exception, host: str) -> RegistryError:
    """Return what a failed TLS handshake with `host` means."""
    text = str(exc)
    if any(word in text for word in ("WRONG_VERSION_NUMBER", "UNKNOWN_PROTOCOL", "RECORD_LAYER", "HTTP_REQUEST")):
        return RegistryError(f"{host} speaks plain http", remedy=f"use --insecure-registry {host} if that is meant")
    if wants_certificate(text) or "EOF" in text:
        return RegistryError(f"{host} wants a certificate of this client", remedy=own_certificate(host))
    match = re.search(r"certificate verify failed: ([^(]*)", text)
    reason = match[1].strip().rstrip(".") if match else ""
    if "expired" in reason or "not yet valid" in reason:
        remedy = "renew it there, or set the clock here"
    elif "mismatch" in reason or "not valid for" in reason:
        remedy = "use a name that it was made for"
    elif not reason:
        return RegistryError(f"the TLS handshake with {host} failed: {_words(text)}", remedy="check its set-up")
    else:
        remedy = f"put its CA into certs.d/{host}/ca.crt or the system's store, or use --registry-cert FILE"
    return RegistryError(f"the certificate of {host} is not trusted ({reason})", remedy=remedy)


def netloc(url: str) -> str:
    """Return host and port of a URL, for messages."""
    return split(url).netloc.rpartition("@")[2]


def shake_hands(host: str, port: int, seconds: float, *, listens: bool = False) -> str | None:
    """Find out what TLS is spoken there, without a look at who answers: the alert it sent, "" for none, None for no
    TLS. A server that takes no client without a certificate may say so only when it is listened to.
    """
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with (
            socket.create_connection((host, port), seconds) as plain,
            context.wrap_socket(plain, server_hostname=host) as secure,
        ):
            if listens:
                secure.settimeout(min(seconds, LISTEN_SECONDS))
                secure.recv(1)
    except TimeoutError:
        return "" if listens else None
    except ssl.SSLError as exc:
        return str(exc.reason) if "ALERT" in str(exc.reason) else None
    except OSError:
        return None
    return ""


def wants_certificate(text: str) -> bool:
    """Whether the words of an error say that the other side refused our certificate, or the lack of one."""
    return (
        re.search(r"ALERT_(CERTIFICATE|BAD_CERTIFICATE|UNKNOWN_CA|UNSUPPORTED_CERT|CERT)|certificate required", text)
        is not None
    )


def own_certificate(host: str) -> str:
    """Return the remedy where a server asks who we are by a certificate."""
    return f"put yours into ~/.config/containers/certs.d/{host}/ as client.cert and client.key"


def _words(text: str) -> str:
    match = re.search(r"\[SSL: \w+\] ([^(]*)", text)
    return match[1].strip() if match else "no answer that is TLS"
