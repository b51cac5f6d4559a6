"""What a key holds: everything that decides a result, and nothing else."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest

from tests.fakes.images import base_image
from tests.support.plans import FakeBuild
from tiffin.builder.errors import BuildError
from tiffin.builder.plan.plan import Plan
from tiffin.cache.keys import KeyPart

TEXT = """\
FROM base AS make
ENV A=1
WORKDIR /w
COPY --chown=5:6 src /w/
RUN --mount=type=cache,target=/c --mount=type=bind,from=other,source=/b,target=/b make
FROM scratch
COPY --from=make --chmod=755 /w/out /out
COPY --link <<EOF /note
hello
EOF
USER 7
RUN --network=none ["/out", "x"]
"""
FILES: dict[str, bytes | str | None] = {"src/a": "a", "src/sub/b": "bb", "src/link": "-> a", "elsewhere": "?"}
# Changing one of these makes every cache miss: raise tiffin.cache.keys.SCHEMA with it, and write them anew.
GOLDEN = {
    0: [
        "438638a70c586905abcbc4250bdd80f614174a0fb2dbff5ce2dc2042bdcc720e",
        "fe9e41f4b11a577cda2319d6dd41fee76713cc4eae387f2dbb37c2135bb06714",
        "481b00776795e6189384361145cd01f065b245c83b982a8ee8b6d8ce62d139c5",
    ],
    1: [
        "5042a413f2c3b605bb82b94b30522aefc452bc225724075517381c8d50e21e52",
        "73694829f65e74d607d37f38af7c3b887857334b9cd6866a8e1d623db7f5aaef",
        "881474df19f40885894f4d60f742134c9be6acfa2b8ed60326c2fec4d135037a",
    ],
}


def keys(fake_build: FakeBuild, text: str, **arguments: object) -> dict[int, list[str]]:
    plan: Plan = fake_build.plan(text, **arguments)  # type: ignore[arg-type]
    made = fake_build.keys(plan)
    return {index: [key.hex for key in made.of_stage(index)] for index in plan.stages}


def of_target(fake_build: FakeBuild, text: str, *, epoch: int | None = None) -> list[str]:
    plan = fake_build.plan(text)
    return [key.hex for key in fake_build.keys(plan, epoch=epoch).of_stage(plan.target)]


def test_golden_keys(fake_build: FakeBuild) -> None:
    fake_build.files.update(FILES)
    assert keys(fake_build, TEXT) == GOLDEN


def test_keys_are_the_same_for_who_asks_again(fake_build: FakeBuild) -> None:
    fake_build.files.update(FILES)
    assert keys(fake_build, TEXT) == keys(fake_build, TEXT)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("RUN a", "RUN b"),
        ("ENV A=1\nRUN a", "ENV A=2\nRUN a"),
        ("WORKDIR /x\nRUN a", "WORKDIR /y\nRUN a"),
        ("USER 1\nRUN a", "USER 2\nRUN a"),
        ('SHELL ["/s", "-c"]\nRUN a', "RUN a"),
        ("RUN --network=none a", "RUN a"),
        ("RUN --mount=type=tmpfs,target=/t a", "RUN a"),
        ("RUN --mount=type=cache,target=/t,id=x a", "RUN --mount=type=cache,target=/t,id=y a"),
        ("RUN --mount=type=bind,source=src,target=/s a", "RUN --mount=type=bind,source=src/sub,target=/s a"),
        ("RUN --mount=type=secret,id=s a", "RUN --mount=type=secret,id=s,required a"),
        ("RUN <<E\na\nE", "RUN <<E\nb\nE"),
        ("COPY src /", "COPY src /x"),
        ("COPY src /", "COPY src/sub /"),
        ("COPY src /", "COPY --chown=1 src /"),
        ("COPY src /", "COPY --chmod=700 src /"),
        ("COPY src /", "COPY --link src /"),
        ("COPY src /x/", "COPY --parents src /x/"),
        ("COPY src /", "COPY --exclude=a src /"),
        ("COPY src /", "ADD src /"),
        ("COPY <<f /\n1\nf", "COPY <<f /\n2\nf"),
        ("COPY --from=other /a /", "COPY --from=base /a /"),
        ("WORKDIR /a", "WORKDIR /b"),
    ],
)
def test_what_decides_a_result_is_in_its_key(fake_build: FakeBuild, before: str, after: str) -> None:
    fake_build.files.update(FILES)
    one, other = (of_target(fake_build, f"FROM base\n{text}\n")[-1] for text in (before, after))
    assert one != other


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("RUN a", "# said\nRUN a"),
        ("RUN a", "LABEL x=y\nRUN a"),
        ("RUN a", 'CMD ["x"]\nEXPOSE 80\nRUN a'),
        ("ENV A=1\nCOPY src /", "ENV A=2\nCOPY src /"),
    ],
)
def test_what_decides_nothing_is_in_no_key(fake_build: FakeBuild, before: str, after: str) -> None:
    fake_build.files.update(FILES)
    one, other = (of_target(fake_build, f"FROM base\n{text}\n")[-1] for text in (before, after))
    assert one == other


def test_content_of_the_context_is_in_the_key_and_what_is_not_copied_is_not(fake_build: FakeBuild) -> None:
    fake_build.files.update(FILES)
    text = "FROM base\nCOPY src /\n"
    before = of_target(fake_build, text)
    fake_build.files["elsewhere"] = "other"
    assert of_target(fake_build, text) == before
    fake_build.files["src/a"] = "A"
    assert of_target(fake_build, text) != before
    fake_build.files["src/a"] = "a"
    fake_build.files["src/new"] = ""
    assert of_target(fake_build, text) != before


def test_epoch_is_in_every_key(fake_build: FakeBuild) -> None:
    fake_build.files.update(FILES)
    plain, early, late = (of_target(fake_build, TEXT, epoch=epoch) for epoch in (None, 1, 2))
    assert all(len({*group}) == 3 for group in zip(plain, early, late, strict=True))


def test_a_key_holds_all_below_it(fake_build: FakeBuild) -> None:
    before = of_target(fake_build, "FROM base\nRUN a\nRUN b\n")
    after = of_target(fake_build, "FROM base\nRUN A\nRUN b\n")
    assert before[1] != after[1]
    assert of_target(fake_build, "FROM other\nRUN a\n")[0] != before[0]


def test_a_linked_copy_stands_on_nothing_and_is_in_what_stands_on_it(fake_build: FakeBuild) -> None:
    fake_build.files.update(FILES)
    texts = [f"FROM {base}\nCOPY --link src /{place}\nRUN a\n" for base,
        place in itertools.product(("base", "other"), ("x", "y"))]  # fmt: skip
    found = [of_target(fake_build, text) for text in texts]
    assert found[0][0] == found[2][0] != found[1][0], "the same whatever is below, another for another place"
    assert len({pair[1] for pair in found}) == 4, "a RUN above sees both what is below and what was linked"


def test_a_stage_counts_by_its_last_key_with_links_in_it(fake_build: FakeBuild) -> None:
    fake_build.files.update(FILES)
    text = "FROM base AS low\nCOPY --link src /x\nFROM low\nRUN a\n"
    assert of_target(fake_build, text) != of_target(fake_build, text.replace("/x", "/y"))
    copied = "FROM base AS low\nRUN {}\nFROM other\nCOPY --from=low /x /\n"
    assert of_target(fake_build, copied.format("a")) != of_target(fake_build, copied.format("b"))


def test_a_base_counts_by_its_layers_alone(fake_build: FakeBuild) -> None:
    before = of_target(fake_build, "FROM base\nRUN a\n")
    fake_build.images["base"] = base_image("anything", "one", "two")
    assert of_target(fake_build, "FROM base\nRUN a\n") == before
    fake_build.images["base"] = base_image("base", "two", "one")
    assert of_target(fake_build, "FROM base\nRUN a\n") != before


def test_proxies_and_addresses_of_hosts_are_in_no_key(fake_build: FakeBuild) -> None:
    plain, proxied = (
        keys(fake_build, "FROM base\nRUN a\n", build_args=args) for args in ({}, {"HTTP_PROXY": "http://p:3128"})
    )
    assert plain == proxied


def test_build_arguments_are_in_the_keys_of_runs_that_see_them(fake_build: FakeBuild) -> None:
    text = "FROM base\nRUN before\nARG V\nRUN after\nCOPY <<f /\nf\n"
    one, two = (keys(fake_build, text, build_args={"V": value})[0] for value in "12")
    assert one[0] == two[0] and one[1] != two[1]


def test_cache_mounts_that_begin_with_a_stage_hold_it(fake_build: FakeBuild) -> None:
    text = "FROM base AS seed\nRUN {}\nFROM base\nRUN --mount=type=cache,target=/c,from=seed make\n"
    one, two = (of_target(fake_build, text.format(word)) for word in "ab")
    assert one != two
    image = "FROM base\nRUN --mount=type=cache,target=/c,from={} make\n"
    assert of_target(fake_build, image.format("base")) != of_target(fake_build, image.format("other"))


def by_name(parts: Sequence[KeyPart]) -> dict[str, str]:
    return {part.name: part.value for part in parts}


def test_parts_name_what_the_key_is_made_of(fake_build: FakeBuild) -> None:
    fake_build.files.update(FILES)
    plan = fake_build.plan("FROM base\nENV A=1\nCOPY --chown=5 src /x\nRUN make\n")
    made = fake_build.keys(plan)
    copy, run = (by_name(made.parts(0, number)) for number in (0, 1))
    assert (copy["op"], copy["chown"], copy["dest"]) == ("copy", "5", "/x") and "content" in copy
    assert (run["op"], run["platform"]) == ("run", "linux/amd64") and "A=1" in run["env"]


def test_listings_tell_what_local_inputs_hold_and_leave_large_ones_out(fake_build: FakeBuild) -> None:
    fake_build.files.update(FILES)
    made = fake_build.keys(fake_build.plan("FROM base AS b\nCOPY src /x\nFROM base\nCOPY --from=b /x /\n"))
    (listing,) = made.listings(0, 0, 100).values()
    assert sorted(listing) == ["src", "src/a", "src/link", "src/sub", "src/sub/b"]
    assert next(iter(made.listings(0, 0, 100))) == by_name(made.parts(0, 0))["content"]
    assert made.listings(0, 0, 1) == {} and made.listings(1, 0, 100) == {}


def test_a_source_that_is_missing_is_told_with_its_line(fake_build: FakeBuild) -> None:
    with pytest.raises(BuildError, match="not found") as caught:
        of_target(fake_build, "FROM base\nRUN a\nCOPY nothing /\n")
    assert caught.value.span is not None and caught.value.span.first_line == 3


def test_a_context_that_is_not_there_is_told(fake_build: FakeBuild) -> None:
    with pytest.raises(BuildError, match="not found"):
        of_target(fake_build, "FROM base\nRUN --mount=type=bind,source=no*,target=/s a\n")
