"""What the options of `tiffin build` ask for, as the API takes it: pairs, secrets, hosts, limits, caches, outputs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from tiffin.builder.cli.options.security import parse_security
from tiffin.builder.dockerfile.suggest import did_you_mean
from tiffin.builder.errors import UsageError
from tiffin.builder.options import csv_pairs, is_on, size_bytes
from tiffin.builder.settings.config_file import config_path
from tiffin.builder.settings.texts import need_text
from tiffin.builder.settings.times import EPOCH, epoch, seconds_of
from tiffin.builder.sharing.inline import has_inline, without_inline
from tiffin.cache.foundation.frozen import replace
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.api.build_options import BuildOptions, MetadataOptions, SignOptions
    from tiffin.builder.cli.options.build_arguments import BuildArguments
    from tiffin.builder.containers.limits import Limits
    from tiffin.builder.delivery.output_spec import OutputSpec
    from tiffin.builder.egress.allowed import Egress
    from tiffin.builder.sharing.options import CacheSpec

MAX_SECRET_BYTES = 500 << 10  # BuildKit's
ULIMITS = (
    "as", "core", "cpu", "data", "fsize", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss", "rtprio", "rttime",
    "sigpending", "stack",
)  # fmt: skip
RESOURCES = ("memory", "memory-swap", "cpus", "cpu-shares", "cpu-period", "cpu-quota", "cpuset-cpus", "cpuset-mems")
ENTITLEMENTS = ("network.host", "security.insecure", "device")
GIT_LABELS = "BUILDX_GIT_LABELS"
PLATFORM_VARIABLE = "DOCKER_DEFAULT_PLATFORM"
HOST_GATEWAY = "host-gateway"


def build_options(line: BuildArguments) -> BuildOptions:
    """Return what a line asks for. Raises UsageError."""
    from tiffin.builder.api.build_options import COMMITS, ONE, STEPS
    from tiffin.builder.cli.options.attestations import attestations
    from tiffin.builder.delivery.annotations import Annotations
    from tiffin.builder.oci.reference import Reference
    from tiffin.builder.oci.spec import Platform

    given = line.platforms or (os.environ.get(PLATFORM_VARIABLE, ""),)
    platforms = [part for text in given for part in text.split(",") if part]
    attest = attestations(line)
    return replace(
        _of_steps(line),
        context=line.context,
        file=line.file,
        target=line.target,
        platforms=tuple(dict.fromkeys(map(Platform.parse, platforms))),
        annotations=Annotations.parse(line.annotations),
        names=tuple(Reference.parse(text) for text in line.tags),
        outputs=_outputs(line),
        contexts=pairs(line.contexts, "--build-context"),
        labels=_labels(line, os.environ),
        epoch=epoch(line.timestamp, "--timestamp") if line.timestamp is not None else None,
        layering=ONE if line.squash else COMMITS if line.commit == "explicit" else STEPS,
        pull=line.pull,
        use_cache=not line.no_cache,
        uncached_stages=frozenset(name.lower() for text in line.no_cache_stages for name in text.split(",")),
        caches=tuple(shared_caches(line.cache_from, without_inline(line.cache_to), os.environ)),
        inline_cache=has_inline(line.cache_to),
        cache_mounts=tuple(part for text in line.cache_mounts for part in text.split(",") if part),
        cache_peers=line.cache_peers,
        sign_key=Path(line.sign_key) if line.sign_key else None,
        attest=attest,
        sign=_sign(line.sign),
        metadata=_metadata(line, attest.provenance.mode if attest.provenance is not None else "", os.environ),
        explain=line.explain,
        locked=line.locked,
        lock_file=line.lock_file,
        frozen=line.frozen,
        egress=_egress(line.egress),
        record=line.record,
        replay=line.replay,
        farm=line.farm_access(),
        registry=line.registry_access(),
    )


def _sign(text: str) -> SignOptions | None:
    if not text:
        return None
    from tiffin.builder.cli.options.attestations import sign_options

    return sign_options(text, "--sign")


def _of_steps(line: BuildArguments) -> BuildOptions:
    """Return what a line asks for in the steps themselves."""
    from tiffin.builder.api.build_options import BuildOptions

    security = parse_security(line.security, Path.cwd())
    return BuildOptions(
        build_args=build_args(line.build_args, os.environ),
        secrets=secrets(line.secrets),
        ssh=line.ssh,
        allowed=entitlements(line.allowed),
        network=line.network,
        hosts=hosts(line.hosts),
        shm_bytes=shm_size(line.shm_size),
        ulimits=ulimits(line.ulimits),
        limits=_limits(line),
        cache_reads=line.cache_reads,
        verify_reads=line.verify_reads,
        run_retries=line.retry_run,
        run_timeout_seconds=seconds_of(line.run_timeout, "--run-timeout ") if line.run_timeout else 0.0,
        seccomp=security.seccomp,
        no_new_privs=security.no_new_privs,
        unmasked=security.unmasked,
        isolation=line.isolation.removeprefix("default"),
    )


def _limits(line: BuildArguments) -> Limits | None:
    """Return what each RUN may use, None where nothing is said of it."""
    if not any((line.resource, line.memory, line.memory_swap, line.cpus, line.cpu_shares, line.cpu_period,
                line.cpu_quota, line.cpuset_cpus, line.cpuset_mems)):  # fmt: skip
        return None
    return _step_limits(line)


def _step_limits(line: BuildArguments) -> Limits:
    """Return the limits of a line; --resource wins over the flag of the same name. Raises UsageError."""
    from tiffin.builder.containers.limits import parse_limits

    found = {
        "memory": line.memory,
        "memory-swap": line.memory_swap,
        "cpus": line.cpus,
        "cpu-shares": str(line.cpu_shares or ""),
        "cpu-period": str(line.cpu_period or ""),
        "cpu-quota": str(line.cpu_quota or ""),
        "cpuset-cpus": line.cpuset_cpus,
        "cpuset-mems": line.cpuset_mems,
    }
    for text in line.resource:
        key, equals, value = (part.strip() for part in text.partition("="))
        if not equals:
            raise UsageError(f'invalid resource "{text}", expected key=value', remedy="write --resource memory=2g")
        if key not in RESOURCES:
            raise UsageError(
                f'unknown resource "{key}"',
                remedy=did_you_mean(key, RESOURCES) or f"it is one of {', '.join(RESOURCES)}",
            )
        found[key] = value
    return parse_limits(
        memory=found["memory"],
        swap=found["memory-swap"],
        cpus=found["cpus"],
        shares=_resource_number("cpu-shares", found),
        period=_resource_number("cpu-period", found),
        quota=_resource_number("cpu-quota", found),
        cpuset=found["cpuset-cpus"],
        nodes=found["cpuset-mems"],
    )


def _resource_number(key: str, found: dict[str, str]) -> int:
    try:
        return int(found[key] or 0)
    except ValueError as exc:
        raise UsageError(f'invalid value "{found[key]}" for resource {key}', remedy="write a number") from exc


def _egress(texts: Sequence[str]) -> Egress | None:
    if not texts:
        return None
    from tiffin.builder.egress.allowed import parse_egress

    return parse_egress(texts)


def _outputs(line: BuildArguments) -> tuple[OutputSpec, ...]:
    """Return what -o, --load and --push ask for; without any, an image."""
    from tiffin.builder.delivery.output_spec import OutputSpec, check_untagged, parse_outputs, with_split

    outputs = parse_outputs(line.outputs)
    check_untagged(outputs, line.tags)
    if line.load and not any(spec.kind == "image" for spec in outputs):
        outputs = (*outputs, OutputSpec(kind="image"))
    if line.push and not any(spec.push for spec in outputs):
        outputs = (*outputs, OutputSpec(kind="registry", push=True))
    if line.merge:
        if not any(spec.push for spec in outputs):
            raise UsageError("--merge is about a push, and no output is pushed", remedy="add --push")
        outputs = tuple(replace(spec, merges=spec.push) for spec in outputs)
    if line.iidfile and all(spec.kind in ("tar", "local") for spec in outputs) and outputs:
        raise UsageError("--iidfile needs an image, but the output is a file system", remedy="leave it out")
    no_load = is_on(os.environ, "BUILDX_NO_DEFAULT_LOAD")
    outputs = outputs or (OutputSpec(kind="cacheonly" if no_load else "image"),)
    outputs = with_split(outputs, line.split_layers) if line.split_layers else outputs
    return outputs if _has_oci_types(line) else tuple(replace(spec, oci_types=False) for spec in outputs)


def _has_oci_types(line: BuildArguments) -> bool:
    """Tell whether --format, or buildah's variable for it, leaves media types as they are. Raises UsageError."""
    form = line.format or os.environ.get("BUILDAH_FORMAT", "")
    if form not in ("", "oci", "docker"):
        raise UsageError(f'BUILDAH_FORMAT="{form}" is not a form of images', remedy="set oci or docker")
    return form != "docker"


