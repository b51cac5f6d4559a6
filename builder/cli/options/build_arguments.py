"""What may stand on the line of `tiffin build`."""

from __future__ import annotations

from tiffin.builder.cli.options.common import ProgressArguments, RegistryArguments, SignatureArguments
from tiffin.builder.cli.options.option import REFUSED, WITHOUT_EFFECT, Arguments, Flag, Many, Maybe, Number, Text, Word

NO_LIMITS = "RUN is not limited; limit the process that calls tiffin"
POLICIES = ("always", "missing", "newer", "never")


class DockerBuildArguments(Arguments):
    """Options of `docker build` and `podman build` that scripts pass: taken, with a word where one was asked for that
    changes nothing here.
    """

    provenance = Many(
        "--provenance", metavar="true|mode=min|mode=max", help="With a push, put a provenance beside the image."
    )
    sbom = Many("--sbom", effect=REFUSED, judged=True, help="Only false: no SBOM is made yet.")
    attest = Many("--attest", metavar="type=provenance,…", help="The same as --provenance; type=sbom is refused.")
    policy = Many("--policy", effect=REFUSED, judged=True, why="source policies are not supported")
    compress = Flag("--compress", off="--no-compress", why="the context is not sent anywhere", effect=WITHOUT_EFFECT)
    rm = Flag("--rm", off="--no-rm", default=True, why="no step leaves a container behind", effect=WITHOUT_EFFECT)
    force_rm = Flag("--force-rm", off="--no-force-rm", default=True, effect=WITHOUT_EFFECT)
    disable_content_trust = Flag(
        "--disable-content-trust", off="--no-disable-content-trust", default=True, effect=WITHOUT_EFFECT
    )
    layers = Flag("--layers", off="--no-layers", default=True, why="every step is cached", effect=WITHOUT_EFFECT)
    jobs = Many("--jobs", why="stages run at once as the machine allows", effect=WITHOUT_EFFECT)
    format = Many("--format", why="images have OCI's form, which docker and podman read", effect=WITHOUT_EFFECT)
    builder = Many("--builder", why="there is one builder, and it needs no instance", effect=WITHOUT_EFFECT)
    cgroup_parent = Many("--cgroup-parent", why="RUN stays in the control group of the caller", effect=WITHOUT_EFFECT)
    cpu_period = Many("--cpu-period", why=NO_LIMITS, effect=WITHOUT_EFFECT)
    cpu_quota = Many("--cpu-quota", why=NO_LIMITS, effect=WITHOUT_EFFECT)
    cpu_shares = Many("--cpu-shares", "-c", why=NO_LIMITS, effect=WITHOUT_EFFECT)
    cpuset_cpus = Many("--cpuset-cpus", why=NO_LIMITS, effect=WITHOUT_EFFECT)
    cpuset_mems = Many("--cpuset-mems", why=NO_LIMITS, effect=WITHOUT_EFFECT)
    memory = Many("--memory", "-m", why=NO_LIMITS, effect=WITHOUT_EFFECT)
    memory_swap = Many("--memory-swap", why=NO_LIMITS, effect=WITHOUT_EFFECT)
    resource = Many("--resource", why=NO_LIMITS, effect=WITHOUT_EFFECT)


