"""What builds ran, for `buildx history`: a file for each of the last ones, with what it was and its log.

The first line of a file is the record; the others are the events, as --progress json tells them. Which layers its steps
made is in the record, and their plan in a file that builds of the same share: `tiffin debug` opens steps by them.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from types import TracebackType

from tiffin.builder.api.build_options import KEPT_OPTIONS
from tiffin.builder.errors import CorruptError, NotFoundError, RunError, TiffinError, UsageError
from tiffin.builder.events import (
    TYPE_NAMES,
    BuildFinished,
    Event,
    PhaseFinished,
    Sink,
    StepCached,
    StepFinished,
    StepOutput,
    StepsPlanned,
    Transfer,
    members_of,
)
from tiffin.builder.solver.results import StepObserver
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.frozen import asdict, dataclass, replace
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    from tiffin.builder.api.build_options import BuildOptions
    from tiffin.builder.api.session import Session
    from tiffin.builder.oci.spec import Platform
    from tiffin.builder.plan.plan import Plan
    from tiffin.builder.solver.build import Keeper, Request
    from tiffin.cache.backend import StepRecord

FOLDER = "history"  # below the state directory
VARIABLE = "TIFFIN_BUILD_HISTORY"  # how many builds are kept; 0 for none
KEPT = 50  # BuildKit's
MAX_LOG_BYTES = 2 << 20  # BuildKit's, of what commands write
CLIPPED = b"[output clipped, log limit 2MiB reached]\n"
PLANS = "plans"  # the same, of what they were planned as
PLANS_SCHEMA = 1  # rises when plans have another form
PLAN_NAME_LENGTH = 32
LOCAL = "local"  # the cache of the state directory
BUILDER = "default/default"  # builder and node in a reference
COMPLETED, ERROR, CANCELED = "Completed", "Error", "Canceled"
_PASSING = (PhaseFinished, StepsPlanned)  # events that are in no log
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRecord:
    """One build. Times are seconds since 1970; names of build arguments are kept, not their values."""

    id: str
    name: str
    context: str
    dockerfile: str
    target: str
    platforms: tuple[str, ...]
    build_args: tuple[str, ...]
    started: float
    finished: float = 0.0
    status: str = COMPLETED
    error: str = ""
    names: tuple[str, ...] = ()
    digest: str = ""
    size_bytes: int = 0
    steps: int = 0
    cached_steps: int = 0
    plans: tuple[Mapping[str, Any], ...] = ()  # see tiffin.builder.api.steps.plans; for each platform
    failure: str = ""  # the folder of what a failed RUN left

    @property
    def ref(self) -> str:
        """Return the reference that buildx gives it."""
        return f"{BUILDER}/{self.id}"

    @property
    def seconds(self) -> float:
        """Return how long it took."""
        return self.finished - self.started


class Recorder(Sink, AbstractContextManager["Recorder"]):
    """Passes events on, counts steps, and keeps what it passes where builds are kept; the file is written at the end,
    however that is.
    """

    def __init__(self, sink: Sink, folder: Path, kept: int, record: BuildRecord) -> None:
        self._sink = sink
        self._folder = folder
        self._kept = kept
        self._record = record
        self._lock = threading.Lock()  # guards what follows
        self.steps = 0  # that ended well
        self.cached_steps = 0  # of these, those that a cache had
        self._told: list[tuple[float, Event]] = []  # and when; the log has them
        self._room = MAX_LOG_BYTES
        self._planned: dict[str, StepLayers] = {}  # by platform

    @classmethod
    def of(cls, options: BuildOptions, session: Session, sink: Sink) -> Recorder:
        """Return the recorder of a build that begins now. Raises UsageError."""
        text = os.environ.get(VARIABLE, "")
        if text and not text.isdecimal():
            raise UsageError(f"{VARIABLE}={text} is not a number", remedy="say how many builds to keep")
        return cls(sink, session.state.root / FOLDER, int(text) if text else KEPT, new_record(options))

    @property
    def ref(self) -> str:
        """Return the build's reference, nothing where no history is kept."""
        return self._record.ref if self._kept else ""

    def keeper(self, options: BuildOptions, source: bytes) -> Keeper | None:
        """Return what is told of each plan and gives what its steps are told to, None where no history is kept."""

        def keep(request: Request, plan: Plan) -> StepObserver:
            platform = request.plan_options.platform
            found = StepLayers(plan_name(source, options, platform, plan), plan, options)
            self._planned[str(platform)] = found
            return found

        return keep if self._kept else None

    def emit(self, event: Event) -> None:
        self._sink.emit(event)
        kind = type(event)
        with self._lock:
            self.steps += kind is StepCached or kind is StepFinished
            self.cached_steps += kind is StepCached
            passes_by = kind in _PASSING or (isinstance(event, Transfer) and not event.finished)
            if self._kept and not passes_by:
                self._keep(event)

    def _keep(self, event: Event) -> None:
        if isinstance(event, StepOutput):
            if self._room <= 0:
                return
            self._room -= len(event.data)
            if self._room <= 0:
                event = replace(event, data=event.data + CLIPPED)
        elif isinstance(event, BuildFinished):
            self._record = replace(self._record, names=event.names, digest=event.digest, size_bytes=event.size_bytes)
        self._told.append((time.time(), event))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if not self._kept:
            return
        with suppress(OSError):  # what is only looked at later ends no build
            self._write(self.ended(error))

    def ended(self, error: BaseException | None) -> BuildRecord:
        """Return the record of the build, which ends now."""
        status = COMPLETED if error is None else ERROR if isinstance(error, Exception) else CANCELED
        text = error.message if isinstance(error, TiffinError) else "" if error is None else type(error).__name__
        return replace(
            self._record,
            finished=time.time(),
            status=status,
            error=text,
            steps=self.steps,
            cached_steps=self.cached_steps,
            plans=tuple(planned.document() for planned in self._planned.values()),
            failure=error.kept if isinstance(error, RunError) else "",
        )

    @property
    def lines(self) -> Sequence[str]:
        """Return the log so far."""
        return _json_lines([_told_members(when, event) for when, event in self._told])

    def _write(self, record: BuildRecord) -> None:
        _write(self._folder, record, self.lines)
        for old in sorted(os.listdir(self._folder), reverse=True)[self._kept :]:  # noqa: PTH208
            (self._folder / old).unlink(missing_ok=True)
        for planned in self._planned.values():
            planned.write(self._folder.with_name(PLANS), 2 * self._kept)


