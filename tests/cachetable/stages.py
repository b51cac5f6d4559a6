"""Several stages: what a stage does not read does not count, and one that comes out the same ends the work early."""

from __future__ import annotations

from tests.cachetable.workspace import Case, Scenario, Workspace

SCENARIO = Scenario(
    name="stages",
    dockerfile="""FROM {base} AS tools
RUN echo tool > /tool
FROM {base} AS deps
COPY deps /deps
RUN cat /deps > /installed
FROM deps AS build
COPY src /src
RUN grep -v '^#' /src > /app
FROM {base} AS test
COPY --from=build /app /tested
RUN cat /tested > /passed
FROM {base}
COPY --from=tools /tool /usr/tool
COPY --from=build /app /final
RUN cat /final > /packed
COPY --from=docs readme /readme
LABEL note=one
""",
    files={"deps": "d\n", "src": "# words\ncode\n", "docs/readme": "r\n", "docs/other": "o\n"},
    words=("--build-context", "docs={folder}/docs"),
    tags=("/tool", "/deps", "/installed", "/src", "/app", "/usr/tool", "/final", "/packed", "/readme"),
)
TOOLS = "FROM {base} AS tools\nRUN echo tool > /tool\n"
DEPS = "FROM {base} AS deps\nCOPY deps /deps\nRUN cat /deps > /installed\n"


def _reordered(workspace: Workspace) -> None:
    workspace.edit(TOOLS, "")
    workspace.edit(DEPS, DEPS + TOOLS)


