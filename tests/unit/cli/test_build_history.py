"""What builds ran: kept, bounded, shown again, exported; the cache's commands by buildx's flags."""

from __future__ import annotations

import io
import json
import re
import tarfile
import time
from pathlib import Path

import pytest

from tests.support.bench_of_builds import OVERLAYS
from tests.support.commands import Commands
from tests.support.contexts import context_at
from tiffin.builder.api.build_options import BuildOptions
from tiffin.builder.api.buildx import history, recorder
from tiffin.builder.api.buildx.recorder import CLIPPED, Recorder
from tiffin.builder.api.session import Session
from tiffin.builder.errors import NotFoundError
from tiffin.builder.events import NullSink, StepOutput


@pytest.fixture
def builds(tiffin_here: Commands, tmp_path: Path) -> Commands:
    """One that ended well, then one that failed."""
    tiffin_here.isolation = OVERLAYS
    make = context_at(tmp_path)
    metadata = tmp_path / "meta"
    words = ("-t", "app:1", "--metadata-file", metadata, "--target", "last", "--build-arg", "A=secret")
    tiffin_here("build", *words, make("FROM base AS last\nARG A\nRUN say hello\n", name="good"))
    ref = json.loads(metadata.read_text())["buildx.build.ref"]
    assert tiffin_here("buildx", "history", "inspect", "--format", "{{.Ref}}").out.strip() == ref
    tiffin_here("build", make("FROM base\nRUN complain \u00e4 \n RUN exit 3\n", name="bad"), check=False)
    return tiffin_here


def test_builds_are_listed_and_shown(builds: Commands) -> None:
    lines = builds("buildx", "history", "ls").out.splitlines()
    assert re.split(r"  +", lines[0]) == ["BUILD ID", "NAME", "STATUS", "CREATED AT", "DURATION"]
    assert [re.split(r"  +", line)[1:3] for line in lines[1:]] == [["bad", "Error"], ["good (last)", "Completed"]]
    failed = [json.loads(line) for line in
        builds("buildx", "history", "ls", "--filter", "status=error", "--format", "json").out.splitlines()]  # fmt: skip
    assert [row["Name"] for row in failed] == ["bad"]
    assert builds("buildx", "history", "ls", "--filter", f"ref={failed[0]['BuildID']}", "--local").out.count("\n") == 1
    shown = builds("buildx", "history", "inspect", "^1").out
    assert re.search(r"Images: +docker.io/library/app:1\n", shown) and "secret" not in shown
    document = json.loads(builds("buildx", "history", "inspect", "--format", "json", failed[0]["BuildID"][:9]).out)
    assert document["Status"] == "error" and "did not complete successfully" in document["Error"]
    for wrong in ("^2", "none"):
        assert "no build record" in builds("buildx", "history", "inspect", wrong, check=False).err


def test_logs_are_as_they_were(builds: Commands) -> None:
    log = builds("buildx", "history", "logs", "^1").out
    assert re.search(r"#1 \[last 2/2\] RUN say hello\n#1 \d\.\d{3} hello\n#1 DONE \d\.\ds\nbuilt .*app:1 sha256", log)
    assert re.search(r"#\d ERROR: ", builds("buildx", "history", "logs").out)
    events = [
        json.loads(line) for line in builds("buildx", "history", "logs", "--progress", "rawjson").out.splitlines()
    ]
    assert events[0]["type"] == "step_started" and events[-1]["type"] == "step_failed"


