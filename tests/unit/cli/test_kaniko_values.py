"""What lines of Kaniko's executor ask for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tiffin.builder.api.build_options import ONE, BuildOptions
from tiffin.builder.cli.fast_parser import parse
from tiffin.builder.cli.options.kaniko.arguments import KanikoArguments
from tiffin.builder.cli.options.kaniko.values import kaniko_options
from tiffin.builder.errors import TiffinError, UsageError


def asked(*words: str, **environ: str) -> BuildOptions:
    values = parse_values(*words)
    return kaniko_options(KanikoArguments(values), environ)


def parse_values(*words: str) -> dict[str, object]:
    rows = {name: row for row in KanikoArguments.rows for name in row.names}
    values: dict[str, object] = {}
    for word in words:
        name, _, value = word.partition("=")
        row = rows[name]
        if isinstance(row.default, tuple):
            values[row.field] = (*values.get(row.field, ()), value)  # type: ignore[misc]
        else:
            values[row.field] = (value or "true") == "true" if isinstance(row.default, bool) else value
    return values


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "app").mkdir()
    (tmp_path / "app/Dockerfile").write_text("FROM scratch\n")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path / "app"


def test_a_push_with_a_cache(context: Path) -> None:
    options = asked(f"--context={context}", "--destination=reg.example/a:1", "--cache=true", "--target=one,two")
    assert (options.context, options.target, options.use_cache) == (str(context), "one", True)
    assert [(spec.place, spec.reads, spec.mode) for spec in options.caches if spec.writes] == [
        ("reg.example/a/cache", False, "max")
    ]
    assert [(spec.kind, spec.push) for spec in options.outputs] == [("registry", True)]
    assert not asked(f"--context={context}", "--no-push=true").use_cache


def test_outputs_and_forms(context: Path, tmp_path: Path) -> None:
    options = asked(
        f"--context={context}", "--no-push=true", f"--tar-path={tmp_path}/a,b.tar", f"--oci-layout-path={tmp_path}/l",
        "--compression=gzip", "--compression-level=3", "--image-format=docker", "--reproducible=true",
        "--single-snapshot=true",
    )  # fmt: skip
    archive, layout = options.outputs
    assert (archive.kind, archive.dest, archive.names) == (
        "docker", f"{tmp_path}/a,b.tar", ("unset-repo/unset-image-name",),
    )  # fmt: skip
    assert (layout.kind, layout.is_directory, layout.oci_types, layout.compression_level) == ("oci", True, False, 3)
    assert (options.epoch, options.layering) == (0, ONE)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("dir:///srv/app", "/srv/app"),
        ("/srv/app", "/srv/app"),
        ("tar:///c.tgz", "/c.tgz"),
        ("tar://stdin", "-"),
        ("https://h/c.tgz", "https://h/c.tgz"),
        ("s3://bucket/c.tgz", "s3://bucket/c.tgz"),
        ("git://h/team/app", "git+https://h/team/app?submodules=false"),
        ("git://h/team/app.git#refs/heads/x", "git+https://h/team/app.git?submodules=false&ref=refs%2Fheads%2Fx"),
        ("git://h/a#refs/heads/x#0123abc", "git+https://h/a?submodules=false&ref=0123abc"),
    ],
)
def test_forms_of_contexts(text: str, expected: str, context: Path) -> None:
    assert asked(f"--context={text}", "--no-push=true").context == expected


def test_a_repository_with_a_user_and_a_branch(context: Path) -> None:
    options = asked(
        "--context=git://who@h/a", "--no-push=true", "--git=branch=dev,recurse-submodules=true",
        GIT_TOKEN="t0ken", GIT_PULL_METHOD="http",
    )  # fmt: skip
    assert options.context == "git+http://who@h/a?submodules=true&ref=dev"
    assert options.secrets == {"GIT_AUTH_HEADER.h": b"basic dDBrZW46"}


def test_the_dockerfile_of_the_working_directory_wins(context: Path) -> None:
    assert asked(f"--context={context}", "--no-push=true").file == ""
    assert asked(f"--context={context}", "--no-push=true", "--dockerfile=d/F").file == f"{context}/d/F"
    own = context.parent / "elsewhere/Dockerfile"
    own.write_text("FROM other\n")
    assert asked(f"--context={context}", "--no-push=true").file == str(own)
    assert asked("--context=tar:///c.tgz", "--no-push=true").dockerfile == "FROM other\n"


def test_how_registries_are_reached(context: Path, tmp_path: Path) -> None:
    for name in ("ca", "cert", "key"):
        (tmp_path / name).write_text("")
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker/config.json").write_text("{}")
    access = asked(
        f"--context={context}", "--destination=reg.example/a", "--insecure=true", "--insecure-pull=true",
        "--registry-mirror=m.example", "--registry-map=index.docker.io=x;quay.io=y/z", "--registry-map=quay.io=w",
        f"--registry-certificate=h={tmp_path}/ca", f"--registry-client-cert=h={tmp_path}/cert,{tmp_path}/key",
        "--skip-default-registry-fallback=true", f"--kaniko-dir={tmp_path}", KANIKO_REGISTRY_MIRROR="n.example",
    ).registry  # fmt: skip
    assert access.insecure == ("reg.example", "*")
    assert access.mirrors == ("m.example", "n.example")
    assert access.mirrors_of == {"docker.io": ("x",), "quay.io": ("y/z", "w")}
    assert access.only_mirrors
    assert access.certificates["h"].files == (f"{tmp_path}/ca",)
    assert access.certificates["h"].pairs == ((f"{tmp_path}/cert", f"{tmp_path}/key"),)
    assert access.environment({})["DOCKER_CONFIG"] == f"{tmp_path}/.docker"


@pytest.mark.parametrize(
    "words",
    [
        ["--context=."],
        ["--context=.", "--no-push=true", "--cache=true"],
        ["--context=gs://b/f", "--no-push=true"],
        ["--context=ftp://b/f", "--no-push=true"],
        ["--context=.", "--no-push=true", "--git=branch"],
        ["--context=.", "--no-push=true", "--git=depht=1"],
        ["--context=.", "--no-push=true", "--git=insecure-skip-tls=true"],
        ["--context=.", "--no-push=true", "--registry-client-cert=h=only"],
        ["--context=.", "--no-push=true", "--registry-certificate=h=/no/such"],
        ["--context=.", "--destination=Upper"],
    ],
)
def test_what_cannot_be_is_refused(words: list[str], context: Path) -> None:
    with pytest.raises(TiffinError):
        asked(*words)


def test_no_push_comes_from_the_environment_too(context: Path) -> None:
    assert asked(f"--context={context}", KANIKO_NO_PUSH="true").outputs[0].push is False
    with pytest.raises(UsageError, match="KANIKO_NO_PUSH"):
        asked(f"--context={context}", KANIKO_NO_PUSH="maybe")


def test_the_rows_are_read_by_the_quick_parser() -> None:
    found = parse(KanikoArguments, ["--context", "x", "-d", "a", "-d", "b", "--cache"], {})
    assert found == {"context": "x", "destinations": ("a", "b"), "cache": True, "words": ()}
