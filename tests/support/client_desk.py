"""A desk at which programs run that call docker or podman, with tiffin in that place."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from tests.support.clients import BY_PROGRAM, Client
from tests.support.unprivileged import Users, interpreter

INSTALL_SECONDS = 300
ANSIBLE = "ansible==12.3.0"


class Programs:
    """Where each program is; it is installed when it is first asked for."""

    def __init__(self, place: Path) -> None:
        self._place = place

    def path(self, name: str) -> str:
        """Return the file to call."""
        client, place = BY_PROGRAM[name], self._place / name
        if not client.package:
            return name
        program = place / "node_modules/.bin" / name if client.npm else place / "bin" / (client.binary or name)
        if not program.exists():
            for step in _installing(client, place):
                _done(step)
            _done(["chmod", "-R", "a+rX", str(self._place)])
        return str(program)

    def collections(self, *names: str) -> str:
        """Return a folder of Ansible's collections; only PyPI's package of all of them is installed from."""
        folder = self._place / "collections"
        if not folder.exists():
            _done([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(self._place), ANSIBLE])
            (archive,) = self._place.glob("ansible-*.whl")
            with zipfile.ZipFile(archive) as wheel:
                wanted = tuple(f"ansible_collections/{name}/" for name in names)
                wheel.extractall(folder, [one for one in wheel.namelist() if one.startswith(wanted)])
            archive.unlink()
            _done(["chmod", "-R", "a+rX", str(self._place)])
        return str(folder)


def _installing(client: Client, place: Path) -> list[list[str]]:
    if client.npm:
        return [["npm", "--prefix", str(place), "install", "--no-audit", "--no-fund", client.requirement]]
    pip = [sys.executable, "-m", "pip", "--python", str(place / "bin/python"), "install", "-q"]
    return [[interpreter(), "-m", "venv", "--without-pip", str(place)], [*pip, client.requirement, *client.also]]


def _done(step: list[str]) -> None:
    done = subprocess.run(step, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    assert done.returncode == 0, done.stderr


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """A user's work directory, with `docker` and `podman` on PATH that are tiffin; `base` is an image in a registry."""

    users: Users
    user: str
    programs: Programs
    folder: Path
    base: str

    @property
    def uid(self) -> int:
        return self.users.home(self.user).stat().st_uid

    def write(self, files: dict[str, str]) -> None:
        """Files below the directory, by path; those of scripts may be run."""
        for path, text in files.items():
            target = self.folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
            if text.startswith("#!"):
                target.chmod(0o755)
        self.users.own(self.user, self.folder)

    def run(self, *argv: str, folder: str = "", code: int = 0) -> subprocess.CompletedProcess[str]:
        """Run a program by name, or any command."""
        client = next((name for word in argv if (name := _client_of(Path(word)))), "")
        program = self.programs.path(argv[0]) if argv[0] == client else argv[0]
        place = self.folder / folder
        words = ["sh", "-c", 'cd "$1" && shift && exec "$@"', "sh", str(place), program, *argv[1:]]
        done = self.users.program(
            self.user,
            words,
            PATH=f"{self.folder / 'shims'}:{os.environ['PATH']}",
            PYTHONPATH="",
            TMPDIR=str(self.folder),
            TIFFIN_TESTED_CLIENT=client,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done

    def image(self, name: str) -> dict[str, object]:
        """What `docker inspect` says of it."""
        document: dict[str, object] = json.loads(self.run("docker", "inspect", "--type=image", name).stdout)[0]
        return document


def _client_of(program: Path) -> str:
    """Return whose program it is, by its name or its environment's; "" for any other command."""
    return next((name for name in (*program.parts[-3:-2], program.name) if name in BY_PROGRAM), "")


SHIM = """import os, sys
with open(%r, "a") as log:
    print(os.environ.get("TIFFIN_TESTED_CLIENT", ""), *sys.argv[1:3], sep="\\t", file=log)
sys.path[:0] = %r
from tiffin.builder.__main__ import main
main()
"""
