"""What crosses the fork comes out on the other side as it went in, with its types."""

from __future__ import annotations

from tiffin.builder.sandbox.child.spec import (
    Bind,
    Connection,
    Layers,
    Outcome,
    Port,
    SandboxSpec,
    SecretFile,
    Stub,
    Tmpfs,
)
from tiffin.cache.foundation.frozen import fields

SPEC = SandboxSpec(
    scratch_dir="/s", lower_dirs=("/a", "/b"), upper_dir="", work_dir="", argv=("sh",), env=("A=\udcff",)
)


def test_a_spec_comes_out_as_it_went_in() -> None:
    full = SandboxSpec(
        **{name: getattr(SPEC, name) for name in ("scratch_dir", "lower_dirs", "upper_dir", "work_dir", "argv", "env")},
        kept=(1000, 100),
        connector=Connection(
            name="proxy", path="", ports=(Port(container=80, host=8080, address="::1"), Port(container=1))
        ),
        mounts=(
            Bind(host_path="/h", path="/p", propagates=True),
            Tmpfs(path="/t", size_bytes=1),
            Layers(path="/l", lower_dirs=("/x", "/y"), source="a", is_directory=True),
            SecretFile(path="/k", data="eA==", uid=3),
        ),
        stubs=(Stub(path="t", is_directory=True),),
        ulimits=(("nofile", 1, -1),),
        groups=(4, 5),
    )
    for spec in (SPEC, full):
        again = SandboxSpec.decode(spec.encode())
        assert again == spec
        for name in fields(spec):
            assert type(getattr(again, name)) is type(getattr(spec, name)), name


def test_an_outcome_is_one_line_that_comes_out_as_it_went_in() -> None:
    for outcome in (
        Outcome(status=-9),
        Outcome(error="x", reason="two\nlines", errno=2),
        Outcome(beyond="mknod of \udcff"),
    ):
        assert Outcome.decode(outcome.encode()) == outcome and b"\n" not in outcome.encode()
