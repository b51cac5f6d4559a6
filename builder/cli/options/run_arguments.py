"""What may stand on the line of `tiffin run`."""

from __future__ import annotations

from tiffin.builder.cli.options.common import ProgressArguments, RegistryArguments
from tiffin.builder.cli.options.option import (
    Arguments,
    argument,
    arguments,
    flag,
    ignored_flag,
    ignored_many,
    many,
    maybe,
    number,
    text,
)

NO_HEALTH_CHECKS = "no health check is run"
NO_LOG = "what the command prints goes where this command prints, and is kept nowhere"
IN_FOREGROUND = "containers in the background are not supported yet"


class ConfinementArguments(Arguments):
    """The walls of a container: network and ports, privileges, limits."""

    network = maybe("--network", "--net", metavar="host|none|private", help="Network (default: host; private with -p).")
    publish = many("-p", "--publish", metavar="[IP:]HOST:PORT[/udp]", help="Publish a port; repeatable.")
    publish_all = flag("-P", "--publish-all", help="Publish every port the image exposes.")
    dns = many("--dns", metavar="ADDRESS", help="Name server; repeatable.")
    dns_search = many("--dns-search", metavar="DOMAIN", help="Search domain; repeatable.")
    dns_options = many("--dns-option", "--dns-opt", metavar="OPTION", help="Of resolv.conf; repeatable.")
    cap_add = many("--cap-add", metavar="NAME", help="Add a capability; repeatable.")
    cap_drop = many("--cap-drop", metavar="NAME", help="Drop a capability; repeatable.")
    security = many("--security-opt", metavar="OPTION", help="seccomp=FILE|unconfined, no-new-privileges.")
    privileged = flag("--privileged", help="All that the user has: every capability, no filter, all of /proc.")
    memory = text("-m", "--memory", metavar="SIZE", help="Memory it may use.")
    swap = text("--memory-swap", metavar="SIZE", help="Memory and swap together; -1 for no limit.")
    cpus = text("--cpus", metavar="NUMBER", help="Processors it may use, such as 1.5.")
    pids = number("--pids-limit", help="Processes and threads it may have.")
    ulimits = many("--ulimit", metavar="NAME=SOFT[:HARD]", help="Limit; repeatable.")


class DockerRunArguments(Arguments):
    """Options of `docker run` that scripts pass and that change nothing here, or are refused in words."""

    attach = ignored_many("--attach", "-a")  # stdout and stderr are attached, stdin is with -i
    disable_content_trust = ignored_flag("--disable-content-trust")
    domainname = ignored_many("--domainname", why="the host name stands alone")
    expose = ignored_many("--expose")
    health_cmd = ignored_many("--health-cmd", why=NO_HEALTH_CHECKS)
    health_interval = ignored_many("--health-interval", why=NO_HEALTH_CHECKS)
    health_retries = ignored_many("--health-retries", why=NO_HEALTH_CHECKS)
    health_start_period = ignored_many("--health-start-period", why=NO_HEALTH_CHECKS)
    health_timeout = ignored_many("--health-timeout", why=NO_HEALTH_CHECKS)
    log_driver = ignored_many("--log-driver", why=NO_LOG)
    log_opt = ignored_many("--log-opt", why=NO_LOG)
    no_healthcheck = ignored_flag("--no-healthcheck")
    oom_kill_disable = ignored_flag("--oom-kill-disable", why="the kernel decides whom it ends")
    oom_score_adj = ignored_many("--oom-score-adj", why="the kernel decides whom it ends")
    stop_timeout = ignored_many("--stop-timeout")
    detach = flag("-d", "--detach", help=f"Refused: {IN_FOREGROUND}.", refused=IN_FOREGROUND)
    device = many(
        "--device",
        help="Refused: give it as a mount.",
        refused="give a device as a mount, such as -v /dev/fuse:/dev/fuse",
    )
    gpus = many("--gpus", help="Refused: devices are given as mounts.", refused="devices are given as mounts")
    restart = many("--restart", help=f"Refused: {IN_FOREGROUND}.", refused=IN_FOREGROUND)
    link = many(
        "--link",
        help="Refused: containers share this machine's network.",
        refused="containers share this machine's network",
    )


class RunArguments(ConfinementArguments, ProgressArguments, RegistryArguments, DockerRunArguments):
    """All of them."""

    ends_options = True
    image = argument("IMAGE")
    words = arguments("[COMMAND]...")
    remove = flag("--rm", help="Leave nothing behind.")
    interactive = flag("-i", "--interactive", help="Pass stdin on.")
    tty = flag("-t", "--tty", help="Give the command a terminal.")
    env = many("-e", "--env", metavar="K[=V]", help="Environment variable; repeatable.")
    env_files = many("--env-file", metavar="FILE", help="File of K=V lines; repeatable.")
    volumes = many("-v", "--volume", metavar="HOST|NAME:PATH[:ro]", help="Mount; repeatable.")
    mounts = many("--mount", metavar="type=…,source=…,target=…", help="Mount; repeatable.")
    tmpfs = many("--tmpfs", metavar="PATH[:size=…]", help="An empty file system in memory.")
    workdir = text("-w", "--workdir", metavar="DIR", help="Working directory.")
    user = text("-u", "--user", metavar="USER[:GROUP]", help="User to run as.")
    userns = text("--userns", metavar="host|keep-id[:uid=N,gid=N]", help="keep-id: you have your own ids inside.")
    groups = many("--group-add", metavar="GROUP", help="Further group; repeatable.")
    entrypoint = maybe("--entrypoint", metavar="PROGRAM", help="Replace the image's entrypoint.")
    read_only = flag("--read-only", help="Make the root file system read-only.")
    hostname = text("-h", "--hostname", metavar="NAME", help="Host name.")
    name = text("--name", metavar="NAME", help="Name of the container.")
    labels = many("-l", "--label", metavar="K[=V]", help="Label of the container; repeatable.")
    label_files = many("--label-file", metavar="FILE", help="File of K[=V] lines; repeatable.")
    hosts = many("--add-host", metavar="NAME:ADDRESS", help="Line of /etc/hosts; repeatable.")
    shm_size = text("--shm-size", default="64m", metavar="SIZE", help="Size of /dev/shm.")
    init = flag("--init", help="An init of tiffin's is process 1: it reaps and passes signals on.")
    pull = text("--pull", choices=("always", "missing", "newer", "never"), default="missing", help="When to pull.")
    platform = text("--platform", metavar="OS/ARCH", help="Platform to pull (default: this machine's).")
    isolation = text("--isolation", metavar="TIER", help="Force an isolation tier: {tiers}.")
    cidfile = maybe("--cidfile", metavar="FILE", help="Write the container's id to FILE.")
    quiet = flag("-q", "--quiet", help="No progress of a pull.")
