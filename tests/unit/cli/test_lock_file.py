"""Lock files: one form, read strictly; what they say of the sources of a plan."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes.images import PLATFORM, FakeImages, base_image
from tests.support.commands import Commands
from tiffin.builder.dockerfile.parser import parse
from tiffin.builder.errors import DockerfileError, TiffinError, UsageError
from tiffin.builder.instructions.ops import CopyOp, GitOrigin, UrlOrigin
from tiffin.builder.lock.lockfile import Lock, LockedImage, read_lock, write_lock
from tiffin.builder.lock.pins import Gatherer, Locked
from tiffin.builder.oci.spec import Platform
from tiffin.builder.plan.plan_options import ImageContext, PlanOptions, RemoteContext
from tiffin.builder.plan.planner import make_plan
from tiffin.cache.foundation.frozen import replace

DIGEST, OTHER = "sha256:" + "a" * 64, "sha256:" + "b" * 64
COMMIT = "c" * 40
IMAGE = LockedImage(name="base", resolved="docker.io/library/base:latest", digest=OTHER, manifests={PLATFORM: DIGEST})
LOCK = Lock(
    platforms=(PLATFORM, Platform.parse("arm64")),
    images={"base": IMAGE},
    commits={("https://h.example/r.git", "main"): COMMIT, ("https://h.example/r.git", ""): COMMIT},
    files={("https://h.example/f", ""): DIGEST},
    syntaxes={"docker/dockerfile:1": "", 'odd"name\x7f': DIGEST},
)


def test_it_reads_what_it_wrote(tmp_path: Path) -> None:
    path = tmp_path / "Dockerfile.lock"
    write_lock(path, LOCK)
    assert read_lock(path) == LOCK
    first = path.read_text()
    write_lock(path, replace(LOCK, commits=dict(reversed(list(LOCK.commits.items())))))
    assert path.read_text() == first, "one form, whatever the order"
    assert [item.name for item in tmp_path.iterdir()] == ["Dockerfile.lock"]
    assert read_lock(tmp_path / "none") is None
    with pytest.raises(TiffinError, match="cannot write"):
        write_lock(tmp_path / "no/Dockerfile.lock", LOCK)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("schema = 2\nplatforms = []", "schema 2 is not known"),
        ("platforms = []", "schema None is not known"),
        ("schema = 1", "'platforms' is missing"),
        ("schema = 1\nplatforms = []\nother = 1", '"other" is unknown'),
        ("schema = 1\nplatforms = []\n[image]", "image is not a list"),
        ('schema = 1\nplatforms = []\n[[url]]\nurl = "u"\ndigest = "sha256:1"', "digest"),
        ('schema = 1\nplatforms = []\n[[git]]\nurl = "u"\nref = ""\ncommit = "main"', '"main" is not a valid commit'),
        ('schema = 1\nplatforms = []\n[[git]]\nurl = 1\nref = ""\ncommit = "main"', "url of .*git.* is not a text"),
        ("schema = 1\nplatforms = []\n[[syntax]]\nnames = 1", '"names" of .*syntax.* is unknown'),
        ('schema = 1\nplatforms = ["nowhere"]', "nowhere"),
        ("schema = ", "Invalid value"),
    ],
)
def test_what_is_not_a_lock_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "lock").write_text(text)
    with pytest.raises(UsageError, match=reason) as caught:
        read_lock(tmp_path / "lock")
    assert str(tmp_path / "lock") in str(caught.value) and "run tiffin lock" in str(caught.value)


TEXT = """# syntax=docker/dockerfile:1
FROM base
ADD https://u:p@h.example/f /
ADD https://h.example/r.git#main /r/
"""
PINNED = f"docker.io/library/base:latest@{DIGEST}"


def options(lock: Lock) -> PlanOptions:
    return PlanOptions(platform=PLATFORM, source_rules=Locked(lock, "Dockerfile.lock"))


def test_a_plan_has_what_is_locked() -> None:
    images = FakeImages({PINNED: base_image("pinned", "one")})
    plan = make_plan(parse(TEXT.encode(), "Dockerfile"), options(LOCK), images.resolve)
    assert [image.name for image in plan.images.values()] == ["pinned"]
    file, repository = (step.op for step in plan.stages[0].steps)
    assert isinstance(file, CopyOp) and isinstance(repository, CopyOp)
    assert file.origins() == (UrlOrigin(url="https://u:p@h.example/f", filename="f", checksum=DIGEST),)
    assert repository.origins() == (GitOrigin(url="https://h.example/r.git", ref=COMMIT),)


@pytest.mark.parametrize(
    ("lock", "error"),
    [
        (replace(LOCK, images={}), "Dockerfile:2: base is not in Dockerfile.lock; run tiffin lock"),
        (
            replace(LOCK, images={"base": replace(IMAGE, manifests={})}),
            f"Dockerfile:2: base for {PLATFORM} is not in Dockerfile.lock; run tiffin lock --platform {PLATFORM}",
        ),
        (replace(LOCK, files={}), "Dockerfile:3: https://h.example/f is not in Dockerfile.lock; run tiffin lock"),
        (replace(LOCK, commits={}), "Dockerfile:4: https://h.example/r.git is not in Dockerfile.lock; run tiffin lock"),
        (replace(LOCK, syntaxes={}), "Dockerfile:1: syntax=docker/dockerfile:1 is not in Dockerfile.lock"),
    ],
)
def test_what_is_not_locked_is_an_error_with_its_line(lock: Lock, error: str) -> None:
    images = FakeImages({PINNED: base_image("pinned", "one")})
    with pytest.raises(DockerfileError) as caught:
        make_plan(parse(TEXT.encode(), "Dockerfile"), options(lock), images.resolve)
    assert str(caught.value).startswith(error)


def test_a_checksum_that_says_something_else() -> None:
    text = f"FROM scratch\nADD --checksum={OTHER} https://h.example/f /\n"
    with pytest.raises(DockerfileError, match=r"has another digest in Dockerfile.lock than in its --checksum"):
        make_plan(parse(text.encode(), "Dockerfile"), options(LOCK), FakeImages({}).resolve)


def test_contexts_are_locked_as_what_they_are() -> None:
    asked = replace(
        options(LOCK),
        contexts={
            "one": ImageContext(reference="base"),
            "two": RemoteContext(origin=GitOrigin(url="https://h.example/r.git")),
            "made": ImageContext(reference="built://app"),
        },
    )
    names = {PINNED: base_image("pinned", "one"), "built://app": base_image("built", "two")}
    plan = make_plan(
        parse(b"FROM one\nCOPY --from=two / /\nCOPY --from=made / /\n", "Dockerfile"), asked, FakeImages(names).resolve
    )
    assert sorted(image.name for image in plan.images.values()) == ["built", "pinned"]
    op = plan.stages[0].steps[0].op
    assert isinstance(op, CopyOp) and op.origins() == (GitOrigin(url="https://h.example/r.git", ref=COMMIT),)


def test_gathering_keeps_what_is_there_and_tells_what_is_not() -> None:
    images = FakeImages({PINNED: base_image("pinned", "one"), "base": base_image("base", "two")})
    empty, kept, renewed = Gatherer(Lock()), Gatherer(LOCK), Gatherer(LOCK, ["base"])
    for gatherer in (empty, kept, renewed):
        make_plan(
            parse(TEXT.encode(), "Dockerfile"), PlanOptions(platform=PLATFORM, source_rules=gatherer), images.resolve
        )
    assert [(item.what, str(item.span)) for item in empty.missing] == [
        ("syntax=docker/dockerfile:1", "Dockerfile:1"),
        (f"base for {PLATFORM}", "Dockerfile:2"),
        ("https://h.example/f", "Dockerfile:3"),
        ("https://h.example/r.git", "Dockerfile:4"),
    ]
    assert kept.missing == renewed.missing == []
    assert kept.images == {("base", PLATFORM): PINNED} and renewed.images == {("base", PLATFORM): "base"}


def test_the_command_writes_checks_and_uses_it(tiffin_here: Commands, tmp_path: Path) -> None:
    folder = tmp_path / "context"
    folder.mkdir()
    (folder / "Dockerfile").write_text("FROM base AS one\nFROM scratch\nCOPY --from=one /srv /srv\n")
    assert tiffin_here("build", "--locked", folder, check=False).code == 2
    assert tiffin_here("lock", "--check", folder, check=False).code == 1
    assert tiffin_here("lock", folder).out.strip() == str(folder / "Dockerfile.lock")
    written = (folder / "Dockerfile.lock").read_text()
    assert tiffin_here("lock", "--check", folder).out == ""
    tiffin_here("build", "--locked", "-q", folder)
    (folder / "Dockerfile").write_text("FROM scratch\n")
    assert "base is not used" in tiffin_here("lock", "--check", folder, check=False).out
    (folder / "Dockerfile").write_text("FROM scratch\nADD missing /\n")
    frozen = tiffin_here("build", "--frozen", folder, check=False)
    assert frozen.code == 1
    assert "has nothing of that name; it has base" in tiffin_here("lock", "--update=x", folder, check=False).err
    tiffin_here("lock", folder)
    assert "[[image]]" in written and "[[image]]" not in (folder / "Dockerfile.lock").read_text()


@pytest.mark.parametrize(
    ("context", "error"),
    [
        ("https://h.example/r.git#main", "names no commit; write it with #COMMIT"),
        ("https://h.example/c.tar?sig=s3cret", "the context https://h.example/c.tar may change"),
        ("s3://bucket/c.tar", "may change"),
    ],
)
def test_contexts_that_may_change_are_refused(tiffin_here: Commands, context: str, error: str) -> None:
    done = tiffin_here("build", "--locked", context, check=False)
    assert done.code == 2 and error in done.err and "s3cret" not in done.err
