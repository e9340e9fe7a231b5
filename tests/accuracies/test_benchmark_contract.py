"""Rules that every member of conf/benchmark keeps, found by listing the folder."""

import math
import pickle
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from benchmark_helpers import AUTO_PROX, auto_prox_json, best_of, write_pairs
from hydra.utils import instantiate
from omegaconf import OmegaConf

from diswot.accuracies import Benchmark
from diswot.config import make as instantiate_node
from diswot.errors import UserError

CONF = Path(__file__).resolve().parents[2] / "conf" / "benchmark"
MEMBERS = sorted(path.stem for path in CONF.glob("*.yaml"))

Make = Callable[..., Benchmark]


@pytest.fixture(params=MEMBERS)
def make(request: pytest.FixtureRequest, whole_csv: Path, tmp_path: Path) -> Make:
    """Instantiates one member, on a file of the tests where there is one for it."""
    config = OmegaConf.load(CONF / f"{request.param}.yaml")
    overrides = {"path": str(whole_csv)} if "path" in config else {}
    if request.param in AUTO_PROX:
        overrides = {"path": str(auto_prox_json(tmp_path, request.param))}
    if request.param == "timm":
        overrides = {"path": str(write_pairs(tmp_path / "pairs.csv"))}
    if request.param == "table":
        overrides = {"path": str(tmp_path / "mine.csv"), "space": "s0"}
        archs = [f"s0:{a}-{b}-{c}" for a in (1, 3, 5) for b in (1, 3) for c in (1, 3, 7)]
        rows = [f"{arch},{50 + place / 2}" for place, arch in enumerate(archs)]
        (tmp_path / "mine.csv").write_text("\n".join(["arch,kd", *rows]))

    def build(**settings: object) -> Benchmark:
        unknown = settings.keys() - config.keys()
        assert not unknown, f"{request.param}.yaml does not list {unknown}"
        node = OmegaConf.to_container(OmegaConf.merge(config, overrides, settings))
        return instantiate_node(node, "benchmark", Benchmark)

    return build


def test_archs_are_canonical_texts_of_the_space_in_a_fixed_order(make: Make) -> None:
    benchmark = make()
    assert benchmark.name in MEMBERS
    assert benchmark.source
    space = instantiate(OmegaConf.load(CONF.parent / "space" / f"{benchmark.space}.yaml"))
    archs = benchmark.archs()
    assert len(set(archs)) == len(archs) > 1
    assert all(re.fullmatch(r"[A-Za-z0-9:+|/.~_-]+", arch) for arch in archs)
    assert list(make().archs()) == list(archs)
    assert space.name == benchmark.space
    for arch in archs[:: max(1, len(archs) // 200)]:
        assert str(space.parse(arch)) == arch
        assert benchmark.accuracy(space.parse(arch), *benchmark.entries()[0]) >= 0


def test_every_entry_has_a_percentage_of_every_arch(make: Make) -> None:
    benchmark = make()
    assert benchmark.entries()
    assert set(benchmark.entries()) <= set(benchmark.known)
    for entry in benchmark.entries():
        figures = [benchmark.accuracy(arch, *entry) for arch in benchmark.archs()]
        assert all(isinstance(value, float) and math.isfinite(value) for value in figures)
        assert (-100 if entry[1] == "gain" else 0) <= min(figures) <= max(figures) <= 100
        best = benchmark.archs()[figures.index(max(figures))]
        assert best_of(benchmark, *entry) == (best, max(figures))


def test_chosen_datasets_are_reported_in_their_order(make: Make) -> None:
    names = list(dict.fromkeys(dataset for dataset, _ in make().known))
    chosen = list(reversed(names))
    assert list(dict.fromkeys(d for d, _ in make(datasets=chosen).entries())) == chosen
    one = make(datasets=names[-1]).entries()
    assert one == [pair for pair in make().known if pair[0] == names[-1]]


def test_selection_is_a_function_of_the_seed(make: Make) -> None:
    benchmark = make(sample=9)
    archs = list(benchmark.archs())
    state = torch.get_rng_state()
    drawn = benchmark.select(1)
    assert len(set(drawn)) == 9
    assert sorted(drawn, key=archs.index) == drawn
    assert make(sample=9).select(1) == drawn
    assert benchmark.select(2) != drawn
    assert torch.equal(torch.get_rng_state(), state)
    assert make().select(1) == make(sample=len(archs)).select(1) == archs


def test_can_be_sent_to_processes_before_and_after_use(make: Make) -> None:
    benchmark = make(sample=5)
    fresh = pickle.dumps(benchmark)
    entry, arch = benchmark.entries()[-1], benchmark.archs()[5]
    value = benchmark.accuracy(arch, *entry)
    for copy in (pickle.loads(fresh), pickle.loads(pickle.dumps(benchmark))):
        assert copy.accuracy(arch, *entry) == value
        assert copy.select(0) == benchmark.select(0)


@pytest.mark.parametrize("value", [1, 0, -3, 2.5, "many", True])
def test_bad_sample(make: Make, value: object) -> None:
    with pytest.raises(UserError, match=r"benchmark\.sample=.*whole number of at least 2"):
        make(sample=value)


def test_more_than_the_table_holds(make: Make) -> None:
    benchmark = make()
    (dataset, target), count = benchmark.entries()[0], len(benchmark.archs())
    with pytest.raises(UserError, match=rf"benchmark\.sample={count + 1}: .*has {count} "):
        make(sample=count + 1).select(0)
    for chosen in (["svhn"], [dataset, "svhn"], []):
        pattern = rf"benchmark\.datasets=\[.*knows .*{dataset}"
        with pytest.raises(UserError, match=pattern) as caught:
            make(datasets=chosen)
        assert "\n" not in str(caught.value)
    archs = benchmark.archs()
    for wrong in (("svhn", target), (dataset, "pruned")):
        pattern = rf"no {wrong[1]} accuracy on {wrong[0]} in .*it has .*{target} on {dataset}"
        with pytest.raises(UserError, match=pattern):
            benchmark.accuracy(archs[0], *wrong)
    for arch in ("s0:9-9-9", "", None, 3):
        pattern = r"is not among its .* architectures of space .*, such as"
        with pytest.raises(UserError, match=pattern):
            benchmark.accuracy(arch, dataset, target)
