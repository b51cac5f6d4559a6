"""Imports point downward, and each third-party library has one owner."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

pytestmark = pytest.mark.heavy
ROOT = Path(__file__).parent.parent
LAYERS = (  # bottom first; names on one line may not import each other
    ("tiffin.cache.errors",),
    ("tiffin.cache.foundation",),
    ("tiffin.cache",),
    ("tiffin.cache.shared",),
    ("tiffin.cache.shared.stores",),
    (
        "tiffin.builder.errors",
        "tiffin.builder.events",
        "tiffin.builder.importing",
        "tiffin.builder.options",
        "tiffin.builder.owner_xattrs",
        "tiffin.builder.plain_text",
        "tiffin.builder.programs",
        "tiffin.builder.version",
    ),
    ("tiffin.builder.oci",),
    ("tiffin.builder.dockerfile", "tiffin.builder.layer", "tiffin.builder.sandbox", "tiffin.builder.registry"),
    ("tiffin.builder.image",),
    ("tiffin.builder.instructions", "tiffin.builder.containers"),
    ("tiffin.builder.plan",),
    ("tiffin.builder.sources",),
    ("tiffin.builder.execute",),
    ("tiffin.builder.solver",),
    ("tiffin.builder.settings",),
    ("tiffin.builder.sharing", "tiffin.builder.delivery"),
    ("tiffin.builder.api",),
    ("tiffin.builder.cli",),
    ("tiffin.builder.__main__",),
)
OWNERS = {
    "click": ("tiffin.builder.cli", "tiffin.builder.__main__"),
    "requests": (
        "tiffin.builder.registry.transport",
        "tiffin.builder.registry.guard",
        "tiffin.builder.registry.download",
        "tiffin.cache.connections",
        "tiffin.cache.shared.stores.http",
    ),
    "zstandard": ("tiffin.builder.layer.compression.codecs",),
    "deflate": ("tiffin.builder.layer.compression.codecs",),
    "zlib_ng": ("tiffin.builder.layer.compression.codecs",),
    "rich": ("tiffin.builder.cli.output.render_tty",),
    "diskcache": ("tiffin.cache.store.local",),
    "redis": ("tiffin.cache.shared.stores.redis",),
    "boto3": ("tiffin.cache.shared.stores.s3",),
    "botocore": ("tiffin.cache.shared.stores.s3",),
    "certifi": ("tiffin.cache.trust",),
    "dockerfile_parse": ("tiffin.builder.dockerfile.parser",),
}

# what runs between the fork of a sandbox and its command: these import nothing of ours but each other
STANDALONE = (
    "tiffin.builder.owner_xattrs",
    "tiffin.builder.sandbox.child",
    "tiffin.cache.foundation.typing_shim",
    "tiffin.cache.foundation.frozen",
)
# with which descriptions begin, and not orders
NOT_VERBS = frozenset(
    [
        "The",
        "A",
        "An",
        "What",
        "Where",
        "When",
        "How",
        "Which",
        "Who",
        "Whose",
        "Whom",
        "All",
        "Every",
        "Each",
        "One",
        "Two",
        "Both",
        "Some",
        "Other",
        "Another",
        "No",
        "None",
        "Nothing",
        "Everything",
        "Something",
        "Those",
        "These",
        "This",
        "That",
        "It",
        "Its",
        "Our",
        "Of",
        "As",
        "By",
        "In",
        "On",
        "At",
        "For",
        "From",
        "With",
        "Without",
        "Within",
        "Under",
        "Through",
        "Up",
        "Between",
        "Bytes",
        "Names",
        "Paths",
        "Lines",
        "Words",
        "Rows",
        "Raises",
        "JSON",
    ]
)
MAX_MODULES = 13  # of a folder; one command is one module


def within(module: str, prefix: str) -> bool:
    return module == prefix or module.startswith(prefix + ".")


def layer(module: str) -> tuple[int, str] | None:
    found = [(height, name) for height, names in enumerate(LAYERS) for name in names if within(module, name)]
    return max(found, key=lambda item: len(item[1]), default=None)


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def modules(root: Path) -> dict[str, set[str]]:
    """Map every module to what it imports, imports inside functions included."""
    files = [p for package in ("builder", "cache") for p in (root / package).rglob("*.py")]
    return {
        ".".join(("tiffin", *path.relative_to(root).with_suffix("").parts)): imports(path)
        for path in files
        if path.name != "__init__.py"
    }


def violations(root: Path) -> list[str]:
    wrong = []
    for here, targets in sorted(modules(root).items()):
        mine = layer(here)
        assert mine is not None, f"{here} is in no layer"
        for target in sorted(targets):
            owners = OWNERS.get(target.split(".")[0])
            if owners and not any(within(here, owner) for owner in owners):
                wrong.append(f"{here} imports {target}; only {owners} may")
            theirs = layer(target)
            if theirs and (theirs[0] > mine[0] or (theirs[0] == mine[0] and theirs[1] != mine[1])):
                wrong.append(f"{here} imports {target}: not downward")
            if (
                any(within(here, module) for module in STANDALONE)
                and theirs
                and not any(within(target, module) for module in STANDALONE)
            ):
                wrong.append(f"{here} must stand alone, imports {target}")
    return wrong


def test_imports_point_downward() -> None:
    assert violations(ROOT) == []


def test_command_line_works_through_the_api_alone() -> None:
    below = tuple(f"tiffin.builder.{name}" for name in ("sandbox", "layer", "registry", "image", "solver"))
    wrong = [
        f"{here} imports {target}"
        for here, targets in modules(ROOT).items()
        for target in targets
        if within(here, "tiffin.builder.cli") and any(within(target, name) for name in below)
    ]
    assert wrong == []


def test_no_import_cycles() -> None:
    graph = modules(ROOT)
    edges = {
        here: {m for m in graph if m != here and any(within(t, m) for t in targets)} for here, targets in graph.items()
    }
    TopologicalSorter(edges).prepare()  # raises CycleError naming the cycle


def test_init_files_are_empty_or_docstrings() -> None:
    for package in ("builder", "cache"):
        for path in (ROOT / package).rglob("__init__.py"):
            body = ast.parse(path.read_text()).body
            assert all(isinstance(node, ast.Expr) for node in body), f"{path} has code"


def test_docstrings_of_functions_begin_with_a_verb() -> None:
    """Ruff's D401 knows verbs in another form; this test knows what else a description begins with."""
    wrong = []
    for package in ("builder", "cache"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.FunctionDef) and (text := ast.get_docstring(node)) and not is_property(node):
                    word = text.split()[0].strip(",.:;")
                    if word in NOT_VERBS or not word[0].isupper():
                        wrong.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}: {word}")
    assert wrong == []


