"""RUN --mount: sources, targets, options, ids and clean-up that lead elsewhere."""

from __future__ import annotations

import subprocess
import threading

import pytest

from tests.attacks.harness import PRECIOUS, Harness, error_of, fingerprint
from tests.support.minimal_image import base_files

pytestmark = [pytest.mark.userns, pytest.mark.xdist_group("attacks")]
TARGETS = [
    "/link/x", "/link", "/link/file", "/abs", "/up/x", "/dangling", "/dangling/x", "/loop", "/loop/x",
    "/proc/self/fd/9/x", "/proc/self/cwd/x",
    "/proc/1/root/x", "/proc/sys/kernel/x", "/sys/x", "/dev/x", "/dev/shm/x", "/etc/passwd", "/etc/passwd/x",
    "/bin/busybox/x", "/tmp/../../../x",
    "/srv/page", "relative/x", "/dev/null", "/proc/self/exe", "/etc/resolv.conf", "/run/secrets/x",
]  # fmt: skip
KINDS = {
    "bind": "type=bind,source=plain,target={}",
    "writable": "type=bind,source=dir,target={},rw",
    "cache": "type=cache,target={}",
    "tmpfs": "type=tmpfs,target={}",
    "secret": "type=secret,id=s,target={}",
}


@pytest.mark.attack("T14", "T18", "T25")
@pytest.mark.parametrize("kind", KINDS)
def test_targets_stay_in_the_root(harness: Harness, kind: str) -> None:
    """CVE-2024-1753, CVE-2024-9341: wherever a target's links lead, it is below the root, and no trace is left
    there.
    """
    out = str(harness.canary)
    links: dict[str, bytes | str | None] = {
        "link": f"-> {out}",
        "abs": f"-> {out}/file",
        "up": f"-> ../../../..{out}",
        "dangling": f"-> {out}/new",
        "loop": "-> loop",
    }
    harness.cli.make_image(base_files(), links, name="targets", config={"Env": ["PATH=/bin"]})
    secret = harness.canary.parent / "secret"
    secret.write_text("of the build")
    harness.cli.own(secret)
    folder = harness.context("", {"plain": "harmless", "dir/file": "harmless"})
    before = fingerprint(folder / "dir")
    for target in TARGETS if kind in ("bind", "cache") else TARGETS[::3]:
        script = (
            f"echo evil > {target}; echo evil > {target}/file; cat {target} {target}/file; rm -rf {target}/* {target}"
        )
        (folder / "Dockerfile").write_text(f"FROM targets\nRUN --mount={KINDS[kind].format(target)} {script}; true\n")
        done = harness.build(folder, "--secret", f"id=s,src={secret}")
        assert PRECIOUS not in done.stderr, f"a mount at {target} shows a file of the host"
        assert done.returncode == 0 or error_of(done), target
    assert fingerprint(folder / "dir") == before, "a step wrote through a bind mount"
    secret.unlink()


OPTIONS = [
    "type=bind,target=/x,suid", "type=bind,target=/x,options=suid", "type=bind,target=/x,bind-propagation=shared",
    "type=bind,target=/x,propagation=rshared",
    "type=bind,target=/x,z=suid", "type=bind,target=/x,U", "type=bind,target=/x,relabel=suid",
    "type=tmpfs,target=/x,tmpfs-mode=4777", "type=tmpfs,target=/x,size=1,dev",
    "type=tmpfs,target=/x,size=1k,mode=777", "type=cache,target=/x,mode=99999", "type=cache,target=/x,uid=-1",
    "type=cache,target=/x,uid=4294967296",
    "type=devpts,target=/x", "type=proc,target=/x", "type=overlay,target=/x,upperdir=/", "type=volume,target=/x",
    "type=image,target=/x", "type=bind,target=/x,source=/a\\,suid",
    "type=cache,target=/x,sharing=everyone", "type=secret,target=/x,id=s,mode=7777777",
    "type=ssh,target=/x,source=/etc", "type=bind,target=/", "target=/x,target=/",
    ("type=tmpfs,target=/x,size=99999999999999999999999999"), "type=tmpfs,target=/x,size=-1",
    "type=tmpfs,target=/x,size=1k\\,mode=4777",
]  # fmt: skip


@pytest.mark.attack("T15")
def test_options_are_a_closed_list(harness: Harness) -> None:
    """CVE-2024-9407: an option nobody checked became one of mount(2)."""
    for option in OPTIONS:
        done = harness.build(f"FROM minimal\nRUN --mount={option} true\n")
        assert error_of(done), f"--mount={option} is taken"
    shown = harness.output(
        "FROM minimal\nRUN --mount=type=cache,target=/c --mount=type=tmpfs,target=/t --mount=target=/b grep -E ' "
        "/(c|t|b) ' /proc/self/mountinfo\n"
    )
    lines = [
        line for line in shown.splitlines() if " /c " in line or " /t " in line or " /b " in line if "RUN" not in line
    ]
    assert len(lines) == 3 and not any("shared:" in line or "master:" in line for line in lines), (
        "mounts spread to the host"
    )
    assert all("nosuid" in line and "nodev" in line for line in lines if " /t " in line)
    for option in (
        "src=/x,dst=/y,suid",
        "type=bind,src=/tmp,dst=/y,bind-propagation=rshared,suid",
        "type=tmpfs,dst=/y,tmpfs-size=1,dev",
    ):
        assert error_of(harness.run("run", "--rm", "--mount", option, "minimal", "true")), option
    for option in ("/tmp:/x:suid", "/tmp:/x:rw,dev", "/tmp:/x:rshared,suid", f"{harness.canary}:/x:ro,exec,upperdir=/"):
        assert error_of(harness.run("run", "--rm", "-v", option, "minimal", "true")), option


