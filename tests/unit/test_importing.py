"""The finder of our own modules does what the standard one does, and leaves to it what is not as expected."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import py_compile
import subprocess
import sys
from pathlib import Path

import pytest

from tiffin.builder.importing import Finder

NAME = "tiffin.builder.example"
CHECKOUT = Path(__file__).parents[2]
MEMBERS = ("name", "origin", "cached", "has_location", "parent", "submodule_search_locations")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "example.py"
    path.write_text("NUMBER = 1\n")
    py_compile.compile(str(path), doraise=True, invalidation_mode=py_compile.PycInvalidationMode.TIMESTAMP)
    return path


def compiled(source: Path) -> Path:
    return source.parent / "__pycache__" / f"example.{sys.implementation.cache_tag}.pyc"


@pytest.mark.parametrize("is_package", [False, True])
def test_module_is_as_the_standard_finder_has_it(source: Path, is_package: bool) -> None:
    if is_package:
        folder = source.parent / "example"
        folder.mkdir()
        source = source.rename(folder / "__init__.py")
        py_compile.compile(str(source), doraise=True, invalidation_mode=py_compile.PycInvalidationMode.TIMESTAMP)
        place = [str(folder.parent)]
    else:
        place = [str(source.parent)]
    ours, theirs = Finder.find_spec(NAME, place), importlib.machinery.PathFinder.find_spec(NAME, place)
    assert ours and theirs and ours.loader
    assert [getattr(ours, member) for member in MEMBERS] == [getattr(theirs, member) for member in MEMBERS]
    module = importlib.util.module_from_spec(ours)
    ours.loader.exec_module(module)
    assert (module.NUMBER, module.__file__, module.__cached__) == (1, str(source), theirs.cached)
    assert ours.loader.get_source(NAME) == "NUMBER = 1\n"  # type: ignore[attr-defined]  # for tracebacks


def test_other_source_is_not_what_was_compiled(source: Path) -> None:
    source.write_text("NUMBER = 12\n")
    assert Finder.find_spec(NAME, [str(source.parent)]) is None


@pytest.mark.parametrize("damage", ["missing", "cut", "magic", "by content"])
def test_unexpected_compiled_files_are_left_alone(source: Path, damage: str) -> None:
    path = compiled(source)
    data = path.read_bytes()
    match damage:
        case "missing":
            path.unlink()
        case "cut":
            path.write_bytes(data[:-4])
        case "magic":
            path.write_bytes(b"xx" + data[2:])
        case _:
            mode = py_compile.PycInvalidationMode.CHECKED_HASH
            py_compile.compile(str(source), doraise=True, invalidation_mode=mode)
    assert Finder.find_spec(NAME, [str(source.parent)]) is None


def test_code_compiled_in_another_place_tells_where_it_is(source: Path, tmp_path: Path) -> None:
    moved = source.parent.rename(tmp_path.parent / f"{tmp_path.name}-moved")
    spec = Finder.find_spec(NAME, [str(moved)])
    assert spec and spec.loader
    assert spec.loader._code.co_filename == str(moved / "example.py")  # type: ignore[attr-defined]
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.NUMBER == 1


@pytest.mark.parametrize("name", ["json.decoder", "cached.thing", "builder"])
def test_not_what_others_have(source: Path, name: str) -> None:
    assert Finder.find_spec(name, [str(source.parent)] if "." in name else None) is None


def test_the_library_of_python_is_found_as_the_standard_finder_finds_it() -> None:
    """Extension modules, built-in and frozen ones are left to it."""
    found = set()
    for name in sorted(sys.stdlib_module_names):
        ours = Finder.find_spec(name)
        if ours is None:
            continue
        theirs = importlib.machinery.PathFinder.find_spec(name)
        assert theirs and not isinstance(theirs.loader, importlib.machinery.ExtensionFileLoader)
        assert [getattr(ours, member) for member in MEMBERS] == [getattr(theirs, member) for member in MEMBERS]
        assert importlib.machinery.BuiltinImporter.find_spec(name) is None
        assert importlib.machinery.FrozenImporter.find_spec(name) is None
        found.add(name)
    assert {"json", "ctypes", "pathlib", "socket", "threading"} & found or not Path(
        importlib.util.cache_from_source(json.__file__)
    ).exists()
    assert not {"math", "_json", "importlib.util", "sys", "os"} & found


def test_a_file_in_the_way_is_not_loaded_for_one_of_python(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('the wrong one')\n")
    environ = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(tmp_path)}
    code = "from tiffin.builder import importing; importing.install(); import json; print(json.__file__)"
    argv = [sys.executable, "-c", f"import sys; sys.path.append({str(CHECKOUT)!r}); {code}"]
    told = subprocess.run(argv, env=environ, capture_output=True, text=True, check=True).stdout
    assert told.strip() == json.__file__
