"""What a build is asked for, as values."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tiffin.builder.delivery.annotations import Annotations
from tiffin.builder.delivery.output_spec import OutputSpec
from tiffin.builder.oci.reference import Reference
from tiffin.builder.oci.spec import Platform
from tiffin.builder.settings.access import RegistryAccess
from tiffin.builder.solver.results import COMMITS as COMMITS
from tiffin.builder.solver.results import ONE as ONE
from tiffin.builder.solver.results import STEPS as STEPS
from tiffin.cache.foundation.frozen import dataclass, field
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.egress.allowed import Egress
    from tiffin.builder.farm.address import FarmAccess
    from tiffin.builder.plan.plan_options import BaseImage
    from tiffin.builder.sandbox.cgroup_limits import Limits
    from tiffin.builder.sharing.options import CacheSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadataOptions:
    """What the metadata of a result hold beyond digests: a provenance ("" none, "min", "max"), findings of checks."""

    provenance: str = ""
    warnings: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvenanceOptions:
    """What a provenance tells ("min" or "max"), and who builds, as it names them."""

    mode: str = "min"
    builder_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SbomOptions:
    """How an SBOM is made: `generator` is an image that scans, "" for tiffin itself; `arguments` are for that."""

    generator: str = ""
    arguments: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttestOptions:
    """What is attested of an image, None for not; `in_index`: as BuildKit does, in the index of the image, and not as
    artifacts that refer to it.
    """

    provenance: ProvenanceOptions | None = None
    sbom: SbomOptions | None = None
    in_index: bool = False

    def __bool__(self) -> bool:
        return self.provenance is not None or self.sbom is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class SignOptions:
    """Who signs an image: `key` is a file or env://NAME, "" for an identity by its token; `format` bundle or simple."""

    key: str = ""
    identity_token: str = ""
    trust_config: str = ""  # a file; "" for the public Sigstore
    format: str = "bundle"


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions:
    """Options of one build; the defaults are those of `tiffin build CONTEXT`.

    `context`: a directory, an archive, an archive's or a repository's URL, or "-" for stdin. `file`: the Dockerfile,
    "" for the usual one; `dockerfile`: its text, which then stands for the file. Texts of `ssh` and `contexts` are as
    in docker build's --ssh and --build-context; `caches` are asked in their order; `hosts` are pairs of name and
    address; a limit is (name, soft, hard), -1 for none; `pull` is one of tiffin.builder.settings.pull_policy.POLICIES,
    "" to look tags up again after a day.
    """

    context: str = "."
    context_directory: str = ""  # of an archive or a repository: its root as a context
    reads_ignores: bool = False  # .dockerignore counts in archives and repositories too, as in local directories
    file: str = ""
    dockerfile: str | None = None
    target: str = ""
    platforms: tuple[Platform, ...] = ()  # () is this machine's
    names: tuple[Reference, ...] = ()
    outputs: tuple[OutputSpec, ...] = (OutputSpec(kind="image"),)
    build_args: Mapping[str, str] = field(default_factory=dict)
    contexts: Mapping[str, str] = field(default_factory=dict)
    built: Mapping[str, Mapping[Platform, BaseImage]] = field(default_factory=dict)  # what built://NAME in contexts is
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Annotations = Annotations(())
    secrets: Mapping[str, bytes] = field(default_factory=dict)
    ssh: tuple[str, ...] = ()
    allowed: frozenset[str] = frozenset()  # entitlements: network.host, security.insecure, device[=NAME]
    network: str = "default"
    hosts: tuple[tuple[str, str], ...] = ()
    shm_bytes: int = 0
    ulimits: tuple[tuple[str, int, int], ...] = ()
    limits: Limits | None = None  # of memory and processors, for each RUN
    run_retries: int = 0  # of a RUN that fails
    run_timeout_seconds: float = 0.0  # of each RUN, 0 for none
    seccomp: str = ""  # "" tiffin's own profile, "unconfined", or the path of one
    no_new_privs: bool = False
    unmasked: bool = False  # all of /proc and /sys
    isolation: str = ""  # a tier to force
    epoch: int | None = None  # time of everything made, in seconds since 1970; wins over SOURCE_DATE_EPOCH
    layering: str = STEPS  # or ONE, COMMITS: what becomes a layer
    pull: str = ""
    use_cache: bool = True
    cache_reads: bool = False  # find a RUN where nothing changed that it read
    verify_reads: str = ""  # how many percent of what was found so run again and are compared
    uncached_stages: frozenset[str] = frozenset()
    caches: tuple[CacheSpec, ...] = ()
    inline_cache: bool = False  # into the image's configuration
    cache_mounts: tuple[str, ...] = ()  # ids of those that travel with the shared caches
    cache_peers: tuple[str, ...] = ()
    sign_key: Path | None = None
    attest: AttestOptions = AttestOptions()
    sign: SignOptions | None = None
    metadata: MetadataOptions = MetadataOptions()
    explain: bool = False
    reports: bool = False  # the result says why steps ran
    locked: bool = False  # sources are those of the lock file, and no others
    lock_file: str = ""  # "" is the one beside the Dockerfile
    frozen: bool = False  # a step that would run is an error
    egress: Egress | None = None  # where RUN may connect
    farm: FarmAccess | None = None  # where steps run, None for this machine
    record: str = ""  # where all that is fetched is kept: a new directory, or docker-image://REFERENCE
    replay: str = ""  # such a place: nothing else is fetched
    registry: RegistryAccess = RegistryAccess()


# members that are kept of a build that ran: what decides its steps, and what its image is called; not secrets, outputs,
# who signs, where results are shared
KEPT_OPTIONS = (
    "context", "context_directory", "reads_ignores", "file", "dockerfile", "target", "platforms", "names",
    "build_args", "contexts", "labels", "allowed", "network", "hosts", "shm_bytes", "ulimits", "limits", "run_retries",
    "run_timeout_seconds", "seccomp", "no_new_privs", "unmasked", "isolation", "epoch", "layering", "locked",
    "lock_file",
)  # fmt: skip
