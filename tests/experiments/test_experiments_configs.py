"""Every experiment composes for its command, and its sweep lands where its table looks."""

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

TABLES = sorted(path.parent.name for path in Path(__file__).parents[2].glob("experiments/*/*.yaml"))
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
