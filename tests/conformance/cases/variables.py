"""Variables: operators, quoting, the scopes of ARG and ENV, what expands where (reference 1.3, 1.5 ARG and ENV)."""

from __future__ import annotations

from typing import Any

from tests.conformance.case import table

CONFIG = {"Cmd": ["/bin/sh"]}


def value(text: str) -> dict[str, Any]:
    """What `ENV r=…` must leave after `ENV s=value e= p=/usr/local/bin/tool.tar.gz`."""
    history = f"ENV s=value e= p={PATH_VALUE}  (empty)"
    return {
        "old": "the operator is of 2023 or later",
        "no_oracle": True,
        "expect": {
            "config": CONFIG | {"Env": ["PATH=/bin", "s=value", "e=", f"p={PATH_VALUE}", f"r={text}"]},
            "history": [history, f"ENV r={text}  (empty)"],
        },
    }


PATH_VALUE = "/usr/local/bin/tool.tar.gz"


def told(was: str, now: str, mark: str = "  (empty)") -> dict[str, Any]:
    """A row whose history has one entry worded otherwise today: the value in force is told."""
    changes = {f"{was}{mark}": f"{now}{mark}"}
    return {"old": "the history tells the value in force", "expect": {"history_changes": changes}}


RUN = " # buildkit"
CASES = [
    *table(
        "operator",
        "1.3 operators; test idea 7",
        f"FROM base\nENV s=value e= p={PATH_VALUE}\nENV r=@@\n",
        {
            "plain": "$s",
            "braces": "${s}x",
            "unset": "[$u]",
            "unset-braces": "[${u}]",
            "default-unset": "${u:-w}",
            "default-empty": "${e:-w}",
            "default-set": "${s:-w}",
            "default-nested": "${u:-${v:-${s}}}",
            "default-empty-word": "[${u:-}]",
            "default-with-variable": "${u:-a$s}",
            "alternative-set": "${s:+w}",
            "alternative-empty": "[${e:+w}]",
            "alternative-unset": "[${u:+w}]",
            "alternative-nested": "${s:+x${s}y}",
            "dash-unset": {"put": "${u-w}", **value("w")},
            "dash-empty": {"put": "[${e-w}]", **value("[]")},
            "plus-empty": {"put": "[${e+w}]", **value("[w]")},
            "plus-unset": {"put": "[${u+w}]", **value("[]")},
            "question-set": {"put": "${s:?m}", **value("value")},
            "question-empty-is-set": {"put": "[${e?m}]", **value("[]")},
            "question-unset": ("${u:?'no u here'}", "u: no u here"),
            "question-empty": ("${e:?'no e here'}", "e: no e here"),
            "question-without-colon": ("${u?gone}", "u: gone"),
            "question-message-expands": ("${u:?'not '$s}", "u: not value"),
            "prefix-shortest": {"put": "${p#*/}", **value("usr/local/bin/tool.tar.gz")},
            "prefix-longest": {"put": "${p##*/}", **value("tool.tar.gz")},
            "suffix-shortest": {"put": "${p%.*}", **value("/usr/local/bin/tool.tar")},
            "suffix-longest": {"put": "${p%%.*}", **value("/usr/local/bin/tool")},
            "prefix-no-match": {"put": "${p#nothing}", **value(PATH_VALUE)},
            "suffix-question-mark": {"put": "${s%u?}", **value("val")},
            "prefix-variable-pattern": {"put": "${p#/usr/$u}", **value("local/bin/tool.tar.gz")},
            "pattern-escaped-star": {"put": r"${s#\*}", **value("value")},
            "replace-first": {"put": "${p/o/0}", **value("/usr/l0cal/bin/tool.tar.gz")},
            "replace-all": {"put": "${p//o/0}", **value("/usr/l0cal/bin/t00l.tar.gz")},
            "replace-with-nothing": {"put": "${s//a/}", **value("vlue")},
            "replace-glob": {"put": "${p/l*n/X}", **value("/usr/X/tool.tar.gz")},
            "replace-slash": {"put": r"${p//\//_}", **value("_usr_local_bin_tool.tar.gz")},
            "replace-with-variable": {"put": "${s/l/$s}", **value("vavalueue")},
            "unsupported-assign": ("${u:=w}", r"unsupported modifier \(:?=\) in substitution"),
            "unsupported-substring": ("${s:1:2}", r"unsupported modifier \(:?1\) in substitution"),
            "unsupported-assign-without-colon": ("${u=w}", r"(?i)unsupported modifier|bad substitution|missing ':'"),
            "colon-prefix": ("${s:#v}", r"unsupported modifier \(:?#\) in substitution"),
            "indirect": ("${!s}", "(?i)bad substitution|unsupported modifier"),
            "empty-braces": ("${}", "(?i)bad substitution"),
            "brace-in-brace": ("${{s}", "(?i)bad substitution"),
            "colon-first": ("${:s}", "(?i)bad substitution"),
            "unclosed": ("${s", r"(?i)missing '}'"),
            "unclosed-default": ("${s:-w", r"(?i)missing '}'|unexpected end"),
            "positional": "[$1$9]",
            "special": "[$@$?$$]",
            "dollar-other": "a$.b$",
            "escaped": r"\$s",
            "escaped-braces": r"\${s}",
            "single-quotes": "'$s ${s}'",
            "double-quotes": '"$s ${s} \\"q\\" \\$s"',
            "quotes-joined": "a'b'\"c\"d$s",
            "escaped-space": r"a\ b",
            "escaped-letter": r"\a\b",
            "backslash-in-double-quotes": r'"a\b"',
            "backslash-in-single-quotes": r"'a\b'",
            "name-ends": "$s.$s-$s/$s:$s",
            "name-with-digits": "$s1x",
            "unclosed-single-quote": (
                "'abc",
                "(?i)unexpected end of statement while looking for matching single-quote",
            ),
            "unclosed-double-quote": (
                '"abc',
                "(?i)unexpected end of statement while looking for matching double-quote",
            ),
            "closing-brace-in-default": r"${u:-a\}b}",
            "quotes-in-default": "${u:-'q r'}",
        },
    ),
    *table(
        "env",
        "1.5 ENV",
        "FROM full\n@@\n",
        {
            "several": "ENV a=1 b='two words' c=\"three more words\"",
            "legacy": "ENV key some value  with   spaces",
            "legacy-equals": "ENV A b=c d",
            "legacy-quotes": 'ENV q "a b" c',
            "legacy-expands": "ENV q $A-${B}",
            "one-snapshot": "ENV A=new B=$A C=$A",
            "later-instruction-sees": "ENV A=new\nENV C=$A",
            "replaces-in-place": "ENV PATH=/x:$PATH",
            "key-expands": "ENV x_$A=1",
            "empty": 'ENV e= f=""',
            "percent": "ENV a=%s%d%% b=100%",
            "same-key-twice": "ENV k=1 k=2",
            "equals-in-value": "ENV opts=-Dx=y",
            "continuation": "ENV a=1 \\\n    b=2 \\\n# a comment\n    c=3",
            "tabs": "ENV\ta=1\t \tb=2",
            "unicode": "ENV ü=ß",
            "quoted-newline": "ENV a='x\\\ny'",
            "child-stage": "ENV z=1\nFROM full AS other\nENV y=$z.",
            "mixed-forms": ("ENV a=1 b", r"can't find = in.*b"),
            "empty-key": ("ENV =x", "(?i)ENV names can not be blank|names can not be blank"),
            "name-only": ("ENV a", "ENV must have two arguments"),
            "nothing": ("ENV", "ENV requires at least one argument"),
        },
    ),
    *table(
        "arg",
        "1.5 ARG; test ideas 11-15, 18",
        "FROM full\n@@\nENV r=$x\n",
        {
            "default": "ARG x=1",
            "no-default": "ARG x",
            "build-arg": {"put": "ARG x", "flags": ["--build-arg", "x=flag"], **told("ARG x", "ARG x=flag")},
            "build-arg-beats-default": {
                "put": "ARG x=1",
                "flags": ["--build-arg", "x=flag"],
                **told("ARG x=1", "ARG x=flag"),
            },
            "build-arg-empty": {"put": "ARG x=1", "flags": ["--build-arg", "x="], **told("ARG x=1", "ARG x=")},
            "build-arg-from-environment": {
                "put": "ARG x=1",
                "flags": ["--build-arg", "x"],
                "env": {"x": "client"},
                **told("ARG x=1", "ARG x=client"),
            },
            "build-arg-from-environment-unset": {"put": "ARG x=1", "flags": ["--build-arg", "x"]},
            "build-arg-undeclared": {"put": "LABEL l=$x", "flags": ["--build-arg", "x=flag"]},
            "build-arg-last-wins": {
                "put": "ARG x",
                "flags": ["--build-arg", "x=1", "--build-arg", "x=2"],
                **told("ARG x", "ARG x=2"),
            },
            "several-on-a-line": {
                "put": "ARG a=1 x=$a b",
                "old": "later defaults of a line see earlier ones (test MultiArgs)",
                "expect": {
                    "config_changes": {"Env": ["PATH=/bin", "A=base", "B=two words", "r=1"]},
                    "history": ["ARG a=1 x=1 b  (empty)", "ENV r=1  (empty)"],
                },
            },
            "several-lines": "ARG a=1\nARG b=$a$a\nARG x=${b}!",
            "quoted-default": "ARG x=\"a b\" y='$A'",
            "default-expands-env": "ARG x=$A",
            "default-with-default": "ARG x=${A:-none}${nope:-dflt}",
            "again-without-default": "ARG x=1\nARG x",
            "again-with-default": "ARG x=1\nARG x=2",
            "not-before-its-line": "ENV q=$x\nARG x=1",
            "env-after-arg-wins": "ARG x=arg\nENV x=env",
            "arg-after-env-wins": "ENV x=env\nARG x=arg\nRUN echo $x >/tmp/x",
            "arg-without-default-after-env": "ENV x=env\nARG x",
            "build-arg-after-env": {
                "put": "ENV x=env\nARG x",
                "flags": ["--build-arg", "x=flag"],
                **told("ARG x", "ARG x=flag"),
            },
            "in-run": 'ARG x=1 y\nRUN echo "$x-${y-unset}" >/tmp/x; env | grep -c ^y= >>/tmp/x || true',
            "empty-default-is-set": "ARG x=\nRUN env | grep ^x= >/tmp/x",
            "env-shown-in-run-history": "ARG x=1 y=2\nENV x=env\nRUN true",
            "unset-in-run-history": "ARG x\nARG z=1\nRUN true",
            "order-of-run-history": {
                "put": "ARG b=1\nARG a=2\nARG b=3\nRUN true",
                **told("RUN |3 b=3 a=2 b=3 /bin/sh -ec true", "RUN |2 b=3 a=2 /bin/sh -ec true", RUN),
            },
            "values-with-spaces-in-history": "ARG x='a b'\nRUN true",
            "not-in-config": "ARG SECRET_THING=1",
            "question-mark": ("ARG x=${FOO:?'foo missing'}", "FOO: foo missing"),
            "empty-name": ("ARG =x", "(?i)ARG names can not be blank|names can not be blank"),
            "nothing": ("ARG", "ARG requires at least one argument"),
        },
    ),
    *table(
        "global",
        "1.5 ARG: before the first FROM; test ideas 11-13",
        "@@",
        {
            "in-from": "ARG img=base\nFROM $img\n",
            "in-from-with-build-arg": {"put": "ARG img=nothing\nFROM ${img}\n", "flags": ["--build-arg", "img=base"]},
            "part-of-name": "ARG tag=latest\nFROM base:${tag}\n",
            "later-sees-earlier": "ARG a=ba\nARG b=${a}se\nFROM $b\n",
            "several-on-a-line": "ARG a=ba b=${a}se\nFROM $b\n",
            "quoted": "ARG a=\"ba\"'se'\nFROM $a\n",
            "not-in-stage": "ARG a=1\nFROM base\nENV r=[$a]\n",
            "redeclared": {"put": "ARG a=1\nFROM base\nARG a\nENV r=[$a]\n", **told("ARG a", "ARG a=1")},
            "redeclared-with-default": "ARG a=1\nFROM base\nARG a=2\nENV r=[$a]\n",
            "redeclared-with-build-arg": {
                "put": "ARG a=1\nFROM base\nARG a=2\nENV r=[$a]\n",
                "flags": ["--build-arg", "a=3"],
                **told("ARG a=2", "ARG a=3"),
            },
            "default-in-from": "FROM ${img:-base}\n",
            "stage-arg-not-in-from": (
                "FROM base\nARG img=base\nFROM $img\n",
                r"(?i)base name \(\$img\) should not be blank",
            ),
            "env-not-in-from": ("FROM base\nENV img=base\nFROM $img\n", r"(?i)base name \(\$img\) should not be blank"),
            "blank-from": ("ARG img\nFROM $img\n", r"(?i)base name \(\$img\) should not be blank"),
            "question-mark": {
                "put": 'ARG FOO=${FOO:?"custom error"}\nFROM base\n',
                "error": "FOO: custom error",
                "old": "an error of a global default was not told (test GlobalArgErrors)",
            },
            "question-mark-with-build-arg": {
                "put": 'ARG FOO=${FOO:?"custom error"}\nFROM base\n',
                "flags": ["--build-arg", "FOO=x"],
            },
            "prefix-in-from": {
                "put": "ARG image=idlebase\nFROM ${image#idle}\n",
                "old": "the operator is of 2023",
                "no_oracle": True,
                "expect": {"config": {"Cmd": ["/bin/sh"], "Env": ["PATH=/bin"]}},
            },
            "inherited-by-child-stage": "FROM base AS one\nARG a=1\nFROM one\nENV r=[$a]\n",
            "not-inherited-by-other-stage": "FROM base AS one\nARG a=1\nFROM base\nENV r=[$a]\n",
            "child-stage-run-history": {
                "put": "FROM base AS one\nARG a=1\nFROM one\nRUN true\n",
                **told("RUN /bin/sh -c true", "RUN |1 a=1 /bin/sh -c true", RUN),
            },
            "env-before-from": ("ENV a=1\nFROM base\n", "(?i)no build stage in current context"),
        },
    ),
    *table(
        "predefined",
        "1.5 ARG: predefined; test ideas 16, 17",
        "FROM base\n@@",
        {
            "proxy-in-run": {
                "put": 'RUN echo "$HTTP_PROXY $http_proxy" >/out\n',
                "flags": ["--build-arg", "HTTP_PROXY=http://proxy.example:3128"],
            },
            "proxy-lower-case-flag": {
                "put": 'RUN echo "$NO_PROXY $no_proxy" >/out\n',
                "flags": ["--build-arg", "no_proxy=localhost"],
            },
            "proxy-not-in-expansion": {"put": "ENV r=[$HTTPS_PROXY]\n", "flags": ["--build-arg", "HTTPS_PROXY=p"]},
            "proxy-declared": {
                "put": "ARG FTP_PROXY\nRUN echo $FTP_PROXY >/out\nENV r=$FTP_PROXY\n",
                "flags": ["--build-arg", "FTP_PROXY=p"],
                **told("ARG FTP_PROXY", "ARG FTP_PROXY=p"),
            },
            "platform-needs-arg": "ENV r=[$TARGETOS]\n",
            "platform-target": {
                "put": "ARG TARGETPLATFORM\nENV r=$TARGETPLATFORM\n",
                **told("ARG TARGETPLATFORM", "ARG TARGETPLATFORM=linux/amd64"),
            },
            "platform-target-parts": {
                "put": "ARG TARGETOS TARGETARCH TARGETVARIANT\nENV r=$TARGETOS,$TARGETARCH,[$TARGETVARIANT]\n",
                **told("ARG TARGETOS TARGETARCH TARGETVARIANT", "ARG TARGETOS=linux TARGETARCH=amd64 TARGETVARIANT="),
            },
            "platform-build": {
                "put": "ARG BUILDPLATFORM BUILDOS BUILDARCH BUILDVARIANT\nENV r=$BUILDPLATFORM,$BUILDOS,$BUILDARCH,[$BUILDVARIANT]\n",
                **told(
                    "ARG BUILDPLATFORM BUILDOS BUILDARCH BUILDVARIANT",
                    "ARG BUILDPLATFORM=linux/amd64 BUILDOS=linux BUILDARCH=amd64 BUILDVARIANT=",
                ),
            },
            "platform-default-shadows": "ARG TARGETARCH=mine\nENV r=$TARGETARCH\n",
            "platform-build-arg": {
                "put": "ARG TARGETARCH\nENV r=$TARGETARCH\n",
                "flags": ["--build-arg", "TARGETARCH=other"],
                **told("ARG TARGETARCH", "ARG TARGETARCH=other"),
            },
            "platform-in-run": {
                "put": "ARG TARGETARCH\nRUN echo $TARGETARCH >/out\n",
                **told("ARG TARGETARCH", "ARG TARGETARCH=amd64"),
            },
            "platform-in-from": {"dockerfile": "FROM --platform=$BUILDPLATFORM base\nRUN true\n"},
            "target-stage": {
                "put": "ARG TARGETSTAGE\nENV r=[$TARGETSTAGE]\n",
                "old": "TARGETSTAGE is of 2023",
                "no_oracle": True,
                "expect": {
                    "config": {"Cmd": ["/bin/sh"], "Env": ["PATH=/bin", "r=[default]"]},
                    "history": ["ARG TARGETSTAGE=default  (empty)", "ENV r=[default]  (empty)"],
                },
            },
            "target-stage-named": {
                "dockerfile": "FROM base AS one\nARG TARGETSTAGE\nENV r=[$TARGETSTAGE]\nFROM base\n",
                "flags": ["--target", "one"],
                "old": "TARGETSTAGE is of 2023",
                "no_oracle": True,
                "expect": {
                    "config": {"Cmd": ["/bin/sh"], "Env": ["PATH=/bin", "r=[one]"]},
                    "history": ["ARG TARGETSTAGE=one  (empty)", "ENV r=[one]  (empty)"],
                },
            },
        },
    ),
    *table(
        "expands",
        "1.3 what expands",
        "FROM base\nARG a=arg\nENV e=env n=1000 d=/dir\n@@\n",
        {
            "copy-dest": "COPY a.txt ${d}/$e/",
            "copy-source": "ENV f=a\nCOPY ${f}.txt /x",
            "copy-chown": {
                "put": "COPY --chown=$n:${n} a.txt /x",
                **told("COPY a.txt /x", "COPY --chown=1000:1000 a.txt /x", RUN),
            },
            "copy-chown-arg": {
                "put": "ARG o=7:8\nCOPY --chown=$o a.txt /x",
                **told("COPY a.txt /x", "COPY --chown=7:8 a.txt /x", RUN),
            },
            "copy-json": 'COPY ["a.txt", "$d/x"]',
            "copy-space-in-value-is-one-word": "ENV s='with space.txt'\nCOPY $s /x",
            "copy-space-in-dest": "ENV s='/to there'\nCOPY a.txt $s",
            "add": "ENV f=b\nADD $f.txt $d/",
            "workdir": "WORKDIR $d/${e}",
            "workdir-relative": "WORKDIR $d\nWORKDIR $e",
            "user": "USER $n",
            "run-by-the-shell": "RUN echo $e ${a} >/out",
            "run-exec-not": 'RUN ["/bin/busybox","touch","/$e"]',
            "run-single-quotes": "RUN echo '$e' >/out",
            "label": "LABEL $e=$a",
            "stopsignal": "ENV s=9\nSTOPSIGNAL $s",
            "cmd-not": 'CMD ["$e"]\nENTRYPOINT x $e',
            "healthcheck-not": "HEALTHCHECK CMD $e",
            "onbuild-kept": "ONBUILD ENV x=$e",
            "maintainer-not": "MAINTAINER $e",
            "shell-not": 'SHELL ["$e"]',
        },
        context="tree",
    ),
]
