"""tiffin login."""

from __future__ import annotations

import sys

import click

from tiffin.builder.api.session import Session
from tiffin.builder.cli.options.click_command import registry_options
from tiffin.builder.errors import UsageError
from tiffin.builder.settings.access import RegistryAccess

MAX_PASSWORD_BYTES = 1 << 20


@click.command("login")
@click.argument("server", metavar="[REGISTRY]", default="docker.io")
@click.option("-u", "--username", metavar="NAME", help="User name.")
@click.option("-p", "--password", metavar="SECRET", help="Password; visible to other users, so better:")
@click.option("--password-stdin", is_flag=True, help="Read the password from stdin.")
@registry_options
@click.pass_obj
def command(
    session: Session,
    /,
    server: str,
    username: str | None,
    password: str | None,
    password_stdin: bool,
    registry: RegistryAccess,
) -> None:
    """Check credentials with REGISTRY and keep them where docker does."""
    from tiffin.builder.api.login import login

    if password is not None and password_stdin:
        raise UsageError("--password and --password-stdin exclude each other", remedy="use the second")
    if password_stdin:
        if not username:
            raise UsageError("--password-stdin needs --username", remedy="add -u NAME")
        password = _password(sys.stdin.buffer.read(MAX_PASSWORD_BYTES))
    if not (username and password is not None) and not sys.stdin.isatty():
        raise UsageError(
            "stdin is not a terminal to ask for a user and a password", remedy="use -u and --password-stdin"
        )
    username = username or click.prompt("Username", err=True)
    if password is None:
        password = click.prompt("Password", hide_input=True, err=True)
    where = login(server, username or "", password or "", registry)
    click.echo(f"credentials are kept in {where}", err=True)
    click.echo("Login Succeeded")


def _password(data: bytes) -> str:
    """All of stdin but one end of a line: keys have many lines."""
    try:
        text = data.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise UsageError("what stdin has is not text", remedy="write the password to it in UTF-8") from None
    if not text:
        raise UsageError("stdin has no password", remedy="write it to stdin, as in: … < FILE")
    return text
