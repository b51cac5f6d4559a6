"""The life of projects on fakes: a supervisor is this very process, until its command ends; so are jobs."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.fakes.registry import fake_registry
from tests.support.commands import Commands, Done
from tests.unit.cli.conftest import SEED, Compose
from tiffin.builder.api.compose.following import syncing, watching
from tiffin.builder.api.compose.members import members
from tiffin.builder.containers.files.contents import Items
from tiffin.builder.containers.files.names import Place
from tiffin.builder.errors import ContainerError
from tiffin.builder.sources.watch import FileWatch
from tiffin.cache.foundation.frozen import replace

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")
WEB = """
  web:
    image: base
    network_mode: none
    command: say served
    depends_on:
      seed: {condition: service_completed_successfully}
"""


def changes(done: Done) -> list[str]:
    return [" ".join(line.split()) for line in done.err.splitlines()]


def states(compose: Compose, services: str) -> dict[str, str]:
    lines = compose(services, "ps", "-a", "--format", "json").out.splitlines()
    return {one["Name"]: f"{one['State']} {one['ExitCode']}" for one in map(json.loads, lines)}


def test_up_makes_starts_and_follows_and_down_removes(compose: Compose) -> None:
    done = compose(SEED + WEB, "up")
    assert sorted(done.out.splitlines()) == [
        "seed-1  | seeded", "seed-1 exited with code 0", "web-1   | served", "web-1 exited with code 0",
    ]  # fmt: skip
    told = changes(done)
    assert told.index("Container demo-seed-1 Exited") < told.index("Container demo-web-1 Starting")
    assert states(compose, SEED + WEB) == {"demo-seed-1": "exited 0", "demo-web-1": "exited 0"}
    assert "web-1 | served" in " ".join(compose(SEED + WEB, "logs").out.split())
    assert compose(SEED + WEB, "ls", "-a", "--format", "json").out.count("demo") >= 1
    gone = changes(compose(SEED + WEB, "down"))
    assert "Container demo-web-1 Removed" in gone and "Container demo-seed-1 Removed" in gone
    assert states(compose, SEED + WEB) == {}


def test_only_what_changed_is_made_anew(compose: Compose) -> None:
    compose(SEED + WEB, "up", "-d")
    again = changes(compose(SEED + WEB, "up", "-d"))
    assert "Container demo-web-1 Recreated" not in again
    changed = WEB.replace("say served", "say other")
    told = changes(compose(SEED + changed, "up", "-d"))
    assert "Container demo-web-1 Recreated" in told and "Container demo-seed-1 Recreated" not in told
    assert "other" in compose(SEED + changed, "logs", "--no-log-prefix", "web").out
    forced = changes(compose(SEED + changed, "up", "-d", "--force-recreate"))
    assert forced.count("Container demo-seed-1 Recreated") == forced.count("Container demo-web-1 Recreated") == 1
    kept = changes(compose(SEED + WEB, "up", "-d", "--no-recreate"))
    assert not any("Recreate" in line for line in kept)


def test_services_are_scaled_up_and_down(compose: Compose) -> None:
    compose(SEED, "up", "-d", "--scale", "seed=3")
    assert sorted(states(compose, SEED)) == ["demo-seed-1", "demo-seed-2", "demo-seed-3"]
    told = changes(compose(SEED, "up", "-d", "--scale", "seed=1"))
    assert "Container demo-seed-3 Removed" in told and list(states(compose, SEED)) == ["demo-seed-1"]
    named = SEED + "    container_name: only\n"
    assert "cannot have 2 containers" in compose(named, "up", "-d", "--scale", "seed=2", check=False).err
    assert "no such service: none" in compose(SEED, "up", "-d", "--scale", "none=2", check=False).err
    assert "is not a valid SERVICE=NUMBER" in compose(SEED, "up", "-d", "--scale", "seed", check=False).err


def test_a_dependency_that_fails_ends_it(compose: Compose) -> None:
    broken = SEED.replace("say seeded", "exit 3")
    done = compose(broken + WEB, "up", "-d", check=False)
    assert done.code == 1 and 'service "seed" didn\'t complete successfully: exit 3' in done.err
    optional = WEB.replace("completed_successfully}", "completed_successfully, required: false}")
    done = compose(broken + optional, "up", "-d")
    assert "optional dependency seed failed to start" in done.err
    unchecked = WEB.replace("completed_successfully", "healthy")
    assert "dependency failed to start" in compose(SEED + unchecked, "up", "-d", check=False).err


def test_the_code_of_one_is_that_of_all(compose: Compose) -> None:
    assert compose(SEED.replace("say seeded", "exit 7"), "up", "--exit-code-from", "seed", check=False).code == 7
    words = ("up", "--abort-on-container-failure")
    assert compose(SEED.replace("say seeded", "exit 4"), *words, check=False).code == 4
    assert "do not go together" in compose(SEED, "up", "-d", "--abort-on-container-exit", check=False).err


def test_containers_are_made_first_and_started_later(compose: Compose) -> None:
    assert "Container demo-web-1 Created" in changes(compose(SEED + WEB, "create"))
    assert set(states(compose, SEED + WEB).values()) == {"created 0"}
    told = changes(compose(SEED + WEB, "start"))
    assert told.index("Container demo-seed-1 Started") < told.index("Container demo-web-1 Started")
    told = changes(compose(SEED + WEB, "restart", "web"))
    assert "Container demo-web-1 Started" in told
    assert compose(SEED + WEB, "stop").code == compose(SEED + WEB, "kill", check=False).code == 0
    assert "demo-seed-1" in compose(SEED + WEB, "rm", "-f", "seed").err
    assert list(states(compose, SEED + WEB)) == ["demo-web-1"]
    assert "no such service" in compose(SEED + WEB, "stop", "none", check=False).err


def test_those_of_services_that_are_gone_are_told_and_removed(compose: Compose) -> None:
    compose(SEED + WEB, "up", "-d")
    assert "Found orphan containers ([demo-web-1])" in compose(SEED, "up", "-d").err
    assert "Container demo-web-1 Removed" in changes(compose(SEED, "up", "-d", "--remove-orphans"))
    compose(SEED + WEB, "up", "-d")
    assert "Found orphan" in compose(SEED, "down").err
    assert "Container demo-web-1 Removed" in changes(compose(SEED, "down", "--remove-orphans"))


def test_volumes_stay_until_they_are_to_go(compose: Compose, tiffin_here: Commands) -> None:
    services = f"name: demo\nservices:{SEED}    volumes: [data:/data, /scratch]\nvolumes: {{data: }}\n"
    assert "Volume demo_data Created" in changes(compose(services, "up", "-d"))
    compose(services, "up", "-d", "--force-recreate")
    assert len(tiffin_here("volume", "ls", "-q").out.split()) == 2
    compose(services, "down")
    assert "demo_data" in tiffin_here("volume", "ls", "-q").out.split()
    compose(services, "up", "-d")
    assert "Volume demo_data Removed" in changes(compose(services, "down", "-v"))


def test_images_are_built_named_and_removed(compose: Compose, tiffin_here: Commands) -> None:
    services = "\n  app:\n    build: .\n    network_mode: none\n    command: show /made\n"
    dockerfile = "FROM base\nRUN write /made it\n"
    done = compose(services, "up", "--build", Dockerfile=dockerfile)
    assert "app-1  | it" in done.out
    assert "demo-app" in compose(services, "images").out and "demo-app" in tiffin_here("images").out
    assert compose(services, "build", "-q").code == 0
    assert "Image demo-app Removed" in changes(compose(services, "down", "--rmi", "local"))
    assert "no image demo-app is here" in compose(services, "up", "--no-build", check=False).err
    never = "\n  app:\n    image: nothing\n    pull_policy: never\n    network_mode: none\n"
    assert "no image nothing is here" in compose(never, "up", check=False).err


def test_one_off_containers_have_their_own_command(compose: Compose) -> None:
    done = compose(SEED + WEB, "run", "--rm", "--no-deps", "web", "say", "once")
    assert done.out == "once\n" and states(compose, SEED + WEB) == {}
    assert compose(SEED, "run", "--rm", "seed", "exit", "5", check=False).code == 5


def test_images_are_pulled_and_pushed(compose: Compose) -> None:
    with fake_registry() as registry:
        built = f"\n  app:\n    image: {registry.host}/team/app:1\n    build: .\n    network_mode: none\n"
        told = changes(compose(built, "build", "--push", Dockerfile="FROM base\nRUN write /made it\n"))
        assert "1" in registry.manifests and any("Pushed" in line for line in told)
        compose(built, "down", "--rmi", "all")
        pulled = built.replace("    build: .\n", "    command: show /made\n")
        assert "app-1  | it" in compose(pulled, "up").out
        assert "Image is already present locally" in compose(pulled, "pull", "--policy", "missing").err
        assert any("Pulled" in line for line in changes(compose(pulled, "pull")))
        assert any("Pushed" in line for line in changes(compose(built, "push")))
        missing = pulled.replace("app:1", "none")
        assert compose(missing, "pull", check=False).code == 1
        assert "warning" in compose(missing, "pull", "--ignore-pull-failures").err
        unbuilt = built.replace("app:1", "unbuilt")
        assert "warning" in compose(unbuilt, "push", "--ignore-push-failures").err


def test_what_a_project_is_can_be_listed(compose: Compose) -> None:
    services = f"name: demo\nservices:{SEED}{WEB}    profiles: [more]\nvolumes: {{data: }}\n"
    listed = {
        word: compose(services, "--profile", "more", "config", f"--{word}").out.split()
        for word in ("services", "volumes", "images", "profiles")
    }
    assert {word: sorted(names) for word, names in listed.items()} == {
        "services": ["seed", "web"], "volumes": ["data"], "images": ["base", "base"], "profiles": ["more"],
    }  # fmt: skip
    assert json.loads(compose(services, "config", "--format", "json").out)["services"].keys() == {"seed"}
    (one, digest) = compose(services, "config", "--hash", "seed").out.split()
    assert one == "seed" and len(digest) == 64
    assert compose(services, "config", "-q").out == "" and compose(services, "version", "--short").out.count(".") == 2


def test_lists_of_containers_are_filtered(compose: Compose) -> None:
    compose(SEED + WEB, "up", "-d")
    assert compose(SEED + WEB, "ps", "-q").out == ""
    assert len(compose(SEED + WEB, "ps", "-q", "--status", "exited").out.split()) == 2
    assert compose(SEED + WEB, "ps", "--services", "--filter", "status=exited").out.split() == ["seed", "web"]
    assert compose(SEED + WEB, "ps", "-a", "--format", "{{.Service}}={{.ExitCode}}", "web").out == "web=0\n"
    assert compose(SEED, "ps", "-a", "--no-orphans", "--format", "{{.Service}}").out == "seed\n"
    assert compose(SEED, "ls").out.splitlines()[1:] == [] and compose(SEED, "ls", "-aq").out == "demo\n"
    assert "exited(2)" in compose(SEED, "ls", "-a", "--filter", "name=dem").out
    assert "is not running" in compose(SEED, "port", "seed", "80", check=False).err
    assert compose(SEED + WEB, "wait", "seed").out == "0\n"
    assert "Z served" in compose(SEED + WEB, "logs", "-f", "-t").out
    assert "is not running" in compose(SEED, "exec", "seed", "true", check=False).err
    for word in ("pause", "unpause"):
        assert compose(SEED, word).code == 0
    compose(SEED, "rm", "-fsv")
    assert list(states(compose, SEED)) == ["demo-web-1"], "what the file does not have is left alone"
    assert "No stopped containers" in compose(SEED, "rm", "-fs").err


def test_secrets_of_texts_are_files_while_the_project_is_there(compose: Compose, tiffin_here: Commands) -> None:
    services = (
        f"name: demo\nservices:{SEED}    secrets: [word]\n    configs: [setting]\n"
        "secrets: {word: {environment: SECRET_WORD}}\nconfigs: {setting: {content: a=b}}\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SECRET_WORD", "hush")
        compose(services, "up", "-d")
    files = [path for path in tiffin_here.root.rglob("*") if path.is_file() and path.read_bytes() in (b"hush", b"a=b")]
    assert len(files) == 2
    compose(services, "down")
    assert not any(path.exists() for path in files)


class Enough(Exception):
    """The watcher was watched long enough."""


@pytest.fixture
def edits(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], object]]:
    """What somebody does while the watcher sleeps, one thing each time."""
    pending: list[Callable[[], object]] = []

    def wait(_watch: object) -> None:
        if not pending:
            raise Enough
        pending.pop(0)()

    monkeypatch.setattr(FileWatch, "wait", wait)
    return pending


def test_a_change_of_sources_builds_and_makes_anew(
    compose: Compose, edits: list[Callable[[], object]], tmp_path: Path
) -> None:
    services = """
  app:
    build: .
    network_mode: none
    command: show /srv/page
    develop: {watch: [{action: rebuild, path: page, ignore: ["*.tmp"]}]}
