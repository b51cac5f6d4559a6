"""Write what is made from rows: docs/reference.md, run-options.md and variables.md, or with --man DIR man pages and
completion scripts.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tiffin.builder.cli.commands.completion import SCRIPTS
from tiffin.builder.cli.manual import commands, docker_options, man_page, markdown, variables

HERE = Path(__file__).resolve().parent
REFERENCE = HERE.parent / "docs/reference.md"
RUN_OPTIONS = HERE.parent / "docs/run-options.md"
VARIABLES = HERE.parent / "docs/variables.md"
DOCKER_NAMES = tuple((HERE / "docker_run_options.txt").read_text().split())  # of docker 28's `docker run --help`
PLACES = {  # where shells look below share/
    "bash": "bash-completion/completions/tiffin",
    "zsh": "zsh/site-functions/_tiffin",
    "fish": "fish/vendor_completions.d/tiffin.fish",
}


def main(words: list[str]) -> None:
    """Write the files."""
    if words[:1] != ["--man"]:
        REFERENCE.write_text(markdown())
        RUN_OPTIONS.write_text(docker_options(DOCKER_NAMES))
        VARIABLES.write_text(variables())
        return
    share = Path(words[1])
    pages = [(), *(path for path, _ in commands())]
    files = {f"man/man1/{'-'.join(('tiffin', *path))}.1": man_page(path) for path in pages}
    files |= {place: SCRIPTS[shell] for shell, place in PLACES.items()}
    for name, text in files.items():
        (share / name).parent.mkdir(parents=True, exist_ok=True)
        (share / name).write_text(text)


if __name__ == "__main__":
    main(sys.argv[1:])
