"""What a step leaves as it was is in no layer, on every tier the same."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Run
from tests.support.unprivileged import WITH_IDS, WITHOUT_IDS, Users

pytestmark = [pytest.mark.userns, pytest.mark.xdist_group("users")]
Make = Callable[..., Path]
# of each step the command, and what its layer holds: no directories, but for those with the mode 0700
STEPS = [
    (
        (
            "RUN mkdir -p /lib/d && cd /lib/d && for i in 1 2 3; do echo $i > $i; done && ln -s d/1 ../l && ln 1 hard "
            "&& mkfifo p"
        ),
        ["lib/d/1", "lib/d/2", "lib/d/3", "lib/d/hard", "lib/d/p", "lib/l"],
    ),
    ("RUN chown -R root:root /lib && chmod -R u+rwX /lib", []),
    ("RUN chmod 600 /lib/d/2 && chmod 644 /lib/d/2 && mv /lib/d/3 /lib/x && mv /lib/x /lib/d/3", []),
    # the same size and time, other content
    ("RUN cd /lib/d && s=$(stat -c %Y 2) && printf 'X\\n' > 2 && touch -d @$s 2 && cat 2", ["lib/d/2"]),
    ("RUN cd /lib/d && cp -p 2 t && printf 'Y\\n' > t && touch -r 2 t && mv t 2", ["lib/d/2"]),
    ("RUN cp -a /lib/d /tmp/d && rm -r /lib/d && cp -a /tmp/d /lib/d && rm -r /tmp/d", []),
    ("RUN cp -a /lib/d /tmp/d && rm -r /lib/d && cp -a /tmp/d /lib/d && rm -r /tmp/d /lib/d/3", ["lib/d/.wh.3"]),
    ("RUN mkdir /new && echo x > /new/x && mkdir /gone && rmdir /gone", ["new/x"]),
    ("RUN rm -r /new && mkdir /new && echo other > /new/y", ["new/.wh..wh..opq", "new/y"]),
    ("RUN rm /new/y && echo 1 > /new/y && rm /new/y", ["new/.wh.y"]),
    ("RUN chmod 700 /lib/d", ["lib/d/"]),
    ("RUN true", []),
    ("COPY files /app/", ["app/a", "app/b", "app/l"]),
    ("RUN echo x > /mark", ["mark"]),
    ("COPY files /app/", []),
    ("RUN chown -R 0:0 /app && touch -d @1 /app/a", ["app/a"]),
    ("COPY files /app/", ["app/a"]),
    ("COPY --from=other /app /app", []),
    ("COPY --from=other /app/b /app/b", []),
    ("RUN cat /lib/d/2 /app/b > /all && [ $(cat /all | tr -d '\\n') = Ybb ]", ["all"]),
]
DOCKERFILE = "\n".join(["FROM base AS other", "COPY files /app/", "FROM base", *(step for step, _ in STEPS)])


def layers_of(archive: Path) -> list[list[str]]:
    """The names in each layer but the base's."""
    with tarfile.open(archive) as outer:

        def read(name: str) -> bytes:
            stream = outer.extractfile(name)
            assert stream is not None
            return stream.read()

        manifest = json.loads(read("manifest.json"))
        return [names_in(read(name)) for name in manifest[0]["Layers"][1:]]


def names_in(layer: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
        members = tar.getmembers()
    assert not any("mtime" in member.pax_headers for member in members), "a header for a fraction of a second"
    return sorted(f"{m.name}/" if m.isdir() else m.name for m in members if not m.isdir() or m.mode == 0o700)


def check(found: list[list[str]]) -> None:
    assert len(found) == len(STEPS)
    for (step, wanted), names in zip(STEPS, found, strict=True):
        # an overlay says that all below is hidden, two scans what is gone
        assert ["new/.wh..wh..opq" if name == "new/.wh.x" else name for name in names] == wanted, step


@pytest.fixture
def folder(users: Users, busybox: Path) -> Iterator[Path]:
    path = users.code / "unchanged"
    shutil.copytree(busybox, path / "base", symlinks=True)
    files = path / "app/files"
    files.mkdir(parents=True)
    for name in ("a", "b"):
        (files / name).write_text(name * 2)
        os.utime(files / name, ns=(1, 1_600_000_000_987_654_321))
    (files / "l").symlink_to("a")
    (path / "app/Dockerfile").write_text(DOCKERFILE)
    subprocess.run(["chmod", "-R", "a+rX", str(path)], check=True)
    yield path
    for user in users.names:
        users.run(user, ["system", "reset", "-f"])
    shutil.rmtree(path)


@pytest.mark.parametrize("user", [WITH_IDS, WITHOUT_IDS], ids=["range", "single"])
def test_layers_hold_changes_alone_for_users(users: Users, folder: Path, user: str) -> None:
    users.run(user, ["build", "-q", "-t", "base", folder / "base"])
    users.run(user, ["build", "-t", "app", folder / "app"])
    archive = users.home(user) / "app.tar"
    users.run(user, ["save", "-o", archive, "app"])
    check(layers_of(archive))


@pytest.mark.parametrize("flags", [(), ("--isolation", "chroot")], ids=["root", "chroot"])
def test_layers_hold_changes_alone_for_root(
    tiffin: Run, base: str, folder: Path, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    if os.getuid() != 0:
        pytest.skip("a chroot takes root")
    tiffin("build", "-q", *flags, "-t", "app", folder / "app")
    tiffin("save", "-o", tmp_path / "app.tar", "app")
    check(layers_of(tmp_path / "app.tar"))


def test_squashed_layer_holds_what_differs_in_the_end(tiffin: Run, base: str, context: Make, tmp_path: Path) -> None:
    folder = context(
        f"FROM {base}\nRUN stat -c %a /etc/passwd > /mode && chmod 600 /etc/passwd && cp -p /etc/group /g && rm "
        "/etc/group && echo 1 > /x\n"
        "RUN chmod $(cat /mode) /etc/passwd && rm /mode && mv /g /etc/group && mkdir /d && echo 2 > /d/y && echo tmp "
        "> /tmp/t\nRUN rm /tmp/t /x\n"
    )
    tiffin("build", "-q", "--squash", "-t", "one", folder)
    tiffin("save", "-o", tmp_path / "one.tar", "one")
    assert layers_of(tmp_path / "one.tar") == [["d/y"]]
    assert tiffin("run", "--rm", "one", "sh", "-c", "wc -l < /etc/group; cat /d/y").stdout == "3\n2\n"
