"""Names of peers: what cannot be an address is refused before anything is asked."""

from __future__ import annotations

import pytest

from tiffin.cache.errors import UsageError
from tiffin.cache.shared.stores.peers import Peers


@pytest.mark.parametrize(
    "name",
    [
        "http://127.0.0.1:9",
        "https://builder-2.internal",
        "http://[::1]:9/",
        "http://u:p@host:5050/below",
        "dns:b",
        "dns:b.c:9",
    ],
)
def test_addresses_are_taken(name: str) -> None:
    Peers([name], "", lambda _: None)


@pytest.mark.parametrize(
    "name",
    [
        "127.0.0.1:9", "ftp://host", "http://", "http://a:5050,http://b:5050", "http://a:9;http://b:9", "http://a:99999",
        "http://a:x", "http://[::1:9", "http://a b", "dns:", "dns:x:y", "dns:a,b", "http://u:hush@:9",
    ],
)  # fmt: skip
def test_what_cannot_be_an_address_is_refused(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        Peers([name], "", lambda _: None)
    assert "is not a valid peer" in str(caught.value) and "hush" not in str(caught.value)
