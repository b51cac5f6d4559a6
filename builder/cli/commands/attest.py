"""tiffin attest ls | show | verify: what is said of an image."""

from __future__ import annotations

from tiffin.builder.cli.commands.sign import WHERE, VerifyArguments, print_verified
from tiffin.builder.cli.options.command import REGISTRIES, Command, Group
from tiffin.builder.cli.options.common import RegistryArguments
from tiffin.builder.cli.options.option import Flag, Text, Word
from tiffin.builder.cli.output.console import print_result
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.api.session import Session


class ListArguments(RegistryArguments):
    """What may stand on the line."""

    image = Word("IMAGE")
    local = Flag("--local", help="Look at an image here.")
    quiet = Flag("-q", "--quiet", help="Print types only.")


class ShowArguments(RegistryArguments):
    """What may stand on the line."""

    image = Word("IMAGE")
    kind = Text("--type", metavar="TYPE", help="Only of this type: provenance, sbom, spdx, cyclonedx, a URI.")
    platform = Text("--platform", metavar="OS/ARCH", help="Only of this platform.")
    predicate = Flag("--predicate", help="Print the predicate alone, without the statement around it.")
    local = Flag("--local", help="Look at an image here.")


def ls(session: Session, line: ListArguments) -> None:
    """Print a line for each attestation and signature."""
    from tiffin.builder.api.attest.listing import said_of
    from tiffin.builder.api.attest.opening import opened
    from tiffin.builder.cli.output.lists import print_table
    from tiffin.builder.events import NullSink

    with opened(line.image, session, NullSink(), line.registry_access(), local=line.local) as place:
        found = said_of(place)
    if line.quiet:
        for kind in dict.fromkeys(item.predicate_type for item in found):
            print_result(kind)
        return
    rows = [
        (
            item.platform or "all",
            item.predicate_type,
            item.found.where,
            "signed" if item.is_signed else "",
            item.found.manifest.short,
        )
        for item in found
    ]
    print_table([("PLATFORM", "TYPE", "WHERE", "SIGNED", "DIGEST"), *rows])


def show(session: Session, line: ShowArguments) -> None:
    """Print attestations as JSON, one a line."""
    import json

    from tiffin.builder.api.attest.listing import shown
    from tiffin.builder.api.attest.opening import opened
    from tiffin.builder.events import NullSink

    with opened(line.image, session, NullSink(), line.registry_access(), local=line.local) as place:
        found = shown(place, line.kind, line.platform)
    for item in found:
        assert item.statement is not None
        attestation = item.statement.attestation
        subject = [{"digest": {digest.algorithm: digest.hex}} for digest in item.statement.subjects]
        whole = {"subject": subject, "predicateType": attestation.predicate_type}
        document = attestation.predicate if line.predicate else {**whole, "predicate": attestation.predicate}
        print_result(json.dumps(document, indent=2, ensure_ascii=False))


def verify(session: Session, line: VerifyArguments) -> None:
    """Verify that all attestations of an image are signed."""
    from tiffin.builder.api.attest.opening import opened
    from tiffin.builder.api.attest.signing import verify_attestations
    from tiffin.builder.events import NullSink

    with opened(line.image, session, NullSink(), line.registry_access(), local=line.local) as place:
        print_verified(verify_attestations(place, line.trust(), line.wanted), line.output)


COMMANDS = (
    Group("attest", about="What is said of images: attestations and signatures.", section=REGISTRIES),
    Command(
        "attest ls",
        ListArguments,
        ls,
        about="List what is said of an image.",
        help=f"List the attestations and signatures of IMAGE, and of each of its platforms. {WHERE}",
        section=REGISTRIES,
        examples=("tiffin attest ls registry.example/app:1", "tiffin attest ls --local app"),
        aliases=("attest list",),
    ),
    Command(
        "attest show",
        ShowArguments,
        show,
        about="Show attestations of an image.",
        help=f"Print the attestations of IMAGE as JSON. {WHERE}",
        section=REGISTRIES,
        examples=(
            "tiffin attest show registry.example/app:1 --type provenance",
            "tiffin attest show --local app --type sbom --predicate",
        ),
    ),
    Command(
        "attest verify",
        VerifyArguments,
        verify,
        about="Verify that all attestations of an image are signed.",
        help=f"Verify the signature of IMAGE, and that it or one of their own covers each attestation. {WHERE}",
        section=REGISTRIES,
        examples=("tiffin attest verify registry.example/app:1 --key cosign.pub --type provenance",),
    ),
)
