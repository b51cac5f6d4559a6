"""Imports point downward, and each third-party library has one owner."""

from __future__ import annotations

import ast
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

pytestmark = [pytest.mark.heavy, pytest.mark.xdist_group("architecture")]  # a worker parses all files once
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
    ("tiffin.builder.value_bytes",),
    ("tiffin.builder.oci",),
    ("tiffin.builder.dockerfile", "tiffin.builder.layer", "tiffin.builder.sandbox", "tiffin.builder.registry"),
    ("tiffin.builder.image", "tiffin.builder.compose", "tiffin.builder.egress"),
    ("tiffin.builder.instructions", "tiffin.builder.containers"),
    ("tiffin.builder.plan", "tiffin.builder.bake"),
    ("tiffin.builder.lock",),
    ("tiffin.builder.sources",),
    ("tiffin.builder.execute", "tiffin.builder.sbom"),
    ("tiffin.builder.solver", "tiffin.builder.advisories", "tiffin.builder.report"),
    ("tiffin.builder.settings",),
    ("tiffin.builder.sharing", "tiffin.builder.delivery", "tiffin.builder.policy"),
    ("tiffin.builder.farm",),
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
        "tiffin.cache.shared.stores.gha",
        "tiffin.cache.shared.stores.http",
        "tiffin.builder.cli.output.timings.traces",
    ),
    "zstandard": ("tiffin.builder.layer.compression.codecs",),
    "deflate": ("tiffin.builder.layer.compression.codecs",),
    "zlib_ng": ("tiffin.builder.layer.compression.codecs",),
    "rich": ("tiffin.builder.cli.output.render_tty", "tiffin.builder.cli.explore"),
    "textual": ("tiffin.builder.cli.explore",),
    "diskcache": ("tiffin.cache.store.local",),
    "redis": ("tiffin.cache.shared.stores.redis",),
    "h11": ("tiffin.builder.egress.conversation",),
    "pysequoia": ("tiffin.builder.policy.rego",),
    "regopy": ("tiffin.builder.policy.rego",),
    "azure": ("tiffin.cache.shared.stores.azblob",),
    "distributed": ("tiffin.builder.farm.dask",),
    "dask": ("tiffin.builder.farm.dask",),
    "boto3": ("tiffin.cache.shared.stores.s3",),
    "botocore": ("tiffin.cache.shared.stores.s3",),
    "certifi": ("tiffin.cache.trust",),
    "dockerfile_parse": ("tiffin.builder.dockerfile.parser",),
    "yaml": ("tiffin.builder.compose.yaml_files", "tiffin.builder.containers.confinement.cdi"),
    "univers": ("tiffin.builder.advisories.ecosystems", "tiffin.builder.api.sbom.scanning"),
    "cvss": ("tiffin.builder.advisories.severity", "tiffin.builder.api.sbom.scanning"),
    "packageurl": ("tiffin.builder.sbom.purls",),
    "license_expression": ("tiffin.builder.sbom.licences",),
    "inotify_simple": ("tiffin.builder.sources.watch",),
    "jsonschema": ("tiffin.builder.compose.schema.validation",),
}

