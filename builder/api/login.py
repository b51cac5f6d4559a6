"""Keep credentials for registries where docker keeps them."""

from __future__ import annotations

import os

from tiffin.builder.registry.auth.credentials import RegistryCredentials, registry_of
from tiffin.builder.registry.auth.files import DockerConfig
from tiffin.builder.registry.client import RegistryClient
from tiffin.builder.settings.access import RegistryAccess
from tiffin.builder.settings.registries import read_registry_options


def login(registry: str, username: str, password: str, access: RegistryAccess) -> str:
    """Check credentials with a registry and keep them; return where. Raises AuthError, RegistryError, StoreError."""
    name = registry_of(registry)
    credentials = RegistryCredentials(username=username, password=password)
    environ = access.environment(os.environ)
    config = DockerConfig.load(environ)
    RegistryClient(name, config, read_registry_options(environ, access)).check_credentials(credentials)
    return str(config.save(name, credentials))


def logout(registry: str) -> tuple[str, bool]:
    """Forget the credentials for a registry; return its name, and whether there were any."""
    name = registry_of(registry)
    return name, DockerConfig.load(os.environ).erase(name)
