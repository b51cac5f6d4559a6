"""Policies in Rego, as buildx has them in Dockerfile.rego: its documents, its decision, through regopy."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tiffin.builder.errors import UsageError
from tiffin.builder.policy.facts import GIT, IMAGE, LOCAL, RESULT, URL, Denial, Evidence, Judge, Subject
from tiffin.builder.policy.rego_functions import check_functions, with_functions

QUERY = "data.docker.decision"
# members of buildx's documents that nothing here answers: a rule that uses one would decide without it
MISSING_MEMBERS = {IMAGE: ("signatures", "provenance"), GIT: ("commit", "isAnnotatedTag", "tag")}
# of a repository, which is judged before it is asked: what a short name stands for, and at which commit it is
REF_MEMBERS, COMMIT_MEMBERS = ("tagName", "branch", "ref"), ("checksum", "commitChecksum", "isSHA256")
_BEFORE = r"(?P<before>[\w.\[\]\"]*)"  # a member is reached by its whole name, or through another one
PROVENANCE = "hasProvenance"
_TEST = r"^(test_\w+) if\s+(\{\n(?:.*\n)*?\}|.+)$"  # its name, and its body: a block, or a line
_WITH_INPUT = r"(?P<negated>not )?\s*(?P<asked>\w[\w.]*)\s+with input as\s+(?P<document>\{.*\})"
_LIBRARY = "library/"
_COMMIT = r"[0-9a-f]{40}|[0-9a-f]{64}"


class RegoPolicy(Judge):
    """A policy in a file of Rego, with the files beside it that it imports. Raises UsageError."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._modules = _modules(path)

    def judge(self, subject: Subject, evidence: Callable[[], Evidence]) -> Sequence[Denial]:
        """Return a denial, unless the decision allows; what is made is no source, and not judged."""
        if subject.kind == RESULT or (subject.kind == IMAGE and subject.contents is None):
            return ()
        self._check(subject)
        document = document_of(subject)
        reference, contents = subject.reference, subject.contents
        is_asked = any(PROVENANCE in text for _, text in self._modules)  # else nobody need be asked
        if is_asked and subject.kind == IMAGE and reference is not None and contents is not None:
            is_there = evidence().has_provenance(reference, contents.digest)
            document[IMAGE] |= {PROVENANCE: True} if is_there else {}
        decision = self.decide(document)
        if decision.get("allow") is True:
            return ()
        messages = decision.get("deny_msg") or []
        reason = "; ".join(str(text) for text in messages) or f"{subject.name} is not allowed"
        return (
            Denial(
                policy=self.name,
                rule="decision",
                reason=reason,
                remedy="use a source that it allows; tiffin policy eval --print shows what it was asked",
                span=subject.span,
            ),
        )

    def _check(self, subject: Subject) -> None:
        """Raise UsageError for what a rule about such a source asks and nothing here answers."""
        check_functions(self._modules)
        names = [*MISSING_MEMBERS.get(subject.kind, ())]
        if subject.kind == GIT and not _is_whole(subject.ref):
            names += REF_MEMBERS
        if subject.kind == GIT and not subject.checksum:
            names += COMMIT_MEMBERS
        for name, text in self._modules:
            for word in (word for word in names if _uses(text, subject.kind, word)):
                raise UsageError(
                    f"{name} uses input.{subject.kind}.{word}, which tiffin does not answer of {subject.name}",
                    remedy="write #refs/heads/… or #refs/tags/…, and a commit as checksum"
                    if word in (*REF_MEMBERS, *COMMIT_MEMBERS)
                    else "take it out, or write that rule in TOML",
                )

    def decide(self, document: dict[str, Any]) -> dict[str, Any]:
        """Return the decision about a document. Raises UsageError."""
        interpreter = self._interpreter(self._modules)
        interpreter.set_input(document)
        found = _expressions(interpreter.query(QUERY), self.name)
        if not found or not isinstance(found[0], dict):
            raise UsageError(
                f"{self.name} gives no decision", remedy='write package docker, and decision := {"allow": allow}'
            )
        decision: dict[str, Any] = found[0]
        return decision

    def run_tests(self, only: str = "") -> list[tuple[str, bool]]:
        """Return the tests of the file and of FILE_test.rego beside it (rules called test_…), and which pass."""
        path = Path(self.name)
        beside = path.with_name(f"{path.stem}_test.rego")
        modules = [*self._modules, *(_modules(beside) if beside.exists() else ())]
        found: dict[str, bool] = {}
        for _, text in modules:
            package = re.search(r"^package\s+(\S+)", text, re.MULTILINE)
            for name, body in re.findall(_TEST, text, re.MULTILINE):
                if only in name and package is not None:
                    found[name] = self._passes(modules, f"data.{package[1]}", name, body)
        return list(found.items())

    def _passes(self, modules: Sequence[tuple[str, str]], package: str, name: str, body: str) -> bool:
        """Run one test.

        regopy 1.5 cannot evaluate `decision` before `with input as`, so such statements are evaluated one by one.
        """
        matches = [re.fullmatch(_WITH_INPUT, line) for line in _statements(body)]
        if not matches or not all(matches):
            return _expressions(self._interpreter(modules).query(f"{package}.{name}"), self.name) == [True]
        for match in matches:
            assert match is not None
            interpreter = self._interpreter(self._modules)
            interpreter.set_input(json.loads(match["document"]))
            values = _expressions(interpreter.query(f"{package}.{match['asked']}"), self.name)
            if (bool(values) and values != [False]) == bool(match["negated"]):
                return False
        return True

    def _interpreter(self, modules: Sequence[tuple[str, str]]) -> Any:
        try:
            from regopy import Interpreter, RegoError
        except ImportError as exc:
            raise UsageError(
                f"the policy {self.name} needs regopy", remedy='run pip install "tiffin[rego]", or write it in TOML'
            ) from exc
        interpreter = Interpreter()
        modules, data = with_functions(modules, Path(self.name).parent)
        if data:
            interpreter.add_data(data)
        for name, text in modules:
            try:
                interpreter.add_module(name, text)
            except RegoError as exc:
                raise UsageError(f"{name} is not valid Rego: {exc}", remedy="correct it") from exc
        return interpreter