class BuildArguments(ProgressArguments, SignatureArguments, RegistryArguments, DockerBuildArguments):
    """All of them."""

    context = Word("CONTEXT")
    file = Text("-f", "--file", metavar="FILE", help="Dockerfile (default: CONTEXT/Dockerfile).")
    tags = Many("-t", "--tag", metavar="NAME", help="Name of the image; repeatable.")
    build_args = Many("--build-arg", metavar="K[=V]", help="Value of an ARG; repeatable.")
    contexts = Many(
        "--build-context", metavar="NAME=DIR|docker-image://REF", help="Additional build context; repeatable."
    )
    target = Text("--target", metavar="STAGE", help="Stage to build (default: the last).")
    labels = Many("--label", metavar="K=V", help="Label of the image; repeatable.")
    annotations = Many("--annotation", metavar="[TYPE:]K=V", help="Annotation; repeatable.")
    secrets = Many("--secret", metavar="id=ID[,src=FILE|,env=NAME]", help="Secret for RUN; repeatable.")
    ssh = Many("--ssh", metavar="default|ID[=SOCKET|KEY]", help="ssh agent or keys for RUN; repeatable.")
    hosts = Many("--add-host", metavar="NAME:IP", help="Line of /etc/hosts in RUN; repeatable.")
    shm_size = Text("--shm-size", metavar="SIZE", help="Size of /dev/shm in RUN.")
    ulimits = Many("--ulimit", metavar="NAME=SOFT[:HARD]", help="Limit in RUN; repeatable.")
    retry_run = Number("--retry-run", metavar="N", minimum=0, help="Run a RUN that fails again, N times at most.")
    run_timeout = Text("--run-timeout", metavar="TIME", help="Fail a RUN that takes longer, such as 90s or 10m.")
    allowed = Many("--allow", metavar="ENTITLEMENT", help="Grant security.insecure, network.host or device[=NAME].")
    security = Many("--security-opt", metavar="OPTION", help="seccomp=FILE|unconfined, no-new-privileges.")
    no_cache_stages = Many("--no-cache-filter", metavar="STAGES", help="Run all steps of these stages again.")
    timestamp = Maybe(
        "--timestamp", metavar="SECONDS", help="Timestamp of the image and its files, like SOURCE_DATE_EPOCH."
    )
    load = Flag("--load", help="Store the image locally (the default).")
    squash = Flag("--squash", help="Squash all new layers into one.")
    commit = Text(
        "--commit",
        choices=("implicit", "explicit"),
        default="implicit",
        help="Commit a layer per step, or one at each instruction that ends in #!COMMIT.",
    )
    cache_from = Many("--cache-from", metavar="REF|type=…", help="Shared cache to use; repeatable.")
    cache_to = Many("--cache-to", metavar="REF|type=…", help="Shared cache to fill; repeatable.")
    cache_peers = Many("--cache-peer", metavar="URL|dns:NAME", help="Builder to fetch layers from; repeatable.")
    cache_mounts = Many(
        "--cache-mounts", metavar="ID", help="Cache mount to share with --cache-from and --cache-to; repeatable."
    )
    no_cache = Flag("--no-cache", help="Run all steps again.")
    pull = Text("--pull", choices=POLICIES, bare="always", help="Ask the registry for newer base images.")
    push = Flag("--push", help="Push the image under its names.")
    merge = Flag("--merge", help="With a push: add to the index that a name has, which others may do at the same time.")
    platforms = Many("--platform", metavar="OS/ARCH", help="Platform of the image.")
    network = Text("--network", choices=("default", "host", "none"), default="default", help="Network of RUN.")
    outputs = Many("-o", "--output", metavar="type=…,dest=…", help="Output; repeatable.")
    isolation = Text("--isolation", metavar="TIER", help="Force an isolation tier: {tiers}.")
    quiet = Flag("-q", "--quiet", help="Print the image id only.")
    iidfile = Text("--iidfile", metavar="FILE", help="Write the image id to FILE.")
    metadata_file = Text("--metadata-file", metavar="FILE", help="Write digests as JSON to FILE.")
    check = Flag("--check", help="Check the Dockerfile, build nothing; exit code 1 if something is found.")
    call = Text(
        "--call",
        metavar="check|outline|targets[,format=json]",
        default="build",
        help="Answer about the Dockerfile instead of building.",
    )
    explain = Flag("--explain", help="Explain for each step which cache had it, or why it ran.")
    profile = Text("--profile", metavar="FILE", help="Write a profile of the build (Chrome trace).")
