"""tiffin kaniko-executor: Kaniko's executor by its own flags."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from tiffin.builder.cli.options.command import BUILDS, Command
from tiffin.builder.cli.options.kaniko.arguments import KanikoArguments
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.api.session import Session
    from tiffin.builder.delivery.outputs import BuildResult

SILENT = ("panic", "fatal", "error")


def kaniko_executor(session: Session, line: KanikoArguments) -> None:
    """Build and push as a line of Kaniko's says. Raises TiffinError."""
    from tiffin.builder.errors import UsageError

    match line.words:
        case ():
            _build(session, line)
        case ("version",):
            from tiffin.builder.cli.output.console import print_result
            from tiffin.builder.version import VERSION

            print_result(f"Kaniko version : tiffin {VERSION}")
        case ("login", registry):
            _login(registry, line)
        case ("push", path):
            _push(session, path, line)
        case _:
            raise UsageError(
                f'"{" ".join(line.words)}" is not a command of the executor',
                remedy="use version, login REGISTRY, push ARCHIVE, or options only",
            )


def _build(session: Session, line: KanikoArguments) -> None:
    from tiffin.builder.api.build import build
    from tiffin.builder.cli.options.kaniko.values import kaniko_options
    from tiffin.builder.cli.output.render import make_renderer
    from tiffin.builder.events import WarningMessage

    options = kaniko_options(line, os.environ)
    progress = "quiet" if line.verbosity in SILENT else "json" if line.log_format == "json" else "plain"
    with make_renderer(progress) as sink:
        for message in line.notices():
            sink.emit(WarningMessage(message=message))
        result = build(options, session, sink)
    _write_digests(result, line)


def _write_digests(result: BuildResult, line: KanikoArguments) -> None:
    names = [(name.name, f"{name.name}:{name.tag}" if name.tag else name.name) for name in result.names]
    _write(line.digest_file, str(result.digest))
    if line.destinations:
        _write(line.image_name_digest_file, "".join(f"{name}@{result.digest}\n" for name, _ in names))
        _write(line.image_name_tag_digest_file, "".join(f"{name}@{result.digest}\n" for _, name in names))


def _write(path: str, text: str) -> None:
    if not path:
        return
    if path.startswith("https://"):
        from tiffin.builder.errors import UsageError

        raise UsageError(f"{path}: a digest is written to files only", remedy="upload the file in another step")
    from tiffin.cache.foundation.files import disk_errors

    with disk_errors(path):
        Path(path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        Path(path).write_text(text)


def _login(registry: str, line: KanikoArguments) -> None:
    from tiffin.builder.api.login import login
    from tiffin.builder.cli.options.kaniko.values import registry_access
    from tiffin.builder.cli.output.console import print_result
    from tiffin.builder.errors import UsageError

    if bool(line.password) == line.password_stdin or not line.username:
        raise UsageError("login needs a user and one password", remedy="use --username and --password-stdin")
    password = sys.stdin.readline().rstrip("\r\n") if line.password_stdin else line.password
    login(registry, line.username, password, registry_access(line, os.environ, ()))
    print_result("Login Succeeded")


def _push(session: Session, path: str, line: KanikoArguments) -> None:
    """Load an archive or a layout, and push it to every destination."""
    from tiffin.builder.api import images
    from tiffin.builder.cli.options.kaniko.values import registry_access
    from tiffin.builder.cli.output.render import make_renderer
    from tiffin.builder.errors import UsageError
    from tiffin.builder.oci.reference import Reference

    if not line.destinations:
        raise UsageError("there is no --destination", remedy="name one")
    names = tuple(Reference.parse(text) for text in line.destinations)
    access = registry_access(line, os.environ, names)
    loaded = _only([str(image.id) for image in images.load(Path(path), sys.stdin.buffer, session)], path)
    with make_renderer("plain") as sink:
        for name in names:
            images.push(loaded, str(name), session, sink, access)


def _only(found: Sequence[str], path: str) -> str:
    from tiffin.builder.errors import UsageError

    if len(found) != 1:
        raise UsageError(f"{path} holds {len(found)} images", remedy="give an archive of one")
    return found[0]


COMMANDS = (
    Command(
        "kaniko-executor",
        KanikoArguments,
        kaniko_executor,
        about="Build and push by the flags of Kaniko's executor.",
        help="Build and push by the flags of Kaniko's executor; see docs/kaniko.md.",
        section=BUILDS,
        examples=(
            "tiffin kaniko-executor --context . --destination registry.example/app:1",
            "tiffin kaniko-executor -c . --no-push --tar-path app.tar",
        ),
    ),
)
