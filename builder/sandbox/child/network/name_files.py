"""What a sandbox's /etc/resolv.conf and /etc/hosts hold."""

from __future__ import annotations

from collections.abc import Sequence

RESOLV_CONF = "/etc/resolv.conf"
HOSTS = "/etc/hosts"
SYSTEMD_UPSTREAM = "/run/systemd/resolve/resolv.conf"  # the servers behind systemd-resolved's stub
STUB_ADDRESS = "127.0.0.53"
MAX_BYTES = 1 << 20
PASTA_FORWARDER, SLIRP_FORWARDER = "169.254.1.1", "10.0.2.3"  # inside, they ask the name servers of the machine


def host_resolv_conf(*, network: str, forwarder: str = "") -> str:
    """Return the machine's name servers as a sandbox reaches them: loopback ones only with the machine's own network.

    Where none is left, `forwarder` serves.
    """
    text = _read(RESOLV_CONF)
    if network == "host":
        return text
    if STUB_ADDRESS in text:
        text = _read(SYSTEMD_UPSTREAM) or text
    lines = [line for line in text.splitlines(keepends=True) if not _is_loopback_server(line)]
    if forwarder and not any(line.startswith("nameserver") for line in lines):
        lines.append(f"nameserver {forwarder}\n")
    return "".join(lines)


def machine_hosts(extra: Sequence[tuple[str, str]]) -> str:
    """Return what the machine's own file says, after `extra` pairs of name and address."""
    return "".join(f"{address}\t{name}\n" for name, address in extra) + _read(HOSTS)


def hosts_file(hostname: str, extra: Sequence[tuple[str, str]], *, own_addresses: Sequence[str] = ()) -> str:
    """Return /etc/hosts: localhost, the sandbox's own name, and `extra` pairs of name and address."""
    lines = [
        "127.0.0.1\tlocalhost",
        "::1\tlocalhost ip6-localhost ip6-loopback",
        "fe00::0\tip6-localnet",
        "ff02::1\tip6-allnodes",
        "ff02::2\tip6-allrouters",
    ]
    lines += [f"{address}\t{name}" for name, address in extra]
    return "".join(f"{line}\n" for line in lines) + "".join(own_lines(hostname, own_addresses) if hostname else ())


def own_lines(hostname: str, own_addresses: Sequence[str]) -> list[str]:
    """Return the lines of /etc/hosts that name the sandbox itself."""
    return [f"{address}\t{hostname}\n" for address in own_addresses or ("127.0.1.1",)]


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(MAX_BYTES)
    except OSError:
        return ""


def _is_loopback_server(line: str) -> bool:
    words = line.split()
    return len(words) >= 2 and words[0] == "nameserver" and (words[1].startswith("127.") or words[1] == "::1")
