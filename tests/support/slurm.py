"""A real Slurm of one node, as Debian's slurm-wlm has it: munged, slurmctld and slurmd on loopback ports, as root.

Without systemd and without a cgroup of its own: processes are followed by their parents (proctrack/linuxproc).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from tests.support.servers import START_SECONDS, TIED, ended, free_port

CONFIGURATION = """ClusterName=tiffin
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={daemon}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
StateSaveLocation={folder}/controller
SlurmdSpoolDir={folder}/daemon
SlurmctldPidFile={folder}/controller.pid
SlurmdPidFile={folder}/daemon.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
ReturnToService=2
SchedulerParameters=sched_interval=1
KillWait=2
MpiDefault=none
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=16000 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
CGROUPS = "CgroupPlugin=cgroup/v1\nCgroupMountpoint=/sys/fs/cgroup\n"  # Slurm 22.05 asks for a kind though it uses none


@contextlib.contextmanager
def one_node_slurm(cpus: int = 8) -> Iterator[Mapping[str, str]]:
    """Start the three servers; yields what the environment of those who use it has. Ends all jobs with the block."""
    folder = Path(tempfile.mkdtemp(prefix=f"tiffin-{os.getpid()}-slurm-"))
    environ = {"SLURM_CONF": str(folder / "slurm.conf")}
    try:
        folder.chmod(0o755)
        for name in ("munge", "controller", "daemon"):
            (folder / name).mkdir(mode=0o711)
        ports = {"controller": free_port(), "daemon": free_port()}
        host = socket.gethostname().partition(".")[0]
        (folder / "slurm.conf").write_text(CONFIGURATION.format(host=host, folder=folder, cpus=cpus, **ports))
        (folder / "cgroup.conf").write_text(CGROUPS)
        (folder / "munge/key").write_bytes(os.urandom(128))
        (folder / "munge/key").chmod(0o400)
        with _servers(folder, {**os.environ, **environ}):
            yield environ
    finally:
        shutil.rmtree(folder)


@contextlib.contextmanager
def _servers(folder: Path, environ: Mapping[str, str]) -> Iterator[None]:
    munge = folder / "munge"
    files = {"socket": "socket", "key-file": "key", "pid-file": "pid", "seed-file": "seed", "log-file": "log"}
    commands = {
        "munged": ["munged", "--foreground", *(f"--{option}={munge / name}" for option, name in files.items())],
        "slurmctld": ["slurmctld", "-D", "-i"],
        "slurmd": ["slurmd", "-D"],
    }
    with contextlib.ExitStack() as stack:
        for name, argv in commands.items():
            with (folder / f"{name}.log").open("wb") as log:
                server = subprocess.Popen(
                    [*TIED, *argv],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=environ,
                    start_new_session=True,
                )
            stack.enter_context(ended(server))
            if name == "munged":
                _wait((munge / "socket").exists, folder)
        stack.callback(_end_jobs, environ)
        _wait(lambda: "idle" in _output(["sinfo", "-h", "-o", "%T"], environ), folder)
        yield


def _end_jobs(environ: Mapping[str, str]) -> None:
    """Cancel all jobs, and wait for the last process of each."""
    jobs = _output(["squeue", "-h", "-o", "%A"], environ).split()
    if jobs:
        _output(["scancel", "--full", *jobs], environ)
    _wait(lambda: not _output(["squeue", "-h", "-o", "%A"], environ).split(), None)


def _output(argv: list[str], environ: Mapping[str, str]) -> str:
    done = subprocess.run(argv, env=environ, capture_output=True, text=True, check=False, timeout=START_SECONDS)
    return done.stdout


def _wait(condition: Callable[[], object], folder: Path | None) -> None:
    """Wait for a server to be what it should."""
    deadline = time.monotonic() + START_SECONDS
    while not condition():
        logs = [path.read_text()[-2000:] for path in folder.glob("*.log")] if folder else []
        assert time.monotonic() < deadline, "\n".join(logs)
        time.sleep(0.05)