def _is_whole(ref: str) -> bool:
    return ref.startswith(("refs/tags/", "refs/heads/")) or re.fullmatch(_COMMIT, ref) is not None


def _uses(text: str, kind: str, name: str) -> bool:
    """Whether a rule asks for a member of such a source: by its whole name, or of a variable, which may be one.

    The tag of an image is a text, and what a repository calls so has members.
    """
    after = r"(?=[.\[])" if name == "tag" else r"(?!\w)"
    for found in re.finditer(rf'{_BEFORE}(?:\.{name}|\["{name}"\]){after}', text):
        path = re.sub(r'\["(\w+)"\]', r".\1", found["before"])
        if path == f"input.{kind}" or not re.match(r"(?:input|data|decision)\b", path):
            return True
    return False


def _statements(body: str) -> list[str]:
    """Return the statements of a test: lines that begin one, each with those that go on."""
    inner = body.strip()
    if inner.startswith("{") and inner.endswith("}"):
        inner = inner[1:-1]
    found: list[str] = []
    for line in (line.strip() for line in inner.splitlines()):
        if found and found[-1].count("{") > found[-1].count("}"):
            found[-1] += line
        elif line and not line.startswith("#"):
            found.append(line)
    return found


def _expressions(output: Any, name: str) -> list[Any]:
    """Return the values of an answer, none where it is undefined. Raises UsageError."""
    if not output.ok():  # its text would end this process
        raise UsageError(f"{name} cannot be evaluated by regopy", remedy="write its rules in simpler terms")
    text = str(output)
    found: list[Any] = json.loads(text).get("expressions", []) if text.startswith("{") else []
    return found


