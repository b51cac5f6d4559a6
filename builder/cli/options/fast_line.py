"""What a command line may hold that is read without click."""

from __future__ import annotations

from collections.abc import Mapping

from tiffin.cache.values import dataclass


@dataclass(frozen=True, slots=True)
class Line:
    """One command: its only argument, and where that ends the options the name of what follows it.

    `flags` give a member its value, `texts` take one; a default that is a tuple collects. `variables` of the environment
    stand for options.
    """

    argument: str
    further: str | None
    flags: Mapping[str, tuple[str, bool]]
    texts: Mapping[str, str]
    choices: Mapping[str, tuple[str, ...]]
    defaults: Mapping[str, object]
    variables: tuple[str, ...]
