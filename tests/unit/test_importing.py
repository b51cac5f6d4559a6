"""The finder of our own modules does what the standard one does, and leaves to it what is not as expected."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import py_compile
import sys
from pathlib import Path

import pytest

from tiffin.builder.importing import Finder

NAME = "tiffin.builder.example"
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


def test_code_compiled_in_another_place_is_left_alone(source: Path, tmp_path: Path) -> None:
    moved = source.parent.rename(tmp_path.parent / f"{tmp_path.name}-moved")
    assert Finder.find_spec(NAME, [str(moved)]) is None


@pytest.mark.parametrize("name", ["json.decoder", "cached.thing", "builder"])
def test_only_our_own_submodules(source: Path, name: str) -> None:
    assert Finder.find_spec(name, [str(source.parent)] if "." in name else None) is None
