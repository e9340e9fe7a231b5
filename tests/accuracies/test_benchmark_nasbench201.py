"""NAS-Bench-201: which source is taken, the CSV file, and the package analog-nasbench."""

import gzip
import pickle
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path
from types import ModuleType

import pytest
from benchmark_helpers import CELLS, COLUMNS, Edit, best_of, nasbench201
from scipy.stats import spearmanr

from diswot.accuracies.sources import AnalogSource
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
        ({"source": "web"}, r"benchmark\.source=web: allowed are auto, csv, nats_bench, "),
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
    monkeypatch.setattr(AnalogSource, "package", staticmethod(lambda: None))
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
    arch, best = best_of(table, dataset)
    assert best == pytest.approx(accuracy, abs=6e-4)
    assert table.archs().index(arch) == index
    assert len(COLUMNS) == len(table.known)


KEYS = list(product(range(5), repeat=6))


class Architecture:
    def __init__(self, accuracy: object) -> None:
        self.baseline_accuracy = accuracy


Architecture.__module__ = "analognasbench.data"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package of this name, whose import would fail."""
    info = tmp_path / "analog_nasbench-9.9.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: analog-nasbench\nVersion: 9.9\n", encoding="utf-8"
    )
    package = tmp_path / "analognasbench"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    module = ModuleType("analognasbench.data")
    module.Architecture = Architecture  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "analognasbench", ModuleType("analognasbench"))
    monkeypatch.setitem(sys.modules, "analognasbench.data", module)
    return package / "data.anb"


def write(path: Path, content: object) -> None:
    path.write_bytes(pickle.dumps(content))
    for name in ("analognasbench", "analognasbench.data"):
        sys.modules.pop(name, None)


def test_analog_is_read_without_being_imported(site: Path) -> None:
    write(site, {key: Architecture(i / 200) for i, key in enumerate(KEYS)})
    table = nasbench201(source="analog")
    assert table.source == "analog-nasbench 9.9"
    assert table.entries() == [("cifar10", "vanilla")]
    assert len(table.archs()) == 15_625
    key = (2, 1, 4, 3, 0, 2)
    cell = "|nor_conv_3x3~0|+|none~0|nor_conv_1x1~1|+|avg_pool_3x3~0|skip_connect~1|nor_conv_3x3~2|"
    assert table.accuracy(cell, "cifar10") == KEYS.index(key) / 200
    assert not {name for name in sys.modules if name.startswith("analognasbench")}
    with pytest.raises(UserError, match=r"datasets=\['cifar100'\] is not allowed.*9\.9.*cifar10"):
        nasbench201(source="analog", datasets=["cifar100"])


class Payload:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return (Path.touch, (self.target,))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({key: Architecture(50.0) for key in KEYS[1:]}, "15,624 cells, not 15,625"),
        ({key: Architecture(101.0) for key in KEYS}, "no number from 0 to 100"),
        ({key: Architecture("x") for key in KEYS}, "cannot be used"),
        ({(-1, *key[1:]): Architecture(1.0) for key in KEYS}, "is no cell"),
        ({key[1:]: Architecture(1.0) for key in KEYS}, "cannot be used"),
        ([1, 2], "cannot be used"),
        ("payload", r"Path\.touch, which is not allowed"),
        ("missing", r"data\.anb cannot be used"),
    ],
)
def test_other_content_of_analog(site: Path, content: object, message: str) -> None:
    target = site.with_name("ran")
    if content != "missing":
        write(site, {KEYS[0]: Payload(target)} if content == "payload" else content)
    with pytest.raises(UserError, match=rf"benchmark\.source=analog: .*{message}.*reinstall"):
        nasbench201(source="analog").archs()
    assert not target.exists()


def test_damaged_file_of_analog(site: Path) -> None:
    write(site, {key: Architecture(1.0) for key in KEYS[:50]})
    content = site.read_bytes()
    for place in range(0, len(content), 7):
        flipped = content[:place] + bytes([content[place] ^ 0x5A]) + content[place + 1 :]
        for damaged in (flipped, content[:place]):
            site.write_bytes(damaged)
            with pytest.raises(UserError, match="reinstall"):
                nasbench201(source="analog").archs()


def test_missing_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AnalogSource, "package", staticmethod(lambda: None))
    with pytest.raises(UserError, match=r"analog-nasbench is missing; pip install 'diswot\[ana"):
        nasbench201(source="analog")
    monkeypatch.setattr("diswot.accuracies.sources.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"its package is missing; pip install 'diswot\[nats\]'"):
        nasbench201(path=tmp_path)


@pytest.mark.data
def test_analog_agrees_with_the_official_figures(data_root: Path) -> None:
    if not AnalogSource.package():
        pytest.skip("pip install 'diswot[analog]'")
    official = nasbench201(path=data_root / "benchmarks" / "nasbench201.csv.gz")
    table = nasbench201(source="analog")
    pairs = [(table.accuracy(a, "cifar10"), official.accuracy(a, "cifar10")) for a in table.archs()]
    assert len(pairs) == 15_625
    assert spearmanr(pairs).statistic == pytest.approx(0.991, abs=6e-4)
    assert best_of(table, "cifar10")[1] == pytest.approx(94.07, abs=5e-3)
    table.sample = official.sample = 20
    assert set(table.select(3)) == set(official.select(3))
