"""tiffin sign | verify: signatures of images, in cosign's formats."""

from __future__ import annotations

from tiffin.builder.cli.options.command import REGISTRIES, Command
from tiffin.builder.cli.options.common import RegistryArguments, TrustArguments
from tiffin.builder.cli.options.option import Flag, Many, Text, Word
from tiffin.builder.cli.output.console import print_result
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.api.attest.signing import Verified
    from tiffin.builder.api.session import Session

WHERE = (
    "IMAGE is a name in a registry; with --local one here; or oci-layout://DIRECTORY[:TAG], oci-archive://FILE[:TAG]."
)


class SignArguments(RegistryArguments):
    """What may stand on the line."""

    image = Word("IMAGE")
    key = Text("--key", metavar="FILE|env://NAME", help="Private key, in PEM or as cosign writes it.")
    keyless = Flag("--keyless", help="Sign as the identity of a token.")
    identity_token = Text("--identity-token", metavar="TOKEN", variable="SIGSTORE_ID_TOKEN", help="Token of OIDC.")
    trust_config = Text("--trust-config", metavar="FILE", help="Servers of Sigstore (default: the public ones).")
    form = Text(
        "--format",
        choices=("bundle", "simple"),
        default="bundle",
        help="A bundle beside the image, or cosign's first form.",
    )
    annotations = Many("-a", "--annotations", metavar="K=V", help="Sign this as well; repeatable.")
    local = Flag("--local", help="Sign an image here: it is pushed and saved with its signature.")


class VerifyArguments(TrustArguments, RegistryArguments):
    """What may stand on the line."""

    image = Word("IMAGE")
    wanted = Many("--type", metavar="TYPE", help="Want an attestation: provenance, sbom, a URI; repeatable.")
    local = Flag("--local", help="Verify an image here.")
    output = Text("-o", "--output", choices=("text", "json"), default="text", help="How to print what was verified.")


def sign(session: Session, line: SignArguments) -> None:
    """Sign an image, and print the digests that were signed."""
    from tiffin.builder.api.attest.opening import opened
    from tiffin.builder.api.attest.signing import sign as sign_image
    from tiffin.builder.api.build_options import SignOptions
    from tiffin.builder.cli.options.build_values import pairs
    from tiffin.builder.errors import UsageError
    from tiffin.builder.events import NullSink

    if bool(line.key) == line.keyless:
        raise UsageError("a signature needs a key, or --keyless", remedy="give one of them: --key FILE")
    options = SignOptions(
        key=line.key, identity_token=line.identity_token, trust_config=line.trust_config, format=line.form
    )
    with opened(line.image, session, NullSink(), line.registry_access(), local=line.local) as place:
        for digest in sign_image(place, options, pairs(line.annotations, "--annotations")):
            print_result(f"signed {digest}")


def verify(session: Session, line: VerifyArguments) -> None:
    """Verify who signed an image."""
    from tiffin.builder.api.attest.opening import opened
    from tiffin.builder.api.attest.signing import verify as verify_image
    from tiffin.builder.events import NullSink

    with opened(line.image, session, NullSink(), line.registry_access(), local=line.local) as place:
        print_verified(verify_image(place, line.trust(), line.wanted), line.output)


def print_verified(verified: Verified, form: str) -> None:
    """Print what was verified."""
    if form == "json":
        import json

        signatures = [
            {"digest": str(item.found.manifest), "annotations": dict(item.claims)} for item in verified.signatures
        ]
        document = {
            "digest": str(verified.digest),
            "signatures": signatures,
            "attestations": list(verified.listed),
            "signedAttestations": [
                {"digest": str(item.found.manifest), "predicateType": item.predicate_type}
                for item in verified.attestations
            ],
        }
        print_result(json.dumps(document, indent=2))
        return
    print_result(f"{verified.digest}: {len(verified.signatures)} good signatures")
    kinds = {entry.rpartition("@")[0] for entry in verified.listed}
    for kind in sorted(kinds | {item.predicate_type for item in verified.attestations}):
        print_result(f"  {kind}")


COMMANDS = (
    Command(
        "sign",
        SignArguments,
        sign,
        about="Sign an image.",
        help=f"Sign IMAGE and, of several platforms, each of its images. {WHERE}",
        section=REGISTRIES,
        examples=(
            "tiffin sign registry.example/app:1 --key cosign.key",
            "tiffin sign registry.example/app:1 --key env://SIGN_KEY --format simple",
            "tiffin sign app --local --key sign.pem",
        ),
    ),
    Command(
        "verify",
        VerifyArguments,
        verify,
        about="Verify who signed an image.",
        help=f"Verify the signature of IMAGE, and that the attestations which it lists are there. {WHERE}",
        section=REGISTRIES,
        examples=(
            "tiffin verify registry.example/app:1 --key cosign.pub --type provenance",
            "tiffin verify oci-archive://app.tar --key cosign.pub",
            "tiffin verify registry.example/app:1 --certificate-identity me@example.com "
            "--certificate-oidc-issuer https://accounts.example",
        ),
    ),
)
