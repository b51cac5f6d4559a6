"""Ask the oracles again: build every case with BuildKit and buildah and write expected/AREA.json.

Run as root from the checkout: `python -m tests.conformance.regenerate [AREA | AREA-NAME …]`; it needs buildah and
mmdebstrap, by which it gets Debian's newest docker. TIFFIN_ORACLE_ROOT names a directory to keep that in;
`--oracle buildkit` or `--oracle buildah` asks one of the two only.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

from tests.conformance.case import HERE, Case, areas, bases, load, read_expected
from tests.conformance.images import Base, Result, placed, write_base
from tests.conformance.modern import modern
from tests.conformance.oracles import Oracle, make_newest_root, prepared_buildah, running_buildkit
from tests.conformance.servers import serving_files

ORACLES = ("buildkit", "buildah")


def main(argv: Sequence[str]) -> None:
    options = argparse.ArgumentParser(prog="regenerate")
    options.add_argument("--oracle", choices=ORACLES, action="append")
    options.add_argument("wanted", nargs="*", metavar="AREA[-NAME]")
    asked = options.parse_args(argv)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        oracles = [stack.enter_context(oracle) for oracle in _oracles(folder, asked.oracle or ORACLES)]
        known: list[Base] = []
        for name, base in bases().items():
            archive = folder / f"{name}.tar"
            write_base(archive, name, base)
            known.append(Base.read(archive))
            for oracle in oracles:
                oracle.load(archive, name)
        http = stack.enter_context(serving_files())
        for area in areas():
            _ask_area(area, asked.wanted, oracles, folder, known, http)


def _oracles(folder: Path, names: Sequence[str]) -> Iterator[AbstractContextManager[Oracle]]:
    if "buildkit" in names:
        root = Path(os.environ.get("TIFFIN_ORACLE_ROOT") or folder / "root")
        if not (root / "usr").exists():
            make_newest_root(root)
        yield running_buildkit(folder, root)
    if "buildah" in names:
        (folder / "buildah").mkdir()
        yield prepared_buildah(folder / "buildah")


def _ask_area(
    area: str, wanted: Sequence[str], oracles: Sequence[Oracle], folder: Path, known: Sequence[Base], http: str
) -> None:
    cases = [case for case in load(area) if not case.no_oracle]
    old = read_expected(area)
    for case in cases:
        if not wanted or area in wanted or case.id in wanted:
            old[case.name] = _ask(case, oracles, folder, known, http, old.get(case.name, {}))
    names = {case.name for case in cases}
    document = {name: value for name, value in old.items() if name in names}
    text = json.dumps(document, indent=1, ensure_ascii=False, sort_keys=True)
    (HERE / "expected" / f"{area}.json").write_text(text + "\n")


def _ask(case: Case, oracles: Sequence[Oracle], folder: Path, known: Sequence[Base], http: str, old: Result) -> Result:
    """What the oracles say of a case; of one that is not asked, what it said."""
    answer = dict(old)
    for oracle in oracles:
        with tempfile.TemporaryDirectory(dir=folder) as place:
            result = placed(oracle.build(case, case.write(Path(place), http), known), http)
        reported = (
            modern(result)
            if oracle.name == "buildkit"
            else {"told": _difference(answer["buildkit"], result).replace(place, "")}
        )
        answer[oracle.name] = reported
    sys.stderr.write(f"{case.id}: {answer['buildkit'].get('error', 'built')}; buildah {answer.get('buildah')}\n")
    return answer


def _difference(first: Result, second: Result) -> str:
    """How buildah's result differs from BuildKit's, in a few words; buildah writes no ArgsEscaped, and its own
    history.
    """
    if "error" in first or "error" in second:
        same = ("error" in first) == ("error" in second)
        return "fails too" if same else second.get("error", "builds")
    differing = [
        f"{part} {key}"
        for part in ("config", "tree")
        for key in sorted({*first[part], *second[part]} - {"ArgsEscaped"})
        if first[part].get(key) != second[part].get(key)
    ]
    return f"differs in {', '.join(differing)}" if differing else "agrees"


if __name__ == "__main__":
    main(sys.argv[1:])
