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
    agents_of,
    build_arguments,
    checked_options,
    image_signer,
    request_of,
    source_access,
    source_rules,
)
from tiffin.builder.api.session import BUILDING, Session
from tiffin.builder.delivery.outputs import BuildResult, Outputs
from tiffin.builder.errors import MissingBlobError, MissingLayerError, RegistryError, TiffinError
from tiffin.builder.events import BuildFinished, InfoMessage, Sink, WarningMessage, phase
from tiffin.builder.oci.spec import Platform
from tiffin.builder.options import is_on
from tiffin.builder.plain_text import size_text
from tiffin.builder.settings.access import may_have_rules
from tiffin.builder.settings.config_file import config_path
from tiffin.cache.backend import AvailableOnly, Tiered
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.frozen import dataclass, replace

if TYPE_CHECKING:
    from tiffin.builder.api.inputs.context import BuildContext, NamedContexts
    from tiffin.builder.api.inputs.producers import Making
    from tiffin.builder.image.layers import LayerStore
    from tiffin.builder.image.remote import Remote
    from tiffin.builder.image.signing.statements import Signer
    from tiffin.builder.plan.plan_options import SourceRules
    from tiffin.builder.sharing.caches import SharedCaches
    from tiffin.builder.sharing.mounts import SharedMounts
    from tiffin.builder.solver.build import Built, Request, Services
    from tiffin.builder.sources.context import Contexts
    from tiffin.builder.sources.remote_sources import RemoteSources
    from tiffin.cache.backend import StepCache

MAX_LOST_LAYERS = 8  # builds begun anew because a shared cache no longer had what it said it had
MAX_LOST_ON_FARM = 100  # the same, where workers may be lost with what they alone had


def build(options: BuildOptions, session: Session, sink: Sink) -> BuildResult:
    """Build what `options` ask for, write its outputs, fill the shared caches; return what was made.

    `sink` receives the progress, and at the end the findings of build checks as warnings. Raises TiffinError.
    """
    from tiffin.builder.api.buildx.recorder import Recorder

    began = time.monotonic()
    with _audited(options) as done, Recorder.of(options, session, sink) as recorder:
        try:
            with prepared(options, session, recorder) as made:
                keeper = recorder.keeper(options, made.source)
                services = replace(made.services, keeper=keeper, idle=recorder.keep_plans)
                made = replace(made, services=services)
                result = _build_again(made)
                if options.record:
                    from tiffin.builder.api.rules.records import finish

                    finish(made.options, made.request, made.services, session, recorder, made.remote)
        finally:
            session.leave_farm()
        done(result)
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


def _audited(options: BuildOptions) -> contextlib.AbstractContextManager[Callable[[BuildResult], None]]:
    """Return what writes what becomes of a build to the audit log, if there is one; it is told the result."""
    if not may_have_rules(os.environ, options.registry):
        return contextlib.nullcontext(lambda result: None)
    from tiffin.builder.api.rules.builds import audited

    return audited(options)


def _keep_to_bounds(session: Session, sink: Sink) -> None:
    """Keep to the bounds of the configuration file, if there is one; what goes wrong there ends no build."""
    if config_path(os.environ) is None:
        return
    from tiffin.builder.api.storage.bounds import keep_to_bounds

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
    signer: Signer | None


@contextlib.contextmanager
def prepared(options: BuildOptions, session: Session, sink: Sink, *, explains: bool = False) -> Iterator[PreparedBuild]:
    """Open the contexts, the caches and the stores of a build; they are closed at the end. Raises TiffinError."""
    started = time.time()
    with contextlib.ExitStack() as stack:
        options = checked_options(options, session, sink, stack)
        from tiffin.builder.sources.context import Contexts

        remote = cache(lambda: session.remote(sink, options.registry, options.cache_peers))
        layers = session.layers(remote)
        platforms = options.platforms or (Platform.local(),)
        build_args = build_arguments(options)
        stack.enter_context(session.state.lock(BUILDING, shared=True))
        sources, main, named, rules = _open_contexts(options, session, build_args, stack)
        shared = mounts = None
        if options.caches or options.cache_mounts:
            from tiffin.builder.api.inputs.shared_caches import open_mounts, open_shared

            shared = open_shared(options, session, sink, layers, remote)
            mounts = open_mounts(options, session, sink, layers, shared)
        contexts = Contexts(
            main.root,
            named.roots,
            dockerfile=main.beside,
            table=session.table,
            remote=sources,
            ignores=main.ignores,
            state=session.state.root,
            warn=lambda text: sink.emit(WarningMessage(message=text)),
        )
        shares = shared.modes if shared else frozenset()
        services = _services(options, session, sink, layers, remote, contexts, shared, mounts, explains=explains)
        yield PreparedBuild(
            options=options,
            platforms=platforms,
            request=request_of(options, main, platforms[0], build_args, named.contexts, shares, rules),
            services=_reached(options, session, sink, stack, remote, shared, services),
            source=main.dockerfile,
            session=session,
            remote=remote,
            shared=shared,
            mounts=mounts,
            started=started,
            signer=image_signer(options, session.table),
        )


