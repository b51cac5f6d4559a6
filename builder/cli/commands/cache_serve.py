"""tiffin cache serve: this machine's step records and packed layers, read-only, for other builders."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

from tiffin.builder.cli.options.command import BUILDS, Command
from tiffin.builder.cli.options.common import RegistryArguments, SignatureArguments
from tiffin.builder.cli.options.option import Flag, Many, Text
from tiffin.builder.cli.output.console import print_error, print_result
from tiffin.builder.errors import TiffinError, UsageError
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.api.session import Session
    from tiffin.cache.store.snapshots import BlobRef


class ServeArguments(SignatureArguments, RegistryArguments):
    """Whom to serve, and what."""

    listen = Text(
        "--listen", metavar="HOST:PORT", default="127.0.0.1:5050", help="Where to listen (default: 127.0.0.1:5050)."
    )
    token_file = Text("--token-file", metavar="FILE", help="File with the token that clients must send.")
    no_token = Flag("--no-token", help="Serve anyone who can reach the port.")
    upstreams = Many(
        "--upstream",
        metavar="REGISTRY",
        help="Registry to fetch missing layers from, once for all builders; repeatable.",
    )


def serve_cache(session: Session, line: ServeArguments) -> None:
    """Serve the local cache until interrupted."""
    from tiffin.builder.events import NullSink
    from tiffin.cache.shared.serve import ServedCache, serve
    from tiffin.cache.shared.signing import signer_of
    from tiffin.cache.store.local import LocalCache

    host, _, port = line.listen.rpartition(":")
    if not host or not port.isdigit():
        raise UsageError(f"--listen {line.listen} is not HOST:PORT", remedy="write --listen 0.0.0.0:5050")
    token = _token(line)
    remote = session.remote(NullSink(), line.registry_access(), peers=None)  # a peer asks registries only

    def fetch(ref: BlobRef, registry: str, repository: str, begun: Callable[[Path], None]) -> bool:
        if registry not in line.upstreams:
            return False
        try:
            remote.fetch_from(ref, registry, repository, begun)
        except TiffinError:
            return False
        return True

    served_cache = ServedCache(
        blobs=session.blobs,
        cache=LocalCache(session.table),
        signer=signer_of(Path(line.sign_key) if line.sign_key else None),
        fetch=fetch,
    )
    serve(served_cache, host.strip("[]"), int(port), token, _tell_address)


def _tell_address(address: str) -> None:
    print_result(f"serving on {address}")
    sys.stdout.flush()  # who starts it waits for the line


def _token(line: ServeArguments) -> str:
    """Return the token to ask for; a new one is told on stderr where none is given."""
    from tiffin.builder.settings.access import TOKEN_VARIABLE

    if line.no_token:
        return ""
    if line.token_file:
        try:
            token = Path(line.token_file).read_text().strip()
        except (OSError, UnicodeDecodeError) as exc:
            raise UsageError(f"cannot read {line.token_file}: {exc}", remedy="check --token-file") from exc
        if token:
            return token
        raise UsageError(f"{line.token_file} is empty", remedy="put a token into it: openssl rand -hex 32")
    if os.environ.get(TOKEN_VARIABLE):
        return os.environ[TOKEN_VARIABLE]
    import secrets

    token = secrets.token_urlsafe(24)
    print_error(f"clients must set {TOKEN_VARIABLE}={token}")
    return token


COMMANDS = (
    Command(
        "cache serve",
        ServeArguments,
        serve_cache,
        about="Offer the local cache over HTTP to other builders.",
        help="Offer the local cache over HTTP, for --cache-peer and --cache-from type=http, until interrupted.",
        section=BUILDS,
        examples=("tiffin cache serve --listen 0.0.0.0:5050 --token-file token",),
    ),
)
