"""What is in the files that loggers leave."""

import csv
import json
import re
import subprocess
from pathlib import Path

import pytest
from logger_helpers import SEARCH, TRAIN, Offline, Pair, offline_runs, steps
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]

from diswot.commands import compose
from diswot.config import conf_dir
from diswot.search import main, run_search
from diswot.train import run_train
from diswot.training.module import Distillation


def wandb_of(path: Path) -> Offline:
    (file,) = offline_runs(path)
    return Offline(file)


def lines(file: Path) -> list[dict[str, str]]:
    with file.open() as opened:
        return list(csv.DictReader(opened))


def test_csv_of_a_search(searched: Pair) -> None:
    journal = lines(searched.logged / "candidates.csv")
    scores = [float(line["score"]) for line in journal]
    ends = (10, 20, 25)
    assert steps(searched.logged, "best") == [(end, max(scores[:end])) for end in ends]
    assert steps(searched.logged, "worst") == [
        (end, min(scores[start:end])) for start, end in zip((0, 10, 20), ends, strict=True)
    ]
    assert steps(searched.logged, "mean")[0][1] == pytest.approx(sum(scores[:10]) / 10)
    assert steps(searched.logged, "generation") == [(10, 0), (20, 1), (25, 2)]
    assert steps(searched.logged, "rejected") == [(10, 0), (20, 0), (25, 0)]
    assert len(steps(searched.logged, "candidates_per_second")) == 3


def test_figures_of_their_own_are_named_alike_everywhere(searched: Pair, ranked: Pair) -> None:
    journal, rows = lines(searched.logged / "candidates.csv"), lines(ranked.logged / "rank.csv")
    result = json.loads((searched.logged / "result.json").read_text())
    others = [float(line["score_random"]) for line in journal]
    ends = (10, 20, 25)
    figures = {
        "score/params/best": steps(searched.logged, "best"),
        "score/random/best": [(end, max(others[:end])) for end in ends],
        "score/random/worst": [
            (end, min(others[start:end])) for start, end in zip((0, 10, 20), ends, strict=True)
        ],
        "score/params/found": [(25, result["score"])],
        "score/random/found": [(25, result["top"][0]["others"]["random"])],
        "result/score": [(25, result["score"])],
    }
    known = result["benchmark"]["standings"]
    figures |= {f"accuracy/cifar100_{each['target']}": [(25, each["accuracy"])] for each in known}
    assert {"accuracy/cifar100_vanilla", "accuracy/cifar100_distilled"} < figures.keys()
    _same_everywhere(searched.logged, "evaluated", figures)
    names = [f"spearman/{row['dataset']}_{row['target']}/{row['proxy']}" for row in rows]
    assert "spearman/cifar100_vanilla/random" in names
    spearman = [[(8, float(row["spearman"]))] for row in rows]
    _same_everywhere(ranked.logged, "scored", dict(zip(names, spearman, strict=True)))


def _same_everywhere(path: Path, axis: str, figures: dict[str, list[tuple[int, float]]]) -> None:
    events = EventAccumulator(str(path / "tensorboard/version_0"))
    events.Reload()
    found = wandb_of(path)
    for name, points in figures.items():
        assert steps(path, name) == found.points(name, axis) == points
        board = [(each.step, each.value) for each in events.Scalars(name)]
        assert board == [(step, pytest.approx(value)) for step, value in points]


def test_csv_of_a_training(trained: Pair) -> None:
    epochs = lines(trained.logged / "metrics.csv")
    for name in ("train_loss", "train_ce", "val_loss", "val_top1", "val_top5", "lr"):
        assert steps(trained.logged, name) == [
            (int(epoch["epoch"]), float(epoch[name])) for epoch in epochs
        ]
    result = json.loads((trained.logged / "result.json").read_text())
    for name in ("params", "flops"):
        assert steps(trained.logged, name) == [(0, result[name])]
    assert len(steps(trained.logged, "images_per_second")) == 3


def test_csv_of_a_ranking(ranked: Pair) -> None:
    assert [step for step, _ in steps(ranked.logged, "failed")] == list(range(1, 9))
    assert len(steps(ranked.logged, "architectures_per_second")) == 8


