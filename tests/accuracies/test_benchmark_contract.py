"""What every member of conf/benchmark keeps, found by listing the folder."""

import math
import pickle
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from diswot.accuracies import Benchmark
from diswot.config import make as instantiate_node
from diswot.errors import UserError

CONF = Path(__file__).resolve().parents[2] / "conf" / "benchmark"
MEMBERS = sorted(path.stem for path in CONF.glob("*.yaml"))

Make = Callable[..., Benchmark]


@pytest.fixture(params=MEMBERS)
def make(request: pytest.FixtureRequest, whole_csv: Path) -> Make:
    """Instantiates one member; one that takes a path gets a whole table there."""
    config = OmegaConf.load(CONF / f"{request.param}.yaml")
    overrides = {"path": str(whole_csv)} if "path" in config else {}

    def build(**settings: object) -> Benchmark:
        unknown = settings.keys() - config.keys()
        assert not unknown, f"{request.param}.yaml does not list {unknown}"
        node = OmegaConf.to_container(OmegaConf.merge(config, overrides, settings))
        return instantiate_node(node, "benchmark", Benchmark)

    return build


def test_attributes(make: Make) -> None:
    benchmark = make()
    assert f"{benchmark.name}.yaml" in {path.name for path in CONF.glob("*.yaml")}
    assert benchmark.space
    assert benchmark.sample is None
    assert benchmark.source


def test_works_without_conversion_of_config_nodes(whole_csv: Path) -> None:
    config = OmegaConf.load(CONF / "nasbench201.yaml")
    changes = {"path": str(whole_csv), "datasets": ["cifar100"]}
    assert instantiate(OmegaConf.merge(config, changes)).entries() == [("cifar100", "vanilla")]


def test_archs_are_distinct_texts_in_a_fixed_order(make: Make) -> None:
    archs = make().archs()
    assert len(set(archs)) == len(archs) > 1
    assert all(re.fullmatch(r"[A-Za-z0-9:+|/.~_-]+", arch) for arch in archs)
    assert list(make().archs()) == list(archs)


def test_archs_are_those_of_the_space(make: Make) -> None:
    benchmark = make()
    config = OmegaConf.load(CONF.parent / "space" / f"{benchmark.space}.yaml")
    space = instantiate(config)
    assert space.name == benchmark.space
    assert set(map(str, space.enumerate())) == set(benchmark.archs())


def test_every_entry_has_a_percentage_of_every_arch(make: Make) -> None:
    benchmark = make()
    assert benchmark.entries()
    assert set(benchmark.entries()) <= set(benchmark.known)
    for dataset, target in benchmark.entries():
        for arch in benchmark.archs()[::97]:
            value = benchmark.accuracy(arch, dataset, target)
            assert isinstance(value, float)
            assert math.isfinite(value)
            assert 0 <= value <= 100


def test_best_is_the_maximum(make: Make) -> None:
    benchmark = make()
    for entry in benchmark.entries():
        arch, accuracy = benchmark.best(*entry)
        figures = [benchmark.accuracy(other, *entry) for other in benchmark.archs()]
        assert accuracy == max(figures)
        assert benchmark.archs()[figures.index(accuracy)] == arch


def test_an_arch_object_is_read_by_its_text(make: Make) -> None:
    class Arch:
        def __str__(self) -> str:
            return text

    benchmark = make()
    text, entry = benchmark.archs()[3], benchmark.entries()[0]
    assert benchmark.accuracy(Arch(), *entry) == benchmark.accuracy(text, *entry)


def test_chosen_datasets_are_reported_in_their_order(make: Make) -> None:
    names = list(dict.fromkeys(dataset for dataset, _ in make().known))
    chosen = list(reversed(names))
    assert list(dict.fromkeys(d for d, _ in make(datasets=chosen).entries())) == chosen
    one = make(datasets=[names[-1]]).entries()
    assert one == [pair for pair in make().known if pair[0] == names[-1]]


def test_selection_is_a_function_of_the_seed(make: Make) -> None:
    benchmark = make(sample=9)
    state = torch.get_rng_state()
    drawn = benchmark.select(1)
    assert len(set(drawn)) == 9
    places = [list(benchmark.archs()).index(arch) for arch in drawn]
    assert places == sorted(places)
    assert make(sample=9).select(1) == drawn
    assert benchmark.select(2) != drawn
    assert torch.equal(torch.get_rng_state(), state)
    assert make().select(1) == list(benchmark.archs())
    count = len(benchmark.archs())
    assert make(sample=count).select(1) == list(benchmark.archs())


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


def test_sample_larger_than_the_table(make: Make) -> None:
    count = len(make().archs())
    with pytest.raises(UserError, match=rf"benchmark\.sample={count + 1}: .*has {count} "):
        make(sample=count + 1).select(0)


@pytest.mark.parametrize("chosen", [["svhn"], ["cifar100", "svhn"], []])
def test_bad_datasets(make: Make, chosen: list[str]) -> None:
    with pytest.raises(UserError, match=r"benchmark\.datasets=\[.*knows .*cifar100") as caught:
        make(datasets=chosen)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("dataset", "target"), [("svhn", "vanilla"), ("cifar100", "pruned")])
def test_unknown_figure(make: Make, dataset: str, target: str) -> None:
    benchmark = make()
    pattern = rf"no {target} accuracy on {dataset} in .*it has .*vanilla on cifar100"
    with pytest.raises(UserError, match=pattern):
        benchmark.accuracy(benchmark.archs()[0], dataset, target)
    with pytest.raises(UserError, match=pattern):
        benchmark.best(dataset, target)


@pytest.mark.parametrize("arch", ["s0:9-9-9", "", None, 3])
def test_unknown_arch(make: Make, arch: object) -> None:
    with pytest.raises(UserError, match=r"is not among its .* architectures of space .*, such as"):
        make().accuracy(arch, "cifar100")
