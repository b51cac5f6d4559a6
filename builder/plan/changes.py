"""Instructions that change the configuration of an image alone: --change of commit and import."""

from __future__ import annotations

from collections.abc import Sequence

from tiffin.builder.dockerfile.parser import parse
from tiffin.builder.errors import DockerfileError, UsageError
from tiffin.builder.instructions.base import DEFAULT_PATH
from tiffin.builder.oci.config import ImageConfig, RunConfig
from tiffin.builder.oci.spec import OCI_CONFIG, Descriptor, Manifest, Platform
from tiffin.builder.plan.plan_options import BaseImage, PlanOptions
from tiffin.builder.plan.planner import make_plan
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.frozen import replace

KEYWORDS = (
    "CMD", "ENTRYPOINT", "ENV", "EXPOSE", "HEALTHCHECK", "LABEL", "ONBUILD", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR",
)  # fmt: skip
_BASE = "base"


def changed_config(config: RunConfig, changes: Sequence[str], platform: Platform) -> RunConfig:
    """Return `config` as instructions of a Dockerfile change it. Raises UsageError."""
    if not changes:
        return config
    for change in changes:
        words = change.split(maxsplit=1)
        keyword = words[0] if words else ""
        if keyword.upper() not in KEYWORDS:
            raise UsageError(
                f"{keyword.lower() or 'nothing'} is not a valid change command", remedy=f"use {', '.join(KEYWORDS)}"
            )
    # a base hands its triggers to a build; here they stay
    image = ImageConfig(platform=platform, config=replace(config, on_build=()))
    data = image.encode()
    descriptor = Descriptor(media_type=OCI_CONFIG, digest=Digest.of(data), size_bytes=len(data))
    manifest = Manifest(config=descriptor, layers=())
    base = BaseImage(name=_BASE, manifest=manifest, config=image, manifest_digest=Digest.of(manifest.encode()))
    text = "\n".join((f"FROM {_BASE}", *changes, ""))
    try:
        plan = make_plan(parse(text.encode(), "--change"), PlanOptions(platform=platform), lambda *_: base)
    except DockerfileError as exc:
        raise UsageError(f"--change: {exc.message}", remedy=exc.remedy) from exc
    made = plan.stages[plan.target].config
    env = made.env
    if not any(item.startswith("PATH=") for item in config.env) and not any(" PATH" in change for change in changes):
        env = tuple(item for item in env if item != f"PATH={DEFAULT_PATH}")  # which a build adds
    return replace(made, env=env, on_build=(*config.on_build, *made.on_build))
