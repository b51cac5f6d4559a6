"""--network and what goes with it, as the API takes it."""

from __future__ import annotations

import re

from tiffin.builder.errors import UsageError
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.cli.options.run_arguments import CreateArguments
    from tiffin.builder.containers.network.attachment import NetworkAttachment

UNNAMED = ("host", "none", "private", "bridge", "default", "pasta", "slirp4netns")
OF_CONTAINER = "container:"
MAC = r"([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}"


def network_kind(line: CreateArguments) -> tuple[str, str]:
    """Return the kind of network where none with a name is asked for, and the tool for it, if one was asked for.

    Raises UsageError.
    """
    publishes = bool(line.publish) or line.publish_all
    if joined := joined_container(line):
        if publishes:
            raise UsageError(
                "conflicting options: port publishing and the container type network mode",
                remedy=f"publish the ports of {joined}",
            )
        return f"{OF_CONTAINER}{joined}", ""
    if attachments_of(line):
        return "private", ""
    text = line.network[0] if line.network else None
    if text in (None, "host", "none") and not publishes:
        return text or "host", ""
    from tiffin.builder.containers.network.networks import choose_kind

    return choose_kind(text, publishes=publishes)


def joined_container(line: CreateArguments) -> str:
    """Return the container whose network is asked for, "" for none."""
    text = line.network[0] if line.network else ""
    return text.removeprefix(OF_CONTAINER) if text.startswith(OF_CONTAINER) else ""


def links_of(line: CreateArguments) -> tuple[tuple[str, str], ...]:
    """Return the containers that are to have names in this one, and the names. Raises UsageError."""
    found = []
    for text in line.links:
        name, _, alias = text.partition(":")
        if not name or ":" in alias:
            raise UsageError(f'--link "{text}" is not CONTAINER[:ALIAS]', remedy="write --link db:database")
        found.append((name, alias or name))
    return tuple(found)


def attachments_of(line: CreateArguments) -> tuple[NetworkAttachment, ...]:
    """Return the networks with names that are asked for. Raises UsageError."""
    named = [text for text in line.network if text not in UNNAMED and not text.startswith(OF_CONTAINER)]
    if not named:
        for option, value in (
            ("--network-alias", line.aliases), ("--ip", line.ip), ("--ip6", line.ip6), ("--mac-address", line.mac)
        ):  # fmt: skip
            if value:
                raise UsageError(
                    f"{option} is for networks with names only", remedy="make one with tiffin network create"
                )
    if len(line.network) > 1 and len(named) < len(line.network):
        raise UsageError(
            "conflicting options: cannot attach both user-defined and non-user-defined network-modes",
            remedy="leave out those without a name",
        )
    if not named:
        return ()
    from tiffin.cache.foundation.frozen import replace

    found = [_attachment(text) for text in named]
    first = found[0]
    found[0] = replace(
        first,
        aliases=(*first.aliases, *line.aliases),
        ip=first.ip or line.ip,
        ip6=first.ip6 or line.ip6,
        mac=parse_mac(first.mac or line.mac),
    )
    return tuple(dict.fromkeys(found))


def _attachment(text: str) -> NetworkAttachment:
    """Parse NETWORK, or name=NETWORK,alias=NAME,ip=ADDRESS,mac-address=ADDRESS, or as podman has it
    NETWORK:alias=NAME,ip=ADDRESS. Raises UsageError.
    """
    from tiffin.builder.containers.network.attachment import NetworkAttachment

    if "=" not in text:
        return NetworkAttachment(name=text)
    name, colon, rest = text.partition(":")
    items = f"name={name},{rest}" if colon and "=" not in name else text
    pairs = [item.partition("=")[::2] for item in items.split(",")]
    members = dict(pairs)
    unknown = sorted(set(members) - {"name", "alias", "ip", "ip6", "mac-address"})
    if unknown or not members.get("name"):
        what = f'"{unknown[0]}" is not supported' if unknown else "it names no network"
        raise UsageError(f"--network {text}: {what}", remedy="write name=NETWORK,alias=NAME,ip=ADDRESS")
    return NetworkAttachment(
        name=members["name"],
        aliases=tuple(value for name, value in pairs if name == "alias"),
        ip=members.get("ip", ""),
        ip6=members.get("ip6", ""),
        mac=parse_mac(members.get("mac-address", "")),
    )


def parse_mac(text: str) -> str:
    """Read an address of a card, "" for any. Raises UsageError."""
    if text and not re.fullmatch(MAC, text):
        raise UsageError(f'--mac-address "{text}" is not valid', remedy="write it as 02:42:ac:12:00:02")
    return text.lower()