@pytest.mark.attack("T16")
def test_cache_mounts_are_directories_of_ours(harness: Harness) -> None:
    """CVE-2024-9675: an id that is a path; CVE-2024-23651: a cache whose content is a link when it is mounted."""
    state = harness.state
    for number, name in enumerate(
        ("../../../canary", str(harness.canary), "../cache", "x" * 5000, "a,b", "..", "/", "$HOME", "id\\nline")
    ):
        done = harness.build(
            f'FROM minimal\nRUN --mount="type=cache,target=/c,\\"id={name}\\"" ls -A /c; cat /c/file; echo '
            f"{number} > /c/mark; true\n"
        )
        assert PRECIOUS not in done.stderr, f"the cache mount {name} is a directory of the host"
        assert done.returncode == 0 or error_of(done)
    assert {path.parent.name for path in (state / "mounts").rglob("fs")} == {
        path.parent.name for path in (state / "mounts/cache").glob("*/fs")
    }
    # a step fills its cache with links; another mounts a part of it
    plant = (
        f"ln -s {harness.canary} /c/sub; ln -s {harness.canary}/file /c/leaf; ln -s / /c/root; ln -s "
        "../../../../../.. /c/up; ls -l /c"
    )
    harness.output(f"FROM minimal\nRUN --mount=type=cache,id=planted,target=/c {plant}\n")
    for source in ("sub", "leaf", "root", "up", "sub/open", "up/etc", "root/etc", "../x"):
        done = harness.build(
            f"FROM minimal\nRUN --mount=type=cache,id=planted,source={source},target=/d ls -R /d; cat /d /d/file; "
            "echo evil > /d/file; true\n"
        )
        assert PRECIOUS not in done.stderr, f"a link in a cache mount shows {source}"
        assert done.returncode == 0 or error_of(done)
    # replacing the root of a cache from inside: it is a mount point
    done = harness.build(
        "FROM minimal\nRUN --mount=type=cache,id=planted,target=/c rm -rf /c; ln -s / /c; mv /c /d; true\n"
    )
    assert done.returncode == 0, done.stderr
    assert all(path.is_dir() and not path.is_symlink() for path in (state / "mounts/cache").glob("*/fs")), (
        "a cache is a link now"
    )


@pytest.mark.attack("T16")
def test_locked_caches_lock(harness: Harness) -> None:
    """Two builds that append to one file under sharing=locked never see each other half done."""
    script = "test ! -e /c/busy && touch /c/busy && sleep 0.3 && rm /c/busy && echo alone"
    folders = [
        harness.context(
            f"FROM minimal\nRUN --mount=type=cache,id=locked,sharing=locked,target=/c {script} # {number}\n"
        )
        for number in range(3)
    ]
    done: list[subprocess.CompletedProcess[str]] = []
    threads = [
        threading.Thread(target=lambda folder=folder: done.append(harness.cli.run("build", "--no-cache", folder)))
        for folder in folders
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [item.returncode for item in done] == [0, 0, 0], "two steps were in a locked cache at once: " + "".join(
        item.stderr for item in done
    )


@pytest.mark.attack("T16", "T30")
def test_caches_of_others_are_not_seen(root_harness: Harness, harness: Harness) -> None:
    """What one user's step leaves in a cache mount is in no other user's."""
    step = "RUN --mount=type=cache,id=shared-name,target=/c cat /c/poison; echo {} > /c/poison; true\n"
    root_harness.output(f"FROM minimal\n{step.format('poison-of-root')}")
    assert "poison-of-root" not in harness.output(f"FROM minimal\n{step.format('other')}").replace("echo other", "")


@pytest.mark.attack("T17", "T18")
def test_writes_vanish_and_stubs_go_without_following(each_harness: Harness) -> None:
    """CVE-2025-4953, CVE-2024-23652: a step replaces mount points by links and directories; what they lead to stays."""
    out = each_harness.canary
    folder = each_harness.context(
        "FROM minimal\n"
        f"RUN --mount=target=/a/b/c mv /a /away; ln -s {out} /a; mkdir -p /a/b\n"
        f"RUN --mount=type=tmpfs,target=/new/point umount /new/point; rmdir /new/point; ln -s {out} /new/point; rm "
        f"-rf /new; ln -s {out} /new; true\n"
        f"RUN --mount=type=secret,id=none,target=/f/g rm -rf /f; ln -s {out} /f; true\n"
        f"RUN rm -f /etc/hosts /etc/resolv.conf; umount /etc/hosts; ln -sf {out}/file /etc/hosts; ln -sf {out}/file "
        "/etc/resolv.conf; ls -l /etc; true\n"
        f"RUN rm -rf /proc /sys /dev; ln -s {out} /dev; ls -ld /dev /proc; cat /etc/hosts; true\n"
        "RUN --mount=target=/w,rw rm -rf /w/*; echo evil > /w/file; mkdir /w/d; ln -s / /w/l; true\n"
        "RUN true\n",
        {"file": "kept", "d/e": "kept"},
    )
    before = fingerprint(folder)
    done = each_harness.build(folder)
    assert PRECIOUS not in done.stderr and (done.returncode == 0 or error_of(done)), done.stderr
    assert fingerprint(folder) == before, "a step changed its context"
