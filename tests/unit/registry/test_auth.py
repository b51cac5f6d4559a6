"""Where credentials are looked for, which of several counts, and what never stands in the way."""

from __future__ import annotations

import base64
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.fakes.registry import PASSWORD, USER, fake_registry
from tiffin.builder.errors import UnauthorizedError, UsageError
from tiffin.builder.registry.auth.credentials import RegistryCredentials, registry_of
from tiffin.builder.registry.auth.files import DockerConfig
from tiffin.builder.registry.client import RegistryClient
from tiffin.builder.registry.transport import RegistryOptions

HUB = "https://index.docker.io/v1/"


def entry(user: str, secret: str = "p") -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{secret}".encode()).decode()}


def write(path: Path, document: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def helper(folder: Path, name: str, script: str) -> str:
    path = folder / f"docker-credential-{name}"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return f"{folder}:/usr/bin:/bin"


def user_for(environ: Mapping[str, str], registry: str = "h.io", repository: str = "") -> str | None:
    found = DockerConfig.load(environ).credentials_for(registry, repository)
    return (found.username or f"token {found.identity_token}") if found else None


@pytest.mark.parametrize(
    ("auths", "registry", "repository", "user"),
    [
        ({"https://h.io/v1/": entry("old"), "h.io": entry("new")}, "h.io", "", "new"),
        ({"https://h.io": entry("old")}, "h.io", "", "old"),
        ({"http://h.io/v2/": entry("old")}, "h.io", "", "old"),
        ({"h.io/v1": entry("old")}, "h.io", "", "old"),
        ({"h.io:5000": entry("other")}, "h.io", "", None),
        ({"h.io": entry("host"), "h.io/team": entry("team"), "h.io/team/app": entry("app")}, "h.io", "team/app", "app"),
        ({"h.io": entry("host"), "h.io/team": entry("team")}, "h.io", "team/app/deep", "team"),
        ({"h.io": entry("host"), "h.io/team": entry("team")}, "h.io", "teams/app", "host"),
        ({"h.io": entry("host"), "h.io/team": entry("team")}, "h.io", "", "host"),
        ({"h.io/team": entry("team")}, "h.io", "other", None),
        ({"h.io:1/team": entry("team")}, "h.io:1", "team", "team"),
        ({"docker.io": entry("plain"), HUB: entry("hub")}, "docker.io", "library/x", "hub"),
        ({"docker.io/me": entry("me"), HUB: entry("hub")}, "docker.io", "me/x", "me"),
        ({"registry-1.docker.io": entry("r1")}, "docker.io", "", "r1"),
        ({"https://index.docker.io/v2/": entry("v2")}, "docker.io", "", "v2"),
        ({"h.io": {"auth": "dTpw\nOnE=\n"}}, "h.io", "", "u"),
        ({"h.io": {"auth": base64.b64encode(b"ab:c").decode().rstrip("=")}}, "h.io", "", "ab"),
        ({"h.io": {"auth": "!!"}, "https://h.io": entry("old")}, "h.io", "", "old"),
        ({"h.io": {}, "https://h.io": entry("old")}, "h.io", "", "old"),
        ({"h.io": None}, "h.io", "", None),
        ({"h.io": {"auth": "", "username": "n", "password": "p"}}, "h.io", "", "n"),
        ({"h.io": {"identitytoken": "t", **entry("00000000-0000-0000-0000-000000000000", "")}}, "h.io", "", "token t"),
    ],
)  # fmt: skip
def test_which_entry_counts(
    tmp_path: Path, auths: dict[str, object], registry: str, repository: str, user: str | None
) -> None:
    write(tmp_path / "config.json", {"auths": auths})
    assert user_for({"DOCKER_CONFIG": str(tmp_path)}, registry, repository) == user


def test_places_in_their_order(tmp_path: Path) -> None:
    """Each is found alone, and goes before those behind it."""
    environ = {"HOME": str(tmp_path / "home"), "XDG_RUNTIME_DIR": str(tmp_path / "run")}
    environ["XDG_CONFIG_HOME"] = str(tmp_path / "xdg")
    places = [
        tmp_path / "home/.config/containers/auth.json",
        tmp_path / "xdg/containers/auth.json",
        tmp_path / "run/containers/auth.json",
        tmp_path / "home/.docker/config.json",
    ]
    for number, path in enumerate(places):
        write(path, {"auths": {"h.io": entry(str(number))}})
        assert user_for(environ) == str(number)
    environ["REGISTRY_AUTH_FILE"] = str(write(tmp_path / "named.json", {"auths": {"h.io": entry("named")}}))
    assert user_for(environ) == "named"
    environ["DOCKER_AUTH_CONFIG"] = json.dumps({"auths": {"h.io": entry("variable")}})
    assert user_for(environ) == "variable"
    assert user_for({**environ, "GITLAB_CI": "true"}) == "3", (
        "a login in the job goes before what the runner pulls with"
    )
    assert user_for({**environ, "GITLAB_CI": "true"}, "other.io") is None
    for path in places:
        path.unlink()
    assert user_for({**environ, "GITLAB_CI": "true"}) == "variable"


GOOD = 'echo \'{"Username":"helped","Secret":"s"}\''


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("document", "user", "problem"),
    [
        ({"credsStore": "good"}, "helped", ""),
        ({"credHelpers": {"h.io": "good"}, "auths": {"h.io": entry("file")}}, "helped", ""),
        ({"credHelpers": {"h.io": ""}, "credsStore": "good", "auths": {"h.io": entry("file")}}, "file", ""),
        ({"credHelpers": {"other.io": "good"}, "auths": {"h.io": entry("file")}}, "file", ""),
        ({"credsStore": "none", "auths": {"h.io": entry("file")}}, "file", ""),
        ({"credsStore": "desktop.exe"}, None, "docker-credential-desktop.exe is not installed"),
        ({"credsStore": "osxkeychain", "auths": {"h.io": entry("file")}}, "file", "osxkeychain is not installed"),
        ({"credHelpers": {"h.io": "absent"}, "auths": {"h.io": entry("file")}}, "file", "absent is not installed"),
        ({"credsStore": "bad"}, None, "docker-credential-bad failed: boom"),
        ({"credsStore": "garbage"}, None, "docker-credential-garbage gave an unreadable answer"),
        ({"credsStore": "binary"}, None, "unreadable"),
        ({"credsStore": "empty"}, None, ""),
        ({"credsStore": "../bad"}, None, "is not installed"),
        ({"credsStore": 7, "credHelpers": [], "auths": "x"}, None, "is not installed"),
        ({"credsStore": "token"}, "token t3", ""),
        ("", None, ""),
        (" \n", None, ""),
        ("{", None, "it is not valid JSON"),
        ("[]", None, "it is not a JSON object"),
        ("\ufeff{}", None, ""),
        ({"auths": {"h.io": {"auth": "c2VjcmV0"}}}, None,
            ("entry for h.io in .* cannot be used: it is not NAME:PASSWORD")),
    ],
)  # fmt: skip
def test_nothing_blocks_who_needs_no_credentials(
    tmp_path: Path, document: object, user: str | None, problem: str
) -> None:
    """A helper that is missing or fails, and a file that is damaged, are told when a registry refuses us, not
    before.
    """
    helper(tmp_path, "good", GOOD)
    helper(tmp_path, "bad", "echo boom >&2; exit 1")
    helper(tmp_path, "garbage", "echo s3cret")
    helper(tmp_path, "binary", "printf '\\377\\376'")
    helper(tmp_path, "empty", 'echo \'{"Username":"","Secret":""}\'')
    helper(tmp_path, "token", 'echo \'{"Username":"<token>","Secret":"t3"}\'')
    path = helper(tmp_path, "none", "echo credentials not found in native keychain; exit 1")
    write(tmp_path / "config.json", document)
    environ = {"DOCKER_CONFIG": str(tmp_path), "PATH": path}
    assert user_for(environ) == user
    for auth in ("bearer", "basic"):
        with fake_registry(auth=auth) as fake:
            config = DockerConfig.load(environ)
            registry = RegistryClient(fake.host, config, RegistryOptions(tries=1))
            if auth == "bearer":  # its token service asks for nothing
                assert registry.head_manifest("x", "y") is None
                continue
            if problem and user is None and "h.io" not in str(document):
                with pytest.raises(UnauthorizedError, match=f"401.*{problem}.*run tiffin login {fake.host}") as caught:
                    registry.head_manifest("x", "y")
                assert "s3cret" not in str(caught.value)


