"""Where attacks are tried: tiffin on a state directory with a base image, and a canary beside it that must not
change.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.conformance.forkserver import ForkServer
from tests.support.cli_runner import CliRunner

PRECIOUS = "precious-canary-content"
INTERNAL = 70  # the exit code of an error tiffin did not foresee


@dataclass(frozen=True, slots=True, kw_only=True)
class Harness:
    """`tier` is what isolates here; `canary` is a directory of the user's own outside everything tiffin is given."""

    cli: CliRunner
    tier: str
    canary: Path
    made: list[Path] = field(default_factory=list)
    server: ForkServer | None = None  # runs commands without starting an interpreter for each

    @classmethod
    def of(cls, folder: Path) -> Harness:
        """A harness in an existing directory, of whoever runs the tests."""
        cli = CliRunner(folder=folder, python=sys.executable, env={**os.environ, "HOME": str(folder)})
        return cls(cli=cli, tier="root", canary=folder)

    @property
    def state(self) -> Path:
        return self.cli.state

    def context(self, dockerfile: str, files: Mapping[str, str | bytes] | None = None) -> Path:
        """A new build context; "-> TARGET" makes a symlink, and "" with a name that ends in a slash a directory."""
        folder = Path(tempfile.mkdtemp(prefix="context-", dir=self.cli.folder))
        self.made.append(folder)
        for name, content in {"Dockerfile": dockerfile, **(files or {})}.items():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if name.endswith("/"):
                target.mkdir(exist_ok=True)
            elif isinstance(content, str) and content.startswith("-> "):
                target.symlink_to(content[3:])
            else:
                target.write_bytes(content if isinstance(content, bytes) else content.encode())
        folder.chmod(0o755)
        self.cli.own(folder)
        return folder

    def run(
        self, *words: str | Path, env: Mapping[str, str] | None = None, input: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """tiffin to its end, whatever that is; never an error it did not foresee."""
        if self.server is None:
            done = self.cli.run(*words, env=env, input=input)  # which looks for tracebacks itself
        else:
            argv = self.cli.argv(*words)[3:]
            more = {**self.cli.env, **(env or {})}
            done = self.server.run(argv, cwd=self.cli.folder, env=more, stdin=(input or "").encode())
            assert "Traceback" not in done.stderr or "--debug" in words, done.stderr
        assert done.returncode != INTERNAL and "internal error" not in done.stderr, done.stderr
        return done

    def build(
        self,
        dockerfile: str | Path,
        *words: str | Path,
        files: Mapping[str, str | bytes] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Build a Dockerfile, or a context that exists."""
        folder = dockerfile if isinstance(dockerfile, Path) else self.context(dockerfile, files)
        return self.run("build", "--no-cache", "--progress=plain", *words, folder, env=env)

    def output(
        self,
        dockerfile: str | Path,
        *words: str | Path,
        files: Mapping[str, str | bytes] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> str:
        """What the steps of a build that succeeds say."""
        done = self.build(dockerfile, *words, files=files, env=env)
        assert done.returncode == 0, done.stderr
        return done.stderr

    def refused(
        self,
        dockerfile: str | Path,
        *words: str | Path,
        files: Mapping[str, str | bytes] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> str:
        """The error of a build that is refused: one line with a cause and a remedy."""
        return error_of(self.build(dockerfile, *words, files=files, env=env))

    def tidy(self) -> None:
        for folder in self.made:
            shutil.rmtree(folder, ignore_errors=True)
        self.made.clear()


def error_of(done: subprocess.CompletedProcess[str]) -> str:
    """The one line an error is told in."""
    assert done.returncode not in (0, INTERNAL), (done.returncode, done.stdout, done.stderr)
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and len(lines[0]) < 2000, done.stderr
    return lines[0]


def make_canary(folder: Path) -> Path:
    """Files, directories, links of every mode that an attack would like to change."""
    canary = folder / "canary"
    (canary / "open").mkdir(parents=True)
    (canary / "open").chmod(0o777)
    (canary / "file").write_text(PRECIOUS)
    (canary / "file").chmod(0o666)
    (canary / "open/inner").write_text(PRECIOUS)
    (canary / "link").symlink_to("file")
    return canary


def fingerprint(folder: Path) -> Sequence[tuple[object, ...]]:
    """All that can be seen of a tree but times of access."""
    result: list[tuple[object, ...]] = []
    for parent, names, files in os.walk(folder):
        for name in sorted([".", *names, *files]):
            path = Path(parent) / name
            st = path.lstat()
            content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
            attributes = tuple(sorted(os.listxattr(path, follow_symlinks=False)))
            text = os.readlink(path) if path.is_symlink() else ""
            times = (st.st_mtime_ns, st.st_ctime_ns)
            result.append((str(path), st.st_mode, st.st_uid, st.st_gid, st.st_nlink, *times, content, attributes, text))
    return sorted(result, key=str)
