"""Places where jobs run, imitated: what of a ready file is a script, and the environment that its runner gives it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

BASH = ("bash", "--noprofile", "--norc", "-eo", "pipefail")
COMMIT = "5734329c6af43c2ae295010778cd308866b95d9b"


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """What a runner executes: `{folder}` and `{host}` (of a registry) in values of the environment are filled in."""

    text: str
    shell: tuple[str, ...] = ("sh", "-e")
    environ: Mapping[str, str] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One place. `schema` is a vendored one of check-jsonschema, `pushes` the name without {host} of what is there at
    the end; `told` is a file of the folder with the image's digest in it.
    """

    name: str
    file: str
    scripts: Callable[[str], list[Script]]
    pushes: str
    schema: str = ""
    told: str = "image.json"
    imitated: str = "its script in the runner's shell, environment and work directory"


def _keys(**given: str) -> dict[str, str]:
    return {
        "REGISTRY": "{host}",
        "IMAGE": "{host}/team/app",
        "REGISTRY_USER": "ci",
        "REGISTRY_PASSWORD": "secret",
        **given,
    }


def _github(text: str) -> list[Script]:
    """Do what the runner does with a composite action: inputs in `env`, files for outputs and PATH."""
    inputs = {
        "tags": f"{{host}}/team/app:{COMMIT}\n{{host}}/team/app:latest\n",
        "context": ".",
        "build-args": "A=1\nB=2",
        "cache": "type=registry,ref={host}/team/app/cache",
        "push": "true",
        "package": "",
        "file": "",
        "platforms": "",
    }
    scripts = []
    for step in yaml.safe_load(text)["runs"]["steps"]:
        condition = step.get("if", "")
        if "uses" in step or condition == "${{ inputs.package != '' }}":
            continue  # actions of others, and what installs tiffin
        given = {
            name: re.sub(r"\$\{\{ inputs\.([a-z-]+) \}\}", lambda found: inputs[found[1]], value)
            for name, value in step.get("env", {}).items()
        }
        runner = {
            "GITHUB_ACTIONS": "true",
            "CI": "true",
            "GITHUB_WORKSPACE": "{folder}",
            "RUNNER_TEMP": "{folder}/temp",
            "GITHUB_OUTPUT": "{folder}/output",
            "GITHUB_PATH": "{folder}/path",
            "GITHUB_SHA": COMMIT,
            "GITHUB_STEP_SUMMARY": "{folder}/summary",
        }
        scripts.append(Script(text=step["run"], shell=BASH, environ={**runner, **given}))
    return scripts


def _gitlab(text: str) -> list[Script]:
    jobs = yaml.safe_load(text)
    environ = {
        "GITLAB_CI": "true",
        "CI": "true",
        "CI_REGISTRY": "{host}",
        "CI_REGISTRY_USER": "ci",
        "CI_REGISTRY_PASSWORD": "secret",
        "CI_REGISTRY_IMAGE": "{host}/team/app",
        "CI_COMMIT_SHA": COMMIT,
        "CI_PROJECT_DIR": "{folder}",
    }
    lines = [*jobs["build-image"]["script"], *jobs["deploy"]["script"]]
    return [Script(text="\n".join(lines), shell=("sh", "-e"), environ=environ)]


def _jenkins(text: str) -> list[Script]:
    found = re.findall(r"sh '''\n(.*?)'''", text, re.DOTALL)
    environ = {"BUILD_NUMBER": "7", "WORKSPACE": "{folder}", "TIFFIN_ROOT": "{folder}/state"}
    return [
        Script(text=script.replace("\\\\", "\\"), shell=("sh", "-xe"), environ=_keys(**environ)) for script in found
    ]


def _buildkite(text: str) -> list[Script]:
    [step] = yaml.safe_load(text)["steps"]
    return [
        Script(text=step["command"].replace("$$", "$"), shell=("bash", "-e"), environ=_keys(BUILDKITE_COMMIT=COMMIT))
    ]


