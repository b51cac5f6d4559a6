"""Which targets are built, and what --set makes of them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.bake.baker import Baker
from tiffin.builder.errors import UsageError

BASE = """
target "webDEP" {
  args = { VAR_INHERITED = "webDEP", VAR_BOTH = "webDEP" }
  no-cache = true
  shm-size = "128m"
  ulimits = ["nofile=1024:1024"]
  resources = { memory = "2g", cpu-quota = 50000 }
  extra-hosts = { my_hostname = "8.8.8.8" }
}
target "app" {
  dockerfile = "Dockerfile.webapp"
  args = { VAR_BOTH = "webapp" }
  annotations = ["index,manifest:org.opencontainers.image.authors=someone"]
  attest = ["type=provenance,mode=max"]
  platforms = ["linux/amd64"]
  secret = ["id=FOO,env=FOO"]
  inherits = ["webDEP"]
}
"""


def test_a_target_has_what_it_inherits(baker: Baker) -> None:
    document = baker.document(BASE, targets=["app"])
    assert document["group"] == {"default": {"targets": ["app"]}}
    assert document["target"] == {
        "app": {
            "annotations": ["index,manifest:org.opencontainers.image.authors=someone"],
            "args": {"VAR_BOTH": "webapp", "VAR_INHERITED": "webDEP"},
            "attest": [{"mode": "max", "type": "provenance"}],
            "context": ".",
            "dockerfile": "Dockerfile.webapp",
            "extra-hosts": {"my_hostname": "8.8.8.8"},
            "no-cache": True,
            "platforms": ["linux/amd64"],
            "resources": {"cpu-quota": 50000, "memory": "2g"},
            "secret": [{"env": "FOO", "id": "FOO"}],
            "shm-size": "128m",
            "ulimits": ["nofile=1024:1024"],
        }
    }


@pytest.mark.parametrize(
    ("sets", "name", "expected"),
    [
        (["app.args.E=", "app.args.S=b", "app.args.U", "app.args.FROM", "app.args.VAR_INHERITED=o"], "args",
         {"E": "", "S": "b", "FROM": "env", "VAR_BOTH": "webapp", "VAR_INHERITED": "o"}),
        (["webDEP.args.VAR_INHERITED=o", "webDEP.args.VAR_BOTH=o"], "args",
         {"VAR_BOTH": "webapp", "VAR_INHERITED": "o"}),
        (["app.annotations=manifest:a=b"], "annotations",
         ["index,manifest:org.opencontainers.image.authors=someone", "manifest:a=b"]),
        (["app.attest=type=sbom"], "attest", [{"mode": "max", "type": "provenance"}, {"type": "sbom"}]),
        (["app.attest=type=provenance,disabled=true"], "attest", [{"disabled": True, "type": "provenance"}]),
        (["app.context=foo"], "context", "foo"),
        (["app.dockerfile="], "dockerfile", "Dockerfile"),
        (["app.no-cache=false"], "no-cache", False),
        (["app.pull=1"], "pull", True),
        (["app.target=t"], "target", "t"),
        (["app.call=check"], "call", "check"),
        (["app.network=none"], "network", "none"),
        (["app.platform=linux/arm64"], "platforms", ["linux/arm64"]),
        (["app.platform+=linux/arm64"], "platforms", ["linux/amd64", "linux/arm64"]),
        (["app.platform+=linux/arm64", "app.platform=linux/riscv64"], "platforms", ["linux/arm64", "linux/riscv64"]),
        (["app.tags=a", "app.tags=b"], "tags", ["a", "b"]),
        (["app.secrets=id=BAR,env=BAR"], "secret", [{"env": "BAR", "id": "BAR"}]),
        (["app.secrets+=id=BAR,env=BAR"], "secret", [{"env": "FOO", "id": "FOO"}, {"env": "BAR", "id": "BAR"}]),
        (["app.secret.FOO=src=/tmp/foo"], "secret", [{"id": "FOO", "src": "/tmp/foo"}]),
        (["app.ssh=default", "app.ssh=k=/p"], "ssh", [{"id": "default"}, {"id": "k", "paths": ["/p"]}]),
        (["app.shm-size=256m"], "shm-size", "256m"),
        (["app.ulimits+=core=0"], "ulimits", ["nofile=1024:1024", "core=0"]),
        (["app.resources.memory=512m", "app.resources.cpu-shares=4"], "resources",
         {"cpu-quota": 50000, "cpu-shares": 4, "memory": "512m"}),
        (["app.extra-hosts.h=1.1.1.1"], "extra-hosts", {"h": "1.1.1.1", "my_hostname": "8.8.8.8"}),
        (["app.labels.a.b=c"], "labels", {"a.b": "c"}),
        (["app.contexts.x=docker-image://y"], "contexts", {"x": "docker-image://y"}),
        (["app.cache-from=a,b", "app.cache-from=type=local,src=c"], "cache-from",
         [{"ref": "a", "type": "registry"}, {"ref": "b", "type": "registry"}, {"src": "c", "type": "local"}]),
        (["app.cache-to=type=inline"], "cache-to", [{"type": "inline"}]),
        (["app.no-cache-filter=a"], "no-cache-filter", ["a"]),
        (["app.entitlements=security.insecure"], "entitlements", ["security.insecure"]),
        (["app.network=host"], "entitlements", ["network.host"]),
        (["web*.dockerfile=foo", "*.args.VAR_BOTH=bar"], "args", {"VAR_BOTH": "bar", "VAR_INHERITED": "webDEP"}),
        (["*.output=type=tar,dest=x"], "output", [{"dest": "x", "type": "tar"}]),
    ],
)  # fmt: skip
def test_set_changes_a_target(baker: Baker, sets: list[str], name: str, expected: Any) -> None:
    assert baker.target(BASE, sets=sets, env={"FROM": "env"})[name] == expected


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        ("nosuch.context=foo", "could not find any target matching 'nosuch'"),
        ("no*.context=foo", "could not find any target matching 'no*'"),
        ("app.context", "invalid override app.context, expected target.name=value"),
        ("app", "invalid override key app, expected target.name"),
        ("app.platforms=x", "unknown key: platforms"),
        ("app.args=x", "args requires name"),
        ("app.secret.BAR=env=BAR", 'secret "BAR" must be declared before it can be overridden'),
        ("app.secret.FOO=id=BAR,env=BAR", 'secret override id "BAR" does not match declared secret "FOO"'),
        ("app.secret.FOO+=env=B", "does not support append"),
        ("app.resources.cpu-quota=no", "needs a whole number"),
        ("app.no-cache=maybe", "invalid value maybe for boolean key no-cache"),
        ("app.output=type=", "has no type"),
        ("app.attest=mode=max", "has no type"),
    ],
)
def test_what_cannot_be_set_is_told(baker: Baker, sets: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        baker.target(BASE, sets=[sets])
    assert message in str(caught.value)
    assert caught.value.remedy or "does not match" in message


PUSHED = {"push": "true", "type": "image"}


@pytest.mark.parametrize(
    ("output", "sets", "expected"),
    [
        ("", ["push=true"], [PUSHED]),
        ("type=image,compression=zstd", ["push=true"], [{"compression": "zstd", "push": "true", "type": "image"}]),
        ("type=image", ["push=false"], [{"push": "false", "type": "image"}]),
        ("type=registry", ["push=true"], [{"type": "registry"}]),
        ("type=registry", ["push=false"], None),
        ("type=local,dest=out", ["push=true"], [{"dest": "out", "type": "local"}]),
        ("", ["load=true"], [{"type": "docker"}]),
        ("type=docker", ["load=true"], [{"type": "docker"}]),
        ("type=image", ["load=true"], [{"type": "image"}, {"type": "docker"}]),
        ("type=image", ["load=false"], [{"type": "image"}]),
        ("type=registry", ["load=true"], [{"type": "registry"}, {"type": "docker"}]),
        ("type=oci,dest=out", ["load=true"], [{"dest": "out", "type": "oci"}, {"type": "docker"}]),
        ("type=docker,dest=out", ["load=true"], [{"dest": "out", "type": "docker"}, {"type": "docker"}]),
        ("type=local,dest=out", ["load=true"], [{"dest": "out", "type": "local"}]),
        ("", ["load=true", "push=true"], [PUSHED, {"type": "docker"}]),
        ("type=registry", ["load=true", "push=true"], [{"type": "registry"}, {"type": "docker"}]),
    ],
)
def test_push_and_load_change_outputs(baker: Baker, output: str, sets: list[str], expected: Any) -> None:
    text = 'target "app" {' + (f' output = ["{output}"] ' if output else "") + "}\n"
    assert baker.target(text, sets=[f"*.{item}" for item in sets]).get("output") == expected


GROUPS = """
group "default" { targets = ["image"] }
group "foo" { targets = ["image", "other"] }
group "all" { targets = ["foo", "third", "all"] }
target "image" { dockerfile = "test" }
target "other" {}
target "third" {}
target "foo" { dockerfile = "bar" }
"""


@pytest.mark.parametrize(
    ("targets", "names", "groups"),
    [
        ([], ["image"], {"default": ["image"]}),
        (["default"], ["image"], {"default": ["image"]}),
        (["other"], ["other"], {"default": ["other"]}),
        (["foo"], ["image", "other"], {"default": ["foo"], "foo": ["image", "other"]}),
        (["foo", "image"], ["image", "other"], {"default": ["foo", "image"], "foo": ["image", "other"]}),
        (["default", "other"], ["image", "other"], {"default": ["image", "other"]}),
        (["all"], ["image", "other", "all", "third"], None),
        (["th*", "o*er"], ["third", "other"], {"default": ["other", "third"]}),
    ],
)  # fmt: skip
def test_groups_mean_targets(baker: Baker, targets: list[str], names: list[str], groups: Any) -> None:
    if groups is None:  # a group may name a target that is called like itself
        document = baker.document(GROUPS + 'target "all" {}\n', targets=targets)
    else:
        document = baker.document(GROUPS, targets=targets)
        assert {name: group["targets"] for name, group in document["group"].items()} == groups
    assert sorted(document["target"]) == sorted(names)


@pytest.mark.parametrize(
    ("text", "targets", "message"),
    [
        ("", ["nosuch"], "failed to find target nosuch"),
        ("", ["no*"], 'could not find any target matching "no*"'),
        ('target "a" { inherits = ["b"] }\n', ["a"], "failed to find target b, which a inherits"),
        ('target "a" { contexts = {x = "target:b"} }\n', ["a"], "failed to find target b"),
        ('target "a" { contexts = {x = "target:a"} }\n', ["a"], "target a cannot link to itself"),
        ('target "a" { contexts = {x = "target:b"} }\ntarget "b" { contexts = {x = "target:a"} }\n', ["a"],
         "infinite loop from b to a: a -> b -> a"),
        ('target "a" {\n contexts = {x = "target:b"}\n platforms = ["linux/amd64", "linux/riscv64"]\n}\n'
         'target "b" { platforms = ["linux/amd64", "linux/arm64"] }\n', ["a"], "are not a subset of"),
    ],
)  # fmt: skip
def test_what_cannot_be_built_is_told(baker: Baker, text: str, targets: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        baker.document(text, targets=targets)
    assert message in str(caught.value)


def test_linked_targets_are_there_and_write_nothing(baker: Baker) -> None:
    text = """
    target "base" { entitlements = ["security.insecure"] }
    target "mid" {
      output = ["type=local,dest=foo"]
      contexts = { parent = "target:base" }
    }
    target "app" { contexts = { bar = "target:mid", gone = "" } }
    """
    found = baker.document(text, targets=["app"])["target"]
    assert sorted(found) == ["app", "base", "mid"]
    assert found["mid"]["output"] == [{"type": "cacheonly"}]
    assert found["app"]["contexts"] == {"bar": "target:mid"}
    assert found["app"]["entitlements"] == ["security.insecure"]
    asked = baker.document(text, targets=["app", "mid"])["target"]
    assert asked["mid"]["output"] == [{"dest": "foo", "type": "local"}]


def test_inherits_goes_deep_and_the_last_wins(baker: Baker) -> None:
    text = """
    target "a" { args = { foo = "123", bar = "234" } }
    target "b" {
      inherits = ["a"]
      args = { bar = "567" }
    }
    target "c" {
      inherits = ["a"]
      args = { baz = "890" }
    }
    target "d" { inherits = ["b", "c"] }
    target "x" { inherits = ["y"] }
    target "y" {
      inherits = ["x"]
      tags = ["t"]
    }
    """
    assert baker.target(text, name="d")["args"] == {"bar": "234", "baz": "890", "foo": "123"}
    assert baker.target(text, name="x")["tags"] == ["t"]  # a circle ends where it closes


def test_lists_are_replaced_or_added_as_buildx_has_it(baker: Baker) -> None:
    text = """
    target "base" {
      description = "base"
      tags = ["b", "b", ""]
      cache-from = ["one"]
      cache-to = ["one"]
      no-cache-filter = ["x"]
      attest = ["type=sbom", "type=provenance,mode=min"]
      ssh = ["default"]
      labels = { keep = "1", gone = null }
    }
    target "app" {
      inherits = ["base"]
      cache-from = ["one", "two"]
      cache-to = ["two"]
      no-cache-filter = ["y"]
      attest = ["type=provenance,mode=max"]
      ssh = [{ id = "default", paths = ["p"] }]
    }
    """
    found = baker.target(text)
    assert found["description"] == "base"
    assert found["tags"] == ["b"]
    assert [entry["ref"] for entry in found["cache-from"]] == ["one", "two"]
    assert [entry["ref"] for entry in found["cache-to"]] == ["two"]
    assert found["no-cache-filter"] == ["x", "y"]
    assert found["attest"] == [{"type": "sbom"}, {"mode": "max", "type": "provenance"}]
    assert found["ssh"] == [{"id": "default", "paths": ["p"]}]
    assert found["labels"] == {"keep": "1"}


def test_a_target_called_default_counts_where_it_is_asked_for_first(baker: Baker) -> None:
    text = 'target "x" {}\ntarget "default" {}\n'
    assert baker.document(text, targets=["x", "default"])["group"] == {"default": {"targets": ["x"]}}
    assert baker.document(text, targets=["default", "x"])["group"] == {"default": {"targets": ["default", "x"]}}
