"""docker's contexts: the one there is, this machine without a daemon."""

from __future__ import annotations

from tiffin.builder.cli.options.command import Command, Group
from tiffin.builder.cli.options.common import ListArguments
from tiffin.builder.cli.options.option import Arguments, Flag, Text, Word, Words
from tiffin.builder.cli.output.console import print_error, print_result
from tiffin.builder.errors import UsageError
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.api.session import Session

DEFAULT = "default"
DESCRIPTION = "This machine: tiffin has no daemon"
IN_MEMORY = "<IN MEMORY>"  # docker's word
HEADINGS = {
    "Name": "NAME", "Description": "DESCRIPTION", "DockerEndpoint": "DOCKER ENDPOINT", "Error": "ERROR",
    "Current": "CURRENT",
}  # fmt: skip


class ListOfContexts(ListArguments):
    """What may stand on the line."""

    quiet = Flag("-q", "--quiet", help="Print names only.")


class InspectArguments(Arguments):
    """What may stand on the line."""

    names = Words("[CONTEXT]...")
    form = Text("-f", "--format", metavar="TEMPLATE", help="Go template.")


class UseArguments(Arguments):
    """What may stand on the line."""

    name = Word("CONTEXT")


def ls(_: Session, line: ListOfContexts) -> None:
    """Print the contexts there are: one."""
    from tiffin.builder.cli.output.lists import TABLE, show_rows

    if line.quiet:
        print_result(DEFAULT)
        return
    name = f"{DEFAULT} *" if line.form == TABLE else DEFAULT
    row = {"Name": name, "Description": DESCRIPTION, "DockerEndpoint": "", "Error": "", "Current": True}
    show_rows([row], line.form, ("Name", "Description", "DockerEndpoint", "Error"), HEADINGS)


def inspect(_: Session, line: InspectArguments) -> None:
    """Print docker's document of contexts. Raises UsageError for one that is not there."""
    from tiffin.builder.cli.output.lists import show_documents

    def document(name: str) -> dict[str, object]:
        check(name)
        return {
            "Name": DEFAULT,
            "Metadata": {"Description": DESCRIPTION},
            "Endpoints": {"docker": {"Host": "", "SkipTLSVerify": False}},
            "TLSMaterial": {},
            "Storage": {"MetadataPath": IN_MEMORY, "TLSPath": IN_MEMORY},
        }

    show_documents(line.names or (DEFAULT,), document, line.form)


def use(_: Session, line: UseArguments) -> None:
    """Use the context that is used anyhow. Raises UsageError for another."""
    check(line.name)
    print_result(line.name)
    print_error(f'Current context is now "{line.name}"')


def check(name: str) -> None:
    """Raise UsageError for a context that is not there."""
    if name not in ("", DEFAULT):
        raise UsageError(f'context "{name}" not found', remedy="there is one, default: this machine, without a daemon")


COMMANDS = (
    Group("context", about="docker's contexts.", is_hidden=True),
    Command(
        "context ls",
        ListOfContexts,
        ls,
        about="List docker's contexts: this machine is the only one.",
        examples=("tiffin context ls",),
        aliases=("context list",),
    ),
    Command(
        "context show",
        Arguments,
        lambda _, __: print_result(DEFAULT),
        about="Print the name of the context in use.",
        examples=("tiffin context show",),
    ),
    Command(
        "context inspect",
        InspectArguments,
        inspect,
        about="Show details of a context as JSON.",
        examples=("tiffin context inspect",),
    ),
    Command(
        "context use",
        UseArguments,
        use,
        about="Use a context: default is the only one.",
        examples=("tiffin context use default",),
    ),
)
