"""tiffin inspect."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial

import click

from tiffin.builder.api.images import StoredImage
from tiffin.builder.api.session import Session
from tiffin.builder.cli.output.console import each
from tiffin.builder.containers.container import Containers, ContainerState
from tiffin.builder.errors import ImageError, ImageNotFoundError, UsageError
from tiffin.builder.oci.reference import Reference
from tiffin.builder.plain_text import rfc3339

JSON = "json"


@click.command("inspect")
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@click.option("-f", "--format", "form", metavar="TEMPLATE", help="Such as {{.Id}} or {{json .Config}}.")
@click.option("--type", "kind", type=click.Choice(["image", "container"]), help="Of images or containers alone.")
@click.pass_obj
def command(session: Session, /, names: tuple[str, ...], form: str | None, kind: str | None) -> None:
    """Show images and containers as a JSON array, with docker's member names."""
    documents: list[Mapping[str, object]] = []
    failure: ImageError | None = None
    try:
        each(names, lambda name: documents.append(_document(session, name, kind)))
    except ImageError as exc:  # what was found is shown all the same
        failure = exc
    if form is None or form == JSON:
        click.echo(json.dumps(documents, indent=4))
    else:
        from tiffin.builder.cli.output.template import Template

        template = Template(form)
        for document in documents:
            click.echo(template.render(_for_templates(document)))
    if failure is not None:
        raise failure


def _of(kind: str) -> click.Command:
    """The same for one kind alone, as the groups image and container have it."""
    callback = command.callback
    assert callback is not None
    params = [option for option in command.params if option.name != "kind"]
    return click.Command("inspect", params=params, callback=partial(callback, kind=kind), help=command.help)


image_command, container_command = _of("image"), _of("container")


def _document(session: Session, name: str, kind: str | None) -> dict[str, object]:
    """Of the container of that name, else the image; raises ImageNotFoundError."""
    if kind != "image":
        containers = Containers(session.state)
        try:
            found = containers.find(name)
            return _document_of_container(found, alive=containers.is_alive(found.id))
        except (ImageNotFoundError, UsageError):
            if kind == "container":
                raise
    try:
        return document_of(session.store.find(name), session)
    except ImageNotFoundError as exc:
        if kind == "image":
            raise
        raise ImageNotFoundError(f"No such object: {name}", remedy="see tiffin images and tiffin ps -a") from exc


def document_of(image: StoredImage, session: Session) -> dict[str, object]:
    """docker inspect's document of an image."""
    whole = session.store.whole(image)
    config = image.config
    return {
        "Id": str(image.id),
        "RepoTags": [name.familiar for name in whole.names if name.tag],
        "RepoDigests": [_familiar(text) for text in session.store.notes.repo_digests(image.id)],
        "Created": config.created,
        "Author": config.author,
        "Config": config.config.to_json(),
        "Architecture": config.platform.architecture,
        "Variant": config.platform.variant,
        "Os": config.platform.os,
        "Size": image.size_bytes,
        "RootFS": {"Type": "layers", "Layers": [str(diff_id) for diff_id in config.diff_ids]},
        "Descriptor": image.descriptor.to_json(),
        "Manifest": {"Layers": [layer.to_json() for layer in image.manifest.layers]},
    }


def _familiar(text: str) -> str:
    return Reference.parse(text).familiar


def _document_of_container(state: ContainerState, *, alive: bool) -> dict[str, object]:
    """docker inspect's document of a container, as far as tiffin knows of it."""
    return {
        "Id": state.id,
        "Created": rfc3339(state.created),
        "Path": state.command[0],
        "Args": list(state.command[1:]),
        "State": {
            "Status": "running" if alive else "exited" if state.exit_code is not None else "dead",
            "Running": alive,
            "Dead": not alive and state.exit_code is None,
            "Pid": state.pid if alive else 0,
            "ExitCode": state.exit_code or 0,
        },
        "Image": state.image_id,
        "Name": f"/{state.name}",
        "Config": {"Image": state.image},
    }


def _for_templates(document: Mapping[str, object]) -> Mapping[str, object]:
    """The document with what docker's templates find though JSON leaves it out: members that are not set."""
    from tiffin.builder.cli.output.template_values import NIL_LIST, NIL_MAP

    config = document["Config"]
    assert isinstance(config, Mapping)
    unset: dict[str, object] = {
        **dict.fromkeys(("User", "WorkingDir", "StopSignal", "Domainname", "Hostname"), ""),
        **dict.fromkeys(("Env", "Cmd", "Entrypoint", "OnBuild", "Shell"), NIL_LIST),
        **dict.fromkeys(("Labels", "Volumes", "ExposedPorts"), NIL_MAP),
        "Healthcheck": None,
    }
    return {**document, "Config": {**unset, **config}}