def _circleci(text: str) -> list[Script]:
    steps = yaml.safe_load(text)["jobs"]["image"]["steps"]
    [run] = [step["run"] for step in steps if "run" in step]
    return [Script(text=run["command"], shell=("bash", "-eo", "pipefail"), environ=_keys(CIRCLE_SHA1=COMMIT))]


def _commands(variable: str) -> Callable[[str], list[Script]]:
    def scripts(text: str) -> list[Script]:
        [step] = yaml.safe_load(text)["steps"]
        assert set(step["environment"]) == {"REGISTRY", "IMAGE", "REGISTRY_USER", "REGISTRY_PASSWORD"}
        return [Script(text="\n".join(step["commands"]), environ=_keys(**{variable: COMMIT, "CI": "true"}))]

    return scripts


def _container(values: Mapping[str, str], container: Mapping[str, Any], source: str) -> list[Script]:
    """Return the script of a container whose runner fills in `values`."""
    environ = {row["name"]: str(row["value"]) for row in container["env"]}
    for name, value in environ.items():
        environ[name] = values.get(value, value.replace("/state", "{folder}/state"))
    return [
        Script(text=source, environ=environ, arguments=("--label", "by=tekton") if "DIGEST_PATH" in environ else ())
    ]


def _tekton(text: str) -> list[Script]:
    [step] = yaml.safe_load(text)["spec"]["steps"]
    values = {
        "$(params.IMAGE)": "{host}/team/app:1",
        "$(params.DOCKERFILE)": "./Dockerfile",
        "$(params.CONTEXT)": "./",
        "$(results.IMAGE_DIGEST.path)": "{folder}/digest",
        "$(results.IMAGE_URL.path)": "{folder}/url",
        "/tekton/docker": "{folder}",
    }
    return _container(values, step, step["script"].replace("/state/", "$TIFFIN_ROOT/"))


def _argo(text: str) -> list[Script]:
    [template] = yaml.safe_load(text)["spec"]["templates"]
    values = {
        "{{workflow.parameters.repository}}": ".",
        "{{workflow.parameters.image}}": "{host}/team/app:1",
        "/credentials": "{folder}",
    }
    return _container(values, template["script"], template["script"]["source"])


PLACES = (
    Place(
        name="GitHub",
        file="github/action.yml",
        schema="github-actions",
        scripts=_github,
        pushes=f"team/app:{COMMIT}",
        told="output",
    ),
    Place(name="GitLab", file="gitlab/gitlab-ci.yml", schema="gitlab-ci", scripts=_gitlab, pushes=f"team/app:{COMMIT}"),
    Place(name="Tekton", file="tekton/task.yaml", scripts=_tekton, pushes="team/app:1", told="digest"),
    Place(name="Jenkins", file="jenkins/Jenkinsfile", scripts=_jenkins, pushes="team/app:7"),
    Place(
        name="Buildkite",
        file="buildkite/pipeline.yml",
        schema="buildkite",
        scripts=_buildkite,
        pushes=f"team/app:{COMMIT}",
    ),
    Place(
        name="CircleCI", file="circleci/config.yml", schema="circle-ci", scripts=_circleci, pushes=f"team/app:{COMMIT}"
    ),
    Place(
        name="Woodpecker",
        file="woodpecker/woodpecker.yml",
        schema="woodpecker-ci",
        scripts=_commands("CI_COMMIT_SHA"),
        pushes=f"team/app:{COMMIT}",
        told="",
    ),
    Place(
        name="Drone",
        file="drone/drone.yml",
        schema="drone-ci",
        scripts=_commands("DRONE_COMMIT_SHA"),
        pushes=f"team/app:{COMMIT}",
        told="",
    ),
    Place(name="Argo Workflows", file="argo/workflow.yaml", scripts=_argo, pushes="team/app:1", told="state/digest"),
)
