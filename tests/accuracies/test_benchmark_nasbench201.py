"""NAS-Bench-201: which source is taken, and the CSV file."""

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest
from benchmark_helpers import CELLS, COLUMNS, Edit, nasbench201

from diswot.errors import UserError

Write = Callable[[Edit], Path]

NAMES = ("cifar10", "cifar100", "imagenet16-120")


def test_columns_of_each_data_set(whole_csv: Path) -> None:
    table = nasbench201(path=whole_csv)
    assert table.entries() == [(name, "vanilla") for name in NAMES]
    assert list(table.archs()) == CELLS
    names = [*NAMES, *(f"{name}-12ep{end}" for name in NAMES for end in ("", "-val"))]
    for column, name in enumerate(names):
        assert table.accuracy(CELLS[100], name) == pytest.approx(column + 0.005, abs=1e-9)


def test_sample_does_not_depend_on_the_order_of_the_table(edited_csv: Write) -> None:
    def turn(lines: list[str]) -> None:
        lines[1:] = reversed(lines[1:])

    plain = nasbench201(path=edited_csv(lambda lines: None), sample=10).select(4)
    assert nasbench201(path=edited_csv(turn), sample=10).select(4) == plain[::-1]


def replace(line: int, old: str, new: str) -> Edit:
    def edit(lines: list[str]) -> None:
        assert old in lines[line - 1]
        lines[line - 1] = lines[line - 1].replace(old, new, 1)

    return edit


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda lines: lines.pop(), r"it holds 15,624 cells, not 15,625"),
        (lambda lines: lines.append(lines[4]), r"line 15627 has a cell of a line above"),
        (replace(9, "none", "conv_7x7"), r"line 9 has no cell"),
        (replace(9, "0.000350", "nan"), r"line 9 has no number .* as cifar10_test_200ep"),
        (replace(9, "0.000350", ""), r"line 9 has no number .* as cifar10_test_200ep"),
        (replace(9, "1.000350", "100.5"), r"line 9 has no number .* as cifar100_test_200ep"),
        (replace(9, "0.000350,", ""), r"line 9 has fewer fields than line 1"),
        (replace(9, ",0.1", ",0.1,0.1"), r"Expected 12 fields in line 9, saw 13"),
        (replace(1, "cell", "arch"), "line 1: it names no column cell"),
        (replace(1, "params_m_cifar10", "cell"), "line 1: .* or one twice"),
        (lambda lines: lines.clear(), "No columns"),
        (replace(9, "|none", '"|none'), r"cannot be used"),
    ],
)
def test_damaged_csv(edited_csv: Write, edit: Edit, message: str) -> None:
    path = edited_csv(edit)
    table = nasbench201(path=path)
    with pytest.raises(UserError, match=message) as caught:
        table.archs()
    assert str(caught.value).startswith(f"benchmark.path: {path} cannot be used (")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"\x1f\x8b\x08broken", b"\xff\xfe\x00binary", None])
def test_file_that_is_no_csv_or_was_cut_short(
    whole_csv: Path, tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "a.csv.gz"
    path.write_bytes(content or gzip.compress(whole_csv.read_bytes(), 1)[:-200])
    with pytest.raises(UserError, match=r"benchmark\.path: .* cannot be used"):
        nasbench201(path=path).archs()


def test_csv_without_some_columns(edited_csv: Write) -> None:
    def keep(lines: list[str]) -> None:
        lines[:] = [",".join(line.split(",")[1:4]) for line in lines]

    table = nasbench201(path=edited_csv(keep))
    assert table.accuracy(CELLS[0], "cifar100") == 1.0
    with pytest.raises(UserError, match=r"no column imagenet16_120_test_200ep.*cifar10, cifar100"):
        table.accuracy(CELLS[0], "imagenet16-120")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"source": "web"}, r"benchmark\.source=web is not allowed; give auto, csv, nats_bench, "),
        ({"path": "no/such.csv"}, r"benchmark\.path: no/such\.csv is no file"),
        ({"path": "figures.xlsx"}, r"benchmark\.path: figures\.xlsx is neither \.csv"),
        ({"path": "NATS-tss.pickle.pbz2"}, r"benchmark\.path: NATS.* does not exist"),
        ({"source": "nats_bench"}, r"benchmark\.path: not given; give .*NATS-tss"),
        ({"source": "analog", "path": "a.csv"}, r"reads its own package; give null"),
    ],
)
def test_bad_source(settings: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        nasbench201(**settings)
    assert "\n" not in str(caught.value)


def test_auto_takes_the_shared_file(
    whole_csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "benchmarks" / "nasbench201.csv.gz"
    path.parent.mkdir()
    path.write_bytes(gzip.compress(whole_csv.read_bytes(), 1))
    monkeypatch.setenv("DISWOT_DATA", str(tmp_path))
    assert nasbench201().source == nasbench201(source="csv").source == str(path)
    assert nasbench201().accuracy(CELLS[100], "cifar10") == 0.005


def test_nothing_at_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "diswot.accuracies.sources.AnalogSource.package", staticmethod(lambda: None)
    )
    for value in ("", str(tmp_path)):
        monkeypatch.setenv("DISWOT_DATA", value)
        with pytest.raises(UserError, match=r"diswot\[analog\].*docs/data\.md.*diswot\[nats\]"):
            nasbench201()
        with pytest.raises(UserError, match=r"benchmark\.path: not given; .*docs/data\.md"):
            nasbench201(source="csv")


@pytest.mark.data
@pytest.mark.parametrize(
    ("dataset", "accuracy", "index"),
    [("cifar10", 94.373, 6111), ("cifar100", 73.513, 9930), ("imagenet16-120", 47.311, 857)],
)
def test_published_optima(data_root: Path, dataset: str, accuracy: float, index: int) -> None:
    table = nasbench201(path=data_root / "benchmarks" / "nasbench201.csv.gz")
    arch, found = table.best(dataset)
    assert found == pytest.approx(accuracy, abs=6e-4)
    assert table.archs().index(arch) == index
    assert len(COLUMNS) == len(table.known)
