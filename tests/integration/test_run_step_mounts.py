"""RUN --mount: what each kind shows, and that nothing of it stays in the layer."""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.conftest import Run
from tests.integration.test_build import listing

pytestmark = pytest.mark.userns
Make = Callable[..., Path]


def changed(tiffin: Run, base: str, *words: str | Path) -> set[str]:
    """The paths a build has beyond its base."""
    archive = Path(str(words[-1])).parent / "base.tar"
    base_context = archive.parent / "base-context"
    base_context.mkdir(exist_ok=True)
    (base_context / "Dockerfile").write_text(f"FROM {base}\n")
    tiffin("build", "-q", "-o", f"type=tar,dest={archive}", base_context)
    with tarfile.open(archive) as tar:
        before = set(tar.getnames())
    return set(listing(tiffin, *words)) - before


def output_of(tiffin: Run, *words: str | Path) -> str:
    return tiffin("build", "--no-cache", "--progress", "plain", *words).stderr


def test_bind_shows_the_context_read_only(tiffin: Run, base: str, context: Make) -> None:
    folder = context(
        f"FROM {base}\nRUN --mount=type=bind,target=/src,source=sub cat /src/a && ! touch /src/b && test ! -e "
        "/src/secret\n"
        "RUN --mount=source=sub/a,target=/one.txt cat /one.txt\n",
        **{"sub/a": "content of a\n", "sub/secret": "no", ".dockerignore": "sub/secret"},
    )
    assert output_of(tiffin, folder).count("content of a") == 2
    assert changed(tiffin, base, folder) == set()


@pytest.mark.attack("T17")
def test_writes_to_a_bind_are_thrown_away(tiffin: Run, base: str, context: Make) -> None:
    folder = context(
        f"FROM {base}\nRUN --mount=target=/src,rw echo changed > /src/a && rm /src/b && ls /src > /list\n"
        "RUN --mount=source=a,target=/f,rw echo other > /f && cat /f\n",
        a="1",
        b="2",
    )
    assert "other" in output_of(tiffin, folder)
    assert (folder / "a").read_text() == "1" and (folder / "b").exists()
    assert changed(tiffin, base, folder) == {"list"}


def test_bind_of_a_context_without_ignored_files_is_not_copied(tiffin: Run, base: str, context: Make) -> None:
    folder = context(f"FROM {base}\nRUN --mount=target=/src stat -c %i /src/a\n", a="1")
    assert str((folder / "a").stat().st_ino) in output_of(tiffin, folder)


@pytest.mark.parametrize(
    ("owner", "mode"),
    [("1234:1234", 0o755), ("0:1234", 0o755), ("1234:0", 0o755), ("", 0o700), ("", 0o2775), ("1234:1234", 0o500)],
)
def test_bind_of_a_context_is_roots_and_open(tiffin: Run, base: str, context: Make, owner: str, mode: int) -> None:
    folder = context(
        f"FROM {base}\nRUN --mount=target=/m stat -c '%a %u:%g' /m /m/c /m/c/f\n"
        "RUN --mount=source=c,target=/m,rw stat -c '%a %u:%g' /m && touch /m/new && echo y >/m/f && cat /m/f\n"
        "RUN --mount=target=/m,readonly=false stat -c '%a %u:%g' /m && touch /m/new\n"
        "USER app\nRUN --mount=target=/m cat /m/c/f && ! touch /m/x\n",
        **{"c/f": "x\n"},
    )
    if owner and os.getuid() == 0:
        subprocess.run(["chown", "-R", owner, str(folder)], check=True)
    folder.chmod(mode)
    reported = output_of(tiffin, folder)
    assert [reported.count(line) for line in ("755 0:0\n", "644 0:0\n", " y\n", " x\n")] == [4, 1, 1, 1], reported
    assert (folder / "c/f").read_text() == "x\n" and not (folder / "new").exists()


def test_bind_from_a_stage_and_an_image(tiffin: Run, base: str, context: Make) -> None:
    folder = context(
        f"FROM {base} AS made\nRUN mkdir -p /d/e && echo made > /d/e/f && ln -s e /d/link\n"
        f"FROM {base}\nARG WHERE=made\nRUN --mount=from=$WHERE,source=/d/link,target=/m cat /m/f && ! touch /m/x\n"
        f"RUN --mount=from={base},source=/etc/passwd,target=/p grep -c app /p > /count\n"
        "RUN --mount=from=0,target=/rw,rw touch /rw/new && ls /rw/new\n"
    )
    assert "made" in output_of(tiffin, folder)
    assert changed(tiffin, base, folder) == {"count"}


