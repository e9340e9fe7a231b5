"""Run directories, sweeps, several proxies, and help."""

import json
import re
import shlex
from pathlib import Path

import pytest
import torch
from cli_helpers import CHEAP, Cli, journal, outcome, ran

import diswot
from diswot.cli import main as console
from diswot.config import conf_dir
from diswot.models.zoo import torchvision_network
from diswot.train import main as train


def run_dirs(folder: Path) -> list[Path]:
    return sorted(file.parent for file in folder.rglob("result.json"))


@pytest.mark.slow
def test_an_empty_folder(tmp_path: Path) -> None:
    first = ran(tmp_path, "search", *CHEAP)
    assert first.code == 0, first.err
    assert all(" candidates, " in line for line in first.err.splitlines())  # of a slow machine
    (run,) = run_dirs(tmp_path)
    assert run.parent == tmp_path / "runs" / "search"
    assert run.name.startswith("s0-none-params+random-random-seed0-")
    assert {file.name for file in run.iterdir()} == {
        *("config.json", "candidates.jsonl", "state.json", "run.lock"),
        *("result.json", "candidates.csv", "search.png"),
    }
    assert [p.name for p in tmp_path.iterdir()] == ["runs"]
    named = ("result.json", "candidates.csv", "search.png", outcome(run)[1]["arch"])
    assert all(name in first.out for name in named)


def test_the_same_command_finds_its_run(cli: Cli, tmp_path: Path) -> None:
    assert cli(*CHEAP).code == 0
    (run,) = run_dirs(tmp_path)
    before = {file.name: file.read_bytes() for file in run.iterdir()}
    again = cli(*CHEAP)
    assert (again.code, again.err) == (0, "")
    assert "has finished before" in again.out
    assert {file.name: file.read_bytes() for file in run.iterdir()} == before
    assert cli(*CHEAP, "workers=2", "debug=true").code == 0
    assert cli(*CHEAP, "strategy.evaluations=21").code == 0
    assert run_dirs(tmp_path) == [run]
    assert cli(*CHEAP, "seed=1").code == 0
    assert cli(*CHEAP, "data.batch_size=5").code == 0
    assert len(run_dirs(tmp_path)) == 3


def test_a_sweep(cli: Cli, tmp_path: Path) -> None:
    done = cli("-m", *CHEAP, "seed=0,1", "budget.params=1e6,5e5")
    assert done.code == 0
    runs = run_dirs(tmp_path)
    assert len(runs) == 4
    rows = re.findall(r"│ seed=(\d) budget.params=(\S+) +│ (s0:\S+) ", done.out)
    named = [(int(seed), float(limit)) for seed, limit, _ in rows]
    assert named == [(0, 1e6), (0, 5e5), (1, 1e6), (1, 5e5)]
    assert {row[2] for row in rows} == {outcome(run)[1]["arch"] for run in runs}
    assert not any("=" in str(path.relative_to(tmp_path)) for path in runs)
    assert {outcome(run)[1]["seed"] for run in runs} == {0, 1}
    assert cli(*CHEAP, "seed=1", "budget.params=1e6").code == 0  # finds the sweep's
    assert run_dirs(tmp_path) == runs


def test_the_first_proxy_is_the_fitness(cli: Cli) -> None:
    small = ["teacher=resnet8", "data.image_size=16", "strategy.evaluations=3"]
    for order in ("nwot,diswot", "diswot,nwot"):
        run = f"hydra.run.dir={order.replace(',', '-')}"
        assert cli(*CHEAP, *small, f"proxy=[{order}]", run).code == 0
    first, second = journal(Path("nwot-diswot")), journal(Path("diswot-nwot"))
    for a, b in zip(first, second, strict=True):
        assert (list(a["parts"]), list(a["others"])) == (["nwot"], ["diswot"])
        assert (a["parts"], b["parts"]) == (b["others"]["nwot"], a["others"]["diswot"])
        assert (a["score"], b["score"]) == (sum(a["parts"].values()), sum(b["parts"].values()))


