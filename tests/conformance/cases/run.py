"""RUN: command forms, environment, user, directory, what stays in the layer (reference 1.5 RUN; test ideas 2, 10, 46, 57, 58)."""

from __future__ import annotations

from typing import Any

from tests.conformance.case import Case, table

BASE = {"Cmd": ["/bin/sh"], "Env": ["PATH=/bin"]}


def out(command: str, text: str) -> dict[str, Any]:
    """What a RUN leaves that writes `text` to /out."""
    return {
        "config": BASE,
        "history": [f"RUN /bin/sh -c {command} # buildkit"],
        "tree": {"/out": f'file 0644 0:0 "{text}"'},
    }


def ids(path: str, owner: str, text: str) -> dict[str, Any]:
    """A row about `id`: the primary group is among the others too (tests User, UserAdditionalGids)."""
    changes = {path: f'file 0644 {owner} "{text}\\n"'}
    return {"old": "the primary group was not among the additional ones", "expect": {"tree_changes": changes}}


CASES = [
    *table(
        "form",
        "1.5 RUN: shell and exec form",
        "FROM base\nENV V=value\n@@\n",
        {
            "shell": "RUN echo $V >/out",
            "shell-spaces-kept": "RUN echo  'a   b'   c  >/out",
            "shell-quotes-kept": """RUN echo "it's" 'q"q' >/out""",
            "shell-and": "RUN cd /tmp && pwd >/out",
            "shell-backslash": r"RUN printf 'a\tb\\n' >/out",
            "exec": 'RUN ["/bin/sh", "-c", "echo $V >/out"]',
            "exec-without-slash": 'RUN ["sh", "-c", "echo $0 >/out"]',
            "exec-relative": 'WORKDIR /bin\nRUN ["./busybox", "touch", "/out"]',
            "ignores-entrypoint": 'ENTRYPOINT ["/bin/false"]\nCMD ["/bin/false"]\nRUN echo ran >/out',
            "fails": ("RUN exit 7", "(?i)exit code: 7"),
            "fails-in-pipe-start-not": "RUN false | true",
            "not-found": ("RUN invalidcmd", r"/bin/sh -c invalidcmd[\s\S]*exit code: 127"),
            "exec-not-found": ('RUN ["/no/such/program"]', "(?i)/no/such/program.*(no such file|not found|127)"),
            "exec-not-executable": ('RUN ["/etc/passwd"]', "(?i)permission denied|126"),
            "killed": {
                "put": "RUN kill -9 $$",
                "error": "(?i)exit code: 137",
                "stance": "process 1 is an init, so that the shell can be killed as anywhere else",
            },
            "broken-shell": ('SHELL ["/nope", "-c"]\nRUN true', "(?i)/nope.*(no such file|not found|127)"),
        },
    ),
    *table(
        "environment",
        "1.5 RUN: environment, user, directory; test ideas 46, 48",
        "FROM owned\n@@\n",
        {
            "all-of-it": "ENV B=2 A=1\nRUN env | grep -v -e ^HOSTNAME= -e ^PWD= -e ^SHLVL= | sort >/out",
            "home-of-root": "RUN echo $HOME >/out",
            "home-of-user": "USER alice\nRUN echo $HOME >/tmp/out",
            "home-of-number": "USER 1000\nRUN echo $HOME >/tmp/out",
            "home-of-unknown-number": "USER 4242\nRUN echo $HOME >/tmp/out",
            "home-set": "ENV HOME=/elsewhere\nUSER alice\nRUN echo $HOME >/tmp/out",
            "no-stdin": "RUN cat >/out",
            "no-terminal": "RUN tty >/out || true",
            "hostname": "RUN hostname >/out",
            "umask": "RUN umask >/out; touch /f; mkdir /d",
            "ids-root": {
                "put": "RUN id >/out",
                **ids("/out", "0:0", "uid=0(root) gid=0(root) groups=0(root)"),
            },
            "ids-name": {
                "put": "USER alice\nRUN id >/tmp/out",
                **ids(
                    "/tmp/out", "1000:1000", "uid=1000(alice) gid=1000(alice) groups=10(wheel),44(video),1000(alice)"
                ),
            },
            "ids-name-and-group": {
                "put": "USER alice:video\nRUN id >/tmp/out",
                **ids("/tmp/out", "1000:44", "uid=1000(alice) gid=44(video) groups=44(video)"),
            },
            "ids-number": {
                "put": "USER 33\nRUN id >/tmp/out",
                **ids("/tmp/out", "33:33", "uid=33(www) gid=33(www) groups=33(www),44(video)"),
            },
            "ids-unknown-number": {
                "put": "USER 4242\nRUN id >/tmp/out",
                **ids("/tmp/out", "4242:0", "uid=4242 gid=0(root) groups=0(root)"),
            },
            "ids-numbers": {
                "put": "USER 4242:4243\nRUN id >/tmp/out",
                **ids("/tmp/out", "4242:4243", "uid=4242 gid=4243 groups=4243"),
            },
            "ids-number-and-name": {
                "put": "USER 4242:video\nRUN id >/tmp/out",
                **ids("/tmp/out", "4242:44", "uid=4242 gid=44(video) groups=44(video)"),
            },
            "unknown-name": ("USER ghost\nRUN true", "(?i)ghost"),
            "unknown-group": ("USER alice:ghosts\nRUN true", "(?i)ghosts"),
            "user-may-not": ("USER alice\nRUN touch /etc/x", "(?i)exit code: 1"),
            "directory": "WORKDIR /a/b\nRUN pwd >/out",
            "directory-of-base": {"dockerfile": "FROM full\nUSER root\nRUN pwd >/out; stat -c '%a %u:%g' . >>/out\n"},
            "directory-owner": {"dockerfile": "FROM full\nRUN stat -c '%a %u:%g' . >/tmp/out\n"},
            "path-of-scratch-like": {"dockerfile": 'FROM bare\nRUN ["/bin/sh", "-c", "echo $PATH >/out"]\n'},
            "capabilities": "RUN grep ^Cap /proc/self/status >/out",
            "capabilities-of-user": "USER alice\nRUN grep -e ^CapPrm -e ^CapEff -e ^CapInh -e ^CapAmb /proc/self/status >/tmp/out",
            "descriptors": "RUN ls /proc/self/fd | wc -l >/out",
            "process-number": {
                "put": "RUN echo $$ >/out",
                "stance": "an init of ours is process 1: it reaps, and passes signals on",
                "expect": {"tree_changes": {"/out": 'file 0644 0:0 "2\\n"'}},
            },
            "devices": "RUN ls /dev | grep -v -e core -e console >/out",
        },
    ),
    Case(
        name="environment-build-user-number",
        rule="1.5 USER: a number that passwd knows has its groups",
        dockerfile="FROM base\nUSER 1000\nRUN id -G >/tmp/out\n",
    ),
    *table(
        "layer",
        "1.5 RUN: what is in the layer",
        "FROM owned\n@@\n",
        {
            "nothing": "RUN true",
            "created": "RUN echo a >/new && mkdir -p /d/e && ln -s a /l && ln /new /hard && mkfifo /fifo",
            "changed": "RUN echo more >>/existingdir/file",
            "mode-only": "RUN chmod 600 /etc/group",
            "owner-only": "RUN chown 5:6 /etc/group && chown -h 7:8 /existingdir/link",
            "time-only": "RUN touch -d '2001-02-03 00:00:00' /etc/group",
            "removed-file": "RUN rm /existingdir/file",
            "removed-directory": "RUN rm -r /existingdir",
            "removed-and-made-again": "RUN rm -r /existingdir && mkdir /existingdir && echo n >/existingdir/new",
            "directory-to-file": "RUN rm -r /existingdir && echo f >/existingdir",
            "file-to-directory": "RUN rm /existingdir/file && mkdir -p /existingdir/file/x",
            "file-to-link": "RUN rm /existingdir/file && ln -s nothing /existingdir/file",
            "renamed-file": "RUN mv /existingdir/file /existingdir/moved",
            "renamed-directory": "RUN mv /existingdir /moved",
            "made-and-removed": "RUN echo x >/x && rm /x",
            "in-two-steps": "RUN echo x >/x\nRUN rm /x",
            "setuid": "RUN cp /bin/busybox /su && chmod 4755 /su && rm /bin/busybox.none || true",
            "hard-link-to-base": "RUN ln /existingdir/file /linked",
            "sparse": "RUN dd if=/dev/zero of=/sparse bs=1 count=0 seek=100000 2>/dev/null",
            "device": {
                "put": "RUN mknod /null c 1 3",
                "error": "(?i)not permitted",
                "stance": "rootless: a user namespace makes no device nodes, as in rootless BuildKit",
            },
            "odd-names": "RUN touch '/a b' '/-dash' '/ü' '/quote\"'",
            "many": "RUN mkdir /m && for n in $(seq 300); do echo $n >/m/$n; done",
            "tmp-and-run": "RUN echo t >/tmp/t && echo r >/run/r && echo v >/var/run/v",
            "hosts-and-resolv": "RUN echo 1.2.3.4 x >>/etc/hosts || true",
            "dev-proc-sys-are-not": "RUN echo x >/dev/shm/x; touch /dev/new || true",
            "metadata-between": "RUN echo 1 >/1\nENV a=1\nLABEL b=2\nRUN echo $a >/2",
        },
    ),
    *table(
        "stubs",
        "1.5 RUN: mount points leave no trace (test MountStubsDirectory)",
        "FROM base AS b\nFROM scratch\nCOPY --from=b /bin /bin\n@@\n",
        {
            "none-left": {
                "put": "RUN echo x >/out",
                "old": "empty mount points stay",
                "expect": {
                    "tree_changes": dict.fromkeys(
                        f"/{path}" for path in ("dev", "etc", "etc/hosts", "etc/resolv.conf", "proc", "sys")
                    )
                },
            },
        },
    ),
    *table(
        "network",
        "1.5 RUN --network; test idea 57",
        "FROM base\nRUN --network=@@\n",
        {
            name: {
                "put": f"{network} {command}",
                "old": "--network is of 2021",
                "no_oracle": True,
                "expect": out(command, text),
            }
            for name, network, command, text in (
                ("none", "none", "ls /sys/class/net >/out", "lo\\n"),
                ("none-loopback-is-up", "none", "ping -c 1 127.0.0.1 >/dev/null && echo up >/out", "up\\n"),
                ("default", "default", "echo d >/out", "d\\n"),
                ("host", "host", "echo h >/out", "h\\n"),
            )
        },
    ),
    Case(
        name="network-unknown",
        rule="1.5 RUN --network",
        dockerfile="FROM base\nRUN --network=bridge true\n",
        error="(?i)(unsupported|unknown|invalid) network.*bridge",
        old="--network is of 2021",
        no_oracle=True,
    ),
]
