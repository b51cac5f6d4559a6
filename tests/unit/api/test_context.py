"""What a build is given to build from: directories, archives, a Dockerfile alone, stdin, the network."""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path
from typing import cast

import pytest

from tests.fakes.tree import memory_tree
from tests.support.tar_members import archive, data
from tiffin.builder.api.inputs.context import MAX_DOCKERFILE_BYTES, BuildContext, ContextOpener
from tiffin.builder.errors import ContextError, UsageError
from tiffin.builder.instructions.ops import GitOrigin, UrlOrigin
from tiffin.builder.plan.plan_options import DirectoryContext, ImageContext, RemoteContext, StageContext
from tiffin.builder.sources.remote_sources import RemoteSources
from tiffin.builder.sources.trees import SourceTree

TEXT = b"FROM scratch\n"
TAR = archive([("Dockerfile", data(TEXT)), ("other", data(b"FROM other\n")), ("dir", {"type": b"5"})])


class Remote:
    """Sources behind an address: files by their URL, one checkout."""

    def __init__(self, files: dict[str, bytes], checkout: Path) -> None:
        self._files = files
        self._checkout = checkout

    def file(self, origin: UrlOrigin) -> SourceTree:
        return memory_tree({origin.filename: self._files[origin.url]})

    def fetched(self, origin: UrlOrigin) -> SourceTree:
        return self.file(origin)

    def checkout(self, origin: GitOrigin) -> Path:
        return self._checkout


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory to build from, and beside it one that a link could lead to."""
    (tmp_path / "ctx").mkdir()
    (tmp_path / "scratch").mkdir()
    (tmp_path / "outside").write_bytes(TEXT)
    return tmp_path


@pytest.fixture
def opener(place: Path) -> ContextOpener:
    remote = Remote({"https://h/c.tar": TAR, "https://h/Dockerfile": TEXT}, place / "ctx")
    return ContextOpener(lambda: cast(RemoteSources, remote), lambda: Path(tempfile.mkdtemp(dir=place / "scratch")))


def given(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


def names(context: BuildContext) -> list[str]:
    tree = cast(SourceTree, context.root)
    return [entry.path for entry in tree.children(".")]


@pytest.mark.parametrize("name", ["Dockerfile", "dockerfile", "Containerfile"])
def test_a_directory_has_one_of_three_names(opener: ContextOpener, place: Path, name: str) -> None:
    (place / "ctx" / name).write_bytes(TEXT)
    found = opener.open(str(place / "ctx"), "")
    assert (found.root, found.dockerfile, found.name, found.ignores) == (place / "ctx", TEXT, name, True)


def test_a_named_file_may_lie_elsewhere(opener: ContextOpener, place: Path) -> None:
    found = opener.open(str(place / "ctx"), str(place / "outside"))
    assert found.dockerfile == TEXT and found.beside == place / "outside"


def test_a_text_stands_for_the_file(opener: ContextOpener, place: Path) -> None:
    found = opener.open(str(place / "ctx"), "", "FROM x")
    assert (found.dockerfile, found.root) == (b"FROM x", place / "ctx")


def test_stdin_is_the_file_an_archive_or_all_there_is(
    opener: ContextOpener, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given(monkeypatch, TEXT)
    assert opener.open(str(place / "ctx"), "-").dockerfile == TEXT
    given(monkeypatch, TEXT)
    alone = opener.open("-", "")
    assert (alone.root, alone.dockerfile) == (None, TEXT)
    given(monkeypatch, TAR)
    whole = opener.open("-", "")
    assert whole.dockerfile == TEXT and names(whole) == ["Dockerfile", "dir", "other"]
    given(monkeypatch, TAR)
    assert opener.open("-", "./other").dockerfile == b"FROM other\n"


def test_an_address_is_an_archive_or_a_dockerfile(opener: ContextOpener) -> None:
    assert names(opener.open("https://h/c.tar", "")) == ["Dockerfile", "dir", "other"]
    assert opener.open("https://h/Dockerfile", "").root is None


def test_a_file_from_an_address_builds_a_directory(opener: ContextOpener, place: Path) -> None:
    found = opener.open(str(place / "ctx"), "https://h/Dockerfile")
    assert (found.dockerfile, found.root) == (TEXT, place / "ctx")


def test_a_repository_has_no_ignore_file_and_leads_nowhere_else(opener: ContextOpener, place: Path) -> None:
    (place / "ctx/Dockerfile").write_bytes(TEXT)
    found = opener.open("https://github.com/a/b.git", "")
    assert (found.dockerfile, found.ignores, found.beside) == (TEXT, False, None)
    (place / "ctx/Dockerfile").unlink()
    (place / "ctx/Dockerfile").symlink_to(place / "outside")
    with pytest.raises(ContextError, match="Dockerfile leads out of"):
        opener.open("https://github.com/a/b.git", "")


@pytest.mark.parametrize(
    ("text", "file", "stdin", "says"),
    [
        ("-", "-", b"", "cannot both come from stdin"),
        ("-", "other", TEXT, "-f other makes no sense"),
        ("-", "missing", TAR, "stdin has no missing"),
        ("-", "dir", TAR, "stdin has no dir"),
        ("-", "", archive([("a", data(b""))]), "stdin has no Dockerfile"),
        ("-", "", b"#" * (MAX_DOCKERFILE_BYTES + 1), "stdin is larger than"),
        ("/missing", "", b"", "/missing is not a directory"),
        ("https://h/c.tar", "-", b"", "cannot be combined with -f -"),
        ("CTX", "", b"", "has no Dockerfile"),
        ("CTX", "nothing", b"", "cannot read Dockerfile nothing"),
    ],
)
def test_what_cannot_be_built_from(
    opener: ContextOpener, place: Path, monkeypatch: pytest.MonkeyPatch, text: str, file: str, stdin: bytes, says: str
) -> None:
    given(monkeypatch, stdin)
    with pytest.raises((ContextError, UsageError), match=says) as error:
        opener.open(text.replace("CTX", str(place / "ctx")), file)
    assert error.value.remedy


def test_named_contexts_of_every_kind(opener: ContextOpener, place: Path) -> None:
    values = {
        "image": "docker-image://alpine:3", "layout": "oci-layout:///l", "stage": "target:build",
        "git": "https://github.com/a/b.git#main", "archive": "https://h/c.tar", "dir": str(place / "ctx"),
    }  # fmt: skip
    found = opener.named(values)
    assert found.contexts["image"] == ImageContext(reference="alpine:3")
    assert found.contexts["layout"] == ImageContext(reference="oci-layout:///l")
    assert found.contexts["stage"] == StageContext(stage="build")
    assert isinstance(found.contexts["git"], RemoteContext)
    assert found.contexts["archive"] == DirectoryContext() == found.contexts["dir"]
    assert found.roots["dir"] == place / "ctx"
    fetch = found.roots["archive"]
    assert callable(fetch)
    assert [entry.path for entry in fetch().children(".")] == ["Dockerfile", "dir", "other"]


def test_a_named_context_that_is_nothing(opener: ContextOpener) -> None:
    with pytest.raises(ContextError, match="--build-context x=/missing is not a directory"):
        opener.named({"x": "/missing"})
    fetch = opener.named({"x": "https://h/Dockerfile"}).roots["x"]
    assert callable(fetch)
    with pytest.raises(ContextError, match="is not a tar archive"):
        fetch()


def part_of(place: Path, members: bytes, **options: object) -> BuildContext:
    (place / "c.tar").write_bytes(members)
    scratch = Path(tempfile.mkdtemp(dir=place / "scratch"))
    remote = Remote({}, place / "ctx")
    opener = ContextOpener(lambda: cast(RemoteSources, remote), lambda: scratch, **options)  # type: ignore[arg-type]
    return opener.open(str(place / "c.tar"), "")


def test_a_directory_of_an_archive_is_the_context_and_its_ignore_file_counts(place: Path) -> None:
    members = archive(
        [
            ("outside", data(b"linked")),
            ("sub", {"type": b"5"}),
            ("sub/Dockerfile", data(TEXT)),
            ("sub/.dockerignore", data(b"*.key\nkeep/*\n!keep/this\n")),
            ("sub/a.key", data(b"secret")),
            ("sub/link", {"type": b"1", "linkname": "outside"}),
            ("sub/twin", {"type": b"1", "linkname": "sub/Dockerfile"}),
            ("sub/keep", {"type": b"5"}),
            ("sub/keep/this", data(b"kept")),
            ("sub/keep/that", data(b"left out")),
        ]
    )
    context = part_of(place, members, directory="sub", reads_ignores=True)
    tree = cast(SourceTree, context.root)
    assert context.dockerfile == TEXT
    assert names(context) == [".dockerignore", "Dockerfile", "keep", "link", "twin"]
    assert [entry.path for entry in tree.children("keep")] == ["keep/this"]
    for name, content in (("link", b"linked"), ("twin", TEXT), ("keep/this", b"kept")):
        entry = tree.lookup(name)
        assert entry is not None
        with tree.opener(entry)() as stream:
            assert stream.read() == content
    assert "a.key" in names(part_of(place, members, directory="sub"))
    with pytest.raises(ContextError, match="has no directory none"):
        part_of(place, members, directory="none")


def test_a_directory_of_a_repository_does_not_lead_out_of_it(place: Path) -> None:
    remote = Remote({}, place / "ctx")
    opener = ContextOpener(lambda: cast(RemoteSources, remote), lambda: place / "scratch", directory="../scratch")
    with pytest.raises(ContextError, match="leads out"):
        opener.open("git+https://h/a", "")
