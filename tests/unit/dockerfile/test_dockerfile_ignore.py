""".dockerignore and patterns: section 3.1, with the vectors of moby/patternmatcher's tests."""

from __future__ import annotations

import time

import pytest

from tiffin.builder.dockerfile.glob import match_component, match_path
from tiffin.builder.dockerfile.ignore import IgnoreRules
from tiffin.builder.errors import ContextError, DockerfileError

# pattern, path, whether the pattern matches the path itself ("=") or a directory above it ("^") or neither ("")
MATCHES = [
    ("**", "file", "="),
    ("**", "dir/file", "="),
    ("**/", "dir/file", "="),
    ("**/**", "dir/file", "="),
    ("dir/**", "dir/file", "="),
    ("dir/**", "dir/dir2/file", "="),
    ("dir/**", "dir", ""),
    ("**/dir", "dir", "="),
    ("**/dir", "dir/file", "^"),
    ("**/dir", "xdir", ""),
    ("**/dir2/*", "dir/dir2/file", "="),
    ("**/dir2/*", "dir/dir2/sub/file", "^"),
    ("**/dir2/**", "dir/dir2/dir3/file", "="),
    ("**file", "file", "="),
    ("**file", "dir/file", "="),
    ("**file", "dir/xfile", "="),
    ("**.go", "a/b.go", "="),
    ("**.go", "b.go.x", ""),
    ("**file*", "dir/filex", "="),
    ("**file*", "dir/xfile", ""),
    ("**/file*", "dir/dir/file.txt", "="),
    ("**/file*txt", "dir/dir/file.txt", "="),
    ("**/file*.txt*", "dir/dir/file.txt", "="),
    ("**/**/*.txt", "dir/dir/file.txt", "="),
    ("**/**/*.txt2", "dir/dir/file.txt", ""),
    ("**/*.txt", "file.txt", "="),
    ("**/**/*.txt", "file.txt", "="),
    ("a**/*.txt", "a/file.txt", "="),
    ("a**/*.txt", "a/dir/dir/file.txt", "="),
    ("a/*.txt", "a/dir/file.txt", ""),
    ("a/*.txt**", "a/file.txt", "="),
    ("a[b-d]e", "ace", "="),
    ("a[b-d]e", "ae", ""),
    ("a[^b-d]e", "aze", "="),
    (".*", ".foo", "="),
    (".*", "foo", ""),
    ("abc.def", "abcZdef", ""),
    ("abc?def", "abcZdef", "="),
    ("abc?def", "abc/def", ""),
    ("**/foo/bar", "foo/bar", "="),
    ("**/foo/bar", "dir/dir2/foo/bar", "="),
    ("**/.foo", "bar.foo", ""),
    ("a(b)c/def", "a(b)c/def", "="),
    ("a.|)$(}+{bc", "a.|)$(}+{bc", "="),
    ("dist/*.whl", "dist/proxy.py-2.4.0rc3.dev36+g08acad9-py3-none-any.whl", "="),
    ("a\\*b", "a*b", "="),
    ("a\\*b", "axb", ""),
    ("*", "a", "="),
    ("*", "a/b", "^"),
    ("*/b", "a/b", "="),
    ("*/b", "b", ""),
    ("*.log", "a/x.log", ""),
    ("/foo", "foo", "="),
    ("/foo/", "foo/x", "^"),
    ("./foo//bar/", "foo/bar", "="),
    ("a/../b", "b", "="),
    ("[*]x", "*x", "="),
    ("a^b*", "a^bc", "="),
    ("*a*b*c", "xaybzc", "="),
    ("*a*b*c", "xaybz", ""),
    ("*ab", "aab", "="),
    ("**/a/**/b", "a/b", "="),
    ("**/a/**/b", "x/a/y/z/b", "="),
    ("**/a/**/b", "x/y/b", ""),
    ("*b/c*d", "ab/ccd", "="),
    ("*é?", "caféé", "="),
]


@pytest.mark.parametrize(("pattern", "path", "kind"), MATCHES)
def test_patterns(pattern: str, path: str, kind: str) -> None:
    assert IgnoreRules.parse(pattern, "f").matches(path) is (kind != "")
    clean = pattern.strip("/") if pattern != "./foo//bar/" and pattern != "a/../b" else path
    assert match_path(clean, path) is (kind == "=")


