"""tiffin buildx imagetools inspect | create: images and indexes in registries."""

from __future__ import annotations

from tiffin.builder.cli.options.command import REGISTRIES, Command, Group
from tiffin.builder.cli.options.common import ProgressArguments, RegistryArguments
from tiffin.builder.cli.options.option import WITHOUT_EFFECT, Flag, Many, Text, Word, Words
from tiffin.builder.cli.output.console import print_result
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.api.buildx.imagetools import IndexOptions, RemoteDocument
    from tiffin.builder.api.session import Session

WIDTH = 11  # of the names of members


class InspectArguments(RegistryArguments):
    """What may stand on the line."""

    name = Word("NAME")
    raw = Flag("--raw", help="Print the document as the registry has it.")
    form = Text("--format", metavar="TEMPLATE", help="Go template of Name, Manifest, Image, Provenance, SBOM.")
    builder = Many("--builder", effect=WITHOUT_EFFECT)


class CreateArguments(ProgressArguments, RegistryArguments):
    """What may stand on the line."""

    sources = Words("[SOURCE]...")
    names = Many("-t", "--tag", metavar="NAME", help="Name to push the index under; repeatable.")
    files = Many("-f", "--file", metavar="FILE", help="File with a descriptor, or a source in each line; repeatable.")
    appends = Flag("--append", help="Add to what the first name has.")
    annotations = Many(
        "--annotation",
        metavar="[TYPE:]K=V",
        help="Annotation, of the index if TYPE does not say otherwise; repeatable.",
    )
    platforms = Many("-p", "--platform", metavar="OS/ARCH", help="Only these platforms; repeatable.")
    dry_run = Flag("--dry-run", help="Print the index instead of pushing it.")
    prefer_index = Flag(
        "--prefer-index", off="--no-prefer-index", default=True, help="Make an index of one manifest, too."
    )
    metadata_file = Text("--metadata-file", metavar="FILE", help="Write digest and names as JSON to FILE.")
    builder = Many("--builder", effect=WITHOUT_EFFECT)


def inspect(session: Session, line: InspectArguments) -> None:
    """Print what a name stands for in its registry."""
    from tiffin.builder.api.buildx import imagetools
    from tiffin.builder.events import NullSink

    access = line.registry_access()
    document = imagetools.inspect(line.name, session, NullSink(), access)
    if line.raw:
        import sys

        sys.stdout.buffer.write(document.data)  # as it is: its digest is that of the document
        return
    if not line.form:
        print_result(_text(document))
        return
    import json
    import re

    from tiffin.builder.cli.output.template import Template

    is_whole = re.fullmatch(r"\s*{{\s*json \.\s*}}\s*", line.form) is not None
    manifest = {**document.descriptor.to_json(), **json.loads(document.data)}
    values: dict[str, object] = {"Name": str(document.reference), "Manifest": manifest}
    if ".Image" in line.form or is_whole:
        images = dict(imagetools.configs(document, session, NullSink(), access))
        values["Image"] = images.get("", images)
    if ".Provenance" in line.form or ".SBOM" in line.form:
        values |= imagetools.provenance_and_sbom(line.name, session, NullSink(), access)
    if is_whole:
        print_result(json.dumps({name.lower(): value for name, value in values.items()}, indent=2))
        return
    text = Template(line.form).render(values)
    if re.fullmatch(r"\s*{{\s*json \.[\w.]+\s*}}\s*", line.form):
        text = json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    print_result(text)


def _text(document: RemoteDocument) -> str:
    rows = [("Name", str(document.reference)), ("MediaType", document.media_type), ("Digest", str(document.digest))]
    lines = [f"{name + ':':<{WIDTH}}{value}" for name, value in rows]
    if document.index is None:
        return "\n".join(lines)
    lines += [" " * WIDTH, "Manifests: "]
    width = WIDTH + 2 if any(entry.annotations for entry in document.index.manifests) else WIDTH
    for entry in document.index.manifests:
        parts = [("Name", f"{document.reference}@{entry.digest}"), ("MediaType", entry.media_type)]
        parts += [("Platform", str(entry.platform))] if entry.platform else []
        lines += [f"  {name + ':':<{width}}{value}" for name, value in parts]
        if entry.annotations:
            longest = max(map(len, entry.annotations)) + 2
            lines.append(f"  {'Annotations:':<{width}}")
            lines += [f"    {name + ':':<{longest}}{value}" for name, value in entry.annotations.items()]
        lines.append(" " * (width + 2))
    return "\n".join(lines[:-1])


def create(session: Session, line: CreateArguments) -> None:
    """Make an index of images that are in registries, and push it."""
    from pathlib import Path

    from tiffin.builder.api.buildx import imagetools
    from tiffin.builder.cli.output.render import make_renderer

    options, access = _options(line), line.registry_access()
    with make_renderer(line.progress) as sink:
        if line.dry_run:
            print_result(imagetools.make_index(options, session, sink, access).data.decode())
            return
        digest = imagetools.push_index(options, session, sink, access)
    if line.metadata_file:
        import json

        document = {"containerimage.digest": str(digest), "image.name": ",".join(options.names)}
        Path(line.metadata_file).write_text(json.dumps(document, indent=2) + "\n")


def _options(line: CreateArguments) -> IndexOptions:
    from pathlib import Path

    from tiffin.builder.api.buildx.imagetools import IndexOptions
    from tiffin.builder.delivery.annotations import Annotations
    from tiffin.builder.errors import UsageError
    from tiffin.builder.oci.spec import Platform

    listed = []
    for path in line.files:
        try:
            text = Path(path).read_text(encoding="utf-8").strip()
            listed += [text] if text.startswith("{") else text.split()
        except (OSError, UnicodeDecodeError) as exc:
            raise UsageError(f"cannot read --file {path}: {exc}", remedy="name a file with sources") from exc
    return IndexOptions(
        names=line.names,
        sources=(*listed, *line.sources),
        appends=line.appends,
        platforms=tuple(Platform.parse(part) for text in line.platforms for part in text.split(",")),
        annotations=Annotations.parse(line.annotations, untyped="index"),
        is_index=line.prefer_index,
    )


COMMANDS = (
    Group("buildx imagetools", about="Images and indexes in registries.", section=REGISTRIES),
    Command(
        "buildx imagetools inspect",
        InspectArguments,
        inspect,
        about="Show an image or index in its registry.",
        section=REGISTRIES,
        examples=("tiffin buildx imagetools inspect registry.example/app:1",),
    ),
    Command(
        "buildx imagetools create",
        CreateArguments,
        create,
        about="Make an index of images in registries.",
        section=REGISTRIES,
        examples=(
            "tiffin buildx imagetools create -t registry.example/app:1 registry.example/app:amd64 "
            "registry.example/app:arm64",
        ),
    ),
)
