"""POSIX access lists and attributes of users: through ADD, COPY --from, RUN and the layers of the image."""

from __future__ import annotations

import io
import struct
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.conftest import Run
from tests.support.listing import list_tar
from tests.support.unprivileged import has_one_id

pytestmark = pytest.mark.userns
Make = Callable[..., Path]
NOBODY = 0xFFFFFFFF
ACCESS, DEFAULT = "system.posix_acl_access", "system.posix_acl_default"


def access_list(owner: int, user: tuple[int, int], group: int, mask: int, other: int) -> bytes:
    """u::owner,u:ID:perms,g::group,m::mask,o::other as the kernel has it."""
    entries: Sequence[tuple[int, int, int]] = (
        (1, owner, NOBODY), (2, user[1], user[0]), (4, group, NOBODY), (0x10, mask, NOBODY), (0x20, other, NOBODY)
    )  # fmt: skip
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


SHOWN = access_list(7, (1000, 4), 0, 4, 0)


def archive() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, kind, lists in (
            ("s", tarfile.DIRTYPE, {"user.kept": b"d", DEFAULT: access_list(7, (1000, 5), 5, 5, 0)}),
            ("s/f", tarfile.REGTYPE, {ACCESS: SHOWN, "user.kept": b"f"}),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.mode, member.mtime = kind, 0o755 if kind == tarfile.DIRTYPE else 0o740, 1
            texts = {key: value.decode("utf-8", "surrogateescape") for key, value in lists.items()}
            member.pax_headers = {f"SCHILY.xattr.{key}": value for key, value in texts.items()}
            member.size = 0 if kind == tarfile.DIRTYPE else 4
            tar.addfile(member, io.BytesIO(b"text"))
    return stream.getvalue()


@pytest.mark.parametrize("how", ["COPY --from=seed /s /c", "COPY --from=seed --chmod=711 /s/f /c/f", "RUN cp -a /s /c"])
def test_access_lists_come_along(tiffin: Run, base: str, context: Make, tmp_path: Path, how: str) -> None:
    """COPY keeps them, whatever --chmod says; the cp of busybox does not."""
    text = (
        f"FROM {base} AS seed\nADD a.tar /\nFROM {'seed' if 'cp' in how else base}\n{how}\n"
        "USER app\nRUN cat /c/f > /tmp/said || echo refused > /tmp/said\n"
    )
    out = tmp_path / "tree.tar"
    tiffin("build", "--progress=plain", "-o", f"type=tar,dest={out}", context(text, **{"a.tar": archive()}))
    tree = list_tar(out)
    attributes = dict(tree["c/f"].xattrs)
    if "cp" in how:
        assert ACCESS not in attributes and dict(tree["s/f"].xattrs)[ACCESS] == SHOWN
        return
    assert (tree["c/f"].mode, attributes) == ("740", {ACCESS: SHOWN, "user.kept": b"f"})
    with tarfile.open(out) as tar:
        said = tar.extractfile("tmp/said")
        assert said is not None and (has_one_id() or said.read() == b"text")


def test_a_run_over_the_layer_keeps_the_list(tiffin: Run, base: str, context: Make, tmp_path: Path) -> None:
    out = tmp_path / "tree.tar"
    folder = context(f"FROM {base}\nADD a.tar /\nRUN echo more >> /s/f && chmod 750 /s/f\n", **{"a.tar": archive()})
    tiffin("build", "-q", "-o", f"type=tar,dest={out}", folder)
    changed = access_list(7, (1000, 4), 0, 5, 0)  # chmod changes the mask
    assert list_tar(out)["s/f"].mode == "750"
    assert has_one_id() or dict(list_tar(out)["s/f"].xattrs)[ACCESS] == changed


def inherited(owner: int, mask: int, other: int) -> bytes:
    """What the default list of /s gives to what is made there, as chmod(2) leaves it."""
    return access_list(owner, (1000, 5), 5, mask, other)


GIVEN = {  # an instruction; by path the mode and the access list that BuildKit makes
    "file": ("COPY --chmod=644 Dockerfile /s/new", {"s/new": ("644", inherited(6, 4, 4))}),
    "file of another mode": ("COPY --chmod=600 Dockerfile /s/new", {"s/new": ("600", inherited(6, 0, 0))}),
    "file of another owner": (
        "COPY --chown=7:8 --chmod=640 Dockerfile /s/",
        {"s/Dockerfile": ("640", inherited(6, 4, 0))},
    ),
    "replaced file": ("COPY --chmod=664 Dockerfile /s/f", {"s/f": ("664", inherited(6, 6, 4))}),
    "text": ("COPY <<E /s/new\nx\nE", {"s/new": ("644", inherited(6, 4, 4))}),
    "way": (
        "COPY --chown=5 Dockerfile /s/a/b/f",
        {"s/a": ("750", inherited(7, 5, 0)), "s/a/b": ("750", inherited(7, 5, 0))},
    ),
    "working directory": ("WORKDIR /s/a/b", {"s/a": ("750", inherited(7, 5, 0)), "s/a/b": ("750", inherited(7, 5, 0))}),
    "directory": (
        "COPY --from=other /o /s/o",
        {
            "s/o": ("750", inherited(7, 5, 0)),
            "s/o/p": ("711", inherited(7, 1, 1)),
            "s/o/p/f": ("644", inherited(6, 4, 4)),
        },
    ),
    "archive": ("ADD b.tar /s/", {"s/made": ("755", inherited(7, 5, 5)), "s/made/f": ("640", inherited(6, 4, 0))}),
    "with a list of its own": ("COPY --from=seed /s/f /s/new", {"s/new": ("740", SHOWN)}),
    "link": ("COPY --link --chmod=644 Dockerfile /s/new", {"s/new": ("644", b"")}),
}


def other_archive() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, kind, mode in (("made", tarfile.DIRTYPE, 0o755), ("made/f", tarfile.REGTYPE, 0o640)):
            member = tarfile.TarInfo(name)
            member.type, member.mode, member.size = kind, mode, 0
            tar.addfile(member)
    return stream.getvalue()


@pytest.mark.parametrize("name", GIVEN)
def test_default_lists_are_handed_on(tiffin: Run, base: str, context: Make, tmp_path: Path, name: str) -> None:
    instruction, expected = GIVEN[name]
    text = (
        f"FROM {base} AS seed\nADD a.tar /\nFROM {base} AS other\nCOPY --chmod=644 Dockerfile /o/p/f\n"
        "RUN chmod 711 /o/p\n"
        f"FROM seed\n{instruction}\n"
    )
    out = tmp_path / "tree.tar"
    folder = context(text, **{"a.tar": archive(), "b.tar": other_archive()})
    tiffin("build", "-q", "-o", f"type=tar,dest={out}", folder)
    tree = list_tar(out)
    default = access_list(7, (1000, 5), 5, 5, 0)
    for path, (mode, access) in expected.items():
        attributes = dict(tree[path].xattrs)
        assert (tree[path].mode, attributes.get(ACCESS, b"")) == (mode, access), path
        assert attributes.get(DEFAULT, b"") == (default if tree[path].kind == "dir" else b""), path