def _reached(
    options: BuildOptions,
    session: Session,
    sink: Sink,
    stack: contextlib.ExitStack,
    remote: Callable[[], Remote],
    shared: SharedCaches | None,
    services: Services,
) -> Services:
    if (options.farm, options.egress, options.attest.sbom) == (None,) * 3 and not (options.record or options.replay):
        return services
    from tiffin.builder.api.inputs.reached import reached

    return reached(options, session, sink, stack, remote, shared, services)


def _open_contexts(
    options: BuildOptions, session: Session, build_args: Mapping[str, str], stack: contextlib.ExitStack
) -> tuple[Callable[[], RemoteSources], BuildContext, NamedContexts, SourceRules | None]:
    """Open the context and the named ones; return them, what opens sources elsewhere, and what decides about these."""
    from tiffin.builder.api.inputs.context import ContextOpener

    @cache  # who is asked about a source, a policy or a step, gets one answer
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
    if options.locked:
        from tiffin.builder.api.rules.lock import check_context

        check_context(options.context)
    if may_have_rules(os.environ, options.registry):
        from tiffin.builder.api.rules.sources import judge_context

        judge_context(options, session, open_sources)
    main = opener.open(options.context, options.file, options.dockerfile)
    rules = source_rules(options, main, session, open_sources)
    return open_sources, main, opener.named(options.contexts, rules), rules


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
    from tiffin.builder.api.inputs.base_images import explainer_of, resolver_for
    from tiffin.builder.solver.build import Services

    return Services(
        state=session.state,
        blobs=session.blobs,
        layers=layers,
        cache=Tiered([_local_cache(session, layers), *(shared.tiers if shared else ())]),
        observers=(shared,) if shared else (),
        keep=session.table.set,
        kept=session.table.get,
        explainer=explainer_of(session, shared) if options.explain or options.reports or explains else None,
        contexts=contexts,
        sink=sink,
        resolve_image=resolver_for(options, session, sink, remote).resolve,
        enter=lambda: session.enter(layers, options.isolation or None),
        launch=session.launch,
        secrets=options.secrets,
        fill_cache=mounts.fill if mounts else lambda mount_id, path: False,
        agents=agents_of(options.ssh) if options.ssh else None,
    )


def _build_again(prepared_build: PreparedBuild) -> BuildResult:
    """Build; once more for each layer that a shared cache said it had and has no longer, and where layers were found
    that only another namespace can read: once ours is entered, it is known which.
    """
    sink, layers = prepared_build.services.sink, prepared_build.services.layers
    was_entered, is_local = bool(layers.snapshots.idmap_tag), prepared_build.options.farm is None
    limit, who = (MAX_LOST_LAYERS, "a shared cache") if is_local else (MAX_LOST_ON_FARM, "the farm")
    for _ in range(limit):
        try:
            return _build(prepared_build, prepared_build.services)
        except MissingBlobError as exc:
            digest = Digest.parse(exc.digest) if exc.digest else None
            if digest is None or digest not in layers.unverified:
                raise
            lose = prepared_build.shared.lose if prepared_build.shared is not None else layers.expect_no_longer
            if not lose(digest):  # again: what was kept of its records is no better
                break
            sink.emit(WarningMessage(message=f"{who} lost layer {exc.digest}; its step is made again"))
        except MissingLayerError as exc:
            if was_entered or not layers.snapshots.idmap_tag:
                raise
            was_entered = True
            sink.emit(WarningMessage(message=f"{exc.message} as this isolation reads it; its step is made again"))
    sink.emit(WarningMessage(message="shared caches lost too many layers; building without them"))
    layers.expect_no_longer()
    return _build(
        prepared_build, replace(prepared_build.services, cache=Tiered([_local_cache(prepared_build.session, layers)]))
    )


