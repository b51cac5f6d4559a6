"""What a step is told of its way out: variables and small files, of the step only; no layer, key or image has them."""

from __future__ import annotations

from pathlib import Path

PORT = 43128  # in the network of the step, where there is nothing else
FOLDER = "/dev/tiffin"  # a place that no layer can hold
ADDRESS = f"http://127.0.0.1:{PORT}"
LOCAL = "localhost,127.0.0.1,::1"
CERTIFICATE, APT, WGET = "ca.crt", "apt.conf", "wgetrc"
TRUST = (  # variables that name a file of certificates
    "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT", "GIT_SSL_CAINFO", "NODE_EXTRA_CA_CERTS",
    "NPM_CONFIG_CAFILE", "AWS_CA_BUNDLE", "CARGO_HTTP_CAINFO", "BUNDLE_SSL_CA_CERT", "NIX_SSL_CERT_FILE", "DENO_CERT",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
)  # fmt: skip


def proxy_variables() -> tuple[str, ...]:
    """Return what programs find the way out by."""
    names = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "all_proxy")
    return (*(f"{name}={ADDRESS}" for name in names), f"no_proxy={LOCAL}", f"NO_PROXY={LOCAL}")


def trust_variables() -> tuple[str, ...]:
    """Return what programs find the certificate by."""
    certificate = f"{FOLDER}/{CERTIFICATE}"
    files = (f"APT_CONFIG={FOLDER}/{APT}", f"WGETRC={FOLDER}/{WGET}")
    return (*(f"{name}={certificate}" for name in TRUST), *files)


def write_files(scratch: Path, certificate: bytes) -> dict[str, Path]:
    """Write what the variables name; return the files by their paths in the step."""
    place = f"{FOLDER}/{CERTIFICATE}"
    texts = {
        CERTIFICATE: certificate,
        APT: f'Acquire::https::CAInfo "{place}";\n'.encode(),
        WGET: f"ca_certificate = {place}\n".encode(),
    }
    found = {}
    for name, data in texts.items():
        path = scratch / f"way-out-{name}"
        path.write_bytes(data)
        path.chmod(0o644)  # programs drop root before they read it
        found[f"{FOLDER}/{name}"] = path
    return found
