"""Provenance of an image: a predicate of SLSA (v1), with the names that BuildKit gives to what SLSA leaves open.

It names what was built, from what, by whom and when; with mode=max also with which arguments, labels and secrets' ids,
how each step's result came to be, and the text of the Dockerfile. Values of secrets, and credentials in URLs, are in
neither.
"""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Mapping, Sequence

from tiffin.builder.image.attached.attestation import PROVENANCE, Attestation, package_url
from tiffin.builder.oci.spec import Platform
from tiffin.builder.plain_text import rfc3339
from tiffin.builder.solver.build import Built
from tiffin.builder.solver.materials import IMAGE, Material
from tiffin.builder.solver.trace import RAN, Trace, TracedStep
from tiffin.builder.version import VERSION
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.frozen import dataclass, field

BUILD_TYPE = "urn:tiffin:build:v1"
MODES = ("min", "max")
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)([^\s/@\"'<>]*@)?([^\s?#\"'<>]*)(\?[^\s#\"'<>]*)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvenanceProducer:
    """Says how images of one command were built; `mode` is one of MODES, `started` in Unix seconds."""

    mode: str
    started: float
    builder_id: str = ""
    context: str = ""  # the URL of a context that is not local
    dockerfile: str = "Dockerfile"
    source: bytes = b""  # the text of the Dockerfile
    target: str = ""
    build_args: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    contexts: Mapping[str, str] = field(default_factory=dict)  # the named ones, without credentials
    secrets: tuple[str, ...] = ()  # ids
    ssh: tuple[str, ...] = ()  # ids
    options: Mapping[str, object] = field(default_factory=dict)  # what else decides the result
    egress: tuple[str, ...] | None = None  # where the steps that ran connected, where that was watched

    def attestations(self, platform: Platform, built: Built) -> Sequence[Attestation]:
        """Return the provenance of one image."""
        return (Attestation(predicate_type=PROVENANCE, predicate=self._predicate(platform, built)),)

    def _predicate(self, platform: Platform, built: Built) -> dict[str, object]:
        assert built.trace is not None
        trace, is_full = built.trace, self.mode == "max"
        source: dict[str, object] = {"path": self.dockerfile}
        if self.context:
            source["uri"] = self.context
        inner: dict[str, object] = {"builderPlatform": str(Platform.local()), "platform": str(platform)}
        if trace.isolation:
            inner["isolation"] = trace.isolation
        if self.egress is not None:
            inner["egress"] = list(self.egress)
        if is_full:
            inner["buildConfig"] = {"steps": [_step(step) for step in trace.steps]}
        metadata: dict[str, object] = {
            "startedOn": rfc3339(self.started),
            "finishedOn": rfc3339(time.time()),
            "buildkit_reproducible": trace.is_reproducible,
            "buildkit_completeness": {"request": is_full, "resolvedDependencies": not self._is_local()},
        }
        if is_full:
            metadata["buildkit_metadata"] = {"source": {"infos": [self._source()]}, "layers": _layers(trace, built)}
        return {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {"configSource": source, "request": self._request(is_full=is_full)},
                "internalParameters": inner,
                "resolvedDependencies": [_dependency(material) for material in trace.materials],
            },
            "runDetails": {
                "builder": {"id": self.builder_id, "version": {"tiffin": VERSION}},
                "metadata": metadata,
            },
        }

    def _request(self, *, is_full: bool) -> dict[str, object]:
        """Return what was asked for, as BuildKit sorts it."""
        asked: dict[str, object] = {"frontend": "dockerfile.v0"}
        if self.target:
            asked["target"] = self.target
        locals_ = [] if self.context else [{"name": "context"}]
        locals_ += [{"name": name} for name, place in sorted(self.contexts.items()) if "://" not in place]
        if locals_:
            asked["locals"] = locals_
        if is_full:
            asked |= {"args": _plain(self.build_args), "labels": _plain(self.labels)}
            asked |= {"secrets": [{"id": name} for name in self.secrets], "ssh": [{"id": name} for name in self.ssh]}
            asked["contexts"] = {name: place for name, place in sorted(self.contexts.items()) if "://" in place}
            asked["options"] = dict(self.options)
        return asked

    def _source(self) -> dict[str, object]:
        text = base64.b64encode(without_credentials(self.source.decode(errors="replace")).encode()).decode()
        return {"filename": self.dockerfile, "language": "Dockerfile", "data": text}

    def _is_local(self) -> bool:
        """Whether the build read directories, which no digest names."""
        return not self.context or any("://" not in place for place in self.contexts.values())


def without_credentials(text: str) -> str:
    """Return a text whose URLs have neither users, passwords nor queries, which may be signatures."""
    return _URL.sub(r"\1\3", text) if "://" in text else text


def _plain(pairs: Mapping[str, str]) -> dict[str, str]:
    return {name: without_credentials(text) for name, text in sorted(pairs.items())}


def _step(step: TracedStep) -> dict[str, object]:
    return {
        "id": str(step.key),
        "stage": step.stage or str(step.stage_index),
        "line": step.span.first_line,
        "text": without_credentials(step.text),
        "result": "ran" if step.source == RAN else f"cached in {step.source}",
        "layer": str(step.diff_id),
    }


def _layers(trace: Trace, built: Built) -> dict[str, object]:
    """Return the packed layers of the image by the key of the step that they are the result of."""
    packed: dict[Digest, str] = {
        layer.diff_id: str(ref.digest) for layer, ref in zip(built.chain, built.layer_refs, strict=False)
    }
    return {str(step.key): packed[step.diff_id] for step in trace.steps if step.in_target and step.diff_id in packed}


def _dependency(material: Material) -> dict[str, object]:
    name = package_url(material.name, material.platform) if material.kind == IMAGE else material.name
    found: dict[str, object] = {"uri": name, "digest": {material.algorithm: material.digest}}
    return {**found, "name": material.asked} if material.asked else found
