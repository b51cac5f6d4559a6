"""What the options of a build mean: the request to the solver, and how sources are reached."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tiffin.builder.api.build_options import BuildOptions
from tiffin.builder.delivery.output_spec import NEEDS_BLOBS
from tiffin.builder.errors import UsageError
from tiffin.builder.oci.spec import Platform
from tiffin.builder.options import is_on
from tiffin.builder.settings.access import config_path, may_have_rules, peer_names
from tiffin.builder.settings.times import EPOCH, epoch
from tiffin.cache.foundation.frozen import replace

if TYPE_CHECKING:
    from contextlib import ExitStack

    from tiffin.builder.api.inputs.context import BuildContext
    from tiffin.builder.api.session import Session
    from tiffin.builder.delivery.output_spec import OutputSpec
    from tiffin.builder.events import Sink
    from tiffin.builder.execute.ssh_agents import Agents
    from tiffin.builder.image.signing.statements import Signer
    from tiffin.builder.layer.compression.codecs import Compression
    from tiffin.builder.plan.plan_options import NamedContext, PlanOptions, SourceRules
    from tiffin.builder.solver.build import Request
    from tiffin.builder.solver.results import Split
    from tiffin.builder.sources.remote_sources import Access, RemoteSources
    from tiffin.cache.shared.signing import RecordSigner
    from tiffin.cache.store.local import Table


def check_options(options: BuildOptions) -> None:
    """Raise UsageError for options that contradict each other."""
    if options.annotations.need_index() and len(options.platforms) < 2:
        raise UsageError("index annotations need an image of several platforms", remedy="annotate the manifest")
    if options.sign is not None:
        _check_signing(options)
    for spec in options.outputs:
        if spec.push and not (options.names or spec.names):
            raise UsageError("pushing needs a name", remedy="add -t NAME")
        if options.attest and options.attest.in_index:
            _check_index_form(spec)
    compression_of(options)
    _check_split(options)
    _epoch(options)
    peer_names(os.environ, options.cache_peers)


def _check_split(options: BuildOptions) -> None:
    """Raise UsageError where layers cannot be split."""
    if split_of(options) is None:
        return
    from tiffin.builder.sharing.inline import BUILD_ARGUMENT

    if options.inline_cache or is_on(build_arguments(options), BUILD_ARGUMENT):
        raise UsageError(
            "an image of split layers cannot be an inline cache: it has no layer of a step as a whole",
            remedy="use --cache-to type=registry,ref=…, or leave layers=split out",
        )


def split_of(options: BuildOptions) -> Split | None:
    """Return how layers are split, None where they are not. Raises UsageError."""
    found = {spec.split for spec in options.outputs if spec.kind in NEEDS_BLOBS}
    if len(found) > 1:
        raise UsageError("the outputs want different layers", remedy="use one layers=split for all: --split-layers")
    return found.pop() if found else None


def _check_signing(options: BuildOptions) -> None:
    """Raise UsageError where a build cannot sign."""
    from tiffin.builder.api.attest.signers import BUNDLE

    assert options.sign is not None
    if options.sign.format != BUNDLE:
        raise UsageError("a build signs with bundles", remedy="sign afterwards: tiffin sign NAME --format simple")


def _check_index_form(spec: OutputSpec) -> None:
    """Raise UsageError for an output that has no place for attestations in an index."""
    if spec.kind == "docker":
        raise UsageError(
            "a docker archive has no index for attestations", remedy="use type=oci, or --attest-form=referrers"
        )
    if spec.merges:
        raise UsageError(
            "--merge makes the index of all builders, in which attestations of one would be lost",
            remedy="use --attest-form=referrers",
        )


def checked_options(options: BuildOptions, session: Session, sink: Sink, stack: ExitStack) -> BuildOptions:
    """Return options as they are meant: one that is built from a record has its sources. Raises UsageError."""
    check_options(options)
    if not options.replay:
        return options
    from tiffin.builder.api.rules.records import from_record

    return from_record(options, session, sink, stack)


def build_arguments(options: BuildOptions) -> dict[str, str]:
    """Return the build arguments, those of docker's configured proxies among them."""
    return {**_configured_proxy_args(os.environ), **options.build_args}


def request_of(
    options: BuildOptions,
    main: BuildContext,
    platform: Platform,
    build_args: Mapping[str, str],
    contexts: Mapping[str, NamedContext],
    shares: frozenset[str],
    rules: SourceRules | None,
) -> Request:
    """Return what the solver is asked for. Raises DockerfileError, UsageError."""
    from tiffin.builder.dockerfile.parser import parse
    from tiffin.builder.solver.build import Request

    return Request(
        dockerfile=parse(main.dockerfile, main.name, keep_faults=True, path=str(main.beside or "")),
        plan_options=replace(_plan_options(options, platform, build_args, contexts), source_rules=rules),
        compression=compression_of(options),
        epoch=_epoch(options),
        rewrites_times=all(spec.rewrites_times is not False for spec in options.outputs),
        traces=bool(options.attest or options.metadata.provenance),
        docker_types=any(not spec.oci_types for spec in options.outputs),
        use_cache=options.use_cache and not options.record,  # what comes from a cache fetches nothing
        frozen=options.frozen,
        uncached_stages=options.uncached_stages,
        layering=options.layering,
        split=split_of(options),
        shares=shares,
        inline=_inline(options, build_args),
    )