class StepLayers(StepObserver):
    """Notes which layers the steps of a plan made, for `tiffin debug`."""

    def __init__(self, name: str, plan: Plan, options: BuildOptions) -> None:
        self.name = name
        self.plan = plan
        self.options = options
        self._records: dict[tuple[int, int], tuple[StepRecord, str]] = {}  # with the cache that had it

    def cached(self, index: int, number: int, record: StepRecord, source: str) -> None:
        self._records[index, number] = (record, source)

    def ran(self, index: int, number: int, keys: Sequence[Digest], record: StepRecord, *, for_target: bool) -> None:
        self._records[index, number] = (record, LOCAL)

    def document(self) -> dict[str, object]:
        """Return what a record has of it: what the plan is called, and the DiffID of each step that the build needed,
        with its packed form where that is elsewhere.
        """
        stages: dict[str, dict[str, object]] = {}
        for (index, number), (record, source) in self._records.items():
            layer = str(record.diff_id)
            packed = record.layer if source != LOCAL else None
            stages.setdefault(str(index), {})[str(number)] = [layer, packed.to_json()] if packed is not None else layer
        return {"plan": self.name, "stages": stages}

    def write(self, folder: Path, most: int) -> None:
        """Keep the plan, unless it is there; no more than `most` stay. Raises OSError."""
        try:
            os.utime(folder / self.name)
        except FileNotFoundError:
            from tiffin.builder.api.steps.plans import keep

            keep(folder, self.name, self.plan, self.options, most)


def plan_name(source: bytes, options: BuildOptions, platform: Platform, plan: Plan) -> str:
    """Return what a plan is called by all that decides it: the Dockerfile, the options, the base images."""
    given = [getattr(options, name) for name in KEPT_OPTIONS]
    images = sorted((name, str(image.manifest_digest)) for name, image in plan.images.items())
    text = repr((PLANS_SCHEMA, os.getcwd(), str(platform), given, images))  # noqa: PTH109
    return Digest.of(text.encode() + source).hex[:PLAN_NAME_LENGTH]


