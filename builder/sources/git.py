"""Git repositories as sources, through the git command: which commit a reference is, and what that commit holds."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tiffin.builder.errors import BuildError
from tiffin.builder.instructions.ops import GitOrigin
from tiffin.builder.programs import find_program, safe_path
from tiffin.builder.registry.download import shown
from tiffin.cache.foundation.files import disk_errors, remove_tree
from tiffin.cache.foundation.frozen import dataclass

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
# nothing of the machine's or the user's configuration decides what is fetched, and nothing asks
_ENVIRONMENT = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ALLOW_PROTOCOL": "http:https:ssh:git",  # a submodule may not name what lies on this machine
    "LC_ALL": "C",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """What a reference names: `ref` in full (refs/heads/…, or a commit), the object under it, and the commit of that.

    These differ for an annotated tag.
    """

    ref: str
    checksum: str
    commit: str


class Git:
    """Runs git.

    `headers`: an Authorization header by host; `agent`: the socket of an ssh agent, "" for none; `cert_file`: all
    certificates to trust, "" for the system's; `own_certificate`: a file with ours, and one with its key.
    """

    def __init__(
        self, *, headers: Mapping[str, str], agent: str, cert_file: str, own_certificate: tuple[str, str] | None = None
    ) -> None:
        self._headers = headers
        self._agent = agent
        self._cert_file = cert_file
        self._own_certificate = own_certificate

    def commit(self, origin: GitOrigin) -> str:
        """Return the commit (hex) that `origin` names now. Raises BuildError."""
        return self.named(origin).commit

    def named(self, origin: GitOrigin) -> Named:
        """Return what `origin` names now. Raises BuildError."""
        if _COMMIT.fullmatch(origin.ref):
            found = Named(ref=origin.ref, checksum=origin.ref, commit=origin.ref)
        elif origin.checksum and _COMMIT.fullmatch(origin.checksum) and not origin.ref:
            return Named(ref=origin.checksum, checksum=origin.checksum, commit=origin.checksum)
        else:
            found = self._listed(origin)
        if not found.commit.startswith(origin.checksum):
            raise BuildError(
                f"digest mismatch: {shown(origin.url)} is at {found.commit}, and not at {origin.checksum}",
                remedy="correct the checksum, or name the commit",
            )
        return found

    def objects(self, origin: GitOrigin, named: Named, place: Path) -> tuple[bytes, bytes]:
        """Fetch into the empty directory `place`; return the commit as git keeps it, and the annotated tag that leads
        to it, b"" for none. Raises BuildError.
        """
        self._fetch(origin, named.checksum, place)
        where = ["-C", os.fspath(place), "cat-file"]
        commit = self._read([*where, "commit", named.commit], origin)
        return commit, self._read([*where, "tag", named.checksum], origin) if named.checksum != named.commit else b""

    def checkout(self, origin: GitOrigin, commit: str, place: Path) -> Path:
        """Put the files of `commit` into the empty directory `place`; the directory to copy. Raises BuildError."""
        self._fetch(origin, commit, place)
        return self._checked_out(origin, commit, place)

    def pack(self, origin: GitOrigin, commit: str, place: Path) -> Path:
        """Fetch `commit` into the empty directory `place`; the file of git's with all its objects. Raises BuildError
        for what such a file does not hold.
        """
        if origin.keep_git_dir:
            raise BuildError(
                f"{shown(origin.url)}: a record has no .git, which differs each time", remedy="leave out --keep-git-dir"
            )
        self._fetch(origin, commit, place)
        modules = self._run(["-C", os.fspath(place), "ls-tree", commit, "--", ".gitmodules"], origin)
        if origin.submodules and modules:
            raise BuildError(
                f"{shown(origin.url)} has submodules, which a record does not hold",
                remedy="clone it in a RUN step instead",
            )
        self._run(["-C", os.fspath(place), "repack", "-q", "-a", "-d", "-k"], origin)  # what came loose, too
        return next(place.glob(".git/objects/pack/*.pack"))

    def unpacked(self, origin: GitOrigin, commit: str, pack: Path, place: Path) -> Path:
        """Put the files of `commit` into the empty directory `place`, from such a file; nothing is asked. git checks
        that they are what the commit says. Raises BuildError.
        """
        where = ["-C", os.fspath(place)]
        self._run(["init", "-q", os.fspath(place)], origin)
        copy = place / f".git/objects/pack/pack-{commit}.pack"
        with disk_errors(copy):
            shutil.copyfile(pack, copy)
            (place / ".git/shallow").write_text(f"{commit}\n")
        self._run([*where, "index-pack", os.fspath(copy)], origin)
        return self._checked_out(origin, commit, place)

    def _fetch(self, origin: GitOrigin, commit: str, place: Path) -> None:
        where = ["-C", os.fspath(place)]
        self._run(["init", "-q", os.fspath(place)], origin)
        self._run([*where, "remote", "add", "origin", origin.url], origin)
        fetch = [*where, "fetch", "-q", "--no-tags", "origin"]
        if self._try([*fetch, "--depth=1", commit], origin) is None:  # a server may refuse single commits
            self._run([*fetch, "+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*"], origin)

    def _checked_out(self, origin: GitOrigin, commit: str, place: Path) -> Path:
        where = ["-C", os.fspath(place)]
        self._run([*where, "-c", "advice.detachedHead=false", "checkout", "-q", commit], origin)
        if origin.submodules and (place / ".gitmodules").exists():
            self._run([*where, "submodule", "update", "-q", "--init", "--recursive", "--depth=1"], origin)
        if not origin.keep_git_dir:
            for path in [place / ".git", *(place.rglob(".git") if origin.submodules else ())]:
                remove_tree(path)
        result = (place / origin.subdir).resolve()
        if not result.is_relative_to(place.resolve()) or not result.is_dir():
            raise BuildError(f'{shown(origin.url)} has no directory "{origin.subdir}"', remedy="check the part after :")
        return result

    def _listed(self, origin: GitOrigin) -> Named:
        wanted = origin.ref or "HEAD"
        listing = self._run(["ls-remote", "--symref", "--", origin.url, wanted, f"{wanted}^{{}}"], origin)
        found, links = {}, {}
        for value, _, name in (line.partition("\t") for line in listing.splitlines()):
            if value.startswith("ref: "):  # what HEAD stands for
                links[name] = value.removeprefix("ref: ")
            else:
                found[name] = value
        for name in (wanted, f"refs/heads/{wanted}", f"refs/tags/{wanted}"):
            if name in found:  # an annotated tag points at a commit
                commit = found.get(f"{name}^{{}}", found[name])
                return Named(ref=links.get(name, name), checksum=found[name], commit=commit)
        raise BuildError(f'{shown(origin.url)} has no reference "{wanted}"', remedy="check the part after #")

    def _run(self, arguments: Sequence[str], origin: GitOrigin) -> str:
        return self._read(arguments, origin).decode(errors="replace")

    def _read(self, arguments: Sequence[str], origin: GitOrigin) -> bytes:
        result = self._try(arguments, origin, must=True)
        assert result is not None
        return result

    def _try(self, arguments: Sequence[str], origin: GitOrigin, *, must: bool = False) -> bytes | None:
        program = find_program("git", os.environ.get("PATH", os.defpath))
        if not program:
            raise BuildError(f"git is needed to fetch {shown(origin.url)}", remedy="install the package git")
        env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        env.update(_ENVIRONMENT)
        env.update(self._config(origin))
        env["PATH"] = safe_path(env.get("PATH", os.defpath))  # git looks for ssh and its own helpers there
        if self._agent:
            env["SSH_AUTH_SOCK"] = self._agent
        env["GIT_SSH_COMMAND"] = "ssh -o BatchMode=yes"
        done = subprocess.run(
            [program, *arguments],
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            umask=0o022,
        )
        if done.returncode == 0:
            return done.stdout
        if not must:
            return None
        reason = _reason(done.stderr.decode(errors="replace")) or f"git ended with code {done.returncode}"
        raise BuildError(
            f"cannot fetch {shown(origin.url)}: {reason.replace(origin.url, shown(origin.url))}",
            remedy="check the URL and the credentials",
        )

    def _config(self, origin: GitOrigin) -> dict[str, str]:
        """Return settings for the environment, so that no credential is on a command line."""
        settings = [("safe.directory", "*"), ("core.hooksPath", os.devnull)]
        host = shown(origin.url).partition("://")[2].partition("/")[0]
        if host in self._headers:
            settings.append((f"http.{shown(origin.url)}.extraHeader", f"Authorization: {self._headers[host]}"))
        if self._cert_file:
            settings.append(("http.sslCAInfo", self._cert_file))
        if self._own_certificate:
            certificate, key = self._own_certificate
            site = "/".join(shown(origin.url).split("/")[:3])
            settings += [(f"http.{site}.sslCert", certificate), (f"http.{site}.sslKey", key)]
        result = {"GIT_CONFIG_COUNT": str(len(settings))}
        for number, (name, value) in enumerate(settings):
            result[f"GIT_CONFIG_KEY_{number}"], result[f"GIT_CONFIG_VALUE_{number}"] = name, value
        return result


def _reason(stderr: str) -> str:
    """Return what git says, or what ssh said before git."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    number = next((number for number, line in enumerate(lines) if line.startswith("fatal:")), len(lines) - 1)
    if number > 0 and "Could not read from remote repository" in lines[number]:
        number -= 1
    message = lines[number] if lines else ""
    if message.endswith(":") and number + 1 < len(lines):
        message = f"{message} {lines[number + 1]}"
    return message.removeprefix("fatal:").strip().rstrip(".")
