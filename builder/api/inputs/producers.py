"""What is attested and signed of a build, as its options ask for it, and who makes it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from tiffin.builder.api.build_options import BuildOptions
from tiffin.builder.delivery.attesting import INDEX, REFERRERS, Attached, Producer, attach, signed
from tiffin.builder.delivery.provenance import ProvenanceProducer
from tiffin.builder.oci.reference import Reference
from tiffin.builder.oci.spec import Platform
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.frozen import dataclass, replace
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.delivery.outputs import Outputs
    from tiffin.builder.delivery.unchanged import Unchanged
    from tiffin.builder.egress.way_out import WayOut
    from tiffin.builder.image.attached.artifact import Artifact
    from tiffin.builder.image.signing.statements import Signer
    from tiffin.builder.solver.build import Built, Services


@dataclass(frozen=True, slots=True, kw_only=True)
class Making:
    """Makes what is attested and signed of a build, and what producers are made with.

    `source`: the text of the Dockerfile; `started`: in Unix seconds; `lines`: those that builds noted of images;
    `solve` builds something else meanwhile; `kept`: the attestations of an image here.
    """

    source: bytes
    started: float
    services: Services
    lines: Callable[[Digest], bytes | None]
    solve: Callable[[BuildOptions], Built]
    kept: Callable[[Digest], Sequence[Artifact]]
    signer: Signer | None

    @property
    def before(self) -> Unchanged:
        """Return what finds what an earlier build said."""
        from tiffin.builder.delivery.unchanged import Unchanged

        return Unchanged(self.kept, self.signer.name if self.signer is not None else "")

    def attest(
        self, builds: Sequence[tuple[Platform, Built]], options: BuildOptions
    ) -> tuple[Attached | None, Mapping[Platform, Mapping[str, object]]]:
        """Return what goes with the images, None for nothing, and the provenances that the metadata tell."""
        attached = None
        if options.attest or self.signer is not None:
            names = [*options.names, *(Reference.parse(name) for spec in options.outputs for name in spec.names)]
            form = INDEX if options.attest.in_index else REFERRERS
            found, unique = list(producers_of(options, self)), tuple(dict.fromkeys(names))
            attached = attach(found, builds, unique, form, self.signer, self.before)
        mode, asked = options.metadata.provenance, options.attest.provenance
        if not mode:
            return attached, {}
        builder_id = asked.builder_id if asked is not None else ""
        way_out = self.services.way_out
        told = provenance_producer(options, self.source, self.started, mode, builder_id, way_out)
        return attached, {platform: told.attestations(platform, built)[0].predicate for platform, built in builds}

    def sign(self, outputs: Outputs) -> Outputs:
        """Return outputs with the signatures of what they write, where there is a signer."""
        if self.signer is None or outputs.attached is None:
            return outputs
        index = outputs.index() if outputs.several else None
        made = signed(outputs.attached, outputs.builds, index, self.signer, self.before)
        return replace(outputs, attached=made)


def producers_of(options: BuildOptions, making: Making) -> Iterator[Producer]:
    """Yield the producers of a build."""
    provenance, sbom = options.attest.provenance, options.attest.sbom
    if provenance is not None:
        yield provenance_producer(
            options, making.source, making.started, provenance.mode, provenance.builder_id, making.services.way_out
        )
    if sbom is not None and sbom.generator:
        from tiffin.builder.api.sbom.generator import GeneratorProducer

        yield GeneratorProducer(
            generator=sbom.generator,
            arguments=sbom.arguments,
            services=making.services,
            options=options,
            solve=making.solve,
        )
    elif sbom is not None:
        from tiffin.builder.api.sbom.producer import SbomProducer

        yield SbomProducer(_name_of(options), making.services, making.lines)


def _name_of(options: BuildOptions) -> str:
    """Return what documents call the image: the first of its names."""
    named = [name.familiar for name in options.names]
    named += [text for spec in options.outputs for text in spec.names]
    return named[0] if named else "image"


def provenance_producer(
    options: BuildOptions,
    source: bytes,
    started: float,
    mode: str,
    builder_id: str,
    way_out: WayOut | None = None,
) -> ProvenanceProducer:
    """Return what tells the provenance; never a value of a secret, or what is in a URL besides its place."""
    return ProvenanceProducer(
        mode=mode,
        started=started,
        builder_id=builder_id,
        context=_shown(options.context) if "://" in options.context else "",
        dockerfile=_dockerfile(options),
        source=source,
        target=options.target,
        build_args=options.build_args,
        labels=options.labels,
        contexts={name: _shown(place) for name, place in options.contexts.items()},
        secrets=tuple(sorted(options.secrets)),
        ssh=tuple(text.partition("=")[0] for text in options.ssh),
        options=_deciding(options),
        egress=tuple(way_out.made()) if way_out is not None else None,
    )


def _dockerfile(options: BuildOptions) -> str:
    """Return the Dockerfile's place in the context, or its name: nobody else has the folders of this machine."""
    if not options.file or "://" in options.context:
        return options.file or "Dockerfile"
    inside = os.path.relpath(options.file, options.context)
    return inside if not inside.startswith("..") else Path(options.file).name


def _shown(place: str) -> str:
    """Return a context without what a URL has besides its place."""
    if "://" not in place:
        return place
    from tiffin.builder.registry.download import shown

    return shown(place)


def _deciding(options: BuildOptions) -> Mapping[str, object]:
    """Return the other options that decide what an image is, where they are not as usual."""
    usual = BuildOptions()
    found: dict[str, object] = {}
    if options.layering != usual.layering:
        found["layering"] = options.layering
    if options.network != usual.network:
        found["network"] = options.network
    if options.epoch is not None:
        found["timestamp"] = options.epoch
    if options.allowed:
        found["allow"] = sorted(options.allowed)
    spec = options.outputs[0] if options.outputs else usual.outputs[0]
    plain = usual.outputs[0]
    if (spec.compression, spec.compression_level) != (plain.compression, plain.compression_level):
        found["compression"] = spec.compression
        if spec.compression_level is not None:
            found["compression-level"] = spec.compression_level
    if not spec.oci_types:
        found["oci-mediatypes"] = False
    if spec.split is not None:
        found["split"] = {"size": spec.split.part_bytes, "max": spec.split.max_layers}
    if spec.rewrites_times is not None:
        found["rewrite-timestamp"] = spec.rewrites_times
    return found
