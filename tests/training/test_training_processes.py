"""Several processes train one student, whoever starts them."""

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F
from training_helpers import SMALL, epochs, left, prepared

from diswot.errors import UserError
from diswot.train import main
from diswot.training.processes import environment, explained, is_first, start

sys.path.append(str(Path(__file__).parents[1] / "slurm"))

STEP = [
    *("distiller=none", "protocol.max_epochs=1", "data.length=64", "protocol.schedule.warmup=0"),
    *("protocol.optimizer.momentum=0", "protocol.optimizer.nesterov=false"),
    *("protocol.optimizer.weight_decay=0", "protocol.optimizer.lr=0.3"),
]
"""One step of two processes; the test's own arithmetic says where it leads."""

WORDS = [*SMALL, *STEP, "trainer.devices=2", "hydra.run.dir=run"]


def stepped(weights: Path) -> dict[str, torch.Tensor]:
    """The parameters after a step along the mean of both batches' gradients."""
    setup = prepared(weights, *STEP)
    student = setup.module.student
    for number in (0, 1):
        images, labels, _ = setup.batches.training[0, number]
        (F.cross_entropy(student(images), labels) / 2).backward()
    return {name: (p - 0.3 * p.grad).detach() for name, p in student.named_parameters()}


@pytest.fixture
def slurm() -> Iterator[dict[str, str]]:
    """The environment of a Slurm of our own, on this machine."""
    from slurm_helpers import running_slurm

    with running_slurm() as cluster:
        yield cluster.env | {"PYTHONPATH": os.environ.get("PYTHONPATH", "")}


def launched(
    cwd: Path, launcher: list[str], env: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    """What the processes of a launcher print."""
    cwd.mkdir(exist_ok=True)
    command = [*launcher, "-m", "diswot.train", *WORDS]
    done = subprocess.run(
        command, cwd=cwd, env=env, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of one command that starts both processes."""
    folder = tmp_path_factory.mktemp("alone")
    done = launched(folder, [sys.executable], dict(os.environ))
    assert "ightning" not in done.stderr
    out = done.stdout
    assert out.count("epoch 1/1") == out.count("on the test images after") == 1
    return folder / "run"


@pytest.mark.slow
def test_two_processes_average_their_gradients(alone: Path, weights: Path) -> None:
    (line,) = epochs(alone)
    result = json.loads((alone / "result.json").read_text())
    assert result["test_top1"] == line["val_top1"]
    assert 0 <= result["test_top1"] <= result["test_top5"] <= 100
    student = load_file(alone / "student.safetensors")
    for name, value in stepped(weights).items():
        torch.testing.assert_close(student[name], value, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_torchrun_starts_the_same_training(alone: Path, tmp_path: Path) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]
    done = launched(tmp_path / "other", [*torchrun, "--standalone"], dict(os.environ))
    assert done.stdout.count("epoch 1/1") == 1
    assert left(tmp_path / "other/run") == left(alone)


@pytest.mark.slow
@pytest.mark.slurm
def test_srun_starts_the_same_training(alone: Path, tmp_path: Path, slurm: dict[str, str]) -> None:
    tasks = ["srun", "--ntasks=2", "--ntasks-per-node=2", sys.executable]
    out = launched(tmp_path / "two", tasks, slurm).stdout
    assert out.count("epoch 1/1") == out.count("on the test images after") == 1
    assert left(tmp_path / "two/run") == left(alone)


@pytest.mark.slow
def test_a_failure_of_several_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*WORDS, "protocol.optimizer.lr=1e30", "protocol.max_epochs=2"]) == 2
    line = capfd.readouterr().err.splitlines()[-1]  # torchmetrics warns of NaN before it
    assert "the loss" in line
    failure = json.loads((tmp_path / "run/failure.json").read_text())
    assert failure["error"] in line
    assert failure["type"] == "UserError"


def fail(error: BaseException | None) -> None:
    if os.environ["LOCAL_RANK"] == "1":
        if error is None:
            os.kill(os.getpid(), signal.SIGKILL)
        raise error
    signal.pause()


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full", "f"), None])
def test_an_error_of_one_process_ends_all(error: Exception | None) -> None:
    with pytest.raises(type(error) if error else UserError) as caught:
        start(2, fail, error)
    text = "one of the processes of trainer.devices was killed (SIGKILL)"
    assert str(error or text) in str(caught.value)


GLOO = "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:537] Connection reset by peer"


@pytest.mark.parametrize("error", [RuntimeError(GLOO), torch.distributed.DistBackendError("x")])
def test_the_end_of_another_process_is_one_line(tmp_path: Path, error: Exception) -> None:
    ended = pytest.raises(UserError, match="another process of this training has ended")
    with ended, explained(tmp_path, batch_size=8, num_workers=0):
        raise error


VARIABLES = ("LOCAL_RANK", "TORCHELASTIC_RUN_ID", "SLURM_STEP_NUM_TASKS", "SLURM_NTASKS")
TORCHRUN = {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "4", "RANK": "1", "LOCAL_RANK": "1"}
SRUN = {
    **{"SLURM_STEP_NUM_TASKS": "4", "SLURM_NTASKS": "4", "SLURM_NTASKS_PER_NODE": "2"},
    **{"SLURM_NNODES": "2", "SLURM_NODEID": "1", "SLURM_LOCALID": "0"},
}
BATCH = {"SLURM_NTASKS": "1", "SLURM_STEP_NUM_TASKS": "1", "SLURM_NODEID": "0"}
FOUND = [
    ({}, (1, 1), "LightningEnvironment", True),
    ({}, (2, 1), "NoneType", False),
    (BATCH, (1, 1), "LightningEnvironment", True),
    (BATCH, (2, 1), "NoneType", False),
    (SRUN, (1, 1), "LightningEnvironment", True),
    (SRUN, (2, 2), "SLURMEnvironment", False),
    (TORCHRUN, (2, 2), "TorchElasticEnvironment", False),
    ({"LOCAL_RANK": "1"}, (2, 1), "LightningEnvironment", False),
]


def given(patch: pytest.MonkeyPatch, variables: dict[str, str], size: tuple[int, int]) -> object:
    for name in VARIABLES:
        patch.delenv(name, raising=False)
    for name, value in variables.items():
        patch.setenv(name, value)
    return environment({"devices": size[0], "num_nodes": size[1]})


@pytest.mark.parametrize(("variables", "size", "kind", "first"), FOUND)
def test_who_started_this_process(
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    size: tuple[int, int],
    kind: str,
    first: bool,
) -> None:
    started = given(monkeypatch, variables, size)
    assert type(started).__name__ == kind
    assert first is (started is not None and size == (1, 1)) or is_first(started) is first


@pytest.mark.parametrize(
    ("variables", "size", "text"),
    [
        ({}, (2, 2), "use srun or torchrun"),
        (TORCHRUN, (2, 1), "make 2 processes: .*world size"),
        (SRUN, (2, 1), "make 2 processes: srun started 4 tasks"),
        (SRUN, (1, 4), "devices=2"),
        ({**SRUN, "SLURM_NTASKS_PER_NODE": None}, (2, 2), "--ntasks-per-node"),
        ({}, ("auto", 1), "trainer.devices=auto is not allowed"),
        ({}, (1, 0), "trainer.num_nodes=0 is not allowed"),
    ],
)
def test_processes_that_do_not_fit(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], size: tuple[int, int], text: str
) -> None:
    kept = {name: value for name, value in variables.items() if value is not None}
    monkeypatch.delenv("SLURM_NTASKS_PER_NODE", raising=False)
    with pytest.raises(UserError, match=text):
        given(monkeypatch, kept, size)
