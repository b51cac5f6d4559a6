"""What HCL and JSON files define: variables, functions, attributes of others, matrices, several files."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.bake.baker import Baker
from tiffin.builder.errors import BakeError, UsageError

ARGS = 'target "app" {\n  args = { x = %s }\n}\n'


@pytest.mark.parametrize(
    ("text", "env", "expected"),
    [
        ('variable "N" { default = "123" }\n' + ARGS % "N", {}, "123"),
        ('variable "N" { default = "123" }\n' + ARGS % '"${N}"', {"N": "456"}, "456"),
        ('variable "N" {}\n' + ARGS % 'equal(N, "")', {}, "true"),
        ('variable "N" {}\n' + ARGS % "N", {"N": "y"}, "y"),
        ('variable "N" { default = 3 }\n' + ARGS % 'N > 5 ? "higher" : "lower"', {}, "lower"),
        ('variable "N" { default = 3 }\n' + ARGS % 'N > 5 ? "higher" : "lower"', {"N": "5.1"}, "higher"),
        ('variable "B" { default = true }\n' + ARGS % 'B ? "yes" : "no"', {"B": "0"}, "no"),
        ('variable "N" { default = null }\n' + ARGS % "N", {"N": "bar"}, "bar"),
        ('variable "A" { default = "${B}abc" }\nvariable "B" { default = "xyz" }\n' + ARGS % "A", {}, "xyzabc"),
        ('A = "pre-${B}"\nvariable "B" { default = "x" }\n' + ARGS % '"attr-${A}"', {"B": "def"}, "attr-pre-def"),
        (ARGS % '"${add(123, 1)}"', {}, "124"),
        ('function "up" {\n params = [n]\n result = n + 1\n}\n' + ARGS % "up(123)", {}, "124"),
        ('function "f" {\n params = []\n variadic_params = items\n result = join("-", items)\n}\n' + ARGS % 'f("a", "b")',
         {}, "a-b"),
        ('function "b" {\n params = [i]\n result = "[${i}]"\n}\nfunction "u" {\n params = [v]\n'
         ' result = "${upper(v)} <> ${b(v2)}"\n}\nv1 = u("foo")\nv2 = lower("BAZ")\n' + ARGS % "v1", {}, "FOO <> [baz]"),
        (ARGS % "BAKE_LOCAL_PLATFORM", {"BAKE_LOCAL_PLATFORM": "ignored"}, "linux/amd64"),
        ('variable "V" {\n type = bool\n}\n' + ARGS % "V", {"V": "true"}, "true"),
        ('variable "V" {\n type = number\n}\n' + ARGS % "V", {"V": "99"}, "99"),
        ('variable "V" {\n type = string\n}\n' + ARGS % "V", {"V": '"hello"'}, '"hello"'),
        ('variable "V" {\n type = list(string)\n}\n' + ARGS % 'join("-", V)', {"V": "hi,there"}, "hi-there"),
        ('variable "V" {\n type = list(number)\n}\n' + ARGS % 'join("-", [for v in V: v + 1])', {"V": "3,1,4"}, "4-2-5"),
        ('variable "V" {\n type = set(number)\n}\n' + ARGS % 'join("-", [for v in V: v + 1])', {"V": "3,1,4"}, "2-4-5"),
        ('variable "V" {\n type = map(number)\n}\n' + ARGS % 'join("-", sort(values(V)))', {"V": "a:1,b:2"}, "1-2"),
        ('variable "V" {\n type = tuple([number, string])\n}\n' + ARGS % 'format("%d %s", V[0], V[1])',
         {"V": "99,bottles"}, "99 bottles"),
        ('variable "V" {\n type = string\n}\n' + ARGS % "V", {"V_JSON": '"hello"'}, "hello"),
        ('variable "V" {\n type = map(number)\n}\n' + ARGS % 'join("-", sort(values(V)))', {"V_JSON": '{"a":1,"b":2}'},
         "1-2"),
        ('variable "V" {\n type = object({m = list(string)})\n}\n' + ARGS % 'join("-", V["m"])',
         {"V_JSON": '{"m":["hi","there"]}'}, "hi-there"),
        ('variable "V" {\n type = list(number)\n}\n' + ARGS % "length(V)", {"V": "1,2", "V_JSON": "[3,4,5]"}, "3"),
        ('variable "V_JSON" {\n type = list(number)\n}\n' + ARGS % "length(V_JSON)", {"V_JSON_JSON": "[4,5,6]"}, "3"),
        ('variable "v" {\n type = number\n default = 101\n}\n' + ARGS % "v", {"v_json": "9000"}, "101"),
        ('variable "V" {\n type = any\n}\n' + ARGS % "V", {"V": "x"}, "x"),
        ('variable "V" {\n type = number\n default = "99"\n}\n' + ARGS % "V + 1", {}, "100"),
        ('variable "V" {\n type = list(string)\n}\n' + ARGS % "equal(V, null)", {}, "true"),
        ('variable "V" {\n type = string\n}\n' + ARGS % 'V == null ? "hi" : V', {}, "hi"),
        ('variable "V" {\n default = "x"\n validation {\n condition = V != ""\n error_message = "no"\n }\n}\n' + ARGS % "V",
         {}, "x"),
    ],
)  # fmt: skip
def test_an_argument_has_a_value(baker: Baker, text: str, env: dict[str, str], expected: str) -> None:
    assert baker.target(text, env=env)["args"] == {"x": expected}


@pytest.mark.parametrize("kind", ["list(number)", "list(string)", "map(string)", "object({a = string})", "set(bool)"])
def test_a_null_list_is_no_text(baker: Baker, kind: str) -> None:
    """As in HCL: a null has the type of its variable."""
    declared = f'variable "V" {{\n type = {kind}\n default = null\n}}\n'
    for attribute in ("args", "labels"):
        with pytest.raises(BakeError, match="string required, not"):
            baker.target(declared + f'target "app" {{\n {attribute} = {{ N = V }}\n}}\n')
    text = declared + 'target "app" {\n args = { N = V == null ? null : "some" }\n}\n'
    assert "args" not in baker.target(text)


@pytest.mark.parametrize(
    "attribute",
    ["tags", "platforms", "cache-from", "cache-to", "output", "secret", "ssh", "attest", "annotations", "ulimits",
     "entitlements", "no-cache-filter", "inherits"],
)  # fmt: skip
def test_a_null_in_a_list_is_not_left_out_in_silence(baker: Baker, attribute: str) -> None:
    for value in ("[null]", '["a" == "b" ? "x" : null]', '["default", null]'):
        with pytest.raises(BakeError, match="a null is in the list"):
            baker.target(f'target "app" {{\n {attribute} = {value}\n}}\n')
    kept = f'target "app" {{\n {attribute} = [for v in [null] : v if v != null]\n}}\n'
    assert attribute not in baker.target(kept)


def test_null_is_no_argument(baker: Baker) -> None:
    text = 'variable "N" { default = null }\n' + ARGS % "N"
    assert "args" not in baker.target(text) or baker.target(text)["args"] == {"x": None}


def test_what_the_line_gives_wins_over_the_environment(baker: Baker) -> None:
    text = 'variable "N" { default = "a" }\n' + ARGS % "N"
    assert baker.target(text, env={"N": "b"}, given={"N": "c"})["args"] == {"x": "c"}


def test_json_of_a_built_in_name_is_no_override(baker: Baker) -> None:
    text = 'variable "V" {\n type = list(number)\n}\n' + ARGS % "length(V)"
    env = {"V": "1,2", "V_JSON": "[3,4,5]"}
    assert baker.target(text, env=env, builtins={"V_JSON": "z"})["args"] == {"x": "2"}


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("text", "env", "message"),
    [
        ('variable "N" { default = 3 }\n', {"N": "NaN"}, "failed to parse N as number"),
        ('variable "B" { default = true }\n', {"B": "maybe"}, "failed to parse B as bool"),
        ('variable "V" { default = ["a"] }\n', {"V": "x"}, "unsupported type tuple for variable V"),
        ('variable "V" { default = [1, 2] }\n', {"V_JSON": "[1]"}, "unsupported type"),
        ('variable "V" {\n type = number\n default = "oops"\n}\n', {}, "invalid type number for variable V default value"),
        ('variable "V" {\n type = list(number)\n default = ["oops"]\n}\n', {}, "invalid type list of number"),
        ('variable "V" {\n type = boolean\n}\n', {}, "not the name of a type"),
        ('variable "V" {\n type = list(string)\n}\n', {"V": '"hello,world'}, "from CSV"),
        ('variable "V" {\n type = object({m = string})\n}\n', {"V": "x"}, "unsupported type object"),
        ('variable "V" {\n type = list(list(number))\n}\n', {"V": "1,2"}, "unsupported type"),
        ('variable "V" {\n type = map(number)\n}\n', {"V": "foo:1:1"}, "expected one k/v pair"),
        ('variable "V" {\n type = map(number)\n}\n', {"V": "foo:1z"}, "failed to parse"),
        ('variable "V" {\n type = tuple([number, number])\n}\n', {"V": "1"}, "expects 2 elements but only 1 provided"),
        ('variable "V" {\n type = string\n}\n', {"V_JSON": "hello"}, "from JSON"),
        ('variable "V" {\n type = map(number)\n}\n', {"V_JSON": '{"a":"oops"}'}, "a number is required"),
        ('variable "A" { default = B }\nvariable "B" { default = A }\n', {}, "variable cycle not allowed for A"),
        ('variable "V" {\n validation {\n condition = V != ""\n error_message = "V is required."\n }\n}\n', {},
         "V is required."),
        ('variable "V" {\n validation {\n condition = null\n }\n}\n', {}, "either true or false, not null"),
        ('variable "V" {\n validation {\n condition = "x"\n }\n}\n', {}, "bool is required"),
        ('variable "V" {\n validation {\n condition = false\n error_message = null\n }\n}\n', {}, "invalid error message"),
        ('function "f" {\n result = 1\n}\n', {}, "empty params not allowed for f"),
        ('function "f" {\n params = []\n}\n', {}, "empty result not allowed for f"),
        ('function "f" {\n params = a\n result = 1\n}\n', {}, "are a list"),
        ('function "f" {\n params = [1]\n result = 1\n}\n', {}, "must be an identifier"),
        ('function "f" {\n params = [a]\n result = f(a)\n}\nx = f(1)\n', {}, "function cycle not allowed for f"),
        ('function "f" {\n params = [a]\n result = a\n}\nx = f()\n', {}, "f() needs 1 arguments, not 0"),
        ('function "f" {\n params = [a]\n variadic_params = r\n result = a\n}\nx = f()\n', {}, "at least 1"),
        ("x = nosuch\n", {}, 'no variable "nosuch"'),
        ("x = " + "1 + " * 20000 + "1\n", {}, "nested too deeply"),
        ("x = nosuch()\n", {}, 'no function "nosuch"'),
        ('target "a" {\n dockerfile = target.a.dockerfile\n}\n', {}, "reference cycle not allowed for target.a.dockerfile"),
        ('target "a" {\n dockerfile = target.b.dockerfile\n}\n', {}, 'no attribute "b"'),
        ('target "a" {\n tags = "x"\n}\n', {}, "tags: a list of strings is needed, not string"),
        ('target "a" {\n args = ["x"]\n}\n', {}, "args: a map of strings is needed"),
        ('target "a" {\n no-cache = "x"\n}\n', {}, "no-cache: a bool is required"),
        ('target "a" {\n output = [{dest = "x"}]\n}\n', {}, "has no type"),
        ('target "a" {\n secret = ["id=a,what=b"]\n}\n', {}, 'takes no "what"'),
        ('target "a" {\n resources = {disk = 1}\n}\n', {}, "no resource disk"),
        ('target "a.b" {}\n', {}, 'only "[a-zA-Z0-9_-]+" are allowed'),
        ("target {}\n", {}, "needs one name, and has 0"),
        ('target "a" {\n name = "b"\n}\n', {}, "name requires matrix"),
        ('group "a" {\n name = "b"\n targets = []\n}\n', {}, "name is not supported for groups"),
        ('group "a" {\n matrix = {x = ["b"]}\n targets = []\n}\n', {}, "matrix is not supported for groups"),
        ('group "a" {}\n', {}, "has no targets"),
        ('target "a" {\n matrix = "x"\n}\n', {}, "matrix must be a map"),
        ('target "a" {\n matrix = {x = "b"}\n}\n', {}, "matrix values must be a list"),
        ('target "a" {\n matrix = {x = ["b", "c"]}\n}\n', {}, 'duplicate name "a"'),
        ('target "a" {\n matrix = {x = [["b"]]}\n name = x\n}\n', {}, "string required, not tuple"),
        ('target "a" {\n matrix = {x = range(1000), y = range(1000)}\n name = "z"\n}\n', {}, "100000 are allowed"),
    ],
)  # fmt: skip
def test_what_a_file_says_wrong_is_told_with_its_line(
    baker: Baker, text: str, env: dict[str, str], message: str
) -> None:
    with pytest.raises(BakeError) as caught:
        baker.config(text, env=env)
    assert message in str(caught.value)
    assert caught.value.span is not None
    assert str(caught.value).startswith("docker-bake.hcl:")


def test_targets_read_each_others_attributes(baker: Baker) -> None:
    text = """
    target "foo" {
      dockerfile = "xxx"
      context = target.bar.target
      target = target.foo.dockerfile
    }
    target "bar" {
      dockerfile = target.foo.dockerfile
      context = target.foo.context
      target = "yyy"
    }
    target "named" { dockerfile = target.named.name }
    target "chain" { cache-from = target.empty.cache-from, }
    target "empty" {}
    """.replace("cache-from,", "cache-from")
    found = baker.document(text, targets=["foo", "bar", "named", "chain"])["target"]
    assert found["foo"] == {"context": "yyy", "dockerfile": "xxx", "target": "xxx"}
    assert found["bar"] == {"context": "yyy", "dockerfile": "xxx", "target": "yyy"}
    assert found["named"]["dockerfile"] == "named"
    assert "cache-from" not in found["chain"]


def test_entries_are_texts_or_objects(baker: Baker) -> None:
    text = """
    target "app" {
      attest = [
        { type = "provenance", mode = "max" },
        "type=sbom,disabled=true,generator=foo,\\"ENV1=bar,baz\\",ENV2=hello",
      ]
      cache-from = [{ type = "registry", ref = "user/app:cache" }, "type=local,src=path/to/cache", "one,two"]
      cache-to = ["user/app:to"]
      output = [{ type = "oci", dest = "../out.tar" }, "type=local,dest=../out", "outdir", "-"]
      secret = [{ id = "mysecret", src = "/local/secret" }, { id = "mysecret2", env = "TOKEN" }, "type=env,id=x,src=Y"]
      ssh = [{ id = "default" }, { id = "key", paths = ["path/to/key"] }, "more=a,b"]
    }
    """
    assert baker.target(text) == {
        "attest": [
            {"mode": "max", "type": "provenance"},
            {"ENV1": "bar,baz", "ENV2": "hello", "disabled": True, "generator": "foo", "type": "sbom"},
        ],
        "cache-from": [
            {"ref": "user/app:cache", "type": "registry"},
            {"src": "path/to/cache", "type": "local"},
            {"ref": "one", "type": "registry"},
            {"ref": "two", "type": "registry"},
        ],
        "cache-to": [{"ref": "user/app:to", "type": "registry"}],
        "context": ".",
        "dockerfile": "Dockerfile",
        "output": [
            {"dest": "../out.tar", "type": "oci"},
            {"dest": "../out", "type": "local"},
            {"dest": "outdir", "type": "local"},
            {"dest": "-", "type": "tar"},
        ],
        "secret": [
            {"id": "mysecret", "src": "/local/secret"},
            {"env": "TOKEN", "id": "mysecret2"},
            {"env": "Y", "id": "x"},
        ],
        "ssh": [{"id": "default"}, {"id": "key", "paths": ["path/to/key"]}, {"id": "more", "paths": ["a", "b"]}],
    }


def test_the_document_keeps_what_looks_like_a_variable(baker: Baker) -> None:
    text = 'target "app" {\n args = { x = "$${y} %%{z} <&>" }\n labels = {l = "$${m}"}\n}\n'
    config = baker.target(text)
    assert config["args"] == {"x": "$${y} %%{z} <&>"}
    assert config["labels"] == {"l": "$${m}"}


# -- matrices ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('target "m" {\n matrix = {foo = ["x", "y"]}\n name = foo\n}\n', ["x", "y"]),
        ('target "m" {\n matrix = {f = ["a"], g = ["b", "c"], h = ["d", "e"]}\n name = "${f}-${g}-${h}"\n}\n',
         ["a-b-d", "a-b-e", "a-c-d", "a-c-e"]),
        ('target "m" {\n matrix = {foo = [["aa", "bb"], ["cc", "dd"]]}\n name = foo[0]\n}\n', ["aa", "cc"]),
        ('target "m" {\n matrix = {foo = [{p = "aa"}, {p = "cc"}]}\n name = foo.p\n}\n', ["aa", "cc"]),
        ('variable "ABC" { default = "def" }\ntarget "m" {\n matrix = {v = ["1.42.3"]}\n'
         ' name = "${ABC}-${replace(v, ".", "-")}"\n}\n', ["def-1-42-3"]),
        ('a = 1\nb = 2\ntarget "m" {\n matrix = {foo = [a, b]}\n name = foo\n}\n', ["1", "2"]),
    ],
)  # fmt: skip
def test_a_matrix_makes_targets_and_a_group_of_them(baker: Baker, text: str, names: list[str]) -> None:
    config = baker.config(text)
    assert sorted(config.targets) == names
    assert sorted(config.groups["m"].targets) == names


def test_a_matrix_without_a_choice_is_still_a_group(baker: Baker) -> None:
    document = baker.document('target "default" {\n matrix = {x = ["a"]}\n name = "app-${x}"\n args = {v = x}\n}\n')
    assert document["group"] == {"default": {"targets": ["app-a"]}}
    assert document["target"]["app-a"]["args"] == {"v": "a"}


def test_files_name_what_a_matrix_made(baker: Baker) -> None:
    first = 'target "foo" {\n matrix = {A = ["x"]}\n name = "bar"\n dockerfile = "x"\n}\n'
    second = 'target "foo" {\n context = "y"\n}\n'
    third = 'target "bar" {\n target = "z"\n}\n'
    config = baker.config(("a.hcl", first), ("b.hcl", second), ("c.hcl", third))
    assert config.targets["bar"].values == {"dockerfile": "x", "target": "z"}
    assert config.targets["foo"].values == {"context": "y"}
    assert list(config.groups["foo"].targets) == ["bar", "foo"]


# -- several files -----------------------------------------------------------------------------------------------------


def test_files_share_variables_and_the_later_wins(baker: Baker) -> None:
    first = 'variable "FOO" { default = "abc" }\n' + 'target "app" {\n args = { v1 = "pre-${FOO}" }\n tags = ["a"]\n}\n'
    second = 'FOO = "def"\n' + 'target "app" {\n args = { v2 = "${FOO}-post" }\n tags = ["b"]\n}\n'
    found = baker.target(("c1.hcl", first), ("c2.hcl", second))
    assert found["args"] == {"v1": "pre-def", "v2": "def-post"}
    assert found["tags"] == ["b"]


def test_hcl_and_json_are_one(baker: Baker) -> None:
    first = 'group "default" { targets = ["a"] }\ntarget "metadata-a" {}\ntarget "a" { inherits = ["metadata-a"] }\n'
    second = '{"target": {"metadata-a": [{"tags": ["app/a:1.0.0", "app/a:latest"]}]}}'
    found = baker.document(("docker-bake.hcl", first), ("metadata.json", second))
    assert found["target"]["a"]["tags"] == ["app/a:1.0.0", "app/a:latest"]


def test_a_later_file_leaves_what_others_read(baker: Baker) -> None:
    first = 'target "app" { tags = ["a:1"] }\ntarget "debug" { tags = [for t in target.app.tags : "${t}-debug"] }\n'
    second = 'target "app" { platforms = ["linux/arm64"] }\n'
    assert baker.target(("a.hcl", first), ("b.hcl", second), name="debug")["tags"] == ["a:1-debug"]


def test_a_group_of_a_later_file_stands_for_the_first(baker: Baker) -> None:
    text = 'target "a" {}\ntarget "b" {}\ngroup "g" { targets = ["a"] }\n'
    config = baker.config(text, ("z.hcl", 'group "g" {\n targets = ["b", "b"]\n description = "d"\n}\n'))
    assert list(config.groups["g"].targets) == ["b"]
    assert config.groups["g"].document() == {"description": "d", "targets": ["b"]}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"FOO": "abc", "variable": {"BAR": {"default": "def"}}, "target": {"app": {"args": {"x": "${FOO}-${BAR}"}}}}',
         {"x": "abc-def"}),
        ('{"function": {"f": {"params": ["i"], "result": "<${upper(i)}>"}},'
         '"target": {"app": {"args": {"x": "${f(\\"foo\\")}"}}}}', {"x": "<FOO>"}),
        ('{"target": {"app": {"args": {"x": "myfunc(\\"foo\\")", "y": 1.5, "z": true}}}}',
         {"x": 'myfunc("foo")', "y": "1.5", "z": "true"}),
        ('{"//": "a comment", "variable": {"V": {"type": "list(string)", "validation": {"condition": true}}},'
         '"target": {"app": {"args": {"${lower(\\"X\\")}": "${length(V)}"}}}}', {"x": "2"}),
    ],
)  # fmt: skip
def test_json_holds_templates(baker: Baker, text: str, expected: dict[str, str]) -> None:
    assert baker.target(("docker-bake.json", text), env={"V": "a,b"})["args"] == expected


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("{", 1, "name in quotes"),
        ('{"a"\n1}', 2, "colon"),
        ('{"a": 1\n"b": 2}', 2, "comma"),
        ('{"a": [1\n2]}', 2, "comma"),
        ('{"a": what}', 1, "a value is needed"),
        ('{"a": "x\\q"}', 1, "escape"),
        ("[]", 1, "one object"),
        ('{"target": {\n"a": 3}}', 2, "is not an object"),
        ('{"a": ' + "[" * 300 + "}", 1, "nested too deeply"),
    ],
)
def test_what_is_no_json_is_refused_with_its_line(baker: Baker, text: str, line: int, message: str) -> None:
    with pytest.raises(BakeError, match=message) as caught:
        baker.config(("docker-bake.json", text))
    assert caught.value.span is not None
    assert caught.value.span.first_line == line


@pytest.mark.parametrize(
    ("text", "is_there"),
    [
        ('target "app" {}\n', True),
        ('{"target": {"app": {}}}', True),
        ("services:\n  app:\n    build: .\n", True),
    ],
)
def test_a_name_need_not_tell_what_a_file_is(baker: Baker, text: str, is_there: bool) -> None:
    assert ("app" in baker.config(("-", text)).targets) is is_there


def test_a_file_of_no_kind_is_refused(baker: Baker) -> None:
    with pytest.raises(BakeError, match="-:1"):
        baker.config(("-", "what: is this\n"))


def test_an_unknown_attribute_is_told_and_changes_nothing(baker: Baker) -> None:
    assert baker.target('target "app" {\n  tag = ["x"]\n  tags = ["y"]\n}\n')["tags"] == ["y"]
    assert baker.warnings == ['docker-bake.hcl:2: targets have no tag: it has no effect; did you mean "tags"?']


def test_variables_are_listed_with_type_and_value(baker: Baker) -> None:
    text = """
    variable "S" { default = "x" }
    variable "N" {
      type = number
      default = 1.5
      description = "a number"
    }
    variable "L" { default = ["a", 1] }
    variable "M" { type = map(string) }
    """
    found = {item.name: (item.kind, item.value, item.description) for item in baker.config(text).variables}
    assert found == {
        "L": ("", '["a",1]', ""),
        "M": ("map of string", None, ""),
        "N": ("number", "1.5", "a number"),
        "S": ("", "x", ""),
    }


def test_paths_begin_where_their_file_is(baker: Baker) -> None:
    base = 'target "base" { context = "basectx" }\ntarget "plain" {}\n'
    app = """
    target "app" {
      inherits = ["base"]
      contexts = { shared = "../shared", img = "docker-image://x", cwd = "cwd://l", linked = "target:plain" }
    }
    target "ref" { context = target.base.context }
    """
    files = (("one/bake.hcl", base), ("two/bake.hcl", app))
    found = baker.document(*files, targets=["app", "ref", "plain"], is_relative=True)["target"]
    assert found["app"]["context"] == "one/basectx"
    assert found["ref"]["context"] == "one/basectx"
    assert found["plain"]["context"] == "one"
    assert found["app"]["contexts"] == {
        "cwd": "cwd://l", "img": "docker-image://x", "linked": "target:plain", "shared": "shared",
    }  # fmt: skip


def test_no_target_at_all(baker: Baker) -> None:
    with pytest.raises(UsageError, match="failed to find target default"):
        baker.document("x = 1\n")


def test_a_whole_object_may_be_read(baker: Baker) -> None:
    text = 'target "base" {\n args = {a = "1"}\n}\ntarget "app" {\n args = merge(target.base.args, {b = "2"})\n}\n'
    found: dict[str, Any] = baker.target(text)["args"]
    assert found == {"a": "1", "b": "2"}
    assert baker.target(text + "x = keys(target)\ny = [for k, v in target.base : k if v != null]\n")["args"] == found
