"""Plans that commands show before they begin."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diswot.console import print_pairs, shown

if TYPE_CHECKING:
    from diswot.accuracies import Benchmark
    from diswot.data.base import ImageData

__all__ = ["conditions", "show_rank_plan"]


def conditions(
    config: Mapping[str, Any], data: ImageData, num_classes: int, workers: int, path: Path
) -> dict[str, str]:
    """The conditions of the scores, an entry a line."""
    teacher = config["teacher"]
    weights = "" if teacher["name"] == "none" else f" (weights: {teacher['weights']})"
    size, batch = data.image_size, config["data"]["batch_size"]
    init = config["init"]["_target_"].rpartition(".")[2].lower()
    last = config["seed"] + config.get("seeds", 1) - 1
    seeds = f"seed {config['seed']}" if last == config["seed"] else f"seeds {config['seed']}–{last}"
    processes = f"{workers} worker{'s' if workers > 1 else ''}"
    return {
        "teacher": f"{teacher['name']}{weights}",
        "data": f"{data.name}, {batch} images of {size}×{size}, {num_classes} classes",
        "init": f"{init}, {seeds}",
        "device": f"{config['device']}, {config['precision']}, {processes}",
        "run dir": shown(path),
    }


def show_rank_plan(
    config: Mapping[str, Any],
    benchmark: Benchmark,
    count: int,
    *,
    data: ImageData,
    workers: int,
    path: Path,
) -> None:
    """What a ranking is about to do, one line an item."""
    names = list(config["proxy"])
    part = f", shard {config['shard']}" if config["shard"] else ""
    control = " and a shuffled control of each that compares with the teacher"
    targets = ", ".join(f"{dataset} {target}" for dataset, target in benchmark.entries())
    print_pairs(
        {
            "space": f"{benchmark.space}, {count:,} architectures{part}",
            "accuracy": f"{targets} ({benchmark.source})",
            "proxies": f"{', '.join(names)}{control if config['control'] == 'shuffled' else ''}",
            **conditions(config, data, config["num_classes"], workers, path),
        }
    )
