"""Tables with made-up figures: all cells of NAS-Bench-201, and some vision transformers."""

import json
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from diswot.accuracies import Benchmark
from diswot.accuracies.nasbench201 import NasBench201

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
DATASETS = ("cifar10", "cifar100", "imagenet16_120")
COLUMNS = [
    *(f"{name}_test_200ep" for name in DATASETS),
    *(f"{name}_{split}_12ep" for name in DATASETS for split in ("test", "val")),
]
Edit = Callable[[list[str]], object]


def cell(operations: Sequence[str]) -> str:
    a, b, c, d, e, f = operations
    return f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|"


CELLS = [cell(operations) for operations in product(OPERATIONS, repeat=6)]


def nasbench201(**settings: object) -> NasBench201:
    return NasBench201(name="nasbench201", space="nasbench201", **settings)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def whole_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A header and 15,625 lines; column j of cell i is a number that names both."""
    lines = [",".join(["index", "cell", *COLUMNS, "params_m_cifar10"])]
    for i, text in enumerate(CELLS):
        figures = (f"{j + i / 20_000:.6f}" for j in range(len(COLUMNS)))
        lines.append(",".join([str(i), text, *figures, "0.1"]))
    path = tmp_path_factory.mktemp("nasbench201") / "whole.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def edited_csv(tmp_path: Path, whole_csv: Path) -> Callable[[Edit], Path]:
    """The whole file after an edit of its list of lines."""

    def write(edit: Edit) -> Path:
        lines = whole_csv.read_text(encoding="utf-8").splitlines()
        edit(lines)
        path = tmp_path / "edited.csv"
        path.write_text("\n".join(lines), encoding="utf-8")
        return path

    return write


def write_pairs(path: Path) -> Path:
    """Models of timm that were trained alone and distilled, with made-up figures; one loses."""
    names = ["resnet18", "resnet34", "resnet50", "resnet26", *(f"test_vit{i}" for i in ("", 2, 3))]
    names += ["mobilenetv3_small_050", "test_resnet", "test_efficientnet"]
    pairs = [f"{name},224,{60 + i},{59.5 + 1.5 * i}" for i, name in enumerate(names)]
    lines = ["arch,img_size,top1_alone,top1_kd", *pairs, "resnet101,256,80,81", "resnet152,384,1,2"]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def best_of(benchmark: Benchmark, dataset: str, target: str = "vanilla") -> tuple[str, float]:
    """The most accurate architecture (the first of equals) and its accuracy."""
    pairs = ((arch, benchmark.accuracy(arch, dataset, target)) for arch in benchmark.archs())
    return max(pairs, key=lambda pair: pair[1])


AUTO_PROX = ("autoformer", "pit")


def auto_prox_rows(space: str) -> list[dict[str, Any]]:
    """Twenty architectures in the form of Auto-Prox's tables."""
    sets = ("c100", "flower", "chaoyang")
    keys = [f"{name}_{how}_acc" for name in sets for how in ("base", "kd")]
    rows = []
    for i in range(20):
        arch: dict[str, Any] = {"base_dim": 16 + 8 * (i % 4), "mlp_ratio": 2 + 2 * (i // 4 % 4)}
        arch |= {"depth": [1 + i // 16, 4, 2], "num_heads": [2, 4, 4]}
        if space == "autoformer":
            depth = 12 + i % 3
            arch = {"hidden_dim": 192, "mlp_ratio": [3.5] * depth, "depth": depth}
            arch["num_heads"] = [3 + (i >> j & 1) for j in range(depth)]
        figures = {key: 50 + j + i / 100 for j, key in enumerate(keys)}
        rows.append({"arch": arch, **figures, "imagenet_super_acc": 70.0 + i / 100})
    return rows


def auto_prox_json(folder: Path, space: str) -> Path:
    """A file of `auto_prox_rows`."""
    path = folder / f"{space}.json"
    path.write_text(json.dumps(auto_prox_rows(space)))
    return path
