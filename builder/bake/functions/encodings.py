"""Hashes, encodings, networks, identifiers."""

from __future__ import annotations

import binascii
import csv
import hashlib
import io
import ipaddress
import os
import pwd
import uuid
from collections.abc import Callable
from decimal import Decimal
from urllib.parse import quote_plus

from tiffin.builder.bake.functions.function import NULLABLE, Function
from tiffin.builder.bake.hcl.faults import ExpressionError
from tiffin.builder.bake.hcl.types import NUMBER, STRING
from tiffin.builder.bake.hcl.values import Value, json_value, to_json

NAMESPACES = {
    "dns": uuid.NAMESPACE_DNS, "url": uuid.NAMESPACE_URL, "oid": uuid.NAMESPACE_OID, "x500": uuid.NAMESPACE_X500,
}  # fmt: skip
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
DEFAULT_COST = 10  # of bcrypt, as in Go


def _hash(name: str) -> Function:
    return Function(
        takes=(STRING,), do=lambda text: hashlib.new(name, text.encode(), usedforsecurity=False).hexdigest()
    )


def _base64_decoded(text: str) -> str:
    try:
        return binascii.a2b_base64(text.encode("ascii"), strict_mode=True).decode("utf-8")
    except (ValueError, UnicodeError) as exc:
        raise ExpressionError(f"failed to decode base64 data: {exc}") from exc


def _json_decoded(text: str) -> Value:
    try:
        return json_value(text)
    except ValueError as exc:
        raise ExpressionError(f"this is no JSON: {exc}") from exc


def _json_encoded(value: Value) -> str:
    text = to_json(value)
    for letter in "<>&":  # as Go writes them
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text


def _csv_decoded(text: str) -> list[dict[str, str]]:
    rows = list(csv.reader(io.StringIO(text), strict=True))
    if not rows:
        raise ExpressionError("missing header line")
    if any(len(row) != len(rows[0]) for row in rows):
        raise ExpressionError("the rows have different numbers of fields")
    return [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]


def _bcrypt(text: str, *cost: Decimal) -> str:
    """Return a hash by the system's libcrypt, which knows Blowfish nearly everywhere."""
    import ctypes.util

    found = ctypes.util.find_library("crypt")
    if found is None:
        raise ExpressionError("bcrypt() needs libcrypt, which is not here", remedy="install libcrypt")
    library = ctypes.CDLL(found)
    text_of, word, number = ctypes.c_char_p, ctypes.c_ulong, ctypes.c_int
    make_salt = ctypes.CFUNCTYPE(text_of, text_of, word, text_of, number)(("crypt_gensalt", library))
    salt = make_salt(b"$2a$", int(cost[0]) if cost else DEFAULT_COST, None, 0)
    crypt = ctypes.CFUNCTYPE(text_of, text_of, text_of)(("crypt", library))
    made: bytes | None = crypt(text.encode(), salt) if salt else None
    if not made or not made.startswith(b"$2a$"):
        raise ExpressionError("bcrypt() failed: the system's libcrypt has no Blowfish", remedy="install libxcrypt")
    return made.decode()


def _rsa_decrypted(text: str, key: str) -> str:
    try:
        from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
        from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
    except ImportError as exc:
        raise ExpressionError("rsadecrypt() needs a library", remedy='pip install "tiffin[sign]"') from exc
    try:
        private = load_pem_private_key(key.encode(), None)
        if not isinstance(private, RSAPrivateKey):
            raise ExpressionError("the key is no RSA key")
        return private.decrypt(binascii.a2b_base64(text), PKCS1v15()).decode()
    except (ValueError, TypeError) as exc:
        raise ExpressionError(f"failed to decrypt: {exc}") from exc


# -- networks ----------------------------------------------------------------------------------------------------------


def _network(prefix: str) -> Network:
    if "/" not in prefix:
        raise ExpressionError(f"invalid CIDR expression: {prefix}", remedy="write 10.0.0.0/8")
    try:
        return ipaddress.ip_network(prefix, strict=False)
    except ValueError as exc:
        raise ExpressionError(f"invalid CIDR expression: {exc}") from exc


def _host(prefix: str, number: Decimal) -> str:
    network, index = _network(prefix), int(number)
    if index < 0:
        index += network.num_addresses
    if not 0 <= index < network.num_addresses:
        raise ExpressionError(f"prefix of {network.prefixlen} does not accommodate a host numbered {number}")
    return str(network[index])


def _netmask(prefix: str) -> str:
    network = _network(prefix)
    if network.version != 4:
        raise ExpressionError("only IPv4 networks have a netmask")
    return str(network.netmask)


def _subnet(prefix: str, bits: Decimal, number: Decimal) -> str:
    network = _network(prefix)
    length = network.prefixlen + int(bits)
    if length > network.max_prefixlen or not 0 <= number < 2 ** int(bits):
        raise ExpressionError(f"{prefix} has no subnet {number} of {bits} more bits")
    size = 1 << (network.max_prefixlen - length)
    return f"{network[int(number) * size]}/{length}"


def _subnets(prefix: str, *bits: Decimal) -> list[str]:
    network = _network(prefix)
    found, start = [], int(network.network_address)
    for more in bits:
        length = network.prefixlen + int(more)
        if more < 1 or length > network.max_prefixlen:
            raise ExpressionError(f"{prefix} cannot be extended by {more} bits")
        size = 1 << (network.max_prefixlen - length)
        start = -(-start // size) * size
        if start + size > int(network.network_address) + network.num_addresses:
            raise ExpressionError(f"not enough remaining address space for a subnet with a prefix of {length} bits")
        found.append(f"{type(network.network_address)(start)}/{length}")
        start += size
    return found


def _uuid5(namespace: str, name: str) -> str:
    try:
        space = NAMESPACES.get(namespace) or uuid.UUID(namespace)
    except ValueError as exc:
        raise ExpressionError(
            f"{namespace} is not a namespace", remedy=f"use {', '.join(NAMESPACES)} or a UUID"
        ) from exc
    return str(uuid.uuid5(space, name))


def _home() -> str:
    return os.environ.get("HOME") or pwd.getpwuid(os.getuid()).pw_dir


def _one(do: Callable[[str], Value]) -> Function:
    return Function(takes=(STRING,), do=do)


FUNCTIONS = {
    "base64decode": _one(_base64_decoded),
    "base64encode": _one(lambda text: binascii.b2a_base64(text.encode(), newline=False).decode()),
    "bcrypt": Function(takes=(STRING,), rest=NUMBER, do=_bcrypt),
    "cidrhost": Function(takes=(STRING, NUMBER), do=_host),
    "cidrnetmask": _one(_netmask),
    "cidrsubnet": Function(takes=(STRING, NUMBER, NUMBER), do=_subnet),
    "cidrsubnets": Function(takes=(STRING,), rest=NUMBER, do=_subnets),
    "csvdecode": _one(_csv_decoded),
    "homedir": Function(do=_home),
    "jsondecode": _one(_json_decoded),
    "jsonencode": Function(takes=(NULLABLE,), do=_json_encoded),
    "md5": _hash("md5"),
    "rsadecrypt": Function(takes=(STRING, STRING), do=_rsa_decrypted),
    "sha1": _hash("sha1"),
    "sha256": _hash("sha256"),
    "sha512": _hash("sha512"),
    "urlencode": _one(quote_plus),
    "uuidv4": Function(do=lambda: str(uuid.uuid4())),
    "uuidv5": Function(takes=(STRING, STRING), do=_uuid5),
}
