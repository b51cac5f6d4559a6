"""One build as the command line asks for it: from options to a request, and from what was built to its outputs."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast

from tiffin.builder.api.session import Session
from tiffin.builder.cli.options import build_values as options
from tiffin.builder.cli.options import docker_words
from tiffin.builder.cli.output.render import make_renderer
from tiffin.builder.cli.output.renderer import Renderer, quiet_if
from tiffin.builder.delivery.annotations import Annotations
from tiffin.builder.delivery.output_spec import NEEDS_BLOBS, OutputSpec, parse_outputs
from tiffin.builder.errors import MissingBlobError, UsageError
from tiffin.builder.events import Noted, Sink, Warned, phase
from tiffin.builder.oci.reference import Reference
from tiffin.builder.oci.spec import Platform
from tiffin.builder.plain_text import size_text
from tiffin.builder.sharing.inline import inline_of, without_inline
from tiffin.cache.backend import AtHand, Tiered
from tiffin.cache.digest import Digest
from tiffin.cache.values import replace

if TYPE_CHECKING:
    from tiffin.builder.api.base_images import Bases
    from tiffin.builder.image.layers import LayerStore
    from tiffin.builder.image.remote import Remote
    from tiffin.builder.layer.compress import Compression
    from tiffin.builder.sandbox.isolation import Isolation
    from tiffin.builder.sharing.caches import SharedCaches
    from tiffin.builder.sharing.mounts import SharedMounts
    from tiffin.builder.solver.build import Built, Request, Services
    from tiffin.builder.solver.explain import Explainer
    from tiffin.builder.solver.recipe import NamedContext, Recipe
    from tiffin.builder.solver.remote_sources import Access, RemoteSources
    from tiffin.cache.backend import StepCache
    from tiffin.cache.sealing import Sealer

MAX_LOST_LAYERS = 8  # builds begun anew because a shared cache no longer had what it said it had


class Invocation:
    """One call of `tiffin build`, or of what looks at a build. `given`: the options by name."""

    def __init__(self, session: Session, given: Mapping[str, object]) -> None:
        self._session = session
        self._options = given
        session.cache_peers = self._many("cache_peers")
        self._remote: Remote | None = None
        self._layers: LayerStore | None = None
        self._sink: Renderer | None = None
        platforms = [part for text in self._many("platforms") for part in text.split(",") if part]
        self._platforms = tuple(dict.fromkeys(map(Platform.parse, platforms))) or (Platform.local(),)
        self._annotations = Annotations.parse(self._many("annotations"))
        if self._annotations.need_index() and len(self._platforms) < 2:
            raise UsageError("index annotations need an image of several platforms", remedy="annotate the manifest")
        self._shared: SharedCaches | None = None
        self._mounts: SharedMounts | None = None
        self._remarks = docker_words.warnings_of(given)
        self._names = tuple(Reference.parse(text) for text in self._many("tags"))
        self._outputs = self._all_outputs()

    def _many(self, name: str) -> tuple[str, ...]:
        return cast("tuple[str, ...]", self._options[name])

    def _text(self, name: str) -> str:
        return str(self._options[name] or "")

    def _all_outputs(self) -> tuple[OutputSpec, ...]:
        outputs = parse_outputs(self._many("outputs"))
        if self._options["load"] and not any(spec.kind == "image" for spec in outputs):
            outputs = (*outputs, OutputSpec(kind="image"))
        if self._options["push"] and not any(spec.push for spec in outputs):
            outputs = (*outputs, OutputSpec(kind="registry", push=True))
        for spec in outputs:
            if spec.push and not (self._names or spec.names):
                raise UsageError("pushing needs a name", remedy="add -t NAME")
        if self._options["iidfile"] and all(spec.kind in ("tar", "local") for spec in outputs) and outputs:
            raise UsageError("--iidfile needs an image, but the output is a file system", remedy="leave it out")
        return outputs or (OutputSpec(kind="image"),)

    # -- running -------------------------------------------------------------------------------------------------------

    def run(self, sink: Renderer) -> None:
        from tiffin.builder.cli.output.subrequests import parse_call

        self._sink = sink
        for message in self._remarks:
            sink.emit(Warned(message=message))
        session = self._session
        self._layers = session.layers(self.remote)
        call, as_json = parse_call("check" if self._options["check"] else self._text("call"))
        with contextlib.ExitStack() as stack:
            request, services, source = self._prepared(sink, self._layers, stack, explains=call == "explain")
            if call != "build":
                self._answer(call, as_json, request, services, source)
                return
            for _ in range(MAX_LOST_LAYERS):
                try:
                    self._make(request, services)
                    return
                except MissingBlobError as exc:
                    digest = Digest.parse(exc.digest) if exc.digest else None
                    if self._shared is None or digest is None or digest not in self._layers.hearsay:
                        raise
                    if not self._shared.lose(digest):  # again: what was kept of its records is no better
                        break
                    sink.emit(Warned(message=f"a shared cache lost layer {exc.digest}; its step is made again"))
            sink.emit(Warned(message="shared caches lost too many layers; building without them"))
            self._layers.elsewhere.clear()
            self._make(request, replace(services, cache=Tiered([self._local_cache(self._layers)])))

    def _make(self, request: Request, services: Services) -> None:
        """Build, write the outputs, share the cache, tell what was found."""
        from tiffin.builder.delivery.outputs import Outputs

        sink, layers = services.sink, services.layers
        builds = self._builds(request, services)
        outputs = Outputs(
            session=self._session,
            layers=layers,
            remote=self.remote,
            enter=self._enter,
            sink=sink,
            specs=self._outputs,
            names=self._names,
            builds=tuple(builds),
            several=len(self._platforms) > 1 or options.is_on(request.recipe.build_args, "BUILDKIT_MULTI_PLATFORM"),
            annotations=self._annotations,
        )
        with phase(sink, "outputs"):
            outputs.write()
        if self._shared is not None and self._shared.modes:
            from tiffin.builder.layer.compress import Compression

            with phase(sink, "share the cache"):
                compression = self._compression() or Compression(kind="gzip")
                if self._mounts is not None:
                    self._enter()
                mounts = self._mounts.records() if self._mounts is not None else {}
                self._shared.share([built for _, built in builds], compression, self._enter, mounts)
        reports = [built.report for _, built in builds if built.report is not None]
        for line in (line for report in reports for line in report.lines(size_text)):
            sink.emit(Noted(message=line))
        for found in dict.fromkeys(found for _, built in builds for found in built.findings):
            where = f"{found.span.file}:{found.span.first_line}"
            sink.emit(Warned(message=found.message, where=where, rule=found.rule))
        outputs.write_results(iidfile=self._text("iidfile"), metadata_file=self._text("metadata_file"))

    def _explainer(self) -> Explainer:
        """Made before anything runs: of the records there are now."""
        from tiffin.builder.solver.explain import Explainer
        from tiffin.cache.local import LocalCache

        table = self._session.table
        shared = self._shared.records() if self._shared is not None else ()
        return Explainer([*(record for _, record in LocalCache(table).records()), *shared], table.get)

    def _answer(self, call: str, as_json: bool, request: Request, services: Services, source: bytes) -> None:
        """--check and --call."""
        from tiffin.builder.cli.output import subrequests as calls
        from tiffin.builder.solver.plan import make_plan

        if call == "explain":
            from tiffin.builder.solver.build import foresee

            calls.show_report(foresee(request, services))
            return
        if call == "targets":
            calls.show_targets(request.dockerfile, source, as_json=as_json)
            return
        if call == "outline":
            plan = make_plan(request.dockerfile, request.recipe, services.resolve_image)
            calls.show_outline(request.dockerfile, plan, source, as_json=as_json)
            return
        from tiffin.builder.solver.checks import check

        found, error = check(request.dockerfile, request.recipe, services.resolve_image, services.contexts)
        calls.show_check(found, source, as_json=as_json, error=error)
        if error is not None:
            raise error
        if found:
            raise SystemExit(1)

    def _builds(self, request: Request, services: Services) -> list[tuple[Platform, Built]]:
        """Build for every platform, one after the other: what does not depend on the platform is then cached."""
        from tiffin.builder.solver.build import build

        builds = []
        for platform in self._platforms:
            recipe = replace(request.recipe, platform=platform)
            annotations = self._annotations.of("manifest", platform)
            builds.append((platform, build(replace(request, recipe=recipe, annotations=annotations), services)))
        return builds

    def _prepared(
        self, sink: Renderer, layers: LayerStore, stack: contextlib.ExitStack, *, explains: bool
    ) -> tuple[Request, Services, bytes]:
        """What to build, what to build it with, and the text of the Dockerfile."""
        from tiffin.builder.api.context import ContextOpener
        from tiffin.builder.dockerfile.parser import parse
        from tiffin.builder.solver.build import Request, Services
        from tiffin.builder.solver.context import Contexts

        session = self._session
        secrets = options.secrets(self._many("secrets"))

        def open_sources() -> RemoteSources:
            from tiffin.builder.solver.remote_sources import RemoteSources

            access = self._access(secrets)
            return stack.enter_context(RemoteSources(session.state, session.table, session.blobs, access))

        build_args = options.build_args(self._many("build_args"), os.environ)
        build_args |= {k: v for k, v in options.configured_proxy_args(os.environ).items() if k not in build_args}
        opener = ContextOpener(
            open_sources,
            lambda: stack.enter_context(session.state.scratch("context")),
            keep_git_dir=options.is_on(build_args, "BUILDKIT_CONTEXT_KEEP_GIT_DIR"),
        )
        main = opener.open(self._text("context"), self._text("file"))
        named = opener.named(options.pairs(self._many("contexts"), "--build-context"))
        shared = self._shared = self._open_shared(sink, layers)
        mounts = self._mounts = self._open_mounts(sink, layers)
        services = Services(
            state=session.state,
            blobs=session.blobs,
            layers=layers,
            cache=Tiered([self._local_cache(layers), *(shared.tiers if shared else ())]),
            watches=(shared,) if shared else (),
            keep=session.table.set,
            explainer=self._explainer if self._options["explain"] or explains else None,
            contexts=Contexts(
                main.root,
                named.roots,
                dockerfile=main.beside,
                table=session.table,
                remote=open_sources,
                ignores=main.ignores,
                state=session.state.root,
                warn=lambda text: sink.emit(Warned(message=text)),
            ),
            sink=sink,
            resolve_image=self._bases(sink).resolve,
            enter=self._enter,
            launch=session.launch,
            secrets=secrets,
            fill_cache=mounts.fill if mounts else lambda id_, path: False,
            agents=options.ssh_agents(self._many("ssh")) if self._many("ssh") else None,
        )
        request = Request(
            dockerfile=parse(main.dockerfile, main.name, keep_faults=True),
            recipe=self._recipe(build_args, named.contexts),
            compression=self._compression(),
            epoch=self._epoch(build_args),
            rewrites_times=all(spec.rewrites_times is not False for spec in self._outputs),
            docker_types=any(not spec.oci_types for spec in self._outputs),
            use_cache=not self._options["no_cache"],
            uncached_stages=frozenset(
                name.lower() for text in self._many("no_cache_stages") for name in text.split(",")
            ),
            layering=self._layering(),
            shares=shared.modes if shared else frozenset(),
            inline=inline_of(self._many("cache_to"), build_args, self._sealer),
        )
        return request, services, main.dockerfile

    def _bases(self, sink: Sink) -> Bases:
        from tiffin.builder.api.base_images import Bases

        def renew_seconds() -> float:
            from tiffin.builder.settings.pull_policy import pull_after

            return pull_after(os.environ)

        policy = self._text("pull_policy") or ("always" if self._options["pull"] else "")
        return Bases(self._session, self.remote, sink, policy=policy, renew_seconds=renew_seconds)

    def _local_cache(self, layers: LayerStore) -> StepCache:
        from tiffin.cache.local import LocalCache

        return AtHand(LocalCache(self._session.table), layers.has)

    def _open_shared(self, sink: Sink, layers: LayerStore) -> SharedCaches | None:
        """The shared caches, if any is named by a flag, the environment or the configuration."""
        specs = options.shared_caches(self._many("cache_from"), without_inline(self._many("cache_to")), os.environ)
        if not specs:
            return None
        from tiffin.builder.sharing.caches import SharedCaches
        from tiffin.cache.trust import Trust

        return SharedCaches(
            specs,
            blobs=self._session.blobs,
            layers=layers,
            remote=self.remote,
            sink=sink,
            sealer=self._sealer(),
            trust=Trust(os.environ, cert_file=self._text("cert")),
        )

    def _sealer(self) -> Sealer:
        from tiffin.cache.sealing import sealer_of

        return sealer_of(Path(self._text("sign_key")) if self._options["sign_key"] else None)

    def _open_mounts(self, sink: Sink, layers: LayerStore) -> SharedMounts | None:
        """The cache mounts that are shared."""
        ids = [part for text in self._many("cache_mounts") for part in text.split(",") if part]
        if not ids:
            return None
        if self._shared is None:
            raise UsageError("--cache-mounts needs a shared cache", remedy="add --cache-from or --cache-to")
        from tiffin.builder.sharing.mounts import SharedMounts

        session = self._session
        return SharedMounts(
            ids, shared=self._shared, layers=layers, blobs=session.blobs, state=session.state, sink=sink
        )

    def _epoch(self, build_args: Mapping[str, str]) -> int | None:
        """The time of everything made: from the output, --timestamp, or SOURCE_DATE_EPOCH; the Dockerfile may have one."""
        given = {spec.epoch for spec in self._outputs if spec.epoch is not None}
        if len(given) > 1:
            raise UsageError("the outputs want different times", remedy="use one source-date-epoch for all")
        if given:
            return options.epoch(given.pop())
        if self._options["timestamp"] is not None:
            return options.epoch(self._text("timestamp"), "--timestamp")
        return options.epoch(build_args.get(options.EPOCH, ""))

    def _layering(self) -> str:
        from tiffin.builder.solver.results import COMMITS, ONE, STEPS

        if self._options["squash"]:
            return ONE
        return COMMITS if self._options["commit"] == "explicit" else STEPS

    def _recipe(self, build_args: Mapping[str, str], contexts: Mapping[str, NamedContext]) -> Recipe:
        from tiffin.builder.cli.options.security import parse_security
        from tiffin.builder.instructions.ops import Surroundings
        from tiffin.builder.solver.recipe import Recipe

        security = parse_security(self._many("security"), Path.cwd())
        return Recipe(
            platform=self._platforms[0],
            build_args=build_args,
            target=self._text("target"),
            labels=options.pairs(options.need_text(self._many("labels"), "--label"), "--label", value_needed=False),
            contexts=contexts,
            surroundings=Surroundings(
                network=self._text("network"),
                hosts=options.hosts(self._many("hosts")),
                shm_bytes=options.shm_size(self._text("shm_size")),
                ulimits=options.ulimits(self._many("ulimits")),
                hostname=build_args.get("BUILDKIT_SANDBOX_HOSTNAME", ""),
                seccomp=security.seccomp,
                no_new_privs=security.no_new_privs,
                unmasked=security.unmasked,
            ),
            allowed=options.entitlements(self._many("allowed")),
        )

    def _access(self, secrets: Mapping[str, bytes]) -> Access:
        from tiffin.builder.settings.registries import read_registry_options
        from tiffin.builder.solver.remote_sources import Access

        reached = read_registry_options(os.environ, (), self._text("cert"))
        return Access(
            secrets=secrets,
            trust=reached.trust,
            proxies=reached.proxies,
            private=reached.private_registries,
            user_agent=reached.user_agent,
            agent=os.environ.get("SSH_AUTH_SOCK", "") if "default" in self._many("ssh") else "",
        )

    def remote(self) -> Remote:
        """Registries, made when first needed."""
        if self._remote is None:
            assert self._sink is not None
            cert = self._text("cert") or None
            self._remote = self._session.remote(self._sink, self._many("insecure"), cert)
        return self._remote

    def _enter(self) -> Isolation:
        assert self._layers is not None
        return self._session.enter(self._layers, self._text("isolation").removeprefix("default") or None)

    # -- flags ---------------------------------------------------------------------------------------------------------

    def _compression(self) -> Compression | None:
        from tiffin.builder.layer.compress import Compression

        specs = [spec for spec in self._outputs if spec.kind in NEEDS_BLOBS]
        if not specs:
            return None
        if len({(spec.compression, spec.compression_level) for spec in specs}) > 1:
            raise UsageError("the outputs want different compressions", remedy="use one for all")
        return Compression(kind=specs[0].compression, level=specs[0].compression_level)


def build(session: Session, given: Mapping[str, object]) -> None:
    """What `tiffin build` does. `given`: its options by name."""
    invocation = Invocation(session, given)
    for path in filter(None, (given["iidfile"], given["metadata_file"])):
        Path(str(path)).unlink(missing_ok=True)  # a stale result must not look like this one's
    renderer = make_renderer(quiet_if(bool(given["quiet"]), str(given["progress"])))
    if given["profile"]:
        from tiffin.builder.cli.output.profile import Profiler

        renderer = Profiler(renderer, Path(str(given["profile"])))
    with renderer as sink:
        invocation.run(sink)
