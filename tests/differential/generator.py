"""Random Dockerfiles over a handful of names, so that trees, links, archives and instructions meet.

`example(seed)` gives the same build for the same seed. Its files lie in one folder of the context (`FOLDER`), which
stands before every source, so that many builds can share one context. Every file has a fixed time.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from tests.conformance.nodes import Node, Table

FOLDER = "in"  # stands for the folder of a build, and in its stages' names
BASE = "differential"
NAMES = ("a", "b", "c", "l")
MODES_OF_DIRECTORIES = (0o755, 0o755, 0o700, 0o1777, 0o2775, 0o2755, 0o750)
MODES_OF_FILES = (0o644, 0o644, 0o600, 0o755, 0o4755, 0o2755, 0o664)
OWNERS = ((0, 0), (0, 0), (33, 33), (1000, 1000), (0, 33), (1000, 10))
TIMES = (1_000_000_000, 1_200_000_000, 1_400_000_000)
TARGETS = ("a", "b", "c", "../a", "../b", "a/b", "/w/a", "/w/b", "/w", ".", "..", "gone", "/gone", "../../w/c", "/e/a")
DESTINATIONS = ("/w/", "/w", "/w/a", "/w/a/", "/w/b/", "/w/b", "/w/l/", "/w/a/b/", "/w/n", "/w/n/", "/w/l/n/m/", "/e/",
                "/e/l/", "/s/", "/s/n/", "/s/n/m", "/l/", "/l/n/", "/t/", "a/", "n/m/", ".", "./")  # fmt: skip
CHOWNS = ("33:33", "www", "1000", "alice:www", "1000:10", "0:33")
NUMBERS = ("33:33", "1000", "1000:10", "0:33")
LINK_DESTINATIONS = ("/n/", "/w/new/", "/t/new/", "/n/m/", "/n/m/o/", "/w/new/x/")
CHMODS = ("755", "2755", "600", "1755", "4750", "0644", "u=rwX,go=rX", "g+w", "+x", "u+s", "g+s,o-r")
EXCLUDES = ("a", "b", "*/a", "**/b", "a/*", "!a/b", "l", "c*")
MAX_NODES = 7
BASE_TREE: Table = {
    "w/": {"mtime": TIMES[0]},
    "w/f": {"text": "base", "mtime": TIMES[0]},
    "w/h": {"hard": "w/f"},
    "w/a/": {"mode": "0700", "uid": 1000, "gid": 1000, "mtime": TIMES[0]},
    "w/a/b": {"text": "b", "mode": "0600", "uid": 1000, "gid": 1000, "mtime": TIMES[0]},
    "w/l": {"link": "../t", "mtime": TIMES[0]},
    "s/": {"mode": "2775", "uid": 33, "gid": 44, "mtime": TIMES[0]},
    "s/a/": {"mode": "2755", "gid": 44, "mtime": TIMES[0]},
    "t/": {"mode": "1777", "mtime": TIMES[0]},
    "t/c/": {"uid": 33, "gid": 33, "mtime": TIMES[0]},
    "t/l": {"link": "c", "mtime": TIMES[0]},
    "e/": {"mode": "0750", "uid": 1000, "gid": 33, "mtime": TIMES[0]},
    "e/l": {"link": "/w/a", "mtime": TIMES[0]},
    "l": {"link": "w", "mtime": TIMES[0]},
}
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A build: the text with `{name}` for stage prefix and folder, and what its folder holds."""

    seed: int
    dockerfile: str
    files: dict[str, Node]
    archives: dict[str, list[tuple[str, Node]]]

    def text(self, name: str) -> str:
        """The stages under the prefix `name`; the last is called so."""
        return self.dockerfile.replace("{name}", name)


