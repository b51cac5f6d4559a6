"""RUN --mount of every type (reference 1.5 RUN --mount; test ideas 52 to 56)."""

from __future__ import annotations

from tests.conformance.case import Case, table

CASES = [
    *table(
        "bind",
        "RUN --mount=type=bind; test idea 52",
        "FROM owned AS src\nRUN echo from-stage >/made\nFROM base\nWORKDIR /w\nRUN --mount=@@\n",
        {
            "context": "target=/m cat /m/a.txt /m/sub/one >/out",
            "type-named": "type=bind,target=/m cat /m/a.txt >/out",
            "source-directory": "source=sub,target=/m ls -R /m >/out",
            "source-file": "source=a.txt,target=/etc/a cat /etc/a >/out",
            "source-leading-slash": "source=/sub,target=/m cat /m/one >/out",
            "short-names": "src=sub,dst=/m cat /m/one >/out",
            "destination": "source=sub,destination=/m cat /m/one >/out",
            "relative-target": "source=sub,target=m cat /w/m/one >/out",
            "target-dot": "source=sub,target=. cat /w/one >/out",
            "read-only": "target=/m touch /m/new 2>/dev/null || echo refused >/out",
            "writable": "target=/m,rw echo changed >/m/a.txt && echo new >/m/new && cat /m/a.txt /m/new >/out",
            "writable-then-gone": "target=/m,readwrite echo x >/m/a.txt\nRUN --mount=target=/m cat /m/a.txt >/out",
            "from-stage": "from=src,target=/m cat /m/made >/out",
            "from-stage-source": "from=src,source=/made,target=/m cat /m >/out",
            "from-image": "from=full,target=/m cat /m/etc/group >/out",
            "writable-from-stage": "from=src,target=/m,rw echo more >>/m/made && cat /m/made >/out",
            "owners": "from=src,target=/m stat -c '%a %u:%g %n' /m/existingdir /m/existingdir/subdir >/out",
            "context-owners": "target=/m stat -c '%a %u:%g' /m/a.txt /m/run.sh /m/private /m/sub >/out",
            "over-existing": "source=sub,target=/etc ls /etc >/out; cat /etc/one >>/out",
            "two": "source=sub,target=/m --mount=source=dir1,target=/n cat /m/one /n/x >/out",
            "nested": "source=sub,target=/m --mount=source=dir1,target=/m/deep cat /m/one /m/deep/x >/out",
            "same-twice": "target=/m --mount=source=a.txt,target=/n cat /m/a.txt /n >/out",
            "stays-not": "target=/m true\nRUN ls -d /m >/out 2>&1 || echo gone >/out",
            "link-source": "source=link,target=/m cat /m >/out",
            "exec-form": 'target=/m ["/bin/cp", "/m/a.txt", "/out"]',
            "missing-source": ("source=nothing,target=/m true", "(?i)nothing.*not found"),
            "target-root": ("target=/ true", "(?i)(invalid mount target|cover) .*/"),
            "no-target": "source=sub cat one >/out",
            "no-target-in-root": {
                "dockerfile": "FROM base\nRUN --mount=source=sub true\n",
                "error": "(?i)target",
            },
            "unknown-stage": ("from=scr,target=/m true", "(?i)scr"),
            "from-later": {
                "dockerfile": (
                    "FROM base AS first\nRUN --mount=from=later,target=/m true\nFROM base AS later\nFROM first\n"
                ),
                "error": "(?i)later",
            },
            "mode-is-not-for-it": ("target=/m,mode=0700 true", '(?i)mode not allowed for "bind" type mounts'),
        },
        context="tree",
    ),
    *table(
        "access",
        "every spelling of ro and rw with every value; the last one counts",
        (
            "FROM base\nRUN --mount=target=/m,@@ (echo w >/m/new) 2>/dev/null && echo written >/out || echo refused "
            ">/out\n"
        ),
        {
            "readonly-false": "source=sub,readonly=false",
            "readonly-true": "source=sub,readonly=true",
            "readonly": "source=sub,readonly",
            "ro-0": "source=sub,ro=0",
            "ro-letter": "source=sub,ro=F",
            "capitals": "source=sub,ReadOnly=FALSE",
            "rw-false": "source=sub,rw=false",
            "rw-1": "source=sub,rw=1",
            "readwrite-false": "source=sub,readwrite=False",
            "readwrite-t": "source=sub,readwrite=t",
            "quoted-variable": {
                "dockerfile": (
                    "FROM base\nARG RO=false\nRUN --mount=source=sub,target=/m,ro=$RO touch /m/n && echo w >/out\n"
                )
            },
            "ro-then-rw": "source=sub,ro,rw",
            "rw-then-ro": "source=sub,rw,ro",
            "both-false": "source=sub,readonly=false,readwrite=false",
            "both-true": "source=sub,readonly=true,readwrite=true",
            "ro-twice": "source=sub,ro,ro=false",
            "target-twice": "source=sub,target=/m2,dst=/m,rw",
            "cache-readonly": "type=cache,id=access-1,readonly=true",
            "cache-rw-false": "type=cache,id=access-2,rw=false",
            "cache-ro-false": "type=cache,id=access-3,ro=false",
            "tmpfs-ro": "type=tmpfs,ro",
            "tmpfs-rw-false": "type=tmpfs,readwrite=false",
            "tmpfs-rw": "type=tmpfs,rw",
            "type-in-capitals": "type=BIND,source=sub,rw",
            "id-means-nothing": "source=sub,id=x,rw",
            "secret": {
                "dockerfile": "FROM base\nRUN --mount=type=secret,id=none,ro --mount=type=ssh,rw=false echo x >/out\n"
            },
            "empty": ("source=sub,ro=", "(?i)invalid value for .?ro"),
            "word": ("source=sub,readonly=no", "(?i)invalid value for .?(readonly|ro)"),
            "mixed-case": ("source=sub,rw=tRUE", "(?i)invalid value for .?rw"),
        },
        context="tree",
    ),
    Case(
        name="bind-ignored",
        rule="a bind of the context honours .dockerignore",
        dockerfile="FROM base\nRUN --mount=target=/m ls -A /m >/out\n",
        files={".dockerignore": "*.log\nDockerfile\n", "a.log": "1", "b": "2"},
    ),
    *table(
        "cache",
        "RUN --mount=type=cache; test idea 53",
        "FROM base AS src\nRUN mkdir /seed && echo seed >/seed/file\nFROM base\n@@\n",
        {
            "not-in-the-layer": "RUN --mount=type=cache,target=/c-not-in-the-layer echo x >/c-not-in-the-layer/x",
            "shared-by-steps": (
                "RUN --mount=type=cache,target=/c-shared-by-steps echo x >/c-shared-by-steps/x\n"
                "RUN --mount=type=cache,target=/c-shared-by-steps cat /c-shared-by-steps/x >/out"
            ),
            "by-id": (
                "RUN --mount=type=cache,id=i-by-id,target=/c echo x >/c/x\n"
                "RUN --mount=type=cache,id=i-by-id,target=/d cat /d/x >/out"
            ),
            "other-id": (
                "RUN --mount=type=cache,id=a-other-id,target=/c echo x >/c/x\n"
                "RUN --mount=type=cache,id=b-other-id,target=/c ls /c >/out"
            ),
            "mode-and-owner": (
                "RUN --mount=type=cache,id=o-mode-and-owner,target=/c,mode=0711,uid=5,gid=6 stat -c '%a %u:%g' /c >/out"
            ),
            "default-mode": "RUN --mount=type=cache,id=d-default-mode,target=/c stat -c '%a %u:%g' /c >/out",
            "user-writes": (
                "USER alice\nRUN --mount=type=cache,id=u-user-writes,target=/c,uid=1000 echo x >/c/x && cat /c/x "
                ">/tmp/out"
            ),
            "from": "RUN --mount=type=cache,id=f-from,from=src,source=/seed,target=/c cat /c/file >/out",
            "read-only": (
                "RUN --mount=type=cache,id=r-read-only,target=/c,ro touch /c/x 2>/dev/null || echo refused >/out"
            ),
            "locked": "RUN --mount=type=cache,id=l-locked,target=/c,sharing=locked echo ok >/out",
            "private": "RUN --mount=type=cache,id=p-private,target=/c,sharing=private echo ok >/out",
            "nested": (
                "RUN --mount=type=cache,id=n-nested,target=/c --mount=type=cache,id=m-nested,target=/c/d echo x "
                ">/c/d/x && ls -R /c >/out"
            ),
            "target-with-content": (
                "RUN mkdir /c && echo base >/c/f\nRUN --mount=type=cache,id=t-target-with-content,target=/c ls /c "
                ">/out; echo in >/c/f\nRUN cat /c/f >/out2"
            ),
            "no-target": ("RUN --mount=type=cache true", "(?i)target"),
            "unknown-sharing": (
                "RUN --mount=type=cache,target=/c,sharing=sharred true",
                r"(?i)unsupported sharing (mode|value) \"?sharred",
            ),
        },
    ),
    *table(
        "tmpfs",
        "RUN --mount=type=tmpfs; test idea 52",
        "FROM base\nRUN --mount=type=tmpfs,@@\n",
        {
            "not-in-the-layer": "target=/t echo x >/t/x && cat /t/x >/out",
            "is-tmpfs": "target=/t grep ' /t ' /proc/mounts | cut -d' ' -f3 >/out",
            "mode": "target=/t stat -c %a /t >/out",
            "no-target": ("size=1 true", "(?i)target"),
            "source": ("target=/t,source=x true", '(?i)source not allowed for "tmpfs"|not allowed'),
        },
    ),
    Case(
        name="tmpfs-size",
        rule="RUN --mount=type=tmpfs,size (test MountTmpfsSize)",
        dockerfile=(
            "FROM base\nRUN --mount=type=tmpfs,target=/t,size=128m df -k /t | tail -1 | awk '{print $2}' >/out\n"
        ),
    ),
    *table(
        "secret",
        "RUN --mount=type=secret; test idea 55",
        "FROM base\nRUN --mount=type=secret,@@\n",
        {
            "default-target": "id=s cat /run/secrets/s >/out",
            "target": "id=s,target=/x/y cat /x/y >/out",
            "relative-target": "id=s,target=y cat /y >/out",
            "mode-and-owner": "id=s stat -c '%a %u:%g' /run/secrets/s >/out",
            "given-mode-and-owner": "id=s,mode=0440,uid=5,gid=6 stat -c '%a %u:%g' /run/secrets/s >/out",
            "id-from-target": "target=/etc/s cat /etc/s >/out",
            "missing-optional": "id=none ls /run/secrets >/out 2>&1 || echo none >/out",
            "no-stub-left": "id=s true\nRUN ls -A /run >/out",
            "missing-required": ("id=none,required cat /run/secrets/none", "(?i)secret none.*not found|none.*required"),
            "missing-required-true": ("id=none,required=true true", "(?i)secret none.*not found|none.*required"),
            "nothing": ("required true", "(?i)secret|invalid"),
        },
        flags=("--secret", "id=s,src=secret-file"),
        beside={"secret-file": "hush\n"},
    ),
    *table(
        "secret-env",
        "RUN --mount=type=secret,env (2024); test idea 55",
        "FROM base\nRUN --mount=type=secret,@@\n",
        {
            "alone": "id=s,env=S echo $S >/out; ls /run/secrets >>/out 2>/dev/null || true",
            "and-target": "id=s,env=S,target=/t echo $S >/out; cat /t >>/out",
            "id-from-env": {
                "put": "env=s echo $s >/out",
                "old": "it asks for an id or a target",
                "expect": {
                    "config": {"Cmd": ["/bin/sh"], "Env": ["PATH=/bin"]},
                    "tree": {"/out": 'file 0644 0:0 "hush\\n"'},
                    "history": ["RUN /bin/sh -c echo $s >/out # buildkit"],
                },
            },
            "missing": "id=none,env=S echo [${S-unset}] >/out",
        },
        flags=("--secret", "id=s,src=secret-file"),
        beside={"secret-file": "hush\n"},
    ),
    Case(
        name="secret-from-environment",
        rule="--secret id=,env=",
        dockerfile="FROM base\nRUN --mount=type=secret,id=s cat /run/secrets/s >/out\n",
        flags=("--secret", "id=s,env=TOKEN"),
        env={"TOKEN": "from env"},
    ),
    *table(
        "ssh",
        "RUN --mount=type=ssh; test idea 56",
        "FROM base\nRUN --mount=type=ssh@@\n",
        {
            "missing-optional": {
                "put": " echo [$SSH_AUTH_SOCK] >/out",
                "stance": "the variable would name a socket that is not there",
                "expect": {"tree_changes": {"/out": 'file 0644 0:0 "[]\\n"'}},
            },
            "missing-required": (",required true", "(?i)ssh"),
        },
    ),
    *table(
        "variables",
        "RUN --mount: values expand (tests MountEnvVar, MountArg, MountMetaArg); test idea 54",
        "ARG META=meta\nFROM base\nARG A=sub\nENV T=/m S=locked\nRUN --mount=@@\n",
        {
            "target": "source=sub,target=$T cat /m/one >/out",
            "source": "source=$A,target=/m cat /m/one >/out",
            "both": "source=${A},target=${T}/n cat /m/n/one >/out",
            "cache-id": "type=cache,id=v$A,target=$T,sharing=$S echo ok >/out",
            "type": {
                "put": "type=$K,target=/m echo ok >/out",
                "dockerfile": "FROM base\nENV K=tmpfs\nRUN --mount=@@\n",
            },
        },
        context="tree",
    ),
    *table(
        "wrong",
        "RUN --mount: errors (tests MountInvalid, MountFromError); 1.7",
        "FROM base\nRUN --mont=@@\n",
        {
            "flag": ("target=/m true", r"(?i)unknown flag.*mont"),
            "key": {
                "dockerfile": "FROM base\nRUN --mount=typ=bind,target=/m true\n",
                "error": r"(?i)unexpected key 'typ'",
            },
            "type": {
                "dockerfile": "FROM base\nRUN --mount=type=bnd,target=/m true\n",
                "error": r'(?i)unsupported mount type "bnd"',
            },
            "no-value": {
                "dockerfile": "FROM base\nRUN --mount=target true\n",
                "error": r"(?i)invalid field 'target' must be a key=value pair",
            },
            "secret-from": {
                "dockerfile": "FROM base\nRUN --mount=type=secret,id=s,from=x true\n",
                "error": r"(?i)secret mount should not have a from",
            },
            "secret-sharing": {
                "dockerfile": "FROM base\nRUN --mount=type=secret,id=s,sharing=locked true\n",
                "error": r"(?i)secret mount should not define sharing|sharing not allowed",
            },
            "ssh-source": {
                "dockerfile": "FROM base\nRUN --mount=type=ssh,source=x true\n",
                "error": r"(?i)ssh (mount )?does not support source",
            },
            "secret-id-and-source": {
                "dockerfile": "FROM base\nRUN --mount=type=secret,id=s,source=t true\n",
                "error": r"both source and id can't be set",
            },
            "bad-switch": {
                "dockerfile": "FROM base\nRUN --mount=target=/m,rw=perhaps true\n",
                "error": r"(?i)invalid.*rw.*perhaps|perhaps",
            },
            "bad-mode": {
                "dockerfile": "FROM base\nRUN --mount=type=cache,target=/m,mode=rwx true\n",
                "error": r"(?i)invalid.*mode.*rwx|rwx",
            },
            "bad-uid": {
                "dockerfile": "FROM base\nRUN --mount=type=cache,target=/m,uid=me true\n",
                "error": r"(?i)invalid.*uid.*me|uid",
            },
        },
    ),
]