def test_change_below_a_bind_runs_the_step_again_and_beside_it_does_not(tiffin: Run, base: str, context: Make) -> None:
    folder = context(f"FROM {base}\nRUN --mount=source=sub,target=/s cat /s/a\n", **{"sub/a": "1", "other": "1"})
    tiffin("build", folder)
    (folder / "other").write_text("2")
    os.utime(folder / "sub/a", (1, 1))
    assert "CACHED" in tiffin("build", folder).stderr
    (folder / "sub/a").write_text("2")
    assert "CACHED" not in tiffin("build", folder).stderr


def test_cache_mount_outlives_the_build_and_stays_out_of_the_layer(tiffin: Run, base: str, context: Make) -> None:
    text = (
        "FROM {}\nRUN --mount=type=cache,target=/root/.cache,id=pip echo {} >> /root/.cache/log; cat /root/.cache/log\n"
    )
    folder = context(text.format(base, "one"))
    assert changed(tiffin, base, folder) == set()
    (folder / "Dockerfile").write_text(text.format(base, "two"))
    output = tiffin("build", "--progress", "plain", folder).stderr
    assert output.index("one") < output.rindex("two")


def test_cache_mount_owner_mode_and_default_id(tiffin: Run, base: str, context: Make) -> None:
    folder = context(
        f"FROM {base}\nENV D=/c/d\nRUN --mount=type=cache,target=$D,uid=1000,gid=1001,mode=0700 stat -c '%u:%g %a' "
        "/c/d\n"
        "RUN --mount=type=cache,target=/c/d/. touch /c/d/by-id\n"
        "RUN --mount=type=cache,target=/elsewhere,id=/c/d ls /elsewhere\n"
    )
    output = output_of(tiffin, folder)
    assert "1000:1001 700" in output and "by-id" in output


def test_cache_mount_begins_with_what_it_is_from(tiffin: Run, base: str, context: Make) -> None:
    folder = context(
        f"FROM {base} AS seed\nRUN mkdir /s && echo seeded > /s/f\n"
        f"FROM {base}\nRUN --mount=type=cache,target=/c,from=seed,source=/s cat /c/f && echo more > /c/g\n"
        "RUN --mount=type=cache,target=/c,from=seed,source=/s cat /c/g\n"
    )
    output = output_of(tiffin, folder)
    assert "seeded" in output and "more" in output


def test_cache_mount_from_a_stage_looks_like_its_directory_and_is_a_cache_of_its_own(
    tiffin: Run, base: str, context: Make
) -> None:
    mount = "RUN --mount=type=cache,id=x,target=/nm,from={},source=/app/m"
    text = (
        f"FROM {base} AS deps\nRUN mkdir -p /app/m/a && echo {{}} > /app/m/a/f && chown -R 1000:1001 /app && chmod "
        "2775 /app/m\n"
        f"FROM {base} AS other\nRUN mkdir -pm 700 /app/m && echo y > /app/m/y\nFROM {base}\nUSER app\n"
        f"{mount.format('deps')} stat -c '%u:%g %a' /nm /nm/a /nm/a/f; touch /nm/new; ls -A /nm\nUSER root\n"
        f"{mount.format('other')} stat -c '%u:%g %a' /nm; echo others $(ls -A /nm)\n"
        f"{mount.format('deps')} echo again $(ls -A /nm)\n"
        "RUN --mount=type=cache,id=x,target=/nm echo none $(ls -A /nm)\n"
    )
    shown = output_of(tiffin, context(text.format("x")))
    for line in ("1000:1001 2775", "1000:1001 755", "1000:1001 644", "0:0 700", "others y", "again a new", "none"):
        assert f" {line}\n" in shown, shown
    assert "again a\n" in output_of(tiffin, context(text.format("z").replace("touch /nm/new", "true")))  # deps changed


