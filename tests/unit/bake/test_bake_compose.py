"""Compose files as bake reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.bake.baker import Baker
from tiffin.builder.errors import ComposeError

WEBAPP = """
services:
  db:
    build: ./db
    command: ./entrypoint.sh
    image: docker.io/example/db
  webapp:
    build:
      context: ./dir
      additional_contexts: {foo: ./bar}
      dockerfile: Dockerfile-alternate
      network: none
      args: {buildno: 123}
      cache_from: ["type=local,src=path/to/cache"]
      cache_to: ["type=local,dest=path/to/cache"]
      extra_hosts: ["somehost:162.242.195.82", "somehost:162.242.195.83", "myhostv6:::1"]
      ssh: [key=/path/to/key, default]
      secrets: [token, aws]
  webapp2:
    profiles: [test]
    build: {context: ./dir, dockerfile_inline: "FROM alpine\\n"}
  unbuilt: {image: nginx}
secrets:
  token: {environment: ENV_TOKEN}
  aws: {file: /root/.aws/credentials}
"""


def composed(baker: Baker, *texts: str, **more: Any) -> dict[str, Any]:
    files = [(f"compose{number}.yml", text) for number, text in enumerate(texts)]
    made: dict[str, Any] = baker.document(*files, **more)
    return made


def test_services_that_are_built_are_targets(baker: Baker) -> None:
    document = composed(baker, WEBAPP)
    assert document["group"] == {"default": {"targets": ["db", "webapp", "webapp2"]}}
    assert document["target"]["db"] == {"context": "db", "dockerfile": "Dockerfile", "tags": ["docker.io/example/db"]}
    assert document["target"]["webapp2"]["dockerfile-inline"] == "FROM alpine\n"
    assert document["target"]["webapp"] == {
        "args": {"buildno": "123"},
        "cache-from": [{"src": "path/to/cache", "type": "local"}],
        "cache-to": [{"dest": "path/to/cache", "type": "local"}],
        "context": "dir",
        "contexts": {"foo": "bar"},
        "dockerfile": "Dockerfile-alternate",
        "extra-hosts": {"myhostv6": "::1", "somehost": "162.242.195.82,162.242.195.83"},
        "network": "none",
        "secret": [{"env": "ENV_TOKEN", "id": "token"}, {"id": "aws", "src": "/root/.aws/credentials"}],
        "ssh": [{"id": "default"}, {"id": "key", "paths": ["/path/to/key"]}],
    }


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        ("{context: ., target: db}", {"target": "db"}),
        ("{target: db}", {"target": "db"}),
        ("{context: ., cache_from: [], cache_to: []}", {}),
        ("{context: ., tags: [foo, bar]}", {"tags": ["foo", "bar"]}),
        ("{context: ., platforms: [linux/amd64, linux/arm64]}", {"platforms": ["linux/amd64", "linux/arm64"]}),
        ("{context: ., pull: true, no_cache: true}", {"pull": True, "no-cache": True}),
        ("{context: ., shm_size: 128m}", {"shm-size": "128MiB"}),
        ("{context: ., shm_size: 1536m}", {"shm-size": "1.5GiB"}),
        ("{context: ., ulimits: {nofile: {soft: 1024, hard: 2048}, nproc: 5}}",
         {"ulimits": ["nofile=1024:2048", "nproc=5:5"]}),
        ("{context: ., sbom: true, provenance: mode=max}",
         {"attest": [{"type": "sbom"}, {"mode": "max", "type": "provenance"}]}),
        ("{context: ., sbom: false, provenance: false}",
         {"attest": [{"disabled": True, "type": "sbom"}, {"disabled": True, "type": "provenance"}]}),
        ("{context: ., network: host}", {"network": "host", "entitlements": ["network.host"]}),
        ("{context: ., args: {FOO: null, BAR: $ZZZ, NONE: null}}", {"args": {"FOO": "bar", "BAR": "zzz"}}),
        ("{context: ., labels: [a=b]}", {"labels": {"a": "b"}}),
        ("{context: ., args: {P: '${COMPOSE_PROJECT_NAME}'}}", {"args": {"P": "bake"}}),
        ("{context: ., x-bake: {tags: [a, a], platforms: linux/amd64 linux/arm64, pull: true, no-cache: true}}",
         {"tags": ["a"], "platforms": ["linux/amd64", "linux/arm64"], "pull": True, "no-cache": True}),
        ("{context: ., cache_from: [u/a], x-bake: {cache-from: [u/a, 'type=local,src=p'], cache-to: [u/b]}}",
         {"cache-from": [{"ref": "u/a", "type": "registry"}, {"src": "p", "type": "local"}],
          "cache-to": [{"ref": "u/b", "type": "registry"}]}),
        ("{context: ., ssh: [default], x-bake: {ssh: [b=p], secret: ['id=s,src=f'], output: type=docker}}",
         {"ssh": [{"id": "b", "paths": ["p"]}, {"id": "default"}], "secret": [{"id": "s", "src": "f"}],
          "output": [{"type": "docker"}]}),
        ("{context: ., x-bake: {contexts: {alpine: 'docker-image://alpine:3.13'}, no-cache-filter: [s]}}",
         {"contexts": {"alpine": "docker-image://alpine:3.13"}, "no-cache-filter": ["s"]}),
    ],
)  # fmt: skip
def test_a_build_is_a_target(baker: Baker, build: str, expected: dict[str, Any]) -> None:
    text = f"services:\n  app:\n    build: {build}\n"
    found = composed(baker, text, env={"FOO": "bar", "ZZZ": "zzz"})["target"]["app"]
    assert found == {"context": ".", "dockerfile": "Dockerfile", **expected}


def test_the_name_of_a_file_is_that_of_the_project(baker: Baker) -> None:
    text = "services:\n  app:\n    image: ${COMPOSE_PROJECT_NAME}/app\n    build: .\n"

    def tags(*texts: str, **env: str) -> list[str]:
        files = [(f"{number}.yaml", text) for number, text in enumerate(texts)]
        found: list[str] = baker.document(*files, env=env)["target"]["app"]["tags"]
        return found

    assert tags(text) == ["bake/app"]
    assert tags(text, COMPOSE_PROJECT_NAME="env") == ["env/app"]
    assert tags("name: file\n" + text, COMPOSE_PROJECT_NAME="env") == ["file/app"], "as in buildx"
    assert tags("name: one\n" + text, "name: My${X}Two!\nservices: {}\n", X="-") == ["my-two/app"]
    with pytest.raises(ComposeError, match="name: "):
        tags("name: ${X?}\n" + text)


def test_arguments_come_from_the_service(baker: Baker, tmp_path: Path) -> None:
    (tmp_path / "more.env").write_text("FOO=bsdf -csdf\n")
    (tmp_path / ".env").write_text("DOT=here\n")
    text = (
        "services:\n  app:\n    build: {context: ., args: {FOO: , NODE: , DOT: }}\n"
        f"    environment: [NODE=test]\n    env_file: [{tmp_path}/more.env]\n"
    )
    found = composed(baker, text)["target"]["app"]["args"]
    assert found == {"FOO": "bsdf -csdf", "NODE": "test", "DOT": "here"}


def test_services_are_contexts_of_others(baker: Baker) -> None:
    text = """
