"""tiffin completion: scripts with which shells complete words of a line; and what the scripts call."""

from __future__ import annotations

import sys

from tiffin.builder.cli.options.command import Command
from tiffin.builder.cli.options.option import Arguments, Word, Words
from tiffin.builder.cli.output.console import print_result
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.api.session import Session

SCRIPTS = {
    "bash": """\
# bash completion of tiffin: source <(tiffin completion bash)
_tiffin() {
    local line=${COMP_LINE:0:COMP_POINT} words current value found cut
    read -ra words <<<"$line"
    [[ $line == *[[:space:]] ]] && words+=("")
    current=${words[-1]}
    value=$current
    [[ $current == --*=* ]] && value=${current#*=}
    mapfile -t found < <("$1" __complete -- "${words[@]:1}" 2>/dev/null)
    COMPREPLY=()
    case ${found[0]-} in
        :files) mapfile -t COMPREPLY < <(compgen -f -- "$value"); compopt -o filenames 2>/dev/null; return ;;
        :dirs) mapfile -t COMPREPLY < <(compgen -d -- "$value"); compopt -o filenames 2>/dev/null; return ;;
    esac
    cut=${current%"${current##*[:=]}"}  # bash breaks words there
    for line in "${found[@]}"; do
        line=${line%%$'\\t'*}
        COMPREPLY+=("${line#"$cut"}")
    done
}
complete -F _tiffin tiffin
""",
    "zsh": """\
#compdef tiffin
# zsh completion of tiffin: source <(tiffin completion zsh), after compinit
_tiffin() {
    local line word
    local -a lines found
    lines=("${(@f)$("${words[1]}" __complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    case ${lines[1]} in
        :files) compset -P '--*='; _files; return ;;
        :dirs) compset -P '--*='; _files -/; return ;;
    esac
    for line in "${lines[@]}"; do
        [[ -n $line ]] || continue
        word=${line%%$'\\t'*}
        found+=("${word//:/\\\\:}:${line#*$'\\t'}")
    done
    _describe tiffin found
}
if [[ ${funcstack[1]} == _tiffin ]]; then _tiffin "$@"; else compdef _tiffin tiffin; fi
""",
    "fish": """\
# fish completion of tiffin: tiffin completion fish | source
function __tiffin_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -l prefix (string match -r -- '^--[^=]*=' $current)
    set -l value (string replace -r -- '^--[^=]*=' '' $current)
    set -l found ($words[1] __complete -- $words[2..-1] $current 2>/dev/null)
    switch "$found[1]"
        case ':files'
            __fish_complete_path $value | string replace -r -- '^' "$prefix"
        case ':dirs'
            __fish_complete_directories $value '' | string replace -r -- '^' "$prefix"
        case '*'
            printf '%s\\n' $found
    end
end
complete -c tiffin -f -a '(__tiffin_complete)'
""",
}


class CompletionArguments(Arguments):
    """Which shell."""

    shell = Word("bash|zsh|fish", choices=tuple(SCRIPTS))


def completion(_: Session, line: CompletionArguments) -> None:
    """Print the script of a shell."""
    sys.stdout.write(SCRIPTS[line.shell])


class CompleteArguments(Arguments):
    """The words of a line, as far as it is written."""

    words = Words("[WORD]...")


def complete(_: Session, line: CompleteArguments) -> None:
    """Print a line for each word that may stand for the last: it, a tab, what it means."""
    from tiffin.builder.cli.completion import candidates

    for word, text in candidates(line.words):
        print_result(f"{word}\t{text}" if text else word)


COMMANDS = (
    Command(
        "completion",
        CompletionArguments,
        completion,
        about="Print a script that completes words in a shell.",
        help=(
            "Print a script with which a shell completes commands, flags, their values, and the names of images and"
            " containers."
        ),
        examples=(
            "source <(tiffin completion bash)",
            "source <(tiffin completion zsh)  # after compinit",
            "tiffin completion fish | source",
        ),
    ),
    Command(
        "__complete",
        CompleteArguments,
        complete,
        about="Print completions of the last word, for shell scripts.",
        is_hidden=True,
    ),
)
