"""What changed from the software of one image to that of another."""

from __future__ import annotations

from tiffin.builder.sbom.inventory import Component, Inventory
from tiffin.cache.foundation.frozen import dataclass

ADDED, REMOVED, CHANGED = "added", "removed", "changed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A package that came, went, or has another version; `component` is what is there now, of one that went what was
    there; versions are joined where there are several side by side.
    """

    kind: str
    type: str
    name: str
    before: str
    after: str
    component: Component


def differences(before: Inventory, after: Inventory) -> tuple[Change, ...]:
    """Return what differs, by type and name."""
    old, new = _by_name(before), _by_name(after)
    changes = []
    for key in sorted(old.keys() | new.keys()):
        was, now = old.get(key, []), new.get(key, [])
        versions = [", ".join(sorted({item.package.version for item in items})) for items in (was, now)]
        if versions[0] == versions[1]:
            continue
        kind = CHANGED if was and now else ADDED if now else REMOVED
        changes.append(
            Change(
                kind=kind, type=key[0], name=key[1], before=versions[0], after=versions[1], component=(now or was)[0]
            )
        )
    return tuple(changes)


def _by_name(inventory: Inventory) -> dict[tuple[str, str], list[Component]]:
    found: dict[tuple[str, str], list[Component]] = {}
    for item in inventory.components:
        package = item.package
        full = f"{package.namespace}/{package.name}" if package.namespace else package.name
        found.setdefault((package.type, full), []).append(item)
    return found
