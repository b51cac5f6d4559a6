"""The agent protocol of RUN --mount=type=ssh: keys of files listed and used, another agent asked, nothing else
served.
"""

from __future__ import annotations

import os
import socket
import struct
import threading
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from tiffin.builder.errors import UsageError
from tiffin.builder.execute.ssh_agents import FAILURE, IDENTITIES_ANSWER, SIGN_RESPONSE, Agents, of_keys, passed_on

LIST = bytes([11])
DATA = b"what a server wants signed"


def string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def strings(data: bytes) -> list[bytes]:
    found = []
    while data:
        (size,) = struct.unpack(">I", data[:4])
        found.append(data[4 : 4 + size])
        data = data[4 + size :]
    return found


def write(place: Path, key: object, *, form: PrivateFormat = PrivateFormat.OpenSSH) -> Path:
    place.write_bytes(key.private_bytes(Encoding.PEM, form, NoEncryption()))  # type: ignore[attr-defined]
    return place


def signed(path: Path, flags: int = 0) -> list[bytes]:
    """The kind and the bytes of a signature with the only key of a file."""
    answer = of_keys([path])
    listed = answer(LIST)
    assert listed[0] == IDENTITIES_ANSWER and struct.unpack(">I", listed[1:5]) == (1,)
    blob, comment = strings(listed[5:])
    assert comment == os.fsencode(path.name)
    reply = answer(bytes([13]) + string(blob) + string(DATA) + struct.pack(">I", flags))
    assert reply[0] == SIGN_RESPONSE
    (signature,) = strings(reply[1:])
    return strings(signature)


def test_ed25519(tmp_path: Path) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    kind, value = signed(write(tmp_path / "key", key))
    key.public_key().verify(value, DATA)
    assert kind == b"ssh-ed25519"
    with pytest.raises(InvalidSignature):
        key.public_key().verify(value, DATA + b"!")


@pytest.mark.parametrize(
    ("flags", "name", "algorithm"),
    [
        (0, b"ssh-rsa", hashes.SHA1()),
        (2, b"rsa-sha2-256", hashes.SHA256()),
        (4, b"rsa-sha2-512", hashes.SHA512()),
        (6, b"rsa-sha2-512", hashes.SHA512()),
    ],
)
def test_rsa_by_what_the_client_asks_for(
    tmp_path: Path, flags: int, name: bytes, algorithm: hashes.HashAlgorithm
) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    kind, value = signed(write(tmp_path / "key", key, form=PrivateFormat.PKCS8), flags)
    key.public_key().verify(value, DATA, padding.PKCS1v15(), algorithm)
    assert kind == name


@pytest.mark.parametrize(
    ("curve", "algorithm"),
    [(ec.SECP256R1(), hashes.SHA256()), (ec.SECP384R1(), hashes.SHA384()), (ec.SECP521R1(), hashes.SHA512())],
)
def test_ecdsa(tmp_path: Path, curve: ec.EllipticCurve, algorithm: hashes.HashAlgorithm) -> None:
    key = ec.generate_private_key(curve)
    kind, value = signed(write(tmp_path / "key", key))
    r, s = (int.from_bytes(number, "big", signed=True) for number in strings(value))
    key.public_key().verify(encode_dss_signature(r, s), DATA, ec.ECDSA(algorithm))
    assert kind == b"ecdsa-sha2-nistp%d" % curve.key_size


def test_a_key_that_is_not_there_signs_nothing(tmp_path: Path) -> None:
    answer = of_keys([write(tmp_path / "key", ed25519.Ed25519PrivateKey.generate())])
    assert answer(bytes([13]) + string(b"another") + string(DATA) + bytes(4)) == bytes([FAILURE])


def test_files_that_are_no_key_are_told(tmp_path: Path) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"word"))
    (tmp_path / "locked").write_bytes(locked)
    (tmp_path / "text").write_text("hello")
    for name, reason in (("locked", "it has a passphrase"), ("text", "is not a private key"), ("none", "No such file")):
        with pytest.raises(UsageError, match=reason):
            of_keys([tmp_path / name])


def ask(path: Path, *requests: bytes) -> list[bytes]:
    """What a client in the sandbox gets."""
    answers = []
    with closing(socket.socket(socket.AF_UNIX)) as client:
        here = os.open(path.parent, os.O_PATH)
        client.connect(f"/proc/self/fd/{here}/{path.name}")
        os.close(here)
        for request in requests:
            client.sendall(string(request))
            head = client.recv(4, socket.MSG_WAITALL)
            answers.append(client.recv(struct.unpack(">I", head)[0], socket.MSG_WAITALL) if head else b"")
    return answers


def test_only_listing_and_signing_reach_an_agent(tmp_path: Path) -> None:
    asked: list[bytes] = []

    def answer(request: bytes) -> bytes:
        asked.append(request)
        return b"yes"

    with ExitStack() as stack:
        place = Agents({"a": answer}).listen("a", tmp_path / "socket", stack)
        assert place is not None
        assert ask(place, LIST, bytes([17]), bytes([13]) + b"x") == [b"yes", bytes([FAILURE]), b"yes"]
        assert Agents({}).listen("a", tmp_path / "none", stack) is None
    assert asked == [LIST, bytes([13]) + b"x"]
    with pytest.raises(OSError):
        ask(place, LIST)


def test_a_message_that_is_too_long_ends_the_connection(tmp_path: Path) -> None:
    with ExitStack() as stack:
        place = Agents({"a": lambda request: b"yes"}).listen("a", tmp_path / "socket", stack)
        assert place is not None
        with closing(socket.socket(socket.AF_UNIX)) as client:
            client.connect(str(place))
            client.sendall(struct.pack(">I", 1 << 30))
            assert client.recv(4) == b""


@pytest.mark.parametrize("said", [b"listed", b""])
def test_another_agent_is_asked_and_one_that_hangs_up_has_failed(tmp_path: Path, said: bytes) -> None:
    with closing(socket.socket(socket.AF_UNIX)) as server:
        server.bind(str(tmp_path / "s"))
        server.listen()

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(100)
                if said:
                    connection.sendall(string(said))

        thread = threading.Thread(target=serve)
        thread.start()
        assert passed_on(str(tmp_path / "s"))(LIST) == (said or bytes([FAILURE]))
        thread.join()