def source_rules(
    options: BuildOptions, main: BuildContext, session: Session, sources: Callable[[], RemoteSources]
) -> SourceRules | None:
    """Return what decides about the sources of a build, None where nothing does. Raises UsageError."""
    rules: SourceRules | None = None
    if options.locked:
        from tiffin.builder.api.rules.lock import locked

        rules = locked(options, main.beside)
    place = main.beside or (main.root / main.name if isinstance(main.root, Path) else None)
    has_rego = place is not None and place.with_name(f"{place.name}.rego").exists()
    if not has_rego and not may_have_rules(os.environ, options.registry):
        return rules
    from tiffin.builder.api.rules.sources import gated

    return gated(options, main, rules, session, sources)


def signer_for(options: BuildOptions) -> RecordSigner:
    """Return the signer of records of shared caches. Raises UsageError."""
    from tiffin.cache.shared.signing import signer_of

    return signer_of(options.sign_key)


def image_signer(options: BuildOptions, table: Table) -> Signer | None:
    """Return who signs the images of a build. Raises UsageError."""
    if options.sign is None:
        return None
    from tiffin.builder.api.attest.signers import build_signer

    return build_signer(options.sign, os.environ, table)


def _inline(options: BuildOptions, build_args: Mapping[str, str]) -> Callable[..., str] | None:
    from tiffin.builder.sharing.inline import BUILD_ARGUMENT, inline_with

    if not options.inline_cache and not is_on(build_args, BUILD_ARGUMENT):
        return None
    return inline_with(signer_for(options))


def _plan_options(
    options: BuildOptions, platform: Platform, build_args: Mapping[str, str], contexts: Mapping[str, NamedContext]
) -> PlanOptions:
    from tiffin.builder.instructions.ops import RunDefaults
    from tiffin.builder.plan.plan_options import PlanOptions

    reads, verify_reads_percent = False, 0.0
    if options.cache_reads or options.verify_reads or config_path(os.environ):
        from tiffin.builder.settings.reads import reads_options

        reads, verify_reads_percent = reads_options(
            os.environ, is_asked_for=options.cache_reads, verify=options.verify_reads
        )
    return PlanOptions(
        platform=platform,
        build_args=build_args,
        target=options.target,
        labels=options.labels,
        contexts=contexts,
        run_defaults=RunDefaults(
            network=options.network,
            hosts=options.hosts,
            shm_bytes=options.shm_bytes,
            ulimits=options.ulimits,
            limits=options.limits,
            retries=options.run_retries,
            timeout_seconds=options.run_timeout_seconds,
            hostname=build_args.get("BUILDKIT_SANDBOX_HOSTNAME", ""),
            seccomp=options.seccomp,
            no_new_privs=options.no_new_privs,
            unmasked=options.unmasked,
            devices=_granted_devices(options.allowed),
            reads=reads,
            verify_reads_percent=verify_reads_percent,
        ),
        allowed=options.allowed,
    )


def _granted_devices(allowed: Iterable[str]) -> tuple[str, ...]:
    """Return what `device` (all of them) and `device=NAME` among the entitlements grant."""
    pairs = (text.partition("=") for text in allowed)
    return tuple(sorted(name or "*" for key, _, name in pairs if key == "device"))


def _epoch(options: BuildOptions) -> int | None:
    """Return the time of everything made: from the output, the options, or SOURCE_DATE_EPOCH; the Dockerfile may have
    one.
    """
    given = {spec.epoch for spec in options.outputs if spec.epoch is not None}
    if len(given) > 1:
        raise UsageError("the outputs want different times", remedy="use one source-date-epoch for all")
    if given:
        return epoch(given.pop())
    return options.epoch if options.epoch is not None else epoch(options.build_args.get(EPOCH, ""))


def compression_of(options: BuildOptions) -> Compression | None:
    """Return how layers are packed, None where no output needs that. Raises UsageError."""
    specs = [spec for spec in options.outputs if spec.kind in NEEDS_BLOBS]
    if not specs:
        return None
    if len({(spec.compression, spec.compression_level) for spec in specs}) > 1:
        raise UsageError("the outputs want different compressions", remedy="use one for all")
    from tiffin.builder.layer.compression.codecs import Compression

    return Compression(kind=specs[0].compression, level=specs[0].compression_level)


def agents_of(texts: Sequence[str]) -> Agents:
    """Return the agents of --ssh. Raises UsageError."""
    from tiffin.builder.execute.ssh_agents import open_agents

    return open_agents(texts)


def source_access(options: BuildOptions) -> Access:
    """Return how ADD and contexts reach servers."""
    from tiffin.builder.settings.registries import read_registry_options
    from tiffin.builder.sources.remote_sources import Access

    reached = read_registry_options(os.environ, replace(options.registry, insecure=(), mirrors=(), mirrors_of={}))
    return Access(
        secrets=options.secrets,
        trust=reached.trust,
        proxies=reached.proxies,
        private=reached.private_registries,
        user_agent=reached.user_agent,
        agent=os.environ.get("SSH_AUTH_SOCK", "") if "default" in options.ssh else "",
        packs=_recorded_packs(options.replay) if options.replay else {},
    )


def _recorded_packs(folder: str) -> Mapping[str, Path]:
    from tiffin.builder.egress.record import Replay

    return Replay(Path(folder)).packs


def _configured_proxy_args(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what `proxies` of docker's config.json gives to builds, in both cases, as docker does."""
    folder = environ.get("DOCKER_CONFIG") or f"{environ.get('HOME', '')}/.docker"
    if not Path(folder, "config.json").exists():  # most have none, and what reads it takes time to load
        return {}
    from tiffin.builder.registry.proxies import configured_proxies, read_docker_config

    found = configured_proxies(read_docker_config(environ))
    return {name: value for key, value in found.items() for name in (key, key.upper())}
