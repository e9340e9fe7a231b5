"""Published ImageNet accuracies of timm's models that were trained alone and distilled."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diswot.accuracies import NoAccuraciesError, shared_file
from diswot.accuracies.table import ArchTable
from diswot.errors import UserError

if TYPE_CHECKING:
    from pandas import DataFrame

_FILE = "timm_distilled_pairs.csv"
_ALONE, _DISTILLED = "top1_alone", "top1_kd"


class TimmPairs(ArchTable):
    """Pairs of weights of one architecture on images of one size, alone and distilled.

    Source: results/ of https://github.com/huggingface/pytorch-image-models (Apache-2.0). Targets
    are ``distilled``, ``vanilla`` (trained alone) and ``gain``, their difference. Of some pairs the
    two also differ in pretraining (``same_pretraining`` 0).

    Args:
        path: The file; None for ``$DISWOT_DATA/benchmarks/timm_distilled_pairs.csv``.
        sizes: Only pairs on images of these sides in pixels.
        settings: See `ArchTable`.

    Raises:
        NoAccuraciesError: No file is given, and that one is not there.
        UserError: See `ArchTable`.
    """

    def __init__(
        self, *, sizes: Sequence[int], path: str | Path | None = None, **settings: Any
    ) -> None:
        self._sizes = list(sizes)
        if path is None and (path := shared_file(_FILE)) is None:
            raise NoAccuraciesError(
                "benchmark.path: not given; give the file of pairs that docs/data.md describes, or "
                f"put it at $DISWOT_DATA/benchmarks/{_FILE}"
            )
        super().__init__(path=path, **settings)

    def _read(self) -> DataFrame:
        """The table with a column for each target."""
        table = super()._read()
        absent = [name for name in ("img_size", _ALONE, _DISTILLED) if name not in table]
        if absent:
            raise self._wrong(f"it has no column {absent[0]}; it has {', '.join(table.columns)}")
        table = table[table["img_size"].isin(self._sizes)].reset_index(drop=True)
        if table.empty:
            raise UserError(f"benchmark.sizes={self._sizes}: {self.source} has no pair of these")
        import pandas as pd

        alone, distilled = (pd.to_numeric(table[c], errors="coerce") for c in (_ALONE, _DISTILLED))
        return pd.DataFrame(
            {
                "arch": "timm:" + table["arch"].astype(str),
                "distilled": table[_DISTILLED],
                "vanilla": table[_ALONE],
                "gain": (distilled - alone).round(3),
            }
        )
