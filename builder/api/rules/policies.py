"""Write, try and test policies; check an audit log."""

from __future__ import annotations

import contextlib
import functools
import tomllib
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tiffin.builder.api.rules.evidence import AttachedEvidence, look_up
from tiffin.builder.api.rules.gate import Gate
from tiffin.builder.api.rules.sources import subject_of
from tiffin.builder.api.session import Session
from tiffin.builder.errors import PolicyError, TiffinError, UsageError
from tiffin.builder.events import InfoMessage, Sink
from tiffin.builder.instructions.ops import GitOrigin, UrlOrigin
from tiffin.builder.instructions.remote import filename_of, is_git, is_http, parse_git
from tiffin.builder.oci.config import ImageConfig, RunConfig
from tiffin.builder.oci.reference import Reference
from tiffin.builder.oci.spec import Platform
from tiffin.builder.policy.chosen import judges
from tiffin.builder.policy.document import SECTIONS
from tiffin.builder.policy.facts import BUILD, IMAGE, KINDS, LOCAL, OPERATIONS, RESULT, Contents, Environment, Subject
from tiffin.builder.policy.rules import RULES
from tiffin.builder.settings.access import RegistryAccess
from tiffin.cache.errors import DigestError
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.frozen import dataclass, replace

if TYPE_CHECKING:
    from tiffin.builder.sources.remote_sources import RemoteSources

