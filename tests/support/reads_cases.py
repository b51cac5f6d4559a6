"""What a RUN does with files, and whether it is found again by its reads when E, d/E and run-E hold something else.

K, d/K and run-K stay as they are. "either": nobody can say whether it comes to read.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

HIT, MISS, EITHER = "hit", "miss", "either"


class Case(NamedTuple):
    """One command, in the directory with the files."""

    command: str
    verdict: str
    user: str = ""


READS = (  # ways of tests/support/reads_program.c that use a name
    "open", "open-write", "open-append", "open-noatime", "open-nothing", "open-directory", "create-exclusive",
    "openat2", "openat2-beneath", "openat2-in-root", "openat", "path-descriptor", "reopen", "mmap", "execute",
    "execveat", "access", "faccessat2", "stat", "lstat", "statx", "statfs", "readlink", "getxattr", "listxattr",
    "truncate", "chmod", "same-mode", "chown", "utimes", "link", "linkat-descriptor", "rename", "rename-back",
    "rename-onto", "rename-refused", "exchange", "unlink", "read-and-unlink", "restore", "inotify", "handle",
    "sendfile", "copy_file_range", "splice", "readv", "thread", "vfork", "child", "orphan", "passed", "chroot",
    "chdir-back",
)  # fmt: skip
UNUSED = ("openat2-cached", "symlink", "list", "io_uring-open", "io_uring-stat")  # the last are refused by the profile
ALSO_KEPT = ("open", "mmap", "stat", "chmod", "rename-back", "unlink", "restore", "passed", "vfork", "orphan", "link")
PROGRAM = (
    *(Case(f"cp /bin/busybox spare; probe {way} E > out", MISS) for way in READS),
    *(Case(f"probe {way} E > out", HIT) for way in UNUSED),
    *(Case(f"cp /bin/busybox spare; probe {way} K > out", HIT) for way in ALSO_KEPT),
    Case("probe open-nothing K; probe left-behind E > /dev/null", EITHER),
)
SHELL = (
    # content, by whatever name
    Case("cat d/E > out", MISS), Case("cat link-E > out", MISS), Case("cat link-d/E > out", MISS),
    Case("cat chain > out", MISS), Case("cat ./d/../E > out", MISS), Case("cat //w//E > out", MISS),
    Case("cat /proc/self/cwd/E > out", MISS), Case("cat /proc/self/root/w/E > out", MISS),
    Case("cat link-K > out", HIT), Case("cat link-d/K > out", HIT), Case("cat /proc/self/cwd/K > out", HIT),
    Case("cat ./d/../K > out", HIT), Case("cat K d/K > out", HIT), Case("read -r line < E; echo $line > out", MISS),
    Case("exec 3< E; cat <&3 > out", MISS), Case("exec 3< E; cat /proc/self/fd/3 > out", MISS),
    Case("head -c 0 E", MISS), Case("dd if=E of=out bs=1 count=1", MISS), Case("md5sum E > out", MISS),
    Case("grep -r one . > /dev/null; true", MISS), Case("sort E K > out", MISS), Case("cmp E K; true", MISS),
    Case("cat E nowhere > out; true", MISS), Case("cat nowhere > out; true", HIT),
    Case("(sleep 0.1; cat E > out) & wait", MISS), Case("sh -c 'cat E > out'", MISS), Case("cat E | cat > out", MISS),
    Case("setsid sh -c 'sleep 0.1; cat E > out' & sleep 0.5", MISS), Case("env cat E > out", MISS),
    Case("cat E", MISS, "alice"), Case("cat K > /tmp/out", HIT, "alice"),
    # programs
    Case("./run-E > out", MISS), Case("sh run-E > out", MISS), Case(". ./run-E > out", MISS),
    Case("PATH=/w:$PATH run-E > out", MISS), Case("./run-K > out", HIT), Case("PATH=/w:$PATH run-K > out", HIT),
    Case("exec ./run-K > out", HIT), Case("xargs -n1 cat < K > out 2>&1; true", HIT),
    # what stat alone tells
    Case("test -e E", MISS), Case("test -s E && echo more > out", MISS), Case("test -x run-E", MISS),
    Case("test K -nt E; true", MISS), Case("test d/K -ot K; true", HIT), Case("stat -c %s E > out", MISS),
    Case("wc -c E > out", MISS), Case("ls -l E > /dev/null", MISS), Case("ls > /dev/null", MISS),
    Case("du . > /dev/null", MISS), Case("find . -type f > out", MISS), Case("find d -name K > out", MISS),
    Case("test -h link-E", HIT), Case("test -e link-E", MISS), Case("readlink link-E > out", HIT),
    Case("readlink -f link-K > out", HIT), Case("test -d d", HIT), Case("ls -d d > out", HIT),
    # names alone
    Case("echo * > /names; mv /names out", HIT), Case("echo d/* > out", HIT), Case("cd d; pwd > ../out", HIT),
    Case("for name in *; do echo $name; done > /names; mv /names out", HIT), Case("case * in E) ;; esac", HIT),
    # changes
    Case("echo more >> E", MISS), Case("echo other > E", MISS), Case("sed -i s/one/two/ E", MISS), Case("cp K E", MISS),
    Case("touch E", MISS), Case("chmod 600 E", MISS), Case("chown 1:1 E", MISS), Case("ln E hard", MISS),
    Case("ln -s E soft", HIT), Case("mv E moved", MISS), Case("mv d moved", MISS), Case("rm E", MISS),
    Case("rm -r d", MISS), Case("rm -rf d; mkdir d; echo new > d/K", MISS), Case("cat E > out; rm E", MISS),
    Case("cp -p E /tmp/E; rm E; cp -p /tmp/E E; rm /tmp/E", MISS), Case("mv E moved; mv moved E", MISS),
    Case("cp -a d copy", MISS), Case("cp E out", MISS), Case("tar cf /dev/null .", MISS),
    Case("tar c d | tar t > out", MISS),
    Case("chown -R 1 .", MISS), Case("cp K out", HIT), Case("mv K moved", HIT), Case("rm K d/K", HIT),
    Case("echo more >> K", HIT), Case("echo other > K", HIT), Case("ln K hard", HIT), Case("chmod 600 K run-K", HIT),
    Case("cp -p K /tmp/K; rm K; cp -p /tmp/K K; rm /tmp/K", HIT), Case("echo new > d/new", HIT),
    Case("mkdir -p new/one && echo 1 > new/one/file", HIT), Case("chmod 700 d", HIT), Case("chown 1 d", HIT),
    Case("mkdir d/new; rmdir d/new", HIT), Case("echo 1 > d/new; rm d/new", HIT), Case("touch d", HIT),
    Case("rmdir d 2> /dev/null; true", HIT), Case("mkdir d 2> /dev/null; true", HIT), Case("true", HIT),
    Case("mkfifo pipe; (echo x > pipe &); cat pipe > out", HIT), Case("ln -sf K link-E", MISS), Case("rm link-E", MISS),
    Case("echo x > link-K", HIT), Case("echo x > link-E", MISS), Case("mv link-d other", HIT),
    Case("mount -t tmpfs none d 2> /dev/null; true", HIT), Case("umask 077; echo x > out", HIT),
    Case("cat packed/first > out", MISS), Case("cat packed/second > out", MISS), Case("cat packed/other > out", HIT),
    Case("echo x >> packed/second", MISS), Case("rm packed/second", MISS), Case("rm packed/other", HIT),
)  # fmt: skip
CASES = (*PROGRAM, *SHELL)
assert len(set(CASES)) == len(CASES)


def dockerfile(cases: tuple[Case, ...]) -> str:
    """A stage for each case, named after its place, and an image of all their directories."""
    lines = []
    for number, case in enumerate(cases):
        lines += [f"FROM probed AS c{number}", "COPY w /w", "ADD packed.tar /w/packed", "WORKDIR /w"]
        lines += [f"USER {case.user}"] * bool(case.user)
        lines += ["RUN <<END", "PATH=/bin:/probe", case.command, "END"]
    copies = [f"COPY --from=c{number} /w /c{number}" for number in range(len(cases))]
    return "\n".join(itertools.chain(lines, ["FROM scratch"], copies)) + "\n"
