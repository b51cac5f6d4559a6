"""Build on the nodes of a cluster, from its login node: `python jobqueue.py slurm -t registry.example/app --push .`

Needs `pip install 'tiffin[farm]' dask-jobqueue` in an environment that login node and nodes share. Also for htcondor,
pbs, sge and lsf. Each job is a worker that makes FARM_CORES steps at once.

Variables: FARM_JOBS, FARM_CORES, FARM_MEMORY, FARM_DISK (htcondor), FARM_TIME, FARM_QUEUE, FARM_LOGS, FARM_INTERFACE
(of the network between nodes: ib0), FARM_SCRATCH (a folder on a disk of each node); TIFFIN_FARM_TLS_CA, _CERT and _KEY
(files that the nodes can read, too), without which only a loopback interface is taken.
"""

import os
import subprocess
import sys
import tempfile

import dask_jobqueue
from distributed import Security

CLUSTERS = {"slurm": "SLURMCluster", "htcondor": "HTCondorCluster", "pbs": "PBSCluster", "sge": "SGECluster"}
CLUSTERS["lsf"] = "LSFCluster"


def security():
    """Return the certificates by which scheduler, workers and driver prove who they are."""
    ca, cert, key = (os.environ.get(f"TIFFIN_FARM_TLS_{name}") for name in ("CA", "CERT", "KEY"))
    if not (ca and cert and key):
        return None
    files = {}
    for role in ("scheduler", "worker", "client"):
        files |= {f"tls_{role}_cert": cert, f"tls_{role}_key": key}
    return Security(require_encryption=True, tls_ca_file=ca, **files)


def jobs_of(kind, folder):
    """Return the cluster, which has no jobs yet; its scheduler, here, has its files in `folder`."""
    environ = os.environ.get
    scratch = environ("FARM_SCRATCH", "/tmp/tiffin-$(id -un)")
    if kind == "htcondor":
        limits = {"disk": environ("FARM_DISK", "20GB")}
    else:
        limits = {"walltime": environ("FARM_TIME", "01:00:00"), "queue": environ("FARM_QUEUE")}
    return getattr(dask_jobqueue, CLUSTERS[kind])(
        cores=int(environ("FARM_CORES", "4")),
        processes=1,
        memory=environ("FARM_MEMORY", "8GB"),
        interface=environ("FARM_INTERFACE", "lo"),
        security=security(),
        scheduler_options={"dashboard_address": None, "local_directory": folder},
        log_directory=environ("FARM_LOGS"),
        local_directory=f"{scratch}/dask",
        # layers stay on a disk of the node: a file system of the network is slow and may know no attributes
        job_script_prologue=[
            f"mkdir -p -m 700 {scratch}",
            f'[ -O {scratch} ] && [ ! -L {scratch} ] || {{ echo "{scratch} is not yours" >&2; exit 1; }}',
            f"export TIFFIN_ROOT={scratch}/state",
        ],
        **limits,
    )


def main():
    """Ask for the jobs, build, and give the nodes back."""
    kind, *words = sys.argv[1:] or [""]
    if kind not in CLUSTERS:
        sys.exit(f"usage: jobqueue.py {'|'.join(CLUSTERS)} OPTIONS-OF-tiffin-build")
    with tempfile.TemporaryDirectory(prefix="tiffin-farm-") as folder, jobs_of(kind, folder) as cluster:
        cluster.scale(jobs=int(os.environ.get("FARM_JOBS", "4")))
        cluster.wait_for_workers(1)
        tiffin = [sys.executable, "-m", "tiffin", "build", "--farm", cluster.scheduler_address]
        return subprocess.call([*tiffin, *words])


if __name__ == "__main__":
    sys.exit(main())