PREFIX_IMAGE = "docker-image://"
TESTS_SUFFIX, REGO_TESTS = "_test.toml", "_test.rego"
_MEMBERS = frozenset(
    {"name", "source", "kind", "operation", "allow", "rule", "user", "env", "labels", "size", "created"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A test and how it ended; `reason`: why it failed."""

    name: str
    reason: str = ""


def template() -> str:
    """Return a policy to begin with: the rules that are usual, and all others as comments."""
    lines = [
        "# Used by tiffin build --policy FILE and by $TIFFIN_POLICY. All tables that apply have to be kept to.",
        "schema = 1",
    ]
    usual = {"images": "no-latest", "git": "https", "urls": "https", "result": "no-secrets-in-env"}
    for section, kind in SECTIONS.items():
        lines += ["", f"[[{section}]]", '# for = ["docker.io/**"]  # to which names this applies; except = […]']
        for rule in RULES[kind]:
            sign = "" if rule.name == usual[section] else "# "
            lines.append(f"{sign}{rule.name} = {rule.example}  # {rule.about}")
    return "\n".join(lines) + "\n"


def subject_for(
    source: str, platform: Platform, operation: str = BUILD, environment: Environment | None = None
) -> Subject:
    """Return what a source is, as buildx writes it: docker-image://NAME, a URL, a repository, a directory."""
    around = environment or Environment()
    if is_git(source, context=True) and not _has_digest(source):
        found = subject_of(parse_git(source))
    elif is_http(source):
        found = subject_of(UrlOrigin(url=source, filename=filename_of(source)))
    elif source.startswith(PREFIX_IMAGE) or not Path(source).exists():
        name = source.removeprefix(PREFIX_IMAGE)
        reference = Reference.parse(name)
        checksum = str(reference.digest or "")
        found = Subject(kind=IMAGE, name=name, reference=reference, platform=platform, checksum=checksum)
    else:
        found = Subject(kind=LOCAL, name="context")
    return replace(found, operation=operation, environment=around)


def _has_digest(source: str) -> bool:
    """Whether a source ends as names of images do, NAME@sha256:…, which is also the form of USER@HOST:PATH."""
    try:
        Digest.parse(source.rpartition("@")[2])
    except DigestError:
        return False
    return True


def evaluate(
    subject: Subject, policies: Sequence[str], session: Session, sink: Sink, access: RegistryAccess, *, looks: bool
) -> None:
    """Judge a source; with `looks` an image is looked up, too. Raises PolicyError, RegistryError."""
    with contextlib.ExitStack() as stack:
        evidence = AttachedEvidence(session, access, _opener(session, stack) if looks else None)
        gate = Gate(judges({}, replace(access, policies=tuple(policies))), None, evidence)
        gate.judge(subject)
        if subject.kind == IMAGE and looks:
            found = look(subject, session, sink, access)
            digest, pinner = gate.pin(found)
            if pinner is not None:
                assert found.reference is not None
                reference = replace(found.reference, digest=Digest.parse(digest))
                pinned = replace(subject, reference=reference, checksum=digest)
                sink.emit(InfoMessage(message=f"{subject.name} is pinned to {digest}"))
                found = look(pinned, session, sink, access)
            gate.judge(found, pinner)


def document_for(subject: Subject, session: Session, sink: Sink, access: RegistryAccess, fields: str) -> object:
    """Return what a policy in Rego is asked of a source; `fields` (with commas between) are looked up. Raises
    TiffinError.
    """
    from tiffin.builder.policy.rego.documents import document_of

    wanted = [field.strip() for field in fields.split(",") if field.strip()]
    with contextlib.ExitStack() as stack:
        evidence = AttachedEvidence(session, access, _opener(session, stack))
        if subject.reference is not None and wanted:
            from tiffin.builder.policy.rego.asked import MATERIALS, Asked
            from tiffin.builder.policy.rego.attached import attached_to

            found = look(subject, session, sink, access)
            document = document_of(found)
            members = {field.removeprefix("image.").partition(".")[0] for field in wanted}
            document[IMAGE] |= attached_to(found, evidence, members, Asked([MATERIALS]))
            return document
        if isinstance(subject.origin, GitOrigin) and wanted:
            return document_of(subject, evidence.repository(subject.origin))
    return document_of(subject)


def _opener(session: Session, stack: contextlib.ExitStack) -> Callable[[], RemoteSources]:
    """Return what reaches repositories and files, with what this user has for them."""

    @functools.cache
    def opened() -> RemoteSources:
        from tiffin.builder.api.build_options import BuildOptions
        from tiffin.builder.api.inputs.build_request import source_access
        from tiffin.builder.sources.remote_sources import RemoteSources

        access = source_access(BuildOptions())
        return stack.enter_context(RemoteSources(session.state, session.table, session.blobs, access))

    return opened


def look(subject: Subject, session: Session, sink: Sink, access: RegistryAccess) -> Subject:
    """Return an image with what it is, from here or its registry."""
    assert subject.reference is not None and subject.platform is not None
    return replace(subject, contents=look_up(subject.reference, subject.platform, session, sink, access))


def tests_at(path: Path, filename: str) -> tuple[Path, list[Path]]:
    """Return the policy that is tested and the files with tests of Rego: `path` is the policy, one with tests, or a
    directory, below which all with tests count. `filename` is the Dockerfile whose policy it is.
    """
    if not path.is_dir() and not path.name.endswith(REGO_TESTS):
        return path, sorted(path.parent.glob(f"{path.stem}{REGO_TESTS}"))
    name = filename if filename.endswith(".rego") else f"{filename}.rego"
    folders = (path, Path()) if path.is_dir() else (Path(), path.parent)
    policy = next((folder / name for folder in folders if (folder / name).is_file()), folders[0] / name)
    return policy, sorted(path.rglob(f"*{REGO_TESTS}")) if path.is_dir() else [path]


def run_tests(policy: Path, files: Sequence[Path], only: str = "") -> Iterator[Outcome]:
    """Run the tests of a policy: test_… rules of Rego in `files`, or the cases of FILE_test.toml beside one in TOML."""
    if policy.suffix == ".rego":
        from tiffin.builder.policy.rego.policy import RegoPolicy
        from tiffin.builder.policy.rego.trials import run_tests as run_rego

        for name, passes in run_rego(RegoPolicy(policy), files, only):
            yield Outcome(name=name, reason="" if passes else "it is not true")
        return
    file = policy.with_name(policy.stem + TESTS_SUFFIX)
    try:
        cases = tomllib.loads(file.read_text()).get("case", [])
    except (OSError, ValueError) as exc:
        raise UsageError(f"cannot read the tests {file}: {exc}", remedy="write tables [[case]] into it") from exc
    gate = Gate(judges({}, RegistryAccess(policies=(str(policy),))), None)
    for number, case in enumerate(cases, start=1):
        name = str(case.get("name") or f"{number}: {case.get('source', '')}")
        if only in name:
            yield Outcome(name=name, reason=_failure(case, gate))


def _failure(case: dict[str, Any], gate: Gate) -> str:
    """Return why a case is not as it says, "" where it is."""
    unknown = case.keys() - _MEMBERS
    kind, operation = case.get("kind", ""), case.get("operation", BUILD)
    if (
        unknown
        or (kind and kind not in KINDS)
        or operation not in OPERATIONS
        or not isinstance(case.get("allow"), bool)
    ):
        raise UsageError(
            f"[[case]] {case.get('name', '')} is not understood",
            remedy=f"its members are {', '.join(sorted(_MEMBERS))}",
        )
    subject = subject_for(str(case.get("source", "image")), Platform.local(), operation)
    try:
        if kind == RESULT:
            assert subject.reference is not None
            gate.judge_result([subject.reference], _contents(case), subject)
        else:
            gate.judge(subject)
            if subject.kind == IMAGE and case.keys() & {"user", "env", "labels", "size", "created"}:
                gate.judge(replace(subject, contents=_contents(case)))
    except PolicyError as exc:
        rule = str(case.get("rule", ""))
        if case["allow"]:
            return exc.message
        return "" if not rule or any(text.endswith(f": {rule}") for text in exc.rules) else f"denied by {exc.rules[0]}"
    except TiffinError as exc:
        return exc.message
    return "" if case["allow"] else "it is allowed"


def _contents(case: dict[str, Any]) -> Contents:
    now = datetime.now(UTC).isoformat()
    config = RunConfig(
        user=str(case.get("user", "")), env=tuple(case.get("env", ())), labels=dict(case.get("labels", {}))
    )
    made = ImageConfig(platform=Platform.local(), config=config, created=str(case.get("created", now)))
    return Contents(digest="sha256:" + "0" * 64, config=made, size_bytes=int(case.get("size", 0)))
