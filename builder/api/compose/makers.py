"""What the commands of compose are given: how a service becomes a container, and an image."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager

from tiffin.builder.api.build_options import BuildOptions
from tiffin.builder.api.run_options import RunOptions
from tiffin.builder.compose.model.values import Service
from tiffin.builder.events import Sink
from tiffin.builder.settings.access import RegistryAccess
from tiffin.cache.foundation.typing_shim import Protocol


class Makers(Protocol):
    """Turns services into options. All of it is called in processes that do one thing."""

    @property
    def registry(self) -> RegistryAccess:
        """How registries are reached."""

    def container(self, service: Service, *, name: str, number: int, labels: Mapping[str, str]) -> RunOptions:
        """Return the options of a container of a service. Raises TiffinError."""

    def build(self, service: Service) -> BuildOptions:
        """Return the options of the build of a service's image. Raises TiffinError."""

    def progress(self) -> AbstractContextManager[Sink]:
        """Return what shows how a build or a pull goes on."""