def is_property(node: ast.FunctionDef) -> bool:
    return any(isinstance(item, ast.Name) and item.id == "property" for item in node.decorator_list)


def test_folders_are_small() -> None:
    folders = [path.parent for package in ("builder", "cache") for path in (ROOT / package).rglob("__init__.py")]
    sizes = {str(folder.relative_to(ROOT)): len(list(folder.glob("*.py"))) - 1 for folder in folders}
    assert {name: size for name, size in sizes.items() if size > MAX_MODULES} == {
        "builder/cli/commands": sizes["builder/cli/commands"]
    }


def test_tiers_are_asked_what_they_can_do_and_not_for_their_names() -> None:
    """A new tier is a file and a row: nobody else compares one, or loads one by its name (but that which runs
    nothing).
    """
    folder = "tiffin.builder.sandbox.tiers"
    objects = {
        f"{folder}.{path.stem}"
        for path in (ROOT / "builder/sandbox/tiers").glob("*.py")
        if "TIER =" in path.read_text()
    }
    assert len(objects) >= 5
    wrong = []
    for path in (ROOT / "builder").rglob("*.py"):
        if path.parent.name == "tiers":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            compared = [node.left, *node.comparators] if isinstance(node, ast.Compare) else []
            compared += [node.subject] if isinstance(node, ast.Match) else []
            if any(isinstance(value, ast.Attribute) and value.attr == "tier" for value in compared):
                wrong.append(f"{path}:{node.lineno} compares a tier")
        loaded = {name.rpartition(".")[0] for name in imports(path) if name != f"{folder}.none.NO_ISOLATION"}
        wrong += [f"{path} imports {name}" for name in loaded & objects]
    assert wrong == []
