"""The -o/--output option: `type=oci,dest=FILE,…`, a bare path for type=local, `-` for a tar on stdout."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Literal

from tiffin.builder.dockerfile.suggest import did_you_mean
from tiffin.builder.errors import UsageError
from tiffin.builder.options import csv_pairs, size_bytes
from tiffin.cache.foundation.frozen import dataclass, replace
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.solver.results import Split

_OF_SPLITS = ("size", "max")
_OF_IMAGES = (
    "compression",
    "compression-level",
    "rewrite-timestamp",
    "source-date-epoch",
    "oci-mediatypes",
    "layers",
    *_OF_SPLITS,
)
_OF_STORES = (
    "unpack",
    "store",
    "dangling-name-prefix",
    "name-canonical",
)  # buildx's, of containerd: nothing depends on them
TYPES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "image": ("name", "push", "merge", "push-by-digest", "registry.insecure", *_OF_STORES, *_OF_IMAGES),
        "registry": ("name", "push", "merge", "push-by-digest", "registry.insecure", *_OF_STORES, *_OF_IMAGES),
        "oci": ("dest", "name", "tar", *_OF_IMAGES),
        "docker": ("dest", "name", *_OF_IMAGES),
        "tar": ("dest",),
        "local": ("dest",),
        "cacheonly": (),
    }
)
Kind = Literal["none", "gzip", "zstd", "zstd:chunked"]
LINKED = "linked"  # no option has it: an image that only other builds of the same command stand on
NEEDS_BLOBS = ("image", "registry", "oci", "docker", LINKED)
STDOUT = "-"
SPLIT = "split"  # the value of layers=
MIN_PART_BYTES = 64 << 10
MAX_LAYERS = 125  # Docker's limit


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputSpec:
    """One output. `dest` is a path, or `-` for stdout; `names` are references given by name=."""

    kind: str
    dest: str = ""
    names: tuple[str, ...] = ()
    push: bool = False
    compression: Kind = "gzip"
    compression_level: int | None = None
    by_digest: bool = False  # push without a tag
    is_directory: bool = False  # an OCI layout instead of a tar of one
    oci_types: bool = True  # False: Docker's media types
    rewrites_times: bool | None = None  # None: as the default is
    epoch: str | None = None  # source-date-epoch; "" for none
    keeps_immutable: bool = False  # a tag that exists and may not change is fine
    merges: bool = False  # into the index that the name has
    insecure: bool = False  # the registries of its names may speak plain http
    split: Split | None = None  # layers become several


def parse_output(text: str) -> OutputSpec:
    """Read one -o value; raises UsageError naming the part at fault."""
    if text == STDOUT:
        return OutputSpec(kind="tar", dest=STDOUT)
    if "=" not in text:
        return OutputSpec(kind="local", dest=text)
    fields = _fields(text)
    kind = fields.pop("type", "")
    if kind not in TYPES:
        raise UsageError(
            f'unknown output type "{kind}" in --output {text}',
            remedy=did_you_mean(kind, list(TYPES)) or f"use type={'|'.join(TYPES)}",
        )
    for name in fields:
        if name not in TYPES[kind]:
            raise UsageError(
                f'--output type={kind} takes no "{name}"',
                remedy=did_you_mean(name, TYPES[kind]) or f"it takes {', '.join(TYPES[kind]) or 'nothing else'}",
            )
    kind, dest = _place(kind, fields)
    return OutputSpec(
        kind=kind,
        dest=dest,
        names=tuple(name for name in fields.get("name", "").split(",") if name),
        push=_flag(fields, "push", default=kind == "registry"),
        compression=_compression(fields),
        compression_level=_level(fields),
        by_digest=_flag(fields, "push-by-digest"),
        is_directory=not _flag(fields, "tar", default=True),
        oci_types=_oci_types(fields),
        rewrites_times=_flag(fields, "rewrite-timestamp") if "rewrite-timestamp" in fields else None,
        epoch=fields.get("source-date-epoch"),
        merges=_flag(fields, "merge"),
        insecure=_flag(fields, "registry.insecure"),
        split=_split(fields),
    )


def with_split(specs: Sequence[OutputSpec], text: str) -> tuple[OutputSpec, ...]:
    """Return outputs with `[size=SIZE][,max=N]` of --split-layers; raises UsageError where none is an image."""
    fields = _fields(text, "--split-layers")
    for name in fields:
        if name not in _OF_SPLITS:
            raise UsageError(f'--split-layers takes no "{name}"', remedy=f"it takes {', '.join(_OF_SPLITS)}")
    if not any(spec.kind in NEEDS_BLOBS for spec in specs):
        raise UsageError("--split-layers is about an image, and no output is one", remedy="leave it out")
    split = _split_of(fields)
    return tuple(replace(spec, split=spec.split or split) if spec.kind in NEEDS_BLOBS else spec for spec in specs)


def _split(fields: Mapping[str, str]) -> Split | None:
    """Return how layers are split, None where they are not."""
    wanted = fields.get("layers")
    if wanted == SPLIT:
        return _split_of(fields)
    if wanted is not None:
        raise UsageError(f'unknown layers "{wanted}" in --output', remedy=f"use layers={SPLIT}, or leave it out")
    for name in _OF_SPLITS:
        if name in fields:
            raise UsageError(f"{name}={fields[name]} in --output is about layers={SPLIT}", remedy=f"add layers={SPLIT}")
    return None


def _split_of(fields: Mapping[str, str]) -> Split:
    from tiffin.builder.solver.results import Split

    usual = Split()
    part_bytes, max_layers = usual.part_bytes, usual.max_layers
    if (text := fields.get("size")) is not None:
        try:
            part_bytes = size_bytes(text)
        except ValueError as exc:
            raise UsageError(f"size={text} is not a size", remedy="write size=8MB") from exc
        if part_bytes < MIN_PART_BYTES:
            raise UsageError(f"size={text} is too small for a layer", remedy="give 64KB or more")
    if (text := fields.get("max")) is not None:
        if not (text.isascii() and text.isdigit() and len(text) < 4 and 2 <= int(text) <= MAX_LAYERS):
            raise UsageError(
                f"max={text} is not a number of layers that an image may have",
                remedy=f"give 2 to {MAX_LAYERS}, which is what Docker takes",
            )
        max_layers = int(text)
    return Split(part_bytes=part_bytes, max_layers=max_layers)


def _place(kind: str, fields: Mapping[str, str]) -> tuple[str, str]:
    """Return the kind of an output as it is meant, and where it goes. Raises UsageError."""
    dest = fields.get("dest", "")
    if not dest and kind == "docker":
        kind = "image"  # as buildx: it is loaded
    if not dest and (kind == "local" or (kind == "oci" and not _flag(fields, "tar", default=True))):
        raise UsageError(f"--output type={kind} needs dest=PATH", remedy="add dest=DIRECTORY")
    if not dest and kind in ("tar", "oci"):
        dest = STDOUT
    if dest == STDOUT and kind == "oci" and not _flag(fields, "tar", default=True):
        raise UsageError("a layout directory cannot go to stdout", remedy="leave tar=false out")
    if dest == STDOUT and kind == "local":
        raise UsageError("--output type=local cannot go to stdout", remedy="use type=tar,dest=-")
    return kind, dest


def parse_outputs(texts: Sequence[str]) -> tuple[OutputSpec, ...]:
    """Return all outputs of a command; at most one may go to stdout."""
    specs = tuple(parse_output(text) for text in texts)
    if sum(spec.dest == STDOUT for spec in specs) > 1:
        raise UsageError("two outputs go to stdout", remedy="give one of them a file")
    return specs


def check_untagged(specs: Iterable[OutputSpec], names: Sequence[str]) -> None:
    """Raise UsageError where what is pushed by its digest alone has a name with a tag, as BuildKit does: nobody would
    find it there. `names` are those of all outputs.
    """
    for spec in specs:
        for name in (*names, *spec.names) if spec.by_digest else ():
            if "@" in name or ":" in name.rpartition("/")[2]:
                raise UsageError(
                    f"cannot push tagged reference {name} by digest",
                    remedy="leave the tag out, or push-by-digest=true",
                )


def _fields(text: str, flag: str = "--output") -> dict[str, str]:
    """Return comma-separated NAME=VALUE with CSV quoting, as buildx reads it."""
    example = "write type=oci,dest=FILE" if flag == "--output" else "write size=8MB,max=60"
    result: dict[str, str] = {}
    try:
        pairs = csv_pairs(text)
    except ValueError as exc:
        raise UsageError(f"{flag} {text} has an empty item", remedy=example) from exc
    for name, value in pairs:
        if value is None:
            raise UsageError(f'"{name}" in {flag} {text} is not NAME=VALUE', remedy=example)
        if name in result:
            raise UsageError(f'"{name}" is given twice in {flag} {text}', remedy="keep one of them")
        result[name] = value
    return result


def _oci_types(fields: Mapping[str, str]) -> bool:
    wanted = _flag(fields, "oci-mediatypes", default=True)
    if not wanted and fields.get("compression", "").startswith("zstd"):
        raise UsageError("oci-mediatypes=false has no type for zstd", remedy="use compression=gzip")
    return wanted


def _flag(fields: Mapping[str, str], name: str, *, default: bool = False) -> bool:
    value = fields.get(name, str(default)).lower()
    if value not in ("true", "false"):
        raise UsageError(f"{name}={value} in --output is neither true nor false", remedy=f"write {name}=true")
    return value == "true"


def _compression(fields: Mapping[str, str]) -> Kind:
    value = fields.get("compression", "gzip")
    known: dict[str, Kind] = {
        "uncompressed": "none",
        "none": "none",
        "gzip": "gzip",
        "zstd": "zstd",
        "zstd:chunked": "zstd:chunked",
    }
    if value not in known:
        raise UsageError(
            f'unknown compression "{value}" in --output', remedy="use gzip, zstd, zstd:chunked or uncompressed"
        )
    return known[value]


def _level(fields: Mapping[str, str]) -> int | None:
    value = fields.get("compression-level")
    if value is None:
        return None
    if not value.isdigit() or int(value) > 22:
        raise UsageError(
            f"compression-level={value} in --output is not a valid level", remedy="give 0–9 (gzip) or 0–22 (zstd)"
        )
    return int(value)
