"""tiffin network create | ls | inspect | rm | connect | disconnect | prune | exists."""

from __future__ import annotations

from collections.abc import Mapping

from tiffin.builder.cli.options.command import CONTAINERS, EXIT_OF_CONTAINERS, Command, Group
from tiffin.builder.cli.options.common import ListArguments
from tiffin.builder.cli.options.option import REFUSED, WITHOUT_EFFECT, Arguments, Flag, Many, Text, Word, Words
from tiffin.builder.cli.output.console import EXIT_REFUSED, as_refused, confirm, each, print_result
from tiffin.builder.cli.output.lists import created_text, filters_of, show_documents, show_rows
from tiffin.builder.errors import NotFoundError
from tiffin.builder.options import has_labels
from tiffin.builder.plain_text import rfc3339
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.api.session import Session
    from tiffin.builder.containers.network.store import NetworkRecord

HEADINGS = {
    "ID": "NETWORK ID", "Name": "NAME", "Driver": "DRIVER", "Scope": "SCOPE", "IPv4": "IPV4", "IPv6": "IPV6",
    "Internal": "INTERNAL", "Labels": "LABELS", "CreatedAt": "CREATED AT",
}  # fmt: skip
COLUMNS = ("ID", "Name", "Driver", "Scope")
SHORT_ID_LENGTH = 12


class CreateArguments(Arguments):
    """What may stand on the line."""

    name = Word("NETWORK")
    driver = Text("-d", "--driver", metavar="bridge", default="bridge", help="Only bridge.")
    subnet = Many("--subnet", metavar="ADDRESSES", help="Its addresses, such as 172.28.0.0/16; again for IPv6.")
    gateway = Many("--gateway", metavar="ADDRESS", help="Its own address (default: the first).")
    address_range = Many("--ip-range", metavar="ADDRESSES", help="The part of them that containers are given.")
    labels = Many("--label", metavar="K[=V]", help="Label; repeatable.")
    options = Many("-o", "--opt", metavar="K=V", help="Options of the driver; they are kept and shown.")
    internal = Flag("--internal", help="Nothing outside is reached from it.")
    attachable = Flag("--attachable", help="Kept and shown: every container can be attached.")
    ipam_driver = Text(
        "--ipam-driver", metavar="default", choices=("default",), default="default", help="Only default."
    )
    scope = Text("--scope", choices=("local",), default="local", help="Only local.")
    ipv4 = Flag("--ipv4", default=True, effect=WITHOUT_EFFECT)
    ipv6 = Flag("--ipv6", help="Give containers addresses of IPv6, too.")
    auxiliary = Many("--aux-address", effect=REFUSED, why="give addresses to containers with --ip")
    ingress = Flag("--ingress", effect=REFUSED, why="there is no swarm")
    config_only = Flag("--config-only", effect=REFUSED, why="there is no swarm")
    config_from = Many("--config-from", effect=REFUSED, why="there is no swarm")


class LsArguments(ListArguments):
    """What may stand on the line."""

    quiet = Flag("-q", "--quiet", help="Print ids only.")
    no_trunc = Flag("--no-trunc", help="Do not truncate ids.")
    no_heading = Flag("-n", "--noheading", help="No headings, which templates have none of.")
    filters = Many(
        "-f",
        "--filter",
        metavar="NAME=VALUE",
        help="name=, id=, driver=, label=, scope=, type=, dangling=",
    )


class InspectArguments(Arguments):
    """What may stand on the line."""

    names = Words("NETWORK...", needed=True)
    form = Text("-f", "--format", metavar="TEMPLATE", help="Go template, such as {{.Id}}.")
    verbose = Flag("-v", "--verbose", effect=WITHOUT_EFFECT)


class RmArguments(Arguments):
    """What may stand on the line."""

    names = Words("NETWORK...", needed=True)
    force = Flag("-f", "--force", help="Ignore missing ones.")


