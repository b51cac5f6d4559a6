"""Ask the oracles again: build every case with BuildKit and buildah and write expected/AREA.json.

Run as root from the checkout: `python -m tests.conformance.regenerate [AREA | AREA-NAME …]`; it needs docker.io and buildah.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from tests.conformance.case import HERE, Case, areas, bases, load, read_expected
from tests.conformance.images import Base, Result, write_base
from tests.conformance.modern import modern
from tests.conformance.oracles import Oracle, prepared_buildah, running_buildkit
from tests.conformance.servers import serving_files


def main(wanted: list[str]) -> None:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        places = [folder / name for name in ("docker", "buildah", "bases", "case")]
        for place in places:
            place.mkdir()
        oracles: list[Oracle] = [
            stack.enter_context(running_buildkit(places[0])),
            stack.enter_context(prepared_buildah(places[1])),
        ]
        known: list[Base] = []
        for name, base in bases().items():
            archive = places[2] / f"{name}.tar"
            write_base(archive, name, base)
            known.append(Base.read(archive))
            for oracle in oracles:
                oracle.load(archive, name)
        http = stack.enter_context(serving_files())
        for area in areas():
            cases = [case for case in load(area) if not wanted or area in wanted or case.id in wanted]
            old = read_expected(area)
            for case in cases:
                old[case.name] = _ask(case, oracles, places[3], known, http) if not case.no_oracle else {}
            names = {case.name for case in load(area) if not case.no_oracle}
            document = {name: value for name, value in old.items() if name in names}
            if document:
                text = json.dumps(document, indent=1, ensure_ascii=False, sort_keys=True)
                (HERE / "expected" / f"{area}.json").write_text(text + "\n")


def _ask(case: Case, oracles: list[Oracle], folder: Path, known: Sequence[Base], http: str) -> dict[str, Result]:
    answer: dict[str, Result] = {}
    for oracle in oracles:
        with tempfile.TemporaryDirectory(dir=folder) as place:
            result = oracle.build(case, case.write(Path(place), http), known)
        answer[oracle.name] = modern(result, case.dockerfile) if oracle.name == "buildkit" else result
    told = _difference(answer["buildkit"], answer["buildah"])
    sys.stderr.write(f"{case.id}: {answer['buildkit'].get('error', 'built')}; buildah {told}\n")
    return {"buildkit": answer["buildkit"], "buildah": {"told": told}}


def _difference(first: Result, second: Result) -> str:
    """How buildah's result differs from BuildKit's, in a few words; buildah writes no ArgsEscaped, and its own history."""
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
