"""The ready files in ci/templates: each is what its project's schema says, and its script runs in an imitated runner.

The table in docs/ci.md is made of what is tried here: `--update-golden` writes it anew.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.conftest import CHECKOUT
from tests.support.job_runners import PLACES, Place, Script
from tests.support.pods import Node, Pod
from tests.support.servers import Registry
from tests.support.unprivileged import Users, interpreter
from tiffin.builder.sandbox.tiers.remediation import CALLS

pytestmark = [pytest.mark.userns, pytest.mark.network, pytest.mark.xdist_group("pods")]
TEMPLATES = CHECKOUT / "ci/templates"
DOCUMENT = CHECKOUT / "docs/ci.md"
BEGIN, END = "<!-- places: written by tests/integration/test_ready_files.py -->\n", "<!-- end of places -->"
JOBS = ("job-restricted.yaml", "job-user-namespace.yaml", "job-root.yaml")
KUBERNETES = "1.31"
DOCKERFILE = "FROM {base}\nCOPY app /app\nRUN cat /app > /built\n"


def template(file: str) -> str:
    return (TEMPLATES / file).read_text()


# -- schemas
# -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "schema"),
    [*((place.file, place.schema) for place in PLACES if place.schema), ("github/workflow.yml", "github-workflows")],
)
def test_files_are_what_their_projects_publish(file: str, schema: str) -> None:
    published = pytest.importorskip("check_jsonschema")
    folder = Path(published.__file__).parent / "builtin_schemas/vendor"
    document = yaml.safe_load(template(file))
    if True in document:  # YAML 1.1 reads `on`
        document["on"] = document.pop(True)
    rules = json.loads((folder / f"{schema}.json").read_text())
    jsonschema.validators.validator_for(rules)(rules).validate(document)


@pytest.mark.parametrize("file", JOBS)
def test_jobs_are_what_kubernetes_takes(file: str) -> None:
    validator = pytest.importorskip("kubernetes_validate")
    validator.validate(yaml.safe_load(template(f"kubernetes/{file}")), KUBERNETES, strict=True)


def test_a_farm_is_what_kubernetes_takes() -> None:
    """Deployments as they are; no package has the schema of Dask's operator, but it holds pods and a service."""
    validator = pytest.importorskip("kubernetes_validate")
    for document in yaml.safe_load_all(template("farm/kubernetes.yaml")):
        validator.validate(document, KUBERNETES, strict=True)
    cluster: Any = yaml.safe_load(template("farm/operator.yaml"))["spec"]
    inner = [("Pod", cluster[role]["spec"]) for role in ("scheduler", "worker")]
    for kind, spec in [*inner, ("Service", cluster["scheduler"]["service"])]:
        document = {"apiVersion": "v1", "kind": kind, "metadata": {"name": "x"}, "spec": spec}
        validator.validate(document, KUBERNETES, strict=True)


@pytest.mark.parametrize(
    ("file", "path"), [("tekton/task.yaml", ("spec", "steps")), ("argo/workflow.yaml", ("spec", "templates"))]
)
def test_steps_have_the_members_of_containers(file: str, path: tuple[str, ...]) -> None:
    """No package has the schemas of Tekton and Argo; most of a step is a container, though."""
    validator = pytest.importorskip("kubernetes_validate")
    document: Any = yaml.safe_load(template(file))
    volumes = document["spec"]["volumes"]
    for part in path:
        document = document[part]
    step = document[0].get("script") if isinstance(document[0].get("script"), dict) else document[0]
    container = {name: value for name, value in step.items() if name not in ("script", "source")}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "x"},
        "spec": {"containers": [{"name": "x", **container}], "volumes": volumes},
    }
    validator.validate(pod, KUBERNETES, strict=True)


def test_the_feature_of_devcontainers_is_whole(tmp_path: Path) -> None:
    feature = json.loads(template("devcontainer/devcontainer-feature.json"))
    assert {"id", "version", "name", "options"} <= feature.keys()
    assert all({"type", "default"} <= option.keys() for option in feature["options"].values())
    for name in ("python3", "apt-get", "pip"):  # what it calls; installing takes a minute, and is not tried here
        (tmp_path / name).write_text(
            f'#!/bin/sh\necho "{name} $*" >> {tmp_path}/log\n[ "$1" != -m ] || {{ mkdir -p "$3/bin"; '
            f"cp {tmp_path}/pip $3/bin/pip; }}\n"
        )
        (tmp_path / name).chmod(0o755)
    environ = {
        "PATH": f"{tmp_path}:/usr/bin:/bin",
        "TIFFIN_PREFIX": f"{tmp_path}/usr",
        "PACKAGE": "tiffin==1",
        "TIFFIN_ROOT": f"{tmp_path}/state",
    }
    subprocess.run(["sh", str(TEMPLATES / "devcontainer/install.sh")], env=environ, check=True)
    assert "install --quiet --no-cache-dir tiffin==1" in (tmp_path / "log").read_text()
    assert (tmp_path / "usr/bin/docker").is_symlink() and (tmp_path / "state").stat().st_mode & 0o7777 == 0o1777


# -- runners
# -------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def base(users: Users, registry: Registry, busybox: Path) -> str:
    """The name of a base image in a registry."""
    name = f"{registry.host}/ready/base:1"
    folder = users.home(users.usual) / "ready-base"
    shutil.copytree(busybox, folder, symlinks=True)
    users.own(users.usual, folder)
    users.run(users.usual, ["build", "-q", "--push", "-t", name, folder])
    shutil.rmtree(folder)
    return name