def _labels(line: BuildArguments, environ: Mapping[str, str]) -> dict[str, str]:
    """Return labels of the line, and those of its repository where they are asked for."""
    labels = pairs(need_text(line.labels, "--label"), "--label", value_needed=False)
    if not environ.get(GIT_LABELS):
        return labels
    from tiffin.builder.settings.git_labels import git_labels

    return {**git_labels(environ, line.context, line.file), **labels}


def _metadata(line: BuildArguments, attested: str, environ: Mapping[str, str]) -> MetadataOptions:
    """Return what --metadata-file holds beyond digests, as buildx's variables say."""
    from tiffin.builder.api.build_options import MetadataOptions

    if not line.metadata_file:
        return MetadataOptions()
    mode = environ.get("BUILDX_METADATA_PROVENANCE", "").lower()
    if mode not in ("min", "max"):
        mode = "" if mode in ("disabled", "false", "f", "0") else attested or "min"
    return MetadataOptions(provenance=mode, warnings=is_on(environ, "BUILDX_METADATA_WARNINGS"))


def pairs(texts: Sequence[str], flag: str, *, value_needed: bool = True) -> dict[str, str]:
    """Parse NAME=VALUE options by name; the last of a name wins."""
    result: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name or (not equals and value_needed):
            raise UsageError(f'{flag} "{text}" is not NAME=VALUE', remedy=f"write {flag} NAME=VALUE")
        result[name] = value
    return result