"""
    source = tmp_path / "demo/page"
    edits += [
        lambda: (source / "left.tmp").write_text("ignored"),
        lambda: (source / "index").write_text("second"),
    ]
    source.mkdir(parents=True, exist_ok=True)
    (source / "index").write_text("first")
    with pytest.raises(Enough):
        compose(services, "watch", Dockerfile="FROM base\nCOPY page/index /srv/page\n")
    assert compose(services, "logs", "--no-log-prefix").out == "second"
    assert "configured for watch" in compose(SEED, "watch", check=False).err


class Root:
    """Stands for the root of a running container, in which /srv alone is there."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.fails = False

    def __enter__(self) -> Root:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def destination(self, path: str) -> Place:
        is_there = path in ("/", "/srv")
        return Place(path=path, exists=is_there, is_directory=is_there)

    def remove(self, paths: Sequence[str]) -> None:
        if self.fails:
            raise ContainerError("a volume is read-only", remedy="change it")
        self.done += [f"remove {path}" for path in paths]

    def write(self, items: Items, directory: str, *, as_user: bool) -> None:
        assert as_user
        self.done += [f"{directory} {item.entry.path} {item.entry.link or item.entry.size}" for item in items]


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch) -> Root:
    root = Root()
    monkeypatch.setattr(watching, "members", lambda *words: [replace(one, is_alive=True) for one in members(*words)])
    monkeypatch.setattr(syncing, "opened_root", lambda *_: root)
    monkeypatch.setattr(watching, "restart", lambda found, *_words, **_more: root.done.append(f"restart {len(found)}"))
    monkeypatch.setattr(watching, "run_hook", lambda hook, *_: root.done.append(" ".join(hook.command)))
    return root


