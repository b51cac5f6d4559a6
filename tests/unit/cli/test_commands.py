"""The commands that need no sandbox, whole: build without RUN, images and what is done to them, registries, caches."""

from __future__ import annotations

import gc
import hashlib
import io
import json
import stat
import tarfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fakes.files import file_server
from tests.fakes.registry import PASSWORD, USER, Fake, fake_registry
from tests.support.commands import Commands
from tests.support.contexts import context_at
from tests.support.minimal_image import layer, write_image

# connections are kept for as long as the process lives, which in a test is not the command's
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")
Make = Callable[..., Path]
TEXT = 'FROM base\nLABEL kind=test\nCOPY a /srv/a\nWORKDIR /w\nCMD ["sh"]\n'


@pytest.fixture
def make(tmp_path: Path) -> Make:
    return context_at(tmp_path)


@pytest.fixture
def built(tiffin_here: Commands, make: Make) -> str:
    """The id of an image called app."""
    return tiffin_here("build", "-q", "-t", "app:1", make(TEXT, a="A")).out.strip()


@pytest.fixture
def registry() -> Iterator[Fake]:
    with fake_registry() as fake:
        gc.freeze()  # the collection looks at what the test made alone
        yield fake
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()


def inspect(tiffin: Commands, name: str) -> dict[str, object]:
    (document,) = json.loads(tiffin("inspect", name).out)
    assert isinstance(document, dict)
    return document


# -- build
# -----------------------------------------------------------------------------------------------------------------


def test_a_build_says_its_steps_on_stderr_and_the_id_on_stdout(tiffin_here: Commands, make: Make) -> None:
    done = tiffin_here("build", "--progress", "plain", "-t", "app", make(TEXT, a="A"))
    assert done.out.startswith("sha256:") and len(done.out.split()) == 1
    assert "[2/3] COPY a /srv/a" in done.err and "CACHED" not in done.err
    again = tiffin_here("build", "--progress", "plain", "-t", "app", make(TEXT, a="A"))
    assert again.out == done.out and "CACHED" in again.err
    anew = tiffin_here("build", "--progress", "plain", "--no-cache", "-t", "app", make(TEXT, a="A"))
    assert "CACHED" not in anew.err


def test_results_are_files_for_scripts(tiffin_here: Commands, make: Make, tmp_path: Path) -> None:
    results = ("--iidfile", tmp_path / "id", "--metadata-file", tmp_path / "meta", "--profile", tmp_path / "profile")
    done = tiffin_here("build", *results, "-t", "app:1", "-t", "app:2", make(TEXT, a="A"))
    assert (tmp_path / "id").read_text() == done.out.strip()
    metadata = json.loads((tmp_path / "meta").read_text())
    assert metadata["containerimage.config.digest"] == done.out.strip()
    assert metadata["image.name"] == "docker.io/library/app:1,docker.io/library/app:2"
    assert '"plan"' in (tmp_path / "profile").read_text()


@pytest.mark.thorough
@pytest.mark.parametrize("kind", ["oci", "docker", "tar"])
@pytest.mark.parametrize("dest", ["file", "-"])
def test_outputs_to_a_file_or_stdout(tiffin_here: Commands, make: Make, tmp_path: Path, kind: str, dest: str) -> None:
    path = tmp_path / "out.tar" if dest == "file" else "-"
    done = tiffin_here("build", "-t", "app", "-o", f"type={kind},dest={path}", make(TEXT, a="A"))
    data = (tmp_path / "out.tar").read_bytes() if dest == "file" else done.raw
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        names = set(archive.getnames())
    expected = {"oci": "index.json", "docker": "manifest.json", "tar": "srv/a"}[kind]
    assert expected in names


def test_a_directory_has_the_files(tiffin_here: Commands, make: Make, tmp_path: Path) -> None:
    tiffin_here("build", "-o", tmp_path / "out", make(TEXT, a="A"))
    assert (tmp_path / "out/srv/a").read_text() == "A" and (tmp_path / "out/bin/ash").is_symlink()


