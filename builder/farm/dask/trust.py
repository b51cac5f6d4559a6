"""TLS of a farm as Dask is told of it, after a look at its files: what is wrong with them is said here by name, and
would be a connection that ends or never comes. And the connections.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any

from distributed import Security
from distributed.comm import Comm, connect

from tiffin.builder.errors import UsageError
from tiffin.builder.farm.address import FarmTrust

MAX_ROUNDS = 8  # of a handshake, which takes three


def security_of(trust: FarmTrust) -> Security:
    """Return Dask's settings for the files of TLS; without them nothing is encrypted. Raises UsageError for files that
    do not belong together, and for a certificate that has expired.
    """
    if not trust:
        return Security()
    check(trust)
    pair = {"cert": trust.cert, "key": trust.key}
    names = {f"tls_{role}_{part}": path for role in ("client", "scheduler", "worker") for part, path in pair.items()}
    return Security(tls_ca_file=trust.ca, require_encryption=True, **names)


async def connected(address: str, seconds: float, arguments: Mapping[str, Any]) -> Comm:
    """Return a connection with another machine of the farm. Raises OSError, whatever goes wrong there: of a machine
    that is lost just as TLS begins, the library below says ValueError.
    """
    try:
        return await connect(address, timeout=seconds, deserialize=False, **arguments)
    except (ValueError, RuntimeError) as exc:
        raise OSError(f"{address} went away: {exc}") from exc


def check(trust: FarmTrust) -> None:
    """Raise UsageError where no other machine with the same authority would accept our certificate."""
    sides = [_context(trust, purpose) for purpose in (ssl.Purpose.SERVER_AUTH, ssl.Purpose.CLIENT_AUTH)]
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = sides[0].wrap_bio(to_client, to_server)
    server = sides[1].wrap_bio(to_server, to_client, server_side=True)
    try:
        for _ in range(MAX_ROUNDS):
            for side in (client, server):
                try:
                    side.do_handshake()
                except ssl.SSLWantReadError:
                    continue
    except ssl.SSLCertVerificationError as exc:
        raise UsageError(
            f"the farm's authority {trust.ca} does not accept the certificate {trust.cert}: {exc.verify_message}",
            remedy="name a certificate that this authority has signed and that has not expired, with its key",
        ) from exc
    except ssl.SSLError as exc:
        raise UsageError(
            f"TLS does not work with the certificate {trust.cert} and its key {trust.key}: {exc.reason or exc}",
            remedy="make both anew",
        ) from exc


def _context(trust: FarmTrust, purpose: ssl.Purpose) -> ssl.SSLContext:
    """Return one side of a connection. Raises UsageError."""
    try:
        context = ssl.create_default_context(purpose, cafile=trust.ca)
    except ssl.SSLError as exc:
        raise UsageError(
            f"--farm-tls-ca {trust.ca} is not a certificate: {exc.reason or exc}", remedy="name a file in PEM"
        ) from exc
    try:
        context.load_cert_chain(trust.cert, trust.key)
    except ssl.SSLError as exc:
        raise UsageError(
            f"{trust.key} is not the key of the certificate {trust.cert}: {exc.reason or exc}",
            remedy="name files in PEM that belong together",
        ) from exc
    context.check_hostname = False  # as Dask: who has a certificate belongs to the farm, wherever it is
    context.verify_mode = ssl.CERT_REQUIRED
    return context
