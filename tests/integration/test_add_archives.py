"""ADD of archives over a tree that is there: what they do not tell stays, links of the image are followed and kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.conftest import Run
from tests.support import tar_members
from tests.support.listing import Listed, list_tar
from tests.support.tar_members import data

pytestmark = pytest.mark.userns
Make = Callable[..., Path]


def archive(*members: tuple[str, Mapping[str, object]]) -> bytes:
    return tar_members.archive(members)


@pytest.fixture
def build(tiffin: Run, base: str, context: Make, tmp_path: Path) -> Callable[..., Mapping[str, Listed]]:
    """Build what a Dockerfile and archives say; the tree of the image."""

    def run(text: str, **archives: bytes) -> Mapping[str, Listed]:
        files = {f"{name}.tar": content for name, content in archives.items()}
        out = tmp_path / "tree.tar"
        tiffin("build", "--progress=plain", "-o", f"type=tar,dest={out}", context(f"FROM {base}\n{text}", **files))
        return list_tar(out)

    return run


def look(listed: Listed) -> tuple[str, tuple[int, int]]:
    return listed.mode, listed.owner


@pytest.mark.parametrize("chown", ["", "--chown=33:33 "], ids=["plain", "chown"])
def test_directories_that_an_archive_implies_stay_as_they_are(
    build: Callable[..., Mapping[str, Listed]], chown: str
) -> None:
    files = archive(*((name, data(b"1")) for name in ("tmp/f", "home/app/data/d", "etc/newdir/n", "opt/new/er/f")))
    tree = build(
        "RUN mkdir -p /home/app/data && chown -R 1000:1001 /home/app && chmod 2775 /home/app/data && chmod 750 "
        "/home/app\n"
        f"ADD {chown}files.tar /\n"
        "RUN stat -c '%n %a %u:%g' /tmp /home/app /home/app/data /etc /etc/newdir /opt /opt/new /opt/new/er > /seen",
        files=files,
    )
    expected = {
        "tmp": ("1777", (0, 0)),
        "home/app": ("750", (1000, 1001)),
        "home/app/data": ("2775", (1000, 1001)),
        "etc": ("755", (0, 0)),
        "etc/newdir": ("755", (0, 0)),
        "opt": ("755", (0, 0)),
        "opt/new/er": ("755", (0, 0)),
        "tmp/f": ("755", (33, 33) if chown else (0, 0)),
    }
    assert {path: look(tree[path]) for path in expected} == expected


def test_a_run_sees_what_the_layer_says(tiffin: Run, base: str, context: Make) -> None:
    files = archive(("tmp/f", data(b"1")), ("srv/new/f", data(b"1")))
    text = f"FROM {base}\nRUN mkdir -m 2770 /srv && chown 1000:1001 /srv\nADD files.tar /\n"
    folder = context(text + "RUN stat -c '%n %a %u:%g' /tmp /srv /srv/new > /seen", **{"files.tar": files})
    tiffin("build", "-t", "seen", folder)
    shown = tiffin("run", "--rm", "seen", "cat", "/seen").stdout
    assert shown == "/tmp 1777 0:0\n/srv 2770 1000:1001\n/srv/new 755 0:1001\n"


def test_links_of_the_image_are_followed_and_kept(build: Callable[..., Mapping[str, Listed]]) -> None:
    tool = archive(("sbin/tool", data(b"#!/bin/sh\necho tool\n")), ("var/run/tool.pid", data(b"1")))
    tree = build(
        "RUN ln -s bin /sbin && mkdir -p /var /run && ln -s /run /var/run\nADD tool.tar /\nRUN /sbin/tool > /said",
        tool=tool,
    )
    assert (tree["sbin"].target, tree["var/run"].target) == ("bin", "/run")
    assert tree["bin/tool"].kind == tree["run/tool.pid"].kind == "file" and "said" in tree


def test_an_archive_that_cannot_be_unpacked_is_named_with_its_line(tiffin: Run, base: str, context: Make) -> None:
    folder = context(f"FROM {base}\nADD a.tar /t/", **{"a.tar": archive((".wh.keep", data(b"")))})
    done = tiffin("build", folder, check=False)
    assert done.returncode == 1 and 'Dockerfile:2: cannot unpack "a.tar": no layer can hold ".wh.keep"' in done.stderr


def test_a_link_to_an_archive_is_unpacked(tiffin: Run, base: str, context: Make, tmp_path: Path) -> None:
    folder = context(f"FROM {base}\nADD latest.tar /t/\n", **{"real.tar": archive(("f", data(b"1")))})
    (folder / "latest.tar").symlink_to("real.tar")
    out = tmp_path / "tree.tar"
    tiffin("build", "-q", "-o", f"type=tar,dest={out}", folder)
    assert "t/f" in list_tar(out) and "t/latest.tar" not in list_tar(out)
