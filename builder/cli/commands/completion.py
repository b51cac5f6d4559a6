"""tiffin completion: scripts with which shells complete words of a line; and what the scripts call."""

from __future__ import annotations

from typing import cast

import click

from tiffin.builder.cli.completion import candidates

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
    set -l found ($words[1] __complete -- $words[2..-1] $current 2>/dev/null)
    switch "$found[1]"
        case ':files'
            __fish_complete_path (string replace -r -- '^--[^=]*=' '' $current)
        case ':dirs'
            __fish_complete_directories (string replace -r -- '^--[^=]*=' '' $current) ''
        case '*'
            printf '%s\\n' $found
    end
end
complete -c tiffin -f -a '(__tiffin_complete)'
""",
}


@click.command("completion")
@click.argument("shell", type=click.Choice(list(SCRIPTS)))
def command(shell: str) -> None:
    """Print a script with which SHELL completes commands, flags, their values, and the names of images and containers.

    For bash: source <(tiffin completion bash); for zsh the same, after compinit; for fish: tiffin completion fish | source.
    """
    click.echo(SCRIPTS[shell], nl=False)


@click.command("__complete", hidden=True, add_help_option=False)
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def complete_command(ctx: click.Context, words: tuple[str, ...]) -> None:
    """Print a line for each word that may stand for the last of WORDS: it, a tab, what it means."""
    app = cast(click.Group, ctx.find_root().command)
    for word, text in candidates(app, words):
        click.echo(f"{word}\t{text}" if text else word)
