"""tiffin tag."""

from __future__ import annotations

import click

from tiffin.builder.api.session import Session
from tiffin.builder.errors import UsageError
from tiffin.builder.oci.reference import Reference


@click.command("tag")
@click.argument("image")
@click.argument("name")
@click.pass_obj
def command(session: Session, /, image: str, name: str) -> None:
    """Give IMAGE the additional NAME."""
    reference = Reference.parse(name)
    if reference.digest is not None:
        raise UsageError(f'"{name}" has a digest', remedy="a tag is a name without one")
    several = session.store.index_of(image)
    if several:
        session.store.put_index(several[0], [reference])
    else:
        session.store.tag(session.store.find(image), reference)