class _Maker:
    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.files: dict[str, Node] = {}
        self.archives: dict[str, list[tuple[str, Node]]] = {}

    def one_in(self, count: int) -> bool:
        return self.random.randrange(count) == 0

    def pick(self, values: Sequence[T]) -> T:
        return self.random.choice(values)

    # -- trees ---------------------------------------------------------------------------------------------------------

    def node(self, kind: str) -> Node:
        uid, gid = self.pick(OWNERS)
        mode = {"dir": MODES_OF_DIRECTORIES, "link": (0o777,)}.get(kind, MODES_OF_FILES)
        return Node(
            kind=kind,
            mode=self.pick(mode),
            uid=uid,
            gid=gid,
            mtime=self.pick(TIMES),
            data=self.pick((b"", b"x", b"yy", b"zzz\n")) if kind == "file" else b"",
            target=self.pick(TARGETS) if kind == "link" else "",
        )

    def tree(self, prefix: str = "") -> dict[str, Node]:
        """Directories before what they hold; all parents are there."""
        nodes: dict[str, Node] = {}
        for _ in range(self.random.randrange(2, MAX_NODES)):
            parents = ["", *(path for path, node in nodes.items() if node.kind == "dir")]
            parent = self.pick(parents)
            path = f"{parent}/{self.pick(NAMES)}".strip("/")
            if path in nodes:
                continue
            kind = self.pick(("dir", "dir", "file", "file", "link", "hard", "fifo" if self.one_in(4) else "file"))
            files = [name for name, node in nodes.items() if node.kind == "file"]
            if kind == "hard" and files:
                nodes[path] = Node(kind="hard", mode=0o644, target=self.pick(files))
            else:
                nodes[path] = self.node("file" if kind == "hard" else kind)
        return {f"{prefix}{path}": self.below(prefix, node) for path, node in nodes.items()}

    def below(self, prefix: str, node: Node) -> Node:
        return replace(node, target=f"{prefix}{node.target}") if node.kind == "hard" else node

    def archive(self) -> list[tuple[str, Node]]:
        """Members of any order and shape: without directories, through links, twice, with other types."""
        members: list[tuple[str, Node]] = []
        leave_out = self.pick((0, 0, 2, 1))  # which directory entries: all, one in two, none
        for _ in range(self.pick((1, 1, 2))):
            for path, node in self.tree().items():
                if any(path.startswith(f"{file}/") for file in self.plain(members)) and not self.one_in(20):
                    continue
                if node.kind == "hard" and node.target not in self.plain(members):
                    continue
                if node.kind == "dir" and (leave_out == 1 or (leave_out == 2 and self.one_in(2))):
                    continue
                members.append((path, node))
        for _ in range(self.random.randrange(3)):
            path = "/".join(self.pick(NAMES) for _ in range(self.random.randrange(1, 4)))
            kind = self.pick(("file", "file", "dir", "hard"))
            known = [name for name, node in members if node.kind in ("file", "hard")] + ["f"] * self.one_in(4)
            if kind == "hard" and not known:
                continue
            node = Node(kind="hard", mode=0o644, target=self.pick(known)) if kind == "hard" else self.node(kind)
            if node.target != path and not any(path.startswith(f"{file}/") for file in self.plain(members)):
                members.append((path, node))
        if self.one_in(3):
            members = [(f"./{path}", node) for path, node in members]
        if self.one_in(60):
            members.append((self.pick((".wh.a", "b/.wh.c", ".wh..wh..opq")), self.node("file")))
        return members

    def plain(self, members: Sequence[tuple[str, Node]]) -> list[str]:
        """Names that hold nothing, as files of other types have them."""
        kinds = {path: node.kind for path, node in members}
        return [path for path, kind in kinds.items() if kind not in ("dir", "link")]

    # -- instructions --------------------------------------------------------------------------------------------------

    def flags(self, *, numbers: bool = False) -> list[str]:
        flags = []
        if self.one_in(3):
            flags.append(f"--chown={self.pick(NUMBERS if numbers else CHOWNS)}")
        if self.one_in(4):
            flags.append(f"--chmod={self.pick(CHMODS)}")
        return flags

    def source_folder(self) -> str:
        name = f"t{len({path.split('/')[0] for path in self.files})}"
        self.files[name] = Node(kind="dir", mode=self.pick(MODES_OF_DIRECTORIES), mtime=self.pick(TIMES))
        self.files |= self.tree(f"{name}/")
        return name

    def copy(self, stages: int) -> str:
        is_link = self.one_in(8)
        flags = [*self.flags(numbers=is_link), *["--link"] * is_link]
        shallow = LINK_DESTINATIONS[:3] if is_link and len(flags) > 1 else LINK_DESTINATIONS
        dest = self.pick(shallow if is_link else DESTINATIONS)
        if stages and self.one_in(2):
            source = self.pick(("/w", "/w/", "/s", "/w/a", "/w/*", "/w/l", "/e", "/t/*", "/w/f", "/s/a/"))
            return " ".join(["COPY", *flags, f"--from={{name}}s{self.random.randrange(stages)}", source, dest])
        folder = self.source_folder()
        below = [path.removeprefix(folder) for path, node in self.files.items() if path.startswith(f"{folder}/")]
        deep = ["/*/*"] * any(path.count("/") > 1 for path in below)
        source = self.pick(("", "/", "/*", self.pick(below), self.pick(below), *deep, f"/[{self.pick(below)[1]}]*"))
        if self.one_in(7) and source in ("", "/"):
            flags.append(f"--exclude={self.pick(EXCLUDES)}")
        return " ".join(["COPY", *flags, f"{{name}}/{folder}{source}", dest])

    def add(self) -> str:
        sources = []
        for _ in range(self.pick((1, 1, 1, 2, 3))):
            name = f"x{len(self.archives)}.tar"
            self.archives[name] = self.archive()
            sources.append(f"{{name}}/{name}")
        if self.one_in(6):
            sources.append(f"{{name}}/{self.source_folder()}")
        dest = self.pick([dest for dest in DESTINATIONS if dest.endswith(("/", "."))])
        return " ".join(["ADD", *self.flags(), *sources, dest])

    def run(self) -> str:
        path, other = (f"/{self.pick('wwwest')}/{self.pick(NAMES)}" for _ in range(2))
        operations: Sequence[Callable[[], str]] = (
            lambda: f"mkdir -p {path}/{self.pick(NAMES)}",
            lambda: f"rm -rf {path}",
            lambda: f"ln -sfn {self.pick(TARGETS)} {path}",
            lambda: f"ln -f {other} {path}",
            lambda: f"mv -f {path} {other}",
            lambda: f"chmod {self.pick(('2775', '700', '1777', '4755', '644'))} {path}",
            lambda: f"chown -h {self.pick(('33:33', '1000', '0:10'))} {path}",
            lambda: f"echo {self.pick(NAMES)} > {path}",
            lambda: f"echo {self.pick(NAMES)} >> {path}",
            lambda: f"cp -a {path} {other}",
            lambda: f"rm -rf {path}; mkdir {path}; echo n > {path}/c",
            lambda: f"touch -h -d @{self.pick(TIMES)} {path}",
        )
        texts = [self.pick(operations)() for _ in range(self.random.randrange(1, 4))]
        return "RUN { " + "; ".join(texts) + "; } 2>/dev/null; true"

    def stage(self, number: int, *, with_run: bool) -> list[str]:
        lines = []
        user = ""
        for _ in range(self.random.randrange(1, 5)):
            match self.random.randrange(9 if with_run else 8):
                case 0 | 1 | 2:
                    lines.append(self.add())
                case 3 | 4 | 5:
                    lines.append(self.copy(number))
                case 6 if lines:
                    user = self.pick(("1000", "www", "alice:www", "root"))
                    lines.append(f"USER {user}")
                case 7:
                    lines.append(f"WORKDIR {self.pick(('/w', '/w/a', '/s/n', '/l/n', 'n/m', '/t/x', '/w/l/x'))}")
                case 8:
                    user = self.pick((user, user, "root", "1000", "www", "alice:www"))
                    lines += [*([f"USER {user}"] if user else []), self.run()]
        return lines or [self.add()]


def example(seed: int) -> Example:
    """The build of a seed."""
    maker = _Maker(seed)
    lines: list[str] = []
    count = maker.pick((1, 1, 2))
    with_run = maker.one_in(4)
    for number in range(count):
        last = number == count - 1
        lines.append(f"FROM {BASE} AS {{name}}{'' if last else f's{number}'}")
        lines += maker.stage(number, with_run=with_run)
    return Example(seed=seed, dockerfile="\n".join(lines) + "\n", files=maker.files, archives=maker.archives)
