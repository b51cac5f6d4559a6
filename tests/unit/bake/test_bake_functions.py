"""The functions of bake files, by buildx's names and with its results."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pytest

from tiffin.builder.bake.functions.table import IN_EXPRESSIONS, builtins, call_builtin
from tiffin.builder.bake.hcl.faults import ExpressionError
from tiffin.builder.bake.hcl.parser import parse_expression
from tiffin.builder.bake.hcl.values import plain

NAMES = """absolute add and base64decode base64encode basename bcrypt byteslen bytesslice can ceil chomp chunklist
cidrhost cidrnetmask cidrsubnet cidrsubnets coalesce coalescelist compact concat contains convert csvdecode dirname
distinct divide element equal flatten floor format formatdate formatlist formattimestamp greaterthan
greaterthanorequalto hasindex homedir indent index indexof int join jsondecode jsonencode keys length lessthan
lessthanorequalto log lookup lower max md5 merge min modulo multiply negate not notequal or parseint pow range regex
regex_replace regexall replace reverse reverselist rsadecrypt sanitize semvercmp sethaselement setintersection
setproduct setsubtract setsymmetricdifference setunion sha1 sha256 sha512 signum slice sort split strlen substr subtract
timeadd timestamp title trim trimprefix trimspace trimsuffix try unixtimestampparse upper urlencode uuidv4 uuidv5 values
zipmap"""  # of buildx 0.36


class Scope:
    def variable(self, name: str, line: int) -> Any:
        raise ExpressionError(name)

    def call(self, name: str, arguments: Sequence[Any], line: int) -> Any:
        return call_builtin(name, arguments)


def value(text: str) -> Any:
    return plain(parse_expression(text, "f.hcl", 1).value(Scope()))


def test_all_functions_of_buildx_are_there() -> None:
    assert {*builtins(), *IN_EXPRESSIONS} == set(NAMES.split())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("absolute(-3)", 3),
        ("add(123, 1)", 124),
        ("subtract(1, 3)", -2),
        ("multiply(2, 3)", 6),
        ("divide(10, 4)", 2.5),
        ("modulo(11, 4)", 3),
        ("negate(4)", -4),
        ("ceil(1.2)", 2),
        ("floor(-1.2)", -2),
        ("int(-1.9)", -1),
        ("signum(-7)", -1),
        ("signum(0)", 0),
        ("pow(2, 10)", 1024),
        ("pow(4, 0.5)", 2),
        ("log(8, 2)", 3),
        ("max(1, 3, 2)", 3),
        ("min(4, 3)", 3),
        ('parseint("ff", 16)', 255),
        ('parseint("-101", 2)', -5),
        ('parseint("Z", 62)', 61),
        ("greaterthan(2, 1)", True),
        ("greaterthanorequalto(2, 2)", True),
        ("lessthan(2, 1)", False),
        ("lessthanorequalto(3, 2)", False),
        ("and(true, false)", False),
        ("or(true, false)", True),
        ("not(true)", False),
        ("equal(null, null)", True),
        ('notequal("a", "b")', True),
    ],
)
def test_numbers(text: str, expected: Any) -> None:
    assert value(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('basename("")', "."),
        ('basename("/")', "/"),
        ('basename("/foo/bar")', "bar"),
        ('basename("foo/bar..")', "bar.."),
        ('dirname("")', "."),
        ('dirname("/")', "/"),
        ('dirname("/foo/bar")', "/foo"),
        ('dirname("foo/bar")', "foo"),
        ('byteslen("é")', 2),
        ('bytesslice("hello", 1, 3)', "ell"),
        (r'chomp("a\r\n\n")', "a"),
        (r'indent(2, "a\nb")', "a\n  b"),
        ('join("-", ["a", "b"], ["c"])', "a-b-c"),
        ('lower("ÄB")', "äb"),
        ('upper("ab")', "AB"),
        ('title("hello big-world")', "Hello Big-World"),
        ('replace("a.b.c", ".", "-")', "a-b-c"),
        ('reverse("abc")', "cba"),
        ('sanitize("foo/🍕bar!@(ba+z)")', "foo__bar___ba_z_"),
        ('sort(["b", "a"])', ["a", "b"]),
        ('split(",", "a,b")', ["a", "b"]),
        ('strlen("e\u0301x")', 2),
        ('substr("hello", 1, 3)', "ell"),
        ('substr("hello", -2, -1)', "lo"),
        ('substr("hello", 9, 1)', ""),
        ('trim("--a--", "-")', "a"),
        ('trimprefix("v1", "v")', "1"),
        ('trimsuffix("a.b", ".b")', "a"),
        (r'trimspace(" a\n")', "a"),
        (r'regex("(\\d+)-(\\w+)", "12-ab")', ["12", "ab"]),
        (r'regex("(?P<y>\\d+)", "in 12")', {"y": "12"}),
        (r'regex("[[:alpha:]]+", "12ab")', "ab"),
        (r'regexall("\\d", "a1b2")', ["1", "2"]),
        (r'regex_replace("a1b22", "(\\d+)", "<$1>")', "a<1>b<22>"),
        (r'regex_replace("ab", "(?P<x>a)", "${x}$$")', None),
        ('format("%s is %d (%05.1f) %q %t %v%%", "x", 3, 2.25, "a", true, [1])', 'x is 3 (002.2) "a" true [1]%'),
        ('format("%-4s|%4s|%x|%X|%b|%o", "a", "b", 255, 255, 5, 8)', "a   |   b|ff|FF|101|10"),
        ('format("%[2]s %[1]s", "a", "b")', "b a"),
        ('format("%+d %#x %03d %e %.3s", 5, 255, 7, 1000, "abcdef")', "+5 0xff 007 1.000000e+03 abc"),
        ('format("%#v %g", "a", 1.5)', '"a" 1.5'),
        ('formatlist("%s-%s", ["a", "b"], "z")', ["a-z", "b-z"]),
    ],
)
def test_texts(text: str, expected: Any) -> None:
    if expected is None:  # ${x} is an expression in a text: it is to be escaped
        text, expected = text.replace("${x}", "$${x}"), "a$b"
    assert value(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("chunklist([1, 2, 3], 2)", [[1, 2], [3]]),
        ("chunklist([1], 0)", [[1]]),
        ('coalesce(null, "a", "b")', "a"),
        ("coalescelist([], [1])", [1]),
        ('compact(["a", "", "b"])', ["a", "b"]),
        ("concat([1], [2, 3])", [1, 2, 3]),
        ('contains(["a"], "a")', True),
        ("distinct([1, 2, 1])", [1, 2]),
        ('element(["a", "b"], 3)', "b"),
        ("flatten([[1, [2]], [3]])", [1, 2, 3]),
        ('hasindex({a = 1}, "a")', True),
        ("hasindex([1], 1)", False),
        ("index([5, 6], 1)", 6),
        ('index({a = 1}, "a")', 1),
        ('indexof(["one", 2, 3, "four"], "four")', 3),
        ("keys({b = 1, a = 2})", ["a", "b"]),
        ("values({b = 1, a = 2})", [2, 1]),
        ("length([1, 2])", 2),
        ("length({a = 1})", 1),
        ('lookup({a = "x"}, "b", "z")', "z"),
        ("merge({a = 1, b = 2}, null, {b = 3})", {"a": 1, "b": 3}),
        ("range(3)", [0, 1, 2]),
        ("range(1, 4)", [1, 2, 3]),
        ("range(4, 0, -2)", [4, 2]),
        ("range(-2)", [0, -1]),
        ("reverselist([1, 2])", [2, 1]),
        ("slice([1, 2, 3], 1, 3)", [2, 3]),
        ('zipmap(["a", "b"], [1, 2])', {"a": 1, "b": 2}),
        ('sethaselement(["a"], "b")', False),
        ('setintersection(["a", "b"], ["b", "c"])', ["b"]),
        ('setproduct(["a", "b"], [1])', [["a", 1], ["b", 1]]),
        ('setsubtract(["a", "b"], ["b"])', ["a"]),
        ('setsymmetricdifference(["a", "b"], ["b", "c"])', ["a", "c"]),
        ('setunion(["b"], ["a", "b"])', ["a", "b"]),
    ],
)
def test_collections(text: str, expected: Any) -> None:
    assert value(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('base64encode("Hello")', "SGVsbG8="),
        ('base64decode("SGVsbG8=")', "Hello"),
        (r'csvdecode("a,b\n1,2\n")', [{"a": "1", "b": "2"}]),
        (r'jsondecode("{\"a\":[1,null,true]}")', {"a": [1, None, True]}),
        ('jsonencode({b = 1.5, a = ["<x>"]})', r'{"a":["\u003cx\u003e"],"b":1.5}'),
        ('md5("a")', "0cc175b9c0f1b6a831c399e269772661"),
        ('sha1("a")', "86f7e437faa5a7fce15d1ddcb9eaeaea377667b8"),
        ('substr(sha256("a"), 0, 8)', "ca978112"),
        ('substr(sha512("a"), 0, 8)', "1f40fc92"),
        ('urlencode("a b/c")', "a+b%2Fc"),
        ('uuidv5("dns", "example.com")', "cfbff0d1-9375-5685-968c-48ce8b15ae17"),
        ('cidrhost("10.1.0.0/16", 258)', "10.1.1.2"),
        ('cidrhost("10.1.0.0/16", -1)', "10.1.255.255"),
        ('cidrnetmask("10.0.0.0/12")', "255.240.0.0"),
        ('cidrsubnet("172.16.0.0/12", 4, 2)', "172.18.0.0/16"),
        ('cidrsubnets("10.1.0.0/16", 4, 4, 8, 4)', ["10.1.0.0/20", "10.1.16.0/20", "10.1.32.0/24", "10.1.48.0/20"]),
    ],
)
def test_encodings(text: str, expected: Any) -> None:
    assert value(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('formatdate("YYYY-MM-DD", "2025-09-16T12:00:00Z")', "2025-09-16"),
        ('formatdate("D MMM YY H:mm aa EEE", "2018-01-02T23:12:01Z")', "2 Jan 18 11:12 pm Tue"),
        ("formatdate(\"EEEE, MMMM 'o''clock' h HH AA ZZZ\", \"2018-01-02T00:12:01Z\")", None),
        ('formatdate("hh:mm:ssZ ZZZZ ZZZZZ", "2018-01-02T23:12:01-08:00")', "23:12:01-08:00 -0800 -08:00"),
        ('formattimestamp("X", "2015-10-21T00:00:00Z")', "1445385600"),
        ('formattimestamp("X", 1445385600)', "1445385600"),
        ("formattimestamp(\"YYYY-MM-DD'T'hh:mm:ssZ\", 1690328596)", "2023-07-25T23:43:16Z"),
        ("formattimestamp(\"YYYY-MM-DD'T'hh:mm:ssZ\", -1)", "1969-12-31T23:59:59Z"),
        ('timeadd("2017-11-22T00:00:00Z", "10m")', "2017-11-22T00:10:00Z"),
        ('timeadd("2017-11-22T00:00:00+02:00", "-1h30m")', "2017-11-21T22:30:00+02:00"),
        ("unixtimestampparse(-1).weekday_name", "Wednesday"),
        ("unixtimestampparse(1690328596).iso_week", 30),
        ("unixtimestampparse(1690328596).year_day", 206),
        ("unixtimestampparse(0).rfc3339", "1970-01-01T00:00:00Z"),
    ],
)
def test_dates(text: str, expected: Any) -> None:
    assert value(text) == (expected if expected is not None else "Tuesday, January o'clock 0 12 AM UTC")


@pytest.mark.parametrize(
    ("version", "constraint", "expected"),
    [
        ("1.2.3", ">= 1.0.0", True),
        ("2.1.0", "< 2.0.0", False),
        ("3.22", ">= 3.20", True),
        ("1.2.3", "1.2.x", True),
        ("1.3.0", "1.2", False),
        ("1.2.9", "~1.2.3", True),
        ("1.3.0", "~1.2.3", False),
        ("1.9.0", "~1", True),
        ("1.9.0", "^1.2.3", True),
        ("2.0.0", "^1.2.3", False),
        ("0.2.9", "^0.2.3", True),
        ("0.3.0", "^0.2.3", False),
        ("1.5.0", "1.2 - 1.6", True),
        ("1.0.0", ">= 1.0, < 1.1 || > 3", True),
        ("1.2.3", "!= 1.2.3", False),
        ("1.2.0", "> 1.2", False),
        ("1.2.9", "<= 1.2", True),
        ("1.2.3", "*", True),
        ("1.2.3-beta.1", ">= 1.0.0", False),
        ("1.2.3-beta.2", ">= 1.2.3-beta.1", True),
        ("v1.2.3", "=1.2.3", True),
    ],
)
def test_versions(version: str, constraint: str, expected: bool) -> None:
    assert value(f'semvercmp("{version}", "{constraint}")') is expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nosuch()", "nosuch"),
        ("upper()", "needs 1 arguments, not 0"),
        ('upper("a", "b")', "needs 1 arguments, not 2"),
        ("join()", "at least 1"),
        ("upper(null)", "must not be null"),
        ("upper([])", "string required"),
        ('keys("a")', "is to be a map"),
        ('sort("a")', "is to be a list"),
        ('join(",")', "at least one list"),
        ('parseint("z", 10)', "cannot parse"),
        ('parseint("1", 99)', "between 2 and 62"),
        ("parseint(1, 10)", "must be a string"),
        ("log(-1, 2)", "not a number"),
        ("element([], 0)", "empty list"),
        ("element([1], -1)", "negative index"),
        ("chunklist([1], -1)", "must be positive"),
        ("coalesce(null)", "no non-null"),
        ("coalescelist([])", "no non-null"),
        ('hasindex("a", 1)', "collection must be"),
        ("index([1], 4)", "invalid index"),
        ('indexof(["one"], "3")', "item not found"),
        ('indexof([], "3")', "empty list"),
        ('length("a")', "collection must be"),
        ('merge("a")', "must be maps"),
        ("range(1, 2, 0)", "must not be zero"),
        ("range(1, 5, -1)", "leads away"),
        ("range()", "one, two or three"),
        ("range(2000)", "more than 1024"),
        ("slice([1], 1, 3)", "out of the list"),
        ('zipmap(["a"], [])', "does not match"),
        ("setproduct([1])", "at least two"),
        ("setproduct(range(1000), range(1000), [1, 2])", "are allowed"),
        ('regex("(", "a")', "is not a pattern"),
        ('regex("b", "a")', "did not match"),
        ('regex("(?P<a>a)(b)", "ab")', "names all its groups"),
        ('bytesslice("a", 1, 3)', "out of the text"),
        ('format("%s")', "not enough arguments"),
        ('format("a", 1)', "too many arguments"),
        ('format("%y", 1)', "unsupported format verb"),
        ('format("%")', "unterminated verb"),
        ('format("%d", "x")', "number is required"),
        ('formatlist("%s%s", [1], [1, 2])', "different lengths"),
        ('base64decode("*")', "base64"),
        ('jsondecode("{")', "no JSON"),
        ('csvdecode("")', "missing header"),
        (r'csvdecode("a,b\n1\n")', "different numbers"),
        ('cidrhost("10.0.0.0/30", 9)', "does not accommodate"),
        ('cidrhost("10.0.0.0", 1)', "invalid CIDR"),
        ('cidrhost("x/8", 1)', "invalid CIDR"),
        ('cidrnetmask("::/8")', "only IPv4"),
        ('cidrsubnet("10.0.0.0/30", 4, 0)', "no subnet"),
        ('cidrsubnets("10.0.0.0/30", 4)', "cannot be extended"),
        ('cidrsubnets("10.0.0.0/30", 1, 1, 1)', "not enough remaining"),
        ('uuidv5("x", "a")', "is not a namespace"),
        ('rsadecrypt("a", "b")', "decrypt"),
        ('formatdate("YYY", "2018-01-02T00:12:01Z")', "invalid date format verb"),
        ('formatdate("Q", "2018-01-02T00:12:01Z")', "invalid date format verb"),
        ('formatdate("\'a", "2018-01-02T00:12:01Z")', "unterminated"),
        ('formatdate("YYYY", "0")', "RFC 3339"),
        ('formattimestamp("X", "0")', "RFC 3339"),
        ('formattimestamp("YYYY", 1.2)', "must be an integer"),
        ('formattimestamp("YYYY", true)', "string timestamp"),
        ('timeadd("2017-11-22T00:00:00Z", "x")', "not a duration"),
        ("unixtimestampparse(1.2)", "must be an integer"),
        ('semvercmp("not-a-version", ">= 1")', "not a semantic version"),
        ('semvercmp("1.2.3", "not-a-constraint")', "improper constraint"),
        ('semvercmp("", ">= 1")', "not a semantic version"),
        ('semvercmp("1.2.3", "")', "improper constraint"),
    ],
)
def test_what_a_function_cannot_do_is_told(text: str, message: str) -> None:
    with pytest.raises((ExpressionError, KeyError)) as caught:
        value(text)
    assert message in str(caught.value)


def test_what_differs_each_time_has_its_form(monkeypatch: pytest.MonkeyPatch) -> None:
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", value("timestamp()"))
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", value("uuidv4()"))
    monkeypatch.setenv("HOME", "/home/someone")
    assert value("homedir()") == "/home/someone"


def test_bcrypt_is_the_systems() -> None:
    try:
        assert re.fullmatch(r"\$2a\$04\$.{53}", value('bcrypt("secret", 4)'))
    except ExpressionError as exc:
        assert "libcrypt" in exc.message


def test_rsadecrypt_decrypts() -> None:
    from base64 import b64encode

    from cryptography.hazmat.primitives.asymmetric import padding, rsa
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = rsa.generate_private_key(65537, 1024)
    text = b64encode(key.public_key().encrypt(b"hello", padding.PKCS1v15())).decode()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()
    assert call_builtin("rsadecrypt", [text, pem]) == "hello"