class History:
    """The builds of a state directory, the newest first."""

    def __init__(self, session: Session) -> None:
        self._folder = session.state.root / FOLDER

    def records(self) -> Iterator[BuildRecord]:
        """Yield all that can be read."""
        for path in self._paths():
            with suppress(CorruptError, FileNotFoundError):
                yield _read(path)

    def find(self, text: str) -> BuildRecord:
        """Return the build of a reference, an id or its beginning, `^N` for the Nth before the last, or "" for that.

        Raises NotFoundError.
        """
        return _read(self._path(text))

    def events(self, text: str) -> Iterator[str]:
        """Yield the lines of its log, in JSON. Raises NotFoundError."""
        with self._path(text).open(encoding="utf-8") as file:
            next(file)
            yield from file

    def add(self, record: BuildRecord, lines: Sequence[str]) -> bool:
        """Keep a build of elsewhere with the lines of its log; False where it is here already. Raises OSError."""
        if any(path.name.endswith(f"-{record.id}") for path in self._paths()):
            return False
        _write(self._folder, record, lines)
        return True

    def remove(self, text: str) -> None:
        """Forget a build, and plans that no other has. Raises NotFoundError."""
        self._path(text).unlink(missing_ok=True)
        named = {document["plan"] for record in self.records() for document in record.plans}
        plans = self._folder.with_name(PLANS)
        for path in plans.iterdir() if plans.is_dir() else ():
            if path.name not in named:
                path.unlink(missing_ok=True)

    def _paths(self) -> Sequence[Path]:
        if not self._folder.is_dir():
            return ()
        return sorted((path for path in self._folder.iterdir() if path.name[0] != "."), reverse=True)

    def _path(self, text: str) -> Path:
        paths = self._paths()
        if not text or text.startswith("^"):
            number = text[1:] or "0"
            if number.isdecimal() and int(number) < len(paths):
                return paths[int(number)]
        else:
            wanted = text.rpartition("/")[2]
            found = [path for path in paths if wanted and path.name.partition("-")[2].startswith(wanted)]
            if len(found) == 1:
                return found[0]
        raise NotFoundError(f"no build record {text or 'is there'}".strip(), remedy="see buildx history ls")


def _told_members(when: float, event: Event) -> dict[str, object]:
    members = {"type": TYPE_NAMES[type(event)], "time": round(when, 3), **members_of(event)}
    return {**members, "data": event.data.decode("utf-8", "replace")} if isinstance(event, StepOutput) else members


def _json_lines(rows: Sequence[Mapping[str, object]]) -> Sequence[str]:
    """Return each of `rows` as JSON, all by one call if it can be: half the work of one for each. In what it writes a
    newline only separates, so that it says where a row ends, unless a row has lists of objects.
    """
    lines = json.dumps(rows, separators=("\n", ": "))[2:-2].split("}\n{")
    if len(lines) != len(rows):
        return [json.dumps(row) for row in rows]
    return ["{" + line.replace("\n", ", ") + "}" for line in lines]


def _write(folder: Path, record: BuildRecord, lines: Sequence[str]) -> None:
    folder.mkdir(exist_ok=True)
    name = f"{int(record.started * 1000):014d}-{record.id}"
    part = folder / f".{name}"
    part.write_text("\n".join([json.dumps(asdict(record)), *lines, ""]), encoding="utf-8")
    part.replace(folder / name)


def record_of(text: str) -> BuildRecord:
    """Return the record that is written as JSON. Raises ValueError, TypeError, AttributeError for anything else."""
    from tiffin.builder.api.buildx.builders import tuples_of

    row = json.loads(text)
    plans = row.pop("plans", ())
    return BuildRecord(**{**row, **tuples_of(row)}, plans=tuple(plans))


def _read(path: Path) -> BuildRecord:
    try:
        with path.open(encoding="utf-8") as file:
            return record_of(file.readline())
    except (ValueError, TypeError, AttributeError) as exc:
        raise CorruptError(f"{path} is damaged", remedy="remove it: it only tells of a build") from exc


def new_record(options: BuildOptions) -> BuildRecord:
    """Return the record of a build that begins now."""
    return BuildRecord(
        id=_new_id(),
        name=_name_of(options),
        context=options.context,
        dockerfile=options.file or "Dockerfile",
        target=options.target,
        platforms=tuple(map(str, options.platforms)),
        build_args=tuple(sorted(options.build_args)),
        started=time.time(),
    )


def _name_of(options: BuildOptions) -> str:
    """Return what buildx calls a build: its context, and its target."""
    context = options.context if "://" in options.context else Path(options.context).resolve().name
    return f"{context} ({options.target})" if options.target else context or "build"


def _new_id() -> str:
    """Return a name as BuildKit makes them: 25 digits and small letters."""
    number = int.from_bytes(os.urandom(16), "big")
    digits = ""
    for _ in range(25):
        number, digit = divmod(number, len(_DIGITS))
        digits += _DIGITS[digit]
    return digits
