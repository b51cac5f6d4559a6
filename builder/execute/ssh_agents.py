"""ssh for RUN --mount=type=ssh: the user's agent passed on, or an agent of our own for key files.

Each step gets a socket of its own, so that its owner and mode can be what the Dockerfile says. The agent protocol is
draft-miller-ssh-agent; only listing and signing are served, whatever the real agent could do more.
"""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from tiffin.builder.errors import UsageError

FAILURE, IDENTITIES_ANSWER, SIGN_RESPONSE = 5, 12, 14
REQUEST_IDENTITIES, SIGN_REQUEST = 11, 13
RSA_SHA2_256, RSA_SHA2_512 = 2, 4  # flags of a sign request
MAX_MESSAGE_BYTES = 256 << 10
BACKLOG = 16
MAX_CONNECTIONS = 64  # at a time on one socket; each costs a thread and two descriptors of ours
Answer = Callable[[bytes], bytes]  # a request to its reply, both without length


class Agents:
    """The agents of --ssh by id."""

    def __init__(self, answers: Mapping[str, Answer]) -> None:
        self._answers = answers

    @property
    def ids(self) -> frozenset[str]:
        """The ids there are."""
        return frozenset(self._answers)

    def ask(self, agent_id: str, request: bytes) -> bytes:
        """Return an agent's answer to a request, both without length; a failure where there is none."""
        answer = self._answers.get(agent_id)
        if answer is None or len(request) > MAX_MESSAGE_BYTES:
            return bytes([FAILURE])
        try:
            return _served(answer, request)
        except (OSError, struct.error):
            return bytes([FAILURE])

    def listen(self, agent_id: str, place: Path, stack: ExitStack) -> Path | None:
        """Return a socket in the new directory `place` on which the agent `id_` answers until `stack` ends; None
        without one.
        """
        answer = self._answers.get(agent_id)
        if answer is None:
            return None
        place.mkdir()
        directory = os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            server.bind(f"/proc/self/fd/{directory}/agent")  # a socket's path must be short
        finally:
            os.close(directory)
        server.listen(BACKLOG)
        thread = threading.Thread(target=_serve, args=(server, answer), daemon=True)
        thread.start()

        def close() -> None:
            with suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)
            server.close()
            thread.join()

        stack.callback(close)
        return place / "agent"


def passed_on(path: str) -> Answer:
    """Return an agent that asks the one listening at `path`."""

    def answer(request: bytes) -> bytes:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as agent:
            agent.connect(path)
            _send(agent, request)
            return _receive(agent) or bytes([FAILURE])

    return answer


def of_keys(paths: Sequence[Path]) -> Answer:
    """Return an agent that holds the keys in these files. Raises UsageError for one that cannot be used."""
    keys = [_load(path) for path in paths]

    def answer(request: bytes) -> bytes:
        if request[:1] == bytes([REQUEST_IDENTITIES]):
            listed = b"".join(_string(blob) + _string(comment) for blob, _, comment in keys)
            return struct.pack(">BI", IDENTITIES_ANSWER, len(keys)) + listed
        wanted, rest = _take(request[1:])
        data, rest = _take(rest)
        flags = struct.unpack(">I", rest[:4])[0] if len(rest) >= 4 else 0
        for blob, key, _ in keys:
            if blob == wanted:
                return bytes([SIGN_RESPONSE]) + _string(_signature(key, data, flags))
        return bytes([FAILURE])

    return answer


def _serve(server: socket.socket, answer: Answer) -> None:
    slots = threading.BoundedSemaphore(MAX_CONNECTIONS)
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        if slots.acquire(blocking=False):
            threading.Thread(target=_converse, args=(connection, answer, slots), daemon=True).start()
        else:
            connection.close()


def _converse(connection: socket.socket, answer: Answer, slots: threading.BoundedSemaphore) -> None:
    with ExitStack() as stack, connection, suppress(OSError, struct.error):
        stack.callback(slots.release)
        while (request := _receive(connection)) is not None:
            _send(connection, _served(answer, request))


def _served(answer: Answer, request: bytes) -> bytes:
    """Return the answer to what is served, listing and signing."""
    allowed = request[:1] in (bytes([REQUEST_IDENTITIES]), bytes([SIGN_REQUEST]))
    return answer(request) if allowed else bytes([FAILURE])


