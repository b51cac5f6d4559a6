"""Compose files become a project."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tiffin.builder.api.compose.document import document_text
from tiffin.builder.api.compose.life import restarted_with
from tiffin.builder.api.compose.naming import config_hash
from tiffin.builder.compose.model.values import Project
from tiffin.builder.compose.yaml_files import read_yaml, write_yaml
from tiffin.builder.errors import ComposeError, TiffinError, UsageError

Load = Callable[..., Project]
WEB = "services:\n  web:\n    image: a\n"


def web(body: str) -> str:
    return "services:\n  web:\n    image: a\n" + "".join(f"    {line}\n" for line in body.split("\n"))


def test_short_forms_are_long_ones(load: Load) -> None:
    service = load(
        web(
            'ports: ["8080:80", "127.0.0.1:90-91:90-91/udp", 70, "[::1]:1:2"]\n'
            "volumes: [./src:/a:ro, data:/b/, /c]\ndepends_on: [db]\nenvironment: [A=b, C]\n"
            "command: sh -c 'a b'\ntmpfs: /run\nnetworks: [front]"
        )
        + "  db: {image: b}\nvolumes: {data: }\nnetworks: {front: }\n",
        {"C": "d"},
    ).services["web"]
    ports = [(port.host_ip, port.published, port.target, port.protocol) for port in service.ports]
    assert ports == [
        ("", "8080", 80, "tcp"), ("127.0.0.1", "90", 90, "udp"), ("127.0.0.1", "91", 91, "udp"), ("", "", 70, "tcp"),
        ("::1", "1", 2, "tcp"),
    ]  # fmt: skip
    mounts = [(mount.kind, Path(mount.source).name, mount.target, mount.read_only) for mount in service.mounts]
    assert mounts == [("bind", "src", "/a", True), ("volume", "data", "/b", False), ("volume", "", "/c", False)]
    assert service.command == ("sh", "-c", "a b")
    assert service.environment == {"A": "b", "C": "d"}
    assert service.depends_on["db"].condition == "service_started"
    assert service.tmpfs == ("/run",)


def test_names_of_a_project_and_its_resources(load: Load) -> None:
    text = WEB + "volumes: {a: , b: {name: own}, c: {external: true}}\n"
    project = load(text)
    assert project.name == "demo"
    assert [volume.name for volume in project.volumes.values()] == ["demo_a", "own", "c"]
    assert project.networks["default"].name == "demo_default"
    assert load(text, name="other").networks["default"].name == "other_default"
    assert load(text, {"COMPOSE_PROJECT_NAME": "x1"}).name == "x1"
    assert load(f"name: ${{N:-in}}-file\n{text}").name == "in-file"
    with pytest.raises(UsageError, match="invalid project name"):
        load(text, name="Bad!")


def test_files_over_files(load: Load) -> None:
    below = web("command: a\nports: ['80:80']\nenvironment: {A: 1, B: 2}\nlabels: [x=1]\ntmpfs: [/a]")
    over = web("command: b\nports: ['81:81']\nenvironment: [B=3]\nlabels: {x: 2}\ntmpfs: !override [/b]")
    project = load(below, files=("compose.yaml", "over.yaml"), others={"over.yaml": over})
    service = project.services["web"]
    assert service.command == ("b",)
    assert [port.published for port in service.ports] == ["80", "81"]
    assert service.environment == {"A": "1", "B": "3"}
    assert service.labels == {"x": "2"}
    assert service.tmpfs == ("/b",)


def test_reset_takes_away(load: Load) -> None:
    over = "services: {web: {ports: !reset [], environment: {A: !reset null}}}"
    project = load(
        web("ports: ['80:80']\nenvironment: {A: 1, B: 2}"),
        others={"compose.override.yaml": over},
    )
    assert project.services["web"].ports == ()
    assert project.services["web"].environment == {"B": "2"}


def test_extends_of_the_same_file_and_of_another(load: Load) -> None:
    other = "services: {base: {image: b, build: ., env_file: e.env, environment: {A: 1}, extends: {service: first}}, "
    other += "first: {image: c, user: me, volumes: ['./v:/v']}}"
    project = load(
        "services:\n  one: {extends: {file: sub/o.yaml, service: base}, environment: {B: 2}}\n"
        "  two: {extends: one, image: d}\n",
        others={"sub/o.yaml": other, "sub/e.env": "E=f\n"},
    )
    one, two = project.services["one"], project.services["two"]
    assert (one.image, one.user, two.image, two.user) == ("b", "me", "d", "me")
    assert one.environment == {"E": "f", "A": "1", "B": "2"}
    assert one.build is not None
    assert Path(one.build.context).name == "sub"
    assert one.mounts[0].source.endswith("/sub/v")


def test_include(load: Load) -> None:
    project = load(
        "include: [sub/compose.yaml]\nservices: {web: {image: a, depends_on: [db]}, db: {user: me}}\n",
        others={"sub/compose.yaml": "services: {db: {image: $IMAGE, volumes: ['./d:/d']}}\n", "sub/.env": "IMAGE=pg\n"},
    )
    database = project.services["db"]
    assert (database.image, database.user) == ("pg", "me")
    assert database.mounts[0].source.endswith("/sub/d")


def test_circles_are_told(load: Load) -> None:
    with pytest.raises(ComposeError, match="extends goes round in a circle"):
        load("services: {a: {extends: b}, b: {extends: a}}")
    with pytest.raises(ComposeError, match="include goes round in a circle"):
        load("include: [compose.yaml]\nservices: {}")


def test_anchors_and_merge_keys(load: Load) -> None:
    text = "x-base: &base {image: a, user: me}\nservices: {web: {<<: *base, user: you}, db: {<<: [*base]}}\n"
    services = load(text).services
    assert (services["web"].image, services["web"].user, services["db"].user) == ("a", "you", "me")


def test_profiles(load: Load) -> None:
    text = WEB + "  debug: {image: b, profiles: [dev]}\n"
    assert list(load(text).services) == ["web"]
    assert list(load(text, profiles=("dev",)).services) == ["web", "debug"]
    assert list(load(text, {"COMPOSE_PROFILES": "x,dev"}).services) == ["web", "debug"]
    assert list(load(text, services=("debug",)).services) == ["web", "debug"]
    with pytest.raises(ComposeError, match="profile is not active"):
        load(text + "  app: {image: c, depends_on: [debug]}\n")
    load(text + "  app: {image: c, depends_on: {debug: {condition: service_started, required: false}}}\n")


def test_env_files_stand_below_the_environment(load: Load) -> None:
    text = web("env_file: [a.env, {path: none.env, required: false}]\nenvironment: {B: own}")
    project = load(text, {"X": "y"}, others={"a.env": "A=$X\nB=file\n"})
    assert project.services["web"].environment == {"A": "y", "B": "own"}
    with pytest.raises(ComposeError, match=r"compose.yaml:4: services.web.env_file: .*none.env is not there"):
        load(web("env_file: none.env"))


def test_dotenv_fills_in_below_the_environment(load: Load) -> None:
    text = "services: {web: {image: '$A-$B'}}"
    assert load(text, {"A": "1"}, others={".env": "A=2\nB=3\n"}).services["web"].image == "1-3"
    others = {"own.env": "A=4\nB=5\n"}
    assert load(text, env_files=("own.env",), others=others).services["web"].image == "4-5"


@pytest.mark.parametrize(
    ("body", "line", "why"),
    [
        ("volums: [a]", 4, 'services.web has an unknown key "volums"; did you mean "volumes"'),
        ("ports: {a: b}", 4, "services.web.ports must be a list, not a mapping"),
        ("tty: [1]", 4, "services.web.tty must be true or false or a text"),
        ("user: me\nports: ['80:x']", 5, '"x" is not a port'),
        ("networks: [nowhere]", 4, 'refers to "nowhere", which is not among networks'),
        ("volumes: [data:/a]", 4, 'refers to "data", which is not among volumes'),
        ("secrets: [s]", 4, 'refers to "s", which is not among secrets'),
        ("depends_on: [db]", 4, 'depends on "db", which is not among services'),
        ("user: $" + "{U:?say who}", 4, "required variable U is missing a value: say who"),
        ("stop_grace_period: soon", 4, 'invalid duration "soon"'),
        ("mem_limit: lots", 4, '"lots" is not a valid size'),
        ("image: b", 4, 'key "image" stands here twice, first on line 3'),
        ("network_mode: host\nnetworks: [default]", 4, "has network_mode and networks"),
        ("scale: 2\ncontainer_name: one", 5, "has container_name and a scale above 1"),
        ("healthcheck:\n  test: [a]", 5, "healthcheck.test begins with CMD"),
        ("tmpfs: /a\nvolumes: [/a]", 5, "mounts two things on /a"),
        ("command: 'a \"b'", 4, "no closing quotation"),
    ],
)
def test_what_is_wrong_is_told_by_name_and_line(load: Load, body: str, line: int, why: str) -> None:
    with pytest.raises(TiffinError) as caught:
        load(web(body))
    assert f"compose.yaml:{line}: " in str(caught.value)
    assert why in str(caught.value)


def test_what_is_not_done_is_kept_with_its_line(load: Load) -> None:
    service = load(web("cpu_count: 2\nvolumes:\n- {type: npipe, source: b, target: /a}")).services["web"]
    assert [(one.what, one.place.line) for one in service.refusals] == [
        ("services.web.cpu_count", 4),
        ("services.web.volumes[0]: type npipe", 6),
    ]


@pytest.mark.thorough
def test_a_bomb_of_aliases_is_refused() -> None:
    rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    rows += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    with pytest.raises(ComposeError, match="holds too much"):
        list(read_yaml("\n".join(rows), "bomb"))


def test_words_are_what_yaml_1_2_says() -> None:
    (found,) = read_yaml("a: yes\nb: true\nc: 0o17\nd: 017\ne: 1e3\nf: ~\ng: 12:30\nh: !!str 8\ni: '8'\nj: 0xf", "x")
    wanted = {
        "a": "yes",
        "b": True,
        "c": 15,
        "d": 15,
        "e": 1000.0,
        "f": None,
        "g": "12:30",
        "h": "8",
        "i": "8",
        "j": 15,
    }
    assert dict(found) == wanted
    (again,) = read_yaml(write_yaml(found), "x")
    assert dict(again) == wanted


def test_the_document_of_a_project_loads_as_the_same_project(load: Load) -> None:
    text = web("command: echo $$HOME\nports: ['80']\nvolumes: [d:/d]\nlabels: {n: 1}") + "volumes: {d: }\n"
    project = load(text)
    written = document_text(project, project.services, as_json=False, escapes=True)
    again = load(written)
    assert document_text(again, again.services, as_json=False, escapes=True) == written
    assert config_hash(again, again.services["web"]) == config_hash(project, project.services["web"])


def test_the_hash_tells_what_a_container_is_made_of(load: Load) -> None:
    def hash_of(body: str, **more: object) -> str:
        project = load(web(body), **more)
        return config_hash(project, project.services["web"])

    assert hash_of("scale: 1") == hash_of("scale: 2") == hash_of("profiles: [a]", profiles=("a",))
    assert hash_of("user: a") != hash_of("user: b")


def test_what_is_restarted_with_a_service_is_restarted_through_others_too(load: Load) -> None:
    text = WEB + (
        "  app: {image: a, depends_on: {web: {condition: service_started, restart: true}}}\n"
        "  edge: {image: a, depends_on: {app: {condition: service_started, restart: true}}}\n"
        "  calm: {image: a, depends_on: [web, app, edge]}\n"
    )
    project = load(text)
    assert restarted_with(["web"], project) == {"app", "edge"}
    assert restarted_with(["edge", "app"], project) == set()