def build_args(texts: Sequence[str], environ: Mapping[str, str]) -> dict[str, str]:
    """Parse NAME=VALUE, or NAME to take it from the environment if it is there; SOURCE_DATE_EPOCH comes from there by
    itself.
    """
    result: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name:
            raise UsageError(f'--build-arg "{text}" has no name', remedy="write --build-arg NAME=VALUE")
        if equals:
            result[name] = value
        elif name in environ:
            result[name] = environ[name]
        need_text([f"{name}={result.get(name, '')}"], "--build-arg")
    if EPOCH in environ:
        result.setdefault(EPOCH, environ[EPOCH])
    return result


def secrets(texts: Sequence[str]) -> dict[str, bytes]:
    """Parse --secret id=ID[,src=FILE|,env=NAME]: without either, the variable called ID, else the file."""
    result: dict[str, bytes] = {}
    for text in texts:
        fields = _fields(text, "--secret", ("id", "src", "source", "env", "type"), bare="id")
        kind = fields.get("type", "")
        if kind not in ("", "file", "env"):
            raise UsageError(f'--secret "{text}": type "{kind}" is unknown', remedy="use type=file or type=env")
        source = fields.get("src", fields.get("source", ""))
        variable = fields.get("env", "")
        if kind == "env" and source and not variable:
            source, variable = "", source
        name = fields.get("id") or variable or Path(source).name
        if not name or (source and variable):
            raise UsageError(f'--secret "{text}" is incomplete', remedy="write --secret id=NAME,src=FILE or ,env=NAME")
        if not source and not variable:
            variable, source = (name, "") if kind == "env" or name in os.environ else ("", name)
        if variable:
            if variable not in os.environ:
                raise UsageError(f"--secret id={name}: the variable {variable} is not set", remedy="export it")
            data = os.environb[os.fsencode(variable)]
        else:
            data = _file(Path(source), f"--secret id={name}")
        if len(data) > MAX_SECRET_BYTES:
            raise UsageError(f"--secret id={name} is larger than {MAX_SECRET_BYTES} bytes", remedy="give a smaller one")
        result[name] = data
    return result


