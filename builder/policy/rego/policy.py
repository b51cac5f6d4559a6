"""A policy in Rego: what is asked for is looked up, regopy evaluates, and the decision is buildx's."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from tiffin.builder.errors import UsageError
from tiffin.builder.instructions.ops import GitOrigin, UrlOrigin
from tiffin.builder.policy.facts import GIT, IMAGE, RESULT, URL, Denial, Evidence, Judge, Repository, Subject
from tiffin.builder.policy.rego.asked import Asked
from tiffin.builder.policy.rego.attached import HAS_PROVENANCE, MEMBERS, SIGNATURES, attached_to
from tiffin.builder.policy.rego.corrections import corrected
from tiffin.builder.policy.rego.documents import document_of, signature_document
from tiffin.builder.policy.rego.functions import (
    ARTIFACT,
    PIN_IMAGE,
    VERIFY_GIT,
    VERIFY_HTTP,
    Answers,
    Functions,
)
from tiffin.builder.policy.rego.git_objects import PGP, read_commit, read_tag
from tiffin.builder.policy.rego.key_files import has_keys, is_file_signed_by, is_signed_by
from tiffin.builder.policy.rego.pins import PINNED, twins_of
from tiffin.builder.policy.rego.rules_text import without_comments

QUERY = "data.docker.decision"
STDOUT, STDERR = 1, 2
_PACKAGE = re.compile(r"^package\s+\S+", re.MULTILINE)

Modules = Sequence[tuple[str, str]]
Find = Callable[[], Evidence]


class RegoPolicy(Judge):
    """A policy in a file of Rego, with the files beside it that it imports. Raises UsageError."""

    asks = True

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self.modules = read_modules(path)
        self.functions = Functions(self.modules, path.parent)
        self._asked = Asked(without_comments(text) for _, text in self.modules)

    def judge(self, subject: Subject, evidence: Find) -> Sequence[Denial]:
        """Return a denial, unless the decision allows; what is made is no source, and not judged."""
        if subject.kind == RESULT or (subject.kind == IMAGE and subject.contents is None):
            return ()
        document, answers = self._ask(subject, evidence)
        if subject.kind == IMAGE and self.functions.calls(PIN_IMAGE):
            pinned = self._pinned(subject, document)
            if pinned:
                reason = f"{subject.name} is pinned to {pinned}"
                remedy = f"use {subject.reference.name if subject.reference else subject.name}@{pinned}"
                return (Denial(policy=self.name, rule=PIN_IMAGE, reason=reason, remedy=remedy, span=subject.span),)
        decision = self.decide(document, answers)
        if decision.get("allow") is True:
            return ()
        messages = decision.get("deny_msg") or []
        reason = "; ".join(str(text) for text in messages) or f"{subject.name} is not allowed"
        return (
            Denial(
                policy=self.name,
                rule="decision",
                reason=reason.replace(_with_query(subject), subject.name),
                remedy="use a source that it allows; tiffin policy eval --print shows what it was asked",
                span=subject.span,
            ),
        )

    def pin(self, subject: Subject, evidence: Find) -> str:
        """Return the digest that pin_image gives an image which is allowed so. Raises UsageError for two."""
        if subject.kind != IMAGE or subject.contents is None or not self.functions.calls(PIN_IMAGE):
            return ""
        return self._pinned(subject, self._ask(subject, evidence)[0])

    def decide(self, document: dict[str, Any], answers: Answers) -> dict[str, Any]:
        """Return the decision about a document. Raises UsageError."""
        found = self._evaluate(document, answers)
        if found is None:
            raise self._not_evaluated()
        if not found or not isinstance(found[0], dict):
            raise UsageError(
                f"{self.name} gives no decision", remedy='write package docker, and decision := {"allow": allow}'
            )
        decision: dict[str, Any] = found[0]
        return decision

    def _ask(self, subject: Subject, evidence: Find) -> tuple[dict[str, Any], Answers]:
        """Return the document about a source with what rules ask of it, and what functions answer."""
        origin = subject.origin
        repository = None
        if subject.kind == GIT and self._asks_repository(subject):
            assert isinstance(origin, GitOrigin)
            repository = evidence().repository(origin)
        document = document_of(subject, repository)
        if subject.kind == IMAGE:
            document[IMAGE] |= self._attached(subject, evidence)
        if repository is not None and self.functions.calls(VERIFY_GIT):
            return document, self._signed(repository)
        if subject.kind == URL and isinstance(origin, UrlOrigin):
            return document, self._fetched(origin, evidence)
        return document, Answers()

    def _asks_repository(self, subject: Subject) -> bool:
        return self.functions.calls(VERIFY_GIT) or self._asked.asks_repository(subject.ref, subject.checksum)

    def _attached(self, subject: Subject, evidence: Find) -> dict[str, Any]:
        """Return what is attached to an image, as far as a rule asks."""
        by_builder = (HAS_PROVENANCE, SIGNATURES) if self._asked.names("docker_github_builder(?:_tag)?") else ()
        members = {*by_builder, *(name for name in MEMBERS if self._asked.asks_image(name))}
        return attached_to(subject, evidence(), members, self._asked) if members else {}

    def _signed(self, repository: Repository) -> Answers:
        """Return which files have a key that signed a commit, or its tag."""
        keys = self.functions.files(has_keys)
        self.functions.need(VERIFY_GIT, keys, "key")
        commit = read_commit(repository.commit)
        tag = read_tag(repository.tag) if repository.tag else None
        return Answers(
            commit=[name for name, data in keys.items() if is_signed_by(commit, data)],
            tag=[name for name, data in keys.items() if tag is not None and is_signed_by(tag, data)],
        )

    def _fetched(self, origin: UrlOrigin, evidence: Find) -> Answers:
        """Return what is said of a file that is fetched, where functions ask."""
        http: list[tuple[str, str]] = []
        artifacts: dict[str, dict[str, object]] = {}
        if self.functions.calls(VERIFY_HTTP):
            keys = self.functions.files(has_keys)
            self.functions.need(VERIFY_HTTP, keys, "key")
            signatures = self.functions.files(lambda data: PGP in data)
            path = evidence().file(origin) if keys and signatures else Path()
            http = [
                (name, key)
                for name, data in signatures.items()
                for key, held in keys.items()
                if is_file_signed_by(path, data, held)
            ]
        bundles = self.functions.files(lambda data: b"verificationMaterial" in data)
        if bundles and (self.functions.calls(ARTIFACT) or self.functions.calls("docker_github_builder_bundle")):
            digest = origin.checksum
            if not digest:
                with evidence().file(origin).open("rb") as stream:
                    digest = f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"
            for name, data in bundles.items():
                made = evidence().artifact_signature(data, digest)
                if made is not None:
                    artifacts[name] = signature_document(made)
        return Answers(http=http, artifacts=artifacts)

    def _pinned(self, subject: Subject, document: dict[str, Any]) -> str:
        """Return what an image is pinned to, "" for nothing."""
        candidates = self.functions.digests(document)
        if self.decide(document, Answers(pins=candidates)).get("allow") is not True:
            return ""
        rules, are_all = twins_of(self.modules)
        if are_all:
            module = corrected("package docker\n\n" + "\n\n".join(rules) + "\n")
            modules = [*self.functions.modules, (PINNED, module)]
            found = self._evaluate(document, Answers(pins=candidates), modules, f"data.docker.{PINNED}")
            if found is None:
                raise self._not_evaluated()
            pins = [str(digest) for digest in (found[0] if found else ())]
        elif self.decide(document, Answers()).get("allow") is True:
            pins = []
        else:
            pins = [d for d in candidates if self.decide(document, Answers(pins=(d,))).get("allow") is True]
        others = [digest for digest in pins if digest != document[IMAGE].get("checksum")]
        if len(others) > 1:
            raise UsageError(
                f"{self.name} pins {subject.name} to {' and to '.join(others)}", remedy="let one rule pin an image"
            )
        return others[0] if others else ""

    def _evaluate(
        self, document: dict[str, Any], answers: Answers, modules: Modules = (), query: str = QUERY
    ) -> list[Any] | None:
        interpreter = self.interpreter(modules or self.functions.modules, answers)
        interpreter.set_input(document)
        return values_of(interpreter, query)

    def _not_evaluated(self) -> UsageError:
        return UsageError(f"{self.name} cannot be evaluated by regopy", remedy="write its rules in simpler terms")

    def interpreter(
        self,
        modules: Modules,
        answers: Answers,
        data: Mapping[str, Any] | None = None,
        functions: Functions | None = None,
    ) -> Any:
        """Return regopy with modules, and more data than functions answer. Raises UsageError for what is not Rego."""
        try:
            from regopy import Interpreter, RegoError
        except ImportError as exc:
            raise UsageError(
                f"the policy {self.name} needs regopy", remedy='run pip install "tiffin[rego]", or write it in TOML'
            ) from exc
        interpreter = Interpreter()
        interpreter.add_data({**(functions or self.functions).data(answers), **(data or {})})
        for name, text in modules:
            try:
                interpreter.add_module(name, text)
            except RegoError as exc:
                raise UsageError(f"{name} is not valid Rego: {exc}", remedy="correct it") from exc
        return interpreter


def values_of(interpreter: Any, query: str) -> list[Any] | None:
    """Return the values of a query, none where it is undefined; None for an error, whose text ends this process."""
    from regopy import RegoError

    try:
        with _stdout_as_stderr():
            output = interpreter.query(query)
    except (RegoError, ValueError):  # the second for a function that there is not
        return None
    if not output.ok():
        return None
    text = str(output)
    found: list[Any] = json.loads(text).get("expressions", []) if text.startswith("{") else []
    return found


@contextlib.contextmanager
def _stdout_as_stderr() -> Iterator[None]:
    """Have what print writes, in a library, where progress goes: the output of a command is for others to read."""
    sys.stdout.flush()
    kept = os.dup(STDOUT)
    try:
        os.dup2(STDERR, STDOUT)
        yield
    finally:
        os.dup2(kept, STDOUT)
        os.close(kept)


def read_modules(path: Path) -> list[tuple[str, str]]:
    """Return a file, and what it imports from beside it, whose packages are what they are imported as. Raises
    UsageError.
    """
    pending = [(path, "")]
    found: dict[Path, str] = {}
    while pending:
        file, package = pending.pop(0)
        if file in found:
            continue
        try:
            text = file.read_text()
        except (OSError, ValueError) as exc:
            raise UsageError(f"cannot read the policy {file}: {exc}", remedy="name a file of Rego") from exc
        found[file] = re.sub(_PACKAGE, f"package {package}", text, count=1) if package else text
        for name in re.findall(r"^import\s+data\.([\w.]+)", text, re.MULTILINE):
            pending.append((path.parent / f"{name.replace('.', '/')}.rego", name))
    return [(str(file), text) for file, text in found.items()]


def _with_query(subject: Subject) -> str:
    """Return how a rule sees a URL whose query is not shown, as it may be a signature."""
    if subject.kind != URL or subject.origin is None:
        return subject.name
    parts = urlsplit(subject.origin.url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
