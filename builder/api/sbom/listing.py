"""Lists of the software in images: documents, tables, differences."""

from __future__ import annotations

from tiffin.builder.api.sbom.subjects import open_subject
from tiffin.builder.api.session import Session
from tiffin.builder.events import Sink, WarningMessage
from tiffin.builder.oci.spec import Platform
from tiffin.builder.sbom.bill import Bill as Bill
from tiffin.builder.sbom.differences import Change as Change
from tiffin.builder.sbom.differences import differences
from tiffin.builder.sbom.inventory import Component as Component
from tiffin.builder.sbom.making import WRITERS, make_bill
from tiffin.builder.sbom.origins import Origin as Origin
from tiffin.builder.settings.access import RegistryAccess
from tiffin.cache.foundation.frozen import dataclass

FORMATS = tuple(WRITERS)


@dataclass(frozen=True, slots=True, kw_only=True)
class SbomOptions:
    """What to list. `platform` None is this machine's; `lists_files`: every file of the image, too."""

    registry: RegistryAccess
    platform: Platform | None = None
    lists_files: bool = False


def list_software(name: str, options: SbomOptions, session: Session, sink: Sink) -> Bill:
    """Return the software of an image; what could not be read is told to `sink`, and in the result.

    Raises ImageError, RegistryError, StoreError.
    """
    with open_subject(name, session, sink, options.registry, options.platform) as found:
        bill = make_bill(found.subject, found.layers, found.lines, found.scratch, lists_files=options.lists_files)
    for path, reason in bill.inventory.unread:
        sink.emit(WarningMessage(message=f"{bill.name}: /{path} was not read: {reason}"))
    return bill


def document(bill: Bill, form: str) -> dict[str, object]:
    """Return a bill in one of FORMATS."""
    return WRITERS[form](bill)


def compare(name: str, other: str, options: SbomOptions, session: Session, sink: Sink) -> tuple[Bill, list[Change]]:
    """Return the software of `name`, and what differs in it from that of `other`."""
    before = list_software(other, options, session, sink)
    after = list_software(name, options, session, sink)
    return after, list(differences(before.inventory, after.inventory))
