"""What a line of Kaniko's executor asks for, as the API of builds takes it."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path

from tiffin.builder.api.build_options import ONE, STEPS, BuildOptions
from tiffin.builder.cli.options.build_values import build_args, pairs, secrets, shared_caches
from tiffin.builder.cli.options.kaniko.arguments import KanikoArguments
from tiffin.builder.delivery.annotations import Annotations
from tiffin.builder.delivery.output_spec import OutputSpec, parse_output
from tiffin.builder.errors import UsageError
from tiffin.builder.oci.reference import Reference
from tiffin.builder.oci.spec import Platform
from tiffin.builder.options import switch
from tiffin.builder.settings.access import RegistryAccess
from tiffin.builder.settings.texts import need_text
from tiffin.cache.foundation.frozen import replace
from tiffin.cache.trust import HostCertificates

EVERY_REGISTRY = "*"
MIRRORS_VARIABLE, MAP_VARIABLE, NO_PUSH_VARIABLE = "KANIKO_REGISTRY_MIRROR", "KANIKO_REGISTRY_MAP", "KANIKO_NO_PUSH"
HUB_NAMES = ("index.docker.io", "registry-1.docker.io", "docker.io")
UNNAMED = "unset-repo/unset-image-name"  # Kaniko's, of an archive without a destination
GIT_METHODS = ("https", "http")
GIT_KEYS = ("branch", "single-branch", "depth", "recurse-submodules", "insecure-skip-tls")
EVERY_TIME = 0  # of a reproducible image, in seconds since 1970


def kaniko_options(line: KanikoArguments, environ: Mapping[str, str]) -> BuildOptions:
    """Return the build that a line asks for. Raises UsageError."""
    pushes = not line.no_push and not _is_on(environ.get(NO_PUSH_VARIABLE, ""), NO_PUSH_VARIABLE)
    if pushes and not line.destinations:
        raise UsageError("there is no --destination", remedy="name one, or add --no-push")
    names = tuple(Reference.parse(text) for text in line.destinations)
    _git_fields(line)
    annotations = Annotations.parse(need_text(line.annotations, "--annotation"))
    options = BuildOptions(
        context_directory=line.context_sub_path,
        reads_ignores=True,
        target=next((name for text in line.target for name in text.split(",")), ""),
        platforms=(Platform.parse(line.platform),) if line.platform else (),
        names=names,
        outputs=_outputs(line, pushes=pushes),
        build_args=build_args([_argument(text, environ) for text in line.build_args], environ),
        labels=pairs(need_text(line.labels, "--label"), "--label", value_needed=False),
        annotations=annotations,
        epoch=EVERY_TIME if line.reproducible else None,
        layering=ONE if line.single_snapshot else STEPS,
        use_cache=line.cache,
        caches=tuple(shared_caches(*_caches(line, pushes=pushes), environ)) if line.cache else (),
        secrets=secrets(line.secrets),
        registry=registry_access(line, environ, names),
    )
    return _with_context(_with_dockerfile(options, line), line, environ)


def registry_access(line: KanikoArguments, environ: Mapping[str, str], names: tuple[Reference, ...]) -> RegistryAccess:
    """Return how to reach registries. Raises UsageError."""
    insecure = [*line.insecure_registry, *line.skip_tls_verify_registry]
    if line.insecure or line.skip_tls_verify:
        insecure += [name.registry for name in names]
    if line.insecure_pull or line.skip_tls_verify_pull:
        insecure.append(EVERY_REGISTRY)
    mirrors = [*line.registry_mirror, *filter(None, [environ.get(MIRRORS_VARIABLE)])]
    mirrors_of: dict[str, tuple[str, ...]] = {}
    for text in (*line.registry_map, *filter(None, [environ.get(MAP_VARIABLE)])):
        for host, mirror in pairs(text.strip(";").split(";"), "--registry-map").items():
            name = "docker.io" if host in HUB_NAMES else host
            mirrors_of[name] = (*mirrors_of.get(name, ()), mirror)
    return RegistryAccess(
        insecure=tuple(insecure),
        mirrors=tuple(mirrors),
        mirrors_of=mirrors_of,
        only_mirrors=line.skip_default_registry_fallback,
        certificates=_certificates(line),
        docker_config=_docker_config(line, environ),
    )


def _docker_config(line: KanikoArguments, environ: Mapping[str, str]) -> str:
    """Find docker's config.json where Kaniko has it, unless the environment says where it is."""
    folder = Path(line.kaniko_dir, ".docker")
    is_there = "DOCKER_CONFIG" not in environ and (folder / "config.json").is_file()
    return str(folder) if is_there else ""


