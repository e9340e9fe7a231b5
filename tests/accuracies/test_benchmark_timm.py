"""Published accuracies of timm's models, alone and distilled."""

import re
from pathlib import Path

import pytest
from benchmark_helpers import write_pairs

from diswot.accuracies import Benchmark, NoAccuraciesError, benchmark_of
from diswot.commands import compose
from diswot.errors import UserError
from diswot.models.zoo import timm_names


def timm(*words: str) -> Benchmark:
    return benchmark_of(compose("rank", ["space=timm", *words], None))


def test_the_gain_is_distilled_less_alone_and_may_be_negative(tmp_path: Path) -> None:
    pairs = timm(f"benchmark.path={write_pairs(tmp_path / 'pairs.csv')}")
    assert pairs.entries() == [("imagenet", t) for t in ("distilled", "vanilla", "gain")]
    figures = [pairs.accuracy("timm:resnet18", *entry) for entry in pairs.entries()]
    assert figures == [59.5, 60.0, -0.5]


def test_pairs_of_other_sizes_are_left_out(tmp_path: Path) -> None:
    path = write_pairs(tmp_path / "pairs.csv")
    assert not {"timm:resnet152"} & set(timm(f"benchmark.path={path}").archs())
    assert timm(f"benchmark.path={path}", "benchmark.sizes=[384]").archs() == ["timm:resnet152"]
    with pytest.raises(UserError, match=r"benchmark.sizes=\[96\]: .* has no pair"):
        timm(f"benchmark.path={path}", "benchmark.sizes=[96]")


def test_a_file_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("arch,kd\nresnet18,5")
    with pytest.raises(UserError, match="it has no column img_size; it has arch, kd"):
        timm(f"benchmark.path={path}")


def test_without_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISWOT_DATA", raising=False)
    message = "put it at $DISWOT_DATA/benchmarks/timm_distilled_pairs.csv"
    with pytest.raises(NoAccuraciesError, match=re.escape(message)):
        timm()


@pytest.mark.data
def test_the_published_pairs(data_root: Path) -> None:
    pairs = timm(f"benchmark.path={data_root / 'benchmarks' / 'timm_distilled_pairs.csv'}")
    assert len(pairs.archs()) == 35
    assert {arch.removeprefix("timm:") for arch in pairs.archs()} <= set(timm_names(["*"]))
    gains = [pairs.accuracy(arch, "imagenet", "gain") for arch in pairs.archs()]
    assert 0.5 < min(gains) < max(gains) < 3
