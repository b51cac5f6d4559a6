"""Keys that sign: kinds, forms, passwords; those of cosign are from the tests of sigstore/cosign (Apache-2.0)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from tiffin.builder.errors import UsageError
from tiffin.builder.image.signing.envelope import Bundle, pre_authentication, sign
from tiffin.builder.image.signing.keys import read_signing_key, read_verifying_key

# pkg/cosign/keys_test.go; its password is "hello"
OF_COSIGN = """-----BEGIN ENCRYPTED COSIGN PRIVATE KEY-----
eyJrZGYiOnsibmFtZSI6InNjcnlwdCIsInBhcmFtcyI6eyJOIjo2NTUzNiwiciI6
OCwicCI6MX0sInNhbHQiOiJHK3F5WTYrNzhNS0JzMXNGTGs1ajYwcS9kS3Z1czBW
VkhlSHZybC9POTF3PSJ9LCJjaXBoZXIiOnsibmFtZSI6Im5hY2wvc2VjcmV0Ym94
Iiwibm9uY2UiOiJRc2JGdG13WDRDK2ttV3ZCcVRaMEFGOUFYdk1jRmg1SCJ9LCJj
aXBoZXJ0ZXh0IjoiREM5T28zeldiYVQzSXYwdFVnWEdycjUxYW1samwwNlQ5MTNP
VkxPbWpuMWhnK2o2WXRUbWg3SGhZSlY1N2J5eGE0Q281bE9YYmRqbTJ3aklubEd1
Um5aZCt5OExnekpSNzFSeEhKVzgrWmRlcFJmYWJMTjdHbDgrSFZEcERVQ3NxQnRh
VngyblpGbFEwWUl1anZwbFphblNGaUVvdERLVGkxZ3VhUXIwUHNzYU01NXZxbTRY
WS9rPSJ9
-----END ENCRYPTED COSIGN PRIVATE KEY-----"""


def pem_of(key: PrivateKeyTypes, password: bytes = b"") -> str:
    secret = BestAvailableEncryption(password) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, secret).decode()


def public_pem(key: PrivateKeyTypes) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP256R1()),
        ed25519.Ed25519PrivateKey.generate(),
        rsa.generate_private_key(65537, 2048),
    ],
    ids=["ecdsa", "ed25519", "rsa"],
)
def test_what_a_key_signs_its_public_half_verifies(key: PrivateKeyTypes, tmp_path: Path) -> None:
    (tmp_path / "pub").write_text(public_pem(key))
    signer = read_signing_key("env://KEY", {"KEY": pem_of(key)})
    public = read_verifying_key(str(tmp_path / "pub"), {})
    assert public.hint == signer.public.hint
    assert public.is_valid(signer.sign(b"words"), b"words")
    assert not public.is_valid(signer.sign(b"words"), b"other words")
    bundle = Bundle.decode(sign(b'{"a":1}', signer))
    assert bundle.envelope.is_signed_by(public) and not bundle.has_certificate
    assert bundle.envelope.signed == pre_authentication("application/vnd.in-toto+json", b'{"a":1}')
    assert read_verifying_key("env://KEY", {"KEY": pem_of(key)}).hint == public.hint


def test_the_encoding_is_that_of_dsse() -> None:
    # the example of the specification (secure-systems-lab/dsse, protocol.md)
    assert pre_authentication("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


@pytest.mark.thorough
def test_a_key_of_cosign_is_read() -> None:
    pytest.importorskip("nacl")
    key = read_signing_key("env://KEY", {"KEY": OF_COSIGN, "COSIGN_PASSWORD": "hello"})
    assert key.public.is_valid(key.sign(b"x"), b"x")
    for environ, words in (
        ({"COSIGN_PASSWORD": "wrong"}, "does not open the key"),
        ({}, "is encrypted"),
    ):
        with pytest.raises(UsageError, match=words):
            read_signing_key("env://KEY", {"KEY": OF_COSIGN, **environ})
    with pytest.raises(UsageError, match="is damaged"):
        read_signing_key("env://KEY", {"KEY": OF_COSIGN.replace("eyJr", "eyJs"), "COSIGN_PASSWORD": "hello"})


def test_an_encrypted_pem_wants_its_password() -> None:
    text = pem_of(ec.generate_private_key(ec.SECP256R1()), b"word")
    assert read_signing_key("env://K", {"K": text, "COSIGN_PASSWORD": "word"})
    for environ in ({}, {"COSIGN_PASSWORD": "other"}):
        with pytest.raises(UsageError, match="cannot be decrypted"):
            read_signing_key("env://K", {"K": text, **environ})


@pytest.mark.parametrize(
    ("place", "text", "words"),
    [
        ("pkcs11:token=x", "", "keys in hardware"),
        ("awskms:///alias/x", "", "AWS KMS"),
        ("gcpkms://x", "", "Google"),
        ("hashivault://x", "", "Vault"),
        ("k8s://ns/x", "", "Kubernetes"),
        ("notation:x", "", "notation"),
        ("env://NONE", "", "is not set"),
        ("/nonexistent/key", "", "cannot read the key"),
        ("env://K", "words", "is not a private key in PEM"),
    ],
)
def test_what_does_not_sign_is_refused_by_name(place: str, text: str, words: str) -> None:
    refuses(place, text, words)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda: public_pem(ed25519.Ed25519PrivateKey.generate()), "is a public key"),
        (lambda: pem_of(ec.generate_private_key(ec.SECP384R1())), "is not ECDSA P-256"),
        (lambda: pem_of(rsa.generate_private_key(65537, 1024)), "is not ECDSA P-256"),
    ],
    ids=["public", "P-384", "RSA"],
)
def test_a_key_of_another_kind_is_refused(made: Callable[[], str], words: str) -> None:
    refuses("env://K", made(), words)


def refuses(place: str, text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        read_signing_key(place, {"K": text} if text else {})
    assert caught.value.remedy and "PRIVATE" not in str(caught.value)


def test_a_public_key_is_checked() -> None:
    with pytest.raises(UsageError, match="is not a public key in PEM"):
        read_verifying_key("env://K", {"K": "-----BEGIN PUBLIC KEY-----\nx\n-----END PUBLIC KEY-----"})