@pytest.mark.parametrize(
    ("change", "runs"),
    [
        (("from=one", "from=two"), True),
        (("from=one,source=/s", "from=one,source=/t"), True),
        (("echo 1 > /s/f", "echo 2 > /s/f"), True),
        (("echo t > /t/f", "echo  t > /t/f"), False),
        (("from=one,source=/s,", ""), True),
    ],
    ids=["stage", "source", "content", "a step with the same result", "none"],
)
def test_what_a_cache_mount_is_from_belongs_to_the_key(
    tiffin: Run, base: str, context: Make, change: tuple[str, str], runs: bool
) -> None:
    text = (
        f"FROM {base} AS one\nRUN mkdir /s /t && echo 1 > /s/f && echo t > /t/f && touch -d @1 /s/f /t/f /s /t\n"
        f"FROM {base} AS two\nRUN mkdir /s && echo 2 > /s/f\nFROM {base}\n"
        "RUN --mount=type=cache,id=k,from=one,source=/s,target=/c cat /c/f > /out || true\n"
    )
    tiffin("build", "-q", context(text))
    again = tiffin("build", "--progress", "plain", context(text.replace(*change))).stderr
    line = next(line for line in again.splitlines() if "RUN --mount" in line)
    number = line.split()[0]
    assert (f"{number} CACHED" not in again) == runs, again


def test_locked_cache_mounts_wait_and_private_ones_do_not_share(tiffin: Run, base: str, context: Make) -> None:
    step = (
        "RUN --mount=type=cache,target=/c,sharing={},id={} if mkdir /c/busy; then sleep 0.5; rmdir /c/busy; else echo "
        "clash; fi; ls /c > /{}\n"
    )
    for sharing in ("locked", "private"):
        text = "".join(f"FROM {base} AS s{i}\n" + step.format(sharing, sharing, f"out{i}") for i in range(3))
        text += f"FROM {base}\n" + "".join(f"COPY --from=s{i} /out{i} /\n" for i in range(3))
        assert "clash" not in tiffin("build", "--progress", "plain", context(text, name=sharing)).stderr.replace(
            "echo clash", ""
        )


@pytest.mark.attack("T16")
def test_link_in_a_cache_mount_leads_nowhere(tiffin: Run, base: str, context: Make) -> None:
    folder = context(
        f"FROM {base}\nRUN --mount=type=cache,target=/c,id=x ln -s /etc /c/sel && mkdir /c/real && echo in > "
        "/c/real/f\n"
        "RUN --mount=type=cache,target=/e,id=x,source=real cat /e/f\n"
        "RUN --mount=type=cache,target=/d,id=x,source=sel cat /d/hostname\n"
    )
    done = tiffin("build", "--progress", "plain", folder, check=False)
    assert done.returncode == 1 and "/d" in done.stderr.splitlines()[-1], done.stderr


def test_tmpfs_mount(tiffin: Run, base: str, context: Make) -> None:
    folder = context(
        f"FROM {base}\nRUN --mount=type=tmpfs,target=/t/u,size=2m echo x > /t/u/x && df -k /t/u | tail -1 && ! dd "
        "if=/dev/zero of=/t/u/big bs=1M count=4\n"
    )
    assert "2048" in output_of(tiffin, folder)
    assert changed(tiffin, base, folder) == set()


def test_secret_as_file_and_variable(tiffin: Run, base: str, context: Make, tmp_path: Path, root: Path) -> None:
    (tmp_path / "token").write_text("s3cret-value")
    folder = context(
        f"FROM {base}\n"
        "RUN --mount=type=secret,id=token [ $(wc -c < /run/secrets/token) = 12 ] && stat -c '%a %u:%g' "
        "/run/secrets/token\n"
        "RUN --mount=type=secret,id=token,target=/etc/deep/er/t,mode=0440,uid=1000,gid=1001 stat -c '%a %u:%g' "
        "/etc/deep/er/t\n"
        "RUN --mount=type=secret,id=token,env=TOKEN [ ${#TOKEN} = 12 ] && test ! -e /run/secrets/token\n"
        "RUN --mount=type=secret,id=token,env=TOKEN,target=/both [ $TOKEN = $(cat /both) ]\n"
        "RUN --mount=type=secret,id=missing test ! -e /run/secrets/missing\n"
    )
    give = ("--secret", f"id=token,src={tmp_path / 'token'}")
    output = output_of(tiffin, *give, folder)
    assert "400 0:0" in output and "440 1000:1001" in output
    assert changed(tiffin, base, *give, folder) == set()
    assert "s3cret-value" not in output
    everything = b"".join(path.read_bytes() for path in root.rglob("*") if path.is_file())
    assert b"s3cret-value" not in everything


