"""Write, try and test policies; check an audit log."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tiffin.builder.api.rules.evidence import AttachedEvidence, packages_of
from tiffin.builder.api.rules.gate import Gate, contents_of
from tiffin.builder.api.rules.sources import subject_of
from tiffin.builder.api.session import Session
from tiffin.builder.errors import PolicyError, TiffinError, UsageError
from tiffin.builder.events import Sink
from tiffin.builder.instructions.ops import UrlOrigin
from tiffin.builder.instructions.remote import filename_of, is_git, is_http, parse_git
from tiffin.builder.oci.config import ImageConfig, RunConfig
from tiffin.builder.oci.reference import Reference
from tiffin.builder.oci.spec import Platform
from tiffin.builder.policy.chosen import judges
from tiffin.builder.policy.document import SECTIONS
from tiffin.builder.policy.facts import BUILD, IMAGE, KINDS, LOCAL, OPERATIONS, RESULT, Contents, Environment, Subject
from tiffin.builder.policy.rules import RULES
from tiffin.builder.settings.access import RegistryAccess
from tiffin.cache.foundation.frozen import dataclass, replace

PREFIX_IMAGE = "docker-image://"
TESTS_SUFFIX = "_test.toml"
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
    if is_git(source, context=True):
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


def evaluate(
    subject: Subject, policies: Sequence[str], session: Session, sink: Sink, access: RegistryAccess, *, looks: bool
) -> None:
    """Judge a source; with `looks` an image is looked up, too. Raises PolicyError, RegistryError."""
    evidence = AttachedEvidence(session, access)
    gate = Gate(judges({}, replace(access, policies=tuple(policies))), None, evidence)
    gate.judge(subject)
    if subject.kind == IMAGE and looks:
        gate.judge(look(subject, session, sink, access))


def look(subject: Subject, session: Session, sink: Sink, access: RegistryAccess) -> Subject:
    """Return an image with what it is, from here or its registry."""
    assert subject.reference is not None and subject.platform is not None
    image = session.store.get(subject.reference) or session.remote(sink, access).look_up(
        subject.reference, subject.platform
    )
    packages = packages_of(f"{subject.reference.name}@{image.descriptor.digest}", session, access)
    return replace(subject, contents=contents_of(image.descriptor.digest, image.config, image.manifest, packages))


def run_tests(policy: Path, only: str = "") -> Iterator[Outcome]:
    """Run the tests of a policy: test_… rules of Rego, or the cases of FILE_test.toml beside one in TOML."""
    if policy.suffix == ".rego":
        from tiffin.builder.policy.rego import RegoPolicy

        for name, passes in RegoPolicy(policy).run_tests(only):
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
