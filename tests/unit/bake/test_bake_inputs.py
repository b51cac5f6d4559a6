"""Contexts and Dockerfiles of targets, what --allow grants, definitions from files and repositories."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tiffin.builder.api.bake.definitions import Request, read_definition
from tiffin.builder.api.session import Session
from tiffin.builder.bake.definition import Target
from tiffin.builder.bake.entitlements import check, read_grants
from tiffin.builder.bake.inputs import inputs_of, within
from tiffin.builder.bake.overrides import granted_by, read_overrides
from tiffin.builder.errors import UsageError
from tiffin.builder.events import NullSink
from tiffin.cache.foundation.frozen import replace

REPOSITORY = "https://git.example/app.git"


def target(**values: Any) -> Target:
    return Target(name="app", values={"context": ".", "dockerfile": "Dockerfile"}).having(**values)


@pytest.mark.parametrize(
    ("values", "remote", "context", "dockerfile"),
    [
        ({}, "", ".", "Dockerfile"),
        ({"context": "./db"}, "", "db", "db/Dockerfile"),
        ({"context": "cwd://foo"}, "", "foo", "foo/Dockerfile"),
        ({"context": "cwd://"}, "", ".", "Dockerfile"),
        ({"context": "a", "dockerfile": "../D"}, "", "a", "D"),
        ({"dockerfile": "/abs/D"}, "", ".", "/abs/D"),
        ({"context": "https://x.example/y.git"}, "", "https://x.example/y.git", "Dockerfile"),
        ({"dockerfile_inline": "FROM scratch"}, "", ".", ""),
        ({}, REPOSITORY, REPOSITORY, "Dockerfile"),
        ({"context": "sub"}, REPOSITORY, f"{REPOSITORY}#:sub", "Dockerfile"),
        ({"context": "cwd://"}, REPOSITORY, ".", "Dockerfile"),
    ],
)
def test_a_target_is_built_from_a_context(values: dict[str, str], remote: str, context: str, dockerfile: str) -> None:
    found = inputs_of(target(**values), remote)
    assert (found.context, found.dockerfile) == (context, dockerfile)


def test_a_dockerfile_may_be_the_callers() -> None:
    found = inputs_of(target(dockerfile="cwd://D"), REPOSITORY)
    assert found.dockerfile == os.path.abspath("D")


def test_targets_are_no_contexts_of_their_own() -> None:
    found = inputs_of(target(contexts={"a": "target:base", "b": "./x", "c": "docker-image://y", "d": ""}))
    assert found.needs == {"a": "base"}
    assert found.contexts == {"b": "x", "c": "docker-image://y"}
    assert found.local_paths() == [".", "x", "Dockerfile"]


@pytest.mark.parametrize("name", ["context", "dockerfile"])
def test_stdin_is_no_input(name: str) -> None:
    with pytest.raises(UsageError, match=f"target app: {name} from stdin not allowed in bake"):
        inputs_of(target(**{name: "-"}))


@pytest.mark.parametrize(
    ("url", "directory", "expected"),
    [
        (REPOSITORY, ".", REPOSITORY),
        (REPOSITORY, "a/../b", f"{REPOSITORY}#:b"),
        (f"{REPOSITORY}#main", "b", f"{REPOSITORY}#main:b"),
        (f"{REPOSITORY}#main:a", "b", f"{REPOSITORY}#main:a/b"),
        (f"{REPOSITORY}?ref=x&subdir=a", "b", f"{REPOSITORY}?ref=x&subdir=a/b"),
        ("https://x.example/file.tar", "b", "https://x.example/file.tar"),
        ("", "b", ""),
    ],
)
def test_a_directory_of_a_repository_has_a_url(url: str, directory: str, expected: str) -> None:
    assert within(url, directory) == expected


# -- what is granted ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "allowed", "missing"),
    [
        ({}, [], None),
        ({"context": "/etc"}, [], "fs.read=/etc"),
        ({"context": "/etc"}, ["fs.read=/etc"], None),
        ({"context": "/etc"}, ["fs=*"], None),
        ({"context": "/etc"}, ["fs.write=*"], "fs.read=/etc"),
        ({"contexts": {"a": "/usr"}}, ["fs.read=/etc"], "fs.read=/usr"),
        ({"secret": [{"id": "a", "src": "/etc/passwd"}]}, [], "fs.read=/etc/passwd"),
        ({"secret": [{"id": "a", "env": "A"}]}, [], None),
        ({"output": [{"type": "local", "dest": "/out"}]}, [], "fs.write=/out"),
        ({"output": [{"type": "local", "dest": "out"}]}, [], None),
        ({"cache_to": [{"type": "local", "dest": "/c"}], "cache_from": [{"type": "local", "src": "/c"}]}, [],
         "fs.read=/c, fs.write=/c"),
        ({"ssh": [{"id": "default"}]}, [], "ssh"),
        ({"ssh": [{"id": "default"}]}, ["ssh"], None),
        ({"ssh": [{"id": "k", "paths": ["/keys/k"]}]}, [], "fs.read=/keys/k"),
        ({"entitlements": ["network.host", "security.insecure"]}, ["network.host"], "security.insecure"),
        ({"entitlements": ["device=x"]}, ["device"], None),
        ({"entitlements": ["device=x"]}, ["device=y"], "device=x"),
    ],
)  # fmt: skip
def test_what_is_not_granted_is_told(values: dict[str, Any], allowed: list[str], missing: str | None) -> None:
    wanted = target(**values)
    grants = read_grants(allowed, os.getcwd())

    def look(environ: dict[str, str], *, remote: bool = False) -> None:
        check({"app": wanted}, {"app": inputs_of(wanted)}, grants, environ, remote=remote)

    if missing is None:
        look({})
        return
    with pytest.raises(UsageError) as caught:
        look({})
    assert caught.value.message == f"additional privileges requested: {missing}"
    assert f"--allow {missing.split(', ')[0]}" in caught.value.remedy
    if missing.startswith("fs."):
        look({"BUILDX_BAKE_ENTITLEMENTS_FS": "0"})
        look({"BAKE_ALLOW_REMOTE_FS_ACCESS": "1"}, remote=True)
        with pytest.raises(UsageError, match="additional privileges"):
            look({"BAKE_ALLOW_REMOTE_FS_ACCESS": "1"})


@pytest.mark.parametrize(
    ("sets", "granted"),
    [
        ("*.output=type=local,dest=/out", ["fs.write=/out"]),
        ("*.output=type=image", []),
        ("*.cache-to=type=local,dest=/c", ["fs.write=/c"]),
        ("*.cache-from=type=local,src=/c", ["fs.read=/c"]),
        ("*.cache-from=name", []),
        ("*.secrets=id=a,src=/s", ["fs.read=/s"]),
        ("*.ssh=k=/keys/k", ["fs.read=/keys/k"]),
        ("*.entitlements=network.host", ["network.host"]),
        ("*.entitlements=device", []),
        ("*.context=/etc", []),
        ("*.cache-to=", []),
    ],
)
def test_what_is_set_is_granted(sets: str, granted: list[str]) -> None:
    assert granted_by(read_overrides([sets], lambda name: None, ["app"])) == granted


def test_a_token_is_for_the_server_of_the_definition(tmp_path: Path) -> None:
    (tmp_path / "docker-bake.hcl").write_text('target "app" {}\n')
    found = read(tmp_path, environ={"BUILDX_BAKE_GIT_AUTH_TOKEN": "t"})
    assert found.secrets == {} and not found.is_beside(REPOSITORY)
    secrets = {"GIT_AUTH_TOKEN.git.example": b"t"}
    there = replace(found, remote=REPOSITORY, secrets=secrets)
    assert there.is_beside("https://git.example/other.git#x") and not there.is_beside("https://x.example/a.git")
    assert not there.is_beside(".")


def test_wrong_grants_are_told() -> None:
    with pytest.raises(UsageError, match='unknown entitlement key "nosuch"'):
        read_grants(["nosuch=1"], ".")
    with pytest.raises(UsageError, match="failed to parse BUILDX_BAKE_ENTITLEMENTS_FS"):
        check(
            {"app": target()},
            {"app": inputs_of(target())},
            read_grants([], "."),
            {"BUILDX_BAKE_ENTITLEMENTS_FS": "maybe"},
            remote=False,
        )
    grants = read_grants(["network.host", "image.push=x", "device=a", "ssh"], ".")
    assert grants.granted(["network.host", "security.insecure", "device=a", "device=b", "ssh"]) == (
        "device=a",
        "network.host",
    )


# -- files -------------------------------------------------------------------------------------------------------------


def read(tmp_path: Path, *words: str, **more: Any) -> Any:
    request = Request(
        files=more.get("files", ()),
        variables=more.get("variables", ()),
        words=words,
        environ=more.get("environ", {}),
        directory=str(tmp_path),
    )
    return read_definition(request, Session(tmp_path / "state"), NullSink())


def test_the_usual_files_are_found_in_their_order(tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_text("services:\n  app: {build: {context: ., tags: [a]}}\n")
    (tmp_path / "docker-bake.json").write_text('{"target": {"app": {"tags": ["b"]}}}')
    (tmp_path / "docker-bake.hcl").write_text('target "app" { tags = ["c"] }\ntarget "more" {}\n')
    assert read(tmp_path).config.targets["app"].values["tags"] == ["c"]
    (tmp_path / "docker-bake.override.hcl").write_text('target "app" { tags = ["d"] }\n')
    found = read(tmp_path, "app", "more")
    assert found.config.targets["app"].values["tags"] == ["d"]
    assert found.targets == ("app", "more")


def test_the_environment_names_files(tmp_path: Path) -> None:
    for name in ("one.hcl", "two.hcl"):
        (tmp_path / name).write_text(f'target "{name[:3]}" {{}}\n')
    assert list(read(tmp_path, environ={"BUILDX_BAKE_FILE": "one.hcl: two.hcl"}).config.targets) == ["one", "two"]
    environ = {"BUILDX_BAKE_FILE": "one.hcl,two.hcl", "BUILDX_BAKE_PATH_SEPARATOR": ","}
    assert list(read(tmp_path, environ=environ).config.targets) == ["one", "two"]
    assert list(read(tmp_path, files=("cwd://two.hcl",), environ=environ).config.targets) == ["two"]


def test_the_environment_may_be_left_out(tmp_path: Path) -> None:
    (tmp_path / "docker-bake.hcl").write_text('variable "A" { default = "x" }\ntarget "app" { target = A }\n')
    environ = {"A": "y"}
    assert read(tmp_path, environ=environ).config.targets["app"].values["target"] == "y"
    environ["BUILDX_BAKE_DISABLE_VARS_ENV_LOOKUP"] = "1"
    assert read(tmp_path, environ=environ).config.targets["app"].values["target"] == "x"
    assert read(tmp_path, environ=environ, variables=("A=z=1",)).config.targets["app"].values["target"] == "z=1"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({}, "couldn't find a bake definition"),
        ({"files": ("nosuch.hcl",)}, "open nosuch.hcl: No such file or directory"),
        ({"files": ("latin.hcl",)}, "latin.hcl is not UTF-8"),
        ({"variables": ("A",), "files": ("latin.hcl",)}, 'invalid variable "A", expected key=value'),
        ({"environ": {"BUILDX_BAKE_FILE_RELATIVE_PATHS": "maybe"}}, "failed to parse BUILDX_BAKE_FILE_RELATIVE_PATHS"),
    ],
)
def test_what_cannot_be_read_is_told(tmp_path: Path, more: dict[str, Any], message: str) -> None:
    (tmp_path / "latin.hcl").write_bytes(b"# \xe9\n")
    with pytest.raises(UsageError, match=message):
        read(tmp_path, **more)


def test_a_directory_of_definitions_rules_paths(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "bake.hcl").write_text('target "app" { context = "x" }\n')
    environ = {"BUILDX_BAKE_FILE_RELATIVE_PATHS": "1"}
    found = read(tmp_path, files=("sub/bake.hcl",), environ=environ)
    assert found.config.targets["app"].values["context"] == "sub/x"
