"""tiffin build."""

from __future__ import annotations

import click

from tiffin.builder.api.session import Session
from tiffin.builder.cli.actions import build
from tiffin.builder.cli.groups import PolicyFlag
from tiffin.builder.cli.options.common import progress_option, raw_registry_options
from tiffin.builder.cli.options.docker_build import docker_options


@click.command("build")
@click.argument("context", type=click.Path())
@click.option("-f", "--file", "file", metavar="FILE", help="Dockerfile (default: CONTEXT/Dockerfile).")
@click.option("-t", "--tag", "tags", multiple=True, metavar="NAME", help="Name of the image; repeatable.")
@click.option("--build-arg", "build_args", multiple=True, metavar="K[=V]", help="Value of an ARG; repeatable.")
@click.option("--build-context", "contexts", multiple=True, metavar="NAME=DIR|docker-image://REF")
@click.option("--target", default="", metavar="STAGE", help="Stage to build (default: the last).")
@click.option("--label", "labels", multiple=True, metavar="K=V", help="Label of the image; repeatable.")
@click.option("--annotation", "annotations", multiple=True, metavar="[TYPE:]K=V", help="Annotation; repeatable.")
@click.option(
    "--secret", "secrets", multiple=True, metavar="id=ID[,src=FILE|,env=NAME]", help="Secret for RUN; repeatable."
)
@click.option(
    "--ssh", "ssh", multiple=True, metavar="default|ID[=SOCKET|KEY]", help="ssh agent or keys for RUN; repeatable."
)
@click.option("--add-host", "hosts", multiple=True, metavar="NAME:IP", help="Line of /etc/hosts in RUN; repeatable.")
@click.option("--shm-size", metavar="SIZE", help="Size of /dev/shm in RUN.")
@click.option("--ulimit", "ulimits", multiple=True, metavar="NAME=SOFT[:HARD]", help="Limit in RUN; repeatable.")
@click.option(
    "--allow", "allowed", multiple=True, metavar="ENTITLEMENT", help="Grant security.insecure or network.host."
)
@click.option(
    "--security-opt", "security", multiple=True, metavar="OPTION", help="seccomp=FILE|unconfined, no-new-privileges."
)
@click.option("--no-cache-filter", "no_cache_stages", multiple=True, metavar="STAGES", help="Run these stages again.")
@click.option("--timestamp", metavar="SECONDS", help="Time of everything made, like SOURCE_DATE_EPOCH.")
@click.option("--load", is_flag=True, help="Keep the image here, which is the default.")
@click.option("--squash", is_flag=True, help="Make one layer of all new ones.")
@click.option(
    "--commit",
    type=click.Choice(["implicit", "explicit"]),
    default="implicit",
    help="Layers: one for each step, or up to each #!COMMIT at the end of an instruction.",
)
@click.option(
    "--cache-from", "cache_from", multiple=True, metavar="REF|type=…", help="Shared cache to use; repeatable."
)
@click.option("--cache-to", "cache_to", multiple=True, metavar="REF|type=…", help="Shared cache to fill; repeatable.")
@click.option(
    "--cache-peer",
    "cache_peers",
    multiple=True,
    metavar="URL|dns:NAME",
    help="Builder to fetch layers from; repeatable.",
)
@click.option(
    "--cache-sign-key",
    "sign_key",
    type=click.Path(dir_okay=False),
    envvar="TIFFIN_CACHE_SIGN_KEY",
    metavar="FILE",
    help="Sign step records, refuse those of others.",
)
@click.option(
    "--cache-mounts",
    "cache_mounts",
    multiple=True,
    metavar="ID",
    help="Cache mount to share with --cache-from and --cache-to; repeatable.",
)
@click.option("--no-cache", is_flag=True, help="Run every step again.")
@click.option(
    "--pull",
    cls=PolicyFlag,
    is_flag=True,
    help="Ask the registry for newer base images; =always, missing, newer, never.",
)
@click.option("--pull-policy", type=click.Choice(PolicyFlag.policies), hidden=True)
@click.option("--push", is_flag=True, help="Push the image under its names.")
@click.option("--platform", "platforms", multiple=True, metavar="OS/ARCH", help="Platform of the image.")
@click.option("--network", type=click.Choice(["default", "host", "none"]), default="default", help="Network of RUN.")
@click.option("-o", "--output", "outputs", multiple=True, metavar="type=…,dest=…", help="What to make; repeatable.")
@click.option("--isolation", metavar="TIER", help="Force an isolation tier: range, single, chroot, proot, none.")
@click.option("-q", "--quiet", is_flag=True, help="Print the image id only.")
@click.option("--iidfile", type=click.Path(dir_okay=False), metavar="FILE", help="Write the image id to FILE.")
@click.option("--metadata-file", type=click.Path(dir_okay=False), metavar="FILE", help="Write digests as JSON to FILE.")
@click.option("--check", is_flag=True, help="Check the Dockerfile, build nothing; exit code 1 if something is found.")
@click.option(
    "--call", default="build", metavar="check|outline|targets[,format=json]", help="Tell of the Dockerfile instead."
)
@click.option("--explain", is_flag=True, help="Tell where each step's result came from, and why the others ran.")
@click.option(
    "--profile", type=click.Path(dir_okay=False), metavar="FILE", help="Write where the time went (Chrome trace)."
)
@docker_options
@progress_option
@raw_registry_options
@click.pass_obj
def command(session: Session, /, **given: object) -> None:
    """Build an image from the Dockerfile and the files in CONTEXT."""
    build(session, given)
