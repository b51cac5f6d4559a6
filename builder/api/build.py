"""Build an image: from options to a request, and from what was built to its outputs."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING

from tiffin.builder.api.build_options import BuildOptions
from tiffin.builder.api.inputs.build_request import (
    build_arguments,
    check_options,
    request_of,
    signer_for,
    source_access,
)
from tiffin.builder.api.session import BUILDING, Session
from tiffin.builder.delivery.outputs import BuildResult, Outputs
from tiffin.builder.errors import MissingBlobError, RegistryError, TiffinError, UsageError
from tiffin.builder.events import BuildFinished, InfoMessage, Sink, WarningMessage, phase
from tiffin.builder.oci.spec import Platform
from tiffin.builder.options import is_on
from tiffin.builder.plain_text import rfc3339, size_text
from tiffin.builder.settings.config_file import config_path
from tiffin.cache.backend import AvailableOnly, Tiered
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.frozen import dataclass, replace

if TYPE_CHECKING:
    from tiffin.builder.api.inputs.base_images import BaseImageResolver
    from tiffin.builder.api.inputs.context import BuildContext, NamedContexts
    from tiffin.builder.execute.ssh_agents import Agents
    from tiffin.builder.image.layers import LayerStore
    from tiffin.builder.image.remote import Remote
    from tiffin.builder.sharing.caches import SharedCaches
    from tiffin.builder.sharing.mounts import SharedMounts
    from tiffin.builder.solver.build import Built, Request, Services
    from tiffin.builder.solver.explain import Explainer
    from tiffin.builder.sources.context import Contexts
    from tiffin.builder.sources.remote_sources import RemoteSources
    from tiffin.cache.backend import StepCache

MAX_LOST_LAYERS = 8  # builds begun anew because a shared cache no longer had what it said it had


def build(options: BuildOptions, session: Session, sink: Sink) -> BuildResult:
    """Build what `options` ask for, write its outputs, fill the shared caches; return what was made.

    `sink` receives the progress, and at the end the findings of build checks as warnings. Raises TiffinError.
    """
    from tiffin.builder.api.buildx.history import Recorder

    began = time.monotonic()
    with Recorder.of(options, session, sink) as recorder:
        with prepared(options, session, recorder) as prepared_build:
            result = _build_again(prepared_build)
        recorder.emit(
            BuildFinished(
                names=tuple(map(str, result.names)),
                digest=str(result.digest or ""),
                image_id=str(result.image_id),
                size_bytes=result.size_bytes,
                seconds=time.monotonic() - began,
                steps=recorder.steps,
                cached_steps=recorder.cached_steps,
            )
        )
    _keep_to_bounds(session, sink)
    return replace(result, metadata={"buildx.build.ref": recorder.ref, **result.metadata}) if recorder.ref else result


def _keep_to_bounds(session: Session, sink: Sink) -> None:
    """Keep to the bounds of the configuration file, if there is one; what goes wrong there ends no build."""
    if config_path(os.environ) is None:
        return
    from tiffin.builder.api.storage.build_cache import keep_to_bounds

    try:
        keep_to_bounds(session, sink)
    except TiffinError as exc:
        sink.emit(WarningMessage(message=f"the build cache is not made smaller: {exc}"))


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedBuild:
    """One build made ready. `source`: the text of the Dockerfile."""

    options: BuildOptions
    platforms: tuple[Platform, ...]
    request: Request
    services: Services
    source: bytes
    session: Session
    remote: Callable[[], Remote]
    shared: SharedCaches | None
    mounts: SharedMounts | None
    started: float  # in Unix seconds


@contextlib.contextmanager
def prepared(options: BuildOptions, session: Session, sink: Sink, *, explains: bool = False) -> Iterator[PreparedBuild]:
    """Open the contexts, the caches and the stores of a build; they are closed at the end. Raises TiffinError."""
    check_options(options)
    from tiffin.builder.sources.context import Contexts

    started = time.time()
    remote = cache(lambda: session.remote(sink, options.registry, options.cache_peers))
    layers = session.layers(remote)
    platforms = options.platforms or (Platform.local(),)
    build_args = build_arguments(options)
    with contextlib.ExitStack() as stack:
        stack.enter_context(session.state.lock(BUILDING, shared=True))
        open_sources, main, named = _open_contexts(options, session, build_args, stack)
        shared = _open_shared(options, session, sink, layers, remote)
        mounts = _open_mounts(options, session, sink, layers, shared)
        contexts = Contexts(
            main.root,
            named.roots,
            dockerfile=main.beside,
            table=session.table,
            remote=open_sources,
            ignores=main.ignores,
            state=session.state.root,
            warn=lambda text: sink.emit(WarningMessage(message=text)),
        )
        shares = shared.modes if shared else frozenset()
        yield PreparedBuild(
            options=options,
            platforms=platforms,
            request=request_of(options, main, platforms[0], build_args, named.contexts, shares),
            services=_services(options, session, sink, layers, remote, contexts, shared, mounts, explains=explains),
            source=main.dockerfile,
            session=session,
            remote=remote,
            shared=shared,
            mounts=mounts,
            started=started,
        )


def _open_contexts(
    options: BuildOptions, session: Session, build_args: Mapping[str, str], stack: contextlib.ExitStack
) -> tuple[Callable[[], RemoteSources], BuildContext, NamedContexts]:
    """Open the context and the named ones; return them after what opens sources elsewhere, when one is needed."""
    from tiffin.builder.api.inputs.context import ContextOpener

    def open_sources() -> RemoteSources:
        from tiffin.builder.sources.remote_sources import RemoteSources

        return stack.enter_context(RemoteSources(session.state, session.table, session.blobs, source_access(options)))

    opener = ContextOpener(
        open_sources,
        lambda: stack.enter_context(session.state.scratch("context")),
        keep_git_dir=is_on(build_args, "BUILDKIT_CONTEXT_KEEP_GIT_DIR"),
        directory=options.context_directory,
        reads_ignores=options.reads_ignores,
    )
    main = opener.open(options.context, options.file, options.dockerfile)
    return open_sources, main, opener.named(options.contexts)


def _services(
    options: BuildOptions,
    session: Session,
    sink: Sink,
    layers: LayerStore,
    remote: Callable[[], Remote],
    contexts: Contexts,
    shared: SharedCaches | None,
    mounts: SharedMounts | None,
    *,
    explains: bool,
) -> Services:
    from tiffin.builder.solver.build import Services

    return Services(
        state=session.state,
        blobs=session.blobs,
        layers=layers,
        cache=Tiered([_local_cache(session, layers), *(shared.tiers if shared else ())]),
        observers=(shared,) if shared else (),
        keep=session.table.set,
        explainer=(lambda: _explainer(session, shared)) if options.explain or explains else None,
        contexts=contexts,
        sink=sink,
        resolve_image=_base_images(options, session, sink, remote).resolve,
        enter=lambda: session.enter(layers, options.isolation or None),
        launch=session.launch,
        secrets=options.secrets,
        fill_cache=mounts.fill if mounts else lambda mount_id, path: False,
        agents=_agents(options.ssh) if options.ssh else None,
    )


# -- running -----------------------------------------------------------------------------------------------------------


def _build_again(prepared_build: PreparedBuild) -> BuildResult:
    """Build; once more for each layer that a shared cache said it had and has no longer."""
    sink, layers = prepared_build.services.sink, prepared_build.services.layers
    for _ in range(MAX_LOST_LAYERS):
        try:
            return _build(prepared_build, prepared_build.services)
        except MissingBlobError as exc:
            digest = Digest.parse(exc.digest) if exc.digest else None
            if prepared_build.shared is None or digest is None or digest not in layers.unverified:
                raise
            if not prepared_build.shared.lose(digest):  # again: what was kept of its records is no better
                break
            sink.emit(WarningMessage(message=f"a shared cache lost layer {exc.digest}; its step is made again"))
    sink.emit(WarningMessage(message="shared caches lost too many layers; building without them"))
    layers.expect_no_longer()
    return _build(
        prepared_build, replace(prepared_build.services, cache=Tiered([_local_cache(prepared_build.session, layers)]))
    )


def _build(prepared_build: PreparedBuild, services: Services) -> BuildResult:
    """Build, write the outputs, share the cache, tell what was found."""
    sink, options, session = services.sink, prepared_build.options, prepared_build.session
    builds = _build_platforms(prepared_build, services)
    multi_platform = is_on(prepared_build.request.plan_options.build_args, "BUILDKIT_MULTI_PLATFORM")
    outputs = Outputs(
        state=session.state,
        blobs=session.blobs,
        store=session.store,
        layers=services.layers,
        remote=prepared_build.remote,
        enter=services.enter,
        sink=sink,
        specs=options.outputs,
        names=options.names,
        builds=tuple(builds),
        several=len(prepared_build.platforms) > 1 or multi_platform,
        annotations=options.annotations,
        provenance=_provenance(prepared_build, builds, options.provenance),
        told_provenance=_provenance(prepared_build, builds, options.metadata.provenance),
    )
    failure = None
    try:
        with phase(sink, "outputs"):
            outputs.write()
    except RegistryError as exc:  # who runs this again, on another machine maybe, is to have the steps
        failure = exc
    _share(prepared_build, [built for _, built in builds], services.enter)
    if failure is not None:
        raise failure
    reports = [built.report for _, built in builds if built.report is not None]
    for line in (line for report in reports for line in report.lines(size_text)):
        sink.emit(InfoMessage(message=line))
    findings = dict.fromkeys(found for _, built in builds for found in built.findings)
    for found in findings:
        where = f"{found.span.file}:{found.span.first_line}"
        sink.emit(WarningMessage(message=found.message, where=where, rule=found.rule, path=found.span.path))
    return outputs.result(tuple(findings) if options.metadata.warnings else ())


def _provenance(
    prepared_build: PreparedBuild, builds: Sequence[tuple[Platform, Built]], mode: str
) -> dict[Platform, dict[str, object]]:
    """Return what is told of each build, nothing without a mode; never a value of a secret, or what is in a URL besides
    its place.
    """
    if not mode:
        return {}
    from tiffin.builder.delivery.provenance import ProvenanceRequest, predicate
    from tiffin.builder.registry.download import shown

    options = prepared_build.options
    request = ProvenanceRequest(
        mode=mode,
        builder_id=options.builder_id,
        context=shown(options.context) if "://" in options.context else "",
        dockerfile=options.file or "Dockerfile",
        target=options.target,
        build_args=options.build_args,
        labels=options.labels,
        secrets=tuple(sorted(options.secrets)),
        ssh=tuple(text.partition("=")[0] for text in options.ssh),
    )
    started, finished = rfc3339(prepared_build.started), rfc3339(time.time())
    return {platform: predicate(request, built.materials, platform, started, finished) for platform, built in builds}


def _build_platforms(prepared_build: PreparedBuild, services: Services) -> list[tuple[Platform, Built]]:
    """Build for every platform, one after the other: what does not depend on the platform is then cached."""
    from tiffin.builder.solver.build import build as solve

    builds = []
    for platform in prepared_build.platforms:
        plan_options = replace(prepared_build.request.plan_options, platform=platform)
        annotations = prepared_build.options.annotations.of("manifest", platform)
        builds.append(
            (
                platform,
                solve(replace(prepared_build.request, plan_options=plan_options, annotations=annotations), services),
            )
        )
    return builds


def _share(prepared_build: PreparedBuild, builds: list[Built], enter: Callable[[], object]) -> None:
    if prepared_build.shared is None or not prepared_build.shared.modes:
        return
    from tiffin.builder.layer.compression.codecs import Compression

    with phase(prepared_build.services.sink, "share the cache"):
        compression = prepared_build.request.compression or Compression(kind="gzip")
        if prepared_build.mounts is not None:
            enter()
        mounts = prepared_build.mounts.records() if prepared_build.mounts is not None else {}
        prepared_build.shared.share(builds, compression, enter, mounts)


# -- caches ------------------------------------------------------------------------------------------------------------


def _local_cache(session: Session, layers: LayerStore) -> StepCache:
    from tiffin.cache.store.local import LocalCache

    return AvailableOnly(LocalCache(session.table), layers.has)


def _explainer(session: Session, shared: SharedCaches | None) -> Explainer:
    """Make the explainer before anything runs, from the records there are now."""
    from tiffin.builder.solver.explain import Explainer
    from tiffin.cache.store.local import LocalCache

    others = shared.records() if shared is not None else ()
    return Explainer([*(record for _, record in LocalCache(session.table).records()), *others], session.table.get)


def _open_shared(
    options: BuildOptions, session: Session, sink: Sink, layers: LayerStore, remote: Callable[[], Remote]
) -> SharedCaches | None:
    if not options.caches:
        return None
    from tiffin.builder.sharing.caches import SharedCaches
    from tiffin.cache.trust import Trust

    return SharedCaches(
        options.caches,
        blobs=session.blobs,
        layers=layers,
        remote=remote,
        sink=sink,
        signer=signer_for(options),
        trust=Trust(os.environ, cert_file=options.registry.cert, given=options.registry.certificates),
    )


def _open_mounts(
    options: BuildOptions, session: Session, sink: Sink, layers: LayerStore, shared: SharedCaches | None
) -> SharedMounts | None:
    """Open the cache mounts that are shared."""
    if not options.cache_mounts:
        return None
    if shared is None:
        raise UsageError("--cache-mounts needs a shared cache", remedy="add --cache-from or --cache-to")
    from tiffin.builder.sharing.mounts import SharedMounts

    return SharedMounts(
        options.cache_mounts, shared=shared, layers=layers, blobs=session.blobs, state=session.state, sink=sink
    )


# -- what options mean -------------------------------------------------------------------------------------------------


def _base_images(
    options: BuildOptions, session: Session, sink: Sink, remote: Callable[[], Remote]
) -> BaseImageResolver:
    from tiffin.builder.api.inputs.base_images import BaseImageResolver

    def renew_seconds() -> float:
        from tiffin.builder.settings.pull_policy import pull_after

        return pull_after(os.environ)

    return BaseImageResolver(
        session, remote, sink, policy=options.pull, renew_seconds=renew_seconds, built=options.built
    )


def _agents(texts: Sequence[str]) -> Agents:
    from tiffin.builder.execute.ssh_agents import open_agents

    return open_agents(texts)
