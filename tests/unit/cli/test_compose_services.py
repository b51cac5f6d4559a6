"""Commands of compose on single services, and what variables and other services' files have to do with them."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from tests.support.as_root import as_root
from tests.support.commands import Commands
from tests.unit.cli.conftest import SEED, Compose

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")
WEB = """
  web:
    image: base
    network_mode: none
    command: say served
    depends_on: [seed]
"""
ELSEWHERE = """
  other:
    image: base
    network_mode: none
    env_file: [nowhere.env]
"""


def test_env_files_are_read_of_the_services_that_are_needed_only(compose: Compose) -> None:
    services = SEED + WEB + ELSEWHERE
    assert compose(services, "up", "-d", "web").code == 0
    for words in (["ps"], ["logs"], ["stop"], ["config", "--hash", "seed"], ["config", "--no-env-resolution"]):
        assert compose(services, *words).code == 0
    for words in (["up", "-d"], ["up", "-d", "other"], ["config", "--hash", "*"], ["scale", "other=1"]):
        refused = compose(services, *words, check=False)
        assert refused.code == 1 and "nowhere.env is not there" in refused.err
    assert compose(services + "    profiles: [more]\n", "up", "-d").code == 0
    assert compose(services, "down").code == 0


def test_variables_of_run_have_the_values_of_the_project(
    compose: Compose, supervised_here: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    def variables(service: str, *words: str) -> list[str]:
        compose(service, "run", "--name", "one", *words, "seed", **{".env": "PLACE=here\n"})
        found: list[str] = json.loads(supervised_here("inspect", "--format", "{{json .Config.Env}}", "one").out)
        supervised_here("rm", "one")
        return [text for text in found if text.startswith("PLACE")]

    monkeypatch.delenv("PLACE", raising=False)
    own = f"{SEED}    environment: {{PLACE: own}}\n"
    assert variables(SEED, "-e", "PLACE") == ["PLACE=here"] and variables(SEED) == []
    assert variables(own, "-e", "NOWHERE") == ["PLACE=own"]
    monkeypatch.setenv("PLACE", "shell")
    assert variables(own, "-e", "PLACE") == ["PLACE=shell"]


def test_run_has_the_mounts_and_ports_of_its_line(compose: Compose, supervised_here: Commands, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    service = f"{SEED}    volumes: ['{tmp_path}:/srv', '{tmp_path}:/opt']\n".replace("    network_mode: none\n", "")
    service += "    ports: ['127.0.0.1:8082:82']\n"
    compose(service, "create")  # the network
    made = compose(service, "run", "-d", "-v", f"{tmp_path}/mine:/srv", "-p", "127.0.0.1:8081:80", "seed", check=False)
    name = made.out.split()[0] if made.out else supervised_here("ps", "-aq", "-n", "1").out.strip()
    found = json.loads(supervised_here("inspect", name).out)[0]
    assert {one["Destination"]: one["Source"] for one in found["Mounts"]} == {
        "/srv": f"{tmp_path}/mine",
        "/opt": str(tmp_path),
    }
    assert list(found["HostConfig"]["PortBindings"]) == ["80/tcp"]


def test_start_begins_with_what_a_service_depends_on(compose: Compose) -> None:
    compose(SEED + WEB, "create")
    told = [" ".join(line.split()) for line in compose(SEED + WEB, "start", "web").err.splitlines()]
    assert told.index("Container demo-seed-1 Started") < told.index("Container demo-web-1 Started")


def test_containers_of_run_that_ended_are_orphans(compose: Compose) -> None:
    compose(SEED, "run", "seed")
    assert "Found orphan containers ([demo-seed-run-" in compose(SEED, "run", "seed").err
    assert "orphan" not in compose(SEED, "up", "-d", **{".env": "COMPOSE_IGNORE_ORPHANS=1\n"}).err
    gone = compose(SEED, "up", "-d", **{".env": "COMPOSE_REMOVE_ORPHANS=true\n"}).err
    assert gone.count("Removed") == 2 and "orphan" not in compose(SEED, "up", "-d", **{".env": ""}).err


def test_names_have_underscores_where_they_are_asked_for(compose: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPOSE_COMPATIBILITY", "true")
    assert "Container demo_seed_1  Created" in compose(SEED, "up", "-d").err
    compose(SEED, "down")
    monkeypatch.setenv("COMPOSE_COMPATIBILITY", "false")
    monkeypatch.setenv("COMPOSE_PROGRESS", "quiet")
    assert compose(SEED, "up", "-d").err == ""
    assert json.loads(compose(SEED, "ps", "-a", "--format", "json").out)["Name"] == "demo-seed-1"


def test_a_build_begins_with_the_images_of_other_services(compose: Compose) -> None:
    services = """
  app:
    network_mode: none
    command: show /made
    build:
      dockerfile_inline: FROM start
      additional_contexts: {start: "service:ground"}
  ground:
    profiles: [never]
    build: {dockerfile_inline: "FROM base\\nRUN write /made it\\n"}
