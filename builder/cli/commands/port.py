"""tiffin port."""

from __future__ import annotations

from tiffin.builder.cli.options.command import CONTAINERS, EXIT_OF_CONTAINERS, Command
from tiffin.builder.cli.options.option import Arguments, Word
from tiffin.builder.cli.output.console import print_result
from tiffin.builder.errors import ContainerError, UsageError
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.api.session import Session
    from tiffin.builder.containers.network.published import Port

MAX_PORT = 65535


class PortArguments(Arguments):
    """What may stand on the line."""

    name = Word("CONTAINER")
    port = Word("[PORT[/PROTOCOL]]", "")


def port(session: Session, line: PortArguments) -> None:
    """Print where ports of a container are published. Raises ContainerError for one that is not."""
    from tiffin.builder.containers.container import Containers

    containers = Containers(session.state)
    state = containers.find(line.name)
    ports = state.ports if containers.is_alive(state.id) else ()
    if not line.port:
        for item in sorted(ports, key=lambda item: (item.container, item.protocol)):
            for place in _places(item):
                print_result(f"{item.container}/{item.protocol} -> {place}")
        return
    number, _, protocol = line.port.partition("/")
    if not number.isdecimal() or not 0 < int(number) <= MAX_PORT or protocol not in ("", "tcp", "udp", "sctp"):
        raise UsageError(f"invalid port {line.port!r}", remedy="write 80, 80/tcp or 53/udp")
    found = [item for item in ports if (item.container, item.protocol) == (int(number), protocol or "tcp")]
    if not found:
        raise ContainerError(
            f"no public port '{number}/{protocol or 'tcp'}' published for {line.name}", remedy="publish it with -p"
        )
    for item in found:
        for place in _places(item):
            print_result(place)


def _places(item: Port) -> list[str]:
    """Return where a port is reached: without an address by both families."""
    addresses = [f"[{item.address}]" if ":" in item.address else item.address] if item.address else ["0.0.0.0", "[::]"]
    return [f"{address}:{item.host}" for address in addresses]


COMMANDS = (
    Command(
        "port",
        PortArguments,
        port,
        about="Show published ports of a container.",
        help="Show where the ports of a container are published, or one of them.",
        section=CONTAINERS,
        examples=("tiffin port web", "tiffin port web 80/tcp"),
        aliases=("container port",),
        unknown_option_code=EXIT_OF_CONTAINERS,
    ),
)
