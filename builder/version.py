"""The version, here so that telling it costs nothing, and how it is told by the names of docker and podman."""

import sys

VERSION = "0.1.0"
# the versions whose commands these are: programs that call docker or podman ask for at least so much
SPOKEN = {"docker": "20.10.0", "podman": "4.3.0"}
TEXTS = {"docker": "Docker version {}, build tiffin", "podman": "podman version {}"}


def called_name() -> str:
    """Return the name by which the program was called: a link to it may have docker's."""
    return sys.argv[0].rpartition("/")[2]


def displayed_version() -> str:
    """Return the version for programs, with ours as the build of the version that is spoken."""
    spoken = SPOKEN.get(called_name())
    return f"{spoken}+tiffin.{VERSION}" if spoken else VERSION


def version_text() -> str:
    """Return what --version prints."""
    return TEXTS.get(called_name(), "tiffin version {}").format(displayed_version())
