"""One image for several registries, and one tag from several builders."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from tests.fakes.registry import Fake, fake_registry
from tests.support.commands import Commands
from tests.support.contexts import context_at
from tiffin.builder.api.session import Session
from tiffin.builder.delivery import merged_push
from tiffin.builder.delivery.merged_push import push_merged, tag_of
from tiffin.builder.errors import RegistryError
from tiffin.builder.events import NullSink
from tiffin.builder.oci.reference import Reference
from tiffin.builder.oci.spec import OCI_INDEX, Platform
from tiffin.builder.settings.access import RegistryAccess

TEXT = "FROM base\nCOPY a /a\n"


def test_names_that_can_be_pushed_are_and_a_rerun_brings_the_rest(tiffin_here: Commands, tmp_path: Path) -> None:
    folder = context_at(tmp_path)(TEXT, a="A")
    with fake_registry() as good, fake_registry() as bad:
        names = ("-t", f"{bad.host}/app:1", "-t", f"{good.host}/app:1", "-t", f"{bad.host}/app:2")
        line = ("build", "--progress", "plain", *names, "--push", "-o", f"type=oci,dest={tmp_path}/x.tar", folder)
        shared = ("--cache-to", f"type=dir,path={tmp_path}/cache")
        bad.token_fail, bad.fail = [], [403] * 500
        failed = tiffin_here(*line, *shared, check=False)
        assert failed.code == 1 and "1" in good.manifests and not bad.manifests
        assert f"warning: {bad.host}/app:1 was not pushed: " in failed.err
        assert f"2 of 3 names were not pushed, {bad.host}/app:2 because: " in failed.err
        assert f"pushed {good.host}/app:1@sha256:" in failed.err
        assert (tmp_path / "x.tar").exists() and (tmp_path / "cache").exists(), "other outputs and caches are written"
        bad.fail = []
        count = len(good.sent)
        done = tiffin_here(*line)
        assert sorted(bad.manifests)[:2] == ["1", "2"] and len(good.sent) == count
        assert done.err.count("CACHED") == 1


def test_one_name_is_told_as_before(tiffin_here: Commands, tmp_path: Path) -> None:
    folder = context_at(tmp_path)(TEXT, a="A")
    with fake_registry() as bad:
        bad.fail = [403] * 100
        failed = tiffin_here("build", "-q", "-t", f"{bad.host}/app:1", "--push", folder, check=False)
        assert failed.code == 1 and "names were not pushed" not in failed.err and "403" in failed.err


def test_all_tags_of_a_repository_are_pushed(tiffin_here: Commands, tmp_path: Path) -> None:
    folder = context_at(tmp_path)(TEXT, a="A")
    with fake_registry() as registry:
        tiffin_here("build", "-q", "-t", f"{registry.host}/app:1", "-t", f"{registry.host}/app:2", folder)
        tiffin_here("tag", f"{registry.host}/app:1", f"{registry.host}/other:3")
        pushed = tiffin_here("push", "-a", f"{registry.host}/app").out
        assert pushed.count("app@sha256:") == 2 and {"1", "2"} <= registry.manifests.keys()
        assert "3" not in registry.manifests
        for words, wanted in ((("-a", f"{registry.host}/app:1"), "can't be used"), (("-a", "none"), "no image here"),
            (("-a", f"{registry.host}/app", "x"), "as they are")):  # fmt: skip
            assert wanted in tiffin_here("push", *words, check=False).err


def test_all_tags_of_a_repository_are_pulled(tiffin_here: Commands, tmp_path: Path) -> None:
    folder = context_at(tmp_path)(TEXT, a="A")
    with fake_registry(tags=["1", "2", f"sha256-{'0' * 64}"]) as registry:
        names = (f"{registry.host}/app:1", f"{registry.host}/app:2")
        tiffin_here("build", "-q", "--push", "-t", names[0], "-t", names[1], folder)
        tiffin_here("rmi", *names)
        pulled = tiffin_here("pull", "-a", f"{registry.host}/app")
        assert pulled.out.split() == list(names) and pulled.err.count("Digest: sha256:") == 2
        refused = tiffin_here("pull", "-a", names[0], check=False)
        assert refused.code == 2 and "can't be used" in refused.err
    with fake_registry(tags=[]) as empty:
        assert "has no tags" in tiffin_here("pull", "-a", f"{empty.host}/app", check=False).err


def test_several_names_are_pushed_each_and_two_images_are_not_mixed_up(tiffin_here: Commands, tmp_path: Path) -> None:
    folder = context_at(tmp_path)(TEXT, a="A")
    with fake_registry() as one, fake_registry() as two:
        names = (f"{one.host}/app:1", f"{two.host}/app:1")
        tiffin_here("build", "-q", "-t", names[0], "-t", names[1], folder)
        tiffin_here("push", *names)
        assert "1" in one.manifests and "1" in two.manifests
        tiffin_here("push", names[0], f"{two.host}/app:2")
        assert "2" in two.manifests, "a name that no image here has is a destination"
        (Path(folder) / "a").write_text("B")
        tiffin_here("build", "-q", "-t", f"{two.host}/app:3", "-t", "short", folder)
        refused = tiffin_here("push", names[0], f"{two.host}/app:3", check=False)
        assert refused.code == 2 and "app:3 is another image here" in refused.err and "3" not in two.manifests
        tiffin_here("push", "short", names[1])
        assert two.manifests["1"] != one.manifests["1"]
        failed = tiffin_here("push", f"{one.host}/none:1", names[0], f"{two.host}/app:3", check=False)
        assert failed.code == 1 and "3" in two.manifests, "the others are pushed"


def platforms_of(registry: Fake, tag: str) -> list[str]:
    rows = json.loads(registry.manifests[tag][0])["manifests"]
    return ["/".join(filter(None, (row["platform"]["architecture"], row["platform"].get("variant")))) for row in rows]


@pytest.mark.thorough
def test_a_platform_is_added_to_the_index_that_is_there(tiffin_here: Commands, tmp_path: Path) -> None:
    make = context_at(tmp_path)
    with fake_registry() as registry:
        name = f"{registry.host}/app:1"

        def build(platform: str, content: str, *words: str) -> None:
            folder = make("FROM scratch\nCOPY a /\n", a=content)
            tiffin_here("build", "-q", "--platform", platform, "-t", name, "--push", *words, folder)

        build("linux/s390x", "A")  # as a manifest alone
        build("linux/arm64", "A", "--merge")
        assert platforms_of(registry, "1") == ["arm64", "s390x"]
        build("linux/amd64,linux/arm/v6", "A", "--merge")
        assert platforms_of(registry, "1") == ["amd64", "arm/v6", "arm64", "s390x"]
        before = json.loads(registry.manifests["1"][0])["manifests"]
        build("linux/arm64", "B", "--merge")
        after = json.loads(registry.manifests["1"][0])["manifests"]
        assert [old == new for old, new in zip(before, after, strict=True)] == [True, True, False, True]
        assert registry.manifests["1"][1] == OCI_INDEX and "1.linux-arm-v6" in registry.manifests
        refused = tiffin_here("build", "--merge", make(TEXT, a="A"), check=False)
        assert refused.code == 2 and "--merge is about a push" in refused.err


@pytest.mark.thorough
def test_many_builders_at_once_lose_nothing(
    tiffin_here: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merged_push, "MAX_PAUSE_SECONDS", 0.02)
    make = context_at(tmp_path)
    texts = ("amd64", "arm64", "s390x", "riscv64")
    for text in texts:
        folder = make("FROM scratch\nCOPY a /\n", a=text)
        tiffin_here("build", "-q", "--platform", f"linux/{text}", "-t", f"x:{text}", folder)
    with fake_registry() as registry:
        reference = Reference.parse(f"{registry.host}/app:1")
        errors = []

        def work(text: str) -> None:
            session = Session(tiffin_here.root)
            remote = session.remote(NullSink(), RegistryAccess())
            image = session.store.find(f"x:{text}")
            mine = {Platform.parse(text): lambda place: remote.push(image, place)}
            try:
                push_merged(remote.client(registry.host), reference, mine, {})
            except RegistryError as exc:
                errors.append(exc)

        threads = [threading.Thread(target=work, args=(text,)) for text in texts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == [] and platforms_of(registry, "1") == sorted(texts)


def test_tags_that_grow_too_long_are_told() -> None:
    with pytest.raises(RegistryError, match="too long"):
        tag_of(Reference.parse(f"app:{'a' * 120}"), Platform.parse("linux/arm64"))
    assert str(tag_of(Reference.parse("h.example/app:1"), Platform.parse("linux/arm/v7"))) == (
        "h.example/app:1.linux-arm-v7"
    )


def test_a_tag_is_never_pushed_by_digest(tiffin_here: Commands, tmp_path: Path) -> None:
    make = context_at(tmp_path)
    output = "type=image,push=true,push-by-digest=true"
    with fake_registry() as registry:
        for name in ("app:1", "app:latest", f"app@sha256:{'0' * 64}"):
            for words in (
                ("-t", f"{registry.host}/{name}", "-o", output),
                ("-o", f"{output},name={registry.host}/{name}"),
            ):
                refused = tiffin_here("build", *words, make(TEXT, a="A"), check=False)
                assert (refused.code, "cannot push tagged reference" in refused.err) == (2, True), words
        assert not registry.manifests
        tiffin_here("build", "-t", f"{registry.host}/app", "-o", output, make(TEXT, a="A"))
        assert [tag for tag in registry.manifests if not tag.startswith("sha256:")] == []
        assert registry.manifests
