"""Projects of compose files: brought up, changed, looked at, entered, taken down."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cli_runner import CliRunner, wait_until

pytestmark = pytest.mark.userns
LOOP = "trap 'exit 0' TERM; while :; do sleep 0.02; done"


class Demo:
    """A directory with a compose file, and tiffin compose there."""

    def __init__(self, cli: CliRunner) -> None:
        self.cli = cli
        self.folder = cli.folder / "demo"
        self.folder.mkdir(exist_ok=True)

    def write(self, text: str, name: str = "compose.yaml") -> None:
        (self.folder / name).write_text(text)
        self.cli.own(self.folder)

    def argv(self, *words: str) -> list[str]:
        return self.cli.argv("compose", "--project-directory", self.folder, "-f", self.folder / "compose.yaml", *words)

    def __call__(self, *words: str, code: int = 0, env: dict[str, str] | None = None) -> str:
        done = self.cli.run(*self.argv(*words)[5:], env=env)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def states(self) -> dict[str, str]:
        rows = map(json.loads, self.cli.run(*self.argv("ps", "-a", "--format", "json")[5:]).stdout.splitlines())
        return {row["Name"]: f"{row['State']} {row['Health']}".strip() for row in rows}

    def start(self, *words: str) -> subprocess.Popen[str]:
        return self.cli.start(*self.argv(*words)[5:])


@pytest.fixture
def demo(cli: CliRunner) -> Iterator[Demo]:
    made = Demo(cli)
    yield made
    cli.run("compose", "-p", "demo", "down", "-v", "-t", "1")
    cli.remove_containers()
    assert cli.left() == []


def service(command: str, *more: str) -> str:
    lines = ["image: minimal", "network_mode: host", f"command: ['sh', '-c', {json.dumps(command)}]", *more]
    return "".join(f"    {line}\n" for line in lines)


def test_a_project_comes_up_in_order_and_goes_down(demo: Demo) -> None:
    demo.write(
        "services:\n  web:\n"
        + service(f"cat /shared/ready && {LOOP}", "depends_on:", "  db: {condition: service_healthy}",
                  "  job: {condition: service_completed_successfully}", "volumes: ['shared:/shared']")
        + "  job:\n" + service("echo done > /shared/ready", "volumes: ['shared:/shared']")
        + "  db:\n" + service(f"sleep 0.3; touch /ok; {LOOP}", "healthcheck: {test: 'test -e /ok', interval: 200ms}")
        + "volumes: {shared: }\n"
    )  # fmt: skip
    said = demo("up", "-d", "--wait")
    assert said.index("demo-db-1  Healthy") < said.index("demo-web-1  Started")
    assert demo.states() == {"demo-db-1": "running healthy", "demo-job-1": "exited", "demo-web-1": "running"}
    assert demo("logs", "web") == "web-1  | done\n"
    assert "exited(1), running(2)" in demo("ls")
    labels = demo.cli.run("inspect", "-f", "{{json .Config.Labels}}", "demo-web-1").stdout
    assert json.loads(labels)["com.docker.compose.service"] == "web"
    demo("stop", "web")
    assert demo.states()["demo-web-1"] == "exited"
    demo("start")
    demo("restart", "web")
    demo("pause", "web")
    assert demo.states()["demo-web-1"] == "paused"
    demo("unpause")
    assert "while :" in demo("top", "web")
    assert demo.states()["demo-web-1"] == "running"
    demo("down")
    assert demo.states() == {}
    assert "demo_shared" in demo.cli.run("volume", "ls", "-q").stdout
    demo("down", "-v")
    assert "demo_shared" not in demo.cli.run("volume", "ls", "-q").stdout


def test_only_what_changed_is_made_anew(demo: Demo) -> None:
    text = "services:\n  a:\n" + service(LOOP) + "  b:\n" + service(LOOP, "environment: {V: one}")
    demo.write(text)
    demo("up", "-d")
    before = dict(zip(("a", "b"), demo("ps", "-q").split(), strict=True))
    assert "Running" in demo("up", "-d")
    demo.write(text.replace("V: one", "V: two"))
    said = demo("up", "-d")
    assert "demo-b-1  Recreated" in said and "demo-a-1  Running" in said
    after = dict(zip(("a", "b"), demo("ps", "-q").split(), strict=True))
    assert after["a"] == before["a"] and after["b"] != before["b"]
    assert demo("exec", "-T", "b", "sh", "-c", "echo $V") == "two\n"
    demo("up", "-d", "--force-recreate", "--no-deps", "a")
    assert demo("ps", "-q", "a").strip() != after["a"]
    demo("up", "-d", "--scale", "a=3")
    assert sorted(name for name in demo.states() if "-a-" in name) == ["demo-a-1", "demo-a-2", "demo-a-3"]
    demo("up", "-d")
    assert sorted(name for name in demo.states() if "-a-" in name) == ["demo-a-1"]


def test_volumes_without_a_name_stay_with_their_service(demo: Demo) -> None:
    text = "services:\n  a:\n" + service(LOOP, "volumes: [/kept]", "environment: {V: one}")
    demo.write(text)
    demo("up", "-d")
    demo("exec", "-T", "a", "sh", "-c", "echo data > /kept/file")
    demo.write(text.replace("V: one", "V: two"))
    assert "Recreated" in demo("up", "-d")
    assert demo("exec", "-T", "a", "sh", "-c", "cat /kept/file; echo $V") == "data\ntwo\n"
    demo("up", "-d", "--force-recreate", "-V")
    assert demo("exec", "-T", "a", "ls", "/kept") == ""


def test_orphans_are_told_of_and_removed_when_asked(demo: Demo) -> None:
    demo.write("services:\n  old:\n" + service(LOOP))
    demo("up", "-d")
    demo.write("services:\n  new:\n" + service(LOOP))
    assert "Found orphan containers ([demo-old-1])" in demo("up", "-d")
    demo("up", "-d", "--remove-orphans")
    assert list(demo.states()) == ["demo-new-1"]


def test_secrets_configs_and_files_of_variables(demo: Demo) -> None:
    demo.write("FROM_FILE=f\n", "a.env")
    demo.write("file secret\n", "secret.txt")
    demo.write(
        "services:\n  web:\n"
        + service("cat /run/secrets/* /etc/app.conf; echo $$FROM_FILE$$OWN", "env_file: a.env", "environment: {OWN: o}",
                  "secrets: [in_file, {source: in_env, target: other}]",
                  "configs: [{source: conf, target: /etc/app.conf}]")
        + "secrets: {in_file: {file: secret.txt}, in_env: {environment: SECRET}}\n"
        + "configs: {conf: {content: \"name=${SECRET}\\n\"}}\n"
    )  # fmt: skip
    said = demo("up", "--no-log-prefix", env={"SECRET": "s3\n"})
    assert "file secret\ns3\nname=s3\n\nfo\n" in said
    assert "exited with code 0" in said


def test_codes_of_up_exec_and_run(demo: Demo) -> None:
    demo.write("services:\n  job:\n" + service("sleep 0.2; exit 5") + "  long:\n" + service(LOOP))
    demo("up", "--abort-on-container-exit", code=5)
    assert set(demo.states().values()) == {"exited"}
    demo("up", "--exit-code-from", "job", code=5)
    demo("up", "--exit-code-from", "long", code=0)  # which is stopped when the other has ended
    echo = demo.cli.run(*demo.argv("run", "--rm", "-T", "--no-deps", "job", "cat")[5:], input="typed")
    assert echo.stdout == "typed"
    demo("up", "-d", "long")
    assert "in\n" in demo("exec", "-T", "long", "sh", "-c", "echo in; exit 3", code=3)
    said = demo("run", "--rm", "job", "sh", "-c", "echo one; exit 4", code=4)
    assert said.endswith("one\n")
    assert not [name for name in demo.states() if "run" in name]
    demo("exec", "-T", "job", "true", code=1)


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_stops_and_a_second_one_kills(times: int, demo: Demo) -> None:
    stubborn = "trap 'echo asked' TERM; echo ready; while :; do sleep 0.02; done"
    demo.write("services:\n  a:\n" + service(LOOP if times == 1 else stubborn, "stop_grace_period: 60s"))
    program = demo.start("up")
    wait_until(lambda: demo.states().get("demo-a-1") == "running")
    time.sleep(0.3)
    for _ in range(times):
        program.send_signal(signal.SIGINT)
        time.sleep(1)
    out, err = program.communicate(timeout=30)
    assert program.returncode == 130, out + err
    assert "Gracefully Stopping" in err
    assert demo.states() == {"demo-a-1": "exited"}


def test_a_dependency_that_fails_is_told(demo: Demo) -> None:
    demo.write(
        "services:\n  web:\n"
        + service(LOOP, "depends_on: {job: {condition: service_completed_successfully}}")
        + "  job:\n" + service("exit 3")
    )  # fmt: skip
    assert 'service "job" didn\'t complete successfully: exit 3' in demo("up", "-d", code=1)
    assert demo.states()["demo-web-1"] == "created"


def test_what_is_not_done_is_refused_before_anything_is_made(demo: Demo) -> None:
    demo.write("services:\n  web:\n" + service(LOOP, "mem_swappiness: 3"))
    said = demo("up", "-d", code=1)
    assert f"{demo.folder}/compose.yaml:6: services.web.mem_swappiness is not supported" in said
    assert demo.states() == {}


def test_images_are_built_from_files_and_from_texts(demo: Demo) -> None:
    demo.write("FROM minimal\nARG WHO\nRUN echo hello $WHO > /said\n", "Dockerfile")
    demo.write(
        "services:\n  a:\n    build: {context: ., args: {WHO: file}}\n    network_mode: host\n    command: cat /said\n"
        "  b:\n    build:\n      dockerfile_inline: |\n        FROM base\n        RUN echo text >> /said\n"
        "      additional_contexts: {base: 'service:a'}\n    network_mode: host\n    command: cat /said\n"
    )
    demo("build")
    assert "demo-a" in demo.cli.run("images", "--format", "{{.Repository}}").stdout
    said = demo("up")
    assert "a-1  | hello file\n" in said and "b-1  | hello file\n" in said and "b-1  | text\n" in said
    demo("down", "--rmi", "local")
    assert "demo-" not in demo.cli.run("images", "--format", "{{.Repository}}").stdout


def test_two_at_once_leave_one_of_each(demo: Demo) -> None:
    demo.write("services:\n  a:\n" + service(LOOP) + "  b:\n" + service(LOOP))
    with demo.start("up", "-d") as one, demo.start("up", "-d") as other:
        codes = [program.wait(60) for program in (one, other)]
    assert codes == [0, 0]
    assert demo.states() == {"demo-a-1": "running", "demo-b-1": "running"}


def test_a_killed_up_leaves_what_another_one_goes_on_with(demo: Demo) -> None:
    demo.write("services:\n" + "".join(f"  s{number}:\n" + service(LOOP) for number in range(4)))
    for delay in (0.1, 0.3, 0.5, 0.8):
        with demo.start("up", "-d") as program:
            time.sleep(delay)
            os.kill(program.pid, signal.SIGKILL)
    demo("up", "-d", "--wait")
    assert set(demo.states().values()) == {"running"}
    assert len(demo.states()) == 4


def test_files_that_change_come_into_containers(demo: Demo) -> None:
    (demo.folder / "src").mkdir(exist_ok=True)
    demo.write("FROM minimal\nCOPY dep /dep\n", "Dockerfile")
    demo.write("one", "dep")
    demo.write("old", "src/file")
    rules = "[{path: src, action: sync, target: /srv/new/src, ignore: ['*.tmp']}, {path: dep, action: rebuild}]"
    more = ("build: .", f"develop: {{watch: {rules}}}")
    demo.write("services:\n  a:\n" + service(LOOP, *more).replace("    image: minimal\n", ""))
    with demo.start("up", "--watch") as program:
        try:
            assert program.stderr is not None
            while "Watch enabled" not in program.stderr.readline():
                assert program.poll() is None
            demo.write("new", "src/file")
            demo.write("not this", "src/other.tmp")
            shown = ("exec", "-T", "a", "sh", "-c", "cat /srv/new/src/*; cat /dep")
            wait_until(lambda: demo.cli.run(*demo.argv(*shown)[5:]).stdout == "newone", seconds=20)
            (demo.folder / "src/file").unlink()
            (demo.folder / "src/file").mkdir()
            demo.write("newer", "src/file/in")
            inner = ("exec", "-T", "a", "cat", "/srv/new/src/file/in")
            wait_until(lambda: demo.cli.run(*demo.argv(*inner)[5:]).stdout == "newer", seconds=20)
            demo.write("two", "dep")
            wait_until(
                lambda: demo.cli.run(*demo.argv("exec", "-T", "a", "cat", "/dep")[5:]).stdout == "two", seconds=40
            )
        finally:
            program.send_signal(signal.SIGINT)
            program.communicate(timeout=30)


def test_the_file_above_the_directory_is_found(demo: Demo, cli: CliRunner) -> None:
    demo.write("services: {a: {image: minimal}}\n")
    inner = demo.folder / "x/y"
    inner.mkdir(parents=True, exist_ok=True)
    done: subprocess.CompletedProcess[str] = subprocess.run(  # type: ignore[call-overload]
        cli.argv("compose", "config", "--services"), capture_output=True, text=True, **{**cli.options(), "cwd": inner}
    )
    assert done.stdout == "a\n", done.stderr
    assert Path(demo.folder).is_dir()