# what runs between the fork of a sandbox and its command: these import nothing of ours but each other
STANDALONE = (
    "tiffin.builder.owner_xattrs",
    "tiffin.builder.sandbox.child",
    "tiffin.cache.foundation.c_types",
    "tiffin.cache.foundation.json_text",
    "tiffin.cache.foundation.signals",
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
MAX_LINES, MAX_FUNCTION_LINES = 400, 45  # of a module, of a function


def within(module: str, prefix: str) -> bool:
    return module == prefix or module.startswith(prefix + ".")


@cache
def text_of(path: Path) -> str:
    return path.read_text()


@cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    """All nodes of a file, which every test looks through."""
    return tuple(ast.walk(ast.parse(text_of(path))))


@cache
def sources() -> tuple[Path, ...]:
    """The files of tiffin."""
    return tuple(path for package in ("builder", "cache") for path in (ROOT / package).rglob("*.py"))


@cache
def layer(module: str) -> tuple[int, str] | None:
    found = [(height, name) for height, names in enumerate(LAYERS) for name in names if within(module, name)]
    return max(found, key=lambda item: len(item[1]), default=None)


@cache
def imports(path: Path) -> frozenset[str]:
    found = set()
    for node in nodes(path):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(found)


@cache
def modules(root: Path) -> dict[str, frozenset[str]]:
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
        here: {name for target in targets for name in (target, target.rpartition(".")[0]) if name in graph} - {here}
        for here, targets in graph.items()
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
    for path in sources():
        for node in nodes(path):
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


def test_modules_of_tests_have_names_of_their_own() -> None:
    """They are in no packages: pytest cannot import two of one name in one run."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(name for name in set(names) if names.count(name) > 1) == []


def test_modules_and_functions_are_short() -> None:
    long = set()
    for path in sources():
        text, name = text_of(path), path.relative_to(ROOT)
        if text.count("\n") > MAX_LINES:
            long.add(f"{name}")
        for node in nodes(path):
            if isinstance(node, ast.FunctionDef) and (node.end_lineno or 0) - node.lineno >= MAX_FUNCTION_LINES:
                long.add(f"{name}:{node.name}")
    assert long == set()


MAY_LACK_MEMBERS = (  # of objects of other libraries, and of values of any class
    "builder/cli",
    "cache/connections.py",
    "cache/foundation/frozen.py",
    "cache/trust.py",
)


def test_what_an_object_can_do_is_stated_and_not_tried() -> None:
    """An optional ability is a member that a Protocol names, so that a checker of types knows it."""
    wrong = [
        f"{path}:{node.lineno}"
        for path in sources()
        if not str(path.relative_to(ROOT)).startswith(MAY_LACK_MEMBERS)
        for node in nodes(path)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        if node.func.id == "hasattr" or (node.func.id == "getattr" and len(node.args) == 3)
    ]
    assert wrong == []


MUTATORS = ("add", "append", "clear", "discard", "extend", "insert", "pop", "popitem", "setdefault", "update")
FOREIGN = {  # objects of other libraries, which have no other way
    "builder/__main__.py": ("sys", "stand_in"),
    "builder/api/compose/following/watching.py": ("member",),
    "builder/api/farm/nodes.py": ("os",),
    "builder/cli/app.py": ("ctx", "version"),
    "builder/farm/dask/host.py": ("worker",),
    "builder/farm/dask/nodes.py": ("os",),
    "builder/farm/dask/trust.py": ("context",),
    "builder/cli/tree.py": ("os",),
    "builder/compose/schema/validation.py": ("sys",),
    "builder/importing.py": ("module", "spec", "sys"),
    "builder/registry/download.py": ("session",),
    "builder/registry/failures.py": ("context",),
    "builder/sandbox/child/command.py": ("sys",),
    "builder/sandbox/child/emulation/inodes.py": ("_function", "_SYSCALL"),
    "builder/sandbox/child/emulation/process.py": ("_function", "self._there"),
    "builder/sandbox/child/kernel.py": ("LIBC.syscall",),
    "cache/connections.py": ("session", "self.poolmanager"),
    "cache/foundation/c_types.py": ("buffer", "memmove"),
    "cache/shared/stores/redis.py": ("sentinel",),
    "cache/trust.py": ("context",),
}


OWN_NAMES = ("self", "cls")


def members(path: Path) -> set[str]:
    """The names that classes of a module give their objects."""
    found = set()
    for node in (inner for cls in nodes(path) if isinstance(cls, ast.ClassDef) for inner in ast.walk(cls)):
        match node:
            case ast.Attribute(value=ast.Name(id="self" | "cls"), ctx=ast.Store()):
                found.add(node.attr)
            case ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]):
                found.add(name)
    return found


def changed(node: ast.AST) -> ast.Attribute | None:
    """The member that a node changes, or that holds a collection which it changes."""
    match node:
        case ast.Attribute(ctx=ast.Store() | ast.Del()):
            return node
        case ast.Subscript(ctx=ast.Store() | ast.Del(), value=ast.Attribute() as member):
            return member
        case ast.Call(func=ast.Attribute(value=ast.Attribute() as member, attr=name)) if name in MUTATORS:
            return member
    return None


def test_nothing_is_changed_from_outside_after_it_was_made() -> None:
    """A module changes the objects of its own classes alone; others are asked to change themselves."""
    wrong = []
    for path in sources():
        name, own = str(path.relative_to(ROOT)), members(path)
        for member in filter(None, map(changed, nodes(path))):
            if member.attr not in own and (owner := ast.unparse(member.value)) not in OWN_NAMES + FOREIGN.get(name, ()):
                wrong.append(f"{name}:{member.lineno} changes {owner}.{member.attr}")
    assert wrong == []


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
        for node in nodes(path):
            compared = [node.left, *node.comparators] if isinstance(node, ast.Compare) else []
            compared += [node.subject] if isinstance(node, ast.Match) else []
            found = [value for value in compared if isinstance(value, ast.Attribute) and value.attr == "tier"]
            wrong += [f"{path}:{value.lineno} compares a tier" for value in found]
        loaded = {name.rpartition(".")[0] for name in imports(path) if name != f"{folder}.none.NO_ISOLATION"}
        wrong += [f"{path} imports {name}" for name in loaded & objects]
    assert wrong == []
