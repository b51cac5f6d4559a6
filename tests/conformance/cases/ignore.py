""".dockerignore (reference 3.1; test idea 42): which files a context has."""

from __future__ import annotations

from typing import Any

from tests.conformance.case import Case, table

FILES: dict[str, Any] = {
    "a.log": "1",
    "a.txt": "2",
    "b.txt": "3",
    ".env": "4",
    "!bang": "5",
    "#hash": "6",
    "with space": "7",
    "dir/a.log": "8",
    "dir/keep.txt": "9",
    "dir/sub/a.log": "10",
    "dir/sub/deep/b.log": "11",
    "dir/sub/deep/c.txt": "12",
    "other/dir/x": "13",
    "node_modules/m/index.js": "14",
    "pkg/node_modules/n/index.js": "15",
    "link": {"link": "a.txt"},
    "empty/": {},
}

CASES = [
    *table(
        "pattern",
        "3.1 rules 2 to 5",
        "FROM base\nCOPY . /x/\n",
        {
            name: {"files": {".dockerignore": text}}
            for name, text in {
                "nothing": "",
                "name": "a.txt\n",
                "anchored": "a.log\n",
                "directory": "dir\n",
                "directory-slash": "dir/\n",
                "leading-slash": "/dir/sub\n",
                "dot-slash": "./a.txt\n",
                "dots-inside": "dir/../a.txt\n",
                "star": "*.log\n",
                "star-alone": "*\n",
                "star-below": "dir/*\n",
                "star-two-levels": "*/*.log\n",
                "question-mark": "?.txt\n",
                "class": "[ab].txt\n",
                "negated-class": "[^a].txt\n",
                "double-star": "**/*.log\n",
                "double-star-name": "**/node_modules\n",
                "double-star-middle": "dir/**/*.log\n",
                "double-star-end": "dir/**\n",
                "double-star-alone": "**\n",
                "double-star-zero-directories": "dir/**/a.log\n",
                "double-star-in-a-word": "d**r\n",
                "hidden": ".env\n.*\n",
                "negation": "*.txt\n!b.txt\n",
                "negation-below": "dir\n!dir/keep.txt\n",
                "negation-deep": "dir\n!dir/sub/deep\n",
                "negation-first": "!b.txt\n*.txt\n",
                "last-match-wins": "*.txt\n!*.txt\na.txt\n",
                "negation-of-star": "*\n!dir/sub\n",
                "negation-then-again": "dir\n!dir/sub\ndir/sub/deep\n",
                "negation-of-a-directory-not-ignored": "**/*.log\n!dir\n",
                "negation-of-a-directory-then-a-name": "dir\n!dir\n**/*.log\n",
                "negation-below-said-before": "dir/sub\n!dir\n!other\n",
                "negation-with-space": "*.txt\n! b.txt\n",
                "everything-but": "*\n!a.txt\n!other\n",
                "comments-and-blanks": "# a.txt\n\n   \n  b.txt  \n",
                "hash-inside": "a.txt # no comment\n",
                "escaped-hash": "\\#hash\n",
                "escaped-bang": "\\!bang\n",
                "space-in-name": "with space\n",
                "crlf": "a.txt\r\nb.txt\r\n",
                "byte-order-mark": "\ufeffa.txt\n",
                "no-newline": "a.txt",
                "dot": ".\n",
                "slash": "/\n",
                "empty-directory": "empty\n",
                "directory-contents-keeps-directory": "empty/*\ndir/sub/*\n",
                "link": "link\n",
                "dockerfile-and-itself": "Dockerfile\n.dockerignore\n",
                "case": "A.TXT\nDIR\n",
                "parent-of-nothing": "nowhere/x\n",
            }.items()
        }
        | {
            "negation-double-star": {
                "files": {".dockerignore": "**\n!**/*.txt\n"},
            }
        },
        files=FILES,
    ),
    *table(
        "wrong",
        "3.1 rule 2: errors",
        "FROM base\nCOPY . /x/\n",
        {
            "lone-bang": {
                "files": {".dockerignore": "!\n"},
                "error": r'(?i)illegal exclusion pattern: "!"|lone|"!"',
            },
            "open-bracket": {
                "files": {".dockerignore": "a[b\n"},
                "error": r"(?i)syntax error in pattern|invalid.*a\[b",
            },
        },
        files=FILES,
    ),
    *table(
        "copy",
        "3.1 rules 5, 6; COPY 12",
        "FROM base\n@@\n",
        {
            "ignored-file": ("COPY a.txt /x", r"(?i)a\.txt.*not found"),
            "ignored-directory": ("COPY dir /x", r"(?i)dir.*not found"),
            "ignored-wildcard": "COPY *.txt /x/",
            "ignored-below": "COPY other /x/",
            "negated-below-ignored": "COPY node_modules /x/",
            "ignored-add": ("ADD a.txt /x", r"(?i)a\.txt.*not found"),
            "link-to-ignored": ("COPY link /x", r"(?i)not found"),
            "dockerfile": ("COPY Dockerfile /x", r"(?i)Dockerfile.*not found"),
            "not-in-other-stages": "RUN echo a >/a.txt\nFROM base\nCOPY --from=0 /a.txt /x",
        },
        files=FILES
        | {
            ".dockerignore": (
                "a.txt\ndir\nother/dir\nnode_modules\n!node_modules/m/index.js\nDockerfile\n.dockerignore\n"
            )
        },
    ),
    Case(
        name="file-of-the-dockerfile",
        rule="3.1 rule 1: it comes before .dockerignore",
        dockerfile="",
        files=FILES
        | {
            ".dockerignore": "a.txt\n",
            "Other": "FROM base\nCOPY . /x/\n",
            "Other.dockerignore": "b.txt\nnode_modules\n",
        },
        flags=("-f", "context/Other", "context"),
    ),
    Case(
        name="file-of-a-dockerfile-below",
        rule="3.1 rule 1",
        dockerfile="",
        files=FILES
        | {".dockerignore": "a.txt\n", "d/f": "FROM base\nCOPY . /x/\n", "d/f.dockerignore": "dir\nnode_modules\n"},
        flags=("-f", "context/d/f", "context"),
    ),
    Case(
        name="dockerfile-outside",
        rule="3.1, 3.2: a Dockerfile beside the context",
        dockerfile="",
        files=FILES | {".dockerignore": "dir\nnode_modules\n"},
        beside={"Outside": "FROM base\nCOPY . /x/\n"},
        flags=("-f", "Outside", "context"),
    ),
    Case(
        name="ignored-dockerfile-still-builds",
        rule="3.1 rule 6",
        dockerfile="FROM base\nENV a=1\n",
        files={".dockerignore": "*\n"},
    ),
]
