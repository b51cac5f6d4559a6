"""COPY: which sources, where to, whose (reference 1.5 COPY, the copy engine's rules; test ideas 19-33)."""

from __future__ import annotations

from typing import Any

from tests.conformance.case import Case, table

BASE = {"Cmd": ["/bin/sh"], "Env": ["PATH=/bin"]}
WRONG_NAME = "an unknown name is an error: BuildKit takes it for root"


NEW_MODE = "directories that are made take an octal mode too (test CopyChmod)"
FIFO = "a fifo is made again"


def new_directory(line: str) -> dict[str, Any]:
    """A row where the new directory itself takes the mode."""
    return {"old": NEW_MODE, "expect": {"tree_changes": {"/x": line}}}


def made(history: str, *more: str, **tree: str) -> dict[str, Any]:
    """What must come of it: entries of the history, and `path__of__file="line"`."""
    paths = {f"/{name.replace('__', '/')}": line for name, line in tree.items()}
    return {"config": BASE, "history": [history, *more], "tree": paths}


def file(text: str, owner: str = "0:0", mode: str = "0644") -> str:
    """A file of the context."""
    return f'file {mode} {owner} "{text}" @2020-01-01'


CASES = [
    *table(
        "source",
        "COPY 1-5; test ideas 19, 20, 27, 28, 31",
        "FROM base\nCOPY @@\n",
        {
            "file-to-name": "a.txt /x",
            "file-to-directory": "a.txt /x/",
            "leading-slash": "/a.txt /x",
            "dot-slash": "./a.txt /x",
            "dots-are-clamped": "../../a.txt /x",
            "dots-inside": "sub/../dir1/x /x",
            "dots-inside-clamped": "sub/../../../a.txt /x",
            "trailing-slash-on-directory": "sub/ /x/",
            "trailing-slash-on-file": "a.txt/ /x",
            "directory-contents": "sub /x",
            "directory-contents-slash": "sub /x/",
            "directory-dot": "sub/. /x/",
            "directory-deep": "sub/deep /x",
            "two-directories-merge": "dir1 dir2 /x/",
            "empty-directory": "emptydir /x",
            "whole-context": ". /x",
            "whole-context-slash": "/ /x/",
            "hidden": ".hidden /x/",
            "star": {"put": "* /x/", "files": {"dangling": False}},
            "star-matches-dangling-link": ("* /x/", r"(?i)(nowhere|dangling).*not found"),
            "star-txt": "*.txt /x/",
            "star-matches-hidden": "*hid* /x/",
            "question-mark": "?.txt /x/",
            "class": "[ab].txt /x/",
            "negated-class": "[^a].txt /x/",
            "range": "[a-c]*.txt /x/",
            "escaped-star": r"\a.txt /x",
            "star-directories-flatten": "dir* /x/",
            "star-below": "sub/* /x/",
            "star-in-the-middle": "dir*/x /x/",
            "star-in-the-middle-directory": "s*/deep /x/",
            "star-does-not-cross": "s*/three /x/",
            "double-star-is-star": "dir**/x /x/",
            "double-star-alone": {"put": "** /x/", "files": {"dangling": False}},
            "no-match": "*.nothing /x/",
            "no-match-and-a-match": "*.nothing a.txt /x/",
            "no-match-below": "sub/*.nothing /x/",
            "no-match-missing-directory": ("nowhere/* /x/", "(?i)nowhere.*not found|no such file"),
            "one-match-to-name": "a.* /x",
            "missing": ("nothing.txt /x", r"nothing.txt.*not found"),
            "missing-below": ("sub/nothing /x", r"sub/nothing.*not found"),
            "missing-of-two": ("a.txt nothing.txt /x/", r"nothing.txt.*not found"),
            "link-is-followed": "link /x",
            "link-into-directory": "link /x/",
            "link-to-directory": "dirlink /x",
            "through-link": "dirlink/one /x",
            "through-link-star": "dirlink/* /x/",
            "star-matches-link": "lin* /x/",
            "star-matches-directory-link": "dirli* /x/",
            "links-inside-stay": "inlinks /x",
            "dangling": ("dangling /x", r"(?i)not found|no such file"),
            "hard-links": "hard /x",
            "hard-links-apart": "hard/one hard/two /x/",
            "modes": "modes /x",
            "private": "private run.sh /x/",
            "empty-file": "empty /x",
            "same-twice": "a.txt a.txt /x/",
            "many": "a.txt b.txt c.md sub dir1 /x/",
        },
        context="tree",
    ),
    *table(
        "destination",
        "COPY 6, 7; test ideas 21, 26, 29",
        "FROM owned\n@@\n",
        {
            "root": "COPY a.txt /",
            "root-directory": "COPY dir1 /",
            "dot": "WORKDIR /w\nCOPY a.txt .",
            "dot-slash": "WORKDIR /w\nCOPY a.txt ./",
            "relative": "WORKDIR /w\nCOPY a.txt x",
            "relative-deep": "WORKDIR /w\nCOPY a.txt x/y/z",
            "relative-slash": "WORKDIR /w\nCOPY a.txt x/",
            "relative-without-workdir": "COPY a.txt x",
            "empty-json": 'WORKDIR /w\nCOPY ["a.txt", ""]',
            "directory-to-dot": "WORKDIR /w\nCOPY sub .",
            "dots": "WORKDIR /w/v\nCOPY a.txt ../x",
            "dots-above-root": "COPY a.txt /../../x",
            "slash-dot": {
                "put": "COPY a.txt /x/.",
                "old": "a slash and a dot at the end say: a directory",
                "expect": {"tree": {"/x": "dir 0755 0:0", "/x/a.txt": file("a\\n")}},
            },
            "double-slash": "COPY a.txt //x//y",
            "existing-directory-without-slash": "COPY a.txt /existingdir",
            "existing-file": "COPY a.txt /existingdir/file",
            "existing-file-keeps-nothing": "COPY --chown=9 run.sh /existingdir/file",
            "parents": "COPY a.txt /p/q/r/x",
            "parents-of-directory": "COPY sub /p/q/r",
            "through-link": "COPY a.txt /var/lib/app/x",
            "through-link-directory": "COPY sub /var/lib/app",
            "through-link-slash": "COPY a.txt /var/lib/app/",
            "to-a-link": "COPY a.txt /existingdir/link",
            "to-a-link-to-directory": "COPY a.txt /var/lib/app",
            "over-setuid": "COPY a.txt /srv/exe",
            "file-over-earlier-file": "COPY a.txt /x\nCOPY b.txt /x",
            "directory-over-earlier-directory": "COPY dir1 /x\nCOPY dir2 /x",
            "same-again": "COPY sub /x\nCOPY sub /x",
            "file-where-a-directory-is": (
                "RUN mkdir -p /d/a.txt\nCOPY a.txt /d/",
                r"(?i)cannot (replace|copy).*director",
            ),
            "directory-where-a-file-is": ("COPY a.txt /x\nCOPY sub /x", r"(?i)cannot copy (a directory )?to.*director"),
            "below-a-file": ("COPY a.txt /x\nCOPY b.txt /x/y", r"(?i)not a directory|no directory"),
            "several-without-slash": {
                "put": "COPY a.txt b.txt /new",
                "error": "(?i)several sources need a directory",
                "stance": "5b row 3: the last one would silently win",
            },
            "several-to-existing-directory": "COPY a.txt b.txt /existingdir",
            "several-directories-without-slash": "COPY dir1 dir2 /new",
            "star-of-several-without-slash": {
                "put": "COPY ?.txt /new",
                "error": "(?i)several sources need a directory",
                "stance": "5b row 3: the last one would silently win",
            },
            "link-inside-replaces-file": "COPY inlinks /existingdir",
            "one-argument": (
                "COPY a.txt",
                "(?i)COPY requires at least two arguments.*destination could not be determined",
            ),
            "no-argument": ("COPY", "(?i)COPY requires at least (two|one) argument"),
            "url": ("COPY http://127.0.0.1:9/x /x", "(?i)source can't be a URL for COPY|can't be a URL"),
        },
        context="tree",
    ),
    *table(
        "owner",
        "COPY 8-10, --chown; test ideas 22-24",
        "FROM owned\n@@\n",
        {
            "context-is-root": "USER alice\nCOPY sub /x",
            "user-group-numbers": "COPY --chown=12:34 a.txt /x",
            "user-number-is-group-too": "COPY --chown=1234 a.txt /x",
            "user-name": "COPY --chown=alice a.txt /x",
            "user-and-group-names": "COPY --chown=alice:wheel a.txt /x",
            "user-name-group-number": "COPY --chown=www:77 a.txt /x",
            "user-number-group-name": "COPY --chown=77:video a.txt /x",
            "known-number-without-group": "COPY --chown=33 a.txt /x",
            "directory": "COPY --chown=1:2 sub /x",
            "created-parents": "COPY --chown=1:2 a.txt /p/q/x",
            "created-parents-without-flag": "COPY a.txt /p/q/x",
            "existing-directory-is-kept": "COPY --chown=300:400 sub /existingdir",
            "existing-nested-is-overwritten": "COPY --chown=300:400 over /existingdir",
            "existing-nested-mode-without-flag": "COPY over /existingdir",
            "links-too": "COPY --chown=1:2 inlinks /x",
            "setuid-survives": "COPY --chown=1:2 modes /x",
            "unknown-user": {"put": "COPY --chown=nobody-here a.txt /x", "error": "nobody-here", "stance": WRONG_NAME},
            "unknown-group": {"put": "COPY --chown=alice:no-group a.txt /x", "error": "no-group", "stance": WRONG_NAME},
            "no-passwd": {
                "dockerfile": "FROM scratch\nCOPY --chown=alice a.txt /x\n",
                "error": "alice",
                "stance": WRONG_NAME,
            },
            "numbers-on-scratch": {"dockerfile": "FROM scratch\nCOPY --chown=5:6 a.txt /x\n"},
            "passwd-of-that-moment": "RUN echo new:x:55:66::/:/bin/sh >>/etc/passwd\nCOPY --chown=new a.txt /x",
            "group-without-user": "COPY --chown=:5 a.txt /x",
            "too-big": {
                "put": "COPY --chown=99999999999:1 a.txt /x",
                "error": "99999999999",
                "stance": "an id must fit: BuildKit takes it for root",
            },
        },
        context="tree",
        files={
            "over/nested/sub/new": "new\n",
            "over/nested/sub/": {"mode": "0750"},
            "over/subdir/": {"mode": "0700"},
        },
    ),
    *table(
        "mode",
        "COPY --chmod; test idea 25",
        "FROM owned\n@@\n",
        {
            "file": "COPY --chmod=640 a.txt /x",
            "four-digits": "COPY --chmod=0755 a.txt /x",
            "setuid": {
                "put": "COPY --chmod=4755 a.txt /x",
                "old": "the upper bits are kept",
                "expect": {"tree_changes": {"/x": file("a\\n", mode="4755")}},
            },
            "zero": "COPY --chmod=0 a.txt /x",
            "directory-and-files": "COPY --chmod=755 sub /x",
            "directory-untraversable": {"put": "COPY --chmod=644 sub /x", **new_directory("dir 0644 0:0")},
            "not-links": {"put": "COPY --chmod=600 inlinks /x", **new_directory("dir 0600 0:0")},
            "created-parents": {
                "put": "COPY --chmod=0777 a.txt /p/q/x",
                "old": NEW_MODE,
                "expect": {"tree_changes": {"/p": "dir 0777 0:0", "/p/q": "dir 0777 0:0"}},
            },
            "existing-directory": "COPY --chmod=711 sub /existingdir",
            "with-owner": {"put": "COPY --chown=1:2 --chmod=600 sub /x", **new_directory("dir 0600 1:2")},
            "too-long": {
                "put": "COPY --chmod=10000 a.txt /x",
                "error": "(?i)invalid chmod parameter: '?10000",
                "old": "any octal number was taken (test CopyInvalidChmod)",
            },
            "no-octal": {
                "put": "COPY --chmod=64a a.txt /x",
                "error": "(?i)invalid chmod parameter: '?64a",
                "old": "any text was taken (test CopyInvalidChmod)",
            },
            "nine": {
                "put": "COPY --chmod=649 a.txt /x",
                "error": "(?i)invalid chmod parameter: '?649",
                "old": "any text was taken (test CopyInvalidChmod)",
            },
        },
        context="tree",
    ),
    *table(
        "mode-words",
        "COPY --chmod in words (1.14); test idea 25",
        "FROM owned\nCOPY --chmod=@@ words /x\n",
        {
            name: {
                "put": mode,
                "old": "modes in words are of 2024",
                "no_oracle": True,
                "expect": made(
                    f"COPY --chmod={mode} words /x # buildkit",
                    x=f"dir {top} 0:0",
                    x__dir=f"dir {inner} 0:0",
                    x__dir__exe=file("e", mode=exe),
                    x__plain=file("p", mode=plain),
                ),
            }
            for name, mode, top, inner, exe, plain in (
                ("all", "u=rwX,g=rX,o=", "0755", "0750", "0750", "0640"),
                ("plus-x", "+x", "0755", "0755", "0755", "0755"),
                ("go-read", "go=r", "0755", "0744", "0744", "0644"),
                ("copy-of-user", "g=u", "0755", "0775", "0775", "0664"),
                ("minus", "a-w", "0755", "0555", "0555", "0444"),
                ("several", "u+s,o-rx", "0755", "4750", "4750", "4640"),
                ("sticky", "+t", "0755", "1755", "1755", "1644"),
            )
        },
        files={"words/dir/exe": {"text": "e", "mode": "0755"}, "words/plain": "p"},
    ),
    *table(
        "mode-words-wrong",
        "COPY --chmod in words",
        "FROM owned\nCOPY --chmod=@@ words /x\n",
        {
            "letters": ("rwx", "(?i)invalid chmod parameter"),
            "no-operator": ("u", "(?i)invalid chmod parameter"),
            "unknown-letter": ("u=q", "(?i)invalid chmod parameter"),
            "trailing-comma": ("u=r,", "(?i)invalid chmod parameter"),
        },
        old="modes in words are of 2024",
        no_oracle=True,
        files={"words": "w"},
    ),
    *table(
        "from",
        "COPY --from; test ideas 22, 27, 41, 43",
        """\
FROM owned AS src
WORKDIR /elsewhere
RUN mkdir -p /t/sub /t/deep/er && echo f >/t/f && echo g >/t/sub/g && echo h >/t/deep/er/h && ln -s f /t/l && ln -s /t/sub /t/dl \\
 && ln -s ../../../../etc/passwd /t/out && ln /t/f /t/hard && chmod 4711 /t/sub/g && chmod 700 /t/deep \\
 && touch -d '2001-02-03 04:05:06' /t/f /t/sub/g /t/deep/er/h && touch -h -d '2001-02-03 04:05:06' /t/l \\
 && chown 100:200 /t/f && chown 101:201 /t/sub && chown -h 102:202 /t/l
FROM owned
@@
""",
        {
            "file-keeps-owner": "COPY --from=src /t/f /x",
            "directory-keeps-inner-owners": "COPY --from=src /t /new",
            "to-existing-directory": "COPY --from=src /t /existingdir",
            "chown-overrides": "COPY --from=src --chown=1:2 /t /new",
            "relative-to-root": "COPY --from=src t/f /x",
            "not-relative-to-workdir": ("COPY --from=src f /x", "(?i)f.*not found"),
            "by-index": "COPY --from=0 /t/f /x",
            "case": "COPY --from=SRC /t/f /x",
            "link-followed": "COPY --from=src /t/l /x",
            "link-to-directory": "COPY --from=src /t/dl /x",
            "absolute-link-in-path": "COPY --from=src /t/dl/g /x",
            "link-re-rooted": "COPY --from=src /t/out /x",
            "star": "COPY --from=src /t/* /x/",
            "star-of-directories": "COPY --from=src /t/*/er /x/",
            "star-no-match": "COPY --from=src /t/*.none /x/",
            "fifo": {
                "put": "RUN mkfifo -m 640 /f\nFROM base\nCOPY --from=1 /f /x",
                "old": FIFO,
                "expect": {"tree": {"/x": "fifo 0640 0:0"}},
            },
            "whole": "COPY --from=src /existingdir /",
            "setuid-program": "COPY --from=src /srv/exe /x",
            "unused-stage": "COPY a.txt /x",
            "base-image": "COPY --from=full /etc/passwd /x",
            "missing": ("COPY --from=src /nothing /x", "(?i)/nothing.*not found"),
            "variable": {
                "put": "ARG s=src\nCOPY --from=$s /t/f /x",
                "stance": "5b row 8: variables expand",
                "expect": {
                    "config": BASE,
                    "tree": {"/x": 'file 0644 100:200 "f\\n" @2001-02-03'},
                    "history": ["ARG s=src  (empty)", "COPY /t/f /x # buildkit"],
                },
            },
            "index-too-high": ("COPY --from=5 /t/f /x", "(?i)invalid stage index 5"),
            "index-of-itself": ("COPY --from=1 /t/f /x", "(?i)circular dependency|before current stage"),
            "of-deleted-file": "COPY --from=src /srv /x",
            "dot": "COPY --from=src . /all/",
        },
        context="tree",
    ),
    Case(
        name="from-stage-with-whiteouts",
        rule="COPY --from sees the merged tree",
        dockerfile="""\
FROM owned AS src
RUN rm /existingdir/file && rm -r /existingdir/nested && mkdir -p /existingdir/nested/again && echo n >/existingdir/nested/new
FROM base
COPY --from=src /existingdir /x
""",
    ),
    Case(
        name="after-run-removed",
        rule="COPY into a path that was removed",
        context="tree",
        dockerfile="FROM owned\nRUN rm -r /existingdir\nCOPY a.txt /existingdir\nCOPY sub /srv/app\n",
    ),
    Case(
        name="run-sees-copy",
        rule="COPY then RUN",
        context="tree",
        dockerfile="FROM owned\nCOPY sub /existingdir\nRUN cat /existingdir/one /existingdir/file >/out && ls -ln /existingdir | tail -n +2 | awk '{print $1,$3,$4,$9}' >>/out\n",
    ),
    *table(
        "special",
        "COPY 10; test ideas 30, 32",
        "FROM base\nCOPY @@\n",
        {
            "socket": {"put": "s /x", "files": {"s/sock": {"kind": "socket"}, "s/file": "f"}},
            "fifo": {
                "put": "s /x",
                "files": {"s/fifo": {"kind": "fifo"}, "s/file": "f"},
                "old": FIFO,
                "expect": {"tree_changes": {"/x/fifo": "fifo 0644 0:0 @2020-01-01"}},
            },
            "unicode": {"put": "föö/* /x/", "files": {"föö/bär": "b", "föö/日本": "j"}},
            "unicode-name": {"put": "日本 /日本語", "files": {"日本": "j"}},
            "space-json": {"put": '["a b", "/c d/"]', "files": {"a b": "s"}},
            "dash": {"put": "-- -x /x", "files": {"-x": "d"}},
            "backslash-in-name": {"put": '["b*", "/x/"]', "files": {r"b\c": "b"}},
            "bracket-in-name": {"put": '["b[[]c", "/x"]', "files": {"b[c": "b"}},
            "long-name": {"put": "n* /x/", "files": {"n" * 200: "n", f"nd/{'d' * 150}/{'e' * 150}": "e"}},
            "long-link": {"put": "l /x", "files": {"l/link": {"link": "t" * 300}}},
            "old-times": {
                "put": "t /x",
                "files": {"t/old": {"text": "o", "mtime": 1}, "t/zero": {"text": "z", "mtime": 0}},
            },
            "capability": {
                "put": "f /x",
                "files": {"f": {"text": "f", "caps": "0100000200200000000000000000000000000000"}},
            },
            "attribute-of-a-user": {"put": "f /x", "files": {"f": {"text": "f", "xattrs": {"user.note": "n"}}}},
            "deep": {"put": "d /x", "files": {f"{'d/' * 60}f": "deep"}},
            "many-hard-links": {
                "put": "h /x",
                "files": {"h/a": "h", "h/b": {"hard": "h/a"}, "h/d/c": {"hard": "h/a"}, "h/other": "h"},
            },
            "hard-link-to-the-outside": {"put": "h/in /x", "files": {"out": "h", "h/in": {"hard": "out"}}},
            "link-out-of-the-context": {
                "put": "out /x",
                "files": {"out": {"link": "../../../../../../../../a.txt"}, "a.txt": "inside\n"},
            },
            "absolute-link": {"put": "abs /x", "files": {"abs": {"link": "/a.txt"}, "a.txt": "inside\n"}},
            "link-loop": {
                "put": "loop /x",
                "files": {"loop": {"link": "loop"}},
                "error": "(?i)loop|not found|too many",
            },
            "link-chain": {
                "put": "one /x",
                "files": {
                    "one": {"link": "two"},
                    "two": {"link": "d/three"},
                    "d/three": {"link": "../four"},
                    "four": "4",
                },
            },
            "big": {"put": "big /x", "files": {"big": {"size": 3_000_000}}},
        },
    ),
    Case(
        name="xattr-capability",
        rule="COPY 10: capabilities survive a copy between stages",
        dockerfile="FROM capable AS src\nFROM base\nCOPY --from=src /ping /ping\n",
    ),
    Case(
        name="dockerfile-named-otherwise",
        rule="1.6",
        dockerfile="",
        files={"Other.docker": "FROM base\nENV a=1\n"},
        flags=("-f", "context/Other.docker", "context"),
    ),
    Case(name="dockerfile-lower-case", rule="1.6", dockerfile="", files={"dockerfile": "FROM base\nENV a=1\n"}),
    Case(
        name="dockerfile-is-a-link",
        rule="1.6",
        dockerfile="",
        files={"Dockerfile": {"link": "real"}, "real": "FROM base\nENV a=1\n"},
    ),
]
