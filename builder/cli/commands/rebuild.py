"""tiffin rebuild --verify: build an image again as its provenance says, and compare."""

from __future__ import annotations

from tiffin.builder.cli.options.command import BUILDS, Command
from tiffin.builder.cli.options.common import ProgressArguments, RegistryArguments
from tiffin.builder.cli.options.option import Flag, Many, Text, Word
from tiffin.builder.cli.output.console import print_result
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.api.session import Session

EXIT_DIFFERS = 1


class RebuildArguments(ProgressArguments, RegistryArguments):
    """What may stand on the line."""

    image = Word("IMAGE")
    context = Word("[CONTEXT]", "")
    verify = Flag("--verify", help="Compare the digests; nothing else is done yet.")
    file = Text("-f", "--file", metavar="FILE", help="Dockerfile (default: as in the provenance).")
    contexts = Many("--build-context", metavar="NAME=DIR", help="Named context that was a directory; repeatable.")
    secrets = Many("--secret", metavar="id=ID[,src=FILE|,env=NAME]", help="Secret for RUN; repeatable.")
    ssh = Many("--ssh", metavar="default|ID[=SOCKET|KEY]", help="ssh agent or keys for RUN; repeatable.")
    platform = Text("--platform", metavar="OS/ARCH", help="Platform of the image (default: this machine's).")
    isolation = Text("--isolation", metavar="TIER", help="Force an isolation tier: {tiers}.")
    local = Flag("--local", help="Compare with an image here.")


def rebuild(session: Session, line: RebuildArguments) -> int | None:
    """Build again and compare. Raises TiffinError."""
    from tiffin.builder.api.attest.rebuilding import Again
    from tiffin.builder.api.attest.rebuilding import rebuild as build_again
    from tiffin.builder.cli.options.build_values import pairs, secrets
    from tiffin.builder.cli.output.render import make_renderer
    from tiffin.builder.errors import UsageError
    from tiffin.builder.oci.spec import Platform

    if not line.verify:
        raise UsageError("rebuild only verifies", remedy="add --verify, or use tiffin build")
    again = Again(
        context=line.context,
        file=line.file,
        contexts=pairs(line.contexts, "--build-context"),
        secrets=secrets(line.secrets),
        ssh=line.ssh,
        platform=Platform.parse(line.platform) if line.platform else None,
        isolation=line.isolation.removeprefix("default"),
    )
    with make_renderer(line.progress) as sink:
        done = build_again(line.image, again, session, sink, line.registry_access(), local=line.local)
    if done.made == done.wanted:
        print_result(f"reproduced {done.made}")
        return None
    print_result(f"not reproduced: it was {done.wanted} and is {done.made}")
    for text in done.differences:
        print_result(f"  {text}")
    return EXIT_DIFFERS


COMMANDS = (
    Command(
        "rebuild",
        RebuildArguments,
        rebuild,
        about="Build an image again as its provenance says, and compare.",
        help="Build IMAGE again from CONTEXT, with the sources, arguments and options that its provenance "
        "(mode=max) has, without any cache; say which files of which step differ, and why.",
        section=BUILDS,
        examples=(
            "tiffin rebuild --verify registry.example/app:1 .",
            "tiffin rebuild --verify --local app . --secret id=token,env=TOKEN",
        ),
    ),
)