def test_several_platforms_make_an_index(tiffin_here: Commands, make: Make, tmp_path: Path) -> None:
    folder = make("FROM scratch\nARG TARGETARCH\nCOPY a-$TARGETARCH /a\n", **{"a-amd64": "x", "a-arm64": "y"})
    words = (
        "--platform",
        "linux/amd64,linux/arm64",
        "--annotation",
        "index:who=me",
        "-o",
        f"type=oci,dest={tmp_path}/o",
    )
    done = tiffin_here("build", "-t", "multi", *words, folder)
    with tarfile.open(tmp_path / "o") as archive:
        top = archive.extractfile("index.json")
        assert top is not None
        (entry,) = json.loads(top.read())["manifests"]
        index = archive.extractfile(f"blobs/{entry['digest'].replace(':', '/')}")
        assert index is not None
        document = json.loads(index.read())
    assert [item["platform"]["architecture"] for item in document["manifests"]] == ["amd64", "arm64"]
    assert document["annotations"] == {"who": "me"} and done.out.strip() == entry["digest"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--push",), "pushing needs a name"),
        (("--annotation", "index:a=b"), "need an image of several platforms"),
        (("--iidfile", "x", "-o", "dir"), "--iidfile needs an image"),
        (("-o", "type=oci,dest=a,compression=zstd", "-o", "type=oci,dest=b"), "want different compressions"),
        (("--platform", "a/b/c/d"), "platform"),
        (("-f", "missing"), "missing"),
        (("--build-arg", "A=1", "--build-context", "x"), "x"),
        (("--timestamp", "soon"), "soon"),
        (("--secret", "id=k,src=/none"), "/none"),
        (("--cache-from", "type=what"), "what"),
        (("--ulimit", "x"), "x"),
        (("--add-host", "x"), "x"),
        (("--progress", "loud"), "loud"),
        (("--pull=sometimes",), "sometimes"),
        (("--target", "none"), "target stage"),
    ],
)
def test_wrong_options_are_told_before_anything_is_made(
    tiffin_here: Commands,
    make: Make,
    words: tuple[str, ...],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    done = tiffin_here("build", *words, make(TEXT, a="A"), check=False)
    assert done.code and says in done.err
    assert "app" not in tiffin_here("images").out


def test_contexts_of_every_kind(tiffin_here: Commands, make: Make, tmp_path: Path) -> None:
    folder = make("FROM scratch\nCOPY a /a\nCOPY --from=other b /b\nCOPY --from=img /srv/page /c\n", a="A")
    (tmp_path / "other").mkdir()
    (tmp_path / "other/b").write_text("B")
    contexts = ("--build-context", f"other={tmp_path}/other", "--build-context", "img=docker-image://base")
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        tar.add(folder / "Dockerfile", "Dockerfile")
        tar.add(folder / "a", "a")
    from_directory = tiffin_here("build", "-q", "--timestamp", "0", *contexts, folder).out
    from_stdin = tiffin_here("build", "-q", "--timestamp", "0", *contexts, "-", stdin=archive.getvalue()).out
    assert from_directory == from_stdin
    with file_server() as server:
        server.files["/c.tar.gz"] = archive.getvalue()
        assert tiffin_here("build", "-q", "--timestamp", "0", *contexts, f"{server.address}/c.tar.gz").out == from_stdin
        server.files["/Dockerfile"] = b"FROM base\nLABEL by=url\n"
        assert tiffin_here("build", "-q", f"{server.address}/Dockerfile").out
    text = b"FROM scratch\nCOPY --from=base /srv/page /p\n"
    assert (
        tiffin_here("build", "-q", "-", stdin=text).out == tiffin_here("build", "-q", "-f", "-", folder, stdin=text).out
    )
    tiffin_here("save", "base", "-o", tmp_path / "base.tar")
    (tmp_path / "layout").mkdir()
    with tarfile.open(tmp_path / "base.tar") as saved:
        saved.extractall(tmp_path / "layout")
    layout = make("FROM lay\nCOPY a /a\n", name="second", a="A")
    tiffin_here("build", "-q", "--build-context", f"lay=oci-layout://{tmp_path}/layout", layout)


def test_add_fetches_a_url_once(tiffin_here: Commands, make: Make) -> None:
    with file_server() as server:
        server.files["/f"] = b"from afar"
        folder = make(f"FROM scratch\nADD --chmod=644 {server.address}/f /f\n")
        first = tiffin_here("build", "-q", folder).out
        assert tiffin_here("build", "-q", folder).out == first
        assert [status for _, status in server.log] == [200, 304]


def test_checks_outlines_and_targets(tiffin_here: Commands, make: Make) -> None:
    folder = make("ARG V=1\nFROM base AS Low\nFROM base AS high\nARG V\nCOPY a /\n", a="A")
    done = tiffin_here("build", "--check", folder, check=False)
    assert done.code == 1 and "StageNameCasing" in done.out
    assert tiffin_here("build", "--call", "check,format=json", folder, check=False).out.startswith("{")
    assert tiffin_here("build", "--check", make(TEXT, a="A", name="clean")).code == 0
    assert "V" in tiffin_here("build", "--call", "outline", folder).out
    assert json.loads(tiffin_here("build", "--call", "outline,format=json", folder).out)["args"][0]["name"] == "V"
    assert "high" in tiffin_here("build", "--call", "targets", folder).out
    assert json.loads(tiffin_here("build", "--call", "targets,format=json", folder).out)["targets"]
    assert "nowhere" in tiffin_here("build", "--check", make("FROM nowhere:1@bad\n", name="x"), check=False).err


def test_explain_tells_where_results_came_from(tiffin_here: Commands, make: Make) -> None:
    tiffin_here("build", "-q", make(TEXT, a="A"))
    done = tiffin_here("build", "--progress", "plain", "--explain", make(TEXT, a="changed"))
    assert "miss, files: a changed" in done.err and "1 steps missed" not in done.out
    forecast = tiffin_here("build", "--call", "explain", make(TEXT, a="once more"))
    assert "miss" in forecast.out + forecast.err


def test_layers_are_squashed_and_committed_as_asked(tiffin_here: Commands, make: Make) -> None:
    folder = make("FROM base\nCOPY a /1\nCOPY a /2 #!COMMIT\nCOPY a /3\n", a="A")
    counts = {}
    for name, words in (("plain", ()), ("squash", ("--squash",)), ("commit", ("--commit", "explicit"))):
        tiffin_here("build", "-q", "-t", name, *words, folder)
        rootfs = inspect(tiffin_here, name)["RootFS"]
        assert isinstance(rootfs, dict)
        counts[name] = len(rootfs["Layers"])
    assert counts == {"plain": 5, "squash": 3, "commit": 4}


@pytest.mark.parametrize("flag", ["--compress", "--rm", "--force-rm", "--provenance=false", "--memory=1g"])
def test_docker_flags_that_change_nothing_are_taken(tiffin_here: Commands, make: Make, flag: str) -> None:
    tiffin_here("build", "-q", flag, make(TEXT, a="A"))


# -- images
# ----------------------------------------------------------------------------------------------------------------


def test_images_are_listed_by_name_filter_and_template(tiffin_here: Commands, built: str) -> None:
    assert {"app", "base"} <= {line.split()[0] for line in tiffin_here("images").out.splitlines()}
    assert tiffin_here("images", "-q", "--no-trunc", "app").out.strip() == built
    assert tiffin_here("images", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}", "app").out.startswith("app:1 ")
    assert "base" not in tiffin_here("images", "--filter", "label=kind=test").out
    assert json.loads(tiffin_here("images", "--format", "json", "app").out)["Repository"] == "app"
    assert tiffin_here("images", "--digests").out.count("sha256:") == 2
    assert tiffin_here("images", "--filter", "what=x", check=False).code


def test_inspect_tells_what_the_image_says(tiffin_here: Commands, built: str) -> None:
    document = inspect(tiffin_here, "app:1")
    assert document["Id"] == built and document["RepoTags"] == ["app:1"]
    config = document["Config"]
    assert isinstance(config, dict) and config["Cmd"] == ["sh"] and config["WorkingDir"] == "/w"
    assert tiffin_here("inspect", "--format", "{{.Config.WorkingDir}}", "app:1").out == "/w\n"
    done = tiffin_here("inspect", "app:1", "nosuch", check=False)
    assert done.code and "nosuch" in done.err and json.loads(done.out)


def test_history_tells_each_step(tiffin_here: Commands, built: str) -> None:
    lines = tiffin_here("history", "--no-trunc", "app:1").out.splitlines()
    assert "CMD" in lines[1] and any("COPY a /srv/a" in line for line in lines)
    assert (
        tiffin_here("history", "-q", "app:1").out and tiffin_here("history", "--format", "{{.CreatedBy}}", "app:1").out
    )


def test_tags_are_names_and_images_go_with_the_last_one(tiffin_here: Commands, built: str) -> None:
    tiffin_here("tag", "app:1", "other/name:2")
    assert tiffin_here("images", "-q", "--no-trunc", "other/name").out.strip() == built
    assert tiffin_here("rmi", "app:1").out == "Untagged: app:1\n"
    gone = tiffin_here("rmi", "other/name:2").out
    assert f"Deleted: {built}" in gone
    done = tiffin_here("rmi", "app:1", check=False)
    assert done.code == 1 and "No such image: app:1" in done.err
    assert tiffin_here("rmi", "-f", "app:1").code == 0
    assert tiffin_here("tag", "app:1", "x", check=False).code


def test_an_image_with_several_names_is_not_removed_by_its_id_unless_forced(tiffin_here: Commands, built: str) -> None:
    tiffin_here("tag", "app:1", "other:2")
    done = tiffin_here("rmi", built.removeprefix("sha256:")[:12], check=False)
    assert done.code == 1 and "has several names" in done.err
    tiffin_here("rmi", "-f", built)
    assert "app" not in tiffin_here("images").out and "other" not in tiffin_here("images").out


@pytest.mark.thorough
@pytest.mark.parametrize("way", ["file", "stdout"])
def test_saved_images_are_loaded_with_their_names(tiffin_here: Commands, built: str, tmp_path: Path, way: str) -> None:
    if way == "file":
        tiffin_here("save", "app:1", "base", "-o", tmp_path / "saved.tar")
        data = (tmp_path / "saved.tar").read_bytes()
    else:
        data = tiffin_here("save", "app:1", "base").raw
    tiffin_here("rmi", "app:1", "base")
    assert "app" not in tiffin_here("images").out
    if way == "file":
        done = tiffin_here("load", "-i", tmp_path / "saved.tar")
    else:
        done = tiffin_here("load", stdin=data)
    assert "Loaded image: app:1" in done.out and "Loaded image: base:latest" in done.out
    assert inspect(tiffin_here, "app:1")["Id"] == built


@pytest.mark.parametrize("data", [b"", b"no archive", b"\x1f\x8bnot gzip"])
def test_what_is_no_archive_is_not_loaded(tiffin_here: Commands, data: bytes) -> None:
    done = tiffin_here("load", stdin=data, check=False)
    assert done.code == 1 and "error" in done.err


def test_archives_of_old_docker_are_loaded(tiffin_here: Commands, tmp_path: Path) -> None:
    tar = layer({"f": "F"})
    diff_id = f"sha256:{hashlib.sha256(tar).hexdigest()}"
    config = json.dumps({"architecture": "amd64", "os": "linux", "config": {},
        "rootfs": {"type": "layers", "diff_ids": [diff_id]}})  # fmt: skip
    manifest = [{"Config": "config.json", "RepoTags": ["old:1"], "Layers": ["one/layer.tar"]}]
    with tarfile.open(tmp_path / "old.tar", "w") as archive:
        for name, data in (("config.json", config.encode()), ("one/layer.tar", tar),
            ("manifest.json", json.dumps(manifest).encode())):  # fmt: skip
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    assert "Loaded image: old:1" in tiffin_here("load", "-i", tmp_path / "old.tar").out
    assert tiffin_here("images", "-q", "old").out


# -- registries
# ------------------------------------------------------------------------------------------------------------


@pytest.mark.thorough
def test_images_are_pushed_and_pulled(tiffin_here: Commands, built: str, registry: Fake) -> None:
    name = f"{registry.host}/team/app:1"
    tiffin_here("tag", "app:1", name)
    pushed = tiffin_here("push", name)
    assert pushed.out.startswith(f"{registry.host}/team/app@sha256:") and "1" in registry.manifests
    count = len(registry.sent)
    tiffin_here("push", name)
    assert len(registry.sent) == count, "what is there is not sent again"
    tiffin_here("rmi", name, "app:1", "base")
    tiffin_here("system", "prune", "--all", "--force")
    pulled = tiffin_here("pull", name)
    assert name in pulled.out and inspect(tiffin_here, name)["Id"] == built
    assert tiffin_here("pull", "-q", name).out.strip()


def test_what_a_registry_has_not_is_told(tiffin_here: Commands, registry: Fake) -> None:
    done = tiffin_here("pull", f"{registry.host}/none", check=False)
    assert done.code == 1 and "not found" in done.err
    assert tiffin_here("push", "none", check=False).code == 1


def test_build_pushes_and_bases_come_from_a_registry(tiffin_here: Commands, make: Make, registry: Fake) -> None:
    base, app = f"{registry.host}/base:1", f"{registry.host}/app:1"
    tiffin_here("tag", "base", base)
    tiffin_here("push", base)
    tiffin_here("rmi", base, "base")
    tiffin_here("system", "prune", "-af")
    folder = make(f"FROM {base}\nCOPY a /a\n", a="A")
    tiffin_here("build", "-t", app, "--push", folder)
    assert len(registry.manifests["1"][0]) and not registry.seen("GET", "/blobs/sha256:none")
    registry.log.clear()
    again = tiffin_here("build", "--progress", "plain", folder)
    assert "CACHED" in again.err
    tiffin_here("build", "--pull", "-q", folder)
    assert registry.seen("GET", "/manifests/1") or registry.seen("HEAD", "/manifests/1")
    for policy in ("newer", "missing", "never"):
        tiffin_here("build", f"--pull={policy}", "-q", folder)
    unknown = make(f"FROM {registry.host}/none\n", name="unknown")
    assert "pull=never" in tiffin_here("build", "--pull=never", "-q", unknown, check=False).err


def test_login_and_logout_keep_credentials_in_a_file(
    tiffin_here: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    with fake_registry(auth="basic") as registry:
        words = ("login", "-u", USER, "--password-stdin", registry.host)
        assert "Succeeded" in tiffin_here(*words, stdin=PASSWORD.encode()).out
        path = tmp_path / "docker/config.json"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600 and registry.host in path.read_text()
        wrong = tiffin_here(*words, stdin=b"wrong", check=False)
        assert wrong.code == 1 and "401" in wrong.err and "wrong" not in wrong.err
        tiffin_here("logout", registry.host)
        assert registry.host not in path.read_text()


# -- caches
# ----------------------------------------------------------------------------------------------------------------


@pytest.mark.thorough
@pytest.mark.parametrize("kind", ["local", "dir", "registry", "inline"])
def test_another_builder_does_only_what_changed(
    tiffin_here: Commands, make: Make, tmp_path: Path, registry: Fake, kind: str
) -> None:
    place = {"local": f"dest={tmp_path}/shared", "dir": f"path={tmp_path}/shared",
        "registry": f"ref={registry.host}/cache:1"}.get(kind, "")  # fmt: skip
    source = place.replace("dest=", "src=") or f"ref={registry.host}/app:1"
    folder = make(TEXT, a="A")
    push = ("-t", f"{registry.host}/app:1", "--push") if kind == "inline" else ()
    tiffin_here("build", "-q", *push, "--cache-to", f"type={kind},{place},mode=max".replace(",,", ","), folder)
    other = Commands(tmp_path / "other", tiffin_here.capture, tiffin_here.monkeypatch)
    other("images")
    write_image(other.root, *_layers_of_base(), name="docker.io/library/base:latest")
    words = ("--cache-from", f"type={'registry' if kind == 'inline' else kind},{source}")
    done = other("build", "--progress", "plain", *words, folder)
    assert done.err.count("CACHED") == 2, done.err


def _layers_of_base() -> tuple[dict[str, bytes | str | None], ...]:
    from tests.unit.cli.conftest import FILES

    return FILES, {"srv/page": "hello\n"}


def test_a_shared_cache_that_is_gone_costs_a_warning(tiffin_here: Commands, make: Make) -> None:
    words = ("--cache-from", "type=http,url=http://127.0.0.1:1,timeout=1")
    assert "cannot be used" in tiffin_here("build", "--progress", "plain", *words, make(TEXT, a="A")).err
    assert tiffin_here("build", *words[:1], f"{words[1]},required=true", make(TEXT, a="B"), check=False).code == 1


def test_the_cache_is_listed_checked_moved_and_pruned(tiffin_here: Commands, built: str, tmp_path: Path) -> None:
    assert "COPY a /srv/a" in tiffin_here("cache", "ls").out
    assert "Step records" in tiffin_here("cache", "du").out
    assert tiffin_here("cache", "verify").code == 0
    tiffin_here("cache", "export", f"type=dir,path={tmp_path}/moved")
    assert list((tmp_path / "moved/records").rglob("*/*"))
    other = Commands(tmp_path / "other", tiffin_here.capture, tiffin_here.monkeypatch)
    assert "brought 4 records" in other("cache", "import", f"type=dir,path={tmp_path}/moved").err
    tiffin_here("cache", "prune", "--keep", "0", "--force")
    assert "COPY a" not in tiffin_here("cache", "ls").out and inspect(tiffin_here, "app:1")


def test_verify_finds_damage(tiffin_here: Commands, built: str) -> None:
    blob = max((tiffin_here.root / "images/blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    blob.chmod(0o600)
    blob.write_bytes(b"x" * blob.stat().st_size)
    done = tiffin_here("cache", "verify", check=False)
    assert done.code and blob.name[:12] in done.out + done.err


@pytest.mark.parametrize("words", [("--keep", "1"), ("--older-than", "0s"), ("--max-size", "1")])
def test_pruning_keeps_what_it_is_told_to(tiffin_here: Commands, built: str, words: tuple[str, str]) -> None:
    tiffin_here("cache", "prune", "--force", *words)
    left = tiffin_here("cache", "ls", "-q").out.split()
    assert len(left) < 4 and (words != ("--keep", "1") or left)


# -- the machine
# -----------------------------------------------------------------------------------------------------------


def test_system_tells_and_removes(tiffin_here: Commands, built: str) -> None:
    assert "Images" in tiffin_here("system", "df").out
    tiffin_here("rmi", "app:1")
    tiffin_here("system", "prune", "--force")
    tiffin_here("image", "prune", "--all", "--force")
    assert tiffin_here("images", "-q").out == ""
    tiffin_here("builder", "prune", "--force")
    tiffin_here("system", "reset", "--force")


def test_containers_that_are_none(tiffin_here: Commands) -> None:
    assert tiffin_here("ps", "-a").out.splitlines()[0].startswith("CONTAINER ID")
    assert tiffin_here("ps", "-aq").out == ""
    assert tiffin_here("rm", "none", check=False).code == 1
    assert tiffin_here("container", "prune", "--force").code == 0
    assert "none" in tiffin_here("export", "none", check=False).err


def test_versions_in_each_form(tiffin_here: Commands) -> None:
    assert tiffin_here("version").out.startswith("tiffin version ")
    assert json.loads(tiffin_here("version", "--format", "json").out)
    assert tiffin_here("version", "--format", "{{.Client.Version}}").out.strip()
