"""Go templates: what docker 28 printed for the same document and template."""

from __future__ import annotations

import pytest

from tiffin.builder.cli.output.template import Template
from tiffin.builder.cli.output.template_values import NIL_LIST, NIL_MAP
from tiffin.builder.errors import UsageError

DOCUMENT = {
    "Os": "linux",
    "RepoTags": ["rich:1"],
    "RootFS": {"Type": "layers", "Layers": ["sha256:1"]},
    "Config": {
        "Env": ["PATH=/bin", "A=1", "B=2"],
        "Labels": {"x.y": "z", "a": "b c"},
        "ExposedPorts": {"80/tcp": {}},
        "User": "5",
        "Cmd": NIL_LIST,
        "Volumes": NIL_MAP,
        "Healthcheck": None,
    },
}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("plain", "plain"),
        ("{{.Os}}/{{.RootFS.Type}}", "linux/layers"),
        ("{{.RepoTags}}", "[rich:1]"),
        ("{{index .RepoTags 0}}", "rich:1"),
        ("{{(index .RepoTags 0) | json}}", '"rich:1"'),
        ("{{json .RootFS}}", '{"Type":"layers","Layers":["sha256:1"]}'),
        ("{{range .Config.Env}}{{println .}}{{end}}", "PATH=/bin\nA=1\nB=2\n"),
        ("{{range $i, $e := .Config.Env}}{{$i}}={{$e}};{{end}}", "0=PATH=/bin;1=A=1;2=B=2;"),
        ("{{range $p, $_ := .Config.ExposedPorts}}{{$p}} {{end}}", "80/tcp "),
        ("{{.Config.ExposedPorts}}", "map[80/tcp:{}]"),
        ("{{.Config.Labels}}", "map[a:b c x.y:z]"),
        ("{{.Config.Labels.a}}", "b c"),
        ("{{.Config.Labels.nope}}", "<no value>"),
        ('{{index .Config.Labels "x.y"}}', "z"),
        ('{{index .Config.Labels "nope"}}', ""),
        ("{{.Config.Cmd}} {{json .Config.Cmd}}", "[] null"),
        ("{{.Config.Volumes}} {{json .Config.Volumes}}", "map[] null"),
        ("{{.Config.Healthcheck}} {{json .Config.Healthcheck}}", "<nil> null"),
        ("{{range .Config.Cmd}}a{{else}}none{{end}}", "none"),
        ("{{if .Config.User}}u{{else}}r{{end}}", "u"),
        ("{{if .Config.Cmd}}c{{else if eq .Os `linux`}}l{{end}}", "l"),
        ("{{with .Config.Labels}}{{.a}}{{end}}", "b c"),
        ("{{ $x := .Os }}{{ $x }}", "linux"),
        ("{{range .RepoTags}}{{$.Os}}{{end}}", "linux"),
        ("a  {{- .Os -}}  b", "alinuxb"),
        ("{{/* a note */}}x", "x"),
        ('{{join .Config.Env ","}}', "PATH=/bin,A=1,B=2"),
        ('{{split .Os "n"}}', "[li ux]"),
        ("{{.Os | upper}} {{title .Os}} {{lower `ABC`}}", "LINUX Linux abc"),
        ('{{printf "%s-%d %q" .Os 3 "a"}}', 'linux-3 "a"'),
        ('{{printf "%-10s|%5s|" "a" "b"}}', "a         |    b|"),
        ('{{print 1 2 "a" "b"}}', "1 2ab"),
        ("{{slice .Os 1 3}} {{truncate .Os 2}} {{pad .Os 1 2}}x {{len .Os}}", "in li  linux  x 5"),
        ('{{printf "%.3s" .Os}}|{{.Os | printf "%-8.4s|"}}', "lin|linu    |"),
        ('{{printf "%d|%5d|%-5d|%05d|%+d|% d" 42 42 42 42 42 42}}', "42|   42|42   |00042|+42| 42"),
        ('{{printf "%x|%X|%o|%b|%c|%#x" 42 42 42 42 42 42}}', "2a|2A|52|101010|*|0x2a"),
        ('{{printf "%5.1f|%08.3f|%6.2f%%" 1.25 3.14159 12.345}}', "  1.2|0003.142| 12.35%"),
        ('{{printf "%v %t %-5t| %T %T" 1 true false .Os 1}}', "1 true false| string int"),
        ('{{printf "%s" 3}} {{printf "%d" "x"}} {{printf "%z" 1}}', "%!s(int=3) %!d(string=x) %!z(int=1)"),
        ('{{printf "%s %s" .Os}} {{printf "a" .Os}}', "linux %!s(MISSING) a%!(EXTRA string=linux)"),
        ('{{html "<a&\'>"}} {{urlquery "a b&c/é"}}', "&lt;a&amp;&#39;&gt; a+b%26c%2F%C3%A9"),
        ('{{js `it\'s <b> "x" &=`}}', 'it\\\'s \\u003Cb\\u003E \\"x\\" \\u0026\\u003D'),
        ("{{range .Config.Env}}{{if eq . `A=1`}}{{continue}}{{end}}{{.}};{{end}}", "PATH=/bin;B=2;"),
        ("{{range .Config.Env}}{{if eq . `A=1`}}{{break}}{{end}}{{.}};{{end}}", "PATH=/bin;"),
        ("{{with .Config.Cmd}}x{{else with .Os}}{{.}}{{end}}", "linux"),
        ("{{$x := 1}}{{if true}}{{$x = 2}}{{end}}{{$x}}", "2"),
        ("{{$x := 1}}{{if true}}{{$x := 2}}{{end}}{{$x}}", "1"),
        ("{{$x := .Os}}{{range .RepoTags}}{{$x = .}}{{end}}{{$x}}", "rich:1"),
        ("{{range 3}}{{.}}{{end}} {{1.5}} {{0x10}} {{1_000}} {{len `é`}}", "012 1.5 16 1000 2"),
        ("{{not .Os}} {{and .Os .RootFS.Type}} {{or .Config.Cmd .Os}}", "false layers linux"),
        ("{{ge 3 2}} {{lt 1 2}} {{ne 1 2}} {{eq .Os `a` `linux`}}", "true true true true"),
    ],
)
def test_templates_print_what_docker_prints(template: str, text: str) -> None:
    assert Template(template).render(DOCUMENT) == text


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{{.Nope}}", 'there is no "Nope"; there are Config, Os'),
        ("{{.Config.Nope}}", 'there is no "Nope"'),
        ("{{.Os.Name}}", 'there is no "Name" in linux'),
        ("{{nofunc .Os}}", 'function "nofunc" is not supported'),
        ("{{.Os", "not closed"),
        ("{{if .Os}}", "{{if}} without {{end}}"),
        ("{{range .Os}}{{end}}", "cannot range over linux"),
        ("{{end}}", "unexpected {{end}}"),
        ("{{index .Config.Env 9}}", "index out of range: 9"),
        ("{{.Os | }}", "an empty command"),
        ("{{(.Os}}", "not closed"),
        ("{{.Os ?}}", 'cannot read "?"'),
        ("{{$x}}", 'undefined variable "$x"'),
        ('{{template "x"}}', 'function "template" is not supported'),
        ("{{index}}", "error calling index"),
        ("{{break}}", "{{break}} outside {{range}}"),
        ("{{$x = 1}}", 'undefined variable "$x"'),
        ("{{eq `a` 1}}", "incompatible types for comparison: string and int"),
        ('{{printf "%*d" 5 1}}', "error calling printf: widths and places"),
    ],
)
def test_bad_templates_say_why(template: str, reason: str) -> None:
    with pytest.raises(UsageError) as caught:
        Template(template).render(DOCUMENT)
    assert reason in str(caught.value)
