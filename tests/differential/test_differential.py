"""Random builds give what a real BuildKit gives: every run builds the recorded ones, TIFFIN_DIFFERENTIAL=N asks
about N others.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.conformance.forkserver import ForkServer
from tests.conftest import assert_nothing_left
from tests.differential import recorded
from tests.differential.builder import Builder
from tests.differential.generator import Example, example
from tests.differential.listing import differences, link_destinations
from tests.support.unprivileged import has_one_id, remove_folder

pytestmark = pytest.mark.userns
MORE = int(os.environ.get("TIFFIN_DIFFERENTIAL", "0"))
FIRST_SEED = int(os.environ.get("TIFFIN_DIFFERENTIAL_SEED", "1000"))
BATCH = 50
PARTS = 4  # tests, so that several workers share them
# refused here on purpose (docs/differences.md), or there alone: what names a way out of an archive's destination
LISTED = ("several sources need a directory", "no layer can hold")


@pytest.fixture(scope="module", params=["range", "single"])
def builder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Builder]:
    if request.param == "range" and has_one_id():
        pytest.skip("this user has no subordinate ids")
    folder = tmp_path_factory.mktemp("differential")
    (folder / "out").mkdir()
    with ForkServer(folder / "out") as server:
        made = Builder(server, folder, request.param)
        made.prepare()
        yield made
    assert_nothing_left(folder / "state")
    remove_folder(folder)


@pytest.mark.parametrize("part", range(PARTS))
def test_recorded_builds_give_what_buildkit_gave(builder: Builder, part: int) -> None:
    found = [
        text for seed, answer in recorded.answers().items() if seed % PARTS == part
        for text in compared(builder, example(seed), answer)
    ]  # fmt: skip
    assert not found, "\n".join(found)


if MORE:

    def test_random_builds_give_what_buildkit_gives(builder: Builder) -> None:
        with recorded.real_oracle() as oracle:
            for start in range(FIRST_SEED, FIRST_SEED + MORE, BATCH):
                examples = [example(seed) for seed in range(start, min(start + BATCH, FIRST_SEED + MORE))]
                answers = oracle.ask(examples)
                found = [text for each in examples for text in compared(builder, each, answers[each.seed])]
                assert not found, "\n".join(found)


def leads_elsewhere(each: Example) -> bool:
    """Whether a wildcard with directories in it may match a link: what that leads to reaches BuildKit in part
    (docs/differences.md).
    """
    return "/*/*" in each.dockerfile and any(
        path.count("/") > 1 and node.kind == "link" for path, node in each.files.items()
    )


def compared(builder: Builder, each: Example, answer: recorded.Answer) -> list[str]:
    """What differs, with the Dockerfile. Where BuildKit refuses, tiffin may know better: it is asked for no refusal."""
    made = builder.build(each)
    if isinstance(answer, str) or (isinstance(made, str) and any(text in made for text in LISTED)):
        return []
    if leads_elsewhere(each):
        return []
    if isinstance(made, str):
        return [f"seed {each.seed}:\n{each.text('in')}{made}"]
    kept = {path: line for path, line in made.items() if path.split("/")[1] not in recorded.OTHERS}
    wanted = {path: line for path, line in answer.items() if path.split("/")[1] not in recorded.OTHERS}
    found = differences(wanted, kept, linked=link_destinations(each.dockerfile))
    return [f"seed {each.seed}:\n{each.text('in')}" + "\n".join(found)] if found else []
