"""The SBOM of an image that is just built, as an attestation of it: --sbom, --attest type=sbom.

What was made once for the same layers, lines and name is kept beside the uppermost layer: a rebuild with nothing
changed reads one file.
"""

from __future__ import annotations

from collections.abc import Sequence

from tiffin.builder.events import WarningMessage, phase
from tiffin.builder.image.attached.attestation import SPDX, Attestation
from tiffin.builder.oci.json_fields import canonical
from tiffin.builder.oci.spec import Platform
from tiffin.builder.solver.build import Built, Services
from tiffin.builder.version import VERSION
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.sbom.bill import Bill
    from tiffin.builder.sbom.origins import Lines

FORM = 1  # of what is kept; raise it when documents say something else


class SbomProducer:
    """Tells what is in an image by the tables of its layers. `name` is what documents call it; `lines`: see origins."""

    def __init__(self, name: str, services: Services, lines: Lines) -> None:
        self._name = name
        self._services = services
        self._lines = lines

    def attestations(self, platform: Platform, built: Built) -> Sequence[Attestation]:
        """Return the document, SPDX as BuildKit has it; none of what has no manifest."""
        if built.manifest is None:
            return ()
        with phase(self._services.sink, "sbom"):
            return (Attestation(predicate_type=SPDX, written=self._predicate(built)),)

    def _predicate(self, built: Built) -> bytes:
        """Return the document in canonical JSON."""
        snapshots = self._services.layers.snapshots
        key = self._key(built)
        top = built.chain[-1].diff_id if built.chain else None
        kept = snapshots.document(top) if top is not None else None
        head, _, data = (kept or b"").partition(b"\n")
        if head == key:
            return data
        made = canonical(self._made(built))
        if top is not None:
            snapshots.write_document(top, key + b"\n" + made)
        return made

    def _key(self, built: Built) -> bytes:
        """Return what a document depends on, in one line."""
        parts = (str(FORM), VERSION, self._name, str(Digest.of(built.manifest_bytes)), str(Digest.of(built.lines)))
        return Digest.of("\n".join(parts).encode()).hex.encode()

    def _made(self, built: Built) -> dict[str, object]:
        from tiffin.builder.sbom.making import SPDX as SPDX_FORM
        from tiffin.builder.sbom.making import WRITERS

        return WRITERS[SPDX_FORM](self.bill(built))

    def bill(self, built: Built) -> Bill:
        """Return what is in an image that has a manifest; what could not be read is told as a warning."""
        from tiffin.builder.sbom.making import Subject, make_bill

        services, image_id = self._services, Digest.of(built.config_bytes)
        if any(services.layers.snapshots.packages(layer.diff_id) is None for layer in built.chain):
            self._reach(built)
        subject = Subject(
            name=self._name,
            config=built.config,
            image_id=image_id,
            digest=Digest.of(built.manifest_bytes),
            chain=built.chain,
        )
        with services.state.scratch("sbom") as scratch:
            bill = make_bill(subject, services.layers, self._lines, scratch)
        for path, reason in bill.inventory.unread:
            services.sink.emit(WarningMessage(message=f"SBOM of {self._name}: /{path} was not read: {reason}"))
        return bill

    def _reach(self, built: Built) -> None:
        """Enter the namespace where a layer can then be read from its tree, and not from what is compressed."""
        layers = self._services.layers
        if any(
            layers.plain_blob(layer.diff_id, layer.blob) is None and layers.snapshots.has_tree(layer.diff_id)
            for layer in built.chain
        ):
            self._services.enter()