def _certificates(line: KanikoArguments) -> dict[str, HostCertificates]:
    files = pairs(line.registry_certificate, "--registry-certificate")
    found = {host: HostCertificates(files=(path,)) for host, path in files.items()}
    for host, text in pairs(line.registry_client_cert, "--registry-client-cert").items():
        certificate, comma, key = text.partition(",")
        if not comma:
            raise UsageError(f"--registry-client-cert {host}={text} has no key", remedy="write HOST=CERTIFICATE,KEY")
        found[host] = replace(found.get(host, HostCertificates()), pairs=((certificate, key),))
    for path in [
        path for one in found.values() for path in (*one.files, *(part for pair in one.pairs for part in pair))
    ]:
        if not Path(path).is_file():
            raise UsageError(f"{path} of a registry's certificates is not a file", remedy="name a PEM file")
    return found


def _outputs(line: KanikoArguments, *, pushes: bool) -> tuple[OutputSpec, ...]:
    level = "" if line.compression_level == "-1" else f",compression-level={line.compression_level}"
    form = f"compression={line.compression}{level},oci-mediatypes={str(line.image_format == 'oci').lower()}"
    outputs = []
    if line.tar_path:
        name = "" if line.destinations else f",name={UNNAMED}"
        outputs.append(parse_output(f'type=docker,"dest={line.tar_path}",{form}{name}'))
    if line.oci_layout_path:
        outputs.append(parse_output(f'type=oci,tar=false,"dest={line.oci_layout_path}",{form}'))
    if pushes:
        pushed = parse_output(f"type=registry,{form}")
        outputs.append(replace(pushed, keeps_immutable=line.push_ignore_immutable_tag_errors))
    return tuple(outputs) or (OutputSpec(kind="image"),)


def _caches(line: KanikoArguments, *, pushes: bool) -> tuple[list[str], list[str]]:
    """Return the texts of --cache-from and --cache-to."""
    if line.cache_repo.startswith("oci:"):
        place = line.cache_repo.removeprefix("oci:")
        source, sink = f'type=local,"src={place}"', f'type=local,"dest={place}",mode=max'
    elif line.cache_repo or line.destinations:
        repository = line.cache_repo or f"{Reference.parse(line.destinations[0]).name}/cache"
        source, sink = repository, f"type=registry,ref={repository},mode=max"
    else:
        raise UsageError("--cache has no place", remedy="name one with --cache-repo, or a --destination")
    if not pushes and not line.cache_repo and not line.no_push_cache:
        raise UsageError("--cache without a push has no place", remedy="name one with --cache-repo")
    return [source], [] if line.no_push_cache else [sink]


def _argument(text: str, environ: Mapping[str, str]) -> str:
    """Return NAME=VALUE; Kaniko takes the empty text where the environment has none."""
    return text if "=" in text else f"{text}={environ.get(text, '')}"


