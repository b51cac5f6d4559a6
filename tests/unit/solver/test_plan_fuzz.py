"""Whatever flags and words stand in a Dockerfile, a plan is made or a fault is told with its place."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fuzz import fuzzing, texts
from tiffin.builder.dockerfile.parser import parse
from tiffin.builder.errors import DockerfileError, DockerfileErrors, ImageError, Span, UsageError
from tiffin.builder.instructions.mounts import MountFlag
from tiffin.builder.instructions.ops import CopyOp, RunDefaults, RunOp
from tiffin.builder.instructions.remote import is_git, is_http, parse_git
from tiffin.builder.oci.config import ImageConfig
from tiffin.builder.oci.spec import OCI_CONFIG, Descriptor, Manifest, Platform
from tiffin.builder.plan.plan import Plan
from tiffin.builder.plan.plan_options import BaseImage, PlanOptions
from tiffin.builder.plan.planner import make_plan
from tiffin.cache.foundation.digest import Digest

quick = fuzzing(200)
WORDS = st.sampled_from(
    [
        "a", "b", "scratch", "base", "$A", "${A:-x}", "${B}", "'q'", '"d"', "/x", "/x/", ".", "..", "*", "[", "\\", "0",
        "1:2", "x=y",
        "https://h/f", "git@h:r", "http://h/r.git#m:s", "https://h/r.git?tag=1", "<<E", "80", "80-90/udp", "NONE",
        "CMD", "AS", '["a"]', "[1]",
    ]
)  # fmt: skip
KEYS = st.sampled_from(
    ["type", "target", "dst", "source", "src", "from", "id", "ro", "rw", "readonly", "sharing", "mode", "uid", "size",
        "env", "required", "nonsense", ""]
)  # fmt: skip
VALUES = st.sampled_from(
    ["bind", "cache", "tmpfs", "secret", "ssh", "other", "/x", "a", "", "true", "no", "0755", "9", "64m", "$A",
        "locked", '"', "a,b", "-1", "base", "0"]
)  # fmt: skip
MOUNTS = st.lists(st.tuples(KEYS, st.one_of(st.none(), VALUES)), max_size=4).map(
    lambda pairs: ",".join(name if value is None else f"{name}={value}" for name, value in pairs)
)
FLAGS = st.one_of(
    MOUNTS.map(lambda text: f"--mount={text}"),
    st.tuples(
        st.sampled_from(
            ["from", "chown", "chmod", "link", "parents", "exclude", "checksum", "keep-git-dir", "unpack", "network",
                "security", "device", "platform", "interval", "x"]
        ),
        st.one_of(st.none(), VALUES, WORDS),
    ).map(lambda pair: f"--{pair[0]}" if pair[1] is None else f"--{pair[0]}={pair[1]}"),
)  # fmt: skip
KEYWORDS = st.sampled_from(
    ["RUN", "COPY", "ADD", "ENV", "ARG", "WORKDIR", "USER", "LABEL", "EXPOSE", "VOLUME", "CMD", "ENTRYPOINT", "SHELL",
        "HEALTHCHECK", "STOPSIGNAL", "ONBUILD RUN", "ONBUILD COPY", "FROM"]
)  # fmt: skip
LINES = st.tuples(KEYWORDS, st.lists(FLAGS, max_size=2), st.lists(WORDS, max_size=4)).map(
    lambda parts: " ".join([parts[0], *parts[1], *parts[2]])
)


def base(name: str, platform: Platform) -> BaseImage:
    config = ImageConfig(platform=platform)
    digest = Digest.of(name.encode())
    descriptor = Descriptor(media_type=OCI_CONFIG, digest=digest, size_bytes=1)
    return BaseImage(name=name, manifest=Manifest(config=descriptor, layers=()), config=config, manifest_digest=digest)


def planned(text: str) -> Plan | None:
    """The plan, or None after checking that every fault has its place."""
    plan_options = PlanOptions(
        platform=Platform.parse("linux/amd64"), build_args={"A": "1"}, run_defaults=RunDefaults()
    )
    try:
        return make_plan(parse(text.encode(), "F", keep_faults=True), plan_options, base)
    except DockerfileErrors as exc:
        assert all(error.span is not None and error.message for error in exc.errors), exc
    except DockerfileError as exc:
        assert exc.span is not None or "no stages" in exc.message, exc
    except ImageError as exc:  # a name that is none
        assert "reference" in exc.message
    return None


@quick
@given(st.lists(LINES, max_size=6))
def test_plan_is_made_or_refused(lines: list[str]) -> None:
    plan = planned("\n".join(["FROM base AS base", "ARG A", *lines, ""]))
    if plan is None:
        return
    for stage in plan.stages.values():
        assert len(stage.steps) == sum(item.step is not None for item in stage.history)
        for step in stage.steps:
            keys = step.op.key_parts()
            assert keys == step.op.key_parts() and all(isinstance(part.value, str) for part in keys)
            if isinstance(step.op, CopyOp):
                assert step.op.dest.startswith("/")
            if isinstance(step.op, RunOp):
                assert all(mount.target.startswith("/") or not mount.target for mount in step.op.mounts)


@quick
@given(MOUNTS)
def test_mount_flags_are_read_or_refused(text: str) -> None:
    span = Span(file="F", first_line=1, last_line=1)
    try:
        flag = MountFlag.parse(text, span)
    except DockerfileError as exc:
        assert exc.span == span and exc.remedy
        return
    if '"' not in text:  # what was read, written again, reads the same
        again = ",".join(f"{name}={value}" for name, value in flag.fields)
        assert MountFlag.parse(again, span).fields == flag.fields


def test_what_selinux_needs_of_mounts_changes_none() -> None:
    span = Span(file="F", first_line=1, last_line=1)
    plain = MountFlag.parse("type=cache,target=/c", span).fields
    for text in ("type=cache,target=/c,z", "Z,type=cache,target=/c", "type=cache,relabel=shared,target=/c"):
        assert MountFlag.parse(text, span).fields == plain


def test_an_unknown_key_of_a_mount_is_told_as_written() -> None:
    span = Span(file="F", first_line=1, last_line=1)
    for text, reported in (("x", "'x' in 'x'"), ("x=", "'x' in 'x='"), ("x=1", "'x' in 'x=1'")):
        with pytest.raises(DockerfileError, match=f"unexpected key {reported};"):
            MountFlag.parse(f"target=/c,{text}", span)


@quick
@given(st.one_of(WORDS, texts(40)))
def test_remote_sources_are_read_or_refused(text: str) -> None:
    assert not (is_http(text) and is_git(text))
    if is_git(text, context=True):
        try:
            origin = parse_git(text)
        except UsageError as exc:
            assert exc.remedy
        else:
            assert "#" not in origin.url and "?" not in origin.url and not origin.subdir.startswith("/")