services:
  base.1: {build: {dockerfile: baseapp.Dockerfile}}
  webapp: {build: {context: ./dir, additional_contexts: {base: "service:base.1"}}}
"""
    document = composed(baker, text, targets=["webapp", "base.1"])
    assert document["target"]["webapp"]["contexts"] == {"base": "target:base_1"}
    assert document["target"]["base_1"]["dockerfile"] == "baseapp.Dockerfile"


def test_files_merge_and_hcl_stands_above(baker: Baker) -> None:
    one = "services:\n  app:\n    build: {dockerfile: D, args: {a: 1}}\n"
    two = "services:\n  app:\n    build: {args: {b: 2}}\n  other: {build: .}\n"
    hcl = ("docker-bake.hcl", 'target "app" {\n  args = { c = "3" }\n  context = "dir"\n}\n')
    document = baker.document(("a.yml", one), hcl, ("b.yaml", two))
    assert sorted(document["target"]) == ["app", "other"]
    assert document["target"]["app"] == {
        "args": {"a": "1", "b": "2", "c": "3"}, "context": "dir", "dockerfile": "D",
    }  # fmt: skip


def test_what_is_no_build_may_be_as_it_likes(baker: Baker) -> None:
    text = "services:\n  app: {build: ., bar: baz, deploy: [x]}\nfoo: [bar.baz]\n"
    assert "app" in composed(baker, text)["target"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("services:\n  app: {entrypoint: echo 1}\n", "has neither an image nor a build context specified"),
        ("services:\n  app:\n", "has neither an image nor a build context specified"),
        ("services:\n  app: {build: {context: ., foo: bar}}\n", "foo"),
        ("services:\n  app: {build: {secrets: [token]}}\n", 'undefined build secret "token"'),
        (
            "services:\n  app: {build: {secrets: [t]}}\nsecrets:\n  t: {external: true}\n",
            "unsupported external secret t",
        ),
        ("", "empty compose file"),
    ],
)
def test_what_a_compose_file_says_wrong_is_told(baker: Baker, text: str, message: str) -> None:
    with pytest.raises(ComposeError) as caught:
        composed(baker, text)
    assert message in str(caught.value)


def test_paths_begin_where_the_first_file_is(baker: Baker) -> None:
    files = (
        ("project/compose.yml", "services:\n  app: {build: ./app}\n"),
        (
            "over/compose.yml",
            "services:\n  app: {build: {additional_contexts: {s: ./shared}}}\n  other: {build: ./o}\n",
        ),
    )
    found = baker.document(*files, is_relative=True)["target"]
    assert found["app"]["context"] == "project/app"
    assert found["app"]["contexts"] == {"s": "project/shared"}
    assert found["other"]["context"] == "project/o"
