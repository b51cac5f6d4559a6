"""RUN: what a command can see counts, and nothing else."""

from __future__ import annotations

from tests.cachetable.workspace import Case, Scenario, Workspace

SCENARIO = Scenario(
    name="run",
    dockerfile="""ARG BASE={base}
FROM ${BASE}
ARG VERSION=1
ENV MODE=plain EXTRA=one
WORKDIR /work
COPY data /data
RUN cat /data > /made
RUN --mount=type=bind,source=bound,target=/bound cat /bound/x > /bind
RUN --mount=type=secret,id=token --mount=type=cache,id=shelf,target=/shelf cat /data > /mounts
RUN --network=none <<END cat > /script
# words
text
END
COPY --chown=app:app data /named
ENV LAST=1
ARG LATE=1
LABEL note=one
CMD ["sh"]
""",
    files={"data": "1\n", "bound/x": "x\n", "other": "o\n", "secret": "hush\n"},
    words=("--secret", "id=token,src={folder}/secret"),
    tags=("/work", "/data", "/made", "/bind", "/mounts", "/script", "/named"),
)
ALL_RUNS = "/made+"


def _before_runs(workspace: Workspace, line: str) -> None:
    workspace.edit("RUN cat /data > /made", f"{line}\nRUN cat /data > /made")


