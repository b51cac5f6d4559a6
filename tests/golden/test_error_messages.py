"""What is said of every fault a Dockerfile can have: the whole text, excerpt and remedy included."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conformance.servers import serving_files
from tests.conftest import Run

GOLDEN = Path(__file__).parent / "error_messages.json"
ZEROS = "0" * 64
CLOSED = "http://127.0.0.1:9"  # nobody listens
CASES: list[tuple[str, str, tuple[str, ...]]] = [
    ("COPY literal source missing", "FROM scratch\nCOPY maim.py /x/\n", ()),
    ("COPY source ignored", "FROM scratch\nCOPY hidden.txt /x/\n", ()),
    ("unknown instruction", "FROM scratch\nFNTRYPOINT a\n", ()),
    ("unknown flag", "FROM scratch\nCOPY --form=a a /b\n", ()),
    ("unknown mount flag", "FROM scratch\nRUN --mont=target=/a true\n", ()),
    ("unknown mount key", "FROM scratch\nRUN --mount=typ=cache,target=/a true\n", ()),
    ("unknown mount type", "FROM scratch\nRUN --mount=type=cahce,target=/a true\n", ()),
    ("unknown sharing mode", "FROM scratch\nRUN --mount=type=cache,target=/a,sharing=locke true\n", ()),
    ("unknown target", "FROM scratch AS build\n", ("--target", "bulid")),
    ("one argument to COPY", "FROM scratch\nCOPY a\n", ()),
    ("one argument to ADD", "FROM scratch\nADD a\n", ()),
    ("FROM with two words", "FROM scratch build\n", ()),
    ("FROM with four words", "FROM scratch AS a b\n", ()),
    ("bad stage name", "FROM scratch AS 1a\n", ()),
    ("COPY from a later stage", "FROM scratch AS a\nCOPY --from=b /x /\nFROM scratch AS b\nFROM a\n", ()),
    (
        "mount from a later stage",
        "FROM scratch AS a\nRUN --mount=from=b,target=/t true\nFROM scratch AS b\nFROM a\n",
        (),
    ),
    ("FROM a later stage", "FROM b AS a\nFROM scratch AS b\nFROM a\n", ()),
    ("a cycle", "FROM scratch AS base\nFROM a AS a\n", ()),
    ("FROM expands to nothing", "ARG BASE\nFROM $BASE\n", ()),
    ("empty platform", "FROM --platform=$NONE scratch\n", ()),
    ("bad platform", "FROM --platform=a/b/c/d scratch\n", ()),
    ("required global", "ARG FOO=${FOO:?custom error}\nFROM scratch\n", ()),
    ("required in a stage", "FROM scratch\nARG BAR=${FOO:?foo missing}\n", ()),
    ("unsupported modifier", "FROM scratch\nENV a=${b:=c}\n", ()),
    ("unclosed quote", 'FROM scratch\nENV a="b\n', ()),
    ("unclosed brace", "FROM scratch\nLABEL a=${b\n", ()),
    ("unterminated heredoc", "FROM scratch\nCOPY <<EOF /a\nx\n", ()),
    ("SHELL not JSON", "FROM scratch\nSHELL /bin/sh -c\n", ()),
    ("JSON with a number", 'FROM scratch\nCMD ["a", 1]\n', ()),
    ("duplicate directive", "# escape=\\\n# escape=`\nFROM scratch\n", ()),
    ("bad escape", "# escape=x\nFROM scratch\n", ()),
    ("heredoc as destination", "FROM scratch\nCOPY a <<EOF\nx\nEOF\n", ()),
    ("ONBUILD ONBUILD", "FROM scratch\nONBUILD ONBUILD RUN a\n", ()),
    ("ONBUILD FROM", "FROM scratch\nONBUILD FROM a\n", ()),
    ("ONBUILD MAINTAINER", "FROM scratch\nONBUILD MAINTAINER a\n", ()),
    ("mode on a bind mount", "FROM scratch\nRUN --mount=type=bind,target=/a,mode=0700 true\n", ()),
    ("uid on a bind mount", "FROM scratch\nRUN --mount=target=/a,uid=1 true\n", ()),
    ("from on a secret", "FROM scratch\nRUN --mount=type=secret,id=a,from=b true\n", ()),
    ("sharing on a secret", "FROM scratch\nRUN --mount=type=secret,id=a,sharing=locked true\n", ()),
    ("source on ssh", "FROM scratch\nRUN --mount=type=ssh,source=b true\n", ()),
    ("missing entitlement", "FROM scratch\nRUN --security=insecure true\n", ()),
    ("checksum on a local file", f"FROM scratch\nADD --checksum=sha256:{ZEROS} main.py /\n", ()),
    (
        "checksum for several",
        f"FROM scratch\nADD --checksum=sha256:{ZEROS} http://127.0.0.1:9/a http://127.0.0.1:9/b /\n",
        (),
    ),
    ("checksum on COPY", f"FROM scratch\nCOPY --checksum=sha256:{ZEROS} main.py /\n", ()),
    ("empty file", "", ()),
    ("only comments", "# a\n", ()),
    ("only ARG", "ARG a\n", ()),
    ("instruction before FROM", "RUN a\nFROM scratch\n", ()),
    ("ENV without =", "FROM scratch\nENV a=b c\n", ()),
    ("bad chmod", "FROM scratch\nCOPY --chmod=64a main.py /\n", ()),
    ("chmod out of range", "FROM scratch\nCOPY --chmod=10000 main.py /\n", ()),
    ("URL for COPY", "FROM scratch\nCOPY http://127.0.0.1:9/a /\n", ()),
    ("unknown user", "FROM scratch\nCOPY --chown=nobody main.py /\n", ()),
    ("several sources to a file", "FROM scratch\nCOPY main.py .dockerignore /x\n", ()),
    ("bad HEALTHCHECK", "FROM scratch\nHEALTHCHECK --interval=1us CMD a\n", ()),
    ("HEALTHCHECK without command", "FROM scratch\nHEALTHCHECK CMD\n", ()),
    ("bad STOPSIGNAL", "FROM scratch\nSTOPSIGNAL SIGFOO\n", ()),
    ("bad EXPOSE", "FROM scratch\nEXPOSE 80-70\n", ()),
    ("port out of range", "FROM scratch\nEXPOSE 70000\n", ()),
    ("empty VOLUME", 'FROM scratch\nVOLUME [""]\n', ()),
    ("typo of a stage", "FROM scratch AS build\nFROM scratch\nCOPY --from=biuld /a /\n", ()),
    ("SHELL without words", "FROM scratch\nSHELL []\n", ()),
    ("HEALTHCHECK with an empty command", "FROM scratch\nHEALTHCHECK CMD []\n", ()),
    ("bad reference", "FROM UPPER\n", ()),
    ("no-break space", "FROM scratch\nENV\u00a0a=1\n", ()),
    ("heredoc named as a path", "FROM scratch\nCOPY <<a/b /\na/b\n", ()),
    ("real-time signal out of range", "FROM scratch\nSTOPSIGNAL RTMIN+16\n", ()),
    ("unknown network", "FROM scratch\nRUN --network=hots true\n", ()),
    ("unknown security", "FROM scratch\nRUN --security=insecrue true\n", ()),
    ("device", "FROM {base}\nRUN --device=nvidia.com/gpu=none,required true\n", ()),
    ("device without a name", "FROM scratch\nRUN --device=gpu true\n", ()),
    ("device with two names", "FROM scratch\nRUN --device=a/b=c,optional true\n", ()),
    ("flag twice", "FROM scratch\nCOPY --chown=1 --chown=2 main.py /\n", ()),
    ("flag without value", "FROM scratch\nCOPY --chown main.py /\n", ()),
    ("flag that is no switch", "FROM scratch\nCOPY --link=maybe main.py /\n", ()),
    ("RUN fails", "FROM {base}\nRUN echo one; exit 3\n", ()),
    ("RUN of a program that is not there", 'FROM {base}\nRUN ["/none"]\n', ()),
    ("missing secret", "FROM {base}\nRUN --mount=type=secret,id=a,required true\n", ()),
    ("missing ssh agent", "FROM {base}\nRUN --mount=type=ssh,required true\n", ()),
    ("digest mismatch", f"FROM scratch\nADD --checksum=sha256:{ZEROS} {{http}}/file.txt /\n", ()),
    ("several at once", "FROM scratch AS 1\nCOPY a\nFNV a=b\nRUN --mont=a b\n", ()),
]
CASE_NAMES = [name for name, _, _ in CASES]


@pytest.fixture(scope="module")
def golden(request: pytest.FixtureRequest) -> dict[str, list[str]]:
    """The texts by case; those of cases that are gone go when they are written anew."""
    if request.config.getoption("--update-golden"):
        known = {name: text for name, text in json.loads(GOLDEN.read_text()).items() if name in CASE_NAMES}
        GOLDEN.write_text(json.dumps(known, indent=1, ensure_ascii=False) + "\n")
    return json.loads(GOLDEN.read_text())  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def http() -> Iterator[str]:
    with serving_files() as address:
        yield address


@pytest.mark.parametrize(("name", "text", "words"), CASES, ids=[case[0].replace(" ", "-") for case in CASES])
def test_message(
    tiffin: Run,
    context: Callable[..., Path],
    request: pytest.FixtureRequest,
    golden: dict[str, list[str]],
    name: str,
    text: str,
    words: tuple[str, ...],
) -> None:
    places = {"base": "{base}", "http": "{http}"}
    for place in places:
        if f"{{{place}}}" in text:
            places[place] = request.getfixturevalue(place)
    text = text.replace("{base}", places["base"]).replace("{http}", places["http"])
    folder = context(text, **{"main.py": "x", "hidden.txt": "h", ".dockerignore": "*.txt\n"})
    environ = {**os.environ, "HTTPS_PROXY": CLOSED}  # what is no stage is asked of Docker Hub
    done = tiffin("build", "--progress=plain", *words, folder, check=False, env=environ)
    assert done.returncode in (1, 2) and done.stdout == ""
    found = done.stderr.replace(str(folder), "CONTEXT").splitlines()
    starts = [number for number, line in enumerate(found) if line.startswith("Dockerfile:")]
    found = found[min(starts, default=0) :]  # what it printed before the fault has times in it
    found = [line.replace(places["base"], "BASE").replace(places["http"], "HTTP") for line in found]
    if request.config.getoption("--update-golden"):
        known = json.loads(GOLDEN.read_text())
        known[name] = found
        GOLDEN.write_text(json.dumps(known, indent=1, ensure_ascii=False) + "\n")
        return
    assert found == golden[name]


def test_every_text_has_its_case() -> None:
    assert sorted(json.loads(GOLDEN.read_text())) == sorted(CASE_NAMES)
