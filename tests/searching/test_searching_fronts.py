"""The Pareto front of what a search has scored."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from searching_helpers import CHEAP, configured, journal, searched

from diswot.searching.fronts import non_dominated

POINTS = st.integers(1, 3).flatmap(
    lambda d: st.lists(st.lists(st.integers(0, 4), min_size=d, max_size=d), max_size=12)
)


@given(POINTS)
def test_none_of_the_front_is_dominated_and_all_others_are(points: list[list[int]]) -> None:
    rows = np.array(points)
    dominated = {
        place
        for place, own in enumerate(rows)
        if any((other <= own).all() and (other < own).any() for other in rows)
    }
    front = non_dominated(points)
    assert sorted(front) == sorted({*range(len(points))} - dominated)
    assert [points[place] for place in front] == sorted(points[place] for place in front)


def test_the_result_and_the_table_have_the_front(tmp_path: Path) -> None:
    words = ["proxy=[random,params]", "strategy=exhaustive", "strategy.evaluations=null"]
    records, result = searched(tmp_path, configured(CHEAP, *words))
    assert result["objectives"] == ["fitness", "params"]
    costs = {each["arch"]: (each["params"], -each["score"]) for each in records}
    expected = [
        arch
        for arch, own in sorted(costs.items(), key=lambda item: item[1])
        if not any(o != own and o[0] <= own[0] and o[1] <= own[1] for o in costs.values())
    ]
    assert [each["arch"] for each in result["front"]] == expected
    assert 1 < len(expected) < len(costs)
    with (tmp_path / "candidates.csv").open(newline="") as file:
        marked = [row["arch"] for row in csv.DictReader(file) if row["front"] == "True"]
    assert sorted(marked) == sorted(expected)
    assert all(line["latency_ms"] is None for line in journal(tmp_path))


@pytest.mark.parametrize("evaluations", [20, 26])
def test_nsga2_gives_a_front_of_its_objectives(tmp_path: Path, evaluations: int) -> None:
    """Cut short or not; the last generation of 20 is whole."""
    words = ["proxy=[params,random]", "strategy=nsga2", "strategy.population=10"]
    words += ["strategy.objectives=[fitness,flops,layers]", f"strategy.evaluations={evaluations}"]
    _, result = searched(tmp_path, configured([*CHEAP[:-2], *words], "strategy.generation=5"))
    assert result["objectives"] == ["fitness", "flops", "layers"]
    assert result["strategy"] == "nsga2"
    front = [(each["flops"], each["layers"], -each["score"]) for each in result["front"]]
    assert len(front) == len(non_dominated(front)) > 1
    assert json.loads((tmp_path / "result.json").read_text())["evaluated"] == evaluations
