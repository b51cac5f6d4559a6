"""tiffin installs in every usual way, and nothing that lies beside it in an environment or a project changes what it
does.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.conftest import CHECKOUT
from tests.support.unprivileged import interpreter

pytestmark = [pytest.mark.network, pytest.mark.slow, pytest.mark.xdist_group("packaging")]
DOCKERFILE = "FROM scratch\nCOPY page /\n"


def run(argv: Sequence[str | Path], cwd: Path | None = None, /, **environ: str) -> str:
    done = subprocess.run(
        list(map(str, argv)), capture_output=True, text=True, check=False, cwd=cwd, env={**os.environ, **environ}
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ci/package makes."""
    folder = tmp_path_factory.mktemp("dist")
    run([CHECKOUT / "ci/package", folder])
    return folder


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    (found,) = dist.glob("*.whl")
    return found


def make_environment(folder: Path) -> Path:
    """Make an environment without a pip of its own, as that takes longer than all that is installed there."""
    run([interpreter(), "-m", "venv", "--without-pip", folder])
    return folder / "bin"


def pip(programs: Path, *words: str | Path) -> None:
    run([sys.executable, "-m", "pip", "--python", programs / "python", "-q", *words])


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment in which pip installed the wheel."""
    programs = make_environment(tmp_path_factory.mktemp("environment"))
    pip(programs, "install", "--no-compile", wheel)
    return programs


def test_a_wheel_brings_man_pages_and_completion(environment: Path) -> None:
    share = environment.parent / "share"
    assert "\\-\\-build\\-arg" in (share / "man/man1/tiffin-build.1").read_text()
    assert (
        run([environment / "tiffin", "completion", "bash"])
        == (share / "bash-completion/completions/tiffin").read_text()
    )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project whose own modules have the names of our folders."""
    (tmp_path / "cache.py").write_text("raise SystemExit('the cache of the project')\n")
    (tmp_path / "builder").mkdir()
    (tmp_path / "builder/__init__.py").write_text("raise SystemExit('the builder of the project')\n")
    (tmp_path / "page").write_text("hello\n")
    (tmp_path / "Dockerfile").write_text(DOCKERFILE)
    return tmp_path


def digest_of(program: Sequence[str | Path], project: Path, **environ: str) -> str:
    """The id of the image that `program` makes of the project."""
    argv = [*program, "--root", project / "state", "build", "-q", "-f", "Dockerfile", "."]
    text = run(argv, project, SOURCE_DATE_EPOCH="0", **environ)
    assert re.fullmatch(r"sha256:[0-9a-f]{64}\n", text)
    return text


def test_modules_of_a_project_change_nothing(environment: Path, project: Path) -> None:
    expected = digest_of([environment / "tiffin"], project)
    assert digest_of([environment / "tiffin"], project, PYTHONPATH=".") == expected
    assert digest_of([environment / "python", "-m", "tiffin"], project, PYTHONPATH=".") == expected


def test_packages_of_the_same_names_live_beside_ours(environment: Path, project: Path) -> None:
    expected = digest_of([environment / "tiffin"], project)
    pip(environment, "install", "--no-compile", "--no-build-isolation", "setuptools", "wheel")
    pip(environment, "install", "--no-compile", "--no-deps", "builder", "cache")
    assert digest_of([environment / "tiffin"], project) == expected
    pip(environment, "uninstall", "-y", "builder", "cache")
    assert digest_of([environment / "tiffin"], project) == expected


def test_wheel_is_typed_and_brings_one_package(wheel: Path, environment: Path) -> None:
    names = run([sys.executable, "-m", "zipfile", "-l", wheel])
    tops = {line.split("/")[0].split("-")[0] for line in names.splitlines()[1:] if line}
    assert tops == {"tiffin"}
    assert "tiffin/py.typed" in names and "tiffin/builder/sandbox/seccomp/seccomp.json" in names
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    version = run([environment / "python", "-c", "import importlib.metadata as m; print(m.version('tiffin'))"])
    assert run([environment / "tiffin", "version"]) == f"tiffin version {version}" and "version" in project["dynamic"]


@pytest.mark.parametrize("tool", ["pipx", "uv"])
def test_tools_install_it_as_a_program(tool: str, wheel: Path, project: Path, tmp_path: Path) -> None:
    pip(make_environment(tmp_path / "tool"), "install", "--no-compile", tool)
    places = {
        "HOME": str(tmp_path / "home"),
        "PIPX_HOME": str(tmp_path / "home/pipx"),
        "PIPX_BIN_DIR": str(tmp_path / "programs"),
        "UV_TOOL_DIR": str(tmp_path / "home/uv"),
        "UV_TOOL_BIN_DIR": str(tmp_path / "programs"),
        "UV_NO_CACHE": "1",
        "UV_PYTHON_DOWNLOADS": "never",
    }
    index = run([sys.executable, "-m", "pip", "config", "get", "global.index-url"]).strip() if has_index() else ""
    if index:
        places["UV_DEFAULT_INDEX"] = index
    words = ["pipx", "install", "--python", interpreter()] if tool == "pipx" else ["uv", "tool", "install"]
    run([tmp_path / "tool/bin" / words[0], *words[1:], wheel], **places)
    assert digest_of([tmp_path / "programs/tiffin"], project)


def has_index() -> bool:
    """Whether pip is configured to ask another index than PyPI."""
    argv = [sys.executable, "-m", "pip", "config", "get", "global.index-url"]
    return subprocess.run(argv, capture_output=True, check=False).returncode == 0


# -- the single file ---------------------------------------------------------------------------------------------------


def test_single_file_does_what_the_installed_program_does(dist: Path, environment: Path, project: Path) -> None:
    cache = project / "xdg"
    single = [interpreter(), str(dist / "tiffin.pyz")]
    expected = digest_of([environment / "tiffin"], project)
    for _ in range(2):  # unpacking and unpacked
        assert digest_of(single, project, XDG_CACHE_HOME=str(cache), PYTHONPATH=".") == expected
    (place,) = (cache / "tiffin").iterdir()
    assert place.name.startswith("pyz-")


def test_single_file_started_twice_at_once_unpacks_once(dist: Path, tmp_path: Path) -> None:
    argv = [interpreter(), str(dist / "tiffin.pyz"), "version"]
    environ = {**os.environ, "TIFFIN_PYZ_DIR": str(tmp_path)}
    processes = [subprocess.Popen(argv, env=environ, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert {process.communicate(timeout=120)[0] for process in processes} == {run(argv, TIFFIN_PYZ_DIR=str(tmp_path))}
    assert len(list(tmp_path.iterdir())) == 1


def test_single_file_says_where_it_cannot_unpack(dist: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    argv = [interpreter(), str(dist / "tiffin.pyz"), "version"]
    environ = {**os.environ, "TIFFIN_PYZ_DIR": str(tmp_path / "file/below")}
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=environ)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: tiffin.pyz: cannot ") and "set TIFFIN_PYZ_DIR" in done.stderr


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
def test_single_file_runs_no_code_of_another_user(dist: Path, tmp_path: Path) -> None:
    run([interpreter(), dist / "tiffin.pyz", "version"], TIFFIN_PYZ_DIR=str(tmp_path))
    (place,) = tmp_path.iterdir()
    shutil.chown(place, 12345)
    argv = [interpreter(), str(dist / "tiffin.pyz"), "version"]
    environ = {**os.environ, "TIFFIN_PYZ_DIR": str(tmp_path)}
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=environ)
    assert done.returncode == 1 and "belongs to user 12345" in done.stderr