def _receive(connection: socket.socket) -> bytes | None:
    """Return one message, None at the end; raises OSError for one that is too long."""
    head = _exactly(connection, 4)
    if head is None:
        return None
    size = struct.unpack(">I", head)[0]
    if size > MAX_MESSAGE_BYTES:
        raise OSError("message too long")
    return _exactly(connection, size)


def _exactly(connection: socket.socket, size: int) -> bytes | None:
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            return None
        data += part
    return data


def _send(connection: socket.socket, message: bytes) -> None:
    connection.sendall(_string(message))


def _string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def _take(data: bytes) -> tuple[bytes, bytes]:
    size = struct.unpack(">I", data[:4])[0]
    return data[4 : 4 + size], data[4 + size :]


def _load(path: Path) -> tuple[bytes, Any, bytes]:
    """Return the public blob, the private key, and a comment."""
    try:
        from cryptography.hazmat.primitives.serialization import (
            Encoding,
            PublicFormat,
            load_pem_private_key,
            load_ssh_private_key,
        )
    except ImportError as exc:
        raise UsageError(
            f"--ssh with a key file ({path}) needs the Python package cryptography",
            remedy="install tiffin[ssh], or give the socket of an agent",
        ) from exc
    import base64

    try:
        data = path.read_bytes()
        loader = load_ssh_private_key if b"OPENSSH PRIVATE KEY" in data else load_pem_private_key
        key = loader(data, password=None)
        public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    except (OSError, ValueError, TypeError) as exc:
        raise UsageError(
            f"cannot use the ssh key {path}: {_reason(exc)}",
            remedy="give a private key without passphrase, or an agent's socket",
        ) from exc
    return base64.b64decode(public.split()[1]), key, os.fsencode(path.name)


def _reason(exc: Exception) -> str:
    match exc:
        case OSError():
            return exc.strerror or str(exc)
        case TypeError():  # what cryptography raises
            return "it has a passphrase"
        case _:
            return "it is not a private key"


def _signature(key: Any, data: bytes, flags: int) -> bytes:
    """Return the signature blob for this kind of key (RFC 4253, 5656, 8332, 8709)."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

    if isinstance(key, ed25519.Ed25519PrivateKey):
        return _string(b"ssh-ed25519") + _string(key.sign(data))
    if isinstance(key, rsa.RSAPrivateKey):
        name = b"ssh-rsa"
        algorithm: hashes.HashAlgorithm = hashes.SHA1()  # what a client that names no algorithm expects
        if flags & RSA_SHA2_512:
            name, algorithm = b"rsa-sha2-512", hashes.SHA512()
        elif flags & RSA_SHA2_256:
            name, algorithm = b"rsa-sha2-256", hashes.SHA256()
        return _string(name) + _string(key.sign(data, padding.PKCS1v15(), algorithm))
    curve = {256: hashes.SHA256(), 384: hashes.SHA384(), 521: hashes.SHA512()}[key.curve.key_size]
    r, s = decode_dss_signature(key.sign(data, ec.ECDSA(curve)))
    return _string(b"ecdsa-sha2-nistp%d" % key.curve.key_size) + _string(_mpint(r) + _mpint(s))


def _mpint(number: int) -> bytes:
    return _string(number.to_bytes(number.bit_length() // 8 + 1, "big"))


def open_agents(texts: Sequence[str]) -> Agents:
    """Open the agents of --ssh default, --ssh ID=SOCKET, --ssh ID=KEY[,KEY…]. Raises UsageError."""
    answers = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if name in answers:
            raise UsageError(f"--ssh {name} is given twice", remedy="keep one of them")
        paths = [Path(item) for item in value.split(",")] if equals else [_own_agent(name)]
        missing = next((path for path in paths if not path.exists()), None)
        if missing is not None or not name:
            raise UsageError(f"--ssh {text}: {missing or text} does not exist", remedy="give a socket or a key file")
        sockets = [path for path in paths if path.is_socket()]
        if sockets and len(paths) > 1:
            raise UsageError(f"--ssh {text} has a socket among several paths", remedy="give a socket alone, or keys")
        answers[name] = passed_on(str(sockets[0].resolve())) if sockets else of_keys(paths)
    return Agents(answers)


def _own_agent(name: str) -> Path:
    path = os.environ.get("SSH_AUTH_SOCK", "")
    if not path:
        raise UsageError(f"--ssh {name}: SSH_AUTH_SOCK is not set", remedy="start an agent, or give --ssh ID=KEYFILE")
    return Path(path)
