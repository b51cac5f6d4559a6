"""What a real BuildKit made of the examples that every run of the tests builds: kept in recorded.json.

`python -m tests.differential.recorded` asks again, as root: TIFFIN_ORACLE_ROOT names a root directory with Debian's
newest docker, which is made where there is none.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.conformance.nodes import merge_layers, read_table, to_tar
from tests.conformance.oracles import make_newest_root, running_buildkit
from tests.differential.generator import BASE_TREE, FOLDER, Example, example
from tests.differential.listing import listing
from tests.differential.oracle import Oracle

PLACE = Path(__file__).with_name("recorded.json")
COUNT = 160
FOUND = (23477, 24887, 26751, 26835)  # among ten thousand others, those that once differed
Answer = Mapping[str, str] | str


def main() -> None:
    """Ask about the first examples, and those that once differed, and write what is answered."""
    examples = [example(seed) for seed in (*range(COUNT), *FOUND)]
    with real_oracle() as oracle:
        answers = oracle.ask(examples)
    built = [(each, answers[each.seed]) for each in examples]
    document = {
        str(each.seed): {"of": digest(each), **_short(tree)} for each, tree in built if not isinstance(tree, str)
    }
    PLACE.write_text(json.dumps(document, indent=0, sort_keys=True, ensure_ascii=False) + "\n")


def answers() -> dict[int, Mapping[str, str]]:
    """By seed the listing of what was built; what BuildKit refuses is not recorded."""
    base = base_listing()
    found: dict[int, Mapping[str, str]] = {}
    for seed, item in json.loads(PLACE.read_text()).items():
        assert item["of"] == digest(example(int(seed))), (
            "the generator changed: run python -m tests.differential.recorded"
        )
        found[int(seed)] = {path: line for path, line in {**base, **item["tree"]}.items() if line is not None}
    return found


@contextmanager
def real_oracle() -> Iterator[Oracle]:
    """A BuildKit of its own, ended with the block."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        root = Path(os.environ.get("TIFFIN_ORACLE_ROOT") or folder / "root")
        if not (root / "usr").exists():
            make_newest_root(root)
        with running_buildkit(folder, root) as kit:
            oracle = Oracle(kit, folder)
            oracle.prepare()
            yield oracle


def digest(each: Example) -> str:
    """What tells whether an answer is one about this very example."""
    text = f"{each.text(FOLDER)}{sorted(each.files.items())}{sorted(each.archives.items())}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def base_listing() -> dict[str, str]:
    """The part of the base that examples change."""
    return listing(merge_layers([to_tar(read_table(BASE_TREE))]))


def _short(answer: Mapping[str, str]) -> Mapping[str, object]:
    base = base_listing()
    changed = {path: answer.get(path) for path in {*answer, *base} if answer.get(path) != base.get(path)}
    return {"tree": {path: line for path, line in changed.items() if path.split("/")[1] not in OTHERS}}


OTHERS = ("home", "root", "run", "srv", "tmp", "var")  # of the base, which no example touches


if __name__ == "__main__":
    main()
