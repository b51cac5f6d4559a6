"""A service becomes the options of a container; jobs run in their order; lines are told apart."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tiffin.builder.api.compose.converge import donors
from tiffin.builder.api.compose.jobs import Job, run_jobs
from tiffin.builder.api.run_options import RunOptions
from tiffin.builder.api.session import Session
from tiffin.builder.cli.compose.service_lines import ServiceLines
from tiffin.builder.compose.model.order import chosen, in_order
from tiffin.builder.compose.model.values import Project
from tiffin.builder.containers.mounts import VolumeMount
from tiffin.builder.containers.run import ContainerOptions
from tiffin.builder.errors import ComposeError, ContainerError, TiffinError
from tiffin.builder.events import Event, NullSink, ResourceChanged, Sink, WarningMessage
from tiffin.builder.sandbox.child.spec import Bind

Load = Callable[..., Project]


def options(project: Project, tmp_path: Path, name: str = "web") -> tuple[RunOptions, ContainerOptions]:
    lines = ServiceLines(project, Session(tmp_path / "state"))
    made = lines.container(project.services[name], name="box", number=2, labels={"a": "b"})
    assert callable(made.container)
    return made, made.container()


def test_a_service_is_the_options_of_a_container(load: Load, tmp_path: Path) -> None:
    project = load(
        "services:\n  web:\n    image: busybox\n    entrypoint: [sh, -c]\n    command: [echo]\n"
        "    ports: ['8000-8009:80', '127.0.0.1::53/udp']\n    volumes: ['data:/a:ro', './made:/b', /c]\n"
        "    environment: {A: '1', B: }\n    user: me\n    working_dir: /w\n    stop_grace_period: 1m30s\n"
        "    mem_limit: 64m\n    ulimits: {nofile: {soft: 1, hard: 2}}\n    restart: on-failure:3\n"
        "    extra_hosts: ['x:192.0.2.1']\n    networks: {front: {aliases: [www]}}\n    stdin_open: true\n"
        "    healthcheck: {test: ['CMD', 'true'], interval: 2s, retries: 4}\n"
        "    logging: {options: {max-size: 1k}}\n    configs: [{source: c, target: /c.conf}]\n"
        "networks: {front: }\nvolumes: {data: }\nconfigs: {c: {content: text}}\n"
    )
    made, container = options(project, tmp_path)
    assert (made.image, made.name, made.interactive) == ("busybox", "box", True)
    assert [(one.name, one.aliases) for one in made.networks] == [("demo_front", ("web", "www"))]
    assert (container.entrypoint, container.command) == ("sh", ("-c", "echo"))
    ports = [(port.address, port.host, port.container, port.protocol) for port in container.ports]
    assert ports == [("", 8001, 80, "tcp"), ("127.0.0.1", 0, 53, "udp")]  # the second container of the service
    volumes = [(one.name, one.path) for one in container.mounts if isinstance(one, VolumeMount)]
    assert volumes == [("demo_data", "/a"), ("", "/c")]
    binds = {one.path: one for one in container.mounts if isinstance(one, Bind)}
    assert Path(binds["/b"].host_path).is_dir()
    assert Path(binds["/c.conf"].host_path).read_text() == "text"
    assert binds["/c.conf"].read_only
    assert dict(container.variables)["A"] == "1"
    assert (container.user, container.workdir, container.stop_seconds) == ("me", "/w", 90)
    assert (container.limits.memory_bytes, container.restart.most, container.log_bytes) == (64 << 20, 3, 1024)
    assert container.ulimits == (("nofile", 1, 2),)
    assert container.hosts == (("x", "192.0.2.1"),)
    assert container.health is not None
    assert (container.health.test, container.health.interval, container.health.retries) == (("CMD", "true"), 2.0, 4)


@pytest.mark.parametrize(
    ("mode", "network"), [("host", "host"), ("none", "none"), ("service:db", "container:demo-db-1")]
)
def test_modes_of_networks(mode: str, network: str, load: Load, tmp_path: Path) -> None:
    project = load(f"services:\n  web: {{image: a, network_mode: '{mode}'}}\n  db: {{image: b}}\n")
    made, container = options(project, tmp_path)
    assert (container.network, made.networks) == (network, ())


def test_addresses_of_cards(load: Load, tmp_path: Path) -> None:
    text = (
        "services:\n  web:\n    image: a\n    mac_address: '02:42:AC:11:00:01'\n"
        "    networks: {one: , two: {mac_address: '02:42:ac:11:00:02'}}\n"
    )
    made, _ = options(load(f"{text}networks: {{one: , two: }}\n"), tmp_path)
    assert [one.mac for one in made.networks] == ["02:42:ac:11:00:01", "02:42:ac:11:00:02"]
    with pytest.raises(ComposeError, match=r'services.web: --mac-address "x" is not valid'):
        options(load("services: {web: {image: a, mac_address: x}}\n"), tmp_path)
    refused = load("services: {web: {image: a, mac_address: '02:42:ac:11:00:01', network_mode: none}}\n")
    assert [one.what for one in refused.services["web"].refusals] == ["services.web.mac_address"]


def test_namespaces_of_another_service(load: Load, tmp_path: Path) -> None:
    project = load("services:\n  web: {image: a, ipc: 'service:db', pid: 'service:db'}\n  db: {image: b}\n")
    made, container = options(project, tmp_path)
    assert made.of_others == (("ipc", "demo-db-1"), ("pid", "demo-db-1"))
    assert container.namespaces.of_others == made.of_others
    assert donors(project.services["web"]) == ["db", "db"]
    assert project.services["web"].depends_on["db"].restart
    project = load("services:\n  web:\n    image: a\n    uts: service:db\n  db: {image: b}\n")
    assert [one.what for one in project.services["web"].refusals] == ["services.web.uts service:db"]


def test_what_cannot_be_is_told_with_the_line_of_the_service(load: Load, tmp_path: Path) -> None:
    project = load("services:\n  db: {image: b}\n  web:\n    image: a\n    cap_add: [NO_SUCH]\n")
    with pytest.raises(ComposeError, match=r"compose.yaml:3: services.web: unknown capability"):
        options(project, tmp_path)


def test_services_follow_those_that_they_depend_on(load: Load) -> None:
    text = "services: {a: {image: x, depends_on: [b, c]}, b: {image: x, depends_on: [c]}, c: {image: x}, d: {image: x}}"
    project = load(text)
    order = in_order(project.services)
    assert order.index("c") < order.index("b") < order.index("a")
    assert list(chosen(project, ["b"], with_dependencies=True)) == ["c", "b"]
    assert list(chosen(project, ["b"], with_dependencies=False)) == ["b"]
    with pytest.raises(ComposeError, match="no such service: z"):
        chosen(project, ["z"], with_dependencies=True)
    with pytest.raises(ComposeError, match="depends_on goes round in a circle"):
        in_order(load("services: {a: {image: x, depends_on: [b]}, b: {image: x, depends_on: [a]}}").services)


class Told:
    def __init__(self) -> None:
        self.events: list[Event] = []

    def emit(self, event: Event) -> None:
        self.events.append(event)


def test_jobs_run_apart_and_in_the_order_of_their_needs(tmp_path: Path) -> None:
    session = Session(tmp_path / "state")
    session.state  # noqa: B018
    log = tmp_path / "log"

    def note(text: str) -> Callable[[Session, Sink], object]:
        def do(_: Session, sink: Sink) -> object:
            with log.open("a") as file:
                file.write(text)
            sink.emit(WarningMessage(message=text))
            sink.emit(ResourceChanged(kind="Thing", name=text, change="Done"))
            return {"text": text}

        return do

    told = Told()
    jobs = [
        Job(key="c", do=note("c"), needs=("b",)),
        Job(key="a", do=note("a")),
        Job(key="b", do=note("b"), needs=("a",)),
    ]
    results = run_jobs(jobs, session, told)
    assert log.read_text() == "abc"
    assert results == {name: {"text": name} for name in "abc"}
    assert WarningMessage(message="b") in told.events
    assert ResourceChanged(kind="Thing", name="c", change="Done") in told.events


def test_what_needs_a_job_that_failed_is_left_out(tmp_path: Path) -> None:
    session = Session(tmp_path / "state")
    session.state  # noqa: B018
    made = tmp_path / "made"

    def fail(session: Session, sink: Sink) -> None:
        raise ContainerError("it broke", remedy="mend it")

    def crash(session: Session, sink: Sink) -> None:
        raise KeyError("x")

    def make(session: Session, sink: Sink) -> None:
        made.touch()

    with pytest.raises(TiffinError, match="it broke; mend it"):
        run_jobs([Job(key="a", do=fail), Job(key="b", do=make, needs=("a",))], session, NullSink())
    assert not made.exists()
    with pytest.raises(TiffinError, match=r"internal error \(KeyError"):
        run_jobs([Job(key="a", do=crash)], session, NullSink())
