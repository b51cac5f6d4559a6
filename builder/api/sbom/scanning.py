"""What is known to be wrong with the software in an image, by advisories that are given as files."""

from __future__ import annotations

from collections.abc import Sequence

from tiffin.builder.advisories.database import Database
from tiffin.builder.advisories.matching import Finding as Finding
from tiffin.builder.advisories.matching import match
from tiffin.builder.advisories.severity import LEVELS as LEVELS
from tiffin.builder.advisories.vex import read_vex
from tiffin.builder.api.sbom.listing import Bill, SbomOptions, list_software
from tiffin.builder.api.session import Session
from tiffin.builder.errors import UsageError
from tiffin.builder.events import InfoMessage, Sink, WarningMessage
from tiffin.builder.sbom.catalogers.table import is_database
from tiffin.cache.foundation.frozen import dataclass

MAX_TOLD = 5  # of what could not be compared


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """An image's software, and all findings, the worst first; those that are suppressed are among them."""

    bill: Bill
    findings: tuple[Finding, ...]

    @property
    def unread(self) -> tuple[str, ...]:
        """Return the files that tell of packages and were not read."""
        return tuple(path for path, _ in self.bill.inventory.unread)

    @property
    def is_blind(self) -> bool:
        """Whether a package manager's database is among them: nothing is known of its packages."""
        return any(is_database(path) for path in self.unread)

    def counting(self, level: str) -> tuple[Finding, ...]:
        """Return the findings that are not suppressed and at least so bad."""
        rank = LEVELS.index(level)
        return tuple(item for item in self.findings if not item.suppressed and item.severity.rank >= rank)


def scan(
    name: str, databases: Sequence[str], vex: Sequence[str], options: SbomOptions, session: Session, sink: Sink
) -> Scan:
    """Match the software of an image against advisories. Raises UsageError, ImageError, RegistryError, StoreError."""
    try:
        import cvss  # noqa: F401
        import univers  # noqa: F401
    except ImportError as exc:
        raise UsageError(f"a scan needs the package {exc.name}", remedy='pip install "tiffin[scan]"') from exc
    database, statements = Database.read(databases), read_vex(vex)
    bill = list_software(name, options, session, sink)
    matched = match(bill, database, statements)
    for text in matched.unsure[:MAX_TOLD]:
        sink.emit(WarningMessage(message=f"versions cannot be compared: {text}"))
    if len(matched.unsure) > MAX_TOLD:
        sink.emit(WarningMessage(message=f"and {len(matched.unsure) - MAX_TOLD} more that cannot be compared"))
    sink.emit(InfoMessage(message=f"{database.count} advisories, {len(bill.inventory.components)} packages"))
    return Scan(bill=bill, findings=matched.findings)
