"""The pages that teach: what they show is written down as files, and run."""

import csv
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from diswot.commands import compose
from diswot.config import conf_dir
from diswot.distillers import needing_teacher

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGE = (DOCS / "plugins.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
NAMED = [
    (name, text)
    for before, text in re.findall(
        r"^((?:[^\n]+\n)+)```(?:python|yaml)\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL
    )
    for name in re.findall(r"`(my_\w+(?:/\w+)*\.(?:py|yaml))`", before)
]
"""The file that the paragraph before a block names, and the block."""
FILES = dict(NAMED)
COMMANDS = [line for kind, text in BLOCKS if kind == "bash" for line in text.splitlines()]
MEASURED = ("proxies.md", "measurements.md")
OVERLAY = """
from pathlib import Path

import diswot.config

diswot.config.conf_dir = lambda: Path(__file__).parent / "conf"
"""
GROUPS = {"proxy", "space", "strategy", "data", "distiller"}


def write_page(folder: Path) -> None:
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder with the page's files, as a reader who follows it has it."""
    write_page(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for module in [name for name in sys.modules if name.startswith("my_")]:
        del sys.modules[module]


def test_every_block_has_its_file_and_is_used() -> None:
    assert {kind for kind, _ in BLOCKS} == {"python", "yaml", "bash"}
    assert len(FILES) == len(NAMED) == sum(kind != "bash" for kind, _ in BLOCKS)
    assert {Path(name).parent.name for name in FILES if name.endswith("yaml")} == GROUPS
    assert all(line.startswith("diswot ") for line in COMMANDS)
    assert all("--config-dir my_conf" in line for line in COMMANDS)
    for name in FILES:
        if name.endswith("yaml"):
            member, group = Path(name).stem, Path(name).parent.name
            assert any(re.search(rf"{group}=\[?{member}\b", line) for line in COMMANDS), name


def test_the_commands_run_in_order(reader: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for line in COMMANDS:
        _, name, *arguments = shlex.split(line)
        one = [] if name == "train" or "workers=" in line else ["workers=1"]
        code = import_module(f"diswot.{name}").main([*arguments, *one, "device=cpu"])
        out, err = capfd.readouterr()
        assert code == 0, f"{line}\n{out}\n{err}"
    [ranked] = reader.glob("runs/rank/*/rank.csv")
    with ranked.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["proxy"] for row in rows} == {
        "embedding_cka",
        "embedding_cka@shuffled",
        "params",
        "flops",
    }
    assert {row["failed"] for row in rows} == {"0"}
    found = result(reader / "runs/widths")
    assert found["arch"].startswith("widths:")
    assert found["params"] <= 8000
    assert found["top"][-1]["score"] < found["score"] <= 1
    assert result(reader / "runs/teacher")["test_top1"] > 40  # guessing: 25
    every = compose("search", ["proxy=all"], reader / "my_conf")["proxy"]
    assert {"embedding_cka", "diswot"} <= every.keys()
    [taught] = reader.glob("runs/train/*")
    assert result(taught)["params"] == found["params"]


def result(run: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((run / "result.json").read_text(encoding="utf-8"))
    return loaded


def test_members_keep_the_contracts_of_their_groups(tmp_path: Path) -> None:
    """As they would inside the repository: their YAMLs in conf, the same tests."""
    write_page(tmp_path)
    shutil.copytree(conf_dir(), tmp_path / "conf")
    shutil.copytree(tmp_path / "my_conf", tmp_path / "conf", dirs_exist_ok=True)
    (tmp_path / "overlay.py").write_text(OVERLAY, encoding="utf-8")
    tests = [
        f"tests/{group}/test_{word}_contract.py"
        for group, word in (
            ("spaces", "space"),
            ("strategies", "strategy"),
            ("data", "data"),
            ("proxies", "proxy"),
            ("distillers", "distiller"),
        )
    ]
    paths = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
    further = {"PYTHONPATH": os.pathsep.join(paths), "PYTEST_ADDOPTS": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "overlay"),
            *("-k", "widths or climb or stripes or embedding_cka or logit_mse", *tests),
        ],
        cwd=ROOT,
        env={**os.environ, **further},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) > 50
    assert "skipped" not in done.stdout.splitlines()[-1]


def test_the_commands_of_budgets_are_ones() -> None:
    page = (DOCS / "budgets.md").read_text(encoding="utf-8")
    lines = re.findall(r"^diswot search (.*)$", page, flags=re.MULTILINE)
    assert len(lines) == 7
    for line in lines:
        config = compose("search", shlex.split(line), None)
        limited = config["budget"]["latency_ms"] is not None or config["latency"]["always"]
        other = config["strategy"]["name"] == "nsga2" or config["screen"]["proxy"] is not None
        assert limited or "latency_ms" in line or other


def test_the_commands_of_distillers_are_ones() -> None:
    page = (DOCS / "distillers.md").read_text(encoding="utf-8")
    lines = re.findall(r"^diswot train (.*)$", page, flags=re.MULTILINE)
    configs = [compose("train", shlex.split(line), None) for line in lines]
    needing = [needing_teacher(config["distiller"]) for config in configs]
    assert needing == [["kd"], ["norm"], ["kd"], ["kd"], [], ["kd"], ["kd"]]


def test_every_figure_about_proxies_is_one_that_was_measured() -> None:
    known = {figure for page in MEASURED for figure in figures_of(lines(page))}
    told = figures_of(lines("what-proxies-measure.md"))
    assert len(told) > 200
    assert set(told) - known == set()


def test_figures_are_those_of_the_proxy_they_are_said_of() -> None:
    rows = [line for line in lines("what-proxies-measure.md") if line.startswith("| `")]
    assert len(rows) > 15
    for row in rows:
        start = row[: row.index("`", 3) + 1]
        known = [line for line in lines("proxies.md") if line.startswith(start)]
        assert set(figures_of([row])) - set(figures_of(known)) == set(), start


def lines(page: str) -> list[str]:
    text = (DOCS / page).read_text(encoding="utf-8")
    return text.replace("\N{MINUS SIGN}", "-").splitlines()


def figures_of(lines: Iterable[str]) -> list[str]:
    return re.findall(r"-?\d+\.\d{2,}", "\n".join(lines))


def test_the_commands_that_test_a_proxy_are_ones(reader: Path) -> None:
    page = (DOCS / "what-proxies-measure.md").read_text(encoding="utf-8")
    lines = re.findall(r"^diswot rank --config-dir my_conf (.*)$", page, flags=re.MULTILINE)
    assert len(lines) == 2
    for line in lines:
        config = compose("rank", shlex.split(line), reader / "my_conf")
        assert config["proxy"]["embedding_cka"]["name"] == "embedding_cka"
        assert config["control"] == "shuffled"