SEVERAL = [
    (["!fileutils.go", "*.go"], "fileutils.go", True),
    (["*.go", "!fileutils.go"], "fileutils.go", False),
    (["docs", "!docs/README.md"], "docs/README.md", False),
    (["docs", "!docs/README.md"], "docs/other", True),
    (["docs/", "!docs/README.md"], "docs/README.md", False),
    (["docs/*", "!docs/README.md"], "docs/README.md", False),
    (["**", "!util/docker/web"], "util/docker/web/foo", False),
    (["**", "!util/docker/web"], "util/docker", True),
    (["**", "!util/docker/web", "util/docker/web/foo"], "util/docker/web/foo", True),
    (["**", "!dist/*.whl"], "dist/a.whl", False),
    (["*", "!a", "a/b", "!a/b/c"], "a/b/c/d", False),
    (["*", "!a", "a/b", "!a/b/c"], "a/b/x", True),
    (["foo", "!foo/bar", "foo"], "foo/bar", True),
    (["**", "!**/*.md", "d/e"], "d/e/b.md", True),
    # an exception that would change nothing for a directory is not tried on it, so it says nothing of what lies below
    (["**/*.md", "!d"], "d/b.md", True),
    (["**/*.md", "!d"], "d/e/b.md", True),
    (["*", "!d"], "d/b.md", False),
    (["d", "!d", "**/*.md"], "d/b.md", True),
    (["**/*.md", "!d", "!d/b.md"], "d/b.md", False),
    (["d/e", "!d", "x"], "d/e/a", True),
    (["d", "!d/e", "d/e/a", "!d/e"], "d/e/a", True),
    (["*", "!d", "d/e", "!d/e/a"], "d/e/a", False),
    (["# comment", "", "  a  ", " #b"], "a", True),
    (["#a"], "#a", False),
    (["\\#a"], "#a", True),
    (["! a", "a"], "a", True),
    (["a", "!  a"], "a", False),
    (["\\!a"], "!a", True),
    ([".", "/"], "a", False),
    ([".."], "a", False),
    ([], "a", False),
]


@pytest.mark.parametrize(("lines", "path", "ignored"), SEVERAL)
def test_last_match_wins(lines: list[str], path: str, ignored: bool) -> None:
    for separator in ("\n", "\r\n"):
        assert IgnoreRules.parse(separator.join(lines), "f").matches(path) is ignored


def test_byte_order_mark_is_no_part_of_the_first_pattern() -> None:
    assert IgnoreRules.parse("\ufeffa\n", "f").matches("a")


def test_asking_in_any_order_gives_the_same() -> None:
    text = "*\n!a\na/b\n!a/b/c\n**/x\n"
    paths = ["a/b/c/d", "a/b", "a", "a/b/c", "q", "a/b/c/x", "a/x/y", "a/y"]
    fresh = [IgnoreRules.parse(text, "f").matches(path) for path in paths]
    rules = IgnoreRules.parse(text, "f")
    assert [rules.matches(path) for path in paths] == fresh
    assert [rules.matches(path) for path in reversed(paths)] == fresh[::-1]


DESCEND = [
    (["node_modules"], "node_modules", False),
    (["node_modules"], "src", True),
    (["*", "!src"], "node_modules", False),
    (["*", "!src/**"], "src", True),
    (["*", "!src/a/b"], "src/a", True),
    (["*", "!src/a/b"], "src/c", False),
    (["*", "!src/*/b"], "src/c", True),
    (["*", "!**/README.md"], "any/thing", True),
    (["!a/b", "*"], "a", False),
    (["*", "!a", "a/c"], "a/c", False),
    (["*", "!a/[bc]/d"], "a", True),
]


@pytest.mark.parametrize(("lines", "directory", "may"), DESCEND)
def test_descends_only_where_something_may_come_back(lines: list[str], directory: str, may: bool) -> None:
    assert IgnoreRules.parse("\n".join(lines), "f").may_descend(directory) is may


