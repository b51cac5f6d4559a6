"""Find, fetch and read the files that define targets."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tiffin.builder.api.session import Session
from tiffin.builder.bake.definition import Config
from tiffin.builder.bake.files import DEFAULT_FILES, File, Surroundings
from tiffin.builder.bake.places import CWD, is_remote
from tiffin.builder.bake.reading import read_files
from tiffin.builder.errors import UsageError
from tiffin.builder.events import Sink, WarningMessage
from tiffin.builder.instructions.ops import UrlOrigin
from tiffin.builder.instructions.remote import filename_of, is_git, parse_git
from tiffin.builder.oci.spec import Platform
from tiffin.builder.options import truth
from tiffin.cache.foundation.frozen import dataclass, replace

if TYPE_CHECKING:
    from tiffin.builder.sources.remote_sources import RemoteSources

STDIN = "-"
MAX_FILE_BYTES = 2 << 20  # buildx's, of a file behind a URL
FILE, SEPARATOR = "BUILDX_BAKE_FILE", "BUILDX_BAKE_PATH_SEPARATOR"
GIT_AGENT = "BUILDX_BAKE_GIT_SSH"
GIT_TOKEN, GIT_HEADER = "BUILDX_BAKE_GIT_AUTH_TOKEN", "BUILDX_BAKE_GIT_AUTH_HEADER"
RELATIVE, NO_ENVIRONMENT = "BUILDX_BAKE_FILE_RELATIVE_PATHS", "BUILDX_BAKE_DISABLE_VARS_ENV_LOOKUP"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a line asks for: files, variables, and words that are a URL, a second URL, and names of targets."""

    files: tuple[str, ...]
    variables: tuple[str, ...]
    words: tuple[str, ...]
    environ: Mapping[str, str]
    directory: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """What the files say. `targets` are those asked for; `remote` is the repository that the files are from, `secrets`
    what its server is shown.
    """

    config: Config
    targets: tuple[str, ...]
    surroundings: Surroundings
    remote: str
    secrets: Mapping[str, bytes]

    def is_beside(self, context: str) -> bool:
        """Whether a context is a repository of the same server."""
        return bool(self.secrets) and _host(context) == _host(self.remote) != ""


def read_definition(request: Request, session: Session, sink: Sink) -> Definition:
    """Read all files. Raises BakeError, ComposeError, UsageError, and what fetching raises."""
    url, context, targets = _split(request.words)
    surroundings = _surroundings(request, context)
    files, remote = _files(request, url, session)
    if not files:
        raise UsageError("couldn't find a bake definition", remedy="write a docker-bake.hcl, or name a file with -f")
    config = read_files(files, surroundings, lambda text: sink.emit(WarningMessage(message=text)))
    secrets = _secrets(url, request.environ)
    return Definition(config=config, targets=targets, surroundings=surroundings, remote=remote, secrets=secrets)


def _split(words: Sequence[str]) -> tuple[str, str, tuple[str, ...]]:
    """Return the URL of the definition, BAKE_CMD_CONTEXT, and the names of targets."""
    url, context, rest = "", CWD, list(words)
    if rest and is_remote(rest[0]):
        url = rest.pop(0)
        if rest and is_remote(rest[0]):
            context = rest.pop(0)
    return url, context, tuple(rest)


def _surroundings(request: Request, context: str) -> Surroundings:
    environ = request.environ
    reads_environment = truth(environ.get(NO_ENVIRONMENT, "")) is not True
    relative = environ.get(RELATIVE, "").strip()
    if relative and truth(relative) is None:
        raise UsageError(f'failed to parse {RELATIVE} value "{relative}"', remedy="set it to 0 or 1")
    return Surroundings(
        builtins={"BAKE_CMD_CONTEXT": context, "BAKE_LOCAL_PLATFORM": str(Platform.local())},
        given=_variables(request.variables),
        environ=environ if reads_environment else {},
        directory=request.directory,
        is_relative=truth(relative) is True,
    )


def _variables(texts: Sequence[str]) -> dict[str, str]:
    found = {}
    for text in filter(None, texts):
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UsageError(f'invalid variable "{text}", expected key=value', remedy="write --var NAME=VALUE")
        found[name] = value
    return found


