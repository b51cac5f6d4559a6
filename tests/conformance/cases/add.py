"""ADD: archives of every kind, what is no archive, URLs and repositories (reference 1.5 ADD; test ideas 37-40)."""

from __future__ import annotations

from typing import Any

from tests.conformance.case import Case, table

TREE: dict[str, Any] = {
    "top": "top\n",
    "dir/": {"mode": "0750", "uid": 7, "gid": 8},
    "dir/file": {"text": "file\n", "mode": "0640", "uid": 5, "gid": 6, "mtime": 1_000_000_000},
    "dir/link": {"link": "file"},
    "dir/hard": {"hard": "dir/file"},
}
KINDS = ("plain", "gzip", "bzip2", "xz")


def tar(kind: str = "plain", /, **members: Any) -> dict[str, Any]:
    return {"archive": kind, "members": members or TREE}


CASES = [
    *table(
        "kind",
        "ADD: archives by their content; test idea 37",
        "FROM base\nADD archive /x/\n",
        {kind: {"files": {"archive": tar(kind)}} for kind in KINDS},
    ),
    Case(
        name="kind-zstd",
        rule="ADD: archives by their content",
        dockerfile="FROM base\nADD archive /x/\n",
        files={"archive": tar("zstd", f="f")},
    ),
    *table(
        "archive",
        "ADD: what unpacking does; test idea 37",
        "FROM owned\nADD @@\n",
        {
            "name-does-not-matter": {"put": "a.txt /x/", "files": {"a.txt": tar("gzip")}},
            "to-name-without-slash": "a.tar /x",
            "to-root": "a.tar /",
            "to-existing-directory": "a.tar /existingdir",
            "below-link": "a.tar /var/lib/app",
            "deep-new-directory": "a.tar /p/q/r/",
            "relative": {"dockerfile": "FROM base\nWORKDIR /w\nADD a.tar .\n"},
            "chown": "--chown=1:2 a.tar /x/",
            "chown-name": "--chown=alice a.tar /x/",
            "chmod-is-not-for-members": "--chmod=700 a.tar /x/",
            "two": {"put": "a.tar b.tar /x/", "files": {"b.tar": tar("gzip", second="2\n")}},
            "wildcard": {"put": "*.tar /x/", "files": {"b.tar": tar("gzip", second="2\n")}},
            "with-a-file": {"put": "a.tar plain /x/", "files": {"plain": "p\n"}},
            "in-a-directory-is-copied": {"put": "d /x/", "files": {"d/a.tar": tar()}},
            "implied-parents": {"put": "a.tar /x/", "files": {"a.tar": tar(**{"p/q/r": "r\n"})}},
            "dot-slash-names": {"put": "a.tar /x/", "files": {"a.tar": tar(**{"./": {"mode": "0700"}, "./f": "f"})}},
            "absolute-names": {"put": "a.tar /x/", "files": {"a.tar": tar(**{"/abs/f": "f"})}},
            "replaces-file": {"put": "a.tar /existingdir/", "files": {"a.tar": tar(file="new\n")}},
            "replaces-file-by-directory": {
                "put": "a.tar /existingdir/",
                "files": {"a.tar": tar(**{"file/": {}, "file/in": "in\n"})},
            },
            "replaces-link": {"put": "a.tar /existingdir/", "files": {"a.tar": tar(link="new\n")}},
            "directory-over-existing": {
                "put": "a.tar /existingdir/",
                "files": {"a.tar": tar(**{"subdir/": {"mode": "0711", "uid": 9, "gid": 9}})},
            },
            "same-name-twice": {"put": "a.tar b.tar /x/", "files": {"a.tar": tar(f="1"), "b.tar": tar(f="2")}},
            "through-absolute-link": {
                "put": "a.tar /",
                "files": {"a.tar": tar(**{"abs": {"link": "/srv"}, "abs/f": "f\n"})},
            },
            "link-inside": {
                "put": "a.tar /x/",
                "files": {"a.tar": tar(**{"d/": {}, "l": {"link": "d"}, "l/f": "f\n"})},
            },
            "fifo": {"put": "a.tar /x/", "files": {"a.tar": tar(fifo={"kind": "fifo"})}},
            "device": {"put": "a.tar /x/", "files": {"a.tar": tar(null={"kind": "char", "mode": "0666"})}},
            "modes": {
                "put": "a.tar /x/",
                "files": {"a.tar": tar(**{"s": {"text": "s", "mode": "4755"}, "t/": {"mode": "1777"}})},
            },
            "capability": {
                "put": "a.tar /x/",
                "files": {"a.tar": tar(p={"text": "p", "caps": "0100000200200000000000000000000000000000"})},
            },
            "empty-archive": {"put": "a.tar /x/", "files": {"a.tar": {"archive": "plain", "members": {}}}},
            "long-names": {"put": "a.tar /x/", "files": {"a.tar": tar(**{f"{'n' * 120}/{'m' * 120}": "n"})}},
            "climbing-names": {
                "put": "a.tar /x/",
                "files": {"a.tar": tar(**{"../../up": "u"})},
                "error": r"\.\./\.\./up",
                "stance": "names that climb are a hostile archive's: BuildKit takes the dots away",
            },
            "hardlink-to-nothing": {
                "put": "a.tar /x/",
                "files": {"a.tar": tar(h={"hard": "nothing"})},
                "error": "(?i)nothing|no such file",
            },
        },
        files={"a.tar": tar()},
    ),
    *table(
        "no-archive",
        "ADD: what is no archive is copied",
        "FROM base\nADD @@\n",
        {
            "text": {"put": "f /x/", "files": {"f": "text\n"}},
            "empty": {"put": "f /x/", "files": {"f": ""}},
            "gzip-of-text": {"put": "f.gz /x/", "files": {"f.gz": {"text": "text\n", "packed": "gzip"}}},
            "tar-suffix-only": {"put": "f.tar /x/", "files": {"f.tar": "no tar at all"}},
            "directory": {"put": "d /x/", "files": {"d/f": "f\n", "d/e/g": "g\n"}},
            "executable": {"put": "s /x", "files": {"s": {"text": "#!/bin/sh\n", "mode": "0755"}}},
            "chmod": {"put": "--chmod=600 f /x", "files": {"f": "f\n"}},
            "chown": {"put": "--chown=1:2 f /x", "files": {"f": "f\n"}},
            "wildcard": {"put": "f* /x/", "files": {"f1": "1\n", "f2": "2\n"}},
            "link-to-archive": {"put": "l /x/", "files": {"l": {"link": "a.tar"}, "a.tar": tar(f="f\n")}},
            "json": {"put": '["f g", "/x"]', "files": {"f g": "f\n"}},
            "no-argument": ("f", "(?i)ADD requires at least two arguments"),
            "from-is-unknown": ("--from=base f /x", "(?i)unknown flag.*from"),
            "parents-is-unknown": ("--parents f /x", "(?i)unknown flag.*parents"),
        },
    ),
]