@pytest.mark.attack("T12")
def test_helpers_are_not_looked_for_in_the_current_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = helper(tmp_path, "good", GOOD)
    (tmp_path / "docker-credential-x").mkdir()
    monkeypatch.chdir(tmp_path)
    for name, search in (("good", ".:relative"), ("x/../docker-credential-good", path), ("../good", path)):
        write(tmp_path / "config.json", {"credsStore": name})
        assert user_for({"DOCKER_CONFIG": str(tmp_path), "PATH": search}) is None


def test_helper_is_asked_once(tmp_path: Path) -> None:
    path = helper(tmp_path, "good", f"echo x >> {tmp_path}/asked; {GOOD}")
    write(tmp_path / "config.json", {"credsStore": "good"})
    config = DockerConfig.load({"DOCKER_CONFIG": str(tmp_path), "PATH": path})
    for repository in ("a", "a", "a"):
        assert config.credentials_for("h.io", repository)
    assert (tmp_path / "asked").read_text() == "x\n"


def test_parts_of_a_registry_have_credentials_of_their_own(tmp_path: Path) -> None:
    with fake_registry(auth="basic") as fake:
        auths = {fake.host: entry("nobody"), f"{fake.host}/team": entry(USER, PASSWORD)}
        write(tmp_path / "config.json", {"auths": auths})
        registry = RegistryClient(
            fake.host, DockerConfig.load({"DOCKER_CONFIG": str(tmp_path)}), RegistryOptions(tries=1)
        )
        assert registry.head_manifest("team/app", "y") is None
        with pytest.raises(UnauthorizedError):
            registry.head_manifest("other/app", "y")
        assert registry.head_manifest("team/other", "y") is None