def test_secret_value_does_not_decide_the_cache(tiffin: Run, base: str, context: Make) -> None:
    folder = context(f"FROM {base}\nRUN --mount=type=secret,id=S,env=S echo got $S\n")
    tiffin("build", "--secret", "id=S", folder, env={**os.environ, "S": "1"})
    assert "CACHED" in tiffin("build", "--secret", "id=S", folder, env={**os.environ, "S": "2"}).stderr


def test_required_secret_that_is_missing(tiffin: Run, base: str, context: Make) -> None:
    folder = context(f"FROM {base}\nRUN --mount=type=secret,id=token,required true\n")
    done = tiffin("build", folder, check=False)
    assert done.returncode == 1
    assert "secret token: not found; give it with --secret id=token,src=FILE or env=NAME" in done.stderr


def test_ssh_mount_with_a_key_and_with_an_agent(tiffin: Run, base: str, context: Make, tmp_path: Path) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    path = tmp_path / "id"
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    path.chmod(0o600)
    (tmp_path / "ask.py").write_text("")
    folder = context(
        f"FROM {base}\nRUN --mount=type=ssh stat -c '%F %a %u' $SSH_AUTH_SOCK && echo $SSH_AUTH_SOCK\n"
        "RUN --mount=type=ssh,id=other,target=/s,mode=0666,uid=1000 stat -c '%a %u' /s\n"
        'RUN --mount=type=ssh,id=none test -z "$SSH_AUTH_SOCK"\n'
        # the agent protocol by hand: list the keys
        "RUN --mount=type=ssh printf '\\000\\000\\000\\001\\013' | nc local:$SSH_AUTH_SOCK | od -An -tx1 -v | tr -d "
        "' \\n' || true\n"
    )
    done = tiffin(
        "build", "--no-cache", "--progress", "plain", "--ssh", f"default={path}", "--ssh", f"other={path}", folder
    )
    assert "socket 600 0" in done.stderr and "/run/buildkit/ssh_agent.0" in done.stderr and "666 1000" in done.stderr


def test_agent_lists_and_signs(tmp_path: Path) -> None:
    """Our agent against OpenSSH's own client."""
    from contextlib import ExitStack

    from tiffin.builder.execute.ssh_agents import Agents, of_keys, passed_on

    subprocess.run(["ssh-keygen", "-q", "-t", "rsa", "-N", "", "-f", str(tmp_path / "rsa")], check=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-f", str(tmp_path / "ecdsa")], check=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "ed")], check=True)
    with ExitStack() as stack:
        paths = [tmp_path / name for name in ("rsa", "ecdsa", "ed")]
        own = Agents({"k": of_keys(paths)}).listen("k", tmp_path / "a", stack)
        passed = Agents({"p": passed_on(str(own))}).listen("p", tmp_path / "b", stack)
        for sock in (own, passed):
            env = {**os.environ, "SSH_AUTH_SOCK": str(sock)}
            listed = subprocess.run(["ssh-add", "-L"], env=env, capture_output=True, text=True, check=True).stdout
            assert len(listed.splitlines()) == 3
            for name in ("rsa", "ecdsa", "ed"):  # ssh-add -T signs and verifies
                subprocess.run(["ssh-add", "-T", str(tmp_path / f"{name}.pub")], env=env, check=True)
            removed = subprocess.run(["ssh-add", "-D"], env=env, capture_output=True, check=False)
            assert removed.returncode != 0


def test_agent_survives_a_client_that_talks_nonsense(tmp_path: Path) -> None:
    from contextlib import ExitStack

    from tiffin.builder.execute.ssh_agents import Agents

    with ExitStack() as stack:
        path = Agents({"k": lambda request: b"\x0c\0\0\0\0"}).listen("k", tmp_path / "a", stack)
        assert path is not None
        for message in (struct.pack(">I", 1 << 31), struct.pack(">I", 0), b"\0\0\0\5\x0b"):
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path))
                client.sendall(message)
                client.shutdown(socket.SHUT_WR)
                client.recv(64)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            client.sendall(b"\0\0\0\1\x0b")
            assert client.recv(64) == b"\0\0\0\5\x0c\0\0\0\0"
    assert not any("_serve" in thread.name for thread in threading.enumerate())


