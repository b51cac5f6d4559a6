"""What an editor shows of a place: scopes, and variables that open into others."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from tiffin.builder.api.dap.places import HEAD, Place
from tiffin.builder.api.dap.position import Position
from tiffin.builder.api.steps.step_views import MAX_DATA_BYTES, File
from tiffin.builder.instructions.base import Step
from tiffin.builder.instructions.ops import CopyOp, RunOp, SecretMount
from tiffin.cache.foundation.frozen import dataclass

BRIEF = 64  # characters of a value that opens into others

Variables = list[dict[str, object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Directory:
    """What a reference to a directory or file of a place opens."""

    place: Place
    path: str


class References:
    """What the numbers stand for that an editor asks for; forgotten when the build goes on."""

    def __init__(self) -> None:
        self._values: list[Directory | Variables] = []

    def add(self, value: Directory | Variables) -> int:
        """Return a number for a value."""
        self._values.append(value)
        return len(self._values)

    def get(self, number: int) -> Directory | Variables | None:
        """Return the value of a number, None where it is none."""
        return self._values[number - 1] if 0 < number <= len(self._values) else None

    def clear(self) -> None:
        """Forget all."""
        self._values.clear()


def scopes(position: Position, place: Place, references: References) -> Variables:
    """Return the scopes of a place."""
    step = position.step_at(place)
    rows = _arguments(position, place, step, references)
    environment = [_variable(name, value) for name, value in environment_of(step).items()]
    return [
        _scope("Arguments", references.add(rows), presentationHint="arguments"),
        _scope("Environment", references.add(environment), presentationHint="locals"),
        _scope("File Explorer", references.add(Directory(place=place, path="/")), expensive=True),
    ]


def _scope(name: str, number: int, **more: object) -> dict[str, object]:
    return {"name": name, "variablesReference": number, "expensive": False, **more}


def environment_of(step: Step) -> dict[str, str]:
    """Return the variables that are set at a step: of ENV and ARG."""
    return dict(item.partition("=")[::2] for item in step.env)


def _arguments(position: Position, place: Place, step: Step, references: References) -> Variables:
    stage = position.planned.plan.stages[place.index]
    platform = stage.platform
    rows = [
        _variable(
            "platform",
            str(platform),
            references,
            [_variable("os", platform.os), _variable("architecture", platform.architecture)],
        ),
        _variable("stage", stage.name or str(stage.index)),
    ]
    if place.number == HEAD:
        return [*rows, _variable("base", position.planned.base_name(place.index))]
    op = step.op
    if isinstance(op, RunOp):
        mounts = [_variable(mount.target or "-", _mount(mount)) for mount in op.mounts]
        rows += [
            _variable("exec", " ".join(op.argv), references, _numbered(op.argv)),
            _variable("workdir", op.cwd),
            _variable("user", op.user or "root"),
            _variable("network", op.network),
            *([_variable("mounts", f"{len(mounts)}", references, mounts)] if mounts else []),
        ]
    elif isinstance(op, CopyOp):
        sources = [path for item in op.sources for path in item.paths] + [file.name for file in op.inline]
        rows += [_variable("sources", " ".join(sources), references, _numbered(sources)), _variable("dest", op.dest)]
        rows += [_variable(name, value) for name, value in (("chown", op.chown), ("chmod", op.chmod)) if value]
    rows.append(_variable("shell", json.dumps(list(step.config.shell)) if step.config.shell else "/bin/sh -c"))
    return rows


def _mount(mount: object) -> str:
    kind = type(mount).__name__.removesuffix("Mount").lower()
    return f"{kind} {mount.id}" if isinstance(mount, SecretMount) else kind


def _numbered(values: Iterable[str]) -> Variables:
    return [_variable(str(number), value) for number, value in enumerate(values)]


def _variable(
    name: str, value: str, references: References | None = None, inside: Sequence[dict[str, object]] = ()
) -> dict[str, object]:
    number = references.add(list(inside)) if references is not None else 0
    shown = f"{value[: BRIEF - 4]} ..." if number and len(value) >= BRIEF else value
    return {"name": name, "value": shown, "variablesReference": number}


def variables_of_files(found: Sequence[File], where: Directory, references: References) -> Variables:
    """Return what a directory holds, or what is known of the one file that `where` is."""
    if len(found) == 1 and found[0].data is not None and where.path.rpartition("/")[2] == found[0].name:
        return _details(found[0])
    rows: Variables = []
    for file in found:
        path = f"{where.path.rstrip('/')}/{file.name}"
        opens = file.is_directory or file.mode[0] == "-"
        rows.append(
            {
                "name": f"{file.name}/" if file.is_directory else file.name,
                "value": "" if file.is_directory else described(file),
                "variablesReference": references.add(
                    Directory(place=where.place, path=path) if opens else _details(file)
                ),
            }
        )
    return rows


def described(file: File) -> str:
    """Return a file in one line, as ls shows it."""
    when = time.strftime("%b %d %H:%M:%S %Y", time.gmtime(file.mtime))
    return f"{file.mode} {file.owner} {file.size_bytes} {when}" + (f" -> {file.link}" if file.link else "")


def _details(file: File) -> Variables:
    uid, _, gid = file.owner.partition(":")
    rows: Mapping[str, Callable[[], str]] = {
        "data": lambda: text_of(file),
        "linkname": lambda: file.link,
        "mode": lambda: file.mode,
        "uid": lambda: uid,
        "gid": lambda: gid,
        "size": lambda: str(file.size_bytes),
        "mtime": lambda: time.strftime("%b %d %H:%M:%S %Y", time.gmtime(file.mtime)),
    }
    left_out = {"data"} if file.data is None else {"linkname"}
    return [_variable(name, value()) for name, value in rows.items() if name not in left_out]


def text_of(file: File) -> str:
    """Return the content of a file as text, cut where it is long."""
    data = file.data or b""
    if b"\0" in data[:4096]:
        return "binary data"
    text = data[:MAX_DATA_BYTES].decode("utf-8", "replace")
    return f"{text}\n... (cut)" if len(data) > MAX_DATA_BYTES else text
