"""What may stand on the line of `tiffin run`."""

from __future__ import annotations

from tiffin.builder.cli.options.common import PolicyArguments, ProgressArguments
from tiffin.builder.cli.options.containers.docker_arguments import (
    DeviceArguments,
    DockerRunArguments,
    NamespaceArguments,
    ResourceArguments,
)
from tiffin.builder.cli.options.option import Arguments, Flag, Many, Maybe, Text, Word, Words

DEFAULT_SHM = "64m"  # docker's


class ConfinementArguments(Arguments):
    """The walls of a container: network and ports, privileges, limits."""

    network = Many(
        "--network",
        "--net",
        metavar="host|none|private",
        help="Network (default: host; private with -p), or one with a name, repeatable, or container:NAME.",
    )
    aliases = Many("--network-alias", "--net-alias", metavar="NAME", help="Another name in its network; repeatable.")
    ip = Text("--ip", metavar="ADDRESS", help="IPv4 address in its network.")
    ip6 = Text("--ip6", metavar="ADDRESS", help="IPv6 address in its network.")
    mac = Text("--mac-address", metavar="ADDRESS", help="MAC address in its network.")
    links = Many("--link", metavar="CONTAINER[:ALIAS]", help="Name for another container of its network; repeatable.")
    publish = Many("-p", "--publish", metavar="[IP:]HOST:PORT[/udp]", help="Publish a port; repeatable.")
    publish_all = Flag("-P", "--publish-all", help="Publish every port the image exposes.")
    dns = Many("--dns", metavar="ADDRESS", help="Name server; repeatable.")
    dns_search = Many("--dns-search", metavar="DOMAIN", help="Search domain; repeatable.")
    dns_options = Many("--dns-option", "--dns-opt", metavar="OPTION", help="Option of resolv.conf; repeatable.")
    cap_add = Many("--cap-add", metavar="NAME", help="Add a capability; repeatable.")
    cap_drop = Many("--cap-drop", metavar="NAME", help="Drop a capability; repeatable.")
    security = Many("--security-opt", metavar="OPTION", help="Such as seccomp=FILE|unconfined, no-new-privileges.")
    privileged = Flag(
        "--privileged", help="Everything the user may do: all capabilities, no seccomp filter, all of /proc."
    )
    ulimits = Many("--ulimit", metavar="NAME=SOFT[:HARD]", help="Limit; repeatable.")


class HealthArguments(Arguments):
    """How the health of a container in the background is checked."""

    health_cmd = Text("--health-cmd", metavar="COMMAND", help="Check its health with this (in the image's shell).")
    health_interval = Text("--health-interval", metavar="DURATION", help="Time between checks (30s).")
    health_timeout = Text("--health-timeout", metavar="DURATION", help="How long a check may take (30s).")
    health_retries = Text("--health-retries", metavar="NUMBER", help="Failures until it is unhealthy (3).")
    health_start_period = Text("--health-start-period", metavar="DURATION", help="In which failures do not count.")
    health_start_interval = Text(
        "--health-start-interval", metavar="DURATION", help="Time between checks in the start period (5s)."
    )
    health_on_failure = Text(
        "--health-on-failure", metavar="none|kill|restart|stop", help="What is done once it is unhealthy (podman's)."
    )
    no_healthcheck = Flag("--no-healthcheck", help="Check nothing, whatever the image says.")


class LifeArguments(HealthArguments):
    """How a container lives and ends."""

    restart = Text(
        "--restart", metavar="no|on-failure[:N]|always|unless-stopped", default="no", help="When to start it again."
    )
    stop_signal = Text(
        "--stop-signal", metavar="SIGNAL", help="What tiffin stop sends (default: the image's, or TERM)."
    )
    stop_timeout = Maybe(
        "--stop-timeout", metavar="SECONDS", help="Patience of tiffin stop before it kills; -1 for no end."
    )
    log_driver = Text(
        "--log-driver", metavar="json-file|local|none", default="json-file", help="Form of its log; none keeps none."
    )
    log_opt = Many("--log-opt", metavar="max-size=SIZE|max-file=N", help="Limits of the log; repeatable.")