def document_of(subject: Subject) -> dict[str, Any]:
    """Return what buildx calls the input; members that are empty are left out, as there."""
    environment = subject.environment
    env = {
        "args": dict(environment.args),
        "labels": dict(environment.labels),
        "filename": environment.filename,
        "target": environment.target,
    }
    inner = {IMAGE: _image, GIT: _git, URL: _http, LOCAL: _local}[subject.kind](subject)
    name = "http" if subject.kind == URL else subject.kind
    return {"env": {**_filled(env), "depth": 0}, name: _filled(inner)}


def _filled(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value not in ("", False, None, {}, [])}


def _image(subject: Subject) -> dict[str, Any]:
    reference, platform = subject.reference, subject.platform
    assert reference is not None
    host = reference.registry
    repository = reference.repository.removeprefix(_LIBRARY) if host == "docker.io" else reference.repository
    document: dict[str, Any] = {
        "ref": str(reference),
        "host": host,
        "repo": repository,
        "fullRepo": reference.name,
        "tag": "" if reference.digest else reference.tag,
        "platform": str(platform or ""),
        "os": platform.os if platform else "",
        "arch": platform.architecture if platform else "",
        "variant": platform.variant if platform else "",
        "isCanonical": bool(reference.digest),
        "checksum": subject.checksum,
    }
    if subject.contents is not None:
        config = subject.contents.config
        document |= {
            "checksum": subject.checksum or subject.contents.digest,
            "createdTime": config.created,
            "env": list(config.config.env),
            "labels": dict(config.config.labels),
            "user": config.config.user,
            "volumes": list(config.config.volumes),
            "workingDir": config.config.working_dir,
        }
    return document


def _git(subject: Subject) -> dict[str, Any]:
    parts = urlsplit(subject.name)
    ref = subject.ref
    is_commit = re.fullmatch(_COMMIT, ref) is not None
    tag = ref.removeprefix("refs/tags/") if ref.startswith("refs/tags/") else ""
    branch = ref.removeprefix("refs/heads/") if ref.startswith("refs/heads/") else ""
    return {
        "schema": parts.scheme or "ssh",
        "host": parts.netloc.rpartition("@")[2] or subject.name.partition("@")[2].partition(":")[0],
        "remote": subject.name,
        "fullURL": subject.name,
        "tagName": tag,
        "branch": branch,
        "ref": ref,
        "subDir": "" if posixpath.normpath(subject.subdir) in ("/", ".") else subject.subdir,
        "isCommitRef": is_commit,
        "isSHA256": len(subject.checksum) == 64,
        "checksum": subject.checksum,
        "commitChecksum": subject.checksum,
    }


def _http(subject: Subject) -> dict[str, Any]:
    parts = urlsplit(subject.name)
    return {
        "url": subject.name,
        "schema": parts.scheme,
        "host": parts.netloc.lower(),
        "path": parts.path,
        "query": parse_qs(parts.query),
        "hasAuth": subject.has_credentials,
        "checksum": subject.checksum,
    }


def _local(subject: Subject) -> dict[str, Any]:
    return {"name": subject.name}


def _modules(path: Path) -> list[tuple[str, str]]:
    """Return a file, and what it imports from beside it."""
    pending = [path]
    found: dict[Path, str] = {}
    while pending:
        file = pending.pop(0)
        if file in found:
            continue
        try:
            found[file] = text = file.read_text()
        except (OSError, ValueError) as exc:
            raise UsageError(f"cannot read the policy {file}: {exc}", remedy="name a file of Rego") from exc
        for name in re.findall(r"^import\s+data\.([\w.]+)", text, re.MULTILINE):
            pending.append(path.parent / f"{name.replace('.', '/')}.rego")
    return [(str(file), text) for file, text in found.items()]