def test_wandb_of_a_search(searched: Pair) -> None:
    found = wandb_of(searched.logged)
    result = json.loads((searched.logged / "result.json").read_text())
    assert found.points("best", "evaluated") == steps(searched.logged, "best")
    assert found.summary["arch"] == result["arch"]
    assert found.summary["versions"] == result["versions"]
    assert found.summary["pictures/search._type"] == "images/separated"
    assert "top" not in found.summary
    assert found.exit_code == 0
    assert (found.run.project, found.run.display_name) == ("diswot", "logged")
    assert (found.run.job_type, found.run.run_group) == ("search", "")
    assert {"space:s0", "teacher:none", "strategy:random", "data:gaussian"} < set(found.run.tags)
    assert {"proxy:params", "proxy:random"} < set(found.run.tags)
    assert found.config["strategy"]["evaluations"] == 25
    table = found.table("candidates")
    best = dict(zip(table["columns"], table["data"][0], strict=True))
    assert (best["arch"], best["score"]) == (result["arch"], result["score"])
    assert len(table["data"]) == result["distinct"]
    assert {"params", "flops", "status", "score_random", "part_params"} < best.keys()


def test_wandb_of_a_training(trained: Pair) -> None:
    found = wandb_of(trained.logged)
    for name in ("train_loss", "val_top1", "params"):
        assert found.points(name, "epoch") == steps(trained.logged, name)
    result = json.loads((trained.logged / "result.json").read_text())
    assert found.summary["test_top1"] == result["test_top1"]
    assert found.summary["pictures/curves._type"] == "images/separated"
    assert {"student:resnet8", "protocol:short"} < set(found.run.tags)


def test_wandb_of_a_ranking(ranked: Pair) -> None:
    found, rows = wandb_of(ranked.logged), lines(ranked.logged / "rank.csv")
    assert found.points("failed", "scored") == steps(ranked.logged, "failed")
    table = found.table("rank")
    assert table["columns"] == list(rows[0])
    place = table["columns"].index("proxy")
    assert [row[place] for row in table["data"]] == [row["proxy"] for row in rows]
    first = next(row for row in rows if row["target"] == "vanilla")
    assert found.summary["best_cifar100_vanilla"] == first["proxy"]


def test_tensorboard(searched: Pair, trained: Pair, ranked: Pair) -> None:
    for both, name in ((searched, "best"), (trained, "val_top1"), (ranked, "failed")):
        events = EventAccumulator(str(both.logged / "tensorboard/version_0"))
        events.Reload()
        points = [(each.step, each.value) for each in events.Scalars(name)]
        assert points == [(s, pytest.approx(v)) for s, v in steps(both.logged, name)]
    assert events.Tags()["images"] == ["pictures/rank"]
    assert "tables/rank/text_summary" in events.Tags()["tensors"]


def test_a_search_that_goes_on_is_one_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "one run"

    def run(evaluations: int, *words: str) -> None:
        every = [*SEARCH, f"strategy.evaluations={evaluations}", "logger=[csv,wandb]", *words]
        run_search(compose("search", every, None), path, quiet=bool(words))

    run(20)
    capsys.readouterr()
    run(40)
    (words,) = re.findall("`wandb sync (.*)` sends it", capsys.readouterr().out)
    shell = subprocess.run(f"ls -d {words}", shell=True, capture_output=True, text=True, check=True)
    assert shell.stdout.split("\n")[:-1] == sorted(str(f.parent) for f in offline_runs(path))
    assert [step for step, _ in steps(path, "best")] == [10, 20, 30, 40]
    first, second = map(Offline, offline_runs(path))
    assert first.run.run_id == second.run.run_id
    assert [step for step, _ in second.points("best", "evaluated")] == [30, 40]
    for name in ("state.json", "result.json"):  # the journal alone is left
        (path / name).unlink()
    run(40, "logger=csv")
    assert [step for step, _ in steps(path, "best")] == [10, 20, 30, 40]


def test_a_training_that_goes_on_is_one_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [*TRAIN, "logger=[csv,wandb]"]

    def run() -> None:
        run_train(compose("train", words, None), tmp_path / "run", [conf_dir()], quiet=True)

    def stop(module: Distillation) -> None:
        if module.current_epoch == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Distillation, "on_validation_epoch_start", stop)
        with pytest.raises(KeyboardInterrupt):
            run()
    assert [step for step, _ in steps(tmp_path / "run", "val_top1")] == [0]
    run()
    assert [step for step, _ in steps(tmp_path / "run", "val_top1")] == [0, 1, 2]
    first, second = map(Offline, offline_runs(tmp_path / "run"))
    assert (first.exit_code, second.exit_code) == (1, 0)
    assert first.run.run_id == second.run.run_id
    assert [step for step, _ in second.points("val_top1", "epoch")] == [1, 2]


def test_group_of_a_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    words = ["seed=3", "logger=wandb", "hydra.sweep.dir=runs/sweep", "strategy.evaluations=10"]
    assert main(["-m", *SEARCH, *words]) == 0
    (path,) = (tmp_path / "runs/sweep").glob("s0-*")
    found = wandb_of(path)
    assert (found.run.run_group, found.run.project) == ("runs/sweep", "mine")
    assert found.run.display_name == path.name
