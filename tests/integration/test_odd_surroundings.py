"""What goes wrong around a command: a damaged state directory, a full or closed stream, another locale, a silent
stdin.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Run
from tests.integration.test_bad_inputs import error_of

pytestmark = pytest.mark.userns
Make = Callable[..., Path]
LATIN = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}  # what Python 3.15 no longer knows


def test_damaged_documents_are_told_and_forgotten(tiffin: Run, root: Path, busybox: Path, base: str) -> None:
    """One image that is damaged must not stand in the way of all others for ever."""
    tiffin("tag", base, "other")
    whole = tiffin("inspect", "-f", "{{.Id}}", base).stdout.strip()
    (root / "images/blobs/sha256" / whole.removeprefix("sha256:")).write_text("{}")
    for words in (["images"], ["inspect", base], ["run", "--rm", base]):
        code = 125 if words[0] == "run" else 1
        assert "run tiffin cache verify --repair" in error_of(tiffin(*words, check=False), code)
    found = tiffin("cache", "verify", check=False)
    assert found.returncode == 1 and "image docker.io/library/other:latest: " in found.stdout, found.stdout
    tiffin("cache", "verify", "--repair")
    assert tiffin("images", "-q").stdout == ""
    tiffin("build", "-q", "-t", base, busybox)
    assert len(tiffin("images", "-q").stdout.split()) == 1


def test_damaged_list_of_images_is_named(tiffin: Run, root: Path, base: str) -> None:
    (root / "images/index.json").write_text("{")
    line = error_of(tiffin("images", check=False))
    assert f"{root}/images/index.json is damaged: " in line and "or remove it" in line
    (root / "images/index.json").unlink()
    assert tiffin("images", "-q").stdout == ""


def test_folders_that_were_removed_are_made_again(tiffin: Run, root: Path, busybox: Path) -> None:
    tiffin("build", "-q", busybox)
    for name in ("locks", "tmp", "containers"):
        (root / name).rmdir() if name != "locks" else shutil.rmtree(root / name)
    tiffin("build", "-q", "-t", "base", busybox)
    (root / "tmp").rmdir()
    (root / "tmp").write_text("")
    try:
        assert f"cannot use {root}/tmp: Not a directory" in error_of(tiffin("run", "base", check=False), 125)
    finally:
        (root / "tmp").unlink()
        (root / "tmp").mkdir()


def test_output_that_is_lost_is_an_error(root: Path, tiffin: Run, busybox: Path) -> None:
    argv = [sys.executable, "-m", "tiffin", "--root", str(root), "build", "-q", str(busybox)]
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with open("/dev/full", "w") as full:
        done = subprocess.run(argv, stdout=full, stderr=subprocess.PIPE, text=True, check=False, env=environ)
    assert "cannot write to stdout: No space left on device" in error_of(done)


def test_names_are_utf8_in_any_locale(tiffin: Run, context: Make, base: str, tmp_path: Path) -> None:
    """And bytes that are not are kept as they are."""
    folder = context(f"FROM {base}\nCOPY ö /ö\nRUN test -e /ö/b*\nLABEL size=groß\n", "dïr", **{"ö/a": "x"})
    (folder / os.fsdecode(b"\xc3\xb6/b\xff")).write_text("x")
    environ = {**os.environ, **LATIN}
    tiffin("build", "-t", "tiff", folder, env=environ)
    assert tiffin("inspect", "-f", "{{.Config.Labels.size}}", "tiff", env=environ).stdout == "groß\n"
    tiffin("build", "-o", f"type=local,dest={tmp_path / 'out'}", folder, env=environ)
    assert sorted(os.listdir(os.fsencode(tmp_path / "out/ö"))) == [b"a", b"b\xff"]
    (folder / "Dockerfile").write_text(f"FROM {base}\nCOPY ü /\n")
    assert '"ü" not found' in error_of(tiffin("build", folder, check=False, env=environ))
    (folder / "Dockerfile").write_text(f"FROM {base}\nARG A\n")
    for flag in ("--label", "--build-arg", "--annotation"):
        line = error_of(tiffin("build", flag, os.fsdecode(b"A=\xff"), folder, check=False), 2)
        assert line == f"error: {flag} A: the value is not UTF-8 text; write it in UTF-8"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["system", "reset"], "aborted: no answer on stdin; use --force"),
        (["login", "-u", "me", "--password-stdin", "127.0.0.1:1"], "stdin has no password; write it to stdin"),
    ],
    ids=["confirm", "password"],
)
def test_silent_stdin(tiffin: Run, words: list[str], message: str) -> None:
    assert message in error_of(tiffin(*words, check=False, stdin=subprocess.DEVNULL), 2)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--timestamp", "soon"], '--timestamp "soon" is not a valid time'),
        (["--ssh", "default=/proc/self/mem"], "cannot use the ssh key /proc/self/mem: Input/output error"),
    ],
    ids=["timestamp", "ssh"],
)
def test_flags_name_themselves(tiffin: Run, busybox: Path, words: list[str], message: str) -> None:
    assert message in error_of(tiffin("build", *words, busybox, check=False), 2)


@pytest.mark.parametrize("name", ["a b", "x" * 65, os.fsdecode(b"\xff"), "a\n1.2.3.4 b"], ids=range(4))
def test_hostname_that_is_none(tiffin: Run, base: str, name: str) -> None:
    """It would become a line of /etc/hosts."""
    done = tiffin("run", "--rm", "-h", name, base, "true", check=False)
    assert done.returncode == 125 and "is not a valid host name; use at most 64 letters" in done.stderr


def test_ssh_key_that_cannot_be_used(tiffin: Run, busybox: Path, tmp_path: Path) -> None:
    make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "word", "-f", str(tmp_path / "key")]
    subprocess.run(make, check=True)
    for name, reason in {"key": "it has a passphrase", "key.pub": "it is not a private key"}.items():
        line = error_of(tiffin("build", "--ssh", f"default={tmp_path / name}", busybox, check=False), 2)
        assert f"{name}: {reason}; give a private key" in line


@pytest.mark.parametrize("tier", ["chroot", "proot"])
def test_state_on_noexec_is_told(busybox: Path, tmp_path: Path, tier: str) -> None:
    """As Docker mounts a --tmpfs: where no overlay is mounted over it, no step could run a program."""
    if tier == "chroot" and os.getuid() != 0:
        pytest.skip("a chroot takes root")
    (tmp_path / "state").mkdir()
    (tmp_path / "Dockerfile").write_text("FROM base\nRUN true\n")
    words = f"{sys.executable} -m tiffin --root {tmp_path / 'state'}"
    build = f"{words} build -q -t base {busybox} && {words} build --isolation {tier} {tmp_path}"
    own = ["unshare", *(["--user", "--map-root-user"] if os.getuid() != 0 else []), "--mount", "sh", "-c"]
    script = f"mount -t tmpfs -o noexec tmpfs {tmp_path / 'state'} && {build}"
    line = error_of(subprocess.run([*own, script], capture_output=True, text=True, check=False))
    assert "the state directory is mounted noexec" in line and "--tmpfs DIR:exec" in line
