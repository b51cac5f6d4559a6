"""One Dockerfile on a real distribution: the same owners, modes, links, devices and attributes on every tier.

Compared with what real root makes of it in a plain chroot. docs/ownership.md lists what may differ, and why.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.listing import Listed, list_tar
from tests.support.unprivileged import WITH_IDS, WITHOUT_IDS, Users

pytestmark = [pytest.mark.userns, pytest.mark.network, pytest.mark.slow, pytest.mark.xdist_group("debian")]
SCRIPT = r"""
set -e
export DEBIAN_FRONTEND=noninteractive
mkdir -p /etc/postgresql-common/createcluster.d  # all of them share the network: one port would serve one of them
echo "listen_addresses = ''" > /etc/postgresql-common/createcluster.d/local.conf
apt-get update -qq
apt-get install -y -qq --no-install-recommends openssh-server cron man-db postgresql sudo libcap2-bin >/dev/null
grep -q "^listen_addresses = ''" /etc/postgresql/15/main/postgresql.conf
useradd -m -s /bin/bash alice
useradd -r -d /srv/app svc
mkdir -p /srv/app/data; echo x > /srv/app/data/f; ln -s f /srv/app/data/l; mkfifo /srv/app/fifo
chown -R svc:svc /srv/app
chown -h alice: /srv/app/data/l
cp /bin/true /srv/app/capped; setcap cap_net_bind_service+ep /srv/app/capped
mkdir /srv/dev; mknod /srv/dev/null c 1 3; chmod 666 /srv/dev/null; mknod -m 640 /srv/dev/sda b 8 0; chgrp disk /srv/dev/sda
mkdir /srv/shared; chgrp staff /srv/shared; chmod 2775 /srv/shared; touch /srv/shared/f; mkdir /srv/shared/d; ln -s f /srv/shared/l
su alice -c 'cd; touch mine; mkdir dir; ln -s mine link; umask 077; echo s > secret; cp -a mine copy; mkfifo pipe; ln mine hard'
echo 'alice ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/alice; chmod 440 /etc/sudoers.d/alice
su alice -c 'sudo touch /srv/by-sudo; sudo -u svc touch /srv/app/by-svc; sudo chown svc /srv/by-sudo'
! su alice -c 'chown svc mine' 2>/dev/null
! su alice -c 'mknod n c 1 3' 2>/dev/null
install -o alice -g staff -m 4755 /bin/true /srv/suid
sed -i s/x/y/ /srv/app/data/f
cp -a /srv/app /srv/app2; tar -C /srv -cf /tmp/a.tar app; mkdir /srv/app3; tar -C /srv/app3 -xpf /tmp/a.tar; mv /srv/app3/app/data /srv/moved
service postgresql start >/dev/null; su postgres -c 'createuser -d lunch && psql -qc "create table t (x int)"'; service postgresql stop
rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /tmp/*
"""
VARYING = (
    r"etc/ssl/certs/[0-9a-f]{8}\.0",  # named after a key that is drawn when it is installed
    r"(dev|proc|sys|run)(/.*)?",  # of the machine, not of the image
    r"etc/(hosts|resolv\.conf|hostname)",  # the runtime's
    r"var/lib/postgresql/15/main/.*",  # files come and go with the server's timing
    r"\.|script\.sh",  # the root itself, which our tar leaves out; the script
)


def test_layer_is_the_same_on_every_tier(users: Users, debian: str, tmp_path: Path) -> None:
    folder = users.code / "owners"
    folder.mkdir()
    (folder / "script.sh").write_text(SCRIPT)
    (folder / "Dockerfile").write_text(f"FROM {debian} AS base\nFROM base\nCOPY script.sh /\nRUN bash -x /script.sh\n")
    subprocess.run(["chmod", "-R", "a+rX", str(folder)], check=True)

    def built(user: str, *words: str) -> Path:
        path = users.home(user) / "owners.tar"
        users.run(user, ["build", *words, "-o", f"type=tar,dest={path}", folder])
        return path

    base = tmp_path / "base.tar"
    shutil.move(built(WITH_IDS, "--target", "base"), base)
    with ThreadPoolExecutor() as pool:
        real = pool.submit(in_plain_chroot, base, tmp_path) if os.getuid() == 0 else None
        tiers = {user: pool.submit(built, user) for user in (WITH_IDS, WITHOUT_IDS)}
        # without real root, the true owners of a range of ids are the measure
        expected = interesting(list_tar((real or tiers[WITH_IDS]).result()))
        shown = {user: interesting(list_tar(future.result())) for user, future in tiers.items()}
    foreign = [name for name, listed in expected.items() if listed.owner != (0, 0)]
    assert len(foreign) > 100 and expected["srv/app/data/l"].owner != expected["srv/app/data/f"].owner
    assert expected["srv/app/capped"].xattrs and expected["srv/dev/null"].kind == "char"
    for user, listing in shown.items():
        assert differences(expected, listing) == {}, user


def interesting(listing: Mapping[str, Listed]) -> dict[str, Listed]:
    return {name: listed for name, listed in listing.items() if not any(re.fullmatch(rule, name) for rule in VARYING)}


def differences(expected: Mapping[str, Listed], listing: Mapping[str, Listed]) -> dict[str, object]:
    return {
        name: (expected.get(name), listing.get(name))
        for name in {*expected, *listing}
        if expected.get(name) != listing.get(name)
    }


def in_plain_chroot(base: Path, folder: Path) -> Path:
    """Real root, without tiffin: a tar of what the script makes of the base."""
    root, result = folder / "root", folder / "real.tar"
    root.mkdir()
    attributes = ["--xattrs", "--xattrs-include=*", "--numeric-owner"]
    subprocess.run(["tar", "-xpf", base, *attributes, "-C", root], check=True)
    (root / "script.sh").write_text(SCRIPT)
    for name in ("resolv.conf", "hosts"):
        (root / "etc" / name).write_bytes(Path("/etc", name).read_bytes())
    enter = (
        'mount --bind "$1" "$1" && cd "$1" && mkdir -p proc dev && mount -t proc proc proc && mount --rbind /dev dev '
        "&& "
    )
    enter += "exec chroot . bash -x /script.sh"
    environ = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}
    environ |= {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")}
    own = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", enter, "sh", str(root)]
    done = subprocess.run(own, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    subprocess.run(["tar", "-cf", result, "--format=pax", *attributes, "-C", root, "."], check=True)
    shutil.rmtree(root)
    return result
