"""Programs that call docker or podman run unmodified with tiffin in that place, each in an environment of its own.

The table in docs/clients.md is made of what they call here: `ci/clients-table` writes it anew.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.support.client_desk import Desk
from tests.support.clients import BEGIN, END, PAGE, calls_of, table

pytestmark = [pytest.mark.userns, pytest.mark.network, pytest.mark.slow, pytest.mark.xdist_group("client-programs")]
GIT = ["git", "-c", "user.name=tester", "-c", "user.email=tester@example.com"]


HOOK = """#!/bin/sh
for file; do grep -q stamped "$file" || echo stamped >> "$file"; done
"""


@pytest.mark.parametrize("desk", ["usual", "other"], indirect=True)
def test_pre_commit(desk: Desk) -> None:
    desk.write(
        {
            "hooks/.pre-commit-hooks.yaml": (
                "- {id: stamp, name: stamp, language: docker, entry: /stamp, types: [text], files: 'txt$'}\n"
            ),
            "hooks/Dockerfile": f"FROM {desk.base}\nCOPY stamp /stamp\n",
            "hooks/stamp": HOOK,
            "work/a.txt": "one\n",
            "work/.pre-commit-config.yaml": (
                "repos:\n"
                f"- {{repo: {desk.folder}/hooks, rev: v1, hooks: [{{id: stamp}}]}}\n"
                "- repo: local\n"
                "  hooks:\n"
                "  - {id: image, name: image, language: docker_image, files: 'txt$',"
                f" entry: {desk.base} grep -q stamped}}\n"
            ),
        }
    )
    for folder in ("hooks", "work"):
        desk.run(*GIT, "init", "-q", folder=folder)
        desk.run(*GIT, "add", ".", folder=folder)
        desk.run(*GIT, "commit", "-qm", "all", folder=folder)
    desk.run(*GIT, "tag", "v1", folder="hooks")
    first = desk.run("pre-commit", "run", "--all-files", "--color=never", folder="work", code=1)
    assert "files were modified by this hook" in first.stdout
    assert (desk.folder / "work/a.txt").read_text() == "one\nstamped\n"
    assert (desk.folder / "work/a.txt").stat().st_uid == desk.uid
    second = desk.run("pre-commit", "run", "--all-files", "--color=never", folder="work")
    assert second.stdout.count("Passed") == 2, second.stdout


TOOL = """cwlVersion: v1.2
class: CommandLineTool
requirements:
  DockerRequirement: {%s}
  NetworkAccess: {networkAccess: false}
baseCommand: [sh, -c, 'cat "$0" > out.txt && id -u >> out.txt && stat -c %%u out.txt >> out.txt']
inputs:
  source: {type: File, inputBinding: {position: 1}}
outputs:
  result: {type: File, outputBinding: {glob: out.txt}}
"""


@pytest.mark.parametrize(
    ("desk", "engine"),
    [("usual", "docker"), ("usual", "podman"), ("usual", "Dockerfile"), ("other", "docker")],
    indirect=["desk"],
)
def test_cwltool(desk: Desk, engine: str) -> None:
    from_file = f'dockerFile: "FROM {desk.base}\\nENV A=b\\n", dockerImageId: made'
    tool = TOOL % (from_file if engine == "Dockerfile" else f'dockerPull: "{desk.base}"')
    desk.write({"tool.cwl": tool, "in.txt": "hello\n"})
    options = ["--podman"] if engine == "podman" else []
    done = desk.run("cwltool", *options, "--outdir", "result", "tool.cwl", "--source", "in.txt")
    assert json.loads(done.stdout)["result"]["basename"] == "out.txt"
    result = desk.folder / "result/out.txt"
    assert result.read_text() == f"hello\n{desk.uid}\n{desk.uid}\n"
    assert result.stat().st_uid == desk.uid


@pytest.mark.parametrize("kind", ["dockerImport", "dockerLoad"])
def test_cwltool_takes_archives(desk: Desk, kind: str) -> None:
    desk.run("docker", "tag", desk.base, "loaded:1")
    archive = (
        ["save", "loaded:1"] if kind == "dockerLoad" else ["export", desk.run("docker", "create", desk.base).stdout]
    )
    desk.run("docker", *(word.strip() for word in archive), "-o", "image.tar")
    desk.run("docker", "rmi", "loaded:1")
    name = "loaded:1" if kind == "dockerLoad" else "imported"
    desk.write({"tool.cwl": TOOL % f"{kind}: image.tar, dockerImageId: '{name}'", "in.txt": "hello\n"})
    desk.run("cwltool", "--outdir", "result", "tool.cwl", "--source", "in.txt")
    assert (desk.folder / "result/out.txt").read_text().startswith("hello\n")
    desk.run("docker", "container", "prune", "-f")


TESTINFRA = """def test_all(host):
    assert host.file("/etc/passwd").contains("root")
    assert host.file("/etc/passwd").user == "root"
    done = host.run("echo out; echo err >&2; exit 3")
    assert (done.rc, done.stdout, done.stderr) == (3, "out\\n", "err\\n")
    assert host.check_output("echo %s", "a b'c $x") == "a b'c $x"
