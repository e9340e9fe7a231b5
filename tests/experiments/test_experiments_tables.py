"""Published figures have sources, and the commands that the pages name exist."""

import csv
import re
from pathlib import Path

import pytest

from diswot.config import conf_dir
from diswot.tables import Spec, load_table

ROOT = Path(__file__).parents[2]
TABLES = sorted(file.parent for file in (ROOT / "experiments").glob("*/table.yaml"))
SOURCE = re.compile(r"[\w.-]+/[\w.-]+:\S+@[0-9a-f]{40}")
NAMES = {
    *("s0_ablation", "nasbench201", "kd_proxies"),
    *("init_and_teacher", "cifar100_students", "imagenet_students"),
}


def lines(table: Path) -> list[dict[str, str]]:
    with (table / "paper.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def commands(table: Path) -> list[str]:
    page = (table / "README.md").read_text(encoding="utf-8")
    return re.findall(r"^python -m diswot\.(\w+ .*)$", page, flags=re.MULTILINE)


def test_all_six_are_there() -> None:
    assert {table.name for table in TABLES} == NAMES
    index = (ROOT / "experiments" / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\]\((\w+)/README\.md\)", index)) == NAMES


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_a_figure_has_a_source_and_an_empty_cell_a_reason(table: Path) -> None:
    for line in lines(table):
        if line["value"]:
            assert float(line["value"]) >= 0
            places = line["source"].split("; ")
            assert any(SOURCE.match(place) for place in places), line
        else:
            assert line["note"], line


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_published_columns_are_among_the_measured(table: Path) -> None:
    """A label that is spelt otherwise would stand in a column of its own."""
    spec = Spec.load(table)
    shown = set(spec.names.values())
    assert {line["column"] for line in lines(table)} & shown
    load_table(table)


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_the_page_names_the_commands_of_the_table(table: Path) -> None:
    spec = Spec.load(table)
    named = commands(table)
    assert {*spec.commands, *spec.small} <= set(named)
    for words in named:
        command, first, *_ = words.split()
        if command == "report":
            assert first == f"experiments/{table.name}"
            continue
        (name,) = re.findall(r"experiment=(\w+)", words) or [""]
        assert not name or (conf_dir() / "experiment" / f"{name}.yaml").is_file()
        assert (conf_dir() / f"{command}.yaml").is_file()
