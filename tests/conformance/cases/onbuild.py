"""ONBUILD: kept as text, run after FROM in a child (reference 1.5 ONBUILD; test idea 45)."""

from __future__ import annotations

from tests.conformance.case import Case, table

CASES = [
    *table(
        "text",
        "1.5 ONBUILD: kept as it is written",
        "FROM base\n@@\n",
        {
            "run": "ONBUILD RUN echo  a   b",
            "several": "ONBUILD RUN a\nONBUILD COPY . /\nONBUILD ENV a=$b",
            "lower-case": "onbuild run x",
            "continued": "ONBUILD RUN a \\\n  b \\\n# comment\n  c",
            "json": 'ONBUILD CMD ["a", "b"]',
            "flags": "ONBUILD COPY --chown=1:2 --from=x a b",
            "adds-to-base": {"dockerfile": "FROM trigger-run AS x\nFROM base\nONBUILD RUN a\n"},
            "onbuild": ("ONBUILD ONBUILD RUN x", "(?i)chaining ONBUILD.*isn't allowed"),
            "from": ("ONBUILD FROM x", "(?i)FROM isn't allowed as an ONBUILD trigger"),
            "maintainer": ("ONBUILD MAINTAINER x", "(?i)MAINTAINER isn't allowed as an ONBUILD trigger"),
            "unknown": {
                "put": "ONBUILD NONSENSE x",
                "error": "(?i)unknown instruction.*NONSENSE",
                "stance": "told where it is written: BuildKit finds it in the child",
            },
            "nothing": ("ONBUILD", "(?i)ONBUILD requires"),
        },
    ),
    *table(
        "image",
        "1.5 ONBUILD: triggers of a base image",
        "FROM @@\n",
        {
            "run": "trigger-run",
            "cleared": "trigger-run\nENV after=1",
            "copy": "trigger-copy",
            "order": "trigger-many",
            "order-then-own": "trigger-many\nRUN cat /order >/tmp/copy; id -u >>/tmp/copy",
            "not-in-grandchild": "trigger-run AS one\nFROM one",
            "own-triggers-replace": "trigger-run\nONBUILD RUN mine",
            "json": "trigger-json",
            "arg-and-env": {"put": "trigger-arg", "flags": ["--build-arg", "V=flag"]},
            "bad": ("trigger-bad", "(?i)unknown instruction.*NONSENSE"),
            "copy-missing": {
                "put": "trigger-copy",
                "files": {"a.txt": False},
                "error": r"(?i)a\.txt.*not found",
            },
        },
        context="tree",
    ),
    *table(
        "stage",
        "1.5 ONBUILD: triggers of a stage (test OnBuildWithChildStage)",
        "FROM base AS parent\n@@\n",
        {
            "run": "ONBUILD RUN echo hit >/hit\nFROM parent\nENV a=1",
            "cleared": "ONBUILD RUN echo hit >/hit\nFROM parent AS child\nFROM child\nENV a=1",
            "copy-from-stage": "RUN echo p >/p\nONBUILD COPY --from=parent /p /copied\nFROM parent",
            "env": "ENV a=1\nONBUILD ENV b=$a\nFROM parent\nENV a=2",
            "arg": "ARG a=1\nONBUILD RUN echo $a >/a\nFROM parent",
            "workdir": "ONBUILD WORKDIR /w\nFROM parent\nRUN pwd >/p",
            "twice": (
                "ONBUILD RUN echo x >>/x\nFROM parent AS one\nRUN echo one >>/x\nFROM parent\nCOPY --from=one /x /y"
            ),
        },
    ),
    Case(
        name="copy-from-image-in-a-trigger",
        rule="test OnBuildNewDeps: a trigger may need what nothing else does",
        dockerfile="FROM trigger-from\nENV a=1\n",
    ),
]
