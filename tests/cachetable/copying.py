"""COPY of local files: what of a file, of the ignore rules and of the Dockerfile counts."""

from __future__ import annotations

import io
import os
import tarfile

from tests.cachetable.workspace import Case, Scenario, Workspace
from tests.support.unprivileged import give_away

SCENARIO = Scenario(
    name="copy",
    dockerfile="""# syntax of the day
FROM scratch
ARG WHERE=pair
LABEL note=one
COPY src /src
COPY one two /${WHERE}/
COPY *.conf /conf/
COPY --chown=7:8 --chmod=640 one /owned
COPY --exclude=*.tmp tree /filtered
COPY <<END /inline
hello
END
CMD ["/src/a"]
""",
    files={
        "src/a": "aaa\n",
        "src/b": "bbb\n",
        "src/sub/c": "ccc\n",
        "src/skipped.log": "log\n",
        "one": "1\n",
        "two": "2\n",
        "x.conf": "x\n",
        "y.conf": "y\n",
        "tree/kept": "k\n",
        "tree/left.tmp": "t\n",
        "outside": "o\n",
        ".dockerignore": "# what stays here\n*.log\n**/*.log\nignored\n",
        "ignored/file": "i\n",
    },
    prepare=lambda workspace: (
        workspace.path("src/empty").mkdir(),
        workspace.link("src/link", "a"),
        workspace.path("src/a").chmod(0o755),
        os.link(workspace.path("src/b"), workspace.path("src/twin")),
    ),
    tags=("/src", "/pair/", "/conf/", "/owned", "/filtered", "/inline"),
)


