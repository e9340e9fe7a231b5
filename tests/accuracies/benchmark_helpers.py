"""A whole table in the form of a CSV file."""

from collections.abc import Callable
from pathlib import Path

import pytest
from benchmark_helpers import csv_lines


@pytest.fixture(scope="session")
def whole_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("nasbench201") / "whole.csv"
    path.write_text("\n".join(csv_lines()) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def edited_csv(tmp_path: Path, whole_csv: Path) -> Callable[[Callable[[list[str]], object]], Path]:
    """The whole file after an edit of its list of lines."""

    def write(edit: Callable[[list[str]], object]) -> Path:
        lines = whole_csv.read_text(encoding="utf-8").splitlines()
        edit(lines)
        path = tmp_path / "edited.csv"
        path.write_text("\n".join(lines), encoding="utf-8")
        return path

    return write
