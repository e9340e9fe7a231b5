"""Small whole examples of what runs leave, from which `fuzz_readers` makes damaged ones."""

from __future__ import annotations

from typing import Any

from diswot.runs import (
    CandidateRecord,
    EpochRecord,
    LatencyRecord,
    ProbeRecord,
    ProbeSummary,
    RaceRecord,
    RaceSummary,
    RankRow,
    RankSummary,
    ScoreRecord,
    SearchSummary,
    Summary,
    TopCandidate,
    TrainSummary,
)

_SIZES: dict[str, Any] = {"params": 78042, "flops": 12501632}

JOURNALS: dict[type, list[Any]] = {
    CandidateRecord: [
        CandidateRecord(
            f"s0:1-1-{blocks}",
            *(-0.25 / blocks, {"semantic": -0.1, "relation": 2e-5}, {"nwot": {"nwot": 12.5}}),
            *(78042, 12501632, 8, "ok", None, blocks, False, 0.125),
        )
        for blocks in (1, 3, 5)
    ],
    ScoreRecord: [
        ScoreRecord("s0:1-1-1", seed, {"nwot": {"nwot": 1.5}}, {"cc": "no"}, 1, 2, 3, {"nwot": 0.5})
        for seed in (0, 1)
    ],
    EpochRecord: [
        EpochRecord(epoch, 0.1, {"loss": 2.5, "ce": 1.5}, 1.0, 70.5, 99.0, 70.5, 100.0, 2.0)
        for epoch in range(3)
    ],
    LatencyRecord: [LatencyRecord("s0:1-1-1", 1.5, 0.1, "a CPU"), LatencyRecord("x", 2.5, None)],
    RaceRecord: [
        RaceRecord("s0:1-1-1", 0, 1, 0, False, None, 91.5, 78042, 12501632, 1.5),
        RaceRecord("s0:1-1-3", 1, 2, 0, True, 80.5, 81.5, 78042, 12501632, 1.5),
    ],
    ProbeRecord: [ProbeRecord(1, 2.5), ProbeRecord(2, 1.25)],
}
"""Records by their class."""

_BEST = TopCandidate("s0:1-1-1", 0.5, {"nwot": 0.5}, {"params": 1.0}, **_SIZES)
_COMMON: dict[str, Any] = {"seconds": 1.5, "seed": 0, "versions": {"diswot": "0.1.0"}}

SUMMARIES: dict[str, Summary] = {
    "search": SearchSummary(
        **{"space": "s0", "arch": "s0:1-1-1", "score": 0.5, "evaluated": 3, "distinct": 3},
        **{"rejected": 0, "exhausted": False, "candidates_per_second": 2.0, "teacher": None},
        **{"proxy": "nwot", "strategy": "random", "data": "x", "num_classes": 10, "top": [_BEST]},
        **{"largest": _BEST, "places": {"0": [1, 2]}, "budget": {"params": 1e6}},
        **_SIZES,
        **_COMMON,
    ),
    "train": TrainSummary(
        **{"student": "resnet8", "teacher": "resnet56", "distiller": ["kd"], "data": "x"},
        **{"epochs": 3, "test_top1": 70.5, "test_top5": 99.0, "best_val_top1": 70.5},
        **{"validated_on": "test", "images_per_second": 10.0},
        **_SIZES,
        **_COMMON,
    ),
    "rank": RankSummary(space="s0", teacher="resnet56", n=64, seeds=[0, 1]),
    "race": RaceSummary(
        **{"space": "s0", "arch": "s0:1-1-1", "test_top1": 80.5, "control": None, "margin": None},
        **{"contestants": [], "teacher": None, "teacher_weights": None, "teacher_top1": None},
        **{"distiller": [], "data": "x", "protocol": "brief", "rungs": [1, 2], "images": 10},
        **{"validated_on": "held out", "trained": 3, "seeds": 1},
        **_SIZES,
        **_COMMON,
    ),
    "probe": ProbeSummary(
        **{"teacher": "resnet56", "teacher_weights": "x", "data": "x", "num_classes": 10},
        **{"images": 10, "embedding_width": 64, "l2": 1e-4, "steps": 5, "converged": True},
        **{"train_top1": 99.0, "test_top1": 90.0, "test_top5": 99.0},
        **_SIZES,
        **_COMMON,
    ),
}
"""Results by the command that writes them."""

CONFIGS: dict[str, dict[str, Any]] = {
    "search": {"strategy": {"evaluations": 3, "name": "random"}, "seed": 0, "proxy": {"nwot": {}}},
    "train": {"protocol": {"name": "short", "max_epochs": 3}, "seed": 0},
    "rank": {"seeds": 2, "seed": 0, "proxy": {"nwot": {}}},
    "race": {"rungs": [1, 2], "seed": 0},
    "probe": {"l2": 1e-4, "seed": 0},
}
"""What of a config tells the commands apart, and a little more."""

RANK_ROW = RankRow(
    **{"space": "s0", "dataset": "cifar100", "target": "distilled", "proxy": "nwot"},
    **{"n": 64, "failed": 0},
    **dict.fromkeys(
        (
            *("spearman", "spearman_lo", "spearman_hi", "spearman_std", "kendall", "pearson"),
            *("partial_spearman_params", "precision_at_10pct", "regret", "seconds_per_arch"),
            *("kendall_lo", "kendall_hi", "pearson_lo", "pearson_hi", "minus_params"),
            *("minus_params_lo", "minus_params_hi", "minus_control", "minus_control_lo"),
            "minus_control_hi",
        ),
        0.5,
    ),
    **{"seeds": 3, "data": "fashion_mini", "num_classes": 10, "init": "gaussian"},
    **{"teacher": "resnet56", "better_than_params": False, "baseline": False, "control": False},
    **{"source": "x", "teacher_weights": "none", "batch_size": 64, "image_size": 32},
)
"""A row of rank.csv."""
