"""A Slurm of one machine, of this user's, in a folder of its own."""

import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

USER = pwd.getpwuid(os.getuid()).pw_name
PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "squeue", "scancel")

CONF = """\
ClusterName=diswot
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={root}/munge.socket,cred_expire=10
CredType=cred/munge
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd.pid
SlurmctldLogFile={root}/slurmctld.log
SlurmdLogFile={root}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=batch_sched_delay=0,bf_interval=1,sched_interval=1
SlurmctldParameters=preempt_send_user_signal
SlurmdParameters=config_overrides
ReturnToService=2
MailProg=/bin/true
KillWait=3
MinJobAge=3600
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName={host} NodeAddr=127.0.0.1 CPUs=2
PartitionName=usual Nodes={host} Default=YES PriorityTier=1 PreemptMode=REQUEUE
PartitionName=urgent Nodes={host} PriorityTier=10 PreemptMode=OFF
"""


@dataclass(frozen=True)
class Ended:
    """Exit code and output of a command."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Cluster:
    """A running Slurm."""

    env: dict[str, str]

    def call(self, *command: str) -> str:
        return _call(command, self.env)

    def sweep(
        self,
        cwd: Path,
        command: str,
        words: Sequence[str],
        meanwhile: Callable[[], None] = lambda: None,
    ) -> Ended:
        """``diswot command -m hydra/launcher=slurm``; its jobs are cancelled where a step fails."""
        argv = [sys.executable, "-m", f"diswot.{command}", "-m", "hydra/launcher=slurm", *words]
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = subprocess.Popen(argv, cwd=cwd, env=self.env, text=True, **pipes)
        try:
            meanwhile()
            out, err = process.communicate(timeout=300)
        except BaseException as error:
            self.call("scancel", "--user", USER)
            raise AssertionError("\n".join(process.communicate(timeout=120))) from error
        return Ended(process.returncode, out, err)

    def jobs(self) -> list[str]:
        """Ids, also of jobs that are over."""
        return self.call("squeue", "--noheader", "--array", "--states=all", "--format=%i").split()


def until(condition: Callable[[], object], seconds: float, problem: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{seconds:g} s are over: {problem}"
        time.sleep(0.2)


@contextmanager
def running_slurm() -> Iterator[Cluster]:
    """Start all three daemons, in a folder of a short name, since sockets have short names."""
    if missing := [name for name in PROGRAMS if shutil.which(name, path=PATH) is None]:
        pytest.skip(f"no {', '.join(missing)}: apt-get install slurmctld slurmd slurm-client munge")
    root = Path(tempfile.mkdtemp(prefix="slurm"))
    for folder in (root / "state", root / "spool"):
        folder.mkdir(mode=0o755)
    conf, host = root / "slurm.conf", socket.gethostname().partition(".")[0]
    with socket.socket() as first, socket.socket() as second:  # together, so that they differ
        first.bind(("", 0))
        second.bind(("", 0))
        ports = first.getsockname()[1], second.getsockname()[1]
    conf.write_text(CONF.format(host=host, root=root, ports=ports, user=USER))
    env = {**os.environ, "PATH": PATH, "SLURM_CONF": str(conf), "OMP_NUM_THREADS": "1"}
    env["PYTHONPATH"] = f"{Path(__file__).parent}:{os.environ.get('PYTHONPATH', '')}"
    (root / "munge.key").touch(mode=0o600)
    (root / "munge.key").write_bytes(os.urandom(1024))
    options = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log"}
    munged = ["munged", *(f"--{option}={root}/munge.{name}" for option, name in options.items())]
    daemons = [*munged, "--force", f"--seed-file={root}/munge.seed"], ["slurmctld", "-c"]
    sinfo = ["sh", "-c", "sinfo -h -o %T || true"]
    try:
        for command in (*daemons, ["slurmd", "-c"]):
            _call(command, env)
        until(lambda: "idle" in _call(sinfo, env), 60, f"the node is not idle; see {root}/*.log")
        yield Cluster(env)
    finally:
        for command in (["scancel", f"--user={USER}"], ["scontrol", "shutdown"]):
            subprocess.run(command, env=env, timeout=60, check=False)
        until(lambda: not list(root.glob("slurm*.pid")), 60, "Slurm does not end")
        _call([*munged, "--stop"], env)
        shutil.rmtree(root, ignore_errors=True)


def _call(command: Sequence[str], env: dict[str, str]) -> str:
    null, pipe, same = subprocess.DEVNULL, subprocess.PIPE, subprocess.STDOUT
    done = subprocess.run(
        command, env=env, stdin=null, stdout=pipe, stderr=same, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}"
    return done.stdout
