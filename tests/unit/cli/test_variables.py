"""Variables that jobs set: the table in docs/variables.md is true, and each that is honoured is."""

from __future__ import annotations

import base64
import importlib.util
import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.support.bench_of_builds import OVERLAYS
from tests.support.commands import Commands
from tests.support.contexts import context_at
from tiffin.builder.cli.manual import variables
from tiffin.builder.cli.options.common import REFUSED_VARIABLES
from tiffin.builder.cli.options.option import DONE, REFUSED
from tiffin.builder.cli.output.render_tty import COLOURS, chosen_colours
from tiffin.builder.cli.variables import VARIABLES

ROOT = Path(__file__).resolve().parents[3]
TEXT = "FROM base\nCOPY a /a\n"
# of the tables in docker's documentation of its command line and of builds (2026)
PUBLISHED = [
    "DOCKER_API_VERSION",
    "DOCKER_CERT_PATH",
    "DOCKER_CONFIG",
    "DOCKER_CONTENT_TRUST_SERVER",
    "DOCKER_CONTENT_TRUST",
    "DOCKER_CONTEXT",
    "DOCKER_CUSTOM_HEADERS",
    "DOCKER_DEFAULT_PLATFORM",
    "DOCKER_HIDE_LEGACY_COMMANDS",
    "DOCKER_HOST",
    "DOCKER_TLS",
    "DOCKER_TLS_VERIFY",
    "BUILDKIT_COLORS",
    "BUILDKIT_HOST",
    "BUILDKIT_PROGRESS",
    "BUILDKIT_TTY_LOG_LINES",
    "BUILDX_BUILDER",
    "BUILDX_CONFIG",
    "BUILDX_CPU_PROFILE",
    "BUILDX_EXPERIMENTAL",
    "BUILDX_GIT_CHECK_DIRTY",
    "BUILDX_GIT_INFO",
    "BUILDX_GIT_LABELS",
    "BUILDX_MEM_PROFILE",
    "BUILDX_METADATA_PROVENANCE",
    "BUILDX_METADATA_WARNINGS",
    "BUILDX_NO_DEFAULT_ATTESTATIONS",
    "BUILDX_NO_DEFAULT_OCI_ARTIFACT",
    "BUILDX_NO_DEFAULT_LOAD",
    "EXPERIMENTAL_BUILDKIT_SOURCE_POLICY",
    "DOCKER_BUILDKIT",
    "NO_COLOR",
    "SOURCE_DATE_EPOCH",
    "BUILDKIT_CACHE_MOUNT_NS",
    "BUILDKIT_CONTEXT_KEEP_GIT_DIR",
    "BUILDKIT_INLINE_CACHE",
    "BUILDKIT_MULTI_PLATFORM",
    "BUILDKIT_SANDBOX_HOSTNAME",
    "BUILDKIT_SYNTAX",
]


def sources() -> str:
    files = [*(ROOT / "builder").rglob("*.py"), *(ROOT / "cache").rglob("*.py")]
    return "\n".join(path.read_text() for path in files if path.name != "variables.py")


def test_the_page_is_made_of_the_rows() -> None:
    spec = importlib.util.spec_from_file_location("manual", ROOT / "ci/manual.py")
    assert spec is not None and spec.loader is not None
    manual = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(manual)
    assert manual.VARIABLES.read_text() == variables(), "run ci/reference"


def test_every_published_variable_is_judged_once() -> None:
    names = [row.name for row in VARIABLES]
    assert len(names) == len(set(names)) and set(PUBLISHED) <= set(names)
    assert set(REFUSED_VARIABLES) == {row.name for row in VARIABLES if row.effect == REFUSED}


def test_what_is_said_to_be_done_is_read_and_what_is_read_is_listed() -> None:
    text = sources()
    assert [row.name for row in VARIABLES if row.effect == DONE and row.name not in text] == []
    read = set(re.findall(r'"((?:DOCKER|BUILDKIT|BUILDX)_[A-Z_]+[A-Z])"', text))
    assert read <= {row.name for row in VARIABLES}


