"""tiffin bake: targets that stand on each other, side by side, pushed; as whoever runs the tests and as a user."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.support.cli_runner import CliRunner
from tests.support.servers import Registry
from tests.support.serving import serving_folder

pytestmark = [pytest.mark.userns, pytest.mark.network]
FILE = """
variable "HOST" {}
group "default" { targets = ["one", "two"] }
target "base" {
  dockerfile-inline = <<EOT
FROM minimal
RUN echo made >> /base; cat /proc/sys/kernel/random/uuid > /once
EOT
}
target "_app" {
  matrix = { name = ["one", "two"] }
  name = name
  contexts = { base = "target:base" }
  args = { NAME = name }
  tags = ["${HOST}/bake/${name}:1"]
  output = ["type=registry"]
  dockerfile-inline = <<EOT
FROM base
ARG NAME
RUN cat /base && echo "$NAME" > /name
EOT
}
target "bad" { dockerfile-inline = "FROM minimal\\nRUN sleep 0.2; exit 3\\n" }
target "slow" { dockerfile-inline = "FROM minimal\\nRUN sleep 30\\n" }
target "on-bad" {
  contexts = { base = "target:bad" }
  dockerfile-inline = "FROM base\\n"
}
target "file" {
  dockerfile-inline = "FROM minimal\\nRUN echo built > /f\\nFROM scratch\\nCOPY --from=0 /f /\\n"
  output = ["type=local,dest=out"]
}
"""


@pytest.fixture
def bakery(cli: CliRunner) -> CliRunner:
    (cli.folder / "docker-bake.hcl").write_text(FILE)
    cli.own(cli.folder)
    return cli


def test_targets_stand_on_each_other_and_are_pushed(bakery: CliRunner, registry: Registry) -> None:
    words = ["bake", "--var", f"HOST={registry.host}", "--metadata-file", "m.json"]
    done = bakery.run(*words)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("RUN echo made") == 1, "the base is built once for both"
    metadata = json.loads((bakery.folder / "m.json").read_text())
    assert sorted(metadata) == ["base", "one", "two"]
    found = []
    for name in ("one", "two"):
        image = f"{registry.host}/bake/{name}:1"
        assert bakery.run("rmi", image).returncode == 0
        found.append(bakery.output("--insecure-registry", registry.host, image, "cat", "/once", "/base", "/name"))
    assert found[0].splitlines()[:2] == found[1].splitlines()[:2]
    assert [text.split()[-1] for text in found] == ["one", "two"]
    again = bakery.run(*words)
    assert again.returncode == 0 and "DONE" not in again.stderr, again.stderr
    repeated = json.loads((bakery.folder / "m.json").read_text())
    for name in metadata:
        assert repeated[name]["containerimage.digest"] == metadata[name]["containerimage.digest"]


def test_a_failure_ends_the_others_or_does_not(bakery: CliRunner) -> None:
    done = bakery.run("bake", "bad", "slow", "on-bad")
    assert done.returncode == 1
    assert "CANCELED" in done.stderr and "not built: on-bad, slow" in done.stderr
    assert "target bad: process" in done.stderr.splitlines()[-1]
    done = bakery.run("bake", "--keep-going", "bad", "file", "on-bad")
    assert done.returncode == 1 and "not built: on-bad\n" in done.stderr
    assert (bakery.folder / "out" / "f").read_text() == "built\n"
    assert bakery.left() == []


def test_a_definition_comes_from_a_repository(bakery: CliRunner, tmp_path: Path) -> None:
    work = tmp_path / "work"
    (work / "sub").mkdir(parents=True)
    (work / "docker-bake.hcl").write_text('target "default" {\n  context = "sub"\n  tags = ["from-git"]\n}\n')
    (work / "sub" / "Dockerfile").write_text("FROM scratch\nCOPY f /f\n")
    (work / "sub" / "f").write_text("there")
    for words in (
        ["init", "-q"], ["add", "."], ["commit", "-qm", "one"], ["clone", "-q", "--bare", ".", "../repo.git"],
    ):  # fmt: skip
        identity = ["-c", "user.name=someone", "-c", "user.email=someone@example.invalid"]
        subprocess.run(["git", "-C", work, *identity, *words], check=True)
    subprocess.run(["git", "-C", tmp_path / "repo.git", "update-server-info"], check=True)
    with serving_folder(tmp_path) as address:
        url = f"{address}/repo.git"
        done = bakery.run("bake", "--print", url)
        assert json.loads(done.stdout)["target"]["default"]["context"] == f"{url}#:sub", done.stderr
        assert bakery.run("bake", url).returncode == 0
    assert "from-git" in bakery.run("images").stdout
