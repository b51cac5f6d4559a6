"""Sizes as Docker's options and compose files write them (github.com/docker/go-units RAMInBytes)."""

import pytest

from tiffin.builder.options import size_bytes


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("64", 64),
        ("64b", 64),
        ("64m", 64 << 20),
        ("1.5G", 3 << 29),
        ("1.5GiB", 3 << 29),
        (".5gb", 1 << 29),
        ("5.k", 5 << 10),
        ("1 kb", 1 << 10),
        ("2P", 2 << 50),
        (str((1 << 63) - 1), (1 << 63) - 1),
    ],
)
def test_a_number_with_a_unit_is_a_size(text: str, size: int) -> None:
    assert size_bytes(text) == size


@pytest.mark.parametrize("text", ["", "k", "-1", "1bb", "1,5g", "1..5g", "1  kb", "8EB", "9999999p", "٣m"])
def test_what_docker_does_not_take_is_not_a_size(text: str) -> None:
    with pytest.raises(ValueError):
        size_bytes(text)
