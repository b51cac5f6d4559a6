"""tiffin lock."""

from __future__ import annotations

from tiffin.builder.cli.options.command import BUILDS, Command
from tiffin.builder.cli.options.common import ProgressArguments, RegistryArguments
from tiffin.builder.cli.options.option import Flag, Many, Text, Word
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.api.rules.locking import Locking
    from tiffin.builder.api.session import Session

ALL = "*"  # of --update without a name


class LockLine(ProgressArguments, RegistryArguments):
    """What may stand on the line; the options of `tiffin build` that decide which sources it has."""

    context = Word("CONTEXT", ".")
    file = Text("-f", "--file", metavar="FILE", help="Dockerfile (default: CONTEXT/Dockerfile).")
    build_args = Many("--build-arg", metavar="K[=V]", help="Value of an ARG; repeatable.")
    contexts = Many("--build-context", metavar="NAME=DIR|docker-image://REF", help="As in tiffin build; repeatable.")
    target = Text("--target", metavar="STAGE", help="Lock this stage and what it needs (default: all stages).")
    platforms = Many("--platform", metavar="OS/ARCH", help="Platform to lock as well; repeatable.")
    secrets = Many("--secret", metavar="id=ID[,src=FILE|,env=NAME]", help="Secret for servers; repeatable.")
    ssh = Many("--ssh", metavar="default|ID[=SOCKET|KEY]", help="ssh agent for repositories; repeatable.")
    lock_file = Text("--lock-file", metavar="FILE", help="Lock file (default: the Dockerfile's name and .lock).")
    update = Text(
        "--update", metavar="[=NAME,…]", bare=ALL, help="Look these sources up again, without a name all of them."
    )
    check = Flag("--check", help="Write nothing; exit code 1 where the lock does not fit. With --update: or is old.")


def lock(session: Session, line: LockLine) -> int | None:
    """Write a lock, or check it. Raises TiffinError."""
    from tiffin.builder.api.rules.locking import check, lock
    from tiffin.builder.cli.options.build_arguments import BuildArguments
    from tiffin.builder.cli.options.build_values import build_options
    from tiffin.builder.cli.output.render import make_renderer

    given = {row.field: row.on(line) for row in line.rows if row.field not in ("update", "check")}
    options = build_options(BuildArguments(given))
    every = line.update == ALL
    names = () if every else tuple(name for name in line.update.split(",") if name)
    with make_renderer(line.progress) as sink:
        if line.check:
            return _tell_check(check(options, session, sink, every=bool(line.update)))
        _tell(lock(options, session, sink, renewed=names, every=every))
    return None


def _tell_check(found: Locking) -> int:
    from tiffin.builder.cli.output.console import print_error, print_result

    lines = [f"{item.span or '--build-context'}: {item.what} is not in {found.path.name}" for item in found.missing]
    lines += [f"{found.path.name}: {name} is not used" for name in found.unused]
    lines += [f"{found.path.name}: {name} leads elsewhere now" for name in found.moved]
    for text in lines:
        print_result(text)
    if lines:
        print_error(f"error: {found.path} does not fit; run tiffin lock{' --update' if found.moved else ''}")
    return 1 if lines else 0


def _tell(found: Locking) -> None:
    from tiffin.builder.cli.output.console import print_error, print_result

    for sign, names in (
        ("+", dict.fromkeys(item.what for item in found.missing)),
        ("~", found.moved),
        ("-", found.unused),
    ):
        for name in names:
            print_error(f"{sign} {name}")
    print_result(str(found.path))


COMMANDS = (
    Command(
        "lock",
        LockLine,
        lock,
        about="Write down which digests a Dockerfile uses.",
        help="Write which digests and commits base images, repositories and URLs of a Dockerfile have now, to the file "
        "Dockerfile.lock beside it. tiffin build --locked uses these, and no others. What is locked stays until "
        "--update.",
        section=BUILDS,
        examples=(
            "tiffin lock",
            "tiffin lock --update=debian:12",
            "tiffin lock --platform linux/arm64 .",
            "tiffin lock --check",
        ),
    ),
)
