"""docker's groups builder and buildx: the commands of builds and of their cache by other names."""

from __future__ import annotations

from tiffin.builder.cli.options.command import BUILDS, Group

COMMANDS = (
    Group("builder", about="Builds.", section=BUILDS, is_hidden=True),
    Group("buildx", about="Builds, under the name of docker's plugin.", section=BUILDS, is_hidden=True),
)
