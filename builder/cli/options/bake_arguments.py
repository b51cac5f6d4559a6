"""What may stand on the line of `tiffin bake`."""

from __future__ import annotations

from tiffin.builder.cli.options.common import (
    EgressArguments,
    FarmArguments,
    LockArguments,
    PolicyArguments,
    ProgressArguments,
    SignatureArguments,
)
from tiffin.builder.cli.options.option import WITHOUT_EFFECT, Flag, Many, Text, Words

SWITCH = ("true", "false", "1", "0")


class BakeArguments(
    LockArguments, EgressArguments, ProgressArguments, SignatureArguments, PolicyArguments, FarmArguments
):
    """All of it."""

    words = Words("[TARGET]...")
    files = Many("-f", "--file", metavar="FILE", help="File that defines targets; repeatable.")
    sets = Many("--set", metavar="TARGET.KEY=VALUE", help="Value of a target, above the files; repeatable.")
    variables = Many("--var", metavar="NAME=VALUE", help="Value of a variable; repeatable.")
    print_only = Flag("--print", help="Print what would be built, as JSON; build nothing.")
    listed = Text("--list", metavar="targets|variables", help="List targets or variables; build nothing.")
    call = Text("--call", metavar="check|outline|targets[,format=json]", default="build", help="Answer about targets.")
    check = Flag("--check", help="Check the Dockerfiles, build nothing; exit code 1 if something is found.")
    allowed = Many("--allow", metavar="RIGHT[=PATH]", help="Grant what targets ask for; repeatable.")
    load = Flag("--load", help="Store the images locally.")
    push = Flag("--push", help="Push the images under their names.")
    no_cache = Text("--no-cache", choices=SWITCH, bare="true", help="Run all steps again.")
    pull = Text("--pull", choices=SWITCH, bare="true", help="Ask the registry for newer base images.")
    provenance = Text("--provenance", metavar="true|mode=min|mode=max", help="Put a provenance beside pushed images.")
    sbom = Text("--sbom", metavar="false", help="Only false: no SBOM is made yet.")
    metadata_file = Text("--metadata-file", metavar="FILE", help="Write digests as JSON to FILE, by target.")
    keep_going = Flag("--keep-going", help="Go on with other targets when one fails.")
    list_targets = Flag("--list-targets", help="The same as --list=targets.")
    list_variables = Flag("--list-variables", help="The same as --list=variables.")
    builder = Many("--builder", why="there is one builder, and it needs no instance", effect=WITHOUT_EFFECT)