class ConnectArguments(Arguments):
    """What may stand on the line."""

    network = Word("NETWORK")
    container = Word("CONTAINER")
    aliases = Many("--alias", metavar="NAME", help="Another name of the container there; repeatable.")
    ip = Text("--ip", metavar="ADDRESS", help="IPv4 address.")
    ip6 = Text("--ip6", metavar="ADDRESS", help="IPv6 address.")
    options = Many("--driver-opt", effect=REFUSED, why="there is nothing to set")
    links = Many("--link", effect=REFUSED, why="containers of a network have names there")
    link_local = Many("--link-local-ip", effect=REFUSED, why="addresses are given with --ip")
    priority = Many("--gw-priority", effect=REFUSED, why="the first network leads out")


class DisconnectArguments(Arguments):
    """What may stand on the line."""

    network = Word("NETWORK")
    container = Word("CONTAINER")
    force = Flag("-f", "--force", help="Also from a network that is gone.")


class PruneArguments(Arguments):
    """What may stand on the line."""

    filters = Many("--filter", metavar="label=K[=V]", help="Only those with the label; repeatable.")
    force = Flag("-f", "--force", help="Do not ask.")


class ExistsArguments(Arguments):
    """What may stand on the line."""

    name = Word("NETWORK")


def create(session: Session, line: CreateArguments) -> None:
    """Make a network and print its id. Raises TiffinError."""
    from tiffin.builder.api.networks import NetworkOptions, create_network
    from tiffin.builder.containers.environment import parse_labels

    options = NetworkOptions(
        driver=line.driver,
        subnets=line.subnet,
        gateways=line.gateway,
        address_ranges=line.address_range,
        has_ipv6=line.ipv6,
        is_internal=line.internal,
        is_attachable=line.attachable,
        options=dict(text.partition("=")[::2] for text in line.options),
    )
    labels = parse_labels(line.labels, ())
    with as_refused():
        network = create_network(line.name, session, options, labels=labels)
    print_result(network.id)


def ls(session: Session, line: LsArguments) -> None:
    """Print a list of networks."""
    from tiffin.builder.api.networks import attached, list_networks

    wanted = filters_of(line.filters, ("name", "id", "driver", "label", "scope", "type", "dangling"))
    found = [network for network in list_networks(session) if _is_wanted(network, wanted)]
    if "dangling" in wanted:
        is_asked = wanted["dangling"][-1].lower() in ("true", "1")
        found = [item for item in found if not item.is_predefined and is_asked is not bool(attached(item, session))]
    if line.quiet:
        for network in found:
            print_result(_id(network, line.no_trunc))
    else:
        whole = "\t".join(f"{{{{.{name}}}}}" for name in COLUMNS)
        form = whole if line.no_heading and line.form == "table" else line.form
        show_rows([_row(network, line.no_trunc) for network in found], form, COLUMNS, HEADINGS)


def _is_wanted(network: NetworkRecord, wanted: Mapping[str, list[str]]) -> bool:
    return (
        any(text in network.name for text in wanted.get("name", [""]))
        and any(network.id.startswith(text) for text in wanted.get("id", [""]))
        and network.driver in wanted.get("driver", [network.driver])
        and has_labels(network.labels, wanted.get("label", []))
        and "local" in wanted.get("scope", ["local"])
        and ("builtin" if network.is_predefined else "custom") in wanted.get("type", ["builtin", "custom"])
    )


def _id(network: NetworkRecord, no_trunc: bool) -> str:
    return network.id if no_trunc else network.id[:SHORT_ID_LENGTH]


def _row(network: NetworkRecord, no_trunc: bool) -> dict[str, object]:
    return {
        "ID": _id(network, no_trunc),
        "Name": network.name,
        "Driver": network.driver,
        "Scope": "local",
        "IPv4": "true",
        "IPv6": "false" if network.ipv6 is None else "true",
        "Internal": "true" if network.is_internal else "false",
        "Labels": ",".join(f"{name}={value}" for name, value in sorted(network.labels.items())),
        "CreatedAt": created_text(rfc3339(network.created)),
    }


def inspect(session: Session, line: InspectArguments) -> None:
    """Print documents of networks."""
    from tiffin.builder.api.networks import inspect_network

    show_documents(line.names, lambda name: inspect_network(name, session), line.form)


def rm(session: Session, line: RmArguments) -> None:
    """Remove networks and print their names."""
    from tiffin.builder.api.networks import remove_network

    def remove(name: str) -> None:
        remove_network(name, session)
        print_result(name)

    each(line.names, remove, ignored=NotFoundError if line.force else ())