"""


def test_testinfra(desk: Desk) -> None:
    desk.write({"infra/test_all.py": TESTINFRA})
    desk.run("docker", "run", "-d", "--name", "host", desk.base, "sleep", "1000")
    hosts = "--hosts=docker://host,podman://host"
    assert "2 passed" in desk.run("pytest", "-q", "-p", "no:cacheprovider", hosts, folder="infra").stdout
    desk.run("docker", "rm", "-f", "host")


BOX = """FROM %s
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends \\
    bc curl diffutils findutils less libcap2-bin lsof mount passwd pinentry-curses procps sudo time wget
"""


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["docker", "podman"])
def test_distrobox(desk: Desk, debian: str, engine: str) -> None:
    """As docker the user of the box is another than the caller on disk, as podman (keep-id) the same."""
    if shutil.which("distrobox") is None:
        pytest.skip("distrobox is not installed")
    desk.write({"box/Dockerfile": BOX % debian})
    desk.run("docker", "build", "-q", "-t", "box", "box")
    box = ["env", f"DBX_CONTAINER_MANAGER={engine}", "SHELL=/bin/bash", f"USER={desk.user}"]
    desk.run(*box, "distrobox", "create", "--yes", "--no-entry", "--image", "box", "--name", "mine")
    script = "id -u; pwd; cat /run/host/etc/hostname; sudo id -u"
    done = desk.run(*box, "distrobox", "enter", "--no-tty", "mine", "--", "sh", "-c", script)
    hostname = Path("/etc/hostname").read_text()
    assert done.stdout.endswith(f"{desk.uid}\n{desk.folder}\n{hostname}0\n"), done.stdout
    if engine == "podman":
        desk.run(*box, "distrobox", "enter", "--no-tty", "mine", "--", "touch", "made")
        assert (desk.folder / "made").stat().st_uid == desk.uid
    assert "mine" in desk.run(*box, "distrobox", "list").stdout
    desk.run(*box, "distrobox", "stop", "--yes", "mine")
    desk.run(*box, "distrobox", "rm", "--force", "mine")
    assert desk.run("docker", "ps", "-aq").stdout == ""


@pytest.mark.parametrize("engine", ["docker", "podman"])
def test_ansible_builder(desk: Desk, engine: str) -> None:
    desk.write(
        {
            "execution-environment.yml": (
                f"version: 3\nimages: {{base_image: {{name: '{desk.base}'}}}}\n"
                "options: {skip_pip_install: true, skip_ansible_check: true, package_manager_path: /bin/true}\n"
                "additional_build_steps: {append_final: [RUN echo done > /made]}\n"
            )
        }
    )
    done = desk.run("ansible-builder", "build", "-t", "ee", "--container-runtime", engine, "-v", "3", "-c", "context")
    assert "Complete!" in done.stdout
    labels = desk.image("ee")["Config"]["Labels"]  # type: ignore[index]
    assert labels["ansible-execution-environment"] == "true"
    assert desk.run("docker", "run", "--rm", "--entrypoint", "cat", "ee", "/made").stdout == "done\n"


def test_repo2docker(desk: Desk) -> None:
    desk.write({"repo/Dockerfile": f"FROM {desk.base}\nCOPY a.txt /a.txt\nRUN echo b >> /a.txt\n", "repo/a.txt": "a\n"})
    desk.run("repo2docker", "--no-run", "--image-name", "r2d", "repo")
    assert "repo2docker.repo" in desk.image("r2d")["Config"]["Labels"]  # type: ignore[index]
    assert desk.run("docker", "run", "--rm", "r2d", "cat", "/a.txt").stdout == "a\nb\n"


def test_podman_compose_build(desk: Desk) -> None:
    desk.write(
        {
            "app/compose.yaml": (
                "services:\n"
                "  web:\n    image: web:1\n    build: {context: web, args: {WORD: given}, target: second}\n"
                f"  plain:\n    build: plain\n  ready:\n    image: {desk.base}\n"
            ),
            "app/web/Dockerfile": (
                f"FROM {desk.base} AS first\nARG WORD=none\nRUN echo $WORD > /word\n"
                "FROM first AS second\nENV STAGE=second\nFROM first AS third\n"
            ),
            "app/plain/Containerfile": f"FROM {desk.base}\nRUN echo plain > /word\n",
        }
    )
    desk.run("podman-compose", "build", folder="app")
    assert desk.run("podman", "run", "--rm", "web:1", "sh", "-c", "cat /word; echo $STAGE").stdout == "given\nsecond\n"
    assert desk.run("podman", "run", "--rm", "app_plain", "cat", "/word").stdout == "plain\n"
    desk.run("podman-compose", "config", folder="app")
    desk.run("podman-compose", "ps", folder="app")


def test_podman_compose_up(desk: Desk) -> None:
    loop = "trap 'exit 0' TERM; while :; do sleep 0.05; done"
    desk.write(
        {
            "app/compose.yaml": (
                "x-podman: {in_pod: false}\nservices:\n"
                f"  web:\n    image: {desk.base}\n    command: ['sh', '-c', \"echo begun; {loop}\"]\n"
                "    depends_on: [db]\n    volumes: ['data:/data']\n"
                f"  db:\n    image: {desk.base}\n    command: ['sh', '-c', \"{loop}\"]\nvolumes: {{data: }}\n"
            ),
        }
    )
    desk.run("podman-compose", "up", "-d", folder="app")
    assert desk.run("podman-compose", "exec", "-T", "web", "sh", "-c", "echo in", folder="app").stdout == "in\n"
    assert "begun" in desk.run("podman-compose", "logs", "web", folder="app").stdout
    assert "db" in desk.run("podman-compose", "exec", "-T", "web", "nslookup", "db", folder="app").stdout
    desk.run("podman-compose", "down", "-v", folder="app")
    assert desk.run("podman", "ps", "-aq").stdout == ""
    assert "app" not in desk.run("podman", "volume", "ls", "-q").stdout


@pytest.mark.parametrize("kind", ["dockerfile", "feature"])
def test_devcontainer_build(desk: Desk, kind: str) -> None:
    files = {
        "dockerfile": {
            "devcontainer.json": '{"build": {"dockerfile": "Dockerfile", "args": {"WORD": "given"}}}',
            "Dockerfile": f"FROM {desk.base}\nARG WORD\nRUN echo $WORD > /word\n",
        },
        "feature": {
            "devcontainer.json": json.dumps({"image": desk.base, "features": {"./word": {"text": "given"}}}),
            "word/devcontainer-feature.json": (
                '{"id": "word", "version": "1.0.0", "name": "word",'
                ' "options": {"text": {"type": "string", "default": "none"}}}'
            ),
            "word/install.sh": '#!/bin/sh\necho "$TEXT" > /word\n',
        },
    }[kind]
    desk.write({f"{kind}/.devcontainer/{path}": text for path, text in files.items()})
    done = desk.run("devcontainer", "build", "--workspace-folder", kind, "--image-name", f"dev-{kind}:1")
    assert json.loads(done.stdout)["outcome"] == "success"
    seen = desk.run("docker", "run", "--rm", "-u", "root", f"dev-{kind}:1", "cat", "/word").stdout
    assert seen == "given\n"
    labels = desk.image(f"dev-{kind}:1")["Config"].get("Labels", {})  # type: ignore[attr-defined]
    assert ("devcontainer.metadata" in labels) == (kind == "feature")


def test_devcontainer_up(desk: Desk) -> None:
    """With an init, as its images have it: exec enters beside that."""
    settings = {
        "image": desk.base,
        "remoteUser": "root",
        "containerEnv": {"WORD": "given"},
        "postCreateCommand": "echo created > created",
        "runArgs": ["--init"],
    }
    desk.write({"up/.devcontainer/devcontainer.json": json.dumps(settings)})
    done = desk.run("devcontainer", "up", "--workspace-folder", "up")
    container = json.loads(done.stdout)["containerId"]
    assert (desk.folder / "up/created").stat().st_uid == desk.uid
    seen = desk.run(
        "devcontainer", "exec", "--workspace-folder", "up", "sh", "-c", "cat created; echo $WORD; exit 7", code=7
    )
    assert seen.stdout == "created\ngiven\n"
    desk.run("docker", "rm", "-f", container)


# stand-ins for what firecow/gitlab-ci-local-util has, which copies artifacts and caches
UTIL_RSYNC = """#!/bin/sh
for word; do
    case $word in
    --files-from=*) list=${word#*=} ;;
    esac
    target=$word
done
[ -z "$list" ] || tar c $(cat "$list") | tar x -C "$target"
"""
OLD_NODE = (
    "Set.prototype.union ??= function (other) { return new Set([...this, ...other]) }\n"  # which came with node 22
)
PIPELINE = """stages: [build, test]
default: {image: %s}
build:
  stage: build
  script:
    - echo "built by $(id -u)" > out.txt
    - mkdir -p dist && echo wheel > dist/a.whl
  artifacts: {paths: [out.txt, dist/]}
test:
  stage: test
  needs: [build]
  variables: {WORD: given}
  script:
    - cat out.txt dist/a.whl
    - echo "$WORD in $CI_JOB_NAME"
"""


@pytest.mark.skipif(shutil.which("rsync") is None, reason="gitlab-ci-local calls rsync")
@pytest.mark.parametrize("desk", ["usual", "other"], indirect=True)
def test_gitlab_ci_local(desk: Desk) -> None:
    """Jobs are created, files copied in, attached to, and artifacts copied out and into the next job."""
    desk.write(
        {
            "old-node.js": OLD_NODE,
            "util/rsync": UTIL_RSYNC,
            "util/Dockerfile": f"FROM {desk.base}\nCOPY rsync /bin/\n",
            "work/.gitlab-ci.yml": PIPELINE % desk.base,
        }
    )
    volumes = desk.run("docker", "volume", "ls", "-q").stdout  # of other programs of this user
    desk.run("docker", "build", "-q", "-t", "docker.io/firecow/gitlab-ci-local-util:latest", "util")
    desk.run(*GIT, "init", "-q", folder="work")
    desk.run(*GIT, "add", ".", folder="work")
    desk.run(*GIT, "commit", "-qm", "all", folder="work")
    desk.run(*GIT, "remote", "add", "origin", "https://gitlab.example.com/group/project.git", folder="work")
    old = f"NODE_OPTIONS=--require {desk.folder}/old-node.js"
    done = desk.run("env", old, desk.programs.path("gitlab-ci-local"), folder="work")
    for text in ("built by 0", "> wheel", "given in test"):
        assert text in done.stdout
    assert (desk.folder / "work/.gitlab-ci-local/artifacts/build/dist/a.whl").stat().st_uid == desk.uid
    assert desk.run("docker", "ps", "-aq").stdout == ""
    assert desk.run("docker", "volume", "ls", "-q").stdout == volumes


MANYLINUX = """FROM %s
ENV PATH=/usr/local/bin:/usr/bin:/bin
RUN apt-get update && apt-get install -y --no-install-recommends python3-pip python3-setuptools python3-wheel
RUN mkdir -p /opt/python/cp311-cp311/bin && cd /opt/python && ln -s cp311-cp311 cp39-cp39 && cd cp39-cp39/bin \\
    && ln -s /usr/bin/python3 python && ln -s /usr/bin/pip3 pip \\
    && printf '#!/bin/sh\\n' > /usr/local/bin/auditwheel && chmod 755 /usr/local/bin/auditwheel
CMD ["bash"]
"""
SETUP = """from setuptools import Distribution, setup
class Binary(Distribution):
    has_ext_modules = lambda self: True
setup(name="sample", version="1.0", py_modules=["sample"], distclass=Binary)
"""


def test_cibuildwheel(desk: Desk, debian: str) -> None:
    """The project goes in by a tar through exec, and wheels come out by cp."""
    desk.write(
        {"image/Dockerfile": MANYLINUX % debian, "work/setup.py": SETUP, "work/sample.py": "VALUE = 42\n"},
    )
    desk.run("docker", "build", "-q", "-t", "manylinux:1", "image")
    settings = {
        "CIBW_BUILD": "cp311-manylinux_x86_64",
        "CIBW_MANYLINUX_X86_64_IMAGE": "manylinux:1",
        "CIBW_BUILD_FRONTEND": "pip; args: --no-build-isolation",
        "CIBW_REPAIR_WHEEL_COMMAND": "cp {wheel} {dest_dir}",
    }
    program = desk.programs.path("cibuildwheel")
    words = [f"{name}={value}" for name, value in settings.items()]
    desk.run("env", *words, program, "--platform", "linux", "--archs", "x86_64", "--output-dir", "out", folder="work")
    (wheel,) = (desk.folder / "work/out").iterdir()
    assert wheel.name == "sample-1.0-cp311-cp311-linux_x86_64.whl"
    assert wheel.stat().st_uid == desk.uid
    assert desk.run("docker", "ps", "-aq").stdout == ""


def test_the_table_tells_what_they_call(calls: Path, pytestconfig: pytest.Config) -> None:
    """The last of this file: programs that were not run now keep what the table says of them."""
    text = PAGE.read_text()
    start, rest = text.split(BEGIN)
    before, end = rest.split(END)
    expected = start + BEGIN + table(calls_of(calls), before) + END + end
    if pytestconfig.getoption("--update-golden"):
        PAGE.write_text(expected)
        return
    assert text == expected, "run ci/clients-table and look at what changed"
