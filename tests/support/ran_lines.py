"""Record which statements of tiffin run: each is compiled with the store of one byte before it.

A pytest plugin (`-p tests.support.ran_lines`), which does something where $RAN_LINES names a file. Processes share that
file's memory, so what a forked child ran counts however the child ended, and workers of xdist need not report. A tracer
called for each line, as coverage.py has one before Python 3.12, took half of the time of ci/check.
`python -m tests.support.bounds FILE` reads it.
"""

from __future__ import annotations

import ast
import importlib.util
import itertools
import mmap
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

CHECKOUT = Path(__file__).parent.parent.parent
FOLDERS = ("builder", "cache")
PACKAGE = "tiffin."
VARIABLE = "RAN_LINES"
QUICK_FINDER = "tiffin.builder.importing"
MEMORY = "__ran__"
VERSION = "ran1"  # of the compiled form


def sources() -> list[str]:
    """The files that are looked at, in the order of their parts."""
    return sorted(str(path.resolve()) for folder in FOLDERS for path in (CHECKOUT / folder).rglob("*.py"))


def statements(tree: ast.AST) -> Iterator[tuple[list[ast.stmt], int]]:
    """Each statement that counts, as its block and its place there. What only says something to readers does not:
    docstrings, `...`, what is imported for the type checker alone.
    """
    for name, block in ast.iter_fields(tree):
        if not isinstance(block, list) or (name == "body" and _is_for_types(tree)):
            continue
        for place, node in enumerate(block):
            if isinstance(node, ast.stmt) and _counts(node):
                yield block, place
            if isinstance(node, ast.stmt | ast.excepthandler | ast.match_case):
                yield from statements(node)


def _counts(node: ast.stmt) -> bool:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return False
    return not (isinstance(node, ast.ImportFrom) and node.module == "__future__")


def _is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def with_stores(tree: ast.Module) -> ast.Module:
    """Return the tree with `__ran__[LINE] = 1` before each statement that counts."""
    for block, place in reversed(list(statements(tree))):
        node = block[place]
        store = ast.parse(f"{MEMORY}[{node.lineno}] = 1").body[0]
        for part in ast.walk(store):
            ast.copy_location(part, node)
        block.insert(place, store)
    return tree


class StoringLoader(SourceFileLoader):
    """Loads a module with stores; its compiled form lies beside the usual one."""

    def source_to_code(self, data: bytes, path: str) -> CodeType:  # type: ignore[override]  # importlib gives these
        code: CodeType = compile(with_stores(ast.parse(data)), path, "exec", dont_inherit=True)
        return code

    def get_data(self, path: str) -> bytes:
        return super().get_data(_own(path))

    def set_data(self, path: str, data: bytes, *, _mode: int = 0o666) -> None:  # type: ignore[override]  # likewise
        super().set_data(_own(path), data, _mode=_mode)

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__[MEMORY] = PARTS[os.path.realpath(self.path)]
        super().exec_module(module)
        if module.__name__ == QUICK_FINDER:
            module.__dict__["install"] = _behind_ours(module.__dict__["install"])


def _behind_ours(install: Callable[[], None]) -> Callable[[], None]:
    """Keep the finder that a command installs from what was not loaded before the command was forked."""

    def installed() -> None:
        install()
        sys.meta_path.remove(FINDER)
        sys.meta_path.insert(0, FINDER)

    return installed


def _own(path: str) -> str:
    return f"{path.removesuffix('.pyc')}.{VERSION}.pyc" if path.endswith(".pyc") else path


class Finder(MetaPathFinder):
    """Finds tiffin's modules, for the loader with stores."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith(PACKAGE):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or not isinstance(spec.loader, SourceFileLoader) or spec.origin is None:
            return spec
        if os.path.realpath(spec.origin) not in PARTS:
            return spec
        loader = StoringLoader(fullname, spec.origin)
        return importlib.util.spec_from_file_location(
            fullname, spec.origin, loader=loader, submodule_search_locations=spec.submodule_search_locations
        )


def opened(path: str) -> Mapping[str, memoryview]:
    """The part of each file: a byte per line, 1 where a statement that begins there ran. All of them are one mapping,
    close together: a mapping and a page of its own for each file cost every fork of a test hundreds of faults.
    """
    files = sources()
    sizes = [Path(name).read_bytes().count(b"\n") + 2 for name in files]  # lines count from 1; the last may have no end
    ends = list(itertools.accumulate(sizes))
    with open(path, "ab") as file:
        file.truncate(ends[-1])
    with open(path, "r+b") as file:
        memory = memoryview(mmap.mmap(file.fileno(), ends[-1]))
    return {name: memory[end - size : end] for name, size, end in zip(files, sizes, ends, strict=True)}


def lines_of(path: str) -> set[int]:
    """The lines at which a statement that counts begins."""
    return {block[place].lineno for block, place in statements(ast.parse(Path(path).read_bytes()))}


PARTS = opened(os.environ[VARIABLE]) if VARIABLE in os.environ else {}
FINDER = Finder()
if PARTS:
    sys.meta_path.insert(0, FINDER)
