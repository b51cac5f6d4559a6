"""FROM, stages, targets and platforms (reference 1.5 FROM; test ideas 43, 44, 50); ONBUILD (test idea 45)."""

from __future__ import annotations

from tests.conformance.case import Case, table

BASE = {"Cmd": ["/bin/sh"], "Env": ["PATH=/bin"]}

SCRATCH = {"Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"], "WorkingDir": "/"}


CASES = [
    *table(
        "from",
        "1.5 FROM",
        "@@",
        {
            "image": "FROM base\n",
            "tag": "FROM base:latest\n",
            "lower-as": "FROM base as one\nENV a=1\n",
            "upper-as": "FROM base AS ONE\nENV a=1\n",
            "scratch": {
                "put": "FROM scratch\n",
                "old": "docker save takes no image without layers",
                "no_oracle": True,
                "expect": {"config": SCRATCH},
            },
            "scratch-copy": "FROM scratch\nCOPY a.txt /\n",
            "scratch-metadata": {
                "put": "FROM scratch\nUSER 1\nLABEL a=b\n",
                "old": "docker save takes no image without layers",
                "no_oracle": True,
                "expect": {
                    "config": SCRATCH | {"Labels": {"a": "b"}, "User": "1"},
                    "history": ["USER 1  (empty)", "LABEL a=b  (empty)"],
                },
            },
            "scratch-workdir": "FROM scratch\nWORKDIR /a/b\n",
            "no-path-in-base": "FROM bare\nENV a=1\n",
            "one-word": ("FROM\n", "(?i)FROM requires either one or three arguments"),
            "two-words": ("FROM base AS\n", "(?i)FROM requires either one or three arguments"),
            "four-words": ("FROM base AS a b\n", "(?i)FROM requires either one or three arguments"),
            "no-as": ("FROM base IS a\n", "(?i)FROM requires either one or three arguments"),
            "digit-name": ("FROM base AS 1a\n", "(?i)invalid name for build stage"),
            "slash-name": ("FROM base AS a/b\n", "(?i)invalid name for build stage"),
            "names-with-marks": "FROM base AS a-b_c.d\nFROM a-b_c.d\nENV a=1\n",
            "bad-reference": ("FROM Base:bad:tag\n", "(?i)invalid.*reference"),
            "upper-case-image": ("FROM BASE\n", "(?i)invalid.*reference"),
            "unknown-flag": ("FROM --platfrom=x base\n", "(?i)unknown flag.*platfrom"),
        },
        context="tree",
    ),
    *table(
        "stage",
        "1.5 FROM: stages; test ideas 22, 43, 44",
        "@@",
        {
            "child-has-everything": """\
FROM base AS one
ENV a=1
LABEL l=1
WORKDIR /w
USER alice
SHELL ["/bin/busybox","sh","-c"]
EXPOSE 80
VOLUME /v
STOPSIGNAL 9
HEALTHCHECK CMD x
ENTRYPOINT ["e"]
CMD ["c"]
MAINTAINER m
RUN echo one >/tmp/f
FROM one
RUN pwd >/tmp/g && id -u >>/tmp/g
ENV b=$a
""",
            "entrypoint-in-child-clears-cmd": 'FROM base AS one\nCMD ["c"]\nFROM one\nENTRYPOINT ["e"]\n',
            "last-is-built": "FROM base\nENV a=1\nFROM base\nENV b=2\n",
            "unused-is-not-built": "FROM base AS bad\nRUN false\nFROM base\nENV a=1\n",
            "unused-base-is-not-asked": "FROM no-such-image-anywhere AS bad\nFROM base\nENV a=1\n",
            "copy-between": "FROM base AS one\nRUN echo x >/x\nFROM scratch\nCOPY --from=one /x /y\n",
            "copy-from-image": "FROM scratch\nCOPY --from=base /etc/group /g\n",
            "copy-from-image-with-tag": "FROM scratch\nCOPY --from=base:latest /etc/group /g\n",
            "name-case": "FROM base AS One\nENV a=1\nFROM one\nENV b=1\n",
            "diamond": """\
FROM base AS root
RUN echo root >/root.txt
FROM root AS left
RUN echo left >/left.txt
FROM root AS right
RUN echo right >/right.txt
FROM root
COPY --from=left /left.txt /
COPY --from=right /right.txt /
""",
            "chain": "FROM base AS a\nENV A=1\nFROM a AS b\nENV B=$A\nFROM b AS c\nENV C=$B\nFROM c\nENV D=$C\n",
            "same-name-later-shadows": "FROM base AS one\nENV a=1\nFROM base AS one\nENV b=1\nFROM one\nENV c=1\n",
            "index-of-several": (
                "FROM base\nRUN echo 0 >/n\nFROM base\nRUN echo 1 >/n\nFROM scratch\nCOPY --from=0 /n /0\n"
                "COPY --from=1 /n /1\n"
            ),
            "name-of-an-image": "FROM base AS full\nENV own=1\nFROM full\nENV x=1\n",
            "from-itself": ("FROM one AS one\n", r"(?i)one"),
            "later-in-from": (
                "FROM base\nCOPY --from=two /x /x\nFROM base AS two\nFROM base\nCOPY --from=0 /x /y\n",
                "(?i)two",
            ),
            "copy-from-itself": (
                "FROM base AS one\nCOPY --from=one /etc/group /x\n",
                "(?i)circular dependency|before current stage",
            ),
        },
    ),
    Case(
        name="from-upper-case-stage",
        rule="5b row 6",
        dockerfile="FROM base AS One\nENV a=1\nFROM One\nENV b=1\n",
        stance="5b row 6: case does not count",
        expect={
            "config": BASE | {"Env": ["PATH=/bin", "a=1", "b=1"]},
            "history": ["ENV a=1  (empty)", "ENV b=1  (empty)"],
        },
    ),
    *table(
        "target",
        "3.3 --target; test idea 44",
        """\
FROM base AS build
RUN echo b >/b
FROM base AS test
RUN false
FROM base AS Final
COPY --from=build /b /b
FROM scratch
""",
        {
            "first": {"flags": ["--target", "build"]},
            "case": {"flags": ["--target", "FINAL"]},
            "with-dependency": {"flags": ["--target=final"]},
            "unknown": {
                "flags": ["--target", "bulid"],
                "error": r"(?i)target stage.*bulid.*could not be found[\s\S]*build",
            },
            "empty": {"dockerfile": "FROM base AS a\nENV a=1\nFROM base\nENV b=1\n", "flags": ["--target", ""]},
        },
    ),
    Case(
        name="target-index",
        rule="1.5 FROM: --target takes a name",
        dockerfile="FROM base\nENV a=1\nFROM base\nENV b=1\n",
        flags=("--target", "0"),
        error="(?i)target stage.*0.*could not be found",
    ),
    *table(
        "platform",
        "1.5 FROM --platform",
        "@@",
        {
            "own": "FROM --platform=linux/amd64 base\nENV a=1\n",
            "variable": "FROM --platform=$TARGETPLATFORM base\nENV a=1\n",
            "architecture-alone": "FROM --platform=amd64 base\nENV a=1\n",
            "alias": "FROM --platform=linux/x86_64 base\nENV a=1\n",
            "stage-inherits": "FROM --platform=linux/amd64 base AS one\nFROM one\nENV a=1\n",
            "bad": ("FROM --platform=what/ever/no/way base\n", "(?i)platform|what"),
            "empty-variable": ("ARG P\nFROM --platform=$P base\n", r"(?i)empty platform value from expression \$P"),
        },
    ),
    *table(
        "workdir",
        "1.5 WORKDIR; test idea 49",
        "FROM owned\n@@\n",
        {
            "makes": "WORKDIR /a/b/c",
            "relative": "WORKDIR /a\nWORKDIR b\nWORKDIR ../c",
            "relative-to-base": {"dockerfile": "FROM full\nWORKDIR deeper\n"},
            "base-is-not-made": {"dockerfile": "FROM full\nENV a=1\n"},
            "base-is-made-by-run": {"dockerfile": "FROM full\nUSER root\nRUN pwd >/pwd\n"},
            "existing-is-kept": "WORKDIR /existingdir",
            "owner-is-user": "USER alice\nWORKDIR /home/alice/a/b",
            "owner-is-user-and-group": "USER 12:34\nWORKDIR /tmp/a",
            "owner-by-number": "USER 1000\nWORKDIR /tmp/a",
            "root": "WORKDIR /",
            "through-link": "WORKDIR /var/lib/app/sub",
            "link-itself": "WORKDIR /var/lib/app",
            "trailing-slash": "WORKDIR /a/b/",
            "double-slash-and-dots": "WORKDIR //a/./b/../c",
            "with-space": "WORKDIR /a b/c d",
            "quoted": 'WORKDIR "/a b"',
            "then-run": "WORKDIR /a/b\nRUN pwd >f",
            "removed-then-run": "WORKDIR /a/b\nRUN rmdir /a/b\nRUN pwd >/out",
            "on-a-file": ("WORKDIR /existingdir/file", "(?i)not a directory|no directory|file exists"),
            "below-a-file": ("WORKDIR /existingdir/file/x", "(?i)not a directory|no directory"),
            "unknown-user": {
                "put": "USER nobody-here\nWORKDIR /w",
                "error": "nobody-here",
                "stance": "an unknown name is an error: BuildKit takes it for root",
            },
            "nothing": ("WORKDIR", "(?i)WORKDIR requires exactly one argument"),
            "empty-variable": "WORKDIR /a\nWORKDIR $nothing",
        },
    ),
]