STAGES = [
    Case(name="nothing changed", change=lambda s: None),
    Case(name="stages in another order", change=_reordered),
    Case(name="stage renamed", change=lambda s: (s.edit("AS tools", "AS kit"), s.edit("--from=tools", "--from=kit"))),
    Case(name="stage by number", change=lambda s: s.edit("--from=tools", "--from=0")),
    Case(
        name="stage added that nothing reads",
        change=lambda s: s.edit(TOOLS, "FROM {base} AS extra\nRUN echo x > /x\n" + TOOLS),
    ),
    Case(
        name="stage that nothing reads changed",
        change=lambda s: s.edit("cat /tested > /passed", "echo other > /passed"),
    ),
    Case(
        name="stage that nothing reads gone",
        change=lambda s: s.edit("FROM {base} AS test\nCOPY --from=build /app /tested\nRUN cat /tested > /passed\n", ""),
    ),
    Case(name="label in a stage", change=lambda s: s.edit("RUN echo tool > /tool", "LABEL x=y\nRUN echo tool > /tool")),
    Case(name="ENV at the end of a stage", change=lambda s: s.edit("echo tool > /tool", "echo tool > /tool\nENV x=y")),
    Case(
        name="ENV at the end of a stage others are built on",
        change=lambda s: s.edit("/installed\n", "/installed\nENV x=y\n"),
        runs="/app",
        forecast="/app /final /packed /readme",
    ),
    Case(
        name="stage made of a stage",
        change=lambda s: s.edit("FROM deps AS build", "FROM deps AS again\nFROM again AS build"),
    ),
    Case(
        name="two stages written as one",
        change=lambda s: s.edit("FROM deps AS build\n", "") or s.edit("AS deps", "AS build"),
    ),
    Case(name="--target", change=lambda s: s.options("--target", "build")),
    Case(
        name="--target of a stage that was not built",
        change=lambda s: s.options("--target", "test"),
        runs="/tested /passed",
    ),
    Case(name="label of the image", change=lambda s: s.edit("note=one", "note=two")),
    Case(
        name="source of the first stage only",
        change=lambda s: s.edit("echo tool", "echo other"),
        runs="/tool /usr/tool /final /packed /readme",
    ),
    Case(
        name="path of COPY --from",
        change=lambda s: s.edit("--from=build /app /final", "--from=build /src /final"),
        runs="/final+",
    ),
    Case(
        name="destination of COPY --from",
        change=lambda s: s.edit("/app /final\nRUN cat /final", "/app /end\nRUN cat /end"),
        runs="/end /packed /readme",
    ),
    Case(
        name="--chown of COPY --from",
        change=lambda s: s.edit("COPY --from=tools", "COPY --chown=5 --from=tools"),
        runs="/usr/tool+",
    ),
    Case(
        name="stage copied from becomes an image",
        change=lambda s: s.edit("--from=tools /tool", "--from={tool_image} /tool"),
        runs="",
        forecast="/usr/tool+",
    ),
    Case(
        name="--no-cache-filter of a stage",
        change=lambda s: s.options("--no-cache-filter", "tools"),
        runs="/tool",
        forecast="/tool /usr/tool+",
    ),
]
CUT_OFF = [
    Case(
        name="comment in a source",
        change=lambda s: s.edit("# words\n", "# other\n", "src"),
        runs="/src /app",
        forecast="/src /app /final+",
    ),
    Case(
        name="comments added",
        change=lambda s: s.edit("# words\n", "#\n#\n", "src"),
        runs="/src /app",
        forecast="/src /app /final+",
    ),
    Case(name="code in a source", change=lambda s: s.edit("code", "other", "src"), runs="/src /app /final+"),
    Case(
        name="dependencies",
        change=lambda s: s.write("deps", "e\n"),
        runs="/deps /installed /src /app",
        forecast="/deps /installed /src /app /final+",
    ),
    Case(
        name="command with the same result",
        change=lambda s: s.edit("RUN echo tool > /tool", "RUN  echo tool >/tool && true > /dev/null"),
        runs="/dev/null",
        forecast="/dev/null /usr/tool+",
    ),
    Case(
        name="command of the last stage",
        change=lambda s: s.edit("cat /final > /packed", "cat < /final > /packed"),
        runs="/packed /readme",
    ),
    Case(
        name="file of a stage that is not copied",
        change=lambda s: s.edit("echo tool > /tool", "echo tool > /tool; echo more > /more"),
        runs="/more",
        forecast="/more /usr/tool+",
    ),
    Case(
        name="step added at the end of a stage",
        change=lambda s: s.edit("echo tool > /tool\n", "echo tool > /tool\nRUN echo more > /more\n"),
        runs="/more",
        forecast="/more /usr/tool+",
    ),
    Case(
        name="base of a stage",
        change=lambda s: s.edit("FROM {base} AS tools", "FROM {grown} AS tools"),
        runs="/tool",
        forecast="/tool /usr/tool+",
    ),
    Case(
        name="base of the image",
        change=lambda s: s.edit("FROM {base}\nCOPY --from=tools", "FROM {grown}\nCOPY --from=tools"),
        runs="/usr/tool+",
    ),
]
CONTEXTS = [
    Case(name="file of a named context that is not copied", change=lambda s: s.write("docs/other", "p\n")),
    Case(name="file of a named context", change=lambda s: s.write("docs/readme", "p\n"), runs="/readme"),
    Case(name="mode in a named context", change=lambda s: s.path("docs/readme").chmod(0o600), runs="/readme"),
    Case(name="mtime in a named context", change=lambda s: s.touch("docs/readme")),
    Case(
        name="named context moved",
        change=lambda s: (
            s.rename("docs", "moved"),
            s.words.clear(),
            s.options("--build-context", "docs={folder}/moved"),
        ),
    ),
    Case(
        name="named context renamed",
        change=lambda s: (
            s.edit("--from=docs", "--from=texts"),
            s.words.clear(),
            s.options("--build-context", "texts={folder}/docs"),
        ),
    ),
    Case(name="ignore file of the context hides it", change=lambda s: s.write(".dockerignore", "docs\n")),
    Case(
        name="the same from the main context",
        change=lambda s: s.edit("--from=docs readme", "docs/readme"),
        runs="/readme",
    ),
    Case(
        name="named context in place of a stage",
        change=lambda s: (s.write("kit/tool", "other\n"), s.options("--build-context", "tools={folder}/kit")),
        runs="/usr/tool+",
    ),
]
LINKED = Scenario(
    name="link",
    dockerfile="""FROM {base}
COPY first /first
COPY --link second /second
COPY --link --chown=5:6 third /third
RUN cat /first /second > /both
""",
    files={"first": "1\n", "second": "2\n", "third": "3\n"},
    tags=("/first", "/second", "/third", "/both"),
)
LINKS = [
    Case(name="nothing changed", change=lambda s: None),
    Case(
        name="what is below",
        change=lambda s: s.write("first", "x\n"),
        runs="/first /both",
        forecast="/first /second /third /both",
    ),
    Case(
        name="step removed below",
        change=lambda s: s.edit("COPY first /first\n", "") or s.edit("cat /first ", "cat "),
        runs="/both",
        forecast="/both",
    ),
    Case(
        name="step added below",
        change=lambda s: s.edit("COPY first", "COPY third /zero\nCOPY first"),
        runs="/zero /first /both",
        forecast="/zero /first /second /third /both",
    ),
    Case(
        name="other base",
        change=lambda s: s.edit("FROM {base}", "FROM {grown}"),
        runs="/first /both",
        forecast="/first /second /third /both",
    ),
    Case(
        name="content", change=lambda s: s.write("second", "x\n"), runs="/second /both", forecast="/second /third /both"
    ),
    Case(name="--chown", change=lambda s: s.edit("--chown=5:6", "--chown=5:7"), runs="/third /both"),
    Case(
        name="in another order",
        change=lambda s: (
            s.edit("COPY --link second /second\n", ""),
            s.edit("third /third\n", "third /third\nCOPY --link second /second\n"),
        ),
        runs="/both",
    ),
    Case(
        name="--link gone",
        change=lambda s: s.edit("COPY --link second", "COPY second"),
        runs="/second /both",
        forecast="/second /third /both",
    ),
]
