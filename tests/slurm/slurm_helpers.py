"""A Slurm of one machine, of this user's, in a folder of its own."""

from __future__ import annotations

import io
import os
import pwd
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

import pytest

from diswot.slurm import waiting

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
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Cluster:
    """A running Slurm."""

    root: Path
    env: dict[str, str]
    over: threading.Event = field(default_factory=threading.Event)

    def call(self, *command: str) -> str:
        done = subprocess.run(
            command, env=self.env, capture_output=True, text=True, timeout=30, check=True
        )
        return done.stdout

    def sweep(
        self,
        cwd: Path,
        command: str,
        words: Sequence[str],
        meanwhile: Callable[[], None] = lambda: None,
    ) -> Ended:
        """``diswot command -m hydra/launcher=slurm`` in this process, which waits for its jobs.

        They are cancelled after five minutes, or where what is done meanwhile fails.
        """
        main = import_module(f"diswot.{command}").main
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(1) as thread:
            patch.chdir(cwd)
            for name, value in self.env.items():
                patch.setenv(name, value)
            patch.setattr(waiting, "_GRACE", 1.0)  # there is no network file system
            patch.setattr(waiting, "_ASK", (0.5, 2.0))
            watchdog = threading.Timer(300, self.cancel)
            watchdog.start()
            self.over.clear()
            future = thread.submit(self._or_cancel, meanwhile)
            try:
                with redirect_stdout(out), redirect_stderr(err):
                    code = main(["-m", "hydra/launcher=slurm", *words])
            finally:
                watchdog.cancel()
                self.over.set()
            if error := future.exception():
                raise AssertionError(f"{error}; the sweep: {err.getvalue()}") from error
        return Ended(code, out.getvalue(), err.getvalue())

    def _or_cancel(self, meanwhile: Callable[[], None]) -> None:
        try:
            meanwhile()
        except BaseException:
            self.cancel()
            raise

    def cancel(self) -> None:
        """End all jobs."""
        self.call("scancel", "--user", _user())

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait while a sweep runs."""
        until(lambda: condition() or self.over.is_set(), 180, what)
        assert condition(), f"the sweep is over: {what}"

    def jobs(self) -> dict[str, str]:
        """States by job id, also of jobs that are over."""
        told = self.call("squeue", "--noheader", "--array", "--states=all", "--format=%i %T")
        return dict(line.split() for line in told.splitlines())


def missing_programs() -> list[str]:
    return [name for name in PROGRAMS if _found(name) is None]


def _found(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")


def until(condition: Callable[[], object], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{seconds:g} s are over: {what}"
        time.sleep(0.2)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens at; held together, so that they differ."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def start(root: Path) -> Cluster:
    """Start all three daemons and wait until the node is idle."""
    for folder in (root, root / "state", root / "spool"):
        folder.mkdir(mode=0o755, exist_ok=True)
    conf = root / "slurm.conf"
    conf.write_text(
        CONF.format(
            host=socket.gethostname().partition(".")[0],
            root=root,
            ports=free_ports(2),
            user=_user(),
        )
    )
    env = {
        **os.environ,
        "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin",
        "SLURM_CONF": str(conf),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(Path(__file__).parent),
    }
    _munge(root, env)
    cluster = Cluster(root, env)
    _run(["slurmctld", "-c"], env)
    _run(["slurmd", "-c"], env)

    def idle() -> bool:
        told = subprocess.run(
            ["sinfo", "-h", "-o", "%T"], env=env, capture_output=True, text=True, check=False
        )
        return "idle" in told.stdout

    until(idle, 30, f"the node is not idle; see {root}/*.log")
    return cluster


def _munge(root: Path, env: dict[str, str]) -> None:
    key = root / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(os.urandom(1024))
    names = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log"}
    files = [f"--{option}={root}/munge.{name}" for option, name in names.items()]
    _run(["munged", "--force", *files, f"--seed-file={root}/munge.seed"], env)


def _run(command: Sequence[str], env: dict[str, str]) -> None:
    done = subprocess.run(
        command,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}"


def stop(root: Path, env: dict[str, str]) -> None:
    """End all jobs, then the daemons by the files that hold their process ids."""
    subprocess.run(["scancel", "--user", _user()], env=env, timeout=20, check=False)
    for name in ("slurmd", "slurmctld", "munge"):
        file = root / f"{name}.pid"
        if not file.exists():
            continue
        pid = int(file.read_text())
        os.kill(pid, signal.SIGTERM)
        try:
            until(lambda pid=pid: not _alive(pid), 10, f"{name} does not end")
        except AssertionError:
            os.kill(pid, signal.SIGKILL)


def _user() -> str:
    return pwd.getpwuid(os.getuid()).pw_name


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