@pytest.fixture
def workspace(users: Users, base: str) -> Iterator[Path]:
    """A checkout of an unprivileged user, with `tiffin` and a kubectl that only says what it was told on PATH."""
    folder = users.home(users.usual) / "workspace"
    for name in ("temp", "bin", "state"):
        (folder / name).mkdir(parents=True)
    (folder / "Dockerfile").write_text(DOCKERFILE.format(base=base))
    (folder / "app").write_text("text\n")
    (folder / ".dockerignore").write_text("*\n!app\n")
    environ = f"PYTHONPATH={shlex.quote(users.environ(users.usual)['PYTHONPATH'])}"
    (folder / "bin/tiffin").write_text(f'#!/bin/sh\n{environ} exec {interpreter()} -m tiffin "$@"\n')
    (folder / "bin/kubectl").write_text('#!/bin/sh\necho "kubectl $*"\n')
    for program in (folder / "bin").iterdir():
        program.chmod(0o755)
    users.own(users.usual, folder)
    yield folder
    shutil.rmtree(folder)


def run(script: Script, users: Users, folder: Path, host: str) -> str:
    """Run a script as its runner does, as an unprivileged user; what it said."""

    def filled(value: str) -> str:
        return value.replace("{folder}", str(folder)).replace("{host}", host)

    environ = {name: filled(value) for name, value in script.environ.items()}
    words = [
        "sh",
        "-c",
        'cd "$1" && shift && exec "$@"',
        "sh",
        str(folder),
        *script.shell,
        "-c",
        script.text,
        "job",
        *script.arguments,
    ]
    given = {"PATH": f"{folder}/bin:{os.environ['PATH']}", "PYTHONPATH": "", "TMPDIR": f"{folder}/temp", **environ}
    done = users.program(users.usual, words, **given)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("place", PLACES, ids=[place.name.replace(" ", "-") for place in PLACES])
def test_a_ready_file_builds_and_pushes(place: Place, users: Users, workspace: Path, registry: Registry) -> None:
    said = "".join(run(script, users, workspace, registry.host) for script in place.scripts(template(place.file)))
    inspect = ["skopeo", "inspect", "--tls-verify=false", "--format", "{{.Digest}}"]
    name = f"docker://{registry.host}/{place.pushes}"
    digest = subprocess.run([*inspect, name], capture_output=True, text=True, check=True).stdout.strip()
    assert f"@{digest}" in said
    if place.told:
        assert digest in (workspace / place.told).read_text()
    if place.name == "GitLab":
        assert f"set image deployment/app app={registry.host}/team/app@{digest}" in said
    assert "secret" not in said


@pytest.mark.parametrize("file", JOBS)
def test_a_job_builds_in_its_pod(file: str, users: Users, base: str, registry: Registry, tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("pods imitated with runc take root")
    spec = yaml.safe_load(template(f"kubernetes/{file}"))["spec"]["template"]["spec"]
    [container] = spec["containers"]
    files = tmp_path / "files"
    files.mkdir()
    (files / "Dockerfile").write_text(DOCKERFILE.format(base=base))
    (files / "app").write_text("text\n")
    words = [word.replace("registry.example", registry.host) for word in container["args"]]
    words = [
        f"--tag={registry.host}/job/{file}:1" if before == "-t" else word
        for before, word in zip(["", *words], words, strict=False)
        if word != "-t"
    ]
    assert words.pop().startswith("https://")
    environ = "; ".join(
        f"export {row['name']}={row['value'].replace('/state', '/volume')}" for row in container["env"]
    ).replace("/credentials", "/volume")
    script = f"{environ}; tiffin {shlex.join([*words, '/files'])}"
    folder = users.code / "ready-jobs"  # the folders of pytest are closed to others
    folder.mkdir(exist_ok=True)
    with Node(folder, users.code).pod(pod_of(file, spec), files) as running:
        done = running.run(script)
    assert done.returncode == 0 and f"pushed {registry.host}/job/{file}:1@sha256:" in done.stderr, done.stderr


def pod_of(file: str, spec: dict[str, Any]) -> Pod:
    """What the settings of a job come to."""
    context = spec["containers"][0]["securityContext"]
    profile = context.get("seccompProfile", {}).get("type", "Unconfined")  # kubelet's, where nothing is said
    given: dict[str, Any] = {"capabilities": ()} if "capabilities" in context else {}
    return Pod(
        name=file,
        settings="",
        uid=context["runAsUser"],
        no_new_privs=context.get("allowPrivilegeEscalation") is False,
        own_users=spec.get("hostUsers") is False,
        filtered=profile != "Unconfined",
        allowed_calls=tuple(CALLS.split()) if profile == "Localhost" else (),
        **given,
    )


# -- the documentation
# -------------------------------------------------------------------------------------------------------------------


def test_documented_table(pytestconfig: pytest.Config) -> None:
    """docs/ci.md lists the files, how each is checked, and what of it is run."""
    rows = ["| place | ready file | schema | run in a test |", "|---|---|---|---|"]
    for place in PLACES:
        schema = f"check-jsonschema's `{place.schema}`" if place.schema else "none in a package"
        rows.append(f"| {place.name} | [{place.file}](../ci/templates/{place.file}) | {schema} | {place.imitated} |")
    for file in JOBS:
        rows.append(
            f"| Kubernetes | [kubernetes/{file}](../ci/templates/kubernetes/{file}) | kubernetes-validate {KUBERNETES} "
            "| its arguments in a pod of runc with its settings |"
        )
    feature = "devcontainer/devcontainer-feature.json"
    rows.append(
        f"| devcontainer | [{feature}](../ci/templates/{feature}) | none in a package | what install.sh calls |"
    )
    text = DOCUMENT.read_text()
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    expected = before + BEGIN + "\n".join(rows) + "\n" + END + after
    if pytestconfig.getoption("--update-golden"):
        DOCUMENT.write_text(expected)
        return
    assert text == expected, "run this test with --update-golden"
