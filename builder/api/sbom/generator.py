"""An SBOM that an image makes: BuildKit's protocol for scanners (docs/attestations/sbom-protocol.md).

The scanner is a step of a small build of its own: the result is mounted where the scanner is told to look, and what it
wrote is the step's layer. So it runs in the sandbox of every RUN, and what did not change is not scanned again.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence

from tiffin.builder.api.build_options import BuildOptions
from tiffin.builder.delivery.output_spec import OutputSpec
from tiffin.builder.errors import ImageError, UsageError
from tiffin.builder.image.attached.attestation import CYCLONEDX, SPDX, Attestation
from tiffin.builder.layer.index import MergedTree
from tiffin.builder.oci.spec import Platform
from tiffin.builder.plan.plan_options import PREFIX_BUILT, BaseImage
from tiffin.builder.solver.build import Built, Services, lacks_blob
from tiffin.builder.sources.layer_files import Members
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.frozen import dataclass

SOURCE, DESTINATION = "/run/src/core/sbom", "/run/out/"
MAX_BYTES = 256 << 20  # of what a scanner writes
RESULT = "tiffin-sbom-result"  # the name of the mounted image
Solve = Callable[[BuildOptions], Built]


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratorProducer:
    """Has an image scan what was built. `solve` builds; `arguments` are variables for the scanner."""

    generator: str
    arguments: Mapping[str, str]
    services: Services
    options: BuildOptions
    solve: Solve

    def attestations(self, platform: Platform, built: Built) -> Sequence[Attestation]:
        """Return what the scanner wrote. Raises BuildError, ImageError."""
        if built.manifest is None:
            return ()
        base = BaseImage(
            name=f"{PREFIX_BUILT}{RESULT}",
            manifest=built.manifest,
            config=built.config,
            manifest_digest=Digest.of(built.manifest_bytes),
        )
        with tempfile.TemporaryDirectory() as context:
            made = self.solve(
                BuildOptions(
                    context=context,
                    dockerfile=self._dockerfile(),
                    contexts={RESULT: f"{PREFIX_BUILT}{RESULT}"},
                    built={RESULT: {platform: base}},
                    outputs=(OutputSpec(kind="cacheonly"),),
                    isolation=self.options.isolation,
                    registry=self.options.registry,
                    use_cache=self.options.use_cache,
                )
            )
        return self._written(made)

    def _dockerfile(self) -> str:
        """Return the build that scans."""
        image = self.services.resolve_image(self.generator, Platform.local())
        words = [*(image.config.config.entrypoint or ()), *(image.config.config.cmd or ())]
        if not words:
            raise UsageError(f"scanner {self.generator} does not have cmd", remedy="name an image that scans")
        variables = {"DESTINATION": DESTINATION, "SOURCE": SOURCE, **self.arguments}
        told = " ".join(f"BUILDKIT_SCAN_{name.upper()}={_quoted(text)}" for name, text in sorted(variables.items()))
        return (
            f"FROM {self.generator}\nCOPY . {DESTINATION}\nENV {told}\n"
            f"RUN --mount=type=bind,from={RESULT},target={SOURCE} --mount=type=tmpfs,target=/tmp {json.dumps(words)}\n"
        )

    def _written(self, made: Built) -> list[Attestation]:
        layers = self.services.layers
        if lacks_blob(made.chain, layers):
            self.services.enter()
        tables = [layers.ensure_index(layer.diff_id, layer.blob) for layer in made.chain]
        folder = DESTINATION.strip("/")
        found = []
        with self.services.state.scratch("sbom") as scratch, Members(layers, scratch) as members:
            for located in MergedTree(tables).children(folder):
                entry = located.entry
                if entry.kind != "file" or not entry.path.endswith(".json"):
                    continue
                if entry.size > MAX_BYTES:
                    raise ImageError(f"/{entry.path} of {self.generator} is too large", remedy="use another scanner")
                with members.open(made.chain[located.layer], entry) as stream:
                    found.append(self._attestation(entry.path, stream.read()))
        if not found:
            raise ImageError(
                f"scanner {self.generator} wrote no document to {DESTINATION}",
                remedy="it has to write SPDX to $BUILDKIT_SCAN_DESTINATION/NAME.spdx.json",
            )
        return found

    def _attestation(self, path: str, data: bytes) -> Attestation:
        """Return what a scanner wrote as an attestation: a document, or a statement that has one."""
        try:
            document = json.loads(data)
            predicate_type = str(document.get("predicateType", ""))
            if predicate_type:
                document = document["predicate"]
            if not isinstance(document, dict):
                raise TypeError
        except (ValueError, TypeError, LookupError, AttributeError) as exc:
            raise ImageError(
                f"scanner {self.generator} wrote /{path}, which is not a document in JSON", remedy="use another scanner"
            ) from exc
        return Attestation(predicate_type=predicate_type or _type_of(document), predicate=document)


def _type_of(document: Mapping[str, object]) -> str:
    return CYCLONEDX if document.get("bomFormat") == "CycloneDX" else SPDX


def _quoted(text: str) -> str:
    """Return a value of ENV that is what it says."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$") + '"'
