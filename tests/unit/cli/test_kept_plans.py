"""The plans of builds are kept for `tiffin debug`, and never with credentials."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest

from tests.support.commands import Commands
from tests.support.contexts import context_at

HIDDEN = "canary-7c1"


def kept(tiffin: Commands) -> list[bytes]:
    return [zlib.decompress(path.read_bytes()) for path in sorted((tiffin.root / "plans").glob("*"))]


@pytest.mark.parametrize(
    "words",
    [
        ("--build-context", f"x=https://user:{HIDDEN}@127.0.0.1:9/x.tar"),
        ("--build-context", f"x=https://{HIDDEN}@127.0.0.1:9/x.git"),
        ("--build-context", f"x=https://127.0.0.1:9/x.tar?signature={HIDDEN}"),
        ("--build-context", f"x=ssh://git:{HIDDEN}@127.0.0.1:9/x.git"),
    ],
)
def test_a_plan_with_credentials_is_not_kept(words: tuple[str, ...], tiffin_here: Commands, tmp_path: Path) -> None:
    folder = context_at(tmp_path)("FROM base\nCOPY a /\n", a="A")
    tiffin_here("build", *words, folder)
    assert kept(tiffin_here) == []
    refused = tiffin_here("debug", "--step", "1", "true", check=False)
    assert refused.code == 125 and "is not kept" in refused.err and HIDDEN not in refused.err


def test_what_is_kept_has_no_credentials(tiffin_here: Commands, tmp_path: Path) -> None:
    folder = context_at(tmp_path)("FROM base\nCOPY a /\n", a="A")
    proxies = [
        word for name in ("HTTP_PROXY", "https_proxy") for word in ("--build-arg", f"{name}=http://u:{HIDDEN}@proxy")
    ]
    tiffin_here("build", *proxies, "--build-context", "y=ssh://git@127.0.0.1:9/y.git", folder)
    (plan,) = kept(tiffin_here)
    assert HIDDEN.encode() not in plan and b"ssh://git@127.0.0.1:9/y.git" in plan
