"""Table folders and run directories written by hand."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

SPEC = {
    "title": "A table",
    "paper": "What was published.",
    "scale": "tiny",
    "kind": "searches",
    "row": "{proxy} {strategy}",
    "column": "{dataset} {statistic}",
}


def write_table(folder: Path, **changes: Any) -> Path:
    """A folder with a table.yaml; JSON is YAML."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "table.yaml").write_text(json.dumps({**SPEC, **changes}))
    return folder


def write_csv(file: Path, header: str, *lines: Sequence[object]) -> None:
    with file.open("w", newline="") as text:
        csv.writer(text).writerows([header.split(","), *lines])


def read_results(folder: Path) -> dict[tuple[str, str], dict[str, str]]:
    with (folder / "results.csv").open(newline="") as text:
        return {(line["row"], line["column"]): line for line in csv.DictReader(text)}


def write_run(path: Path, config: Mapping[str, Any], result: Mapping[str, Any] | None) -> Path:
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps(config))
    if result is not None:
        (path / "result.json").write_text(json.dumps({"schema": 1, **result}))
    return path


def search(
    path: Path,
    seed: int,
    accuracy: float,
    *,
    proxy: str = "nwot",
    source: str = "a.csv",
    finished: bool = True,
) -> Path:
    """A search of NAS-Bench-201 with one known accuracy."""
    standing = {
        **{"dataset": "cifar10", "target": "vanilla", "accuracy": accuracy, "rank": 10 + seed},
        **{"count": 15625, "best_arch": "y", "best_accuracy": 94.0},
    }
    result = {
        **{"space": "nasbench201", "arch": "x", "score": 1.0, "params": 1000 + seed, "flops": 10},
        **{"seed": seed, "proxy": proxy, "strategy": "random", "teacher": "resnet56", "top": []},
        **{"evaluated": 5, "distinct": 5, "rejected": 0, "exhausted": False, "num_classes": 10},
        **{"candidates_per_second": 1.0, "data": "fashion_mini"},
        **{"seconds": 2.0 + seed, "benchmark": {"source": source, "standings": [standing]}},
    }
    config = {"strategy": {"name": "random"}, "seed": seed, "space": {"name": "nasbench201"}}
    return write_run(path, config, result if finished else None)


def training(path: Path, run: str | None, top1: float, distiller: Sequence[str] = ("kd",)) -> Path:
    result = {
        **{"student": "s0:1-1-1", "teacher": "resnet56", "distiller": list(distiller)},
        **{"data": "fashion_mini", "epochs": 1, "test_top1": top1, "params": 100, "flops": 10},
        **{"images_per_second": 5.5, "seed": 0, "test_top5": 99.0, "best_val_top1": top1},
        **{"validated_on": "test", "seconds": 1.0},
    }
    return write_run(path, {"protocol": {"name": "short"}, "student": {"run": run}}, result)