"""
    quiet = compose(services, "run", "--rm", "--quiet-build", "app")
    assert quiet.out == "it" and "RUN write" not in quiet.err
    told = compose(services, "run", "--rm", "--build", "--quiet-pull", "app")
    assert told.out == "it" and "RUN write" in told.err
    assert "Image demo-ground  Built" in compose(services, "build", "app").err
    circle = (
        services.replace('"FROM base', '"FROM app')
        .replace("    profiles", "    profiles", 1)
        .replace('made it\\n"}', 'made it\\n", additional_contexts: {app: "service:app"}}')
    )
    assert "builds need each other: app -> ground -> app" in compose(circle, "build", "app", check=False).err


def test_files_and_images_of_services(compose: Compose, supervised_here: Commands, tmp_path: Path) -> None:
    as_root(lambda: _files_and_images(compose, supervised_here, tmp_path))  # cp mounts


def _files_and_images(compose: Compose, supervised_here: Commands, tmp_path: Path) -> None:
    compose(SEED, "up", "-d", "--scale", "seed=2")
    (tmp_path / "note").write_text("from here")
    compose(SEED, "cp", str(tmp_path / "note"), "seed:/tmp")
    for index in ("1", "2"):
        compose(SEED, "cp", "--index", index, "seed:/tmp/note", str(tmp_path / f"back{index}"))
        assert (tmp_path / f"back{index}").read_text() == "from here"
    assert "one of SOURCE and DESTINATION" in compose(SEED, "cp", "here", "there", check=False).err
    assert "a stream can be copied" in compose(SEED, "cp", "-", "seed:/tmp", check=False).err
    assert 'service "none" has no container' in compose(SEED, "cp", "here", "none:/tmp", check=False).err
    compose(SEED, "export", "--index", "2", "-o", str(tmp_path / "seed.tar"), "seed")
    with tarfile.open(tmp_path / "seed.tar") as archive:
        assert "tmp/note" in archive.getnames()
    compose(SEED, "commit", "-m", "noted", "-c", "ENV NOTED=1", "seed", "seed:noted")
    assert "NOTED=1" in supervised_here("inspect", "--format", "{{json .Config.Env}}", "seed:noted").out
    assert "is not running" in compose(SEED, "attach", "seed", check=False).err


def test_events_and_volumes_are_those_of_the_project(compose: Compose, supervised_here: Commands) -> None:
    services = SEED.replace("command", "volumes: [data:/data]\n    command")
    document = f"name: demo\nservices:{services}volumes:\n  data:\n  unused:\n"
    compose(document, "up", "-d")
    supervised_here("volume", "create", "stranger")
    supervised_here("run", "--rm", "--network", "none", "base", "say", "stranger")
    assert compose(document, "volumes", "-q").out.split() == ["demo_data"]
    assert compose(document, "volumes", "--format", "{{.Name}}", "seed").out == "demo_data\n"
    found = [json.loads(line) for line in compose(document, "events", "--json", "--until", "0s").out.splitlines()]
    assert {one["service"] for one in found} == {"seed"} and [one["action"] for one in found][:2] == ["create", "start"]
    assert not any(name.startswith("com.docker.compose") for one in found for name in one["attributes"])
    assert " container start " in compose(document, "events", "--until", "0s", "seed").out
    for words in (["events", "none"], ["volumes", "none"], ["pause", "none"]):
        assert compose(document, *words, check=False).code == 1
    assert compose(document, "stats", "--no-stream").out == ""
    assert compose(document, "ls", "-a", "--format", "json").out.startswith('[{"Name":"demo","Status":"exited(1)"')


def test_a_service_with_a_profile_is_named_to_be_meant(compose: Compose) -> None:
    services = SEED + WEB.replace("    image", "    profiles: [more]\n    image")
    compose(services, "up", "-d", "web")
    assert "Container demo-web-1  Started" in compose(services, "start", "web").err
    assert "demo-web-1" not in compose(services, "restart").err.split("Container demo-seed-1")[0]
    assert "Container demo-web-1  Removed" in compose(services, "rm", "-f", "web").err


def test_what_has_mounts_of_another_service_is_made_after_it_and_again_with_it(compose: Compose) -> None:
    services = SEED + "    volumes: [/data]\n" + WEB.replace("    depends_on: [seed]", "    volumes_from: [seed]")
    compose(services, "up", "-d")
    told = compose(services.replace("say seeded", "say anew"), "up", "-d").err
    assert told.index("demo-seed-1  Recreated") < told.index("demo-web-1  Recreated")
    assert "Recreate" not in compose(services.replace("say seeded", "say anew"), "up", "-d").err


def test_volumes_are_those_of_the_files(compose: Compose, supervised_here: Commands) -> None:
    services = SEED.replace("command", "volumes: [data:/data]\n    command")
    document = f"name: demo\nservices:{services}volumes:\n  data:\n    name: first\n"
    compose(document, "up", "-d")
    other = document.replace("first", "second")
    assert "Recreated" in compose(other, "up", "-d").err
    mounts = json.loads(supervised_here("inspect", "--format", "{{json .Mounts}}", "demo-seed-1").out)
    assert [one["Name"] for one in mounts] == ["second"]
    labelled = f"{other}    labels: {{kept: 'no'}}\n"
    told = compose(labelled, "up", "-d").err
    assert 'volume "second" is not as the files say, and is kept' in told and "Recreate" not in told
    told = compose(labelled, "up", "-d", "-y").err
    assert told.index("Volume second  Removed") < told.index("Volume second  Created")
    assert supervised_here("volume", "inspect", "-f", '{{index .Labels "kept"}}', "second").out == "no\n"
    assert "is not as the files say" not in compose(labelled, "up", "-d").err


def test_what_nothing_uses_is_made_where_all_is_asked_for(compose: Compose) -> None:
    document = "name: demo\nvolumes:\n  mine: {}\nnetworks:\n  ours: {}\n"
    told = compose(document, "--all-resources", "up", "-d").err
    assert "Volume demo_mine  Created" in told and "Network demo_ours  Created" in told
    ranged = document.replace(
        "ours: {}", "ours: {ipam: {config: [{subnet: 10.9.0.0/24, aux_addresses: {a: 10.9.0.9}}]}}"
    )
    assert "ipam.config.aux_addresses is not supported" in compose(ranged, "--all-resources", "up", check=False).err
    assert "no service selected" in compose(document, "up", check=False).err


def test_secrets_of_an_included_file_have_its_variables(compose: Compose, tmp_path: Path) -> None:
    (tmp_path / "more.env").write_text("WORD=hidden\n")
    (tmp_path / "more.yaml").write_text(
        f"services:{SEED}    secrets: [word]\nsecrets: {{word: {{environment: WORD}}}}\n"
    )
    document = f"name: demo\ninclude: [{{path: {tmp_path}/more.yaml, env_file: {tmp_path}/more.env}}]\n"
    assert compose(document, "up", "-d").code == 0
    assert "hidden" not in compose(document, "config").out


def test_owners_of_secrets_are_refused_or_said_to_be_ignored(compose: Compose, tmp_path: Path) -> None:
    services = SEED + "    secrets: [{source: word, uid: '1005', mode: 0440}]\n"
    document = f"name: demo\nservices:{services}secrets: {{word: {{environment: HOME}}}}\n"
    refused = compose(document, "up", "-d", check=False)
    assert refused.code == 1 and "services.seed.secrets: word has uid and gid, which are not supported" in refused.err
    (tmp_path / "word").write_text("hidden")
    told = compose(document.replace("environment: HOME", f"file: {tmp_path}/word"), "up", "-d").err
    assert "secrets `uid`, `gid` and `mode` are ignored" in told


def test_builds_have_the_attestations_that_files_ask_for(compose: Compose, supervised_here: Commands) -> None:
    services = "\n  app:\n    build: {dockerfile_inline: FROM base, provenance: mode=max, sbom: false}\n"
    compose(services, "build")
    listed = supervised_here("attest", "ls", "--local", "demo-app").out
    assert "slsa.dev/provenance/v1" in listed and "spdx" not in listed
    wrong = compose(services.replace("mode=max", "mode=all"), "build", check=False)
    assert wrong.code == 1 and "services.app.build: --provenance=mode=all" in wrong.err
