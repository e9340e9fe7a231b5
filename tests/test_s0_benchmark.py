"""The published distilled accuracies of S0 agree with the semantic score."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from scipy.stats import spearmanr

import diswot


@pytest.mark.data
@pytest.mark.slow
def test_semantic_similarity_ranks_s0(data_root: Path, tmp_path: Path) -> None:
    """Channel form, 100 classes, embedded images, ResNet-56: mean of three seeds."""
    with (data_root / "benchmarks" / "s0_cifar100.csv").open(encoding="utf-8") as file:
        distilled = {
            "s0:{depth1}-{depth2}-{depth3}".format(**row): float(row["kd_top1"])
            for row in csv.DictReader(file)
        }
    correlations = []
    for seed in (0, 1, 2):
        found = diswot.find_student(
            space="s0",
            teacher="resnet56",
            proxy="semantic",
            strategy="exhaustive",
            overrides=["proxy.semantic.form=channel", "num_classes=100"],
            seed=seed,
            run_dir=tmp_path / str(seed),
        )
        assert found.summary["evaluated"] == len(distilled) == 64
        journal = (tmp_path / str(seed) / "candidates.jsonl").read_text(encoding="utf-8")
        records = [json.loads(line) for line in journal.splitlines()]
        scores = [record["score"] for record in records]
        accuracies = [distilled[record["arch"]] for record in records]
        correlations.append(spearmanr(scores, accuracies).statistic)
    assert sum(correlations) / 3 >= 0.65, correlations
