"""The resolv.conf of a run: --dns, --dns-search and --dns-option in Docker's way."""

from __future__ import annotations

from collections.abc import Sequence

from tiffin.builder.containers.environment import is_address
from tiffin.builder.errors import UsageError
from tiffin.cache.foundation.frozen import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolver:
    """What resolv.conf(5) shall say in place of the machine's own; empty members leave that."""

    servers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()  # (".",): none
    options: tuple[str, ...] = ()

    def applied(self, text: str) -> str:
        """Apply Docker's rule: each kind of line is replaced if given, else kept."""
        lines = text.splitlines(keepends=True)
        search = () if self.search == (".",) else self.search
        if self.servers:
            lines = _without(lines, "nameserver") + [f"nameserver {server}\n" for server in self.servers]
        if self.search:
            lines = _without(lines, "search", "domain") + ([f"search {' '.join(search)}\n"] if search else [])
        if self.options:
            lines = [*_without(lines, "options"), f"options {' '.join(self.options)}\n"]
        return "".join(lines)


def parse_resolver(servers: Sequence[str], search: Sequence[str], options: Sequence[str]) -> Resolver:
    """Parse --dns, --dns-search ("." for none) and --dns-option; raises UsageError."""
    for text in servers:
        if not is_address(text):
            raise UsageError(f'--dns "{text}" is not a valid address', remedy="write --dns 192.0.2.53")
    for option, texts in (("--dns-search", search), ("--dns-option", options)):
        for text in texts:
            if not text or any(character.isspace() for character in text):
                raise UsageError(f'{option} "{text}" is not one word', remedy="repeat the option for each")
    return Resolver(servers=tuple(servers), search=tuple(search), options=tuple(options))


def _without(lines: Sequence[str], *keywords: str) -> list[str]:
    """Return the complete lines except those of the keywords."""
    kept = [line for line in lines if not line.strip() or line.split()[0] not in keywords]
    return [line if line.endswith("\n") else f"{line}\n" for line in kept]