VALUES = [
    Case(name="nothing changed", change=lambda s: None),
    Case(name="content copied before", change=lambda s: s.write("data", "2\n"), runs="/data+"),
    Case(name="command", change=lambda s: s.edit("cat /data > /made", "cat  /data > /made"), runs="/made+"),
    Case(
        name="exec form",
        change=lambda s: s.edit("RUN cat /data > /made", 'RUN ["sh", "-c", "cat /data > /made"]'),
        runs='/made"] /bind+',
    ),
    Case(
        name="comment inside a continued command",
        change=lambda s: s.edit("RUN cat /data > /made", "RUN \\\n# words\ncat /data > /made"),
    ),
    Case(name="value of ENV", change=lambda s: s.edit("MODE=plain", "MODE=rich"), runs=ALL_RUNS),
    Case(name="further ENV", change=lambda s: _before_runs(s, "ENV NEW=1"), runs=ALL_RUNS),
    Case(name="ENV gone", change=lambda s: s.edit(" EXTRA=one", ""), runs=ALL_RUNS),
    Case(name="name of ENV", change=lambda s: s.edit("EXTRA=one", "EXTRO=one"), runs=ALL_RUNS),
    Case(name="order of ENV", change=lambda s: s.edit("MODE=plain EXTRA=one", "EXTRA=one MODE=plain"), runs=ALL_RUNS),
    Case(
        name="ENV in two instructions",
        change=lambda s: s.edit("ENV MODE=plain EXTRA=one", "ENV MODE=plain\nENV EXTRA=one"),
    ),
    Case(
        name="ENV set twice to the same",
        change=lambda s: s.edit("ENV MODE=plain EXTRA=one", "ENV MODE=plain EXTRA=one\nENV MODE=plain"),
    ),
    Case(name="ENV after the last RUN", change=lambda s: s.edit("LAST=1", "LAST=2")),
    Case(name="default of an ARG", change=lambda s: s.edit("VERSION=1", "VERSION=2"), runs=ALL_RUNS),
    Case(name="build argument", change=lambda s: s.options("--build-arg", "VERSION=2"), runs=ALL_RUNS),
    Case(name="build argument like the default", change=lambda s: s.options("--build-arg", "VERSION=1")),
    Case(name="build argument declared later", change=lambda s: s.options("--build-arg", "LATE=2")),
    Case(name="build argument nobody declares", change=lambda s: s.options("--build-arg", "NONE=2")),
    Case(name="ARG without a default", change=lambda s: _before_runs(s, "ARG UNSET")),
    Case(
        name="ARG hidden by a later ENV",
        change=lambda s: (s.edit("ARG VERSION=1", "ARG VERSION=1\nARG MODE=other"), s.options("--build-arg", "MODE=x")),
    ),
    Case(name="proxy", change=lambda s: s.options("--build-arg", "HTTPS_PROXY=http://127.0.0.1:9")),
    Case(name="ARG before the first FROM", change=lambda s: s.edit("ARG BASE={base}", "ARG BASE={base}\nARG GLOBAL=1")),
    Case(name="SHELL", change=lambda s: _before_runs(s, 'SHELL ["/bin/sh", "-ec"]'), runs=ALL_RUNS),
    Case(name="USER", change=lambda s: _before_runs(s, "USER root"), runs=ALL_RUNS),
    Case(name="USER by number", change=lambda s: _before_runs(s, "USER 0"), runs=ALL_RUNS),
    Case(name="USER after the last RUN", change=lambda s: s.edit("ENV LAST=1", "USER app")),
    Case(name="WORKDIR", change=lambda s: s.edit("WORKDIR /work", "WORKDIR /place"), runs="/place /data+"),
    Case(name="WORKDIR written otherwise", change=lambda s: s.edit("WORKDIR /work", "WORKDIR /work/../work/")),
    Case(name="WORKDIR after the last RUN", change=lambda s: s.edit("ENV LAST=1", "WORKDIR /end"), runs="/end"),
    Case(
        name="LABEL, CMD, EXPOSE before RUN", change=lambda s: _before_runs(s, "LABEL a=b\nCMD x\nEXPOSE 1\nVOLUME /v")
    ),
    Case(
        name="STOPSIGNAL, HEALTHCHECK, ENTRYPOINT before RUN",
        change=lambda s: _before_runs(s, "STOPSIGNAL 9\nHEALTHCHECK NONE\nENTRYPOINT x"),
    ),
    Case(name="heredoc", change=lambda s: s.edit("text\nEND", "other\nEND"), runs="/script+"),
    Case(name="comment in a heredoc", change=lambda s: s.edit("# words\n", "# other\n"), runs="/script+"),
    Case(name="--chown by number", change=lambda s: s.edit("--chown=app:app", "--chown=1000:1001"), runs="/named"),
    Case(
        name="--chown of another group", change=lambda s: s.edit("--chown=app:app", "--chown=app:extra"), runs="/named"
    ),
    Case(name="SOURCE_DATE_EPOCH", change=lambda s: s.env.update(SOURCE_DATE_EPOCH="5"), runs="/work+"),
    Case(name="--no-cache", change=lambda s: s.options("--no-cache"), runs="/work+"),
]
SURROUNDINGS = [
    Case(name="--network of the command", change=lambda s: s.edit("--network=none", "--network=host"), runs="/script+"),
    Case(name="--network of the build", change=lambda s: s.options("--network", "none"), runs=ALL_RUNS),
    Case(name="--add-host", change=lambda s: s.options("--add-host", "db:10.0.0.1"), runs=ALL_RUNS),
    Case(name="--shm-size", change=lambda s: s.options("--shm-size", "70m"), runs=ALL_RUNS),
    Case(name="--ulimit", change=lambda s: s.options("--ulimit", "nofile=100:200"), runs=ALL_RUNS),
    Case(name="progress", change=lambda s: s.env.update(BUILDKIT_PROGRESS="rawjson")),
    Case(name="environment of the command", change=lambda s: s.env.update(MODE="rich", LATE="3")),
    Case(name="the user's groups", change=lambda s: s.env.update(USER="other", LOGNAME="other")),
]
MOUNTS = [
    Case(name="secret value", change=lambda s: s.write("secret", "other\n")),
    Case(
        name="secret from the environment",
        change=lambda s: (s.words.clear(), s.env.update(T="x"), s.options("--secret", "id=token,env=T")),
    ),
    Case(name="no secret", change=lambda s: s.words.clear()),
    Case(name="secret nobody mounts", change=lambda s: s.options("--secret", "id=other,src={folder}/secret")),
    Case(name="secret id", change=lambda s: s.edit("type=secret,id=token", "type=secret,id=other"), runs="/mounts+"),
    Case(name="secret target", change=lambda s: s.edit("id=token", "id=token,target=/t"), runs="/mounts+"),
    Case(name="secret mode", change=lambda s: s.edit("id=token", "id=token,mode=0444"), runs="/mounts+"),
    Case(name="secret as a variable", change=lambda s: s.edit("id=token", "id=token,env=T"), runs="/mounts+"),
    Case(name="cache mount id", change=lambda s: s.edit("id=shelf", "id=other"), runs="/mounts+"),
    Case(name="cache mount target", change=lambda s: s.edit("target=/shelf", "target=/shell"), runs="/mounts+"),
    Case(
        name="cache mount is read only", change=lambda s: s.edit("target=/shelf", "target=/shelf,ro"), runs="/mounts+"
    ),
    Case(
        name="options of a mount in another order",
        change=lambda s: s.edit("type=cache,id=shelf,target=/shelf", "target=/shelf,id=shelf,type=cache"),
    ),
    Case(name="target written as dst", change=lambda s: s.edit("target=/shelf", "dst=/shelf")),
    Case(
        name="cache mount gone",
        change=lambda s: s.edit("--mount=type=cache,id=shelf,target=/shelf ", ""),
        runs="/mounts+",
    ),
    Case(
        name="tmpfs mount",
        change=lambda s: s.edit("RUN cat /data", "RUN --mount=type=tmpfs,target=/t cat /data"),
        runs=ALL_RUNS,
    ),
    Case(
        name="size of a tmpfs",
        change=lambda s: s.edit(
            "--mount=type=cache,id=shelf,target=/shelf", "--mount=type=tmpfs,target=/shelf,size=1m"
        ),
        runs="/mounts+",
    ),
    Case(name="content of a bind mount", change=lambda s: s.write("bound/x", "y\n"), runs="/bind+"),
    Case(name="new file in a bind mount", change=lambda s: s.write("bound/y", "y\n"), runs="/bind+"),
    Case(name="mtime in a bind mount", change=lambda s: s.touch("bound/x")),
    Case(name="file beside a bind mount", change=lambda s: s.write("other", "y\n")),
    Case(
        name="target of a bind mount",
        change=lambda s: s.edit("target=/bound cat /bound/x", "target=/mnt cat /mnt/x"),
        runs="/bind+",
    ),
    Case(
        name="writable bind mount", change=lambda s: s.edit("target=/bound cat", "target=/bound,rw cat"), runs="/bind+"
    ),
    Case(
        name="whole context as a bind mount",
        change=lambda s: s.edit("source=bound,target=/bound cat /bound/x", "target=/bound cat /bound/bound/x"),
        runs="/bind+",
    ),
    Case(name="ssh mount", change=lambda s: s.edit("RUN cat /data", "RUN --mount=type=ssh cat /data"), runs=ALL_RUNS),
]
BASES = [
    Case(name="base by another tag", change=lambda s: s.options("--build-arg", "BASE={same}")),
    Case(name="base by digest", change=lambda s: s.options("--build-arg", "BASE={digest}")),
    Case(name="base with another label", change=lambda s: s.options("--build-arg", "BASE={labeled}")),
    Case(name="base packed otherwise", change=lambda s: s.options("--build-arg", "BASE={packed}")),
    Case(name="base with another layer", change=lambda s: s.options("--build-arg", "BASE={grown}"), runs="/work+"),
    Case(name="base with other ENV", change=lambda s: s.options("--build-arg", "BASE={other_env}"), runs=ALL_RUNS),
    Case(name="base with another USER", change=lambda s: s.options("--build-arg", "BASE={other_user}"), runs="/work+"),
    Case(
        name="base as a named context",
        change=lambda s: (
            s.edit("FROM ${BASE}", "FROM mine"),
            s.options("--build-context", "mine=docker-image://{same}"),
        ),
    ),
    Case(name="base tag moved, same layers", change=lambda s: s.options("--build-arg", "BASE={moved}")),
    Case(name="stage in between", change=lambda s: s.edit("FROM ${BASE}\n", "FROM ${BASE} AS below\nFROM below\n")),
    Case(name="platform named", change=lambda s: s.edit("FROM ${BASE}", "FROM --platform=$BUILDPLATFORM ${BASE}")),
    Case(name="predefined ARG declared", change=lambda s: _before_runs(s, "ARG TARGETARCH"), runs=ALL_RUNS),
]
CASES = [*VALUES, *SURROUNDINGS, *MOUNTS, *BASES]
