"""The published accuracies of S0."""

import csv
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import ClassVar

from diswot.accuracies import Benchmark

__all__ = ["S0Cifar100"]


class S0Cifar100(Benchmark):
    """The 64 networks of S0 on CIFAR-100, trained alone and distilled.

    Source: Dong et al., "DisWOT", CVPR 2023; figures from github.com/lilujunai/DisWOT-CVPR2023,
    which states neither teacher nor seeds nor epochs.
    """

    source = "the published table in the package"
    known = (("cifar100", "vanilla"), ("cifar100", "distilled"))
    holds_for: ClassVar[Mapping[str, object]] = {"widths": [16, 16, 32, 64], "shortcut": "B"}

    def archs(self) -> Sequence[str]:
        """See `Benchmark`; texts such as ``s0:1-3-5``."""
        return list(self._figures)

    def lookup(self, arch: str, dataset: str, target: str) -> float:
        """See `Benchmark`."""
        return self._figures[arch][target]

    @cached_property
    def _figures(self) -> dict[str, dict[str, float]]:
        from diswot.data import read_asset

        lines = read_asset("s0_cifar100.csv").decode().splitlines()
        return {
            f"{self.space}:{row.pop('depths')}": {key: float(row[key]) for key in row}
            for row in csv.DictReader(lines)
        }
