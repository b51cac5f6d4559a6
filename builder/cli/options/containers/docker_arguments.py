"""The options of `docker run` beside the usual ones: namespaces, resources, devices, and those without effect."""

from __future__ import annotations

from tiffin.builder.cli.options.option import REFUSED, WITHOUT_EFFECT, Arguments, Flag, Many, Number, Text

WINDOWS = "containers of Windows alone have it"
NO_BLOCK_LIMITS = "rates of block devices are limited by an administrator's control groups alone"
NO_REALTIME = "a kernel with real-time control groups and root are needed"
NO_PODS = "there are no pods: put containers on one network, or use --network container:NAME"


class NamespaceArguments(Arguments):
    """What a container has of the machine's namespaces, and how the kernel sees it."""

    ipc = Text("--ipc", metavar="private|shareable|none|host|container:X", help="IPC namespace and /dev/shm.")
    pid = Text("--pid", metavar="private|host|container:X", help="Process numbers: its own, or this machine's.")
    uts = Text("--uts", metavar="private|host", help="Host name: its own, or this machine's.")
    cgroupns = Text("--cgroupns", metavar="private|host", help="What it sees of control groups.")
    userns = Text(
        "--userns", metavar="host|keep-id[:uid=N,gid=N]", help="Map of its ids; keep-id keeps your own inside."
    )
    sysctls = Many("--sysctl", metavar="NAME=VALUE", help="Kernel parameter of its namespaces; repeatable.")
    oom_score_adj = Text("--oom-score-adj", metavar="NUMBER", help="How soon the kernel kills it, -1000 to 1000.")


class ResourceArguments(Arguments):
    """How much of the machine a container may use."""

    memory = Text("-m", "--memory", metavar="SIZE", help="Memory limit.")
    cpus = Text("--cpus", metavar="NUMBER", help="Limit of CPUs, such as 1.5.")
    pids = Number("--pids-limit", help="Limit of processes and threads.")
    swap = Text("--memory-swap", metavar="SIZE", help="Limit of memory plus swap; -1 for no limit.")
    reservation = Text("--memory-reservation", metavar="SIZE", help="Memory that is left to it where it is short.")
    cpu_shares = Number("-c", "--cpu-shares", help="Weight beside other containers, which have 1024.")
    cpu_period = Number("--cpu-period", metavar="MICROSECONDS", help="Period of --cpu-quota (default: 100000).")
    cpu_quota = Number("--cpu-quota", metavar="MICROSECONDS", help="Time on processors in a period.")
    cpuset = Text("--cpuset-cpus", metavar="LIST", help="Processors it may use, such as 0-2,4.")
    cpuset_mems = Text("--cpuset-mems", metavar="LIST", help="Memory nodes it may use, such as 0.")
    blkio_weight = Number("--blkio-weight", help="Weight of its block I/O, 10 to 1000.")


class DeviceArguments(Arguments):
    """Devices of the machine, and the volumes of other containers."""

    device = Many("--device", metavar="/dev/X[:PATH[:rwm]]|NAME", help="Device node, or CDI's vendor.com/class=name.")
    gpus = Text("--gpus", metavar="all|N|device=ID", help="GPUs, by nvidia.com/gpu of CDI.")
    volumes_from = Many("--volumes-from", metavar="CONTAINER[:ro]", help="Mounts of another container; repeatable.")
    volume_driver = Text("--volume-driver", metavar="local", help="Driver of its volumes; local alone.")
    annotations = Many("--annotation", metavar="K=V", help="Annotation that inspect shows; repeatable.")
    runtime = Text("--runtime", metavar="runc|crun", help="Taken: there is one runtime, tiffin's own.")


class DockerRunArguments(Arguments):
    """Options of `docker run` that scripts pass and that change nothing here, or are refused in words."""

    requires = Many(
        "--requires", metavar="CONTAINER", help="Podman's: what has to be started first.", effect=WITHOUT_EFFECT
    )
    pod = Many("--pod", why=NO_PODS, effect=REFUSED)
    pod_id_file = Many("--pod-id-file", why=NO_PODS, effect=REFUSED)
    attach = Many("-a", "--attach", metavar="stdin|stdout|stderr", help="Attach these streams alone; repeatable.")
    storage_opt = Many("--storage-opt", why="a quota of the root needs root on xfs", effect=REFUSED)
    disable_content_trust = Flag(
        "--disable-content-trust", help="No effect: images are known by their digests.", effect=WITHOUT_EFFECT
    )
    expose = Many("--expose", metavar="PORT[/udp]", help="Port that -P publishes as well; repeatable.")
    oom_kill_disable = Flag("--oom-kill-disable", why="the kernel decides which process to kill", effect=WITHOUT_EFFECT)
    swappiness = Many(
        "--memory-swappiness", why="control groups of version 2 have no swappiness", effect=WITHOUT_EFFECT
    )
    kernel_memory = Many("--kernel-memory", why="no kernel limits it by itself any more", effect=WITHOUT_EFFECT)
    cgroup_parent = Many("--cgroup-parent", why="control groups lie below tiffin's own", effect=WITHOUT_EFFECT)
    device_cgroup_rule = Many(
        "--device-cgroup-rule", why="owner and mode of a device say who opens it", effect=WITHOUT_EFFECT
    )
    cpu_count = Many("--cpu-count", why=WINDOWS, effect=WITHOUT_EFFECT)
    cpu_percent = Many("--cpu-percent", why=WINDOWS, effect=WITHOUT_EFFECT)
    io_maxbandwidth = Many("--io-maxbandwidth", why=WINDOWS, effect=WITHOUT_EFFECT)
    io_maxiops = Many("--io-maxiops", why=WINDOWS, effect=WITHOUT_EFFECT)
    cpu_rt_period = Many("--cpu-rt-period", why=NO_REALTIME, effect=REFUSED)
    cpu_rt_runtime = Many("--cpu-rt-runtime", why=NO_REALTIME, effect=REFUSED)
    weight_device = Many("--blkio-weight-device", why=NO_BLOCK_LIMITS, effect=REFUSED)
    read_bps = Many("--device-read-bps", why=NO_BLOCK_LIMITS, effect=REFUSED)
    read_iops = Many("--device-read-iops", why=NO_BLOCK_LIMITS, effect=REFUSED)
    write_bps = Many("--device-write-bps", why=NO_BLOCK_LIMITS, effect=REFUSED)
    write_iops = Many("--device-write-iops", why=NO_BLOCK_LIMITS, effect=REFUSED)
    api_socket = Flag("--use-api-socket", why="there is no daemon, and so no socket of one", effect=REFUSED)
    link_local = Many("--link-local-ip", why="addresses are given with --ip", effect=REFUSED)
