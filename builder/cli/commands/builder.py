"""docker's group builder: the commands of builds and of their cache by other names."""

from __future__ import annotations

from tiffin.builder.cli.options.command import BUILDS, Group

COMMANDS = (Group("builder", about="Builds.", section=BUILDS, is_hidden=True),)
