"""Where policies are asked, and where the audit log is written."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tiffin.builder.api.rules.evidence import NO_EVIDENCE, AttachedEvidence
from tiffin.builder.api.session import Session
from tiffin.builder.errors import PolicyError, TiffinError
from tiffin.builder.oci.reference import Reference
from tiffin.builder.oci.spec import Platform
from tiffin.builder.policy.audit import AuditLog
from tiffin.builder.policy.chosen import audit_log, judges
from tiffin.builder.policy.facts import IMAGE, RESULT, Contents, Denial, Evidence, Judge, Subject, refusal
from tiffin.builder.settings.access import RegistryAccess, may_have_rules
from tiffin.cache.foundation.frozen import replace

if TYPE_CHECKING:
    from tiffin.builder.sources.remote_sources import RemoteSources


class Gate:
    """Asks all policies, and writes down what they decide."""

    def __init__(self, policies: Sequence[Judge], log: AuditLog | None, evidence: Evidence = NO_EVIDENCE) -> None:
        self._policies = policies
        self._log = log
        self._evidence = evidence

    def judge(self, subject: Subject, pinner: Judge | None = None) -> None:
        """Raise PolicyError for what is denied, and what the policies raise that cannot judge.

        An image is judged by its name first, and again when it was looked at. `pinner` chose it, and is not asked.
        """
        denials: list[Denial] = []
        for policy in self._policies:
            if policy is not pinner and not (denials and policy.asks):  # what is denied is not looked up
                denials += policy.judge(subject, lambda: self._evidence)
        if denials or subject.kind != IMAGE or subject.contents is not None:
            self._write(subject, denials)
        if denials:
            raise refusal(denials, subject.name)

    def pin(self, subject: Subject) -> tuple[str, Judge | None]:
        """Return the digest that a policy wants an image to have instead ("" for none), and that policy."""
        for policy in self._policies:
            digest = policy.pin(subject, lambda: self._evidence)
            if digest:
                return digest, policy
        return "", None

    def judge_image(self, name: str, reference: Reference, platform: Platform, operation: str) -> None:
        """Judge an image by its name."""
        checksum = str(reference.digest or "")
        self.judge(
            Subject(
                kind=IMAGE, name=name, operation=operation, reference=reference, platform=platform, checksum=checksum
            )
        )

    def judge_contents(self, name: str, reference: Reference, contents: Contents, operation: str) -> None:
        """Judge an image that was looked at."""
        self.judge(
            Subject(
                kind=IMAGE,
                name=name,
                operation=operation,
                reference=reference,
                platform=contents.config.platform,
                checksum=str(reference.digest or ""),
                contents=contents,
            )
        )

    def judge_result(self, names: Sequence[Reference], contents: Contents, subject: Subject) -> None:
        """Judge what is made under each of its names; `subject` has the rest of what is known of it."""
        for name in names or (None,):
            told = name.familiar if name is not None else "the image"
            self.judge(replace(subject, kind=RESULT, name=told, reference=name, contents=contents))

    def record(self, event: str, fields: Mapping[str, object]) -> None:
        """Write down what was done."""
        if self._log is not None:
            self._log.append(event, fields)

    @contextlib.contextmanager
    def recorded(self, event: str, fields: Mapping[str, object]) -> Iterator[dict[str, object]]:
        """Write down what is done, and how it ended: what the block adds, or the kind of its error."""
        more: dict[str, object] = {}
        try:
            yield more
        except BaseException as exc:
            outcome = {"outcome": "denied" if isinstance(exc, PolicyError) else "failed", "error": type(exc).__name__}
            with contextlib.suppress(TiffinError):  # what went wrong first is told
                self.record(event, {**fields, **outcome})
            raise
        self.record(event, {**fields, "outcome": "done", **more})

    def _write(self, subject: Subject, denials: Sequence[Denial]) -> None:
        digest = subject.contents.digest if subject.contents is not None else subject.checksum
        self.record(
            "decision",
            {
                "operation": subject.operation,
                "kind": subject.kind,
                "name": subject.name,
                "digest": digest,
                "allowed": not denials,
                "rules": [f"{denial.policy}: {denial.rule}" for denial in denials],
                "where": str(denials[0].span or "") if denials else str(subject.span or ""),
            },
        )


def gate_of(
    access: RegistryAccess,
    dockerfile: Path | None = None,
    session: Session | None = None,
    sources: Callable[[], RemoteSources] | None = None,
) -> Gate | None:
    """Return the gate of a command, None where there is neither policy nor log; `session` is where it finds what is
    attached to images, `sources` reach repositories and files. Raises UsageError.
    """
    if not may_have_rules(os.environ, access) and dockerfile is None:
        return None
    found, log = judges(os.environ, access, dockerfile), audit_log(os.environ, access)
    evidence = NO_EVIDENCE if session is None else AttachedEvidence(session, access, sources)
    return Gate(found, log, evidence) if found or log is not None else None
