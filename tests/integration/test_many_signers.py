"""Signers that sign one image in the same second, in a registry that has no safe way to change a tag."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

from tests.conftest import Run
from tests.support.servers import Registry

pytestmark = pytest.mark.network
SIGNERS = 6


def key_pair(folder: Path, number: int) -> tuple[Path, Path]:
    """A key in files, and its public half."""
    key = generate_private_key(SECP256R1())
    private, public = folder / f"{number}.key", folder / f"{number}.pub"
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    public.write_bytes(
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return private, public


@pytest.mark.parametrize("form", ["bundle", "simple"])
def test_none_of_six_signatures_is_lost(
    tiffin: Run, context: Callable[..., Path], registry: Registry, tmp_path: Path, form: str
) -> None:
    name = f"{registry.host}/signers/{form}:1"
    tiffin("build", "-t", name, "--push", context("FROM scratch\nCOPY f /f\n", f=form))
    pairs = [key_pair(tmp_path, number) for number in range(SIGNERS)]
    words = [sys.executable, "-m", "tiffin", "--root"]
    started = [
        subprocess.Popen(
            [*words, f"{tmp_path}/state{number}", "sign", name, "--key", str(private), f"--format={form}"],
            env=os.environ,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number, (private, _) in enumerate(pairs)
    ]
    for process in started:
        _, told = process.communicate(timeout=120)
        assert process.returncode == 0, told
    for _, public in pairs:
        tiffin("verify", name, "--key", public)