def connect(session: Session, line: ConnectArguments) -> None:
    """Attach a container to a network. Raises TiffinError."""
    from tiffin.builder.api.networks import connect
    from tiffin.builder.cli.commands.run import WarningSink
    from tiffin.builder.containers.network.attachment import NetworkAttachment

    attachment = NetworkAttachment(name=line.network, aliases=line.aliases, ip=line.ip, ip6=line.ip6)
    with as_refused():
        connect(line.container, attachment, session, WarningSink())


def disconnect(session: Session, line: DisconnectArguments) -> None:
    """Detach a container from a network. Raises TiffinError."""
    from tiffin.builder.api.networks import disconnect

    disconnect(line.network, line.container, session, force=line.force)


def prune(session: Session, line: PruneArguments) -> None:
    """Remove networks that no container runs in, and print their names."""
    from tiffin.builder.api.networks import prune_networks
    from tiffin.builder.cli.output.pruned import show_names

    wanted = filters_of(line.filters, ("label",))
    confirm(line.force, "Remove all networks that no container runs in?")
    show_names("Networks", prune_networks(session, labels=wanted.get("label", [])))


def exists(session: Session, line: ExistsArguments) -> int:
    """Tell by the exit code whether a network is there, as podman does."""
    from tiffin.builder.api.networks import exists_network

    return 0 if exists_network(line.name, session) else 1


COMMANDS = (
    Group("network", about="Networks that containers share.", section=CONTAINERS),
    Command(
        "network create",
        CreateArguments,
        create,
        about="Make a network.",
        help="Make a network and print its id. Containers in it reach each other by name; nothing runs for it while "
        "there is none.",
        section=CONTAINERS,
        examples=("tiffin network create back", "tiffin network create --subnet 172.28.0.0/16 --internal back"),
        usage_code=EXIT_REFUSED,
        unknown_option_code=EXIT_OF_CONTAINERS,
    ),
    Command(
        "network ls",
        LsArguments,
        ls,
        about="List networks.",
        section=CONTAINERS,
        examples=("tiffin network ls -q -f type=custom",),
        aliases=("network list",),
        usage_code=EXIT_REFUSED,
        unknown_option_code=EXIT_OF_CONTAINERS,
    ),
    Command(
        "network inspect",
        InspectArguments,
        inspect,
        about="Show details of networks as JSON.",
        section=CONTAINERS,
        examples=("tiffin network inspect -f '{{json .Containers}}' back",),
        usage_code=EXIT_REFUSED,
        unknown_option_code=EXIT_OF_CONTAINERS,
    ),
    Command(
        "network rm",
        RmArguments,
        rm,
        about="Remove networks.",
        help="Remove networks that no container runs in.",
        section=CONTAINERS,
        examples=("tiffin network rm back",),
        aliases=("network remove",),
        usage_code=EXIT_REFUSED,
        unknown_option_code=EXIT_OF_CONTAINERS,
    ),
    Command(
        "network connect",
        ConnectArguments,
        connect,
        about="Attach a container to a network.",
        help="Attach a container to a network; one that does not run is attached when it starts.",
        section=CONTAINERS,
        examples=("tiffin network connect --alias db back web",),
        usage_code=EXIT_REFUSED,
        unknown_option_code=EXIT_OF_CONTAINERS,
    ),
    Command(
        "network disconnect",
        DisconnectArguments,
        disconnect,
        about="Detach a container from a network.",
        section=CONTAINERS,
        examples=("tiffin network disconnect back web",),
        usage_code=EXIT_REFUSED,
        unknown_option_code=EXIT_OF_CONTAINERS,
    ),
    Command(
        "network prune",
        PruneArguments,
        prune,
        about="Remove networks that no container runs in.",
        section=CONTAINERS,
        examples=("tiffin network prune -f",),
        usage_code=EXIT_REFUSED,
        unknown_option_code=EXIT_OF_CONTAINERS,
    ),
    Command(
        "network exists",
        ExistsArguments,
        exists,
        about="Tell by the exit code whether a network is there.",
        section=CONTAINERS,
        examples=("tiffin network exists back",),
        usage_code=EXIT_REFUSED,
        unknown_option_code=EXIT_OF_CONTAINERS,
    ),
)