@pytest.mark.parametrize(
    ("text", "registry"),
    [
        ("h.io", "h.io"),
        ("https://h.io", "h.io"),
        ("http://h.io:5000/", "h.io:5000"),
        ("https://h.io/v1/", "h.io"),
        ("h.io/v2/", "h.io"),
        ("h.io/team/app", "h.io"),
        ("H.io", "h.io"),
        ("docker.io", "docker.io"),
        ("index.docker.io", "docker.io"),
        ("https://index.docker.io/v1/", "docker.io"),
        ("https://registry-1.docker.io/v2", "docker.io"),
        ("[::1]:5000", "[::1]:5000"),
        ("", None),
        ("https://", None),
        ("a b", None),
        ("user:secret@h.io", None),
    ],
)
def test_what_login_takes_for_a_registry(text: str, registry: str | None) -> None:
    if registry is None:
        with pytest.raises(UsageError, match="is not a valid registry") as caught:
            registry_of(text)
        assert "secret" not in str(caught.value)
    else:
        assert registry_of(text) == registry


def test_saved_credentials_keep_the_rest_of_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "config.json", {"auths": {"other": {"auth": "x"}, "h.io/team": {}}, "psFormat": "y"})
    DockerConfig.load({"DOCKER_CONFIG": str(tmp_path)}).save("h.io", RegistryCredentials(username="u", password="p"))
    assert path.stat().st_mode & 0o777 == 0o600
    document = json.loads(path.read_text())
    assert set(document["auths"]) == {"other", "h.io", "h.io/team"} and document["psFormat"] == "y"
    after = DockerConfig.load({"DOCKER_CONFIG": str(tmp_path)})
    assert after.erase("h.io") and not after.erase("h.io")


def test_login_replaces_every_name_of_a_registry(tmp_path: Path) -> None:
    path = write(
        tmp_path / "config.json", {"auths": {"https://h.io/v1/": entry("old"), "https://other.io": entry("o")}}
    )
    config = DockerConfig.load({"DOCKER_CONFIG": str(tmp_path)})
    config.save("h.io", RegistryCredentials(username="new", password="p"))
    assert list(json.loads(path.read_text())["auths"]) == ["https://other.io", "h.io"]
    assert config.erase("h.io") and list(json.loads(path.read_text())["auths"]) == ["https://other.io"]


@pytest.mark.parametrize("target", ["real.json", "deep/real.json"])
@pytest.mark.parametrize("exists", [True, False])
def test_linked_file_stays_linked(tmp_path: Path, target: str, exists: bool) -> None:
    (tmp_path / "docker").mkdir()
    if exists:
        write(tmp_path / target, {"psFormat": "y"})
    link = tmp_path / "docker/config.json"
    link.symlink_to(f"../{target}")
    config = DockerConfig.load({"DOCKER_CONFIG": str(tmp_path / "docker")})
    config.save("h.io", RegistryCredentials(username="u", password="p"))
    assert link.is_symlink() and os.readlink(link) == f"../{target}"
    assert "h.io" in json.loads((tmp_path / target).read_text())["auths"]
    assert [item.name for item in link.parent.iterdir()] == ["config.json"]


@pytest.mark.parametrize("text", ["{", "[]", '{"auths": '])
def test_damaged_file_is_not_written_over(tmp_path: Path, text: str) -> None:
    path = write(tmp_path / "config.json", text)
    config = DockerConfig.load({"DOCKER_CONFIG": str(tmp_path)})
    for act in (
        lambda: config.save("h.io", RegistryCredentials(username="u", password="p")),
        lambda: config.erase("h.io"),
    ):
        with pytest.raises(
            UsageError,
            match=r"config\.json cannot be read: it is not (valid JSON|a JSON object).*; repair or remove it",
        ):
            act()
    assert path.read_text() == text


def test_empty_file_is_written(tmp_path: Path) -> None:
    path = write(tmp_path / "config.json", "")
    DockerConfig.load({"DOCKER_CONFIG": str(tmp_path)}).save("h.io", RegistryCredentials(username="u", password="p"))
    assert json.loads(path.read_text())["auths"]["h.io"] == entry("u")
