"""What policies in Rego are asked: buildx's documents, with its names; empty members are left out, as there."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs, urlsplit, urlunsplit

from tiffin.builder.policy.facts import GIT, IMAGE, LOCAL, URL, Contents, Repository, Subject, VerifiedSignature
from tiffin.builder.policy.rego.git_objects import commit_fields, read_commit, read_tag, tag_fields
from tiffin.builder.policy.rego.key_files import signature_fields

HTTP = "http"
_LIBRARY = "library/"
_COMMIT = r"[0-9a-f]{40}|[0-9a-f]{64}"
_GITHUB = "https://github.com/"
_BUILDERS = (f"{_GITHUB}docker/github-builder/.github/", f"{_GITHUB}docker/github-builder-experimental/.github/")
_SIGSTORE = "CN=sigstore-intermediate,O=sigstore.dev"
_GITHUB_ISSUER = "https://token.actions.githubusercontent.com"


def document_of(subject: Subject, repository: Repository | None = None, depth: int = 0) -> dict[str, Any]:
    """Return what buildx calls the input; `repository` is what a git source was found to be. Raises BuildError."""
    environment = subject.environment
    env = {
        "args": dict(environment.args),
        "labels": dict(environment.labels),
        "filename": environment.filename,
        "target": environment.target,
    }
    if subject.kind == GIT:
        inner = _filled(_git(subject, repository))
        inner.setdefault("subDir", "")  # as the documentation of buildx has it
    else:
        inner = _filled({IMAGE: _image, URL: _http, LOCAL: _local}[subject.kind](subject))
    return {"env": {**_filled(env), "depth": depth}, name_of(subject.kind): inner}


def name_of(kind: str) -> str:
    """Return the member of the input that a source of this kind is."""
    return HTTP if kind == URL else kind


def is_whole(ref: str) -> bool:
    """Whether a reference says by itself whether it is a branch, a tag or a commit."""
    return ref.startswith(("refs/tags/", "refs/heads/")) or re.fullmatch(_COMMIT, ref) is not None


def signature_document(made: VerifiedSignature) -> dict[str, Any]:
    """Return a signature as buildx has it."""
    document = {
        "kind": _kind_of(made),
        "type": "bundle-v0.3" if made.is_bundle else "simplesigning-v1",
        "timestamps": [dict(moment) for moment in made.timestamps],
        "dockerReference": made.docker_reference,
        "signer": {
            "certificateIssuer": made.signer.get("certificateIssuer", ""),
            "subjectAlternativeName": made.signer.get("subjectAlternativeName", ""),
            **_filled(made.signer),
        },
    }
    return _filled(document)


def _kind_of(made: VerifiedSignature) -> str:
    """Return whose signature it is, by the identity in the certificate."""
    signer = made.signer
    by = {name: signer.get(name, "") for name in ("buildSignerURI", "subjectAlternativeName", "sourceRepositoryURI")}
    if signer.get("certificateIssuer") != _SIGSTORE:
        return "untrusted"
    is_github = (
        signer.get("issuer") == _GITHUB_ISSUER
        and by["sourceRepositoryURI"].startswith(_GITHUB)
        and signer.get("runnerEnvironment") == "github-hosted"
    )
    named = (by["buildSignerURI"], by["subjectAlternativeName"])
    if is_github and made.timestamps and made.is_bundle and all(name.startswith(_BUILDERS) for name in named):
        return "docker-github-builder"
    own = f"{by['sourceRepositoryURI']}/.github/workflows/"
    return "self-signed-github-repo" if is_github and all(name.startswith(own) for name in named) else "self-signed"


def _filled(fields: Mapping[str, Any]) -> dict[str, Any]:
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
        "tag": reference.tag,
        "platform": str(platform or ""),
        "os": platform.os if platform else "",
        "arch": platform.architecture if platform else "",
        "variant": platform.variant if platform else "",
        "isCanonical": bool(reference.digest),
        "checksum": subject.checksum,
    }
    return document if subject.contents is None else document | _contents(subject.checksum, subject.contents)


def _contents(checksum: str, contents: Contents) -> dict[str, Any]:
    config = contents.config
    return {
        "checksum": checksum or contents.named or contents.digest,
        "createdTime": config.created,
        "env": list(config.config.env),
        "labels": dict(config.config.labels),
        "user": config.config.user,
        "volumes": list(config.config.volumes),
        "workingDir": config.config.working_dir,
    }


def _git(subject: Subject, repository: Repository | None) -> dict[str, Any]:
    parts = urlsplit(subject.name)
    ref = subject.ref if repository is None else repository.ref
    document = {
        "schema": parts.scheme or "ssh",
        "host": parts.netloc.rpartition("@")[2] or subject.name.partition("@")[2].partition(":")[0],
        "remote": subject.name,
        "fullURL": subject.name,
        "tagName": ref.removeprefix("refs/tags/") if ref.startswith("refs/tags/") else "",
        "branch": ref.removeprefix("refs/heads/") if ref.startswith("refs/heads/") else "",
        "ref": ref,
        "subDir": "" if posixpath.normpath(subject.subdir) in ("/", ".") else subject.subdir,
        "isCommitRef": re.fullmatch(_COMMIT, subject.ref) is not None,
        "isSHA256": len(subject.checksum) == 64,
        "checksum": subject.checksum,
        "commitChecksum": subject.checksum,
    }
    if repository is None:
        return document
    commit = read_commit(repository.commit)
    document |= {
        "isSHA256": len(repository.checksum) == 64,
        "checksum": repository.checksum,
        "commitChecksum": repository.commit_checksum,
        "isAnnotatedTag": bool(repository.tag),
        "commit": _filled(commit_fields(commit, signature_fields(commit))),
    }
    if repository.tag:
        tag = read_tag(repository.tag)
        document["tag"] = _filled(tag_fields(tag, signature_fields(tag)))
    return document


def _http(subject: Subject) -> dict[str, Any]:
    parts = urlsplit(subject.origin.url if subject.origin is not None else subject.name)
    parts = parts._replace(netloc=parts.netloc.rpartition("@")[2])
    return {
        "url": urlunsplit(parts),
        "schema": parts.scheme,
        "host": parts.netloc.lower(),
        "path": parts.path,
        "query": parse_qs(parts.query, keep_blank_values=True),
        "hasAuth": subject.has_credentials,
        "checksum": subject.checksum,
    }


def _local(subject: Subject) -> dict[str, Any]:
    return {"name": subject.name}


def provenance_document(predicate_type: str, predicate: Mapping[str, Any]) -> dict[str, Any]:
    """Return a provenance (SLSA 1 or 0.2) as buildx has it, without its materials."""
    fields, request = (_slsa_1 if "buildDefinition" in predicate else _slsa_02)(predicate)
    args, prefix = _map(request, "args"), "build-arg:"
    fields |= {
        "predicateType": predicate_type,
        "frontend": request.get("frontend"),
        "buildArgs": {name.removeprefix(prefix): args[name] for name in args if name.startswith(prefix)},
        "rawArgs": dict(args),
    }
    for name in ("configSource", "completeness"):
        fields[name] = {key: value for key, value in fields[name].items() if value not in ("", None)}
    return {name: value for name, value in fields.items() if value not in ("", None, {}, [])}


def _slsa_1(predicate: Mapping[str, Any]) -> tuple[dict[str, Any], Mapping[str, Any]]:
    """Return what is said in version 1, and the request to the frontend."""
    definition, details = _map(predicate, "buildDefinition"), _map(predicate, "runDetails")
    outer, metadata = _map(definition, "externalParameters"), _map(details, "metadata")
    source, complete = _map(outer, "configSource"), _map(metadata, "buildkit_completeness")
    fields = {
        "buildType": definition.get("buildType"),
        "builderID": _map(details, "builder").get("id"),
        "invocationID": metadata.get("invocationID") or metadata.get("invocationId"),
        "startedOn": metadata.get("startedOn"),
        "finishedOn": metadata.get("finishedOn"),
        "reproducible": metadata.get("buildkit_reproducible"),
        "hermetic": metadata.get("buildkit_hermetic"),
        "completeness": {"parameters": complete.get("request"), "materials": complete.get("resolvedDependencies")},
        "configSource": {name: source.get(name) for name in ("uri", "digest", "path")},
    }
    return fields, _map(outer, "request")


def _slsa_02(predicate: Mapping[str, Any]) -> tuple[dict[str, Any], Mapping[str, Any]]:
    """Return what is said in version 0.2, and the request to the frontend."""
    invocation, metadata = _map(predicate, "invocation"), _map(predicate, "metadata")
    source, complete = _map(invocation, "configSource"), _map(metadata, "completeness")
    fields = {
        "buildType": predicate.get("buildType"),
        "builderID": _map(predicate, "builder").get("id"),
        "invocationID": metadata.get("buildInvocationID") or metadata.get("buildInvocationId"),
        "startedOn": metadata.get("buildStartedOn"),
        "finishedOn": metadata.get("buildFinishedOn"),
        "reproducible": metadata.get("reproducible"),
        "hermetic": metadata.get("https://mobyproject.org/buildkit@v1#hermetic"),
        "completeness": {name: complete.get(name) for name in ("parameters", "environment", "materials")},
        "configSource": {
            "uri": source.get("uri"),
            "digest": source.get("digest"),
            "path": source.get("entryPoint"),
        },
    }
    return fields, _map(invocation, "parameters")


def materials_in(predicate: Mapping[str, Any]) -> Sequence[tuple[str, Mapping[str, str]]]:
    """Return the URIs of what an image was made from, each with its digests."""
    rows = _map(predicate, "buildDefinition").get("resolvedDependencies", predicate.get("materials"))
    found = []
    for row in rows if isinstance(rows, list) else ():
        if isinstance(row, dict) and isinstance(row.get("uri"), str):
            found.append((row["uri"], {str(name): str(value) for name, value in _map(row, "digest").items()}))
    return found


def _map(fields: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = fields.get(name)
    return value if isinstance(value, dict) else {}
