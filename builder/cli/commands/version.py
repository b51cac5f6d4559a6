"""tiffin version."""

from __future__ import annotations

from tiffin.builder.cli.fast_help import VERSION_TEXT
from tiffin.builder.cli.options.command import Command
from tiffin.builder.cli.options.option import Arguments, Text
from tiffin.builder.cli.output.console import print_result
from tiffin.builder.version import displayed_version
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.api.session import Session

API_VERSION = "1.41"  # docker's, of the version whose commands these are; what programs ask for at least


class VersionArguments(Arguments):
    """What may stand on the line."""

    form = Text("-f", "--format", metavar="json|TEMPLATE", help="Go template, such as {{.Client.Version}}.")


def version(_: Session, line: VersionArguments) -> None:
    """Print the version, or what a template takes from docker's document of it."""
    if not line.form:
        print_result(VERSION_TEXT)
        return
    import platform

    from tiffin.builder.cli.output.template import Template
    from tiffin.builder.oci.spec import Platform

    system, _slash, architecture = str(Platform.local()).partition("/")
    version = displayed_version()
    both = {"Version": version, "ApiVersion": API_VERSION, "GitCommit": "", "Os": system, "Arch": architecture}
    engine = {
        "Name": "Engine",
        "Version": version,
        "Details": {"ApiVersion": API_VERSION, "MinAPIVersion": API_VERSION},
    }
    document = {  # there is no daemon: one program is both
        "Client": {**both, "DefaultAPIVersion": API_VERSION, "Context": "default"},
        "Server": {
            "Platform": {"Name": "tiffin"},
            "Components": [engine],
            **both,
            "MinAPIVersion": API_VERSION,
            "KernelVersion": platform.release(),
            "Experimental": False,
        },
    }
    print_result(Template("{{json .}}" if line.form == "json" else line.form).render(document))


COMMANDS = (
    Command(
        "version",
        VersionArguments,
        version,
        about="Show the version.",
        examples=("tiffin version", "tiffin version -f '{{.Client.Version}}'"),
    ),
)