class CreateArguments(
    ConfinementArguments,
    LifeArguments,
    NamespaceArguments,
    ResourceArguments,
    DeviceArguments,
    ProgressArguments,
    PolicyArguments,
    DockerRunArguments,
):
    """What a container may be asked for."""

    ends_options = True
    image = Word("IMAGE")
    words = Words("[COMMAND]...")
    remove = Flag("--rm", help="Remove the container when it exits.")
    interactive = Flag("-i", "--interactive", help="Keep stdin open for the command.")
    tty = Flag("-t", "--tty", help="Allocate a terminal.")
    env = Many("-e", "--env", metavar="K[=V]", help="Environment variable; repeatable.")
    env_files = Many("--env-file", metavar="FILE", help="File of K=V lines; repeatable.")
    volumes = Many("-v", "--volume", metavar="HOST|NAME:PATH[:ro]", help="Mount; repeatable.")
    mounts = Many("--mount", metavar="type=…,source=…,target=…", help="Mount; repeatable.")
    tmpfs = Many("--tmpfs", metavar="PATH[:size=…]", help="An empty file system in memory.")
    workdir = Text("-w", "--workdir", metavar="DIR", help="Working directory.")
    user = Text("-u", "--user", metavar="USER[:GROUP]", help="User to run as.")
    groups = Many("--group-add", metavar="GROUP|keep-groups", help="Additional group; keep-groups: your own.")
    entrypoint = Maybe("--entrypoint", metavar="PROGRAM", help="Replace the image's entrypoint.")
    read_only = Flag("--read-only", help="Make the root file system read-only.")
    hostname = Text("-h", "--hostname", metavar="NAME", help="Host name.")
    domainname = Text("--domainname", metavar="NAME", help="Domain name.")
    name = Text("--name", metavar="NAME", help="Name of the container.")
    labels = Many("-l", "--label", metavar="K[=V]", help="Label of the container; repeatable.")
    label_files = Many("--label-file", metavar="FILE", help="File of K[=V] lines; repeatable.")
    hosts = Many("--add-host", metavar="NAME:ADDRESS", help="Line of /etc/hosts; repeatable.")
    shm_size = Text("--shm-size", default=DEFAULT_SHM, metavar="SIZE", help="Size of /dev/shm.")
    init = Flag("--init", help="Run an init as process 1 that reaps processes and forwards signals.")
    pull = Text(
        "--pull", choices=("always", "missing", "newer", "never"), default="missing", help="When to pull the image."
    )
    platform = Text(
        "--platform",
        metavar="OS/ARCH",
        variable="DOCKER_DEFAULT_PLATFORM",
        help="Platform to pull (default: this machine's).",
    )
    isolation = Text("--isolation", metavar="TIER", help="Force an isolation tier: {tiers}.")
    cidfile = Maybe("--cidfile", metavar="FILE", help="Write the container's id to FILE.")
    quiet = Flag("-q", "--quiet", help="Do not show the progress of a pull.")

    def is_limited(self) -> bool:
        """Whether control groups are asked for."""
        return any(row.on(self) for row in ResourceArguments.rows)

    def is_confined(self) -> bool:
        """Whether it is asked what of the machine a container has."""
        return any(row.on(self) for row in (*NamespaceArguments.rows, *DeviceArguments.rows))


class RunArguments(CreateArguments):
    """What may stand on the line of `run`."""

    ends_options = True
    detach = Flag("-d", "--detach", help="Run it in the background; print its id.")
    sig_proxy = Flag(
        "--sig-proxy", default=True, off="--no-sig-proxy", help="Pass signals of this command on (default: yes)."
    )
    detach_keys = Text(
        "--detach-keys", metavar="KEYS", default="ctrl-p,ctrl-q", help="What is typed to leave it with -it."
    )

    def is_supervised(self) -> bool:
        """Whether the container has a supervisor, which keeps its log and is left alone; else it ends with us."""
        may_be_left = (self.tty and self.interactive) or not self.sig_proxy
        return not self.remove or bool(self.attach) or may_be_left or bool(self.health_cmd)

    def is_held(self) -> bool:
        """Whether a supervised container ends with us, however that happens, unless somebody detaches."""
        return self.remove and self.sig_proxy and not self.attach