def test_steps_are_shown_and_compared(tiffin_here: Commands, tmp_path: Path) -> None:
    tiffin_here.isolation = OVERLAYS
    make = context_at(tmp_path)

    def build(text: str, *words: str, check: bool = True) -> None:
        tiffin_here("build", *words, make(text, a="A"), check=check)

    build("FROM base AS s\nRUN say hello\nRUN say old\n", "-t", "app:1")
    build("FROM base AS s\nCOPY a /a\nRUN say hello\nRUN exit 3\n", check=False)
    build("FROM base AS s\nRUN say hello\nRUN say old\n", "-t", "app:2")
    shown = tiffin_here("buildx", "history", "inspect").out
    assert re.search(r"\nSteps:\n( +CACHED  .*FROM.*\n)? +CACHED  \[s \d/3\] RUN say hello\n", shown)
    steps = json.loads(tiffin_here("buildx", "history", "inspect", "--format", "json", "^2").out)["Steps"]
    assert [(step["Name"], step["Status"], step["OutputBytes"]) for step in steps if "RUN" in step["Name"]] == [
        ("[s 2/3] RUN say hello", "completed", 6),
        ("[s 3/3] RUN say old", "completed", 4),
    ]
    told = tiffin_here("buildx", "history", "diff", "^2", "^1").out
    assert re.search(r"Status: +Completed -> Error\n", told) and re.search(r"Images: .*app:1.* -> \[\]\n", told)
    assert re.search(r"^= +\d\.\ds +\d\.\ds  \[s 3/4\] RUN say hello$", told, re.M), "its number is another"
    assert re.search(r"^\+ +\d\.\ds  \[s 2/4\] COPY a /a$", told, re.M)
    assert re.search(r"^\+ +ERROR  \[s 4/4\] RUN exit 3$", told, re.M)
    assert re.search(r"^- +\d\.\ds +\[s 3/3\] RUN say old$", told, re.M)
    document = json.loads(tiffin_here("buildx", "history", "diff", "^2", "--format", "json").out)
    runs = [row for row in document["Steps"] if "RUN" in row["After"]["Name"]]
    assert [(row["Change"], row["After"]["Status"]) for row in runs] == [("~", "cached")] * 2
    assert document["Changed"]["Images"] == [["docker.io/library/app:1"], ["docker.io/library/app:2"]]
    assert tiffin_here("buildx", "history", "diff", "a", "b", "c", check=False).code == 2
    assert "no build record" in tiffin_here("buildx", "history", "diff", "^9", check=False).err


def test_builds_are_exported_and_forgotten(builds: Commands, tmp_path: Path) -> None:
    builds("buildx", "history", "export", "--all", "-o", tmp_path / "x.tar.gz")
    with tarfile.open(tmp_path / "x.tar.gz") as archive:
        names = [name.partition("/")[2] for name in archive.getnames()]
    assert names == ["record.json", "events.jsonl"] * 2
    raw = builds("buildx", "history", "export", "^1").raw
    with tarfile.open(fileobj=io.BytesIO(raw)) as archive:
        record = archive.extractfile(archive.getnames()[0])
        assert record is not None and json.load(record)["name"] == "good (last)"
    builds("buildx", "history", "rm", "^1")
    assert builds("buildx", "history", "rm", check=False).code == 2
    builds("buildx", "history", "rm", "--all")
    assert builds("buildx", "history", "ls").out.count("\n") == 1


def test_only_the_last_builds_are_kept(tiffin_here: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = context_at(tmp_path)("FROM base\nLABEL a=b\n")
    monkeypatch.setenv("TIFFIN_BUILD_HISTORY", "2")
    for _ in range(3):
        tiffin_here("build", "-q", folder)
    assert len(list((tiffin_here.root / "history").iterdir())) == 2
    next((tiffin_here.root / "history").iterdir()).write_text("{")
    assert tiffin_here("buildx", "history", "ls").out.count("\n") == 2, "what is damaged is left out"
    monkeypatch.setenv("TIFFIN_BUILD_HISTORY", "0")
    tiffin_here("build", "-q", "--metadata-file", tmp_path / "meta", folder)
    assert "buildx.build.ref" not in (tmp_path / "meta").read_text()
    monkeypatch.setenv("TIFFIN_BUILD_HISTORY", "many")
    assert tiffin_here("build", folder, check=False).code == 2


def test_a_new_record_takes_the_file_of_the_oldest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIFFIN_BUILD_HISTORY", "2")
    session = Session(tmp_path / "state")

    def build(text: str) -> None:
        with Recorder.of(BuildOptions(), session, NullSink()) as passed:
            passed.emit(StepOutput(step_id=1, stream=1, data=text.encode()))
            time.sleep(0.002)  # files are named by milliseconds

    build("long " * 1000)
    folder = session.state.root / recorder.FOLDER
    (oldest,) = folder.iterdir()
    inode = oldest.stat().st_ino
    build("second")
    kept = history.History(session)
    log = kept.events("^1")
    next(log)
    left, written = folder / ".left-by-a-killed-build", folder / ".being-written"
    for path in (left, written):
        path.write_text("")
    later = time.time() + 1.5 * recorder.LEFT_SECONDS
    build("third")
    assert left.exists() and written.exists()
    assert [path.stat().st_ino for path in sorted(folder.glob("0*"))][1] == inode and not oldest.exists()
    texts = [json.loads(line)["data"] for number in ("", "^1") for line in kept.events(number)]
    assert texts == ["third", "second"]
    with pytest.raises(NotFoundError):
        kept.find("^2")
    monkeypatch.setattr(time, "time", lambda: later)
    build("fourth")
    assert len(list(folder.iterdir())) == 2


def test_a_reader_never_takes_one_build_for_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIFFIN_BUILD_HISTORY", "1")
    session = Session(tmp_path / "state")
    kept = history.History(session)

    def build(name: str) -> None:
        with Recorder.of(BuildOptions(context=name), session, NullSink()):
            pass

    def late(path: Path) -> bytes:
        with path.open("rb") as file:
            build("second")
            return file.read()

    build("first")
    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_bytes", late)
        with pytest.raises(NotFoundError):
            kept.find("")
        assert list(kept.records()) == []
    assert kept.find("").name == "second"


def test_logs_are_clipped_and_interrupted_builds_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "MAX_LOG_BYTES", 10)
    session = Session(tmp_path / "state")
    with pytest.raises(KeyboardInterrupt), Recorder.of(BuildOptions(), session, NullSink()) as passed:
        for _ in range(3):
            passed.emit(StepOutput(step_id=1, stream=1, data=b"12345678"))
        raise KeyboardInterrupt
    kept = history.History(session)
    assert kept.find("").status == "Canceled"
    text = "".join(json.loads(line)["data"] for line in kept.events(""))
    assert text == f"{'12345678' * 2}{CLIPPED.decode()}"