def test_changes_are_brought_into_what_runs(
    compose: Compose, edits: list[Callable[[], object]], root: Root, tmp_path: Path
) -> None:
    rules = (
        "{action: sync+restart, path: src, target: /app}",
        "{action: sync, path: conf, target: /srv/}",
        "{action: sync+exec, path: conf, target: /etc/x/conf, initial_sync: true, exec: {command: [reload, it]}}",
        "{action: restart, path: other, include: ['*.c']}",
    )
    services = f"{SEED}    develop: {{watch: [{', '.join(rules)}]}}\n"
    source = tmp_path / "demo/src"
    (source / "sub").mkdir(parents=True)
    (source / "gone").write_text("")
    (source / "sub/link").symlink_to("file")
    (source / "conf").write_text("")
    (tmp_path / "demo/conf").write_text("a")
    (tmp_path / "demo/other").mkdir()
    compose(services, "up", "-d")

    def edit() -> None:
        (source / "sub/file").write_text("new")
        (source / "gone").unlink()
        (source / "to").symlink_to("sub")
        (source / ".git").mkdir()
        for name in (".git/HEAD", "file~", ".file.swp"):
            (source / name).write_text("")

    def replace_directory() -> None:
        (source / "sub/file").unlink()
        (source / "sub/link").unlink()
        (source / "sub").rmdir()
        (source / "sub").write_text("a file")

    edits += [
        edit,
        replace_directory,
        lambda: (tmp_path / "demo/conf").write_text("bb"),
        lambda: (tmp_path / "demo/conf").unlink(),
        lambda: (tmp_path / "demo/other/x.h").write_text(""),
        lambda: (tmp_path / "demo/other/x.c").write_text(""),
    ]
    with pytest.raises(Enough):
        compose(services, "watch", "--no-up")
    assert root.done == [
        "/ etc/x/conf 1",
        "remove /app/gone", "/ app/sub/file 3", "/ app/to sub", "restart 1",
        "remove /app/sub", "remove /app/sub/file", "remove /app/sub/link", "/ app/sub 6", "restart 1",
        "/srv conf 2", "/ etc/x/conf 2", "reload it",
        "remove /srv/conf", "remove /etc/x/conf", "reload it",
        "restart 1",
    ]  # fmt: skip


