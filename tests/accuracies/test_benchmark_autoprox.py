"""The accuracies of vision transformers, from Auto-Prox's tables."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from benchmark_helpers import AUTO_PROX, auto_prox_json, auto_prox_rows
from scipy.stats import spearmanr

from diswot.accuracies import Benchmark, NoAccuraciesError, benchmark_of
from diswot.commands import compose
from diswot.errors import UserError


def bench(space: str, *words: str) -> Benchmark:
    return benchmark_of(compose("rank", [f"space={space}", *words], None))


def test_figures_are_those_of_the_file(tmp_path: Path) -> None:
    mine = bench("autoformer", f"benchmark.path={auto_prox_json(tmp_path, 'autoformer')}")
    heads = ["3.5x4", "3.5x3", "3.5x4", *["3.5x3"] * 11]  # 5 is 0b101
    text = f"autoformer:192/{'-'.join(heads)}"
    assert mine.accuracy(text, "cifar100", "vanilla") == 50.05
    assert mine.accuracy(text, "chaoyang", "distilled") == 55.05
    assert mine.accuracy(text, "imagenet", "supernet") == 70.05
    pit = bench("pit", f"benchmark.path={auto_prox_json(tmp_path, 'pit')}")
    assert pit.accuracy("pit:16/4/1x2-4x4-2x4", "flowers", "distilled") == 53.04
    assert ("imagenet", "supernet") not in pit.known
    few = bench("pit", f"benchmark.path={pit.source}", "benchmark.datasets=[flowers]")
    assert few.entries() == [("flowers", "vanilla"), ("flowers", "distilled")]


def edit(change: Callable[[list[dict[str, Any]]], object]) -> str:
    rows = auto_prox_rows("pit")
    change(rows)
    return json.dumps(rows)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[", "cannot be used: Expecting value"),
        ("{}", "row 1 has no architecture"),
        (edit(lambda rows: rows[2].pop("arch")), "row 3 has no architecture"),
        (edit(lambda rows: rows[2]["arch"]["depth"].pop()), "row 3 has no architecture"),
        (edit(lambda rows: rows.append(rows[0])), "row 21 has an arch of a row above"),
        (edit(lambda rows: rows[1].update(c100_kd_acc=101)), "row 2 has .*101.* as c100_kd_acc"),
        (edit(lambda rows: [r.pop("c100_kd_acc") for r in rows]), "no column c100_kd_acc; it has"),
    ],
)
def test_a_file_that_cannot_be_used(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "bad.json").write_text(content)
    with pytest.raises(UserError, match=message) as caught:
        bench("pit", f"benchmark.path={tmp_path / 'bad.json'}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("space", AUTO_PROX)
def test_no_file(space: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("", str(tmp_path)):
        monkeypatch.setenv("DISWOT_DATA", folder)
        wanted = rf"^benchmark.path: not given, .*\$DISWOT_DATA/benchmarks/{space}_kd.json; give a"
        with pytest.raises(NoAccuraciesError, match=wanted):
            bench(space)
    with pytest.raises(UserError, match="No such file"):
        bench(space, f"benchmark.path={tmp_path / 'none.json'}")


@pytest.mark.data
@pytest.mark.parametrize(("space", "expected"), [("autoformer", -0.38), ("pit", 0.94)])
def test_alone_and_distilled_on_cifar100(data_root: Path, space: str, expected: float) -> None:
    known = bench(space)
    archs = known.archs()
    assert len(archs) == 100
    alone, distilled = (
        [known.accuracy(arch, "cifar100", how) for arch in archs]
        for how in ("vanilla", "distilled")
    )
    assert spearmanr(alone, distilled)[0] == pytest.approx(expected, abs=0.005)
