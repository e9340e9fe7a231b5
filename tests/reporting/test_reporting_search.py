"""What a finished search leaves behind."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from diswot.commands import compose
from diswot.console import print_pairs
from diswot.search import run_search

KEYS = {
    *("schema", "space", "arch", "score", "params", "flops", "evaluated", "rejected", "seconds"),
    *("candidates_per_second", "teacher", "proxy", "strategy", "seed", "data", "device"),
    *("versions", "top"),
}
SETTINGS = [
    *("space=s0", "teacher=resnet8", "proxy=[diswot,nwot,params]", "budget.params=8e5"),
    *("data=gaussian", "data.batch_size=6", "data.image_size=16", "device=cpu", "workers=1"),
    *("strategy.evaluations=24", "strategy.population=10", "strategy.sample=5"),
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished search."""
    path = tmp_path_factory.mktemp("search")
    run_search(compose("search", SETTINGS, None), path, quiet=True)
    return path


def strict(path: Path) -> Any:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} in {path}")

    return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)


def test_result(run: Path) -> None:
    result = strict(run / "result.json")
    assert set(result) >= KEYS
    named = [result[key] for key in ("schema", "evaluated", "teacher", "proxy")]
    assert named == [1, 24, "resnet8", "diswot"]
    assert result["params"] <= 8e5
    assert result["seconds"] > 0
    assert {"diswot", "torch", "python", "cpu_capability"} <= set(result["versions"])
    assert result["top"][0]["arch"] == result["arch"]
    assert len(result["top"]) <= 10
    assert all(set(row["others"]) == {"nwot", "params"} for row in result["top"])
    assert strict(run / "config.json")["device"] == "cpu"


def test_candidates(run: Path) -> None:
    lines = [json.loads(line) for line in (run / "candidates.jsonl").read_text().splitlines()]
    with (run / "candidates.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        *("arch", "score", "told", "part_semantic", "part_relation", "score_nwot"),
        *("score_params", "params", "flops", "layers", "status", "reason", "generation"),
        *("cached", "seconds"),
    ]
    assert [row["arch"] for row in rows] == [line["arch"] for line in lines]
    for row, line in zip(rows, lines, strict=True):
        assert float(row["score"]) == float(row["told"]) == line["score"]
        assert int(float(row["params"])) == line["params"]
        assert float(row["part_semantic"]) + float(row["part_relation"]) == line["score"]
        assert row["cached"] == str(line["cached"])


def test_picture(run: Path) -> None:
    with Image.open(run / "search.png") as image:
        assert image.format == "PNG"
        image.load()
        width, height = image.size
        pixels = np.asarray(image.convert("L"))
    assert 800 <= width <= 3000
    assert 300 <= height <= 2000
    for half in np.array_split(pixels, 2, axis=1):
        assert 0.005 < (half < 250).mean() < 0.6  # something is drawn, most is paper


def test_a_plan_shows_brackets_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    print_pairs({"run dir": "/runs/[b]x[/b]/[/q]"})
    assert "/runs/[b]x[/b]/[/q]" in capsys.readouterr().out
