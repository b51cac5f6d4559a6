"""The machines of the cache table: a builder that fills one cache of each kind, and builders that have nothing and
ask.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.cachetable.workspace import Answer, Scenario, Workspace
from tests.conformance.forkserver import ForkServer
from tests.support.cache_servers import BUCKET, S3_OPTIONS, running_nginx, running_redis, running_s3
from tests.support.servers import Registry
from tests.support.serving import serving

LIBRARIES = (
    "redis",
    "boto3",
    "botocore.endpoint",
    "botocore.handlers",
)  # what the clients of caches import when needed
FORK_SERVER = (sys.executable, "-m", "tests.conformance.forkserver", *LIBRARIES)
APPLETS = ("sh", "cat", "grep")
KINDS = ("registry", "redis", "http", "s3", "dir")
_LINE = re.compile(r"^\[[^]]*\] (.*?): (miss, .*|hit in the (.*) cache.*|not needed)$", re.DOTALL)
_COMPLAINT = re.compile(r"^warning: .*cache", re.MULTILINE)


@dataclass(slots=True, kw_only=True)
class Harness:
    """`places`: the option of each kind of cache; `web`: what the file server says."""

    folder: Path
    server: ForkServer
    places: Mapping[str, str]
    texts: Mapping[str, str]
    web: dict[str, Answer] = field(default_factory=dict)
    filled: set[str] = field(default_factory=set)

    def workspace(self, scenario: Scenario, name: str) -> Workspace:
        """A fresh context of a scenario."""
        folder = self.folder / "contexts" / name / "context"
        folder.mkdir(parents=True)
        folder.parent.chmod(0o755)
        workspace = Workspace(folder=folder, texts=self.texts, web=self.web, cwd=folder.parent)
        workspace.write("Dockerfile", scenario.dockerfile)
        for path, text in scenario.files.items():
            workspace.write(path, text)
        scenario.prepare(workspace)
        workspace.options(*scenario.words)
        return workspace

    def fill(self, scenario: Scenario) -> None:
        """Build a scenario once, into one cache of each kind."""
        if scenario.name not in self.filled:
            workspace = self.workspace(scenario, f"first-{scenario.name}")
            caches = [word for kind in KINDS for word in ("--cache-to", f"{self.places[kind]},mode=max")]
            done = self.run(self.folder / "first", workspace, "build", "--progress=plain", *caches)
            assert done.returncode == 0 and "not filled" not in done.stderr, done.stderr
            self.filled.add(scenario.name)

    def ask(self, kind: str, workspace: Workspace) -> set[str]:
        """The tags of the steps that a builder with nothing but this cache foresees to run; of "local", the first
        builder.
        """
        if kind == "local":
            done = self.run(self.folder / "first", workspace, "cache", "explain")
        else:
            done = self.run(
                self.folder / f"asks-{kind}", workspace, "cache", "explain", "--cache-from", self.places[kind]
            )
        assert done.returncode == 0 and not _COMPLAINT.search(done.stderr), done.stderr
        return missed(done.stdout, kind)

    def build(self, kind: str, workspace: Workspace, root: Path) -> set[str]:
        """The tags of the steps that ran in a build by a builder with nothing but this cache."""
        words = ("--progress=plain", "--explain", "--cache-from", self.places[kind])
        done = self.run(root, workspace, "build", *words)
        assert done.returncode == 0 and not _COMPLAINT.search(done.stderr), done.stderr
        return missed(done.stderr, kind)

    def run(self, root: Path, workspace: Workspace, *words: str) -> subprocess.CompletedProcess[str]:
        argv = ["--root", str(root), *words, *workspace.words, workspace.context or str(workspace.folder)]
        env = {"PATH": os.environ["PATH"], "HOME": str(self.folder / "home"), **workspace.env}
        done = self.server.run(argv, cwd=workspace.cwd, env=env, stdin=workspace.stdin, umask=workspace.umask)
        assert "Traceback" not in done.stderr, done.stderr
        return done


def missed(text: str, kind: str) -> set[str]:
    """The tags of the steps an explanation says missed; every other one came from the cache of that kind."""
    found, seen = set(), 0
    for line in text.splitlines():
        match = _LINE.match(line)
        if match is None:
            continue
        seen += 1
        if match[2].startswith("miss"):
            found.add(tag_of(match[1]))
        else:
            assert match[3] in (None, kind), line
    assert seen, text
    return found


def tag_of(text: str) -> str:
    """The last word of a step; of a command with a heredoc, of its first line."""
    return text.split(" (")[0].split()[-1]


@contextlib.contextmanager
def open_harness(folder: Path, registry: Registry, busybox: Path) -> Iterator[Harness]:
    """Start all servers; push the bases."""
    for name in ("home", "out", "redis", "http", "s3", "contexts", "git"):
        (folder / name).mkdir()
    with contextlib.ExitStack() as stack:
        redis = stack.enter_context(running_redis(folder / "redis"))
        nginx = stack.enter_context(running_nginx(folder / "http"))
        s3 = stack.enter_context(running_s3(folder / "s3"))
        server = stack.enter_context(ForkServer(folder / "out", FORK_SERVER))
        mark = folder.name.lower()
        places = {
            "registry": f"type=registry,ref={registry.host}/table/cache:{mark}",
            "redis": f"type=redis,url={redis.url}",
            "http": f"type=http,url={nginx.url}/table",
            "s3": f"type=s3,bucket={BUCKET},prefix=table/,{S3_OPTIONS},endpoint_url={s3.url}",
            "dir": f"type=dir,path={folder}/cache",
        }
        places = {kind: f"{place},timeout=60" for kind, place in places.items()}  # machines may be busy
        harness = Harness(folder=folder, server=server, places=places, texts={})
        _make_repositories(folder / "git")
        http = stack.enter_context(_serving(folder / "git", harness.web))
        harness.texts = {"http": http, **_push_bases(harness, f"{registry.host}/table/{mark}", busybox)}
        yield harness


def _push_bases(harness: Harness, prefix: str, busybox: Path) -> dict[str, str]:
    context = harness.folder / "base"
    (context / "bin").mkdir(parents=True)
    shutil.copy(busybox / "rootfs/bin/busybox", context / "bin/busybox")
    for applet in APPLETS:
        (context / "bin" / applet).symlink_to("busybox")
    shutil.copytree(busybox / "rootfs/etc", context / "etc")
    base = f"{prefix}-base:1"
    first = "FROM scratch\nCOPY bin /bin\nCOPY etc /etc\nENV PATH=/bin\n"
    texts = {
        "base": first,
        "labeled": f"FROM {base}\nLABEL other=1\n",
        "same": f"FROM {base}\n",
        "moved": f"FROM {base}\nCMD moved\n",
        "packed": first,
        "grown": f"FROM {base}\nCOPY etc /grown\n",
        "other_env": f"FROM {base}\nENV NEW=1\n",
        "other_user": f"FROM {base}\nUSER root\n",
        "tool_image": f"FROM {base}\nRUN echo tool > /tool\n",
    }
    names = {}
    for name, text in texts.items():
        (context / "Dockerfile").write_text(text)
        workspace = Workspace(folder=context, texts={}, web={}, cwd=context)
        names[name] = f"{prefix}-{name.replace('_', '-')}:1"
        packed = ",compression=zstd" if name == "packed" else ""
        workspace.options("--metadata-file", f"{context}/metadata", "-o", f"type=registry,name={names[name]}{packed}")
        done = harness.run(harness.folder / "bases", workspace, "build")
        assert done.returncode == 0, done.stderr
        if name == "base":
            digest = json.loads((context / "metadata").read_text())["containerimage.digest"]
            names["digest"] = f"{prefix}-base@{digest}"
    return names


# -- files and repositories
# ----------------------------------------------------------------------------------------------


class _Handler(BaseHTTPRequestHandler):
    def __init__(self, folder: Path, web: Mapping[str, Answer], *arguments: object) -> None:
        self._folder = folder
        self._web = web
        super().__init__(*arguments)  # type: ignore[arg-type]  # what socketserver hands over

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        place = self._folder / path.strip("/")
        answer = self._web.get(path)
        if answer is None and ".." not in path and place.is_file():
            answer = Answer(body=place.read_bytes())
        if answer is None:
            self.send_error(404)
            return
        self.send_response(200)
        for name, value in {**answer.headers, "Content-Length": str(len(answer.body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(answer.body)

    do_HEAD = do_GET

    def log_message(self, format: str, *args: object) -> None:
        return None


@contextlib.contextmanager
def _serving(folder: Path, web: Mapping[str, Answer]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, folder, web))
    with serving(server):
        yield f"http://127.0.0.1:{server.server_port}"


def _make_repositories(folder: Path) -> None:
    """repo.git: `main`, at whose commit are the branch `same` and the tag `v2`; `side` one behind. clone.git is the
    same, newer.git has one commit more.
    """
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1"}
    environ |= {f"GIT_{who}_{what}": "x" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    work = folder / "work"

    def git(*words: str, place: Path = work) -> None:
        subprocess.run(["git", "-C", str(place), *words], check=True, capture_output=True, env=environ)

    def publish(name: str) -> None:
        git("clone", "-q", "--bare", str(work), str(folder / name), place=folder)
        git("update-server-info", place=folder / name)

    work.mkdir()
    git("init", "-q", "-b", "main")
    for number in (1, 2, 3):
        (work / "sub").mkdir(exist_ok=True)
        (work / "sub/file").write_text(f"{number}\n")
        git("add", ".")
        git("commit", "-q", "-m", f"{number}")
        if number == 1:
            git("branch", "side")
        if number == 2:
            git("branch", "same")
            git("tag", "v2")
            publish("repo.git")
            publish("clone.git")
    publish("newer.git")
    shutil.rmtree(work)
