"""tiffin inspect."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence

from tiffin.builder.cli.options.command import CONTAINERS, EXIT_OF_CONTAINERS, IMAGES, Command
from tiffin.builder.cli.options.option import Arguments, Flag, Text, Words
from tiffin.builder.cli.output.lists import is_podman, show_documents
from tiffin.builder.errors import ImageNotFoundError, NotFoundError, UsageError
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.api.images import StoredImage
    from tiffin.builder.api.session import Session

LISTS_OF_HOST = ("CapAdd", "CapDrop", "DeviceRequests", "GroupAdd", "Links", "SecurityOpt", "Ulimits")
NEVER = "0001-01-01T00:00:00Z"  # docker's word for the end of what still runs


class _FormArguments(Arguments):
    form = Text("-f", "--format", metavar="TEMPLATE", help="Go template, such as {{.Id}} or {{json .Config}}.")


class InspectArguments(_FormArguments):
    """What may stand on the line."""

    names = Words("CONTAINER|IMAGE...", needed=True)
    size = Flag("-s", "--size", help="Show how large the files of containers are.")
    kind = Text(
        "--type",
        choices=("image", "container", "volume", "network", "all"),
        help="Inspect only images, containers, volumes or networks.",
    )


class InspectImageArguments(_FormArguments):
    """Of images alone, as the group image has it."""

    names = Words("IMAGE...", needed=True)


class InspectContainerArguments(_FormArguments):
    """Of containers alone, as the group container has it."""

    names = Words("CONTAINER...", needed=True)
    size = Flag("-s", "--size", help="Show how large their files are.")


def inspect(session: Session, names: Sequence[str], form: str, kind: str, *, with_size: bool = False) -> None:
    """Print documents of images and containers. Raises ImageError after the others are printed."""
    show_documents(names, lambda name: _document(session, name, kind, with_size=with_size), form, _for_templates)


def _document(session: Session, name: str, kind: str, *, with_size: bool) -> dict[str, object]:
    """Return the document of what has that name: the first of a container, an image, a network, a volume.

    Raises ImageNotFoundError.
    """
    from tiffin.builder.api.containers.document import container_document
    from tiffin.builder.api.networks import inspect_network
    from tiffin.builder.api.volumes import inspect_volume

    finders: dict[str, Callable[[], dict[str, object]]] = {
        "container": lambda: container_document(name, session, with_size=with_size),
        "image": lambda: document_of(session.store.find(name), session),
        "network": lambda: inspect_network(name, session),
        "volume": lambda: inspect_volume(name, session),
    }
    if kind in finders:
        return finders[kind]()
    for finder in finders.values():
        with contextlib.suppress(ImageNotFoundError, NotFoundError, UsageError):
            return finder()
    raise ImageNotFoundError(f"No such object: {name}", remedy="see tiffin images and tiffin ps -a")


def document_of(image: StoredImage, session: Session) -> dict[str, object]:
    """Return docker inspect's document of an image."""
    whole = session.store.whole(image)
    config = image.config
    return {
        "Id": str(image.id),
        "RepoTags": [name.familiar for name in whole.names if name.tag],
        "RepoDigests": [_familiar(text) for text in session.store.notes.repo_digests(image.id)],
        "Created": config.created,
        "Comment": config.history[-1].comment if config.history else "",
        "Author": config.author,
        "Config": config.config.to_json(),
        "Architecture": config.platform.architecture,
        "Variant": config.platform.variant,
        "Os": config.platform.os,
        "Size": image.size_bytes,
        "RootFS": {"Type": "layers", "Layers": [str(diff_id) for diff_id in config.diff_ids]},
        "Descriptor": image.descriptor.to_json(),
        "Manifest": {"Layers": [layer.to_json() for layer in image.manifest.layers]},
        **(_podman_members(image) if is_podman() else {}),
    }


def _podman_members(image: StoredImage) -> dict[str, object]:
    """Return what podman's document of an image has beside docker's."""
    config = image.config.config
    return {
        "Digest": str(image.descriptor.digest),
        "VirtualSize": image.size_bytes,
        "User": config.user,
        "Labels": dict(config.labels),
        "HealthCheck": config.to_json().get("Healthcheck"),
        "ManifestType": image.descriptor.media_type,
        "History": [entry.to_json() for entry in image.config.history],
    }


def _familiar(text: str) -> str:
    from tiffin.builder.oci.reference import Reference

    return Reference.parse(text).familiar


def _for_templates(document: Mapping[str, object]) -> Mapping[str, object]:
    """Return the document with what docker's templates find though JSON leaves it out: members that are not set.

    Of a container of an earlier version too little is known to say that: what its document has not is told as missing.
    """
    if "RepoTags" not in document and "HostConfig" not in document:
        return document
    from tiffin.builder.cli.output.template_values import NIL_LIST, NIL_MAP

    config = document["Config"]
    assert isinstance(config, Mapping)
    unset: dict[str, object] = {
        **dict.fromkeys(("User", "WorkingDir", "StopSignal", "Domainname", "Hostname"), ""),
        **dict.fromkeys(("Env", "Cmd", "Entrypoint", "OnBuild", "Shell"), NIL_LIST),
        **dict.fromkeys(("Labels", "Volumes", "ExposedPorts"), NIL_MAP),
        **dict.fromkeys(("Healthcheck", "StopTimeout"), None),
    }
    found = {**document, "Config": {**unset, **config}}
    state = document.get("State")
    if isinstance(state, Mapping):
        unchecked = {"Status": "", "FailingStreak": 0, "Log": NIL_LIST} if is_podman() else None
        found["State"] = {"Health": unchecked, **state}
    host = document.get("HostConfig")
    if isinstance(host, Mapping):
        nothing = dict.fromkeys(("VolumesFrom", *LISTS_OF_HOST), NIL_LIST)
        found["HostConfig"] = nothing | {name: value for name, value in host.items() if value or name not in nothing}
    return found


_DOCUMENT = "as a JSON array, with docker's member names."
COMMANDS = (
    Command(
        "inspect",
        InspectArguments,
        lambda session, line: inspect(session, line.names, line.form, line.kind, with_size=line.size),
        about="Show details of images and containers as JSON.",
        help=f"Show images and containers {_DOCUMENT}",
        section=IMAGES,
        examples=("tiffin inspect app", "tiffin inspect -f '{{json .Config.Env}}' app"),
    ),
    Command(
        "image inspect",
        InspectImageArguments,
        lambda session, line: inspect(session, line.names, line.form, "image"),
        about="Show details of images as JSON.",
        help=f"Show images {_DOCUMENT}",
        section=IMAGES,
        examples=("tiffin image inspect -f '{{.Id}}' app",),
    ),
    Command(
        "container inspect",
        InspectContainerArguments,
        lambda session, line: inspect(session, line.names, line.form, "container", with_size=line.size),
        about="Show details of containers as JSON.",
        help=f"Show containers {_DOCUMENT}",
        section=CONTAINERS,
        examples=("tiffin container inspect -f '{{.State.Status}}' web",),
        unknown_option_code=EXIT_OF_CONTAINERS,
    ),
)
