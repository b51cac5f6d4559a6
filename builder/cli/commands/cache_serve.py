"""tiffin cache serve: this machine's step records and packed layers, read-only, for other builders."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path

import click

from tiffin.builder.api.session import Session
from tiffin.builder.cli.options.click_command import registry_options
from tiffin.builder.errors import TiffinError, UsageError
from tiffin.builder.events import NullSink
from tiffin.builder.settings.access import TOKEN_VARIABLE, RegistryAccess
from tiffin.cache.shared.serve import ServedCache, serve
from tiffin.cache.shared.signing import signer_of
from tiffin.cache.store.local import LocalCache
from tiffin.cache.store.snapshots import BlobRef


@click.command("serve")
@click.option("--listen", default="127.0.0.1:5050", show_default=True, metavar="HOST:PORT", help="Where to listen.")
@click.option(
    "--token-file", type=click.Path(dir_okay=False), metavar="FILE", help="Holds the token clients must send."
)
@click.option("--no-token", is_flag=True, help="Serve anyone who can reach the port.")
@click.option(
    "--upstream", "upstreams", multiple=True, metavar="REGISTRY",
    help="Fetch layers that are not here from this registry, once for all who ask; repeatable.",
)  # fmt: skip
@click.option("--cache-sign-key", "sign_key", type=click.Path(dir_okay=False), envvar="TIFFIN_CACHE_SIGN_KEY")
@registry_options
@click.pass_obj
def serve_command(
    session: Session, /, listen: str, token_file: str | None, no_token: bool, upstreams: tuple[str, ...],
    sign_key: str | None, registry: RegistryAccess,
) -> None:  # fmt: skip
    """Offer the local cache over HTTP, for --cache-peer and --cache-from type=http, until interrupted."""
    host, _, port = listen.rpartition(":")
    if not host or not port.isdigit():
        raise UsageError(f"--listen {listen} is not HOST:PORT", remedy="write --listen 0.0.0.0:5050")
    token = _token(token_file, no_token=no_token)
    remote = session.remote(NullSink(), registry)
    remote.peers = None  # a peer asks registries only

    def fetch(ref: BlobRef, registry: str, repository: str, begun: Callable[[Path], None]) -> bool:
        if registry not in upstreams:
            return False
        try:
            remote.fetch_from(ref, registry, repository, begun)
        except TiffinError:
            return False
        return True

    served_cache = ServedCache(
        blobs=session.blobs,
        cache=LocalCache(session.table),
        signer=signer_of(Path(sign_key) if sign_key else None),
        fetch=fetch,
    )
    serve(served_cache, host.strip("[]"), int(port), token, lambda address: click.echo(f"serving on {address}"))


def _token(token_file: str | None, *, no_token: bool) -> str:
    """The token to ask for; a new one is told on stderr where none is given."""
    if no_token:
        return ""
    if token_file:
        try:
            token = Path(token_file).read_text().strip()
        except (OSError, UnicodeDecodeError) as exc:
            raise UsageError(f"cannot read {token_file}: {exc}", remedy="check --token-file") from exc
        if token:
            return token
        raise UsageError(f"{token_file} is empty", remedy="put a token into it: openssl rand -hex 32")
    if os.environ.get(TOKEN_VARIABLE):
        return os.environ[TOKEN_VARIABLE]
    token = secrets.token_urlsafe(24)
    click.echo(f"clients must set {TOKEN_VARIABLE}={token}", err=True)
    return token
