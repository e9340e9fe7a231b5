"""The processes of one training: which environment starts them, and a start of our own."""

import logging
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch.multiprocessing.spawn import ProcessException, ProcessExitedException, spawn

from diswot.checks import whole
from diswot.errors import DivergedError, UserError
from diswot.training.module import LossError

_GRACE = 5.0  # seconds that processes get to end by themselves after Ctrl-C

_LEVELS = {
    **dict.fromkeys(("lightning.pytorch", "lightning.fabric"), logging.ERROR),
    "lightning.pytorch.profilers": logging.INFO,  # trainer.profiler was asked for
    "torch.multiprocessing.spawn": logging.ERROR,
}


def world_size(trainer: Mapping[str, Any]) -> int:
    """Count the processes, one a device; UserError unless ``devices`` is a list or a number."""
    devices = trainer.get("devices", 1)
    count = len(devices) if isinstance(devices, list) else devices
    nodes = whole("trainer.num_nodes", trainer.get("num_nodes", 1), 1)
    return whole("trainer.devices", count, 1) * nodes


def environment(trainer: Mapping[str, Any]) -> ClusterEnvironment | None:
    """The environment that started this process as one of a training's; None: none has yet.

    That is torchrun, or ``srun`` with several tasks, or `start`. One process alone needs none,
    also where it is a job of a cluster. ``trainer`` holds Lightning's arguments. A `UserError`
    says where other processes were started than the settings ask for.
    """
    world = world_size(trainer)
    nodes = trainer.get("num_nodes", 1)
    if world == 1:
        return LightningEnvironment()
    try:
        if TorchElasticEnvironment.detect():
            started: ClusterEnvironment = TorchElasticEnvironment()
        elif (tasks := int(os.environ.get("SLURM_STEP_NUM_TASKS", "1"))) > 1:
            started = SLURMEnvironment(auto_requeue=False)  # a run goes on by its run directory
            if tasks != world:
                raise ValueError(f"srun started {tasks} tasks")
        elif "LOCAL_RANK" in os.environ:
            started = LightningEnvironment()
        elif nodes > 1:
            raise ValueError("no process starts those of other nodes; use srun or torchrun")
        else:
            return None
        started.validate_settings(world // nodes, nodes)
    except (ValueError, RuntimeError) as error:
        raise UserError(
            f"trainer.devices={trainer.get('devices')} trainer.num_nodes={nodes} make {world} "
            f"processes: {error}"
        ) from error
    return started


def is_first(environment: ClusterEnvironment) -> bool:
    """Whether this process is the one that writes and shows."""
    return environment.node_rank() == environment.local_rank() == 0


def start(count: int, function: Callable[..., object], *arguments: object) -> None:
    """Call a function in several fresh processes of this machine, and wait for them.

    They are of Lightning's plain environment. Not Lightning's launcher: it is unpickled there
    before torchvision was made to load (see `diswot._torchvision`). The function, of a module, and
    its arguments are pickled. A UserError or OSError of theirs is raised here; a killed process is
    a UserError.
    """
    failures = get_context("spawn").SimpleQueue()
    port = LightningEnvironment().main_port
    variables = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "NODE_RANK": "0"}
    given = variables, failures, function, arguments
    context: Any = spawn(_called, given, count, join=False)  # type: ignore[no-untyped-call]
    try:
        with quiet():
            while not context.join():
                pass
    except ProcessException as error:
        if not failures.empty():
            raise failures.get() from None
        if isinstance(error, ProcessExitedException) and error.signal_name:
            raise UserError(
                f"one of the processes of trainer.devices was killed ({error.signal_name}), often "
                "for want of memory; the same command goes on from the last finished epoch"
            ) from error
        raise
    except BaseException:  # Ctrl-C, or told to end
        deadline = time.monotonic() + _GRACE
        for process in context.processes:
            process.join(max(0.0, deadline - time.monotonic()))
            process.terminate()
            process.join()
        raise


def _called(
    rank: int,
    variables: Mapping[str, str],
    failures: Any,
    function: Callable[..., object],
    arguments: tuple[object, ...],
) -> None:
    os.environ.update(variables, LOCAL_RANK=str(rank))
    try:
        function(*arguments)
    except (UserError, OSError) as error:
        failures.put(UserError(str(error)) if isinstance(error, UserError) else error)
        raise SystemExit(1) from None


@contextmanager
def quiet() -> Iterator[None]:
    """Lightning's hints on hardware and workers are not for those who use this program."""
    loggers = {logging.getLogger(name): level for name, level in _LEVELS.items()}
    before = {logger: logger.level for logger in loggers}
    try:
        for logger, level in loggers.items():
            logger.setLevel(level)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")
            yield
    finally:
        for logger, level in before.items():
            logger.setLevel(level)


@contextmanager
def explained(folder: Path, batch_size: int, num_workers: int) -> Iterator[None]:
    """Turn what can be mended by other settings into a `UserError` of one line.

    The batch of a loss that is not finite is kept in the folder, the run directory.
    """
    try:
        yield
    except LossError as error:
        file = folder / "not_finite.pt"
        torch.save(error.batch, file)
        raise DivergedError(
            f"{error}; the batch is kept in {file}. Try a smaller protocol.optimizer.lr, "
            "protocol.gradient_clip=5 or a smaller distiller weight, in another hydra.run.dir"
        ) from error
    except DivergedError:
        raise
    except UserError as error:  # of a process that loads images: after its traceback
        raise UserError(str(error).rpartition("UserError: ")[2].strip()) from error
    except MisconfigurationException as error:
        raise UserError(f"trainer or callbacks: {' '.join(str(error).split())}") from error
    except (RuntimeError, MemoryError, EOFError, ConnectionError) as error:
        text = str(error)
        # killed between sending a batch and handing over its memory: no message of torch's
        cut_off = num_workers > 0 and isinstance(error, EOFError | ConnectionError)
        if isinstance(error, torch.OutOfMemoryError | MemoryError) or "allocate memory" in text:
            raise UserError(
                f"out of memory with data.batch_size={batch_size}; try "
                f"data.batch_size={max(1, batch_size // 2)}"
            ) from error
        if cut_off or "DataLoader worker" in text:
            raise UserError(
                f"a process that loads images was killed, often for want of memory; with fewer "
                f"than data.num_workers={num_workers} the same command goes on from the last "
                "finished epoch"
            ) from error
        if isinstance(error, torch.distributed.DistError) or "/gloo/" in text:
            raise UserError(
                "another process of this training has ended, for want of memory or with its node; "
                "the same command goes on from the last finished epoch"
            ) from error
        raise
