"""What may stand on the line of `tiffin build`."""

from __future__ import annotations

from tiffin.builder.cli.options.common import ProgressArguments, RegistryArguments
from tiffin.builder.cli.options.option import Arguments, argument, flag, ignored_flag, ignored_many, many, maybe, text

NO_LIMITS = "RUN is not limited; limit the process that calls tiffin"
POLICIES = ("always", "missing", "newer", "never")


class DockerBuildArguments(Arguments):
    """Options of `docker build` that scripts pass: taken, with a word where one was asked for that changes nothing here."""

    provenance = many("--provenance", help="Refused, unless false: there are no attestations.")
    sbom = many("--sbom", help="Refused, unless false: there are no attestations.")
    attest = many("--attest", help="Refused, unless disabled: there are no attestations.")
    policy = many("--policy", help="Refused: there are no source policies.")
    compress = ignored_flag("--compress", off="--no-compress", why="the context is not sent anywhere")
    rm = ignored_flag("--rm", off="--no-rm", default=True, why="no step leaves a container behind")
    force_rm = ignored_flag("--force-rm", off="--no-force-rm", default=True)
    disable_content_trust = ignored_flag("--disable-content-trust", off="--no-disable-content-trust", default=True)
    builder = ignored_many("--builder", why="there is one builder, and it needs no instance")
    cgroup_parent = ignored_many("--cgroup-parent", why="RUN stays in the control group of the caller")
    cpu_period = ignored_many("--cpu-period", why=NO_LIMITS)
    cpu_quota = ignored_many("--cpu-quota", why=NO_LIMITS)
    cpu_shares = ignored_many("--cpu-shares", "-c", why=NO_LIMITS)
    cpuset_cpus = ignored_many("--cpuset-cpus", why=NO_LIMITS)
    cpuset_mems = ignored_many("--cpuset-mems", why=NO_LIMITS)
    memory = ignored_many("--memory", "-m", why=NO_LIMITS)
    memory_swap = ignored_many("--memory-swap", why=NO_LIMITS)
    resource = ignored_many("--resource", why=NO_LIMITS)


class BuildArguments(ProgressArguments, RegistryArguments, DockerBuildArguments):
    """All of them."""

    context = argument("CONTEXT")
    file = text("-f", "--file", metavar="FILE", help="Dockerfile (default: CONTEXT/Dockerfile).")
    tags = many("-t", "--tag", metavar="NAME", help="Name of the image; repeatable.")
    build_args = many("--build-arg", metavar="K[=V]", help="Value of an ARG; repeatable.")
    contexts = many(
        "--build-context", metavar="NAME=DIR|docker-image://REF", help="Further source of files; repeatable."
    )
    target = text("--target", metavar="STAGE", help="Stage to build (default: the last).")
    labels = many("--label", metavar="K=V", help="Label of the image; repeatable.")
    annotations = many("--annotation", metavar="[TYPE:]K=V", help="Annotation; repeatable.")
    secrets = many("--secret", metavar="id=ID[,src=FILE|,env=NAME]", help="Secret for RUN; repeatable.")
    ssh = many("--ssh", metavar="default|ID[=SOCKET|KEY]", help="ssh agent or keys for RUN; repeatable.")
    hosts = many("--add-host", metavar="NAME:IP", help="Line of /etc/hosts in RUN; repeatable.")
    shm_size = text("--shm-size", metavar="SIZE", help="Size of /dev/shm in RUN.")
    ulimits = many("--ulimit", metavar="NAME=SOFT[:HARD]", help="Limit in RUN; repeatable.")
    allowed = many("--allow", metavar="ENTITLEMENT", help="Grant security.insecure or network.host.")
    security = many("--security-opt", metavar="OPTION", help="seccomp=FILE|unconfined, no-new-privileges.")
    no_cache_stages = many("--no-cache-filter", metavar="STAGES", help="Run these stages again.")
    timestamp = maybe("--timestamp", metavar="SECONDS", help="Time of everything made, like SOURCE_DATE_EPOCH.")
    load = flag("--load", help="Keep the image here, which is the default.")
    squash = flag("--squash", help="Make one layer of all new ones.")
    commit = text(
        "--commit",
        choices=("implicit", "explicit"),
        default="implicit",
        help="Layers: one for each step, or up to each #!COMMIT at the end of an instruction.",
    )
    cache_from = many("--cache-from", metavar="REF|type=…", help="Shared cache to use; repeatable.")
    cache_to = many("--cache-to", metavar="REF|type=…", help="Shared cache to fill; repeatable.")
    cache_peers = many("--cache-peer", metavar="URL|dns:NAME", help="Builder to fetch layers from; repeatable.")
    sign_key = text(
        "--cache-sign-key",
        variable="TIFFIN_CACHE_SIGN_KEY",
        metavar="FILE",
        help="Sign step records, refuse those of others.",
    )
    cache_mounts = many(
        "--cache-mounts", metavar="ID", help="Cache mount to share with --cache-from and --cache-to; repeatable."
    )
    no_cache = flag("--no-cache", help="Run every step again.")
    pull = text("--pull", choices=POLICIES, bare="always", help="Ask the registry for newer base images.")
    push = flag("--push", help="Push the image under its names.")
    platforms = many("--platform", metavar="OS/ARCH", help="Platform of the image.")
    network = text("--network", choices=("default", "host", "none"), default="default", help="Network of RUN.")
    outputs = many("-o", "--output", metavar="type=…,dest=…", help="What to make; repeatable.")
    isolation = text("--isolation", metavar="TIER", help="Force an isolation tier: {tiers}.")
    quiet = flag("-q", "--quiet", help="Print the image id only.")
    iidfile = text("--iidfile", metavar="FILE", help="Write the image id to FILE.")
    metadata_file = text("--metadata-file", metavar="FILE", help="Write digests as JSON to FILE.")
    check = flag("--check", help="Check the Dockerfile, build nothing; exit code 1 if something is found.")
    call = text(
        "--call",
        metavar="check|outline|targets[,format=json]",
        default="build",
        help="Tell of the Dockerfile instead.",
    )
    explain = flag("--explain", help="Tell where each step's result came from, and why the others ran.")
    profile = text("--profile", metavar="FILE", help="Write where the time went (Chrome trace).")
