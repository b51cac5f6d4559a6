"""Whatever stands in an option of the command line, it is read or refused with a remedy."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fuzz import fuzzing, texts
from tiffin.builder.cli.options import build_values
from tiffin.builder.cli.options.attestations import attestations
from tiffin.builder.cli.options.build_arguments import BuildArguments
from tiffin.builder.cli.options.run_arguments import RunArguments
from tiffin.builder.cli.options.spellings import plain_flags
from tiffin.builder.delivery.annotations import Annotations
from tiffin.builder.delivery.output_spec import parse_output
from tiffin.builder.errors import TiffinError
from tiffin.builder.execute.ssh_agents import open_agents
from tiffin.builder.oci.reference import Reference
from tiffin.builder.oci.spec import Platform
from tiffin.builder.settings.times import epoch
from tiffin.builder.sharing.options import parse_cache

PIECES = st.sampled_from(
    [
        "type", "id", "src", "env", "dest", "ref", "mode", "name", "index", "manifest", "nofile", "linux", "arm64", "=",
        "=", ",", ":", "[", "]", "/",
        '"', "local", "oci", "docker", "registry", "image", "tar", "secret", "a", "1", "-1", "0x9", "-", "true",
        "false", "::1", "127.0.0.1", "host-gateway",
        "compression", "gzip", "push", "@", "sha256:", ".", "..", "é", "\0", "\n", " ", "disabled", "provenance", "max",
        "ttl", "7d", "bucket", "s3",
    ]
)  # fmt: skip
TEXTS = st.lists(PIECES, max_size=12).map("".join) | texts(40)
READERS: dict[str, Callable[[str], object]] = {
    "--build-arg": lambda text: build_values.build_args([text], {}),
    "--label": lambda text: build_values.pairs([text], "--label", value_needed=False),
    "--secret": lambda text: build_values.secrets([text]),
    "--ssh": lambda text: open_agents([text]),
    "--add-host": lambda text: build_values.hosts([text]),
    "--ulimit": lambda text: build_values.ulimits([text]),
    "--shm-size": build_values.shm_size,
    "--allow": lambda text: build_values.entitlements([text]),
    "--timestamp": epoch,
    "--output": parse_output,
    "--cache-to": lambda text: parse_cache(text, "--cache-to", "wo"),
    "--annotation": lambda text: Annotations.parse([text]),
    "--platform": Platform.parse,
    "--tag": Reference.parse,
    "--attest": lambda text: attestations(BuildArguments(attest=(text,))),
    "--provenance": lambda text: attestations(BuildArguments(provenance=(text,))),
}


@pytest.mark.heavy
@pytest.mark.parametrize("option", READERS)
def test_option_is_read_or_refused(option: str) -> None:
    @fuzzing(60)
    @given(TEXTS)
    def read(text: str) -> None:
        try:
            READERS[option](text)
        except TiffinError as exc:
            assert exc.message and exc.remedy, exc

    read()


WORDS = st.sampled_from(
    ["--pull", "--pull=true", "--pull=false", "-q", "-t", "-qt", "-tname", "--tag", "--tag=--pull=false", "--", "x",
        ".", "--no-cache=1", "--rm=0", "--rm=maybe", "-c", "--nothing=true"]
)  # fmt: skip


@fuzzing(100)
@given(st.lists(WORDS, max_size=6))
def test_switches_are_rewritten_once_and_values_stay(words: Sequence[str]) -> None:
    try:
        plain = plain_flags(BuildArguments, words)
    except ValueError:
        assert "--rm=maybe" in words
        return
    assert plain_flags(BuildArguments, plain) == plain
    assert [word for word in plain if word in (".", "x", "--tag")] == [w for w in words if w in (".", "x", "--tag")]


def test_switches_of_docker() -> None:
    def read(*words: str) -> list[str]:
        return plain_flags(BuildArguments, words)

    assert read("--pull=true", "--no-cache=False", ".") == ["--pull=always", "."]
    assert read("-t", "--pull=true", ".") == ["-t", "--pull=true", "."], "a value is not a switch"
    assert read("-qt", "--pull=true", ".") == ["-q", "-t", "--pull=true", "."]
    assert read("--", "--pull=true") == ["--", "--pull=true"]
    assert read(".", "--pull=t") == [".", "--pull=always"]
    assert read("--rm=false", "--rm", ".") == ["--no-rm", "--rm", "."]


def test_words_of_a_command_that_runs_are_its_own() -> None:
    assert plain_flags(RunArguments, ["--rm=true", "-e", "a", "image", "x", "--rm=false"]) == [
        "--rm", "-e", "a", "image", "x", "--rm=false",
    ]  # fmt: skip
