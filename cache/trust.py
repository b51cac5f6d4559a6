"""Whose certificates count, and which of ours a server is shown: the one place that decides it, for registries,
downloads, git and shared caches.

Trusted are the system's store, or what SSL_CERT_FILE and SSL_CERT_DIR name instead of it (as OpenSSL and Go read them),
what the command names (--registry-cert), and the authorities of certs.d/HOST[:PORT]/ (containers-certs.d(5), docker's
too), which holds client certificates as well.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tiffin.cache.errors import UsageError
from tiffin.cache.foundation.frozen import dataclass, replace

if TYPE_CHECKING:
    from ssl import SSLContext

FILE_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
DIRECTORY_VARIABLE = "SSL_CERT_DIR"
SYSTEM_FILES = (  # the first that is there, as Go looks for them
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Alpine, Arch
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora
    "/etc/ssl/ca-bundle.pem",  # openSUSE
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
SYSTEM_DIRECTORIES = ("/etc/ssl/certs", "/etc/pki/tls/certs")
HTTPS_PORT = 443
MAX_PEM_BYTES = 16 << 20
_HASHED = re.compile(r"[0-9a-f]{8}\.\d+")  # how OpenSSL finds a certificate in a directory
_HOST = re.compile(r"[A-Za-z0-9\[][A-Za-z0-9._:\[\]-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorities:
    """PEM files, what lies about in directories, and directories in which OpenSSL looks as it needs to."""

    files: tuple[str, ...]
    loose: tuple[str, ...] = ()
    directories: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HostCertificates:
    """What certs.d holds for a host: authorities, and pairs of a client's certificate and key."""

    files: tuple[str, ...] = ()
    pairs: tuple[tuple[str, str], ...] = ()


class Trust:
    """What this command trusts; thread-safe.

    `cert_file` counts besides the system's store, `given` by host before what certs.d holds.
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        *,
        cert_file: str = "",
        given: Mapping[str, HostCertificates] | None = None,
        roots: Sequence[str] | None = None,
    ) -> None:
        self._environ = environ
        self._cert_file = cert_file
        self._given = given or {}
        self._roots = certs_roots(environ) if roots is None else roots
        self._lock = threading.Lock()  # guards both below
        self._contexts: dict[object, SSLContext] = {}
        self._found: dict[str, HostCertificates] = {}  # by host: asked for each request, read once

    def context(self, hosts: Iterable[str], *, own: Iterable[str] = (), verifies: bool = True) -> SSLContext:
        """Return the context for a connection to a server that is trusted as any of `hosts` (HOST or HOST:PORT), and is
        shown what certs.d holds for those in `own`. Raises UsageError for files that cannot be used.
        """
        authorities = [path for host in hosts for path in self.of_host(host).files] if verifies else []
        pairs = [pair for host in own for pair in self.of_host(host).pairs]
        key = (tuple(dict.fromkeys(authorities)), tuple(dict.fromkeys(pairs)), verifies)
        with self._lock:
            if key not in self._contexts:
                self._contexts[key] = self._make(*key)
            return self._contexts[key]

    def context_for(self, name: str, port: int | None) -> SSLContext:
        """Return the context for a connection to a server that nobody else vouches for."""
        host = host_port(name, port)
        return self.context([host], own=[host])

    def of_host(self, host: str) -> HostCertificates:
        """Return what certs.d holds for a host; its port may be left out where it is that of https.

        Raises UsageError.
        """
        with self._lock:
            if host in self._found:
                return self._found[host]
        found = self._read(host)
        with self._lock:
            return self._found.setdefault(host, found)

    def _read(self, host: str) -> HostCertificates:
        if not _HOST.fullmatch(host):
            return HostCertificates()
        name, colon, port = host.rpartition(":") if not host.endswith("]") else (host, "", "")
        names = [
            host,
            *([name] if colon and port == str(HTTPS_PORT) else []),
            *([f"{host}:{HTTPS_PORT}"] if not colon else []),
        ]
        found = [self._given[item] for item in names if item in self._given]
        found += [read_certs(os.path.join(root, item)) for root in self._roots for item in names]
        return HostCertificates(
            files=tuple(path for one in found for path in one.files),
            pairs=tuple(pair for one in found for pair in one.pairs),
        )

    def pem_files(self, host: str) -> list[str]:
        """Return every file with certificates that count for a host, for programs that take a file."""
        found = self._everywhere()
        hashed = [path for folder in found.directories for path, is_hashed in _entries(folder) if is_hashed]
        wanted = [*found.files, *found.loose, *hashed, *self.of_host(host).files]
        return list({_identity(path): path for path in wanted}.values())

    def is_plain(self, host: str) -> bool:
        """Whether nothing but the system's own store counts for a host."""
        names = (*FILE_VARIABLES, DIRECTORY_VARIABLE)
        return not (self._cert_file or any(self._environ.get(name) for name in names) or self.of_host(host).files)

    def _everywhere(self) -> Authorities:
        found = system_authorities(self._environ)
        if not self._cert_file:
            return found
        return replace(found, files=(*found.files, self._cert_file))

    def _named_by(self, path: str) -> str:
        names = [name for name in FILE_VARIABLES if self._environ.get(name) == path]
        return f" (named by {names[0]})" if names else ""

    def _make(self, files: Sequence[str], pairs: Sequence[tuple[str, str]], verifies: bool) -> SSLContext:
        import ssl

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # whoever is named is trusted, the root of a chain or not
        if verifies:
            found = self._everywhere()
            for path in (*found.files, *files):
                try:
                    context.load_verify_locations(cafile=path)
                except (OSError, ValueError) as exc:
                    raise UsageError(
                        f"{path}{self._named_by(path)} holds no certificates that can be used: {_reason(exc)}",
                        remedy="write them as PEM, or take the file out",
                    ) from exc
            for path in found.loose:
                with contextlib.suppress(OSError, ValueError):
                    context.load_verify_locations(cafile=path)
            for folder in found.directories:
                context.load_verify_locations(capath=folder)
        else:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        for certificate, key in reversed(pairs):  # the first counts, of those with one kind of key
            try:
                context.load_cert_chain(certificate, key, password=_no_password)
            except (OSError, ValueError) as exc:
                raise UsageError(
                    f"cannot use the client certificate {certificate} with the key {key}: {_reason(exc)}",
                    remedy="write both as PEM, without a passphrase",
                ) from exc
        return context


