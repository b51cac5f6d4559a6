"""CMD, ENTRYPOINT, SHELL, EXPOSE, VOLUME, USER, STOPSIGNAL, HEALTHCHECK, LABEL, MAINTAINER: configuration, history."""

from __future__ import annotations

from tests.conformance.case import Case, table

CASES = [
    *table(
        "command",
        "1.5 CMD, ENTRYPOINT; test idea 46",
        "FROM full\n@@\n",
        {
            "cmd-shell-uses-base-shell": "CMD echo hi",
            "cmd-exec": 'CMD ["echo","hi there"]',
            "cmd-empty-json-clears": "CMD []",
            "cmd-last-wins": 'CMD a\nCMD ["b"]',
            "cmd-single-quoted-json-is-shell": "CMD ['a','b']",
            "cmd-text-after-json-is-shell": 'CMD ["a"] b',
            "cmd-keeps-variables": 'CMD ["$A","${A}"]\nENTRYPOINT $A',
            "cmd-json-escapes": r'CMD ["tab\t|","q\"q","u\u00e9","back\\slash"]',
            "cmd-spaces-in-shell-form": "CMD   a   b  ",
            "cmd-empty": "CMD",
            "cmd-number-in-json": ('CMD ["a", 1]', r"comprised of strings"),
            "cmd-nested-json": ('CMD ["a", ["b"]]', r"comprised of strings"),
            "cmd-null-in-json": ('CMD ["a", null]', r"comprised of strings"),
            "cmd-json-object-is-shell": 'CMD {"a":"b"}',
            "cmd-trailing-comma-is-shell": 'CMD ["a",]',
            "cmd-json-with-spaces": 'CMD [ "a" , "b" ]',
            "entrypoint-clears-inherited-cmd": 'ENTRYPOINT ["e"]',
            "entrypoint-keeps-own-cmd-before": 'CMD ["c"]\nENTRYPOINT ["e"]',
            "entrypoint-keeps-own-cmd-after": 'ENTRYPOINT ["e"]\nCMD ["c"]',
            "entrypoint-shell": "ENTRYPOINT my entrypoint",
            "entrypoint-empty-json-clears": "ENTRYPOINT []",
            "entrypoint-empty": "ENTRYPOINT",
            "both-shell": "ENTRYPOINT e\nCMD c",
            "entrypoint-twice-keeps-cmd-between": 'ENTRYPOINT ["a"]\nCMD ["c"]\nENTRYPOINT ["b"]',
        },
    ),
    *table(
        "shell",
        "1.5 SHELL; test idea 46",
        "FROM base\n@@\n",
        {
            "for-entrypoint": 'SHELL ["ls"]\nENTRYPOINT my entrypoint',
            "for-cmd": 'SHELL ["/bin/sh","-e","-c"]\nCMD false; true',
            "two-shells": 'SHELL ["a","-1"]\nCMD x\nSHELL ["b","-2"]\nENTRYPOINT y',
            "not-for-healthcheck": 'SHELL ["a","-1"]\nHEALTHCHECK CMD x',
            "not-json": ("SHELL /bin/sh -c", r"SHELL requires the arguments to be in JSON form"),
            "empty": ("SHELL", r"SHELL requires"),
            "empty-json": ("SHELL []", r"SHELL requires"),
            "no-expansion": 'ENV A=x\nSHELL ["$A","-c"]',
            "words-with-spaces": 'SHELL ["a b","c"]\nCMD x',
            "runs": 'SHELL ["/bin/busybox","sh","-c"]\nRUN echo $0 >/out',
        },
    ),
    *table(
        "expose",
        "1.5 EXPOSE; test idea 48",
        'FROM base\nENV PORT=80 PORTS="8080 9090/udp" PROTO=udp\n@@\n',
        {
            "tcp-default": "EXPOSE 80",
            "protocols": "EXPOSE 80/tcp 80/udp 80/sctp",
            "protocol-case": "EXPOSE 80/UDP",
            "range": "EXPOSE 8000-8003",
            "range-udp": "EXPOSE 8000-8001/udp",
            "one-port-range": "EXPOSE 8000-8000",
            "range-across-digits": "EXPOSE 98-101",
            "arguments-sorted": "EXPOSE 9 80 10",
            "variable": "EXPOSE $PORT",
            "variable-with-several": "EXPOSE $PORTS",
            "variable-in-protocol": "EXPOSE 1/$PROTO ${PORT}-82/tcp",
            "same-twice": "EXPOSE 80 80/tcp",
            "zero": "EXPOSE 0",
            "highest": "EXPOSE 65535",
            "host-port": "EXPOSE 8080:80",
            "host-address": "EXPOSE 127.0.0.1:8080:80/udp",
            "quoted": 'EXPOSE "80" 81',
            "too-high": ("EXPOSE 65536", r"invalid.*65536"),
            "backwards": ("EXPOSE 90-80", r"invalid.*90-80"),
            "word": ("EXPOSE http", r"invalid.*http"),
            "unknown-protocol": ("EXPOSE 80/icmp", r"invalid.*(icmp)"),
            "negative": ("EXPOSE -1", r"invalid.*-1"),
            "nothing": ("EXPOSE", r"EXPOSE requires at least one argument"),
            "empty-variable": "EXPOSE $NOTHING",
        },
    ),
    Case(
        name="expose-adds-to-base",
        rule="1.5 EXPOSE",
        dockerfile="FROM full\nEXPOSE 443\n",
    ),
    *table(
        "volume",
        "1.5 VOLUME",
        "FROM base\nENV V=/from/env W='/a b'\n@@\n",
        {
            "words": "VOLUME /b /a",
            "json": 'VOLUME ["/with space","/b"]',
            "variable": "VOLUME $V ${V}/x",
            "variable-with-space": "VOLUME $W",
            "variable-in-json": 'VOLUME ["$V"]',
            "relative-as-written": "WORKDIR /w\nVOLUME data ./x /a/../b /c/",
            "twice": "VOLUME /a\nVOLUME /a /b",
            "changes-after-are-kept": "RUN mkdir /v\nVOLUME /v\nRUN echo kept >/v/file",
            "empty-string": ('VOLUME [""]', r"VOLUME specified can not be an empty string"),
            "empty-variable": ("VOLUME $NONE", r"VOLUME specified can not be an empty string"),
            "nothing": ("VOLUME", r"VOLUME requires at least one argument"),
            "empty-array": ("VOLUME []", r"VOLUME requires at least one argument"),
        },
    ),
    Case(
        name="volume-adds-to-base",
        rule="1.5 VOLUME",
        dockerfile="FROM full\nVOLUME /more\n",
    ),
    *table(
        "user",
        "1.5 USER",
        "FROM base\nENV U=alice G=wheel E=\n@@\n",
        {
            "name": "USER alice",
            "unknown-name-is-not-looked-up": "USER nobody-knows",
            "numbers": "USER 1234:4321",
            "variables": "USER $U:${G}",
            "last-wins": "USER alice\nUSER root",
            "spaces-are-part-of-it": "USER a b",
            "nothing": ("USER", r"USER requires exactly one argument"),
        },
    ),
    *table(
        "stopsignal",
        "1.5 STOPSIGNAL; test idea 51",
        "FROM base\nENV S=SIGUSR1\n@@\n",
        {
            "name": "STOPSIGNAL SIGTERM",
            "short": "STOPSIGNAL KILL",
            "lower-case": "STOPSIGNAL sigint",
            "number": "STOPSIGNAL 15",
            "realtime": "STOPSIGNAL SIGRTMIN+3",
            "realtime-from-the-top": "STOPSIGNAL RTMAX-2",
            "variable": "STOPSIGNAL $S",
            "unknown": ("STOPSIGNAL SIGNOPE", r"(?i)invalid signal.*SIGNOPE"),
            "zero": ("STOPSIGNAL 0", r"(?i)invalid signal.*0"),
            "negative": {
                "put": "STOPSIGNAL -1",
                "error": r"(?i)invalid signal.*-1",
                "stance": "a number is a signal's number: BuildKit takes any but 0",
            },
            "nothing": ("STOPSIGNAL", r"STOPSIGNAL requires exactly one argument"),
        },
    ),
    *table(
        "healthcheck",
        "1.5 HEALTHCHECK; test idea 51",
        "FROM full\n@@\n",
        {
            "none": "HEALTHCHECK NONE",
            "shell": "HEALTHCHECK CMD curl -f http://localhost/ || exit 1",
            "exec": 'HEALTHCHECK CMD ["a","b c"]',
            "lower-case": "HEALTHCHECK cmd true",
            "none-lower-case": "HEALTHCHECK none",
            "all-options": "HEALTHCHECK --interval=5m --timeout=3s --start-period=1m30s --retries=4 CMD true",
            "durations": "HEALTHCHECK --interval=1.5s --timeout=100ms --start-period=2h45m CMD true",
            "zero-inherits": "HEALTHCHECK --interval=0 --timeout=0s --retries=0 CMD true",
            "start-interval": "HEALTHCHECK --start-interval=7s --interval=1s CMD true",
            "last-wins": "HEALTHCHECK CMD a\nHEALTHCHECK CMD b",
            "variables-are-kept": "HEALTHCHECK CMD test $A",
            "one-millisecond": "HEALTHCHECK --interval=1ms CMD true",
            "too-short": ("HEALTHCHECK --interval=999us CMD true", r"--?interval"),
            "negative": ("HEALTHCHECK --timeout=-1s CMD true", r"timeout"),
            "no-unit": ("HEALTHCHECK --timeout=5 CMD true", r"(?i)unit.*5|5.*unit"),
            "bad-duration": ("HEALTHCHECK --timeout=soon CMD true", r"(?i)invalid duration.*soon"),
            "bad-retries": ("HEALTHCHECK --retries=x CMD true", r"(?i)retries.*x|x.*retries|parsing.*x"),
            "negative-retries": ("HEALTHCHECK --retries=-1 CMD true", r"retries"),
            "unknown-option": ("HEALTHCHECK --period=1s CMD true", r"(?i)unknown flag.*period"),
            "no-command": ("HEALTHCHECK --interval=5s CMD", r"(?i)missing command after HEALTHCHECK CMD"),
            "unknown-type": ("HEALTHCHECK RUN x", r"(?i)unknown type.*RUN.*HEALTHCHECK"),
            "none-with-arguments": ("HEALTHCHECK NONE x", r"HEALTHCHECK NONE takes no arguments"),
            "nothing": ("HEALTHCHECK", r"HEALTHCHECK requires at least one argument"),
        },
    ),
    *table(
        "label",
        "1.5 LABEL; test idea 48",
        "FROM full\n@@\n",
        {
            "several": "LABEL a=1 b='two words' c=\"three words\"",
            "overrides-base": "LABEL l=own",
            "last-wins": "LABEL a=1\nLABEL a=2 b=3",
            "same-key-in-one-line": "LABEL a=1 a=2",
            "variables-in-both": "LABEL x.$A=$B",
            "legacy-form": "LABEL maintainer  Some   Body <a@b.c>",
            "quoted-key": 'LABEL "a b"="c d"',
            "escapes": r'LABEL a=x\ y b="q\"q" c=\$A',
            "continuation": "LABEL a=1 \\\n  b=2 \\\n  c='3 \\\n 4'",
            "empty-value": 'LABEL a= b=""',
            "equals-in-value": "LABEL a=b=c",
            "unicode": "LABEL naïve=日本語",
            "percent": "LABEL a=100%s%d",
            "no-equals": ("LABEL a=1 b", r"can't find = in.*b"),
            "name-only": ("LABEL a", r"LABEL must have two arguments"),
            "nothing": ("LABEL", r"LABEL requires at least one argument"),
            "flag": {"put": "LABEL a=1", "flags": ["--label", "a=flag", "--label", "b=2", "--label", "c"]},
        },
    ),
    Case(
        name="label-flag-is-for-the-target-only",
        rule="3.3 --label",
        dockerfile="FROM base AS one\nLABEL a=1\nFROM one\nLABEL b=2\n",
        flags=("--label", "c=3"),
    ),
    *table(
        "maintainer",
        "1.5 MAINTAINER",
        "FROM full\n@@\n",
        {
            "text": "MAINTAINER Some Body <some@body.example>",
            "no-expansion": "MAINTAINER $A",
            "nothing": ("MAINTAINER", r"MAINTAINER requires exactly one argument"),
        },
    ),
    Case(
        name="inherit-everything",
        rule="1.5 FROM: configuration of the base is inherited",
        dockerfile="FROM full\n",
    ),
    Case(
        name="order-of-history",
        rule="2.1",
        context="tree",
        dockerfile="""\
FROM full
ARG x=1 y
ENV e=$x
LABEL l=$e
RUN true
COPY a.txt /
ADD b.txt /
WORKDIR w
WORKDIR /
CMD c
EXPOSE 1
VOLUME /v
USER root
STOPSIGNAL TERM
SHELL ["/bin/sh","-c"]
ENTRYPOINT ["e"]
MAINTAINER m
ONBUILD RUN true
""",
    ),
]
