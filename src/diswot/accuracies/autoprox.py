"""The accuracies of Auto-Prox's vision transformers, trained alone and distilled."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diswot.accuracies import NoAccuraciesError, shared_file
from diswot.accuracies.table import FileTable

if TYPE_CHECKING:
    from pandas import DataFrame


class AutoProx(FileTable):
    """A JSON file with a list of objects: the key ``arch``, and numbers that are top-1 in percent.

    Source: Wei et al., "Auto-Prox: Training-Free Vision Transformer Architecture Search via
    Automatic Proxy Discovery", AAAI 2024; the figures are those of ``gt_results`` in
    github.com/lliai/Auto-Prox-AAAI24 (Apache-2.0). Images have 224 pixels, the teacher is a
    ResNet-56 that sees 32.

    Args:
        file: Name of the file below ``$DISWOT_DATA/benchmarks``.
        path: Another place of it.
        text: Makes the text of an architecture of what is under ``arch``.
        columns: By data set the key of each target.
        name, space, sample, datasets: See `Benchmark`.

    Raises:
        UserError: The file is missing (then `NoAccuraciesError`, unless ``path`` is given), lacks a
            key, or a row is no accuracy or no architecture.
    """

    _rows = ("row", 1)

    def __init__(
        self,
        *,
        file: str,
        text: Callable[[Mapping[str, Any]], str],
        columns: Mapping[str, Mapping[str, str]],
        path: str | Path | None = None,
        **settings: Any,
    ) -> None:
        if path is None and (path := shared_file(file)) is None:
            raise NoAccuraciesError(
                f"benchmark.path: not given, and there is no $DISWOT_DATA/benchmarks/{file}; give "
                "a file of the form that docs/data.md describes"
            )
        self._path = Path(path).expanduser()
        self.source = str(self._path)
        keys = {(d, target): key for d, own in columns.items() for target, key in own.items()}
        self._use(self._read(text), keys)
        super().__init__(**settings)

    def _read(self, text: Callable[[Mapping[str, Any]], str]) -> DataFrame:
        import pandas as pd

        assert self._path is not None
        try:
            rows = json.loads(self._path.read_bytes())
        except OSError as error:
            raise self._wrong(str(error.strerror or error)) from error
        except (ValueError, RecursionError) as error:
            raise self._wrong(" ".join(str(error).split())) from error
        texts = []
        for number, row in enumerate(rows if isinstance(rows, list) else [rows], start=1):
            try:
                texts.append(text(row["arch"]))
            except (KeyError, TypeError, ValueError) as error:
                raise self._wrong(f"row {number} has no architecture ({error!r})") from error
        return pd.DataFrame(rows).assign(arch=texts)
