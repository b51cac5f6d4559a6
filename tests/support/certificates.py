"""A private certificate authority of a test's own, by openssl."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """`certificate` is what others trust."""

    folder: Path
    certificate: Path

    def issue(self, name: str, *names: str, days: int = 2) -> tuple[Path, Path]:
        """A certificate and its key, for a server with these names (`DNS:…`, `IP:…`; the loopback address by default), or a
        client."""
        pair = self.folder / f"{name}.cert", self.folder / f"{name}.key"
        request, extensions = self.folder / f"{name}.csr", self.folder / f"{name}.ext"
        _openssl("req", "-new", *KEY, "-nodes", "-subj", f"/CN={name}", "-keyout", pair[1], "-out", request)
        extensions.write_text(f"subjectAltName={','.join(names) or 'IP:127.0.0.1'}\nkeyUsage=digitalSignature\n")
        signer = ("-CA", self.certificate, "-CAkey", self.folder / "ca.key", "-CAcreateserial")
        _openssl("x509", "-req", "-in", request, *signer, "-days", str(days), "-extfile", extensions, "-out", pair[0])
        return pair


def make_authority(folder: Path) -> Authority:
    """A new one, with all it makes in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    certificate = folder / "ca.crt"
    _openssl("req", "-x509", *KEY, "-nodes", "-days", "2", "-subj", "/CN=A CA of our own",
             "-keyout", folder / "ca.key", "-out", certificate)  # fmt: skip
    return Authority(folder=folder, certificate=certificate)


def _openssl(*words: str | Path) -> None:
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)
