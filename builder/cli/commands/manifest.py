"""tiffin manifest create | annotate | push | inspect | rm: docker's lists of manifests."""

from __future__ import annotations

from tiffin.builder.cli.options.command import REGISTRIES, Command, Group
from tiffin.builder.cli.options.common import RegistryArguments
from tiffin.builder.cli.options.option import Arguments, Flag, Many, Text, Word, Words
from tiffin.builder.cli.output.console import as_refused, each, print_result
from tiffin.cache.foundation.frozen import replace
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.api.buildx.manifests import Entry, ManifestLists
    from tiffin.builder.api.session import Session


class ListArguments(RegistryArguments):
    """Of all that speak with registries."""

    any_registry = Flag("--insecure", help="Allow plain http and any certificate.")


class CreateArguments(ListArguments):
    """What may stand on the line."""

    name = Word("MANIFEST_LIST")
    first = Word("MANIFEST")
    manifests = Words("[MANIFEST]...")
    amends = Flag("-a", "--amend", help="Add to a list that is there.")


class AnnotateArguments(Arguments):
    """What may stand on the line."""

    name = Word("MANIFEST_LIST")
    manifest = Word("MANIFEST")
    arch = Text("--arch", metavar="ARCH", help="Architecture.")
    os = Text("--os", metavar="OS", help="Operating system.")
    variant = Text("--variant", metavar="VARIANT", help="Variant of the architecture.")
    os_version = Text("--os-version", metavar="VERSION", help="Version of the operating system.")
    os_features = Many("--os-features", metavar="FEATURE", help="Feature of the operating system; repeatable.")


class PushArguments(ListArguments):
    """What may stand on the line."""

    name = Word("MANIFEST_LIST")
    purges = Flag("-p", "--purge", help="Forget the list afterwards.")


class InspectArguments(ListArguments):
    """What may stand on the line."""

    name = Word("[MANIFEST_LIST] MANIFEST")
    manifest = Word("[MANIFEST]", "")
    verbose = Flag("-v", "--verbose", help="Show each manifest, and where it is.")


class RmArguments(Arguments):
    """What may stand on the line."""

    names = Words("MANIFEST_LIST...", needed=True)


def create(session: Session, line: CreateArguments) -> None:
    """Begin a list of manifests that are in registries, or add to it."""
    manifests = (line.first, *line.manifests)
    with as_refused():
        made = _lists(session, line, line.name, *manifests).create(line.name, manifests, amends=line.amends)
    print_result(f"Created manifest list {made}")


def annotate(session: Session, line: AnnotateArguments) -> None:
    """Say for which platform a manifest of a list is."""
    from tiffin.builder.api.buildx.manifests import Annotation

    features = tuple(part for text in line.os_features for part in text.split(",") if part)
    annotation = Annotation(
        os=line.os,
        architecture=line.arch,
        variant=line.variant,
        os_version=line.os_version,
        os_features=features,
    )
    with as_refused():
        _lists(session).annotate(line.name, line.manifest, annotation)


def push(session: Session, line: PushArguments) -> None:
    """Push a list, and what it names from wherever that is; print its digest."""
    with as_refused():
        print_result(str(_lists(session, line, line.name).push(line.name, purges=line.purges)))


def inspect(session: Session, line: InspectArguments) -> None:
    """Show a list that is here, or what a registry has."""
    from tiffin.builder.api.buildx.manifests import index_text

    lists = _lists(session, line, line.name, line.manifest)
    with as_refused():
        if line.manifest:
            _show([lists.in_list(line.name, line.manifest)], alone=True, verbose=line.verbose)
            return
        found = lists.inspect(line.name)
        if isinstance(found, list):
            print_result(index_text(found)) if not line.verbose else _show(found, alone=False, verbose=True)
        elif line.verbose or found.index is None:
            _show(lists.described(found), alone=found.index is None, verbose=line.verbose)
        else:
            print_result(found.data.decode())


def rm(session: Session, line: RmArguments) -> None:
    """Forget lists."""
    each(line.names, _lists(session).remove)


def _show(entries: list[Entry], *, alone: bool, verbose: bool) -> None:
    """Print manifests as docker does: their texts, or all that is known of them."""
    import json

    shown: list[object] = []
    for entry in entries:
        manifest = json.loads(entry.raw)
        descriptor = {key: entry.row()[key] for key in ("mediaType", "digest", "size", "platform")}
        raw = _base64(entry.raw)
        shown.append(
            {"Ref": entry.ref, "Descriptor": descriptor, "Raw": raw, entry.kind: manifest} if verbose else manifest
        )
    print_result(json.dumps(shown[0] if alone else shown, indent="\t", ensure_ascii=False))


def _base64(text: str) -> str:
    from base64 import b64encode

    return b64encode(text.encode()).decode()


def _lists(session: Session, line: ListArguments | None = None, *names: str) -> ManifestLists:
    from tiffin.builder.api.buildx.manifests import ManifestLists, registries_of
    from tiffin.builder.events import NullSink
    from tiffin.builder.settings.access import RegistryAccess

    access = line.registry_access() if line is not None else RegistryAccess()
    if line is not None and line.any_registry:
        access = replace(access, insecure=(*access.insecure, *registries_of(filter(None, names))))
    return ManifestLists(session, NullSink(), access)


COMMANDS = (
    Group("manifest", about="Lists of manifests, one for each platform.", section=REGISTRIES),
    Command(
        "manifest create",
        CreateArguments,
        create,
        about="Begin a list of manifests.",
        help="Begin a list of manifests that are in registries, or in layouts (oci-layout://DIRECTORY:TAG).",
        section=REGISTRIES,
        examples=(
            "tiffin manifest create registry.example/app:1 registry.example/app:amd64 registry.example/app:arm64",
        ),
    ),
    Command(
        "manifest annotate",
        AnnotateArguments,
        annotate,
        about="Say for which platform a manifest of a list is.",
        section=REGISTRIES,
        examples=(
            "tiffin manifest annotate --arch arm --variant v6 registry.example/app:1 registry.example/app:arm64",
        ),
    ),
    Command(
        "manifest push",
        PushArguments,
        push,
        about="Push a list of manifests.",
        section=REGISTRIES,
        examples=("tiffin manifest push --purge registry.example/app:1",),
    ),
    Command(
        "manifest inspect",
        InspectArguments,
        inspect,
        about="Show a list of manifests, or a manifest.",
        section=REGISTRIES,
        examples=("tiffin manifest inspect -v registry.example/app:1",),
    ),
    Command(
        "manifest rm",
        RmArguments,
        rm,
        about="Forget lists that were not pushed, or are no longer needed here.",
        section=REGISTRIES,
        examples=("tiffin manifest rm registry.example/app:1",),
    ),
)