BAD = {
    "open bracket": ("[", "a bracket is not closed"),
    "open bracket later": ("a[bc", "a bracket is not closed"),
    "empty bracket": ("a[]b", "']' in brackets needs a backslash"),
    "dash first": ("[-x]", "'-' in brackets needs a backslash"),
    "dash last": ("[x-]", "']' in brackets needs a backslash"),
    "backwards": ("[Local-Only]/", "the range l-O is empty"),
    "backslash last": ("a\\", "it ends in a backslash"),
    "bang alone": ("!", 'illegal exclusion pattern: "!"'),
    "bang and blanks": ("!  ", 'illegal exclusion pattern: "!"'),
}


@pytest.mark.parametrize(("pattern", "reason"), BAD.values(), ids=BAD)
def test_bad_pattern_is_named_with_file_and_line(pattern: str, reason: str) -> None:
    with pytest.raises(ContextError) as caught:
        IgnoreRules.parse(f"# x\nfine\n{pattern}\n", "ctx/.dockerignore")
    assert str(caught.value).startswith("ctx/.dockerignore:3: ")
    assert reason in caught.value.message
    assert pattern.strip().rstrip("/") in caught.value.message
    assert caught.value.remedy


def test_deciding_rule_is_told() -> None:
    rules = IgnoreRules.parse("# x\n*.log\n!keep.log\n/build/\n", "f")
    rule = rules.rule_for("build/x/y")
    assert rule is not None
    assert (rule.line, rule.written) == (4, "/build/")
    kept = rules.rule_for("keep.log")
    assert kept is not None
    assert kept.negated
    assert rules.rule_for("src") is None


GO = [  # filepath.Match's own vectors
    ("abc", "abc", True),
    ("*", "abc", True),
    ("*c", "abc", True),
    ("a*b*c*d*e*", "axbxcxdxe", True),
    ("a*b?c*x", "abxbbxdbxebxczzx", True),
    ("a*b?c*x", "abxbbxdbxebxczzy", False),
    ("ab[c]", "abc", True),
    ("ab[e-g]", "abc", False),
    ("ab[^e-g]", "abc", True),
    ("a?b", "a☺b", True),
    ("a???b", "a☺b", False),
    ("[a-ζ]*", "α", True),
    ("*[a-ζ]", "A", False),
    ("[\\]a]", "]", True),
    ("[\\-x]", "-", True),
    ("[x\\-]", "z", False),
    ("[!a]", "!", True),
    ("[!a]", "b", False),
    ("[\\\\]", "\\", True),
    ("*x", "xxx", True),
    ("**", "abc", True),
    ("*.*", ".a", True),
]


@pytest.mark.parametrize(("pattern", "name", "expected"), GO)
def test_components(pattern: str, name: str, expected: bool) -> None:
    assert match_component(pattern, name) is expected


@pytest.mark.parametrize("pattern", ["[]a]", "[-]", "[x-]", "[-x]", "\\", "[a-b-c]", "[", "[^", "[^bc", "a["])
def test_bad_components(pattern: str) -> None:
    with pytest.raises(DockerfileError, match="syntax error in pattern"):
        match_component(pattern, "a")


def test_many_paths_are_quick() -> None:
    rules = IgnoreRules.parse("**/node_modules\n**/*.pyc\n*.log\n.git\nbuild/**\n!build/keep/*.txt\ndocs\n", "f")
    paths = [f"src/d{number // 100}/f{number}.py" for number in range(20_000)]
    started = time.process_time()
    assert not any(rules.matches(path) for path in paths)
    assert time.process_time() - started < 0.5  # about 30 ms; generous for a busy machine


@pytest.mark.thorough
@pytest.mark.heavy
def test_deep_path_is_no_trouble() -> None:
    assert IgnoreRules.parse("a/b\n", "f").matches("a/b" + "/c" * 20_000)


def test_hostile_pattern_takes_no_time() -> None:
    path = "/".join(["a" * 100] * 20)
    for pattern in ("*a" * 30 + "b", "**/" * 30 + "b", "a*" * 50 + "/" + "a*" * 50 + "b"):
        assert not IgnoreRules.parse(pattern, "f").matches(path)
