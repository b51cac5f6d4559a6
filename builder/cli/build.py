"""tiffin build: from flags to a request, and from a finished build to its outputs."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from builder.cli import build_options as options
from builder.cli.output_spec import NEEDS_BLOBS, STDOUT, OutputSpec, parse_outputs
from builder.cli.render import make_renderer
from builder.cli.renderer import Renderer
from builder.cli.session import Session, progress_option, quiet_if, registry_options
from builder.errors import ContextError, UsageError
from builder.events import Noted
from builder.oci.reference import Reference
from builder.oci.spec import Platform

if TYPE_CHECKING:
    from builder.image.layers import LayerStore
    from builder.image.remote import Remote
    from builder.layer.compress import Compression
    from builder.solver.build import Built
    from builder.solver.recipe import BaseImage, NamedContext
    from builder.solver.remote_sources import Access, RemoteSources

MAX_DOCKERFILE_BYTES = 16 << 20
LATER_CONTEXTS = ("oci-layout://", "target:", "git://", "http://", "https://", "ssh://", "git@")


@click.command("build")
@click.argument("context", type=click.Path())
@click.option("-f", "--file", "file", metavar="FILE", help="Dockerfile (default: CONTEXT/Dockerfile).")
@click.option("-t", "--tag", "tags", multiple=True, metavar="NAME", help="Name of the image; repeatable.")
@click.option("--build-arg", "build_args", multiple=True, metavar="K[=V]", help="Value of an ARG; repeatable.")
@click.option("--build-context", "contexts", multiple=True, metavar="NAME=DIR|docker-image://REF")
@click.option("--target", default="", metavar="STAGE", help="Stage to build (default: the last).")
@click.option("--label", "labels", multiple=True, metavar="K=V", help="Label of the image; repeatable.")
@click.option("--annotation", "annotations", multiple=True, metavar="K=V", help="Annotation of the manifest.")
@click.option(
    "--secret", "secrets", multiple=True, metavar="id=ID[,src=FILE|,env=NAME]", help="Secret for RUN; repeatable."
)
@click.option(
    "--ssh", "ssh", multiple=True, metavar="default|ID[=SOCKET|KEY]", help="ssh agent or keys for RUN; repeatable."
)
@click.option("--add-host", "hosts", multiple=True, metavar="NAME:IP", help="Line of /etc/hosts in RUN; repeatable.")
@click.option("--shm-size", metavar="SIZE", help="Size of /dev/shm in RUN.")
@click.option("--ulimit", "ulimits", multiple=True, metavar="NAME=SOFT[:HARD]", help="Limit in RUN; repeatable.")
@click.option(
    "--allow", "allowed", multiple=True, metavar="ENTITLEMENT", help="Grant security.insecure or network.host."
)
@click.option("--no-cache-filter", "no_cache_stages", multiple=True, metavar="STAGES", help="Run these stages again.")
@click.option("--no-cache", is_flag=True, help="Run every step again.")
@click.option("--pull", is_flag=True, help="Ask the registry for newer base images.")
@click.option("--push", is_flag=True, help="Push the image under its names.")
@click.option("--platform", "platforms", multiple=True, metavar="OS/ARCH", help="Platform of the image.")
@click.option("--network", type=click.Choice(["default", "host", "none"]), default="default", help="Network of RUN.")
@click.option("-o", "--output", "outputs", multiple=True, metavar="type=…,dest=…", help="What to make; repeatable.")
@click.option("--isolation", metavar="TIER", help="Force an isolation tier: range, single.")
@click.option("-q", "--quiet", is_flag=True, help="Print the image id only.")
@click.option("--iidfile", type=click.Path(dir_okay=False), metavar="FILE", help="Write the image id to FILE.")
@click.option("--metadata-file", type=click.Path(dir_okay=False), metavar="FILE", help="Write digests as JSON to FILE.")
@progress_option
@registry_options
@click.pass_obj
def command(session: Session, /, **given: object) -> None:
    """Build an image from the Dockerfile and the files in CONTEXT."""
    invocation = _Invocation(session, given)
    for path in invocation.result_files():
        path.unlink(missing_ok=True)  # a stale result must not look like this one's
    with make_renderer(quiet_if(bool(given["quiet"]), str(given["progress"]))) as sink:
        invocation.run(sink)


class _Invocation:
    """One call of the command."""

    def __init__(self, session: Session, given: Mapping[str, object]) -> None:
        self._session = session
        self._options = given
        self._remote: Remote | None = None
        self._layers: LayerStore | None = None
        self._sink: Renderer | None = None
        platforms = [part for text in self._many("platforms") for part in text.split(",") if part]
        if len(platforms) > 1:
            raise UsageError("several platforms at once are not supported yet", remedy="build one at a time")
        self._platform = Platform.parse(platforms[0]) if platforms else Platform.local()
        self._names = tuple(Reference.parse(text) for text in self._many("tags"))
        self._outputs = self._all_outputs()

    def _many(self, name: str) -> tuple[str, ...]:
        return cast("tuple[str, ...]", self._options[name])

    def _text(self, name: str) -> str:
        return str(self._options[name] or "")

    def result_files(self) -> list[Path]:
        return [Path(self._text(name)) for name in ("iidfile", "metadata_file") if self._options[name]]

    def _all_outputs(self) -> tuple[OutputSpec, ...]:
        outputs = parse_outputs(self._many("outputs"))
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
        from builder.dockerfile.parser import parse
        from builder.instructions.ops import Surroundings
        from builder.solver.build import Request, Services, build
        from builder.solver.context import Contexts
        from builder.solver.recipe import DirectoryContext, Recipe
        from cache.local import LocalCache

        self._sink = sink
        session = self._session
        context, file = self._context_and_file()
        dockerfile = parse(_read_dockerfile(file), str(self._options["file"] or file.name))
        contexts = self._named_contexts()
        build_args = options.build_args(self._many("build_args"), os.environ)
        self._layers = session.layers(self.remote)
        directories = {name: item.path for name, item in contexts.items() if isinstance(item, DirectoryContext)}
        request = Request(
            dockerfile=dockerfile,
            recipe=Recipe(
                platform=self._platform,
                build_args=build_args,
                target=self._text("target"),
                labels=options.pairs(self._many("labels"), "--label", value_needed=False),
                contexts=contexts,
                surroundings=Surroundings(
                    network=self._text("network"),
                    hosts=options.hosts(self._many("hosts")),
                    shm_bytes=options.shm_size(self._text("shm_size")),
                    ulimits=options.ulimits(self._many("ulimits")),
                    hostname=build_args.get("BUILDKIT_SANDBOX_HOSTNAME", ""),
                ),
                allowed=options.entitlements(self._many("allowed")),
            ),
            compression=self._compression(),
            epoch=options.epoch(build_args),
            use_cache=not self._options["no_cache"],
            uncached_stages=frozenset(
                name.lower() for text in self._many("no_cache_stages") for name in text.split(",")
            ),
            annotations=options.pairs(self._many("annotations"), "--annotation"),
        )
        secrets = options.secrets(self._many("secrets"))
        stack = contextlib.ExitStack()

        def open_sources() -> RemoteSources:
            from builder.solver.remote_sources import RemoteSources

            access = self._access(secrets)
            return stack.enter_context(RemoteSources(session.state, session.table, session.blobs, access))

        services = Services(
            state=session.state,
            blobs=session.blobs,
            layers=self._layers,
            cache=LocalCache(session.table),
            contexts=Contexts(context, directories, dockerfile=file, table=session.table, remote=open_sources),
            sink=sink,
            resolve_image=self._resolve,
            enter=self._enter,
            secrets=secrets,
            agents=options.ssh_agents(self._many("ssh")) if self._many("ssh") else None,
        )
        with stack:
            built = build(request, services)
        self._write_outputs(built)
        self._write_results(built)

    def _access(self, secrets: Mapping[str, bytes]) -> Access:
        from builder.solver.remote_sources import Access
        from builder.version import VERSION

        return Access(
            secrets=secrets,
            cert_file=self._text("cert"),
            user_agent=f"tiffin/{VERSION}",
            agent=os.environ.get("SSH_AUTH_SOCK", "") if "default" in self._many("ssh") else "",
        )

    def remote(self) -> Remote:
        """Registries, made when first needed."""
        if self._remote is None:
            assert self._sink is not None
            cert = self._text("cert") or None
            self._remote = self._session.remote(self._sink, self._many("insecure"), cert)
        return self._remote

    def _enter(self) -> None:
        assert self._layers is not None
        self._session.enter(self._layers, self._text("isolation") or None)

    def _resolve(self, name: str, platform: Platform) -> BaseImage:
        """A base image: here whole, looked at before, or from its registry."""
        from builder.solver.recipe import BaseImage

        reference = Reference.parse(name)
        store, image = self._session.store, None
        if not self._options["pull"]:
            image = store.get(reference)
            if image is not None and image.config.platform.architecture != platform.architecture:
                image = None
            image = image or store.resolved(reference, platform)
        image = image or self.remote().look_up(reference, platform)
        return BaseImage(
            name=str(reference), manifest=image.manifest, config=image.config, manifest_digest=image.descriptor.digest
        )

    # -- flags ---------------------------------------------------------------------------------------------------------

    def _context_and_file(self) -> tuple[Path, Path]:
        text = self._text("context")
        if text == "-" or text.startswith(LATER_CONTEXTS):
            raise UsageError(f'context "{text}" is not supported yet', remedy="give a directory")
        context = Path(text)
        if not context.is_dir():
            raise ContextError(f"build context {text} is no directory", remedy="name an existing directory")
        if self._options["file"]:
            if self._text("file") == "-":
                raise UsageError("a Dockerfile on stdin is not supported yet", remedy="give a file")
            return context, Path(self._text("file"))
        for name in ("Dockerfile", "dockerfile"):
            if (context / name).exists():
                return context, context / name
        raise ContextError(f"{text} has no Dockerfile", remedy="create one, or name it with -f")

    def _named_contexts(self) -> dict[str, NamedContext]:
        from builder.solver.recipe import DirectoryContext, ImageContext

        result: dict[str, NamedContext] = {}
        for name, value in options.pairs(self._many("contexts"), "--build-context").items():
            if value.startswith("docker-image://"):
                result[name] = ImageContext(reference=value.removeprefix("docker-image://"))
            elif value.startswith(LATER_CONTEXTS):
                raise UsageError(
                    f"--build-context {name}={value} is not supported yet", remedy="give a directory or docker-image://"
                )
            elif not Path(value).is_dir():
                raise ContextError(f"--build-context {name}={value} is no directory", remedy="name an existing one")
            else:
                result[name] = DirectoryContext(path=Path(value))
        return result

    def _compression(self) -> Compression | None:
        from builder.layer.compress import Compression

        specs = [spec for spec in self._outputs if spec.kind in NEEDS_BLOBS]
        if not specs:
            return None
        if len({(spec.compression, spec.compression_level) for spec in specs}) > 1:
            raise UsageError("the outputs want different compressions", remedy="use one for all")
        return Compression(kind=specs[0].compression, level=specs[0].compression_level)

    # -- results -------------------------------------------------------------------------------------------------------

    def _write_outputs(self, built: Built) -> None:
        for spec in self._outputs:
            match spec.kind:
                case "image":
                    image = self._keep(built, spec)
                    if spec.push:
                        self._push(image, spec)
                case "registry":
                    self._push(self._keep(built, spec), spec)
                case "oci" | "docker":
                    self._save(built, spec)
                case "tar" | "local":
                    self._export(built, spec)

    def _all_names(self, spec: OutputSpec) -> tuple[Reference, ...]:
        return tuple(dict.fromkeys((*self._names, *(Reference.parse(name) for name in spec.names))))

    def _bring_layers(self, built: Built) -> None:
        """Layers of a base that nothing had to read yet."""
        missing = [ref for ref in built.layer_refs if not self._session.blobs.has(ref.digest)]
        if missing:
            self.remote().fetch_all(missing)

    def _keep(self, built: Built, spec: OutputSpec) -> object:
        self._bring_layers(built)
        return self._session.store.put(built.manifest_bytes, built.config_bytes, self._all_names(spec))

    def _push(self, image: object, spec: OutputSpec) -> None:
        from builder.image.store import StoredImage

        assert isinstance(image, StoredImage)
        for name in self._all_names(spec):
            digest = self.remote().push(image, name)
            self._note(f"pushed {name}@{digest}")

    def _save(self, built: Built, spec: OutputSpec) -> None:
        from builder.image.archive import Saved, output_file, save

        self._bring_layers(built)
        image = Saved(manifest=built.manifest_bytes, config=built.config_bytes, names=self._all_names(spec))
        with _binary_output(spec.dest), output_file(spec.dest, sys.stdout.buffer) as sink:
            save([image], self._session.blobs, sink, "docker" if spec.kind == "docker" else "oci")

    def _export(self, built: Built, spec: OutputSpec) -> None:
        from builder.image.archive import output_file
        from builder.solver.export import export_directory, export_tar

        assert self._layers is not None
        if spec.kind == "local":
            export_directory(built.chain, self._layers, self._session.state, Path(spec.dest))
            return
        with _binary_output(spec.dest), output_file(spec.dest, sys.stdout.buffer) as sink:
            export_tar(built.chain, self._layers, self._session.state, sink)

    def _write_results(self, built: Built) -> None:
        from cache.digest import Digest

        image_id = Digest.of(built.config_bytes)
        if self._options["iidfile"]:
            Path(self._text("iidfile")).write_text(str(image_id))
        if self._options["metadata_file"]:
            document: dict[str, object] = {"containerimage.config.digest": str(image_id)}
            if built.manifest is not None:
                document["containerimage.digest"] = str(Digest.of(built.manifest_bytes))
                document["containerimage.descriptor"] = {
                    "mediaType": built.manifest.media_type,
                    "digest": str(Digest.of(built.manifest_bytes)),
                    "size": len(built.manifest_bytes),
                }
            if self._names:
                document["image.name"] = ",".join(str(name) for name in self._names)
            Path(self._text("metadata_file")).write_text(json.dumps(document, indent=2) + "\n")
        if not any(spec.dest == STDOUT for spec in self._outputs):
            click.echo(str(image_id))

    def _note(self, text: str) -> None:
        assert self._sink is not None
        self._sink.emit(Noted(message=text))


def _read_dockerfile(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_DOCKERFILE_BYTES + 1)
    except OSError as exc:
        raise ContextError(f"cannot read Dockerfile {path}: {exc.strerror}", remedy="name it with -f") from exc
    if len(data) > MAX_DOCKERFILE_BYTES:
        raise ContextError(f"{path} is larger than {MAX_DOCKERFILE_BYTES} bytes", remedy="it is no Dockerfile")
    return data


@contextlib.contextmanager
def _binary_output(dest: str):  # type: ignore[no-untyped-def]  # a guard with nothing to yield
    if dest == STDOUT and sys.stdout.isatty():
        raise UsageError("refusing to write an archive to a terminal", remedy="redirect stdout, or give dest=FILE")
    yield