# -- files -------------------------------------------------------------------------------------------------------------


def _files(request: Request, url: str, session: Session) -> tuple[list[File], str]:
    """Return the texts of all files, and the repository that they are from."""
    names = request.files or _named_by(request.environ)
    local = [name.removeprefix(CWD) for name in names if name.startswith(CWD) or not url]
    if not url:
        return list(_read_local(local, Path(request.directory))), ""
    there = [name for name in names if not name.startswith(CWD)]
    agent = request.environ.get(GIT_AGENT, "")
    files, remote = _read_remote(url, there, session, _secrets(url, request.environ), agent)
    return [*files, *(_read_local(local, Path(request.directory)) if local else ())], remote


def _named_by(environ: Mapping[str, str]) -> tuple[str, ...]:
    names = (name.strip() for name in environ.get(FILE, "").split(environ.get(SEPARATOR) or ":"))
    return tuple(name for name in names if name)


def _read_local(names: Sequence[str], directory: Path) -> Iterator[File]:
    for name in names or DEFAULT_FILES:
        if name == STDIN:
            yield File(name=name, text=_decoded(sys.stdin.buffer.read(), "stdin"))
        elif names or (directory / name).is_file():
            try:
                yield File(name=name, text=_decoded((directory / name).read_bytes(), name))
            except OSError as exc:
                raise UsageError(f"open {name}: {exc.strerror}", remedy="name a file with -f") from exc


def _read_remote(
    url: str, names: Sequence[str], session: Session, secrets: Mapping[str, bytes], agent: str
) -> tuple[list[File], str]:
    if not is_git(url, context=True):
        with _sources(session, secrets, agent) as sources:
            tree = sources.file(UrlOrigin(url=url, filename=filename_of(url)))
            with tree.opener(tree.children(".")[0])() as stream:
                data = stream.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise UsageError(
                f"{url} is bigger than the {MAX_FILE_BYTES >> 20} MiB that a definition may have",
                remedy="name a definition, or a git repository that has one",
            )
        return [File(name=filename_of(url), text=_decoded(data, url))], ""
    with _sources(session, secrets, agent) as sources:
        root = sources.checkout(parse_git(url)).resolve()
        files = []
        for name in names or DEFAULT_FILES:
            path = (root / name).resolve()
            if not path.is_relative_to(root):
                raise UsageError(f"{name} leads out of {url}", remedy="name a file of it, or cwd://FILE")
            if path.is_file():
                files.append(File(name=name, text=_decoded(path.read_bytes(), name)))
            elif names:
                raise UsageError(f"{url} has no file {name}", remedy="name a file of it, or cwd://FILE")
    return files, url


def _secrets(url: str, environ: Mapping[str, str]) -> dict[str, bytes]:
    """Return what the server of a repository is shown, under the names that builds know it by."""
    host = _host(url)
    names = {"GIT_AUTH_TOKEN": GIT_TOKEN, "GIT_AUTH_HEADER": GIT_HEADER}
    found = {name: environ.get(variable) for name, variable in names.items()}
    return {f"{name}.{host}": value.encode() for name, value in found.items() if host and value}


def _host(url: str) -> str:
    """Return the server of a repository, "" for what is none."""
    if not is_git(url, context=True):
        return ""
    return urlsplit(parse_git(url).url).netloc.rpartition("@")[2]


@contextmanager
def _sources(session: Session, secrets: Mapping[str, bytes], agent: str) -> Iterator[RemoteSources]:
    from tiffin.builder.api.build_options import BuildOptions
    from tiffin.builder.api.inputs.build_request import source_access
    from tiffin.builder.sources.remote_sources import RemoteSources

    access = source_access(BuildOptions(ssh=("default",), secrets=secrets))
    access = replace(access, agent=agent or access.agent)
    with RemoteSources(session.state, session.table, session.blobs, access) as sources:
        yield sources


def _decoded(data: bytes, name: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise UsageError(f"{name} is not UTF-8", remedy="convert it") from exc