def host_port(name: str, port: int | None) -> str:
    """Return HOST or HOST:PORT; an IPv6 address gets its brackets."""
    host = f"[{name}]" if ":" in name else name
    return f"{host}:{port}" if port else host


def system_authorities(environ: Mapping[str, str]) -> Authorities:
    """Return the system's store, or what the environment names instead. Raises UsageError for a name of nothing."""
    files: list[str] = []
    folders: list[str] = []
    variable = next((name for name in FILE_VARIABLES if environ.get(name)), "")
    if variable:
        path = environ[variable]
        if not os.path.exists(path) or not os.access(path, os.R_OK):
            raise UsageError(f"{variable} names {path}, which cannot be read", remedy=f"correct or unset {variable}")
        (folders if os.path.isdir(path) else files).append(path)
    else:
        files += [path for path in SYSTEM_FILES if os.path.isfile(path)][:1]
    named = [path for path in environ.get(DIRECTORY_VARIABLE, "").split(":") if path]
    present = [
        path for path in named or SYSTEM_DIRECTORIES if os.path.isdir(path) and os.access(path, os.R_OK | os.X_OK)
    ]
    if named and not present and not variable:
        raise UsageError(
            f"{DIRECTORY_VARIABLE} names {environ[DIRECTORY_VARIABLE]}, which is not a directory that can be read",
            remedy=f"correct or unset {DIRECTORY_VARIABLE}",
        )
    folders += present
    seen = {_identity(path) for path in files}
    loose = [path for folder in folders for path in _loose(folder) if _identity(path) not in seen]
    if not files and not any(_entries(folder) for folder in folders):
        import certifi  # a machine that has none

        files.append(certifi.where())
    return Authorities(files=tuple(files), loose=tuple(loose), directories=tuple(dict.fromkeys(folders)))


def certs_roots(environ: Mapping[str, str]) -> list[str]:
    """Return where directories HOST[:PORT] may be: the user's come first."""
    home, config = environ.get("HOME", ""), environ.get("XDG_CONFIG_HOME", "")
    configs = [path for path in (config, f"{home}/.config" if home else "") if path]
    own = [f"{path}/{name}" for path in configs for name in ("containers", "docker")]
    roots = [*own, *([f"{home}/.docker"] if home else []), "/etc/containers", "/etc/docker"]
    return [f"{path}/certs.d" for path in dict.fromkeys(roots)]


def read_certs(folder: str) -> HostCertificates:
    """Return what one directory of certs.d holds, as far as it may be read.

    The machine's may be root's alone, and a link may lead nowhere. Raises UsageError for half a pair.
    """
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return HostCertificates()
    readable = {name for name in names if os.access(f"{folder}/{name}", os.R_OK)}
    pairs = []
    for name in names:
        stem, extension = os.path.splitext(name)
        other = {".cert": ".key", ".key": ".cert"}.get(extension)
        if other and stem + other not in names:
            raise UsageError(
                f"{folder}/{name} has no {stem}{other} beside it",
                remedy="a client certificate is a pair, NAME.cert and NAME.key; that of an authority is NAME.crt",
            )
        if extension == ".cert" and {name, f"{stem}.key"} <= readable:
            pairs.append((f"{folder}/{name}", f"{folder}/{stem}.key"))
    return HostCertificates(
        files=tuple(f"{folder}/{name}" for name in names if name in readable and name.endswith(".crt")),
        pairs=tuple(pairs),
    )


def joined_bundle(paths: Iterable[str]) -> bytes:
    """Return the certificates of several PEM files as one."""
    return b"".join(Path(path).read_bytes()[:MAX_PEM_BYTES].rstrip() + b"\n" for path in paths)


def _entries(folder: str) -> list[tuple[str, bool]]:
    """Return the files of a directory, and whether OpenSSL finds them by a hash."""
    with os.scandir(folder) as entries:
        return sorted((entry.path, bool(_HASHED.fullmatch(entry.name))) for entry in entries if entry.is_file())


def _loose(folder: str) -> Iterator[str]:
    """Yield certificate files that OpenSSL does not find in a directory: nobody made the link with the hash."""
    found = _entries(folder)
    known = {_identity(path) for path, is_hashed in found if is_hashed}
    for path, _ in found:
        if _identity(path) not in known and path.endswith((".pem", ".crt", ".cer")) and _is_pem(path):
            known.add(_identity(path))
            yield path


def _is_pem(path: str) -> bool:
    try:
        with open(path, "rb") as stream:
            return b"-----BEGIN" in stream.read(MAX_PEM_BYTES)
    except OSError:
        return False


def _identity(path: str) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_dev, found.st_ino


def _reason(exc: Exception) -> str:
    text = str(getattr(exc, "strerror", "") or exc)
    return re.sub(r"^\[[^]]*\] |\s*\(_ssl.c:\d+\)", "", text).lower()


def _no_password() -> bytes:
    """Refuse a key with a passphrase without asking anybody."""
    return b""
