"""NATS-Bench's own files, written with the package's own classes."""

import pickle
import random
from pathlib import Path
from typing import Any

import pytest
from benchmark_helpers import CELLS, best_of, nasbench201

from diswot.errors import UserError

nats_bench = pytest.importorskip("nats_bench", reason="pip install 'diswot[nats]'")

NAMES = {"cifar10": "cifar10", "cifar100": "cifar100", "imagenet16-120": "ImageNet16-120"}
SEEDS = (777, 888)


def accuracy(index: int, place: int, seed: int) -> float:
    return 40.0 + index + 10 * place + (seed == 888)


def results(index: int, names: dict[str, str]) -> dict[str, Any]:
    """One architecture after 2 of each 200 and 12 epochs."""
    states = {}
    for hp, shift in (("200", 0.0), ("12", -20.0)):
        result = nats_bench.ArchResults(index, CELLS[index])
        for place, theirs in enumerate(names.values()):
            for seed in SEEDS:
                curve = {0: 1.0, 1: 2.0}
                trial = nats_bench.ResultsCount(
                    theirs, None, curve, curve, 0.1, 1.0, {}, seed, 2, None
                )
                trial.update_train_info(curve, curve, curve, curve)
                for split in ("ori-test",) if theirs == "cifar10" else ("x-test", "x-valid"):
                    last = accuracy(index, place, seed) + shift - 5 * (split == "x-valid")
                    values = {f"{split}@0": 1.0, f"{split}@1": last}
                    trial.update_eval(values, values, values)
                result.update(theirs, seed, trial)
        states[hp] = result.state_dict()
    return states


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The layout of fast mode; the last cell's file is damaged, cell 2 lacks a data set."""
    root = tmp_path_factory.mktemp("NATS-tss-v1_0-3ffb9-simple")
    nats_bench.pickle_save({"meta_archs": CELLS[:5]}, root / "meta.pickle")
    for index in range(3):
        names = NAMES if index < 2 else {"cifar10": "cifar10"}
        nats_bench.pickle_save(results(index, names), root / f"{index:06d}.pickle")
    (root / "000004.pickle.pbz2").write_bytes(b"BZh9 and nothing else")
    return root


def test_mean_over_seeds_after_200_epochs(folder: Path) -> None:
    table = nasbench201(path=folder)
    assert table.entries() == [(name, "vanilla") for name in NAMES]
    assert list(table.archs()) == CELLS[:5]
    assert table.source.startswith(f"{folder}, read by nats_bench ")
    state = random.getstate()
    for index in (1, 0):
        for place, name in enumerate(NAMES):
            assert table.accuracy(CELLS[index], name) == accuracy(index, place, 777) + 0.5
    assert random.getstate() == state
    copy = pickle.loads(pickle.dumps(table))
    assert copy.accuracy(CELLS[1], "cifar100") == accuracy(1, 1, 777) + 0.5


def test_single_file(tmp_path: Path) -> None:
    content = {
        "meta_archs": CELLS[:2],
        "arch2infos": {index: results(index, NAMES) for index in range(2)},
        "evaluated_indexes": [0, 1],
    }
    nats_bench.pickle_save(content, tmp_path / "NATS.pickle")
    table = nasbench201(path=tmp_path / "NATS.pickle.pbz2")
    assert best_of(table, "cifar10") == (CELLS[1], accuracy(1, 0, 777) + 0.5)
    assert table.accuracy(CELLS[0], "cifar100") == accuracy(0, 1, 777) + 0.5


def test_what_is_missing_or_damaged(folder: Path, tmp_path: Path) -> None:
    table = nasbench201(path=folder)
    assert table.accuracy(CELLS[2], "cifar10") == accuracy(2, 0, 777) + 0.5
    with pytest.raises(UserError, match="no test accuracy after 200 epochs on cifar100"):
        table.accuracy(CELLS[2], "cifar100")
    for index in (3, 4):
        with pytest.raises(UserError, match=r"benchmark\.path: .* cannot be read \(.*fetch") as e:
            table.accuracy(CELLS[index], "cifar10")
        assert "\n" not in str(e.value)
    with pytest.raises(UserError, match=r"benchmark\.path: .* cannot be read"):
        nasbench201(path=tmp_path).archs()
    with pytest.raises(UserError, match=r"datasets=\['cifar10-12ep'\] is not allowed"):
        nasbench201(path=folder, datasets=["cifar10-12ep"])
    nats_bench.pickle_save({"meta_archs": ["64:64:64:64:64"]}, tmp_path / "meta.pickle")
    with pytest.raises(UserError, match="it is not the topology benchmark"):
        nasbench201(path=tmp_path).archs()