def _build(prepared_build: PreparedBuild, services: Services) -> BuildResult:
    """Build, write the outputs, share the cache, tell what was found."""
    sink, options, session = services.sink, prepared_build.options, prepared_build.session
    builds = _build_platforms(prepared_build, services)
    if prepared_build.request.plan_options.source_rules is not None:
        from tiffin.builder.api.rules.sources import judge_results

        judge_results(options, prepared_build.request, services, builds, session.store.notes.lines)
    for _, built in builds:
        session.store.notes.keep_lines(Digest.of(built.config_bytes), built.lines)
    outputs = _outputs(prepared_build, services, builds)
    failure = None
    try:
        with phase(sink, "outputs"):
            outputs.write()
    except RegistryError as exc:  # who runs this again, on another machine maybe, is to have the steps
        failure = exc
    _share(prepared_build, [built for _, built in builds], services.enter)
    if failure is not None:
        raise failure
    reports = [built.report for _, built in builds if options.explain and built.report is not None]
    for line in (line for report in reports for line in report.lines(size_text)):
        sink.emit(InfoMessage(message=line))
    findings = dict.fromkeys(found for _, built in builds for found in built.findings)
    for found in findings:
        where = f"{found.span.file}:{found.span.first_line}"
        sink.emit(WarningMessage(message=found.message, where=where, rule=found.rule, path=found.span.path))
    return outputs.result(tuple(findings) if options.metadata.warnings else ())


def _outputs(prepared_build: PreparedBuild, services: Services, builds: Sequence[tuple[Platform, Built]]) -> Outputs:
    """Return what writes the outputs, with what is attested and signed."""
    options, session, sink = prepared_build.options, prepared_build.session, services.sink
    making = _making(prepared_build)
    attached, told = making.attest(builds, options) if making is not None else (None, {})
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
        several=len(prepared_build.platforms) > 1 or multi_platform or bool(attached and attached.in_index),
        annotations=options.annotations,
        attached=attached,
        told_provenance=told,
    )
    return making.sign(outputs) if making is not None else outputs


def _making(prepared_build: PreparedBuild) -> Making | None:
    """Return what attestations are made with; most builds ask for none."""
    options, session, services = prepared_build.options, prepared_build.session, prepared_build.services
    if not (options.attest or options.sign or options.metadata.provenance):
        return None
    from tiffin.builder.api.inputs.producers import Making
    from tiffin.builder.image.attached.kept import attached

    def solved(inner: BuildOptions) -> Built:
        with prepared(inner, session, services.sink) as own:
            return _build_platforms(own, own.services)[0][1]

    return Making(
        source=prepared_build.source,
        started=prepared_build.started,
        services=services,
        lines=session.store.notes.lines,
        solve=solved,
        kept=lambda subject: attached(session.store, session.blobs, subject),
        signer=prepared_build.signer,
    )


def _build_platforms(prepared_build: PreparedBuild, services: Services) -> list[tuple[Platform, Built]]:
    """Build for every platform, one after the other: what does not depend on the platform is then cached."""
    from tiffin.builder.solver.build import build as solve

    platforms, sinks = prepared_build.platforms, [services.sink]
    if len(platforms) > 1:
        from tiffin.builder.api.steps.platforms import sinks_of

        sinks = sinks_of(platforms, services.sink)
    builds = []
    for platform, sink in zip(platforms, sinks, strict=True):
        plan_options = replace(prepared_build.request.plan_options, platform=platform)
        annotations = prepared_build.options.annotations.of("manifest", platform)
        request = replace(prepared_build.request, plan_options=plan_options, annotations=annotations)
        builds.append((platform, solve(request, replace(services, sink=sink))))
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


def _local_cache(session: Session, layers: LayerStore) -> StepCache:
    from tiffin.cache.store.local import LocalCache

    return AvailableOnly(LocalCache(session.table), layers.has)
