"""A real Slurm of one node: who has a login and no subordinate ids builds on its nodes, as docs/farm.md tells."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.conftest import CHECKOUT
from tests.support.certificates import make_authority
from tests.support.servers import Registry
from tests.support.slurm import one_node_slurm
from tests.support.unprivileged import WITH_IDS, WITHOUT_IDS, Users, interpreter, remove_folder

pytestmark = [
    pytest.mark.userns,
    pytest.mark.network,
    pytest.mark.xdist_group("users"),
    pytest.mark.skipif(os.getuid() != 0, reason="only root starts Slurm"),
]
TEMPLATE = CHECKOUT / "ci/templates/farm/jobqueue.py"
DOCKERFILE = """FROM {base} AS made
RUN mkdir /srv && echo data >/srv/data && chown 33:44 /srv/data && chown -R app:extra /tmp
FROM {base}
COPY --from=made /srv /srv
RUN echo more >/srv/more && chown app:app /srv/more && chmod 4750 /srv/more && stat -c '%u:%g %a %n' /srv/* >/listing
"""
EPOCH = "1700000000"


@pytest.fixture
def place(users: Users, registry: Registry, busybox: Path) -> Iterator[Path]:
    """A folder that everybody reads: a context whose base is in the registry, certificates, the ready file."""
    folder = Path(tempfile.mkdtemp(prefix=f"tiffin-{os.getpid()}-site-"))
    try:
        subprocess.run(["cp", "-a", str(busybox), str(folder / "base")], check=True)
        (folder / "app").mkdir()
        (folder / "app/Dockerfile").write_text(DOCKERFILE.format(base=f"{registry.host}/slurm/base"))
        (folder / "jobqueue.py").write_text(TEMPLATE.read_text())
        authority = make_authority(folder / "tls")
        authority.issue("node")
        subprocess.run(["chmod", "-R", "a+rX", str(folder)], check=True)
        users.run(
            WITH_IDS,
            ["build", "-q", "--push", "-t", f"{registry.host}/slurm/base", folder / "base"],
            SOURCE_DATE_EPOCH=EPOCH,
        )
        yield folder
    finally:
        for user in users.names:
            users.run(user, ["system", "reset", "-f"])
        remove_folder(folder)


def test_a_login_node_builds_on_jobs_and_pushes_exact_owners(users: Users, registry: Registry, place: Path) -> None:
    """The digest is that of a local build by a user who has subordinate ids."""
    scratch = users.home(WITHOUT_IDS) / "scratch"
    with one_node_slurm() as slurm:
        environ = {
            **slurm,
            "SOURCE_DATE_EPOCH": EPOCH,
            **site(place, scratch),
            "FARM_JOBS": "2",
            "FARM_LOGS": str(scratch / "logs"),
        }
        options = output(f"{registry.host}/slurm/app", "farm.json")
        words = [interpreter(), str(place / "jobqueue.py"), "slurm", *options, str(place / "app")]
        done = users.program(WITHOUT_IDS, words, **environ)
        assert done.returncode == 0, done.stderr + logs(scratch)
    local = output(f"{registry.host}/slurm/app:local", "local.json")
    users.run(WITH_IDS, ["build", "--no-cache", *local, place / "app"], SOURCE_DATE_EPOCH=EPOCH)
    files = (users.home(WITHOUT_IDS) / "farm.json", users.home(WITH_IDS) / "local.json")
    digests = [json.loads(file.read_text())["containerimage.digest"] for file in files]
    assert digests[0] == digests[1], done.stderr


def site(place: Path, scratch: Path) -> Mapping[str, str]:
    """Return what a site's own pages would tell its users to set."""
    files = {"CA": "ca.crt", "CERT": "node.cert", "KEY": "node.key"}
    trust = {f"TIFFIN_FARM_TLS_{name}": str(place / "tls" / file) for name, file in files.items()}
    jobs = {"FARM_JOBS": "2", "FARM_CORES": "2", "FARM_MEMORY": "1GB"}
    return {**jobs, "FARM_SCRATCH": str(scratch), "FARM_LOGS": str(scratch / "logs"), **trust}


def output(name: str, metadata: str) -> tuple[str, ...]:
    return ("-o", f"type=image,name={name},push=true,rewrite-timestamp=true", "--metadata-file", metadata)


def logs(scratch: Path) -> str:
    """Return what the jobs wrote."""
    return "\n".join(path.read_text()[-3000:] for path in scratch.glob("logs/*"))
