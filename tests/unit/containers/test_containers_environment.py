"""-e, --env-file, --label, --add-host and --dns follow Docker's rules."""

from __future__ import annotations

from pathlib import Path

import pytest

from tiffin.builder.containers.environment import (
    DEFAULT_PATH,
    environment,
    parse_host,
    parse_labels,
    parse_variables,
)
from tiffin.builder.containers.network.resolver import parse_resolver
from tiffin.builder.errors import UsageError

ENVIRON = {"FROM_HOST": "host", "EMPTY": ""}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("A=b", ("A", "b")),
        ("A=", ("A", "")),
        ("A=b=c", ("A", "b=c")),
        ("A= b ", ("A", " b ")),
        ("FROM_HOST", ("FROM_HOST", "host")),
        ("EMPTY", ("EMPTY", "")),
        ("NOT_THERE", ("NOT_THERE", None)),
    ],
)
def test_env_option(text: str, wanted: tuple[str, str | None]) -> None:
    assert parse_variables([text], [], ENVIRON) == (wanted,)


def test_env_option_without_a_name_is_refused() -> None:
    with pytest.raises(UsageError, match="no name"):
        parse_variables(["=x"], [], ENVIRON)


def test_env_file(tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_bytes(
        b'\xef\xbb\xbf# comment\n\n  # another\n  INDENTED=1\nQUOTED="a b"\nSPACES= x y \nHASH=a#b\nEMPTY_HERE=\n'
        b"DOLLAR=$HOME\nFROM_HOST\nNOT_THERE\nCRLF=1\r\nLAST=z"
    )
    assert parse_variables(["LAST=option"], [str(file)], ENVIRON) == (
        ("INDENTED", "1"),
        ("QUOTED", '"a b"'),
        ("SPACES", " x y "),
        ("HASH", "a#b"),
        ("EMPTY_HERE", ""),
        ("DOLLAR", "$HOME"),
        ("FROM_HOST", "host"),
        ("CRLF", "1"),
        ("LAST", "z"),
        ("LAST", "option"),
    )


@pytest.mark.parametrize(
    ("data", "reason"), [(b"A B=1", "line 1 .*is not a valid name"), (b"\n=1", "line 2"), (b"\xff=1", "UTF-8")]
)
def test_bad_env_file_is_refused(data: bytes, reason: str, tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_bytes(data)
    with pytest.raises(UsageError, match=reason):
        parse_variables([], [str(file)], ENVIRON)


def test_missing_env_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read --env-file"):
        parse_variables([], [str(tmp_path / "none")], ENVIRON)


def test_environment_defaults() -> None:
    assert environment([], [], home="/root", hostname="h", tty=False) == (
        f"PATH={DEFAULT_PATH}",
        "HOSTNAME=h",
        "HOME=/root",
    )
    assert "TERM=xterm" in environment([], [], home="/", hostname="h", tty=True)


def test_environment_order_of_precedence() -> None:
    found = environment(
        ["PATH=/image", "A=image", "B=image", "HOME=/image", "broken", "=x"],
        [("A", "given"), ("B", None), ("TERM", "vt100"), ("A", "last")],
        home="/root",
        hostname="h",
        tty=True,
    )
    assert found == ("PATH=/image", "HOSTNAME=h", "TERM=vt100", "A=last", "HOME=/image")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("db:10.0.0.1", ("db", "10.0.0.1")),
        ("db=10.0.0.1", ("db", "10.0.0.1")),
        ("db:::1", ("db", "::1")),
        ("db=[fe80::1]", ("db", "fe80::1")),
        ("me:host-gateway", ("me", "127.0.0.1")),
    ],
)
def test_add_host(text: str, wanted: tuple[str, str]) -> None:
    assert parse_host(text) == wanted


@pytest.mark.parametrize(
    "text", ["", "db", "db:", ":1.2.3.4", "db:nonsense", "db:1.2.3", "a b:1.2.3.4", "db:1.2.3.4\n"]
)
def test_bad_add_host_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="not NAME:ADDRESS"):
        parse_host(text)


def test_labels(tmp_path: Path) -> None:
    file = tmp_path / "labels"
    file.write_text("# what it is\na=1\nb=x y\nalone\n")
    assert parse_labels(["b=2", "c=d=e", "bare"], [str(file)]) == {
        "a": "1", "b": "2", "alone": "", "c": "d=e", "bare": ""
    }  # fmt: skip
    with pytest.raises(UsageError, match="no name"):
        parse_labels(["=x"], [])
    with pytest.raises(UsageError, match="cannot read --label-file"):
        parse_labels([], [str(tmp_path / "none")])


OWN = "# the machine's\nnameserver 192.0.2.1\nnameserver 192.0.2.2\ndomain old.example\noptions edns0"


@pytest.mark.parametrize(
    ("servers", "search", "options", "wanted"),
    [
        ((), (), (), OWN),
        (
            ("192.0.2.9", "2001:db8::1"), (), (),
            "# the machine's\ndomain old.example\noptions edns0\nnameserver 192.0.2.9\nnameserver 2001:db8::1\n",
        ),
        (
            (), ("a.example", "b.example"), (),
            "# the machine's\nnameserver 192.0.2.1\nnameserver 192.0.2.2\noptions edns0\nsearch a.example b.example\n",
        ),
        ((), (".",), (), "# the machine's\nnameserver 192.0.2.1\nnameserver 192.0.2.2\noptions edns0\n"),
        (
            (), (), ("ndots:2", "rotate"),
            "# the machine's\nnameserver 192.0.2.1\nnameserver 192.0.2.2\ndomain old.example\noptions ndots:2 rotate\n",
        ),
    ],
    ids=["nothing", "servers", "search", "no search", "options"],
)  # fmt: skip
def test_given_lines_take_the_place_of_the_machines(
    servers: tuple[str, ...], search: tuple[str, ...], options: tuple[str, ...], wanted: str
) -> None:
    assert parse_resolver(servers, search, options).applied(OWN) == wanted


@pytest.mark.parametrize(
    ("servers", "search", "reason"),
    [
        (("dns.example",), (), "is not a valid address"),
        (("",), (), "is not a valid address"),
        ((), ("a b",), "not one word"),
    ],
)
def test_bad_name_servers_are_refused(servers: tuple[str, ...], search: tuple[str, ...], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        parse_resolver(servers, search, ())