def hosts(texts: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Parse --add-host NAME:ADDRESS or NAME=ADDRESS; host-gateway is this machine."""
    if not texts:
        return ()
    import ipaddress

    result = []
    for text in texts:
        separator = "=" if "=" in text else ":"
        name, found, address = text.partition(separator)
        address = address.removeprefix("[").removesuffix("]")
        if address == HOST_GATEWAY:
            address = "127.0.0.1"  # RUN is in the machine's own network
        try:
            ipaddress.ip_address(address)
        except ValueError as exc:
            raise UsageError(f'--add-host "{text}" has no valid address', remedy="write NAME:ADDRESS") from exc
        if not name or not found:
            raise UsageError(f'--add-host "{text}" has no name', remedy="write NAME:ADDRESS")
        result.append((name, address))
    return tuple(result)


def ulimits(texts: Sequence[str]) -> tuple[tuple[str, int, int], ...]:
    """Parse --ulimit NAME=SOFT[:HARD]; -1 is no limit."""
    result = []
    for text in texts:
        name, _, value = text.partition("=")
        if name not in ULIMITS:
            raise UsageError(
                f'--ulimit "{text}": unknown limit "{name}"',
                remedy=did_you_mean(name, ULIMITS) or f"the limits are {', '.join(ULIMITS)}",
            )
        soft, _, hard = value.partition(":")
        try:
            low, high = int(soft), int(hard or soft)
        except ValueError as exc:
            raise UsageError(f'--ulimit "{text}" has no number', remedy="write NAME=SOFT[:HARD]") from exc
        if low < -1 or high < -1 or (high != -1 and (low > high or low == -1)):
            raise UsageError(f'--ulimit "{text}": the soft limit is beyond the hard one', remedy="give SOFT <= HARD")
        result.append((name, low, high))
    return tuple(result)


def shm_size(text: str) -> int:
    """Parse --shm-size in bytes, 0 for the default."""
    try:
        return size_bytes(text or "0")
    except ValueError as exc:
        raise UsageError(f'--shm-size "{text}" is not a valid size', remedy="write a number with k, m or g") from exc


def entitlements(texts: Sequence[str]) -> frozenset[str]:
    """Parse --allow: what a Dockerfile may ask for beyond the usual."""
    names = frozenset(name for text in texts for name in text.split(","))
    for name in sorted(name for name in names if name not in ENTITLEMENTS and not name.startswith("device=")):
        raise UsageError(
            f'--allow "{name}" is unknown',
            remedy=did_you_mean(name, ENTITLEMENTS) or f"use {', '.join(ENTITLEMENTS)}",
        )
    return names


def _fields(text: str, flag: str, names: Sequence[str], *, bare: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    try:
        items = csv_pairs(text)
    except ValueError as exc:
        raise UsageError(f'{flag} "{text}" has an empty item', remedy=f"write {flag} {bare}=NAME,…") from exc
    for name, value in items:
        if value is None and len(items) == 1:
            return {bare: text}
        if name not in names or name in fields or value is None:
            raise UsageError(
                f'{flag} "{text}": "{name}" is unknown, given twice, or has no value',
                remedy=did_you_mean(name, names) or f"the fields are {', '.join(names)}",
            )
        fields[name] = value
    return fields


def _file(path: Path, what: str) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(MAX_SECRET_BYTES + 1)
    except (OSError, ValueError) as exc:  # ValueError: a NUL in the path
        reason = exc.strerror if isinstance(exc, OSError) else exc
        raise UsageError(f"{what}: cannot read {path}: {reason}", remedy="name a readable file") from exc


def shared_caches(cache_from: Sequence[str], cache_to: Sequence[str], environ: Mapping[str, str]) -> list[CacheSpec]:
    """Return the shared caches of the flags, then those of TIFFIN_CACHE and the configuration file; most builds have
    none.
    """
    path = config_path(environ)
    if not (cache_from or cache_to or environ.get("TIFFIN_CACHE") or path):
        return []
    from tiffin.builder.sharing.options import caches_of

    return caches_of(cache_from, cache_to, environ.get("TIFFIN_CACHE", ""), path)


def begin_as_limited(options: BuildOptions) -> None:
    """Begin this command again where limits can be set, if only that allows it."""
    if options.limits is not None:
        import os

        from tiffin.builder.containers.limits import begin_in_scope

        begin_in_scope(options.limits, os.environ)