def test_the_next_command_trains_what_was_found(cli: Cli, tmp_path: Path) -> None:
    done = cli(*CHEAP, "hydra.run.dir=a folder")
    (line,) = re.findall("^Or: (.*)$", done.out, flags=re.MULTILINE)
    words = shlex.split(line)
    named = words[words.index("student=searched") :]
    assert named == [
        *("student=searched", "student.run='a folder'", "data=gaussian", "data.batch_size=4"),
        *("teacher=none", "distiller=none"),
    ]
    short = ["data.length=8", "protocol.max_epochs=1", "protocol.schedule.warmup=0"]
    (race,) = re.findall("^Next: (.*)$", done.out, flags=re.MULTILINE)
    assert shlex.split(race)[-3:] == ["run='a folder'", "data=gaussian", "teacher=none"]
    assert train([*named, *short, "hydra.run.dir=trained"]) == 0
    result = json.loads((tmp_path / "trained" / "result.json").read_text())
    assert result["student"] == outcome(tmp_path / "a folder")[1]["arch"]


def test_the_next_command_knows_what_teachers_are_embedded(cli: Cli) -> None:
    small = [*CHEAP, "strategy.evaluations=1", "data=fashion_mini", "budget=none"]
    assert "teacher=resnet56 teacher.weights=embedded" in cli(*small, "teacher=resnet56").out
    alone = ["teacher=resnet32"], ["teacher=resnet20", "++teacher.network.widths=[8,8,16,16]"]
    for words in alone:
        assert "teacher=none distiller=none" in cli(*small, *words).out


def test_the_next_command_repeats_the_choices_of_the_search(cli: Cli, tmp_path: Path) -> None:
    network = torchvision_network("shufflenet_v2_x0_5", ["stage2", "stage4"], "fc", num_classes=4)
    torch.save(network.state_dict(), tmp_path / "my teacher.pt")
    settings = [
        *("++data.num_classes=4", "++data.length=8", "teacher=torchvision"),
        *("teacher.network.model=shufflenet_v2_x0_5", "teacher.network.stages=[stage2,stage4]"),
    ]
    given = ["teacher.weights='my teacher.pt'", "space=s1", "space.max_depth=2", "budget=none"]
    done = cli(*CHEAP, *settings[1:], *settings[:1], *given, "strategy.evaluations=3")
    assert done.code == 0, done.err
    (line,) = re.findall("^Or: (.*)$", done.out, flags=re.MULTILINE)
    named = shlex.split(line)
    named = named[named.index("student=searched") :]
    assert "teacher=torchvision" in named
    assert {*settings, "space.max_depth=2", "data=gaussian"} <= set(named)
    assert train([*named, "protocol.max_epochs=1", "protocol.schedule.warmup=0"]) == 0


def test_all_proxies(cli: Cli) -> None:
    small = ["teacher=resnet8", "data.image_size=16", "strategy.evaluations=2"]
    assert cli(*CHEAP, *small, "proxy=all", "hydra.run.dir=run").code == 0
    names = {file.stem for file in (conf_dir() / "proxy").glob("*.yaml")}
    records, result = outcome(Path("run"))
    assert {result["proxy"], *records[0]["others"]} == names


def test_help(cli: Cli, tmp_path: Path) -> None:
    shown = cli("--help")
    assert (shown.code, shown.err) == (0, "")
    assert "\nspace: autoformer, nasbench201, pit, s0, s1, s2, timm" in shown.out
    assert "batch_size: 4" in cli(*CHEAP, "--cfg", "job").out
    assert list(tmp_path.iterdir()) == []


def test_the_console_script(capsys: pytest.CaptureFixture[str]) -> None:
    assert console(["--version"]) == 0
    assert capsys.readouterr().out == f"diswot {diswot.__version__}\n"
    assert console(["--help"]) == 0
    assert "search" in capsys.readouterr().out
    assert (console([]), console(["bogus"])) == (2, 2)
    captured = capsys.readouterr()
    assert captured.err.count("usage: diswot COMMAND") == 2
    assert "no command 'bogus'" in captured.err
    assert captured.out == ""
