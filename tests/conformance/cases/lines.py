"""Lines, directives, comments, continuations, flags and the JSON form (reference 1.1, 1.2); heredocs (1.4)."""

from __future__ import annotations

from typing import Any

from tests.conformance.case import Case, table

BASE = {"Cmd": ["/bin/sh"], "Env": ["PATH=/bin"]}
NOT_THERE = "heredocs are of 2021"


def files(history: str, **lines: str) -> dict[str, Any]:
    """A row about heredocs: the tree it must give (names have no slash: `d_x` is /d/x), and its entry of the history."""
    tree = {f"/{name.replace('__', '/')}": line for name, line in lines.items()}
    return {"old": NOT_THERE, "no_oracle": True, "expect": {"config": BASE, "tree": tree, "history": [history]}}


def made(history: str, **lines: str) -> dict[str, Any]:
    """Likewise below an `ARG a=arg`."""
    row = files(history, **lines)
    row["expect"]["history"].insert(0, "ARG a=arg  (empty)")
    return row


def text(content: str, mode: str = "0644") -> str:
    """A file's line; quotes and line ends as JSON has them."""
    return f'file {mode} 0:0 "{content}"'


CASES = [
    *table(
        "line",
        "1.1 physical lines, comments, continuation; test ideas 5, 6",
        "@@",
        {
            "crlf": "FROM base\r\nENV a=1 \\\r\n b=2\r\nRUN echo x >/out\r\n",
            "byte-order-mark": "\ufeffFROM base\nENV a=1\n",
            "no-newline-at-end": "FROM base\nENV a=1",
            "escape-at-end": "FROM base\nENV a=1 \\",
            "blank-lines": "\n\n\nFROM base\n\n   \nENV a=1\n\n",
            "leading-space": "   FROM base\n\t ENV a=1\n",
            "comment-lines": "# one\nFROM base\n   # two\nENV a=1#no-comment\n",
            "comment-in-continuation": "FROM base\nRUN echo a \\\n# comment\n  # another\n  b >/out\n",
            "blank-in-continuation": "FROM base\nRUN echo a \\\n\n\n  b >/out\n",
            "comment-after-escape-at-end": "FROM base\nRUN echo a >/out \\\n# last\n",
            "space-after-escape": "FROM base\nRUN echo a \\ \t\n  b >/out\n",
            "escaped-escape": "FROM base\nRUN echo a\\\\\nENV a=1\n",
            "continuation-keeps-leading-space": "FROM base\nRUN echo 'a \\\n    b' >/out\n",
            "continuation-joins-words": "FROM base\nRUN ec\\\nho a >/out\n",
            "continued-keyword": "FROM base\nEN\\\nV a=1\n",
            "hash-in-run": "FROM base\nRUN echo a # b >/out\n",
            "hash-inside-word": "FROM base\nENV a=b#c\n",
            "lower-case-keywords": "from base\nenv a=1\nrun echo x >/out\ncmd x\n",
            "mixed-case-keywords": "From base As One\nEnv a=1\n",
            "tab-after-keyword": "FROM\tbase\nENV\ta=1\n",
            "form-feed-separates": "FROM base\nENV\fa=1\n",
            "long-line": "FROM base\n# " + "x" * 60000 + "\nENV a=1\n",
            "too-long-line": ("FROM base\nENV a=" + "x" * 66000 + "\n", "(?i)line greater than max|too long"),
            "unknown-keyword": ("FROM base\nFNTRYPOINT x\n", "(?i)unknown instruction: FNTRYPOINT"),
            "keyword-alone": {
                "put": "FROM base\nRUN\n",
                "error": "(?i)RUN requires at least one argument",
                "stance": "an empty RUN is a slip: BuildKit runs an empty command",
            },
            "only-comments": ("# nothing\n\n# here\n", "(?i)file with no instructions"),
            "only-args": {
                "put": "ARG a=1\n",
                "error": "(?i)contains no stages to build",
                "old": "the daemon ends with a panic",
                "no_oracle": True,
            },
            "before-from": ("RUN x\nFROM base\n", "(?i)no build stage in current context"),
        },
    ),
    Case(
        name="empty-file",
        rule="1.1",
        dockerfile="",
        files={"Dockerfile": ""},
        error="(?i)the Dockerfile.*cannot be empty",
    ),
    *table(
        "directive",
        "1.1 parser directives; test idea 5",
        "@@",
        {
            "escape-backtick": "# escape=`\nFROM base\nENV a=1 `\n b=C:\\dir\nRUN echo x`\n y >/out\n",
            "escape-backtick-words": "# escape=`\nFROM base\nENV s=v\nENV a=`$s b=\\$s c=x` y\n",
            "escape-backslash": "#escape=\\\nFROM base\nENV a=1 \\\n b=2\n",
            "escape-spaces": "#   escape  =  `\nFROM base\nENV a=1 `\n b=2\n",
            "escape-case": "# EsCaPe=`\nFROM base\nENV a=1 `\n b=2\n",
            "escape-after-comment": "# comment\n# escape=`\nFROM base\nENV a=1 \\\n b=2\n",
            "escape-after-blank": "\n# escape=`\nFROM base\nENV a=1 \\\n b=2\n",
            "escape-after-unknown-key": "# key=value\n# escape=`\nFROM base\nENV a=1 \\\n b=2\n",
            "escape-after-from": "FROM base\n# escape=`\nENV a=1 \\\n b=2\n",
            "escape-twice": (
                "# escape=`\n# escape=\\\nFROM base\n",
                "(?i)only one escape parser directive can be used",
            ),
            "escape-other": ("# escape=x\nFROM base\n", r"(?i)invalid (ESCAPE|escape token) 'x'"),
            "check": {
                "put": "# check=skip=all\nFROM base\nENV a=1\n",
            },
        },
    ),
    Case(
        name="directive-syntax",
        rule="1.1 syntax: docker/dockerfile is what we are",
        dockerfile="# syntax=docker/dockerfile:1\n# escape=`\nFROM base\nENV a=1 `\n b=2\n",
        old="its frontend cannot be fetched here",
        no_oracle=True,
        expect={"config": BASE | {"Env": ["PATH=/bin", "a=1", "b=2"]}, "history": ["ENV a=1 b=2  (empty)"]},
    ),
    *table(
        "flag",
        "1.2 flags",
        "FROM base\n@@\n",
        {
            "unknown": ("COPY --chow=1 a.txt /", "(?i)unknown flag.*chow"),
            "unknown-on-flagless": ("ENV --x=1 a=b", "(?i)unknown flag.*x"),
            "twice": ("COPY --chown=1 --chown=2 a.txt /", "(?i)duplicate flag specified: chown|given twice"),
            "empty-value-is-none": "COPY --chown= --chmod= --from= a.txt /x",
            "no-value": ("COPY --chown a.txt /", "(?i)missing a value on flag: chown|needs a value"),
            "double-dash-ends": "COPY --chown=1 -- a.txt /x",
            "order-is-free": "COPY --chmod=600 --chown=1:2 a.txt /x",
            "quoted": 'COPY --chown="1:2" a.txt /x',
            "not-leading": ("COPY a.txt --chown=1 /x", "(?i)not found"),
            "in-json-form": 'COPY --chown=3:4 ["a.txt","/x"]',
            "continued": "COPY --chown=1 \\\n  --chmod=600 \\\n  a.txt /x",
            "chmod-alone": "COPY --chmod=0711 a.txt /x",
        },
        context="tree",
    ),
    *table(
        "json",
        "1.2 JSON form; test ideas 3, 32",
        "FROM base\n@@\n",
        {
            "copy-with-space": 'COPY ["with space.txt", "/to there/"]',
            "copy-several": 'COPY ["a.txt", "b.txt", "/d/"]',
            "copy-broken-is-words": {
                "put": 'COPY ["a.txt", "/x"',
                "error": "(?i)syntax error in pattern",
                "stance": "a pattern that is none is an error: BuildKit takes it for one that matches nothing",
            },
            "copy-number": ('COPY ["a.txt", 1]', "comprised of strings"),
            "run-exec": 'RUN ["/bin/busybox", "touch", "/a b"]',
            "run-exec-path-lookup": 'RUN ["touch", "/x"]',
            "run-exec-no-shell": 'RUN ["/bin/echo", "a", ">", "/x"]',
            "run-broken-is-shell": ("RUN ['touch', '/x']", "(?i)exit code: 127"),
            "run-number": ('RUN ["echo", 1]', "comprised of strings"),
            "onbuild-json": 'ONBUILD CMD ["a", "b"]',
            "volume-broken-is-words": 'VOLUME ["/a", ]',
            "continued": 'CMD ["a", \\\n  "b" \\\n]',
            "unicode-escape": r'CMD ["A\u00e9\n"]',
            "leading-space": 'CMD    [  "a"  ]   ',
        },
        context="tree",
    ),
    *table(
        "heredoc",
        "1.4 COPY and ADD; test ideas 8, 9",
        "FROM base\nARG a=arg\n@@",
        {
            "copy": {
                "put": "COPY <<one /dest/\nhello $a\n\n  indented\none\n",
                **made(
                    "COPY <<one /dest/ # buildkit", dest="dir 0755 0:0", dest__one=text("hello arg\\n\\n  indented\\n")
                ),
            },
            "copy-quoted": {
                "put": "COPY <<'one' /x\n$a \\$a\none\n",
                **made("COPY <<one /x # buildkit", x=text("$a \\\\$a\\n")),
            },
            "copy-double-quoted": {
                "put": 'COPY <<"one" /x\n$a\none\n',
                **made("COPY <<one /x # buildkit", x=text("$a\\n")),
            },
            "copy-escapes": {
                "put": "COPY <<E /x\n\\$a \\\\ \\n 'q' \"r\" ${a:-b} ${none:-c}\nE\n",
                **made("COPY <<E /x # buildkit", x=text("$a \\\\ n 'q' \\\"r\\\" arg c\\n")),
            },
            "copy-tabs": {
                "put": "COPY <<-E /x\n\t\tone\n\t two\n  three\n\tE\n",
                **made("COPY <<E /x # buildkit", x=text("one\\n two\\n  three\\n")),
            },
            "copy-tabs-kept": {
                "put": "COPY <<E /x\n\tone\n\tE\nE\n",
                **made("COPY <<E /x # buildkit", x=text("\\tone\\n\\tE\\n")),
            },
            "copy-two": {
                "put": "COPY <<one <<two /d/\n1\none\n2\ntwo\n",
                **made("COPY <<one <<two /d/ # buildkit", d="dir 0755 0:0", d__one=text("1\\n"), d__two=text("2\\n")),
            },
            "copy-with-file": {
                "put": "COPY a.txt <<one /d/\n1\none\n",
                "context": "tree",
                **made(
                    "COPY a.txt <<one /d/ # buildkit",
                    d="dir 0755 0:0",
                    d__one=text("1\\n"),
                    **{"d__a.txt": text("a\\n") + " @2020-01-01"},
                ),
            },
            "copy-owner-and-mode": {
                "put": "COPY --chown=1:2 --chmod=0700 <<s /bin/s\n#!/bin/sh\ns\n",
                **made(
                    "COPY --chown=1:2 --chmod=0700 <<s /bin/s # buildkit",
                    bin__s='file 0700 1:2 "#!/bin/sh\\n"',
                ),
            },
            "copy-empty": {"put": "COPY <<E /x\nE\n", **made("COPY <<E /x # buildkit", x=text(""))},
            "copy-name-with-extension": {
                "put": "COPY <<robots.txt /srv/\nx\nrobots.txt\n",
                **made("COPY <<robots.txt /srv/ # buildkit", **{"srv__robots.txt": text("x\\n")}),
            },
            "add": {"put": "ADD <<E /x\n$a\nE\n", **made("ADD <<E /x # buildkit", x=text("arg\\n"))},
            "copy-comment-kept": {
                "put": "COPY <<E /x\n# kept\n\nE\n# gone\n",
                **made("COPY <<E /x # buildkit", x=text("# kept\\n\\n")),
            },
            "copy-then-instruction": {
                "put": "COPY <<E /x\nRUN false\nE\nENV r=1\n",
                "old": NOT_THERE,
                "no_oracle": True,
                "expect": {
                    "config": BASE | {"Env": ["PATH=/bin", "r=1"]},
                    "tree": {"/x": text("RUN false\\n")},
                    "history": ["ARG a=arg  (empty)", "COPY <<E /x # buildkit", "ENV r=1  (empty)"],
                },
            },
            "copy-crlf": {
                "put": "COPY <<E /x\r\none\r\ntwo\r\nE\r\n",
                **made("COPY <<E /x # buildkit", x=text("one\\r\\ntwo\\r\\n")),
            },
            "copy-continued": {
                "put": "COPY <<E \\\n  /x\none\nE\n",
                **made("COPY <<E /x # buildkit", x=text("one\\n")),
            },
            "unterminated": {
                "put": "COPY <<E /x\none\n",
                "error": "(?i)unterminated heredoc",
                "old": NOT_THERE,
                "no_oracle": True,
            },
            "destination": {
                "put": "COPY a.txt <<E\none\nE\n",
                "context": "tree",
                "error": "(?i)COPY cannot accept a heredoc as a destination",
                "old": NOT_THERE,
                "no_oracle": True,
            },
            "not-in-json": {
                "put": 'CMD ["<<E"]\n',
                "old": NOT_THERE,
                "no_oracle": True,
                "expect": {
                    "config": BASE | {"Cmd": ["<<E"], "ArgsEscaped": True},
                    "history": ["ARG a=arg  (empty)", 'CMD ["<<E"]  (empty)'],
                },
            },
        },
    ),
    *table(
        "heredoc-run",
        "1.4 RUN; test ideas 8, 10",
        "FROM base\n@@",
        {
            "alone": {
                "put": "RUN <<EOF\necho one >/x\necho two >>/x\nEOF\n",
                **files("RUN /bin/sh -c echo one >/x\necho two >>/x\n # buildkit", x=text("one\\ntwo\\n")),
            },
            "shell-expands": {
                "put": "RUN <<EOF\nv=shell\necho $v \\$v >/x\nEOF\n",
                **files("RUN /bin/sh -c v=shell\necho $v \\$v >/x\n # buildkit", x=text("shell $v\\n")),
            },
            "last-status-counts": {
                "put": "RUN <<EOF\nfalse\ntrue\nEOF\n",
                **files("RUN /bin/sh -c false\ntrue\n # buildkit"),
            },
            "fails": {
                "put": "RUN <<EOF\ntrue\nexit 3\nEOF\n",
                "error": "did not complete successfully: exit code: 3",
                "old": NOT_THERE,
                "no_oracle": True,
            },
            "tabs": {
                "put": "RUN <<-EOF\n\techo one >/x\n\t\techo two >>/x\n\tEOF\n",
                **files("RUN /bin/sh -c echo one >/x\necho two >>/x\n # buildkit", x=text("one\\ntwo\\n")),
            },
            "interpreter-line": {
                "put": 'RUN <<EOF\n#!/bin/awk -f\nBEGIN { print "awk" > "/x" }\nEOF\n',
                **files("RUN /dev/pipes/EOF # buildkit", x=text("awk\\n")),
            },
            "to-a-command": {
                "put": "RUN cat <<EOF >/x\none $PATH\nEOF\n",
                **files("RUN /bin/sh -c cat <<EOF >/x\none $PATH\nEOF # buildkit", x=text("one /bin\\n")),
            },
            "to-a-command-quoted": {
                "put": "RUN cat <<'EOF' >/x\none $PATH\nEOF\n",
                **files("RUN /bin/sh -c cat <<'EOF' >/x\none $PATH\nEOF # buildkit", x=text("one $PATH\\n")),
            },
            "two": {
                "put": "RUN cat <<A >/x && cat <<B >/y\n1\nA\n2\nB\n",
                **files(
                    "RUN /bin/sh -c cat <<A >/x && cat <<B >/y\n1\nA\n2\nB # buildkit", x=text("1\\n"), y=text("2\\n")
                ),
            },
            "with-shell": {
                "put": 'SHELL ["/bin/busybox","sh","-e","-c"]\nRUN <<EOF\necho $- >/x\nEOF\n',
                "old": NOT_THERE,
                "no_oracle": True,
                "expect": {
                    "config": BASE | {"Shell": ["/bin/busybox", "sh", "-e", "-c"]},
                    "tree": {"/x": text("ce\\n")},
                    "history": [
                        "SHELL [/bin/busybox sh -e -c]  (empty)",
                        "RUN /bin/busybox sh -e -c echo $- >/x\n # buildkit",
                    ],
                },
            },
            "keyword-like-text": {
                "put": "RUN <<EOF\nCOPY() { echo fn >/x; }\nCOPY a b\nEOF\n",
                **files("RUN /bin/sh -c COPY() { echo fn >/x; }\nCOPY a b\n # buildkit", x=text("fn\\n")),
            },
            "arithmetic-is-none": "RUN echo $((1<<2)) >/x\n",
            "here-string-is-none": {
                "put": "RUN echo 'a<<b' >/x\n",
            },
        },
    ),
]