def test_the_cache_takes_flags_of_buildx(builds: Commands) -> None:
    assert "Step records" in builds("buildx", "du", "--verbose").out
    builds("buildx", "prune", "-f", "--filter", "until=24h")
    builds("buildx", "prune", "-f", "--keep-storage", "10GB")
    assert builds("cache", "ls", "-q").out
    builds("buildx", "prune", "-af")
    assert builds("cache", "ls", "-q").out == ""
    assert builds("buildx", "prune", "-f", "--filter", "x=y", check=False).code == 1


def test_steps_of_several_platforms_have_names_and_numbers_of_their_own(tiffin_here: Commands, tmp_path: Path) -> None:
    folder = context_at(tmp_path)("FROM scratch AS a\nCOPY Dockerfile /a\nFROM scratch\nCOPY --from=a /a /b\n")
    platforms = ("linux/amd64", "linux/arm64")
    told = tiffin_here("build", "--progress", "json", "--platform", ",".join(platforms), "-t", "several", folder).err
    events = [json.loads(line) for line in told.splitlines()]
    steps = {item["step_id"]: item for item in events if item["type"] in ("step_started", "step_cached")}
    assert [steps[number]["name"] for number in sorted(steps)] == [
        "[linux/amd64 a 1/1] COPY Dockerfile /a",
        "[linux/amd64 stage-1 1/1] COPY --from=a /a /b",
        "[linux/arm64 stage-1 1/1] COPY --from=a /a /b",  # which does not depend on the platform, and is found
    ]
    assert [steps[number].get("needs", []) for number in sorted(steps)] == [[], [1], []]


