"""Go templates: what docker 28 printed for the same document and template."""

from __future__ import annotations

import pytest

from builder.cli.template import Template
from builder.cli.template_values import NIL_LIST, NIL_MAP
from builder.errors import UsageError

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
    ],
)
def test_bad_templates_say_why(template: str, reason: str) -> None:
    with pytest.raises(UsageError) as caught:
        Template(template).render(DOCUMENT)
    assert reason in str(caught.value)
