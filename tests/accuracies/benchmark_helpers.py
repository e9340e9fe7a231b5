"""All cells of NAS-Bench-201 and a table of them with made-up figures."""

from collections.abc import Sequence
from itertools import product

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
DATASETS = ("cifar10", "cifar100", "imagenet16_120")
COLUMNS = [
    *(f"{name}_test_200ep" for name in DATASETS),
    *(f"{name}_{split}_12ep" for name in DATASETS for split in ("test", "val")),
]


def cell(operations: Sequence[str]) -> str:
    a, b, c, d, e, f = operations
    return f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|"


CELLS = [cell(operations) for operations in product(OPERATIONS, repeat=6)]


def csv_lines() -> list[str]:
    """A header and 15,625 lines; column j of cell i is a number that names both."""
    header = ",".join(["index", "cell", *COLUMNS, "params_m_cifar10"])
    rows = (
        ",".join([str(i), text, *(f"{j + i / 20_000:.6f}" for j in range(len(COLUMNS))), "0.1"])
        for i, text in enumerate(CELLS)
    )
    return [header, *rows]
