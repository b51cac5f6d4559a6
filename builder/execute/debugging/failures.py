"""What a failed RUN left, kept for `tiffin debug`: the changes it made, and the sandbox that it ran in.

Each has a folder below the state directory: failure.json, `upper` with the changes, and what the step alone was shown
(scripts, copies of inputs). Secrets, ssh agents and proxies are not kept.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from tiffin.builder.errors import CorruptError, NotFoundError, RunError, StoreError
from tiffin.builder.events import Sink, WarningMessage
from tiffin.builder.image.chain import Chain, LayerRef
from tiffin.builder.instructions.ops import RunOp, SecretMount, SshMount
from tiffin.builder.sandbox.child.spec import Bind, Layers, Mount, SandboxSpec, SecretFile
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.files import remove_tree
from tiffin.cache.foundation.frozen import asdict, dataclass, replace
from tiffin.cache.store.snapshots import BlobRef
from tiffin.cache.store.statedir import FAILURES, StateDir

RECORD = "failure.json"
UPPER = "upper"
VARIABLE = "TIFFIN_KEPT_FAILURES"  # how many failed steps are kept; 0 for none
KEPT = 3
OWN_PARTS = ("input-", "script")  # of a step's scratch directory, what its mounts show


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedStep:
    """A RUN that failed: where it stands, its `layers` below (bottom first), its sandbox without what is made anew."""

    label: str  # as the progress names it: [2/5] RUN …
    where: str  # file:line of the Dockerfile
    error: str
    time: float  # in Unix seconds
    tier: str
    id_map: str  # the tag of the trees it ran over
    emulated: bool
    layers: Chain
    spec: SandboxSpec
    secrets: tuple[SecretMount, ...] = ()
    name: str = ""  # of its folder

    @property
    def id(self) -> str:
        """Return what it is called by."""
        return self.name.partition("-")[2]

    def shell(self) -> tuple[str, ...]:
        """Return the shell of the step, /bin/sh for a command that has none."""
        argv = self.spec.argv
        return argv[:1] if len(argv) > 1 and argv[1].startswith("-") and argv[1].endswith("c") else ("/bin/sh",)


def kept_number(environ: Mapping[str, str], sink: Sink) -> int:
    """Return how many failed steps are kept. What is not a number is a warning: a step failed, and that is told."""
    text = environ.get(VARIABLE, "")
    if text and not text.isdecimal():
        sink.emit(WarningMessage(message=f"{VARIABLE}={text} is not a number, so {KEPT} failed steps are kept"))
        return KEPT
    return int(text) if text else KEPT


def without_secrets(spec: SandboxSpec, op: RunOp, scratch: Path, ways: Sequence[str]) -> SandboxSpec:
    """Return a sandbox without secrets, agents, proxies, and the variables called `ways` that lead to them."""
    secret = {mount.env for mount in op.mounts if isinstance(mount, SecretMount) and mount.env}
    sockets = {mount.target for mount in op.mounts if isinstance(mount, SshMount)}
    names = (
        secret | {item.partition("=")[0] for item in (*op.proxies, *ways)} | ({"SSH_AUTH_SOCK"} if sockets else set())
    )
    return replace(
        spec,
        env=tuple(item for item in spec.env if item.partition("=")[0] not in names),
        mounts=tuple(mount for mount in spec.mounts if _is_kept(mount, sockets, scratch)),
        lower_dirs=(),
        upper_dir="",
        work_dir="",
        scratch_dir=os.fspath(scratch),
        way_out=0,
        abandons=False,  # nothing would run it again with more
    )


def _is_kept(mount: Mount, sockets: set[str], scratch: Path) -> bool:
    if isinstance(mount, SecretFile) or mount.path in sockets:
        return False
    if isinstance(mount, Bind) and Path(mount.host_path).is_relative_to(scratch):
        return Path(mount.host_path).relative_to(scratch).parts[0].startswith(OWN_PARTS)
    return True


class Failures:
    """The failed steps of a state directory, the newest first."""

    def __init__(self, state: StateDir) -> None:
        self._state = state
        self._folder = state.root / FAILURES

    def keep(self, failed: FailedStep, scratch: Path, most: int) -> str:
        """Make the scratch directory of a failed step the folder of what it left; no more than `most` stay. Return
        what that is called. Needs the namespace that its files are of. Raises OSError.

        The oldest one takes the place of the scratch directory, and so goes with it.
        """
        place = self._folder / f"{int(failed.time * 1000):014d}-{os.urandom(4).hex()}"
        for name in os.listdir(scratch):  # noqa: PTH208
            if name != UPPER and not name.startswith(OWN_PARTS):
                remove_tree(scratch / name)
        fd = os.open(scratch / RECORD, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(_encode(failed, scratch, place))
        self._folder.mkdir(mode=0o700, exist_ok=True)
        scratch.rename(place)
        with suppress(OSError, StoreError):  # those of another namespace, say
            self.trim(most, scratch)
        return place.name

    def trim(self, most: int, aside: Path | None = None) -> None:
        """Remove all but the newest `most`; those that somebody looks into stay. The first goes to `aside`, which is
        free and will be removed. Raises OSError.
        """
        for path in self._paths()[most:]:
            with suppress(NotFoundError), self._held(path, fcntl.LOCK_EX | fcntl.LOCK_NB) as is_free:
                if is_free and aside is not None:
                    path.rename(aside)
                    aside = None
                elif is_free:
                    self._state.discard(path)

    def using(self, name: str) -> AbstractContextManager[bool]:
        """Hold a failed step, so that nobody removes it. Raises NotFoundError once it is removed."""
        return self._held(self._folder / name, fcntl.LOCK_SH)

    @contextmanager
    def _held(self, path: Path, how: int) -> Iterator[bool]:
        """Lock a folder, which needs no file of its own; gives False if it is busy and `how` does not wait."""
        gone = NotFoundError(f"the failed step {path.name} was removed meanwhile", remedy="build again")
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            raise gone from None
        try:
            try:
                fcntl.flock(fd, how)
            except BlockingIOError:
                yield False
                return
            if not path.exists():  # it was moved away before it was locked
                raise gone
            yield True
        finally:
            os.close(fd)

    def steps(self) -> Iterator[FailedStep]:
        """Yield all that can be read."""
        for path in self._paths():
            with suppress(CorruptError, FileNotFoundError):
                yield _read(path)

    def find(self, text: str) -> FailedStep:
        """Return the one whose id begins with `text`, "" for the last one. Raises NotFoundError, CorruptError."""
        found = [path for path in self._paths() if path.name.partition("-")[2].startswith(text)]
        if not found or (text and len(found) > 1):
            raise NotFoundError(
                f'there is not one failed step "{text}"' if text else "no failed step is kept here",
                remedy="see tiffin debug --list"
                if text
                else f"a RUN that fails is kept, unless {VARIABLE} is 0; --build ^0 --before opens the state before it",
            )
        try:
            return _read(found[0])
        except FileNotFoundError as exc:
            raise NotFoundError(f"the failed step {text} was removed meanwhile", remedy="build again") from exc

    def place(self, failed: FailedStep) -> Path:
        """Return the folder of a step."""
        return self._folder / failed.name

    def _paths(self) -> list[Path]:
        try:
            names = os.listdir(self._folder)  # noqa: PTH208
        except FileNotFoundError:
            return []
        return [self._folder / name for name in sorted(names, reverse=True) if name[0] != "."]


def with_secrets(failed: FailedStep, given: Mapping[str, bytes]) -> SandboxSpec:
    """Return the sandbox of a step with the secrets that are given again."""
    env, mounts, lost = list(failed.spec.env), list(failed.spec.mounts), set()
    for mount in failed.secrets:
        value = given.get(mount.id)
        if value is None:
            lost.add(mount.target.strip("/"))
            continue
        if mount.env:
            env.append(f"{mount.env}={value.decode('utf-8', 'surrogateescape')}")
        if mount.target:
            from base64 import b64encode

            data = b64encode(value).decode()
            mounts.append(SecretFile(path=mount.target, data=data, mode=mount.mode, uid=mount.uid, gid=mount.gid))
    stubs = tuple(stub for stub in failed.spec.stubs if stub.path not in lost)
    return replace(failed.spec, env=tuple(env), mounts=tuple(mounts), stubs=stubs)


def failed_step(
    op: RunOp, spec: SandboxSpec, error: RunError, *, label: str, tier: str, id_map: str, layers: Chain
) -> FailedStep:
    """Describe a step that failed just now, in a sandbox without secrets."""
    span = error.span
    return FailedStep(
        label=label,
        where=f"{span.file}:{span.first_line}" if span is not None else "",
        error=error.message,
        time=time.time(),
        tier=tier,
        id_map=id_map,
        emulated=spec.emulated,
        layers=layers,
        spec=spec,
        secrets=tuple(mount for mount in op.mounts if isinstance(mount, SecretMount)),
    )


def _encode(failed: FailedStep, scratch: Path, place: Path) -> bytes:
    """Return a record as JSON; what lay in `scratch` is in `place` now."""

    def moved(path: str) -> str:
        inside = Path(path).is_relative_to(scratch)
        return os.fspath(place / Path(path).relative_to(scratch)) if inside else path

    def mount_of(mount: Mount) -> Mount:
        if isinstance(mount, Bind):
            return replace(mount, host_path=moved(mount.host_path))
        if isinstance(mount, Layers):
            return replace(mount, lower_dirs=tuple(map(moved, mount.lower_dirs)))
        return mount

    spec = replace(failed.spec, scratch_dir="", mounts=tuple(map(mount_of, failed.spec.mounts)))
    document = {
        **{name: getattr(failed, name) for name in ("label", "where", "error", "time", "tier", "id_map", "emulated")},
        "layers": [
            {"diff_id": str(layer.diff_id), "blob": layer.blob.to_json() if layer.blob else None}
            for layer in failed.layers
        ],
        "secrets": [asdict(mount) for mount in failed.secrets],
    }
    return b'%s, "spec": %s}' % (json.dumps(document)[:-1].encode(), spec.encode())


def _read(path: Path) -> FailedStep:
    """Return the step that is kept in a folder. Raises FileNotFoundError, CorruptError."""
    data = (path / RECORD).read_bytes()
    try:
        document = json.loads(data)
        layers = tuple(
            LayerRef(
                diff_id=Digest.parse(item["diff_id"]), blob=BlobRef.from_json(item["blob"]) if item["blob"] else None
            )
            for item in document.pop("layers")
        )
        return FailedStep(
            layers=layers,
            secrets=tuple(SecretMount(**item) for item in document.pop("secrets")),
            spec=SandboxSpec.decode(json.dumps(document.pop("spec")).encode()),
            name=path.name,
            **document,
        )
    except (ValueError, TypeError, KeyError, AttributeError) as exc:
        raise CorruptError(f"{path / RECORD} is damaged", remedy=f"remove {path}, and build again") from exc
