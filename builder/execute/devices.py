"""RUN --device: what devices of this machine add to a step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tiffin.builder.containers.confinement.cdi import Edits, directories_of, edits_of, matching
from tiffin.builder.errors import BuildError, Span, UsageError
from tiffin.builder.instructions.ops import RunOp
from tiffin.builder.sandbox.isolation import Isolation

ANY = "*"  # among what is granted


def edits_of_step(op: RunOp, isolation: Isolation, environ: Mapping[str, str], span: Span) -> Edits:
    """Return what the devices of a step add. Raises BuildError for one that is not granted or cannot be shown, and for
    a required one that is not there.
    """
    directories = directories_of(environ)
    names: list[str] = []
    for request in op.devices:
        found = matching(request.name, directories)
        if not found and request.required:
            raise BuildError(
                f"required device {request.name} is not here: no file in {' or '.join(directories)} describes it",
                span=span,
                remedy="have the vendor's tool write one, or leave out `required`",
            )
        for name, is_free in found.items():
            if not is_free and not _is_granted(name, op.run_defaults.devices):
                raise BuildError(
                    f"device {name} is not allowed", span=span, remedy=f"grant it with --allow device={name}"
                )
        names += found
    if names and not isolation.has_mounts:
        raise BuildError(
            f"isolation {isolation.tier} has no mounts, and so no devices",
            span=span,
            remedy="tiffin info says how to allow it",
        )
    try:
        return edits_of(names, directories)
    except UsageError as exc:
        raise BuildError(exc.message, span=span, remedy=exc.remedy) from exc


def _is_granted(name: str, granted: Sequence[str]) -> bool:
    return any(text in (ANY, name, name.partition("=")[0]) for text in granted)
