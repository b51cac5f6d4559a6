"""From stages to a plan: what is reached, what names mean, and which fault is told with which line."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from tests.fakes.images import PLATFORM, FakeImages, base_image
from tests.support.bench_of_builds import Bench
from tests.support.plans import FakeBuild
from tiffin.builder.dockerfile.parser import parse
from tiffin.builder.errors import BuildError, DockerfileError, TiffinError, UsageError
from tiffin.builder.instructions.ops import ContextOrigin, CopyOp, GitOrigin, ImageOrigin, RunOp, StageOrigin, UrlOrigin
from tiffin.builder.oci.config import RunConfig
from tiffin.builder.oci.spec import Platform
from tiffin.builder.plan.outline import Outline
from tiffin.builder.plan.plan import Plan
from tiffin.builder.plan.plan_options import (
    DirectoryContext,
    ImageContext,
    NamedContext,
    PlanOptions,
    RemoteContext,
    StageContext,
)
from tiffin.builder.plan.planner import make_plan
from tiffin.builder.solver.checks import check

ARM = Platform(os="linux", architecture="arm64")


def images() -> FakeImages:
    triggers = RunConfig(env=("A=base",), on_build=("COPY . /src", "RUN make"))
    return FakeImages(
        {
            "base": base_image("base", "one", config=RunConfig(env=("PATH=/b", "A=base"), user="u")),
            "triggers": base_image("triggers", "one", config=triggers),
            "arm": base_image("arm", "one", platform=ARM),
        }
    )


def plan(text: str, **plan_options: object) -> Plan:
    return make_plan(parse(text.encode(), "D"), PlanOptions(platform=PLATFORM, **plan_options), images().resolve)  # type: ignore[arg-type]


def fault(text: str, **plan_options: object) -> TiffinError:
    with pytest.raises(TiffinError) as caught:
        plan(text, **plan_options)
    return caught.value


def origins(made: Plan) -> list[object]:
    return [origin for step in made.stages[made.target].steps for origin in step.op.origins()]


def test_only_what_the_target_needs_is_planned_and_looked_up() -> None:
    asked = images()
    text = "FROM nowhere AS unused\nFROM base AS a\nFROM base\nCOPY --from=a /x /\n"
    made = make_plan(parse(text.encode(), "D"), PlanOptions(platform=PLATFORM), asked.resolve)
    assert sorted(made.stages) == [1, 2] and [name for name, _ in asked.asked] == ["base"]


@pytest.mark.parametrize("target", ["b", "B", "1"])
def test_a_target_is_a_name_in_any_case(target: str) -> None:
    text = "FROM base AS a\nFROM base AS b\nFROM base AS c\n"
    if target == "1":
        assert "could not be found" in str(fault(text, target=target))
    else:
        assert plan(text, target=target).target == 1


def test_a_target_that_is_not_there_is_told_with_what_is() -> None:
    assert fault("FROM base AS build\n", target="biuld").remedy == 'did you mean "build"?'
    assert isinstance(fault("FROM base AS one\nFROM base AS two\n", target="x"), UsageError)
    assert "the named stages are one, two" in str(fault("FROM base AS one\nFROM base AS two\n", target="zzzz"))
    assert "no stage has a name" in str(fault("FROM base\n", target="x"))


@pytest.mark.parametrize(
    ("name", "context", "expected"),
    [
        ("a", None, StageOrigin(index=0)),
        ("0", None, StageOrigin(index=0)),
        ("base", None, ImageOrigin(name="base")),
        ("a", DirectoryContext(), ContextOrigin(name="a")),
        ("x", DirectoryContext(), ContextOrigin(name="x")),
        ("x", ImageContext(reference="base"), ImageOrigin(name="base")),
        ("x", StageContext(stage="a"), StageOrigin(index=0)),
        ("x", RemoteContext(origin=UrlOrigin(url="http://h/f", filename="f")),
            UrlOrigin(url="http://h/f", filename="f")),
        ("x", RemoteContext(origin=GitOrigin(url="http://h/r.git")), GitOrigin(url="http://h/r.git")),
    ],
)  # fmt: skip
def test_what_from_means(name: str, context: NamedContext | None, expected: object) -> None:
    contexts: Mapping[str, NamedContext] = {name: context} if context else {}
    made = plan(f"FROM base AS a\nFROM base\nCOPY --from={name} /f /\n", contexts=contexts)
    assert origins(made) == [expected]


@pytest.mark.parametrize(
    ("context", "bases"),
    [
        (ImageContext(reference="arm"), {"arm"}),
        (StageContext(stage="other"), {"base"}),
        (DirectoryContext(), set()),
    ],
)
def test_a_context_stands_for_a_stage_or_for_its_base(context: NamedContext, bases: set[str]) -> None:
    text = "FROM base AS other\nFROM nowhere AS mine\nRUN a\n"
    for name in ("nowhere", "mine"):
        made = plan(text, contexts={name: context})
        assert set(made.images) == bases
        first = made.stages[made.target].steps[0].op
        assert isinstance(first, CopyOp if isinstance(context, DirectoryContext) else RunOp)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("FROM base\nCOPY --from=7 /f /\n", "invalid stage index 7"),
        ("FROM base AS one\nCOPY --from=0 /f /\n", 'cannot copy from stage "0"'),
        ("FROM base AS one\nCOPY --from=two /f /\nFROM base AS two\n", 'cannot copy from stage "two"'),
        ("FROM base AS one\nRUN --mount=from=two,target=/m a\nFROM base AS two\n", 'cannot mount from stage "two"'),
        ("FROM base AS build\nFROM base\nCOPY --from=biuld /f /\n", 'no stage or context is named "biuld"'),
        ("FROM self AS self\n", "circular dependency detected on stage: self"),
        ("FROM later AS x\nFROM base AS later\n", 'cannot copy from stage "later"'),
        ("ARG V\nFROM $V\n", "should not be blank"),
        ("FROM --platform=$V base\n", "empty platform value"),
        ("FROM --platform=what/ever/it/is base\n", "platform"),
        ("FROM b@se\n", "b@se"),
        ("FROM nowhere\n", "nowhere not found"),
    ],
)
def test_faults_are_told_with_their_line(text: str, says: str) -> None:
    target = next((name for name in ("one", "x") if f"AS {name}\n" in text), "")
    found = fault(text, target=target)
    assert says in str(found) and isinstance(found, DockerfileError | BuildError)


def test_context_of_a_stage_that_is_not_there_or_itself() -> None:
    assert "no stage has that name" in str(fault("FROM base\nCOPY --from=x /f /\n",
        contexts={"x": StageContext(stage="y")}))  # fmt: skip
    assert "circular" in str(fault("FROM base AS s\nCOPY --from=x /f /\n", contexts={"x": StageContext(stage="s")}))


def test_triggers_of_a_base_run_first_and_once() -> None:
    made = plan("FROM triggers AS one\nRUN own\nFROM one\nRUN above\n")
    assert [step.text for step in made.stages[0].steps] == ["ONBUILD COPY . /src", "ONBUILD RUN make", "RUN own"]
    assert [step.text for step in made.stages[1].steps] == ["RUN above"]
    assert made.stages[0].config.on_build == ()


def test_a_stage_has_what_its_base_says() -> None:
    made = plan("FROM base AS low\nENV B=2\nWORKDIR /w\nFROM low\nRUN a\n")
    (step,) = made.stages[1].steps
    assert isinstance(step.op, RunOp) and (step.op.user, step.op.cwd) == ("u", "/w")
    assert step.op.env == ("PATH=/b", "A=base", "B=2")
    scratch = plan("FROM scratch\nWORKDIR /w\n").stages[0]
    assert scratch.config.env[0].startswith("PATH=") and scratch.base is None


def test_base_of_another_platform_is_found_and_told() -> None:
    made = plan("FROM arm\nRUN a\n")
    assert [finding.rule for finding in made.findings] == ["InvalidBaseImagePlatform"]
    assert plan("FROM --platform=linux/arm64 arm\n").stages[0].platform == ARM


def test_global_arguments_decide_bases_by_value_or_default() -> None:
    text = "ARG NAME=nowhere\nARG TAIL=${NAME}x\nFROM ${NAME} AS x\n"
    assert set(plan(text, build_args={"NAME": "base"}).images) == {"base"}
    assert "nowhere" in str(fault(text))


@pytest.mark.parametrize(
    ("text", "rules"),
    [
        ("ARG V\nFROM base$V\n", []),
        ("FROM base${W:-}\n", ["UndefinedArgInFrom"]),
        ("FROM --platform=$TARGETPLATFORM base\n", ["RedundantTargetPlatform"]),
        ("FROM --platform=linux/amd64 base\n", ["FromPlatformFlagConstDisallowed"]),
        ("FROM --platform=linux/amd64 base AS linux-amd64\n", []),
        ("FROM --platform=$BUILDPLATFORM base\n", []),
        ("ARG V=:bad:\nFROM base$V\n", ["InvalidDefaultArgInFrom"]),
        ("FROM base\nRUN a\n", []),
    ],
)
def test_checks_find_what_values_show(fake_build: FakeBuild, text: str, rules: list[str]) -> None:
    found, _ = check(
        parse(text.encode(), "D"), PlanOptions(platform=PLATFORM), images().resolve, fake_build.contexts({"x": ""})
    )
    assert [finding.rule for finding in found] == rules


def test_sources_that_an_ignore_file_hides_are_found(bench: Bench) -> None:
    bench.write({"hidden/f": "F", "kept": "K", ".dockerignore": "hidden\n"})
    text = "FROM base\nCOPY hidden/f /\nADD kept /\n"
    contexts = bench.services().contexts
    found, _ = check(parse(text.encode(), "D"), PlanOptions(platform=PLATFORM), images().resolve, contexts)
    assert [(finding.rule, finding.span.first_line) for finding in found] == [("CopyIgnoredFile", 2)]


def test_a_check_tells_findings_and_the_error_that_would_end_the_build(fake_build: FakeBuild) -> None:
    text = "# check=error=true\nFROM base AS Upper\nFROM nowhere AS two\n"
    found, error = check(
        parse(text.encode(), "D"), PlanOptions(platform=PLATFORM), images().resolve, fake_build.contexts({})
    )
    assert "StageNameCasing" in {finding.rule for finding in found} and "nowhere" in str(error)
    found, error = check(parse(b"# check=error=true\nFROM base AS Upper\n", "D"), PlanOptions(platform=PLATFORM),
        images().resolve, fake_build.contexts({}))  # fmt: skip
    assert [finding.rule for finding in found] == ["StageNameCasing"] and "lint violation" in str(error)
    skipped, error = check(
        parse(b"# check=skip=StageNameCasing;error=true\nFROM base AS Upper\n", "D"),
        PlanOptions(platform=PLATFORM),
        images().resolve,
        fake_build.contexts({}),
    )
    assert skipped == () and error is None


def test_outline_tells_what_a_target_and_all_it_reads_takes() -> None:
    text = """\
