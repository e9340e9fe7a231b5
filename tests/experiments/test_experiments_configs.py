"""Experiments compose for their commands; tables have sources, and their pages the commands."""

import csv
import re
from functools import cache
from pathlib import Path

import pytest
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from diswot.commands import compose
from diswot.commands.naming import plain
from diswot.config import conf_dir
from diswot.tables import Spec, load_table, to_markdown

ROOT = Path(__file__).parents[2]
FOLDERS = sorted(file.parent for file in (ROOT / "experiments").glob("*/table.yaml"))
TABLES = [folder.name for folder in FOLDERS]
FILES = sorted((conf_dir() / "experiment").glob("*.yaml"))
OF_TABLES = [file for file in FILES if file.stem.startswith(tuple(TABLES))]
GIVEN = {"imagenet_students": ["data.root=photos"], "imagenet_students_train": ["data.root=photos"]}
"""What a user has to say himself."""


def family(file: Path) -> list[Path]:
    """The experiments that one begins with, and itself."""
    entries = OmegaConf.select(OmegaConf.load(file), "defaults") or []
    names = [entry for entry in entries if isinstance(entry, str) and entry != "_self_"]
    return [*(file.with_name(f"{name}.yaml") for name in names), file]


def command_of(file: Path) -> str:
    """As the comment at the top says."""
    tops = "".join(each.read_text(encoding="utf-8").partition("\n\n")[0] for each in family(file))
    commands: set[str] = set(re.findall(r"diswot (search|rank|train)\b", tops))
    (command,) = commands
    return command


def swept(file: Path) -> dict[str, list[str]]:
    params = OmegaConf.merge(
        *(
            OmegaConf.select(OmegaConf.load(each), "hydra.sweeper.params") or {}
            for each in family(file)
        )
    )
    return {str(key): str(values).split(",") for key, values in params.items()}


@cache
def composed(file: Path) -> DictConfig:
    """With the last value of all it sweeps, and with the node ``hydra``."""
    last = [f"{key}={values[-1]}" for key, values in swept(file).items()]
    words = [f"experiment={file.stem}", *GIVEN.get(file.stem, []), *last]
    with initialize_config_dir(str(conf_dir()), version_base="1.3", job_name=command_of(file)):
        return hydra_compose(command_of(file), words, return_hydra_config=True)


@pytest.fixture(scope="module", autouse=True)
def _told() -> None:
    compose("search", [], None)  # tells Hydra of what is no file


@pytest.mark.parametrize("file", OF_TABLES, ids=lambda file: file.stem)
def test_composes(file: Path) -> None:
    cfg = composed(file)
    settings = plain(cfg)
    for key, values in swept(file).items():
        assert key in settings
        if (conf_dir() / key).is_dir():
            assert all((conf_dir() / key / f"{value}.yaml").is_file() for value in values)
            assert cfg.hydra.runtime.choices[key] == values[-1]
        else:
            assert str(settings[key]) == values[-1]


@pytest.mark.parametrize(
    "file", [file for file in FILES if file not in OF_TABLES], ids=lambda file: file.stem
)
def test_others_compose_too(file: Path) -> None:
    assert compose(command_of(file), [f"experiment={file.stem}"], None)


@pytest.mark.parametrize("file", OF_TABLES, ids=lambda file: file.stem)
def test_it_is_a_sweep_into_the_folder_of_its_table(file: Path) -> None:
    node = composed(file).hydra
    assert node.mode.name == "MULTIRUN"
    scale = "tables" if file.stem.endswith("_small") else "full"
    above, found, table = node.sweep.dir.split("/")[:3]
    assert (above, found) == ("runs", scale)
    assert table in TABLES
    assert file.stem.startswith(table)


@pytest.mark.parametrize("file", [f for f in OF_TABLES if "_train" in f.stem], ids=lambda f: f.stem)
def test_students_are_looked_for_where_the_search_leaves_them(file: Path) -> None:
    trained = composed(file)
    sweep = composed(file.with_name(file.name.replace("_train", ""))).hydra.sweep
    named = {
        "${hydra:runtime.choices.proxy}": trained.found_by,
        "${teacher.name}": trained.teacher.name,
        "${seed}": swept(file.with_name(file.name.replace("_train", "")))["seed"][-1],
    }
    subdir = str(OmegaConf.to_container(sweep, resolve=False)["subdir"])  # type: ignore[index,call-overload]
    for reference, value in named.items():
        subdir = subdir.replace(reference, str(value))
    assert trained.student.run == f"{sweep.dir}/{subdir}"
    assert not set("=${}") & set(subdir)


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
    assert {table.name for table in FOLDERS} == NAMES
    index = (ROOT / "experiments" / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\]\((\w+)/README\.md\)", index)) == NAMES


@pytest.mark.parametrize("table", FOLDERS, ids=lambda table: table.name)
def test_figures_have_sources_and_the_measured_ones_stand_beside_them(table: Path) -> None:
    spec, loaded = Spec.load(table), load_table(table)
    for line in lines(table):
        if line["value"]:
            assert float(line["value"]) >= 0
            assert any(SOURCE.match(place) for place in line["source"].split("; ")), line
        else:
            assert line["note"], line
    # a label that is spelt otherwise would stand in a column of its own
    assert {line["column"] for line in lines(table)} & {*spec.names.values()}
    assert not spec.small or spec.runs == f"runs/tables/{table.name}"
    assert spec.conditions or not (table / "results.csv").exists()
    if (table / "table.md").exists():
        assert (table / "table.md").read_text() == to_markdown(loaded)


@pytest.mark.parametrize("table", FOLDERS, ids=lambda table: table.name)
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
