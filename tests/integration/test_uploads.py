"""Uploads to a real registry, over ways that limit or break them."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from tests.support.faults import faulty
from tests.support.servers import Registry, nginx_before
from tests.unit.registry.test_registry_client import config, descriptor
from tiffin.builder.registry.client import RegistryClient
from tiffin.builder.registry.transport import RegistryOptions
from tiffin.cache.foundation.digest import Digest

pytestmark = pytest.mark.network


@pytest.mark.parametrize("megabytes", [1, 3, 20])
def test_nginx_before_a_registry_limits_bodies(tmp_path: Path, registry: Registry, megabytes: int) -> None:
    data = os.urandom(21 << 20)
    with nginx_before(registry.host, tmp_path, f"client_max_body_size {megabytes}m;") as host:
        pushing = RegistryClient(host, config(tmp_path), RegistryOptions())
        assert pushing.push_blob("limited", descriptor(data), lambda: io.BytesIO(data)) == "uploaded"
        assert pushing.has_blob("limited", Digest.of(data))


def test_real_registry_over_a_connection_that_breaks(tmp_path: Path, registry: Registry) -> None:
    """docker-registry keeps what came of a request, and adds the next to it."""
    data = os.urandom(8 << 20)
    with faulty(int(registry.host.rpartition(":")[2])) as proxy:
        proxy.cut_after = 5 << 20
        pushing = RegistryClient(f"127.0.0.1:{proxy.port}", config(tmp_path), RegistryOptions())
        assert pushing.push_blob("broken/way", descriptor(data), lambda: io.BytesIO(data)) == "uploaded"
        assert proxy.cut_after < 0, "nothing was cut"
        assert pushing.has_blob("broken/way", Digest.of(data))
