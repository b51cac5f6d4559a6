"""What may stand on the line of `tiffin build`."""

from __future__ import annotations

from tiffin.builder.cli.options.common import (
    FarmArguments,
    FetchArguments,
    LockArguments,
    PolicyArguments,
    ProgressArguments,
    SignatureArguments,
)
from tiffin.builder.cli.options.option import WITHOUT_EFFECT, Arguments, Flag, Many, Maybe, Number, Text, Word

POLICIES = ("always", "missing", "newer", "never")


class DockerBuildArguments(Arguments):
    """Options of `docker build` and `podman build` that scripts pass: taken, with a word where one was asked for that
    changes nothing here.
    """

    provenance = Many(
        "--provenance",
        metavar="true|mode=min|mode=max",
        help="Attest how the image was built: --attest type=provenance.",
    )
    sbom = Many("--sbom", metavar="true|generator=IMAGE", help="Attest what is in the image: --attest type=sbom.")
    attest = Many("--attest", metavar="type=provenance|sbom,…", help="Attestation of the image; repeatable.")
    attest_form = Text(
        "--attest-form",
        choices=("referrers", "index"),
        default="referrers",
        help="Attestations refer to the image, or stand in its index, as BuildKit has them.",
    )
    sign = Text("--sign", metavar="key=FILE|env://NAME", help="Sign the image and its attestations, as cosign does.")
    compress = Flag("--compress", off="--no-compress", why="the context is not sent anywhere", effect=WITHOUT_EFFECT)
    rm = Flag("--rm", off="--no-rm", default=True, why="no step leaves a container behind", effect=WITHOUT_EFFECT)
    force_rm = Flag("--force-rm", off="--no-force-rm", default=True, effect=WITHOUT_EFFECT)
    disable_content_trust = Flag(
        "--disable-content-trust", off="--no-disable-content-trust", default=True, effect=WITHOUT_EFFECT
    )
    layers = Flag("--layers", off="--no-layers", default=True, why="every step is cached", effect=WITHOUT_EFFECT)
    jobs = Many("--jobs", why="stages run at once as the machine allows", effect=WITHOUT_EFFECT)
    format = Text(
        "--format",
        choices=("oci", "docker"),
        help="Media types of the image (default: oci, or $BUILDAH_FORMAT).",
    )
    builder = Many("--builder", why="there is one builder, and it needs no instance", effect=WITHOUT_EFFECT)
    cgroup_parent = Many("--cgroup-parent", why="RUN stays in the control group of the caller", effect=WITHOUT_EFFECT)


class StepLimitArguments(Arguments):
    """How much of the machine each RUN may use."""

    memory = Text("-m", "--memory", metavar="SIZE", help="Memory limit of each RUN.")
    memory_swap = Text("--memory-swap", metavar="SIZE", help="Limit of memory plus swap of each RUN; -1 for no limit.")
    cpus = Text("--cpus", metavar="NUMBER", help="Limit of CPUs of each RUN, such as 1.5.")
    cpu_shares = Number("-c", "--cpu-shares", help="Weight of each RUN beside other groups, which have 1024.")
    cpu_period = Number("--cpu-period", metavar="MICROSECONDS", help="Period of --cpu-quota (default: 100000).")
    cpu_quota = Number("--cpu-quota", metavar="MICROSECONDS", help="Time on processors in a period.")
    cpuset_cpus = Text("--cpuset-cpus", metavar="LIST", help="Processors RUN may use, such as 0-2,4.")
    cpuset_mems = Text("--cpuset-mems", metavar="LIST", help="Memory nodes RUN may use, such as 0.")
    resource = Many("--resource", metavar="KEY=VALUE", help="The same by name, such as memory=2g; repeatable.")


class BuildArguments(
    LockArguments,
    FetchArguments,
    ProgressArguments,
    SignatureArguments,
    PolicyArguments,
    StepLimitArguments,
    FarmArguments,
    DockerBuildArguments,
):
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
    shell_on_error = Flag(
        "--shell-on-error", "--debug-shell", help="Open a shell where a RUN fails, if stdin is a terminal."
    )
    hosts = Many("--add-host", metavar="NAME:IP", help="Line of /etc/hosts in RUN; repeatable.")
    shm_size = Text("--shm-size", metavar="SIZE", help="Size of /dev/shm in RUN.")
    ulimits = Many("--ulimit", metavar="NAME=SOFT[:HARD]", help="Limit in RUN; repeatable.")
    retry_run = Number("--retry-run", metavar="N", minimum=0, help="Run a RUN that fails again, N times at most.")
    run_timeout = Text("--run-timeout", metavar="TIME", help="Fail a RUN that takes longer, such as 90s or 10m.")
    allowed = Many("--allow", metavar="ENTITLEMENT", help="Grant security.insecure, network.host or device[=NAME].")
    security = Many("--security-opt", metavar="OPTION", help="Such as seccomp=FILE|unconfined, no-new-privileges.")
    no_cache_stages = Many("--no-cache-filter", metavar="STAGES", help="Run all steps of these stages again.")
    timestamp = Maybe(
        "--timestamp", metavar="SECONDS", help="Timestamp of the image and its files, like SOURCE_DATE_EPOCH."
    )
    load = Flag("--load", help="Store the image locally (the default).")
    squash = Flag("--squash", help="Squash all new layers into one.")
    split_layers = Text(
        "--split-layers",
        metavar="[size=SIZE][,max=N]",
        bare="size=8MB",
        help="Cut large layers into several, so that a change moves few.",
    )
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
    cache_reads = Flag(
        "--cache-reads",
        variable="TIFFIN_CACHE_READS",
        help="Find a RUN in the cache although files below it changed, if it read none of them.",
    )
    verify_reads = Text(
        "--verify-reads",
        metavar="[PERCENT]",
        bare="100",
        help="With that: run this part of what was found so (all) again, and compare.",
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
    watch = Flag("--watch", help="Build again whenever a file changes that the build reads, until Ctrl-C.")
    run = Maybe(
        "--run", metavar="'OPTIONS [-- COMMAND]'", help="With --watch: run the image, and anew when it is another one."
    )
    explain = Flag("--explain", help="Explain for each step which cache had it, or why it ran.")
    report = Text("--report", metavar="FILE", help="Write a page about the build: times, layers, packages (HTML).")
    profile = Text("--profile", metavar="FILE", help="Write a profile of the build (Chrome trace).")
