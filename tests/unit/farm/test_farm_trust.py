"""The files of TLS, before anybody is met: what no other machine of the farm would accept is refused by name."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.support.certificates import make_authority
from tiffin.builder.errors import UsageError
from tiffin.builder.farm.address import FarmTrust
from tiffin.builder.farm.dask import trust as farm_trust
from tiffin.builder.farm.dask.trust import connected, security_of


def test_files_that_belong_together_are_taken(tmp_path: Path) -> None:
    authority = make_authority(tmp_path)
    certificate, key = authority.issue("node")
    found = security_of(FarmTrust(ca=str(authority.certificate), cert=str(certificate), key=str(key)))
    assert found.require_encryption and found.tls_worker_key == str(key)
    assert not security_of(FarmTrust()).require_encryption


@pytest.mark.parametrize(
    ("ca", "cert", "key", "told"),
    [
        ("first/ca.crt", "first/node.cert", "other/node.key", "other/node.key is not the key of the certificate"),
        ("first/ca.crt", "other/node.cert", "other/node.key", "first/ca.crt does not accept .*other/node.cert: unable"),
        ("first/ca.crt", "first/old.cert", "first/old.key", "first/old.cert: certificate has expired"),
        ("first/node.key", "first/node.cert", "first/node.key", "first/node.key is not a certificate"),
        ("first/ca.crt", "first/ca.crt", "first/none", "first/none is not the key"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, ca: str, cert: str, key: str, told: str) -> None:
    make_authority(tmp_path / "other").issue("node")
    first = make_authority(tmp_path / "first")
    first.issue("node")
    first.issue("old", days=-1)
    (tmp_path / "first/none").write_text("nothing")
    with pytest.raises(UsageError, match=told):
        security_of(FarmTrust(ca=str(tmp_path / ca), cert=str(tmp_path / cert), key=str(tmp_path / key)))


def test_a_machine_that_goes_as_tls_begins_is_a_lost_one(monkeypatch: pytest.MonkeyPatch) -> None:
    async def gone(address: str, **_: object) -> None:
        raise ValueError("IOStream is not idle; cannot convert to SSL")  # tornado's, of a worker that was killed

    monkeypatch.setattr(farm_trust, "connect", gone)
    with pytest.raises(OSError, match="went away: IOStream is not idle"):
        asyncio.run(connected("tls://127.0.0.1:1", 1.0, {}))
