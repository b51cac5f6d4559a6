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
        ('{{define "x"}}<{{.}}>{{end}}{{template "x" .Os}}', "<linux>"),
        ('{{template "x"}}{{define "x"}}a{{.}}{{end}}', "a<nil>"),
        ('{{block "b" .RootFS}}{{.Type}}{{end}}', "layers"),
        (
            '{{define "r"}}{{if .}}{{slice . 1 | len}}{{template "r" (slice . 1)}}{{end}}{{end}}{{template "r" .Os}}',
            "43210",
        ),
        ('{{printf "%U %#U %q" 233 233 65}}', "U+00E9 U+00E9 'é' 'A'"),
        ('{{printf "%q %s %d" .RepoTags .RepoTags .RepoTags}}', '["rich:1"] [rich:1] [%!d(string=rich:1)]'),
        ('{{printf "%x|% x|%x" "hello" "hello" (split "a,b" ",")}}', "68656c6c6f|68 65 6c 6c 6f|[61 62]"),
        ('{{printf "%#v %#v %T" "a" .RepoTags .RepoTags}}', '"a" []string{"rich:1"} []string'),
        ('{{printf "%#q %+q" "a" "é"}}', '`a` "\\u00e9"'),
        ('{{printf "%*d|%-*d|%.*s" 5 42 4 7 2 "abc"}}', "   42|7   |ab"),
        ('{{printf "%[2]d %[1]d %[3]d" 1 2}}', "2 1 %!d(BADINDEX)"),
        ('{{printf "%"}}{{printf "%!"}}{{printf "%d"}}', "%!(NOVERB)%!!(MISSING)%!d(MISSING)"),
        ('{{printf "%g %e %.3g %6.3v" 1e21 1234.5 1234.5 3.14159}}', "1e+21 1.234500e+03 1.23e+03   3.14"),
        ("{{1000000.0}} {{0.00001}} {{123456789.5}} {{1.0}} {{'a'}}", "1e+06 1e-05 1.234567895e+08 1 97"),
        ('{{printf "%v %v" nil true}}', "<nil> true"),
        ('{{js "it\'s\\n\\t\\u2028é"}}', "it\\'s\\u000A\\u0009\\u2028é"),
        ('{{index "abc" 1}} {{index .RootFS.Layers 0 | len}} {{index .Config.Labels `a`}}', "98 8 b c"),
        ('{{slice (split "a,b,c,d" ",") 1 3}} {{slice (split "a,b,c" ",") 1 2 3}} {{slice "abc"}}', "[b c] [b] abc"),
        ('{{len "日本"}} {{slice "日本" 3}} {{printf "%.1s|%3s|" "日本" "日"}}', "6 本 日|  日|"),
        ('{{title "hello_world foo-bar it\'s ABC"}}', "Hello_world Foo-Bar It'S ABC"),
        ('{{print "a" "b" 1 2 "c" 3}} {{print 1 2 3}} {{println}}', "ab1 2c3 1 2 3 \n"),
        ("{{lt 1.5 2.5}} {{eq true true}} {{ge `b` `a`}} {{le 2 2}}", "true true true true"),
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
        ('{{template "x"}}', 'template "x" is not defined'),
        ('{{define "x"}}{{template "x"}}{{end}}{{template "x"}}', "call each other without end"),
        ('{{define "x"}}', "{{define}} without {{end}}"),
        ("{{define x}}{{end}}", "{{define}} needs a name"),
        ('{{block "x"}}{{end}}', "{{block}} needs a name and a value"),
        ("{{nil}}", "nil is not a command"),
        ("{{printf 5}}", "expected string; found 5"),
        ('{{slice "abcdef" 4 2}}', "invalid slice index: 4 > 2"),
        ('{{slice "abcdef" 9}}', "index out of range: 9"),
        ('{{slice "abcdef" 1 2 3}}', "too many slice indexes"),
        ('{{slice .Os "a"}}', "cannot index slice/array with type string"),
        ("{{len 3}}", "error calling len"),
        ("{{index}}", "error calling index"),
        ("{{break}}", "{{break}} outside {{range}}"),
        ("{{$x = 1}}", 'undefined variable "$x"'),
        ("{{eq `a` 1}}", "incompatible types for comparison: string and int"),
    ],
)
def test_bad_templates_say_why(template: str, reason: str) -> None:
    with pytest.raises(UsageError) as caught:
        Template(template).render(DOCUMENT)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("template", "document", "text"),
    [
        ("{{.ID}} {{.Id}}", {"Id": "sha256:1"}, "sha256:1 sha256:1"),
        ("{{.ID}}", {"ID": "short", "Id": "long"}, "short"),
        ("{{.Server.APIVersion}}", {"Server": {"ApiVersion": "1.41"}}, "1.41"),
        ("{{json .}}", {"Id": "x"}, '{"Id":"x"}'),
        ("{{range .}}{{.ID}} {{end}}", [{"Id": "a"}, {"Id": "b"}], "a b "),
    ],
)
def test_members_may_be_called_as_in_go(template: str, document: object, text: str) -> None:
    """Docker's templates see its structs, which call some members otherwise than its JSON."""
    assert Template(template).render(document) == text