def test_what_fails_is_told_and_tried_again(
    compose: Compose,
    edits: list[Callable[[], object]],
    root: Root,
    tmp_path: Path,
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    services = f"{SEED}    develop: {{watch: [{{action: sync, path: src, target: /app}}]}}\n"
    source = tmp_path / "demo/src"
    source.mkdir(parents=True)
    compose(services, "up", "-d")
    root.fails = True

    def again() -> None:
        root.fails = False
        (source / "two").write_text("2")

    edits += [lambda: (source / "one").write_text("1"), again]
    with pytest.raises(Enough):
        compose(services, "watch", "--no-up")
    assert root.done == ["/ app/two 1"]
    assert b"warning: a volume is read-only; change it" in capfdbinary.readouterr().err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("develop: {watch: [{action: rebuild, path: src}]}", "has no build, and watches"),
        ("develop: {watch: [{action: sync+exec, path: src, target: /x}]}", "sync+exec needs exec"),
        (
            "volumes: [./src:/x]\n    develop: {watch: [{action: sync, path: src/sub, target: /x/sub}]}",
            "is mounted into service seed, and not watched",
        ),
    ],
)
def test_rules_that_cannot_be_followed(compose: Compose, more: str, message: str) -> None:
    done = compose(f"{SEED}    {more}\n", "watch", "--no-up", check=False)
    assert done.code == 1 and message in done.err


def test_up_watches_in_the_foreground_alone(compose: Compose) -> None:
    services = f"{SEED}    develop: {{watch: [{{action: sync, path: src, target: /app}}]}}\n"
    for word in ("-d", "--wait", "--no-start"):
        assert "do not go together" in compose(services, "up", "--watch", word, check=False).err
    assert "configured for watch" in compose(SEED, "up", "-w", check=False).err