def test_a_job_full_of_variables_builds(tiffin_here: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = context_at(tmp_path)(TEXT, a="A")
    plain = tiffin_here("build", "-q", "--timestamp", "0", folder).out
    for row in VARIABLES:
        if row.effect != DONE and row.effect != REFUSED:
            monkeypatch.setenv(row.name, "tcp://docker:2376")
    monkeypatch.setenv("DOCKER_BUILDKIT", "0")
    assert tiffin_here("build", "-q", "--timestamp", "0", folder).out == plain


@pytest.mark.parametrize("name", REFUSED_VARIABLES)
def test_what_cannot_be_left_out_is_refused(
    tiffin_here: Commands, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = context_at(tmp_path)(TEXT, a="A")
    monkeypatch.setenv(name, "0")
    assert tiffin_here("build", "-q", folder).code == 0
    monkeypatch.setenv(name, "1")
    refused = tiffin_here("build", "-q", folder, check=False)
    assert refused.code == 2 and f"{name} is set" in refused.err and "unset it" in refused.err


def test_the_platform_of_docker_is_the_usual_one(
    tiffin_here: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_DEFAULT_PLATFORM", "linux/arm64")
    folder = context_at(tmp_path)("FROM scratch\nCOPY a /\n", a="A")
    for words, wanted in (((), "arm64"), (("--platform", "linux/amd64"), "amd64")):
        tiffin_here("build", "-q", "-t", "app", *words, folder)
        assert json.loads(tiffin_here("inspect", "app").out)[0]["Architecture"] == wanted


def test_metadata_hold_what_the_variables_say(
    tiffin_here: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = context_at(tmp_path)("from base AS x\nARG A\nLABEL a=b\n")

    def metadata(*words: str, **environ: str) -> dict[str, object]:
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        tiffin_here("build", "-q", "--metadata-file", tmp_path / "meta", "--build-arg", "A=1", *words, folder)
        document: dict[str, object] = json.loads((tmp_path / "meta").read_text())
        return document

    found = metadata()
    assert "buildDefinition" in str(found["buildx.build.provenance"]) and "buildx.build.warnings" not in found
    assert "'A'" not in str(found["buildx.build.provenance"])
    assert "'A': '1'" in str(metadata(BUILDX_METADATA_PROVENANCE="max")["buildx.build.provenance"])
    assert "buildx.build.provenance" not in metadata(BUILDX_METADATA_PROVENANCE="false")
    told = metadata(BUILDX_METADATA_WARNINGS="1")["buildx.build.warnings"]
    assert isinstance(told, list) and told[0]["url"].endswith("/from-as-casing/")
    assert told[0]["range"] == [{"start": {"line": 1}, "end": {"line": 1}}]
    assert base64.b64decode(told[0]["short"]).startswith(b"FromAsCasing: ")


def test_nothing_is_stored_where_loading_is_off(
    tiffin_here: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiffin_here.isolation = OVERLAYS
    monkeypatch.setenv("BUILDX_NO_DEFAULT_LOAD", "1")
    folder = context_at(tmp_path)(TEXT, a="A")
    tiffin_here("build", "-t", "app", folder)
    assert tiffin_here("images", "-q", "app").out == ""
    tiffin_here("build", "-t", "app", "--load", folder)
    assert tiffin_here("images", "-q", "app").out != ""


def test_labels_name_the_commit(tiffin_here: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = context_at(tmp_path)(TEXT, a="A", name="repo")
    git = ["git", "-C", str(folder), "-c", "user.name=n", "-c", "user.email=e@example.com"]
    for words in (("init", "-q"), ("add", "."), ("commit", "-qm", "x"),
        ("remote", "add", "origin", "https://user:secret@git.example/app.git?token=secret")):  # fmt: skip
        subprocess.run([*git, *words], check=True)
    commit = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()

    def labels(*words: str, **environ: str) -> dict[str, str]:
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        tiffin_here("build", "-q", "-t", "app", *words, folder)
        found: dict[str, str] = json.loads(tiffin_here("inspect", "app").out)[0]["Config"].get("Labels") or {}
        return found

    assert labels() == {} and labels(BUILDX_GIT_LABELS="0") == {}
    revision = {"org.opencontainers.image.revision": commit, "com.docker.image.source.entrypoint": "Dockerfile"}
    assert labels(BUILDX_GIT_LABELS="1") == revision
    source = {"org.opencontainers.image.source": "https://git.example/app.git"}
    assert labels(BUILDX_GIT_LABELS="full") == revision | source
    (folder / "b").write_text("new")
    dirty = labels("--label", "com.docker.image.source.entrypoint=x", BUILDX_GIT_CHECK_DIRTY="1")
    assert dirty["org.opencontainers.image.revision"] == f"{commit}-dirty"
    assert dirty["com.docker.image.source.entrypoint"] == "x"


def test_the_builder_of_the_environment_is_shown(tiffin_here: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    tiffin_here("buildx", "create", "--name", "one")
    monkeypatch.setenv("BUILDX_BUILDER", "one")
    assert "Name:                  one\n" in tiffin_here("buildx", "inspect").out
    assert "one*" in tiffin_here("buildx", "ls").out
    monkeypatch.setenv("BUILDX_BUILDER", "none")
    assert 'no builder "none" found' in tiffin_here("buildx", "inspect", check=False).err


def test_colours_are_chosen_by_name_and_by_numbers() -> None:
    assert chosen_colours("run=123,20,245:error=yellow:cancel=light-blue:warning=nocolour:other=red:") == {
        "run": "rgb(123,20,245)", "error": "yellow", "cancel": "bright_blue",
    }  # fmt: skip
    assert chosen_colours("") == {} and set(COLOURS) == {"run", "cancel", "error", "warning"}