ARG V=1
ARG W=$V
FROM base AS unused
ARG NOT
FROM base AS low
# A the first
ARG A=x
RUN --mount=type=secret,id=key,required --mount=type=cache,target=/c,id=k a
FROM base AS side
ARG B
RUN --mount=type=ssh a
FROM low
ARG W
ARG A=y
COPY --from=side /x /
RUN --mount=type=secret,id=key,target=/other a
"""
    made = Outline.of(plan(text))
    assert [(item.name, item.value) for item in made.args] == [("V", "1"), ("W", "1"), ("B", ""), ("A", "y")]
    assert [(need.name, need.required) for need in made.secrets] == [("key", False)], "that nearest to the target"
    assert [need.name for need in made.ssh] == ["default"] and [need.name for need in made.caches] == ["k"]


def test_labels_of_steps_and_a_lone_stage_without_a_name() -> None:
    made = plan("FROM base\nRUN a\n")
    assert made.stages[0].label(0) == "[2/2] RUN a"
    assert plan("FROM base\nFROM base\nRUN a\n").stages[1].label(0) == "[stage-1 2/2] RUN a"


def test_a_plan_needs_no_disk_and_is_the_same_each_time() -> None:
    text = "FROM base AS a\nRUN x\nFROM a\nCOPY --from=a /x /\n"
    assert json.dumps(repr(plan(text))) == json.dumps(repr(plan(text)))