@pytest.mark.attack("T18")
def test_stubs_leave_no_trace_and_what_the_command_makes_stays(tiffin: Run, base: str, context: Make) -> None:
    folder = context(
        f"FROM {base}\nRUN --mount=type=tmpfs,target=/var/deep/t --mount=type=secret,id=x,target=/run/s true\n"
        "RUN --mount=type=tmpfs,target=/kept/t touch /kept/file\n"
    )
    assert changed(tiffin, base, folder) == {"kept", "kept/file"}


def test_options_of_the_command_line_for_run(tiffin: Run, base: str, context: Make) -> None:
    folder = context(
        f"FROM {base}\nRUN grep -q '10.1.2.3.*my.host' /etc/hosts && ulimit -n && df -k /dev/shm | tail -1 && "
        "hostname\n"
    )
    output = output_of(
        tiffin, "--add-host", "my.host:10.1.2.3", "--ulimit", "nofile=200:300", "--shm-size", "8m",
        "--build-arg", "BUILDKIT_SANDBOX_HOSTNAME=other", folder,
    )  # fmt: skip
    assert "200" in output and "8192" in output and "other" in output


def test_insecure_needs_to_be_allowed(tiffin: Run, base: str, context: Make) -> None:
    folder = context(
        f"FROM {base}\nRUN --security=insecure grep CapEff /proc/self/status && mount -t tmpfs none /tmp\n"
    )
    done = tiffin("build", folder, check=False)
    assert (
        done.returncode == 1
        and "security.insecure is not allowed; grant it with --allow security.insecure" in done.stderr
    )
    tiffin("build", "--allow", "security.insecure", folder)


def test_no_cache_filter_runs_one_stage_again(tiffin: Run, base: str, context: Make) -> None:
    folder = context(
        f"FROM {base} AS one\nRUN echo 1 > /1\nFROM {base} AS two\nCOPY --from=one /1 /\nRUN echo 2 > /2\n"
    )
    tiffin("build", folder)
    again = tiffin("build", "--no-cache-filter", "TWO", folder).stderr
    assert again.count("CACHED") == 0 or "[one" in again
    assert "DONE" in again and "[two 3/3]" in again


def test_prune_removes_cache_mounts(tiffin: Run, base: str, context: Make, root: Path) -> None:
    text = f"FROM {base}\nRUN --mount=type=cache,target=/c,uid=1000 touch /c/f && chown 5 /c/f\n"
    tiffin("build", context(text))
    assert list((root / "mounts/cache").glob("*/fs/f"))
    tiffin("system", "prune", "-f")
    assert list((root / "mounts/cache").glob("*/fs/f"))
    tiffin("system", "prune", "-f", "--all")
    assert not list((root / "mounts/cache").iterdir())


def test_a_device_is_there_for_its_step_alone(
    tiffin: Run, base: str, context: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its node opens, its files are shown where the image has nothing, and the layer has none of it."""
    edits = {
        "env": ["GPU=zero"],
        "deviceNodes": [{"path": "/dev/gpu0", "hostPath": "/dev/zero"}],
        "mounts": [{"hostPath": "/etc/passwd", "containerPath": "/opt/lib/driver", "options": ["ro", "bind"]}],
    }
    described = tmp_path / "cdi"
    described.mkdir()
    (described / "v.yaml").write_text(
        f"cdiVersion: 0.6.0\nkind: vendor.com/gpu\ndevices: [{{name: '0', containerEdits: {json.dumps(edits)}}}]\n"
    )
    monkeypatch.setenv("TIFFIN_CDI_SPEC_DIRS", str(described))
    folder = context(
        f"FROM {base}\nRUN --device=vendor.com/gpu,required head -c 2 /dev/gpu0 | od -An -tx1; echo $GPU; "
        "test -s /opt/lib/driver && ! touch /opt/lib/driver\nRUN test ! -e /dev/gpu0 && test ! -e /opt\n"
    )
    refused = tiffin("build", folder, check=False)
    assert "device vendor.com/gpu=0 is not allowed; grant it with --allow device=vendor.com/gpu=0" in refused.stderr
    assert "00 00" in (output := output_of(tiffin, "--allow", "device", folder)) and "zero" in output
    assert changed(tiffin, base, "--allow", "device=vendor.com/gpu", folder) == set()