def _with_dockerfile(options: BuildOptions, line: KanikoArguments) -> BuildOptions:
    """Take the Dockerfile of the working directory first, then that of the context."""
    path = Path(line.dockerfile)
    if not path.is_file():
        is_usual = line.dockerfile == "Dockerfile"
        return replace(options, file="" if is_usual else line.dockerfile)
    try:
        return replace(options, file=str(path.absolute()), dockerfile=path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as exc:
        raise UsageError(f"cannot read {line.dockerfile}: {exc}", remedy="name a Dockerfile") from exc


def _with_context(options: BuildOptions, line: KanikoArguments, environ: Mapping[str, str]) -> BuildOptions:
    """Set the context of any form. Raises UsageError for those that need a library that is not there."""
    scheme, separator, rest = line.context.partition("://")
    match scheme if separator else "dir":
        case "dir":
            return _in_directory(options, rest if separator else line.context)
        case "tar":
            return replace(options, context="-" if rest == "stdin" else rest)
        case "git":
            return _with_git(options, rest, line, environ)
        case "https" | "http":
            return replace(options, context=line.context)
        case "s3":
            return replace(options, context=line.context)
        case "gs":
            raise UsageError(
                f"--context {line.context}: there is no client of Google's storage",
                remedy="give a signed https:// URL, or copy it with gsutil and use tar://FILE",
            )
    raise UsageError(f'--context {line.context}: "{scheme}://" is unknown', remedy="use dir, tar, git, https or s3")


def _in_directory(options: BuildOptions, text: str) -> BuildOptions:
    place = Path(text, options.context_directory)
    beside = place / (options.file or "Dockerfile")
    if options.dockerfile is not None:
        file = options.file  # by its path, so that an ignore file beside it counts
    elif options.file.startswith(("http://", "https://")):
        file = options.file
    else:
        file = str(beside) if options.file else ""
    return replace(options, context=str(place), context_directory="", file=file, dockerfile=None)


def _with_git(options: BuildOptions, text: str, line: KanikoArguments, environ: Mapping[str, str]) -> BuildOptions:
    """Read git://HOST/PATH[#REF[#COMMIT]]: Kaniko clones it by https, with what GIT_USERNAME and so on say."""
    from urllib.parse import urlencode

    address, *fragments = text.split("#")
    fields = _git_fields(line)
    method = environ.get("GIT_PULL_METHOD", "")
    method = method if method in GIT_METHODS else "https"
    ref = fields.get("branch") or (fragments[0] if fragments else "")
    ref = fragments[1] if len(fragments) > 1 else ref
    submodules = _is_on(fields.get("recurse-submodules", "false"), "--git recurse-submodules")
    query = {"submodules": str(submodules).lower(), **({"ref": ref} if ref else {})}
    host = address.partition("/")[0].rpartition("@")[2]
    return replace(
        options,
        context=f"git+{method}://{address}?{urlencode(query)}",
        secrets={**options.secrets, **_git_secrets(host, environ)},
    )


def _git_fields(line: KanikoArguments) -> dict[str, str]:
    fields = pairs([part for text in line.git for part in text.split(",")], "--git")
    for name in fields:
        if name not in GIT_KEYS:
            raise UsageError(f'--git: "{name}" is unknown', remedy=f"the fields are {', '.join(GIT_KEYS)}")
    if _is_on(fields.get("insecure-skip-tls", "false"), "--git insecure-skip-tls"):
        raise UsageError(
            "--git insecure-skip-tls is refused: sources that nobody vouches for are not built",
            remedy="trust the server's certificate with SSL_CERT_FILE or --registry-certificate HOST=FILE",
        )
    return fields


def _git_secrets(host: str, environ: Mapping[str, str]) -> dict[str, bytes]:
    user, password = environ.get("GIT_USERNAME", ""), environ.get("GIT_PASSWORD", "")
    if environ.get("GIT_TOKEN"):
        user, password = environ["GIT_TOKEN"], ""
    if not (user or password):
        return {}
    return {f"GIT_AUTH_HEADER.{host}": b"basic " + base64.b64encode(f"{user}:{password}".encode())}


def _is_on(text: str, what: str) -> bool:
    try:
        return switch(text or "false")
    except ValueError as exc:
        raise UsageError(f'{what}: "{text}" is neither true nor false', remedy="write true or false") from exc
