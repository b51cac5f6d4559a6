"""The kinds of shared caches: what each takes as options, and what makes its store."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module

from tiffin.cache.foundation.frozen import dataclass
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from tiffin.cache.shared.protocol import SharedStore, StoreOptions

# of buildx, which say how BuildKit packs its caches: taken, and nothing here depends on them
BUILDX_OPTIONS = (
    "image-manifest", "oci-mediatypes", "compression", "compression-level", "force-compression", "tag", "digest",
)  # fmt: skip


def in_module(name: str) -> Callable[[StoreOptions], SharedStore]:
    """Return what makes a store by `open_store` of a file of tiffin.cache.shared.stores, loaded when it is needed."""

    def open_store(options: StoreOptions) -> SharedStore:
        module = import_module(f"tiffin.cache.shared.stores.{name}")
        return cast("SharedStore", module.open_store(options))

    return open_store


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind. `place` is the option that says where it is; of those of `sizes` the value is a number of bytes.

    `reads_place`: the same, for a cache that is only read. `default` is the place where none is given, `variable` that
    of the environment which has it. `alias` is the kind that it is another name of.
    `can_list`: whether its store tells what it holds.
    """

    open_store: Callable[[StoreOptions], SharedStore]
    place: str
    options: tuple[str, ...] = ()
    sizes: tuple[str, ...] = ()
    reads_place: str = ""
    default: str = ""
    variable: str = ""
    alias: str = ""
    can_list: bool = True

    @property
    def names(self) -> tuple[str, ...]:
        """The options it takes."""
        places = (self.reads_place, self.place) if self.reads_place else (self.place,)
        return (*places, *self.options, *self.sizes)


KINDS: Mapping[str, Kind] = {
    "registry": Kind(
        open_store=lambda options: options.registry(options.place),
        place="ref",
        options=("ttl", "registry.insecure", *BUILDX_OPTIONS),
    ),
    "local": Kind(
        open_store=in_module("directory"),
        place="dest",
        reads_place="src",
        options=("ttl", *BUILDX_OPTIONS),
        alias="dir",
    ),
    "dir": Kind(open_store=in_module("directory"), place="path", options=("ttl",)),
    "redis": Kind(
        open_store=in_module("redis"),
        place="url",
        options=("ttl", "layers"),
        sizes=("max-blob",),
        can_list=False,
    ),
    "http": Kind(open_store=in_module("http"), place="url", can_list=False),
    "s3": Kind(
        open_store=in_module("s3"),
        place="bucket",
        can_list=False,
        options=(
            "prefix", "use_path_style", "region", "endpoint_url", "access_key_id", "secret_access_key", "session_token",
        ),
    ),
    "gha": Kind(
        open_store=in_module("gha"),
        place="scope",
        default="buildkit",
        options=("url", "url_v2", "token", "version", "repository", "ghtoken", *BUILDX_OPTIONS),
    ),
    "azblob": Kind(
        open_store=in_module("azblob"),
        place="account_url",
        variable="BUILDKIT_AZURE_STORAGE_ACCOUNT_URL",
        can_list=False,
        options=(
            "container", "prefix", "secret_access_key", "name", "manifests_prefix", "blobs_prefix",
            "upload_parallelism",
        ),
    ),
}  # fmt: skip
