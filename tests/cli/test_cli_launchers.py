"""Sweeps through other launchers and sweepers than Hydra's own."""

import json
import pickle
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from cli_helpers import CHEAP, Cli, outcome, refused

from diswot.errors import UnreadableError, UserError
from diswot.train import main as train

TRAIN = [
    *("data=gaussian", "data.length=32", "data.batch_size=8", "data.image_size=8", "device=cpu"),
    *("student=resnet8", "student.network.widths=[8,8,16,16]", "protocol.max_epochs=1"),
    *("protocol.schedule.warmup=0",),
]


@pytest.fixture(scope="module")
def joblib() -> Iterator[list[str]]:
    """Words for two jobs at a time; their processes end with these tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield ["-m", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    from joblib.externals.loky import get_reusable_executor

    get_reusable_executor().shutdown(wait=True)


def runs(folder: str) -> dict[str, Path]:
    return {file.parent.name: file.parent for file in Path(folder).rglob("config.json")}


def epochs(run: Path) -> list[Mapping[str, Any]]:
    lines = [json.loads(line) for line in (run / "epochs.jsonl").read_text().splitlines()]
    return [{k: line[k] for k in ("epoch", "losses", "val_loss", "val_top1")} for line in lines]


def not_here(*_: object, **__: object) -> None:
    """Stands where a job of this process would run, which other processes do not see."""
    raise AssertionError("the job runs in this process")


@pytest.mark.slow
def test_joblib(joblib: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = [*TRAIN, "teacher=none", "distiller=none", "seed=0,1"]
    with monkeypatch.context() as patch:
        patch.setattr("diswot.train.run_train", not_here)
        assert train([*joblib, *words, "hydra.sweep.dir=parallel"]) == 0
    assert train(["-m", *words, "hydra.sweep.dir=serial"]) == 0
    parallel, serial = runs("parallel"), runs("serial")
    assert len(parallel) == 2
    assert parallel.keys() == serial.keys()
    for folder, run in parallel.items():
        assert epochs(run) == epochs(serial[folder])


@pytest.mark.slow
def test_a_failing_job_of_joblib(
    cli: Cli, joblib: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [word for word in CHEAP if not word.startswith("proxy=")]
    words += [f"hydra.sweep.dir={tmp_path}/swept", "strategy.evaluations=8"]
    with monkeypatch.context() as patch:
        patch.setattr("diswot.search.run_search", not_here)
        ended = cli(*joblib, *words, "proxy=all,random")
    assert ended.code == 2
    assert "diswot search: teacher=none, but " in ended.err  # all is known there
    assert "Traceback" not in ended.err
    (left,) = Path("swept").rglob("result.json")
    assert cli(*words, "proxy=random", "hydra.run.dir=alone").code == 0
    assert outcome(left.parent) == outcome(Path("alone"))


def test_settings_that_joblib_refuses(cli: Cli) -> None:
    for setting in ("n_jobs", "batch_size"):
        joblib = ["hydra/launcher=joblib", f"hydra.launcher.{setting}=0", "seed=0,1"]
        message = refused(cli("-m", *CHEAP, *joblib))
        assert "search: hydra.launcher: joblib refuses its settings (" in message
        assert setting in message


def test_errors_travel_between_processes() -> None:
    error = pickle.loads(pickle.dumps(UnreadableError(Path("a"), "torn", line=3)))
    assert isinstance(error, UserError)
    assert str(error) == "a, line 3 is damaged (torn)"


def test_slurm_is_refused_before_anything_is_written(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("bin").mkdir()
    for name in ("sbatch", "srun", "scontrol", "squeue"):
        Path("bin", name).write_text("#!/bin/sh\necho 'squeue: error: Unknown host' >&2; exit 1\n")
        Path("bin", name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{Path.cwd()}/bin", prepend=":")
    message = refused(cli("-m", *CHEAP, "hydra/launcher=slurm", "seed=0,1"))
    assert "slurm: no cluster answers (Unknown host); start the sweep where" in message
    assert "choose hydra/launcher=joblib or basic" in message
    assert [file.name for file in Path.cwd().iterdir()] == ["bin"]


def test_a_sweep_without_slurm(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(Path.cwd()))
    message = refused(cli("-m", *CHEAP, "hydra/launcher=slurm", "seed=0,1"))
    assert "search: hydra/launcher=slurm: there is no sbatch" in message
    assert "hydra/launcher=joblib or basic" in message
    assert not list(Path.cwd().rglob("*.json"))


@pytest.mark.parametrize("module", ["submitit", "hydra_plugins.hydra_submitit_launcher"])
def test_without_the_extra_slurm(cli: Cli, monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    assert cli("--cfg", "job").code == 0  # Hydra looks for its plug-ins once
    monkeypatch.setitem(sys.modules, module, None)
    message = refused(cli("-m", *CHEAP, "hydra/launcher=slurm", "seed=0,1"))
    assert "is not installed; pip install 'diswot[slurm]'" in message


@pytest.mark.parametrize("choice", ["launcher=joblib", "sweeper=optuna"])
def test_without_the_other_extras(cli: Cli, monkeypatch: pytest.MonkeyPatch, choice: str) -> None:
    from hydra.core.config_store import ConfigStore

    assert cli("--cfg", "job").code == 0
    group, name = choice.split("=")
    monkeypatch.delitem(ConfigStore.instance().repo["hydra"][group], f"{name}.yaml")
    assert refused(cli("-m", *CHEAP, f"hydra/{choice}", "seed=0,1")) == (
        f"diswot search: hydra/{group}/{name}: its package is not installed; "
        f"pip install 'diswot[{name}]'\n"
    )


def launcher(cli: Cli, *words: str) -> dict[str, Any]:
    shown = cli("--config-dir=site", "--cfg=hydra", "--package=hydra.launcher", *words)
    assert shown.code == 0, shown.err
    loaded: dict[str, Any] = yaml.safe_load(shown.out)
    return loaded


def test_settings_of_a_site(cli: Cli) -> None:
    local = Path("site/local")
    local.mkdir(parents=True)
    (local / "slurm.yaml").write_text("partition: gpu\naccount: lab\nmem_gb: 32\n")
    assert "Basic" in launcher(cli)["_target_"]
    found = launcher(cli, "hydra/launcher=slurm", "hydra.launcher.account=other")
    assert (found["partition"], found["account"], found["mem_gb"]) == ("gpu", "other", 32)
    assert found["timeout_min"] > 10
    default = "# @package _global_\ndefaults: [{override /hydra/launcher: slurm}]\n"
    (local / "default.yaml").write_text(default)
    assert launcher(cli)["partition"] == "gpu"
    assert set(launcher(cli, "hydra/launcher=basic")) == {"_target_"}


@pytest.mark.slow
def test_optuna(cli: Cli) -> None:
    short = ["teacher=resnet20", "teacher.weights=embedded", "hydra.sweeper.n_trials=2"]
    assert train([*TRAIN, "experiment=optuna_weights", *short]) == 0
    (best,) = Path("runs").rglob("optimization_results.yaml")
    told = yaml.safe_load(best.read_text())
    names = ["distiller.kd.temperature", "distiller.kd.weight", "distiller.sp.weight"]
    assert sorted(told["best_params"]) == names
    results = [json.loads(f.read_text()) for f in Path("runs").rglob("result.json")]
    assert len(results) == 2
    assert told["best_value"] == max(each["best_val_top1"] for each in results)
    assert {each["validated_on"] for each in results} == {"validation"}
