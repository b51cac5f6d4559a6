"""tiffin login."""

from __future__ import annotations

import sys

from tiffin.builder.cli.options.command import REGISTRIES, Command
from tiffin.builder.cli.options.common import RegistryArguments
from tiffin.builder.cli.options.option import Flag, Maybe, Text, Word
from tiffin.builder.cli.output.console import print_error, print_result
from tiffin.builder.errors import UsageError
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.api.session import Session

MAX_PASSWORD_BYTES = 1 << 20


class LoginArguments(RegistryArguments):
    """What may stand on the line."""

    server = Word("[REGISTRY]", "docker.io")
    username = Text("-u", "--username", metavar="NAME", help="User name.")
    password = Maybe(
        "-p", "--password", metavar="SECRET", help=("Password, visible to other users; prefer --password-stdin.")
    )
    password_stdin = Flag("--password-stdin", help="Read the password from stdin.")


def login(_: Session, line: LoginArguments) -> None:
    """Check credentials and keep them; ask for what is not given. Raises UsageError where nobody can be asked."""
    from tiffin.builder.api.login import login

    username, password = line.username, line.password
    if password is not None and line.password_stdin:
        raise UsageError("--password and --password-stdin exclude each other", remedy="use the second")
    if line.password_stdin:
        if not username:
            raise UsageError("--password-stdin needs --username", remedy="add -u NAME")
        password = _password(sys.stdin.buffer.read(MAX_PASSWORD_BYTES))
    if not username or password is None:
        username, password = _asked(username, password)
    where = login(line.server, username, password, line.registry_access())
    print_error(f"credentials are kept in {where}")
    print_result("Login Succeeded")


def _asked(username: str, password: str | None) -> tuple[str, str]:
    """Ask for what is missing."""
    if not sys.stdin.isatty():
        raise UsageError(
            "stdin is not a terminal to ask for a user and a password", remedy="use -u and --password-stdin"
        )
    import click

    username = username or str(click.prompt("Username", err=True))
    return username, str(click.prompt("Password", hide_input=True, err=True)) if password is None else password


def _password(data: bytes) -> str:
    """Return all of stdin but one end of a line: keys have many lines."""
    try:
        text = data.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise UsageError("the password on stdin is not text", remedy="write the password to it in UTF-8") from None
    if not text:
        raise UsageError("stdin has no password", remedy="write it to stdin, as in: … < FILE")
    return text


COMMANDS = (
    Command(
        "login",
        LoginArguments,
        login,
        about="Log in to a registry.",
        help="Check credentials with REGISTRY and store them where docker does.",
        section=REGISTRIES,
        examples=("tiffin login -u USER registry.example", "tiffin login -u USER --password-stdin < token"),
    ),
)