def test_a_page_is_written_of_a_build_and_of_one_before(builds: Commands, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert builds("report", "-o", page, "^1").out == f"{page}\n"
    assert "RUN say hello" in page.read_text() and "secret" not in page.read_text()
    assert "did not complete successfully" in builds("report", "-o", "-").out
    made = tmp_path / "made.html"
    folder = context_at(tmp_path)("FROM base\nRUN say more\n", name="reported")
    builds("build", "--report", made, "-t", "more", folder)
    assert "miss, argv was" in made.read_text()
    failed = tmp_path / "failed.html"
    builds("build", "--report", failed, context_at(tmp_path)("FROM base\nRUN exit 4\n", name="worse"), check=False)
    assert '"status":"error"' in failed.read_text()


def test_history_is_below_build_as_well(builds: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert builds("build", "history", "ls").out == builds("buildx", "history", "ls").out
    assert builds("build", "history", "show", "^1").out == builds("buildx", "history", "inspect", "^1").out
    assert "tiffin report REF" in builds("build", "history", "open", check=False).err
    assert "tiffin report REF" in builds("buildx", "history", "trace", check=False).err
    assert "No such option" in builds("build", "history", "ls", "--no-such", check=False).err
    monkeypatch.chdir(tmp_path)
    assert "build context history is not a directory" in builds("build", "history", check=False).err
    context = context_at(tmp_path)("FROM base\n", name="history")
    assert context.name == "history"
    assert builds("build", "-q", "history").out.startswith("sha256:")
    assert "extra argument" in builds("build", "history", "nothing", check=False).err


def test_builds_of_elsewhere_are_taken_over(builds: Commands, tmp_path: Path) -> None:
    archive = tmp_path / "builds.tar.gz"
    builds("build", "history", "export", "--all", "-o", archive)
    refs = [json.loads(builds("build", "history", "show", "--format", "json", ref).out)["Ref"] for ref in ("", "^1")]
    told = builds("buildx", "history", "diff").out
    assert builds("build", "history", "import", "-f", archive).out == ""  # they are here
    builds("build", "history", "rm", "--all")
    assert builds("build", "history", "import", "-", stdin=archive.read_bytes()).out.split() == refs
    assert builds("buildx", "history", "diff").out == told
    assert "hello" in builds("build", "history", "logs", "^1").out


def packed(**files: str) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(f"{'a' * 25}/{name}")
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return stream.getvalue()


def test_hostile_archives_of_builds_are_refused(builds: Commands, tmp_path: Path) -> None:
    archive = tmp_path / "builds.tar.gz"
    builds("build", "history", "export", "-o", archive)
    with tarfile.open(archive) as opened:
        texts = {member.name.rpartition("/")[2]: opened.extractfile(member) for member in opened}
        record, events = (file.read().decode() for file in texts.values() if file is not None)
    fields = json.loads(record)
    damaged = [
        b"no archive",
        archive.read_bytes()[:-60],
        packed(other="x"),
        packed(**{"record.json": record}),
        packed(**{"record.json": "[1]", "events.jsonl": ""}),
        packed(**{"record.json": record, "events.jsonl": "no json\n"}),
        *(
            packed(**{"record.json": json.dumps({**fields, **change}), "events.jsonl": events})
            for change in (
                {"id": "../../escaped"}, {"started": "now"}, {"started": -1}, {"started": 1e300}, {"name": 5},
                {"names": 5}, {"unknown": 1},
            )
        ),
    ]  # fmt: skip
    builds("build", "history", "rm", "--all")
    for number, data in enumerate(damaged):
        done = builds("build", "history", "import", stdin=data, check=False)
        assert done.code == 2 and "is not a valid archive of tiffin buildx history export" in done.err, number
    assert builds("build", "history", "ls").out.count("\n") == 1
    fine = packed(
        **{"record.json": json.dumps({**fields, "failure": "/etc", "plans": [{"plan": "x"}]}), "events.jsonl": events}
    )
    assert builds("build", "history", "import", stdin=fine).out
    kept = next((builds.root / "history").iterdir()).read_text().splitlines()[0]
    assert json.loads(kept)["failure"] == "" and json.loads(kept)["plans"] == []


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("filters", "names"),
    [
        (["status=error"], ["bad"]),
        (["status!=error"], ["good (last)"]),
        (["ref=default/default/"], ["bad", "good (last)"]),
        (["ref=nothing"], []),
        (["repository=x"], []),
        (["repository!=x", "status=completed"], ["good (last)"]),
        (["duration<1h", "duration>=0s"], ["bad", "good (last)"]),
        (["duration>1h"], []),
        (["startedAt>1h"], ["bad", "good (last)"]),
        (["startedAt<1h"], []),
        (["completedAt>2020-01-01T00:00:00Z", "completedAt<=2200-01-01T00:00:00+02:00"], ["bad", "good (last)"]),
    ],
)
def test_filters_of_buildx(builds: Commands, filters: list[str], names: list[str]) -> None:
    words = [word for text in filters for word in ("--filter", text)]
    lines = builds("buildx", "history", "ls", "--format", "json", "-D", *words).out.splitlines()
    assert [json.loads(line)["Name"] for line in lines] == names


@pytest.mark.parametrize(
    "wrong",
    ["status>x", "duration=1s", "other=x", "status", "duration>x", "startedAt>yesterday", "startedAt>2026-01-01"],
)
def test_filters_that_are_none(tiffin_here: Commands, wrong: str) -> None:
    done = tiffin_here("buildx", "history", "ls", "--filter", wrong, check=False)
    assert done.code == 1 and "--filter" in done.err


def test_attachments_are_elsewhere(builds: Commands) -> None:
    assert "beside the image" in builds("build", "history", "inspect", "attachment", "^1", check=False).err
    assert "one build" in builds("build", "history", "inspect", "^1", "^0", check=False).err