def _as_tar(workspace: Workspace) -> None:
    """As `tar` packs it; ignore rules are for directories."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.add(workspace.folder, ".", filter=lambda item: None if item.name.endswith(".log") else item)
    workspace.stdin, workspace.context = buffer.getvalue(), "-"


def _unlinked(workspace: Workspace) -> None:
    """The other name of a file becomes a file of its own."""
    workspace.remove("src/twin")
    workspace.write("src/twin", "bbb\n")


def _relinked(workspace: Workspace) -> None:
    workspace.write("src/same", "bbb\n")
    workspace.remove("src/same")


def _new_inode(workspace: Workspace, name: str) -> None:
    data = workspace.path(name).read_text()
    workspace.write(f"{name}.new", data, workspace.path(name).stat().st_mode & 0o7777)
    workspace.rename(f"{name}.new", name)


def _swap(workspace: Workspace, one: str, other: str) -> None:
    workspace.rename(one, "swap")
    workspace.rename(other, one)
    workspace.rename("swap", other)


def _same_time(workspace: Workspace) -> None:
    """Other bytes, as many, at the same time: what a stat cannot see."""
    times = workspace.path("src/b").stat()
    workspace.path("src/b").write_text("BBB\n")
    os.utime(workspace.path("src/b"), ns=(times.st_atime_ns, times.st_mtime_ns))


def _owned_by(workspace: Workspace, uid: int) -> None:
    give_away(workspace.folder, uid)


FILES_HIT = [
    Case(name="nothing changed", change=lambda s: None),
    Case(name="mtime of a file", change=lambda s: s.touch("src/b")),
    Case(name="mtime of a directory", change=lambda s: s.touch("src/sub")),
    Case(name="mtime of a link", change=lambda s: s.touch("src/link")),
    Case(name="mtime in the future", change=lambda s: s.touch("one", 4_000_000_000)),
    Case(name="mtime before 1970", change=lambda s: s.touch("two", -5)),
    Case(name="mtime of the context", change=lambda s: s.touch(".")),
    Case(name="same content written again", change=lambda s: s.write("src/b", "bbb\n")),
    Case(name="same content under a new inode", change=lambda s: _new_inode(s, "src/a")),
    Case(name="directory made anew", change=lambda s: (s.rename("src/sub", "old"), s.rename("old", "src/sub"))),
    Case(name="hardlink becomes a copy", change=_unlinked),
    Case(name="added and removed again", change=_relinked),
    Case(name="moved context", change=lambda s: s.move("elsewhere")),
    Case(name="context of another owner", change=lambda s: _owned_by(s, 12345)),
    Case(name="umask 077", change=lambda s: setattr(s, "umask", 0o077)),
    Case(name="context as a tar on stdin", change=_as_tar),
    Case(
        name="context through a link",
        change=lambda s: (s.path("../alias").symlink_to(s.folder), setattr(s, "context", f"{s.folder}/../alias")),
    ),
    Case(name="relative context", change=lambda s: (setattr(s, "cwd", s.folder), setattr(s, "context", "."))),
    Case(name="file no COPY names", change=lambda s: s.write("outside", "other\n")),
    Case(name="new file no COPY names", change=lambda s: s.write("another", "other\n")),
    Case(name="new directory no COPY names", change=lambda s: s.write("more/below", "other\n")),
    Case(name="mode of the context", change=lambda s: s.path(".").chmod(0o711)),
    Case(
        name="Dockerfile elsewhere",
        change=lambda s: (s.rename("Dockerfile", "../Other"), s.options("-f", "{folder}/../Other")),
    ),
    Case(
        name="Dockerfile of another name",
        change=lambda s: (s.rename("Dockerfile", "Build"), s.options("-f", "{folder}/Build")),
    ),
    Case(name="TZ, LANG and HOME", change=lambda s: s.env.update(TZ="Asia/Tokyo", LANG="tr_TR.UTF-8", LC_ALL="C")),
]
FILES_MISS = [
    Case(name="content", change=lambda s: s.write("src/b", "other\n"), runs="/src+"),
    Case(name="content of the same size", change=lambda s: s.write("src/b", "BBB\n"), runs="/src+"),
    Case(name="content of the same size and mtime", change=_same_time, runs="/src+"),
    Case(name="one byte more", change=lambda s: s.write("two", "2\n\n"), runs="/pair/+"),
    Case(name="emptied", change=lambda s: s.write("two", ""), runs="/pair/+"),
    Case(name="chmod +x", change=lambda s: s.path("src/b").chmod(0o755), runs="/src+"),
    Case(name="chmod 600", change=lambda s: s.path("two").chmod(0o600), runs="/pair/+"),
    Case(name="set-user-ID bit", change=lambda s: s.path("src/a").chmod(0o4755), runs="/src+"),
    Case(name="sticky directory", change=lambda s: s.path("src/sub").chmod(0o1777), runs="/src+"),
    Case(name="mode of a source directory", change=lambda s: s.path("src").chmod(0o700), runs="/src+"),
    Case(name="mode of an empty directory", change=lambda s: s.path("src/empty").chmod(0o700), runs="/src+"),
    Case(name="renamed", change=lambda s: s.rename("src/b", "src/d"), runs="/src+"),
    Case(name="renamed directory", change=lambda s: s.rename("src/sub", "src/bus"), runs="/src+"),
    Case(name="case of a name", change=lambda s: s.rename("src/b", "src/B"), runs="/src+"),
    Case(name="removed", change=lambda s: s.remove("src/b"), runs="/src+"),
    Case(name="added", change=lambda s: s.write("src/new", ""), runs="/src+"),
    Case(name="added in a subdirectory", change=lambda s: s.write("src/sub/new", "n\n"), runs="/src+"),
    Case(name="empty directory removed", change=lambda s: s.path("src/empty").rmdir(), runs="/src+"),
    Case(name="empty directory added", change=lambda s: s.path("src/void").mkdir(), runs="/src+"),
    Case(name="file becomes a directory", change=lambda s: (s.remove("src/b"), s.path("src/b").mkdir()), runs="/src+"),
    Case(
        name="file becomes a link to the same",
        change=lambda s: (s.write("src/z", "bbb\n"), s.link("src/b", "z")),
        runs="/src+",
    ),
    Case(name="target of a link", change=lambda s: s.link("src/link", "b"), runs="/src+"),
    Case(name="target of a link, by ./", change=lambda s: s.link("src/link", "./a"), runs="/src+"),
    Case(name="target of a link that is not there", change=lambda s: s.link("src/link", "nowhere"), runs="/src+"),
    Case(
        name="link becomes a file",
        change=lambda s: (s.remove("src/link"), s.write("src/link", "aaa\n", 0o755)),
        runs="/src+",
    ),
    Case(name="contents swapped", change=lambda s: _swap(s, "one", "two"), runs="/pair/+"),
    Case(name="moved down", change=lambda s: s.rename("src/b", "src/sub/b"), runs="/src+"),
    Case(name="composed and decomposed names", change=lambda s: s.write("src/e\u0301", "x"), runs="/src+"),
    Case(name="source of two steps", change=lambda s: s.write("one", "11\n"), runs="/pair/+"),
    Case(name="source of the last but one", change=lambda s: s.write("tree/kept", "K\n"), runs="/filtered+"),
]
GLOBS = [
    Case(name="content of a match", change=lambda s: s.write("y.conf", "z\n"), runs="/conf/+"),
    Case(name="new match", change=lambda s: s.write("z.conf", "z\n"), runs="/conf/+"),
    Case(name="match gone", change=lambda s: s.remove("y.conf"), runs="/conf/+"),
    Case(name="match renamed", change=lambda s: s.rename("y.conf", "w.conf"), runs="/conf/+"),
    Case(name="mode of a match", change=lambda s: s.path("x.conf").chmod(0o400), runs="/conf/+"),
    Case(name="no match", change=lambda s: s.write("z.config", "z\n")),
    Case(name="no match below", change=lambda s: s.write("deep/z.conf", "z\n")),
    Case(name="wildcard written otherwise", change=lambda s: s.edit("COPY *.conf", "COPY ?.conf"), runs="/conf/+"),
]
IGNORED = [
    Case(name="ignored file changed", change=lambda s: s.write("src/skipped.log", "other\n")),
    Case(name="ignored file added", change=lambda s: s.write("src/sub/more.log", "m\n")),
    Case(name="ignored file removed", change=lambda s: s.remove("src/skipped.log")),
    Case(name="ignored directory changed", change=lambda s: s.write("ignored/file", "other\n")),
    Case(
        name="comment in .dockerignore",
        change=lambda s: s.edit("# what stays here", "# other\n# words", ".dockerignore"),
    ),
    Case(
        name="pattern that hides nothing", change=lambda s: s.edit("ignored\n", "ignored\nnothing*\n", ".dockerignore")
    ),
    Case(name="patterns in another order", change=lambda s: s.write(".dockerignore", "ignored\n**/*.log\n*.log\n")),
    Case(name="pattern written otherwise", change=lambda s: s.write(".dockerignore", "/ignored/\n**/*.log")),
    Case(
        name="one file more hidden",
        change=lambda s: s.edit("ignored\n", "ignored\nsrc/b\n", ".dockerignore"),
        runs="/src+",
    ),
    Case(
        name="exception",
        change=lambda s: s.edit("ignored\n", "ignored\n!src/skipped.log\n", ".dockerignore"),
        runs="/src+",
    ),
    Case(name=".dockerignore removed", change=lambda s: s.remove(".dockerignore"), runs="/src+"),
    Case(
        name="ignore file of the Dockerfile",
        change=lambda s: s.write("Dockerfile.dockerignore", "**/*.log\nsrc/a\n"),
        runs="/src+",
    ),
    Case(
        name="the same in the Dockerfile's own",
        change=lambda s: s.write("Dockerfile.dockerignore", "**/*.log\nignored\n"),
    ),
    Case(name="excluded by --exclude", change=lambda s: s.write("tree/left.tmp", "other\n")),
    Case(name="another --exclude", change=lambda s: s.edit("--exclude=*.tmp", "--exclude=*.txt"), runs="/filtered+"),
    Case(name="no --exclude", change=lambda s: s.edit("COPY --exclude=*.tmp tree", "COPY tree"), runs="/filtered+"),
]
WORDS = [
    Case(name="comment", change=lambda s: s.edit("LABEL", "# a comment\nLABEL")),
    Case(name="blank lines", change=lambda s: s.edit("LABEL", "\n\n\nLABEL")),
    Case(name="continuation", change=lambda s: s.edit("COPY one two", "COPY one \\\n  # words\n  two")),
    Case(name="keyword in small letters", change=lambda s: s.edit("COPY src", "copy src")),
    Case(name="more space between words", change=lambda s: s.edit("COPY one two", "COPY   one \t two")),
    Case(
        name="CRLF",
        change=lambda s: s.path("Dockerfile").write_bytes(s.path("Dockerfile").read_bytes().replace(b"\n", b"\r\n")),
        runs="/inline",
    ),
    Case(name="JSON form", change=lambda s: s.edit("COPY src /src", 'COPY ["src", "/src"]')),
    Case(name="source with ./", change=lambda s: s.edit("COPY src /src", "COPY src /./src")),
    Case(
        name="variable of the same value",
        change=lambda s: (
            s.edit("ARG WHERE=pair\nLABEL", "ARG WHERE=pair W2=src\nLABEL")
            or s.edit("COPY src /src", "COPY ${W2} /${W2}")
        ),
    ),
    Case(name="stage gets a name", change=lambda s: s.edit("FROM scratch", "FROM scratch AS final")),
    Case(name="label", change=lambda s: s.edit("note=one", "note=two")),
    Case(name="label of the command line", change=lambda s: s.options("--label", "a=b")),
    Case(name="annotation", change=lambda s: s.options("--annotation", "a=b")),
    Case(name="tag", change=lambda s: s.options("-t", "other:name")),
    Case(name="CMD", change=lambda s: s.edit('CMD ["/src/a"]', "CMD other")),
    Case(
        name="ENTRYPOINT, EXPOSE, VOLUME, STOPSIGNAL",
        change=lambda s: s.edit("LABEL", 'ENTRYPOINT ["/x"]\nEXPOSE 80\nVOLUME /v\nSTOPSIGNAL 9\nLABEL'),
    ),
    Case(
        name="HEALTHCHECK, ONBUILD, MAINTAINER",
        change=lambda s: s.edit("LABEL", "HEALTHCHECK CMD true\nONBUILD RUN x\nMAINTAINER me\nLABEL"),
    ),
    Case(name="ENV that no COPY reads", change=lambda s: s.edit("LABEL", "ENV a=b\nLABEL")),
    Case(name="USER before COPY", change=lambda s: s.edit("LABEL", "USER 5:6\nLABEL")),
    Case(name="SHELL before COPY", change=lambda s: s.edit("LABEL", 'SHELL ["/bin/x"]\nLABEL')),
    Case(name="build argument nobody declares", change=lambda s: s.options("--build-arg", "NONE=1")),
    Case(name="build argument of the same value", change=lambda s: s.options("--build-arg", "WHERE=pair")),
    Case(name="ARG nobody uses", change=lambda s: s.edit("LABEL", "ARG NONE=1\nLABEL")),
    Case(name="another platform", change=lambda s: s.options("--platform", "linux/arm64")),
    Case(name="further step at the end", change=lambda s: s.add("COPY two /more"), runs="/more"),
    Case(name="last step gone", change=lambda s: s.edit("COPY <<END /inline\nhello\nEND\n", "")),
    Case(name="ARG in a destination", change=lambda s: s.options("--build-arg", "WHERE=else"), runs="/else/ /conf/+"),
    Case(name="destination", change=lambda s: s.edit("COPY src /src", "COPY src /dst"), runs="/dst /pair/+"),
    Case(name="--chown", change=lambda s: s.edit("--chown=7:8", "--chown=7:9"), runs="/owned+"),
    Case(name="--chown of the user only", change=lambda s: s.edit("--chown=7:8", "--chown=7"), runs="/owned+"),
    Case(name="--chmod", change=lambda s: s.edit("--chmod=640", "--chmod=600"), runs="/owned+"),
    Case(name="--chmod gone", change=lambda s: s.edit(" --chmod=640", ""), runs="/owned+"),
    Case(name="ADD in place of COPY", change=lambda s: s.edit("COPY src /src", "ADD src /src"), runs="/src+"),
    Case(name="--link", change=lambda s: s.edit("COPY src /src", "COPY --link src /src"), runs="/src+"),
    Case(name="--parents", change=lambda s: s.edit("COPY src /src", "COPY --parents src /src"), runs="/src+"),
    Case(name="heredoc content", change=lambda s: s.edit("hello\n", "bye\n"), runs="/inline"),
    Case(name="heredoc with a variable", change=lambda s: s.edit("hello\n", "${WHERE}\n"), runs="/inline"),
    Case(
        name="heredoc delimiter, which is a file name",
        change=lambda s: s.path("Dockerfile").write_text(
            s.path("Dockerfile").read_text().replace("<<END", "<<OF").replace("\nEND\n", "\nOF\n")
        ),
        runs="/inline",
    ),
    Case(name="step removed before others", change=lambda s: s.edit("COPY *.conf /conf/\n", ""), runs="/owned+"),
    Case(
        name="steps in another order",
        change=lambda s: (
            s.edit("COPY *.conf /conf/\n", ""),
            s.edit("COPY src /src\n", "COPY *.conf /conf/\nCOPY src /src\n"),
        ),
        runs="/conf/ /src /pair/ /owned+",
    ),
    Case(name="--no-cache", change=lambda s: s.options("--no-cache"), runs="/src+"),
    Case(name="SOURCE_DATE_EPOCH", change=lambda s: s.env.update(SOURCE_DATE_EPOCH="1000000000"), runs="/src+"),
    Case(name="--timestamp", change=lambda s: s.options("--timestamp", "1000000000"), runs="/src+"),
]
CASES = [*FILES_HIT, *FILES_MISS, *GLOBS, *IGNORED, *WORDS]
