"""Wrong input: one message, exit code 2, no traceback, nothing half-written."""

import errno
import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from cli_helpers import CHEAP, SLOW, Cli, journal, outcome, refused, started, wait, whole_lines

from diswot.errors import UserError
from diswot.models.resnet import CifarResNet
from diswot.runs import Journal, RunDir

TEACHER = [*CHEAP, "proxy=diswot", "teacher=resnet8", "data.image_size=16"]


def results(folder: Path) -> list[str]:
    """Files of runs that have begun."""
    names = [file.name for file in folder.rglob("*") if file.is_file()]
    return [name for name in names if name not in ("run.lock", "config.json", "t.csv")]


BAD = {
    "space=s9": ("space=s9: there is no such choice; allowed: ", "s0, s1"),
    "teacher=resnet11": ("teacher=resnet11: there is no such choice", "resnet110", "resnet32x4"),
    "budget.params=-1": ("budget.params=-1 is not allowed; give a positive number",),
    "budget.params=10": ("budget: no architecture of space s0", "params ≤ 10", "nearest, s0:1-1-1"),
    "strategy.evaluations=abc": ("strategy.evaluations=abc", "whole number of at least 1"),
    "strategy.generation=1.5": ("strategy.generation=1.5", "whole number"),
    "budget.latency_ms=0": ("budget.latency_ms=0 is not allowed; give a positive number",),
    "budget.latency_ms=1e-6 space.depths=[1,2] latency.repeats=1": (
        "no architecture of space s0",
        "latency_ms ≤ 1e-06",
        "nearest, s0:",
    ),
    "budget.latency_ms=1 latency.repeats=0": ("latency.repeats=0", "at least 1"),
    "latency=table": ("latency.path: not given; give a CSV file",),
    "latency=table latency.path=/nowhere.csv": ("latency.path: /nowhere.csv is no file",),
    "latency=table latency.path=t.csv latency.column=s": ("latency.column=s", "it has ms, other"),
    "latency=table latency.path=t.csv latency.column=ms": ("t.csv has no latency of s0:",),
    "strategy=nsga2 strategy.objectives=[params]": ("strategy.objectives=['params']", "fitness"),
    "budget.parms=3": ("budget.parms: budget has no setting parms, but params",),
    "space.names=[a]": ("space.names: space has no setting names, but name",),
    "+foo=1": ("+foo=1: foo: the config has no setting foo, but",),
    "+trainer.fast_dev_run=true": ("trainer: the config has no setting trainer",),
    "+spaces=s1": ("+spaces=s1: spaces: the config has no setting spaces, but space",),
    "proxy=[params,nwot,params]": ("proxy=[params,nwot,params]: params is there twice",),
    "seed.x=1": ("seed.x: seed has no setting x, but none",),
    "spaces=s1": ("spaces: the config has no setting spaces, but space",),
    "workers=0": ("workers=0 is not allowed; give a whole number of at least 1",),
    "seed=-1": ("seed", "-1"),
    "device=tpu": ("device=tpu", "auto, cpu, cuda"),
    "num_classes=1": ("num_classes=1", "at least 2"),
    "proxy=[]": ("proxy: at least one is needed",),
    "proxy=diswot": ("teacher=none, but diswot compares with a teacher", "teacher=resnet56"),
    "data.batch_size=0": ("data.batch_size",),
    "data=imagenet data.root=/nowhere": ("/nowhere",),
    "seed=": ("seed",),
    "space.depths=[1,1]": ("space=s0", "only once"),
    "+space.bogus=1": ("space: diswot.spaces.s0.S0 refuses its settings", "bogus"),
    "=": ("=",),
    "~debug": ("~debug: debug cannot be left out",),
    "~seed": ("~seed: seed cannot be left out",),
    "~data.batch_size=4": ("data.batch_size cannot be left out",),
}


@pytest.mark.parametrize("overrides", BAD)
def test_one_message(cli: Cli, tmp_path: Path, overrides: str) -> None:
    (tmp_path / "t.csv").write_text("arch,ms,other\ns0:0-0-0,1,2\n")
    message = refused(cli(*CHEAP, *overrides.split()))
    for part in BAD[overrides]:
        assert part in message
    assert results(tmp_path) == []


@pytest.mark.parametrize("space", ["s0", "s1"])
def test_the_channel_form_between_differing_widths(cli: Cli, space: str) -> None:
    settings = ["proxy=semantic", "proxy.semantic.form=channel", "teacher=resnet32x4"]
    message = refused(cli(*CHEAP, f"space={space}", *settings))
    assert "proxy.semantic.form=channel needs students as wide as the teacher" in message
    widths = "64" if space == "s0" else "differing widths"
    assert all(part in message for part in ("256", widths, "form=images_relu or form=auto"))


def test_fewer_classes_than_labels(cli: Cli) -> None:
    message = refused(cli(*TEACHER, "num_classes=5"))
    assert "num_classes=5: gaussian has labels of 10 classes" in message
    assert cli(*CHEAP, "num_classes=5").code == 0  # none of its proxies reads labels


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_where_there_is_none(cli: Cli) -> None:
    assert "device=cuda: this torch sees no CUDA device" in refused(cli(*CHEAP, "device=cuda"))


def test_a_run_dir_of_another_config(cli: Cli) -> None:
    assert cli(*CHEAP, "hydra.run.dir=run").code == 0
    before = outcome(Path("run"))
    for word, message in {
        "data.batch_size=5": "data.batch_size: 4 → 5",
        "proxy=[random,params]": "proxy: ['params', 'random'] → ['random', 'params']",
        "strategy.evaluations=19": "strategy.evaluations=20; it may grow, not become 19",
    }.items():
        assert message in refused(cli(*CHEAP, "hydra.run.dir=run", word))
    assert outcome(Path("run")) == before
    assert cli(*CHEAP, "hydra.run.dir=run").code == 0


def test_a_typing_error_does_not_spoil_the_run_dir(cli: Cli) -> None:
    settings = [*CHEAP, "hydra.run.dir=run"]
    assert "budget" in refused(cli(*settings, "budget.params=10"))
    for _ in ("fresh", "begun"):
        for wrong in ("abc", "20.5", "null", "[30]"):
            message = refused(cli(*settings, f"strategy.evaluations={wrong}"))
            assert "strategy.evaluations" in message
        assert cli(*settings).code == 0
    message = refused(cli(*CHEAP, "hydra.run.dir=run/result.json/below"))
    assert "Not a directory" in message


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("state.json", lambda text: text[:20], "remove this file and run the same command"),
        ("state.json", lambda text: text.replace(b'es": ', b'es": 9'), "checksum is that of anoth"),
        ("candidates.jsonl", lambda text: text[: text[:-1].rfind(b"\n") + 1], "lines are missing"),
        ("candidates.jsonl", lambda text: b"{}\n" + text, "candidates.jsonl, line 1 is damaged"),
    ],
)
def test_damaged_files(cli: Cli, name: str, damage: Any, message: str) -> None:
    run, whole = Path("run"), [*CHEAP, "hydra.run.dir=run"]
    assert cli(*whole).code == 0
    expected, text = outcome(run), (run / name).read_bytes()
    (run / "result.json").unlink()
    before = (run / "candidates.jsonl").read_bytes()
    (run / name).write_bytes(damage(text))
    assert message in refused(cli(*whole))
    (run / "candidates.jsonl").write_bytes(before)
    (run / "state.json").unlink()
    assert cli(*whole).code == 0
    assert outcome(run) == expected


def test_teacher_weights(cli: Cli, tmp_path: Path) -> None:
    weights = [*TEACHER, "teacher.weights=teacher.pt", "strategy.evaluations=2"]
    weights.append("hydra.run.dir=run")
    assert "teacher.weights: there is no file teacher.pt" in refused(cli(*weights))

    network = CifarResNet([1, 1, 1], [16, 16, 32, 64], "B", 10)
    torch.save(network.state_dict(), "teacher.pt")
    content = Path("teacher.pt").read_bytes()
    Path("teacher.pt").write_bytes(content[: len(content) // 2])
    assert "damaged" in refused(cli(*weights))
    assert results(tmp_path / "run") == []

    Path("teacher.pt").write_bytes(content)
    assert cli(*weights).code == 0
    other = refused(cli(*weights, "num_classes=20", "hydra.run.dir=other"))
    assert "teacher.pt classifies 10 classes, num_classes is 20; leave num_classes out" in other


@pytest.mark.parametrize(
    "words",
    [
        ["space.bogus=1", "+debug=true"],
        ["--config-dir=a=b", "--config-name", "main"],
        ["-m", "experiment=mine", "--config-dir", "a=b", "seed=0,1"],
    ],
)
def test_debug_shows_where(cli: Cli, words: list[str]) -> None:
    files = {"experiment/mine": "# @package _global_\n", "main": "defaults: [search, _self_]\n"}
    for name, text in files.items():
        Path(f"a=b/{name}.yaml").parent.mkdir(parents=True, exist_ok=True)
        Path(f"a=b/{name}.yaml").write_text(f"{text}debug: true\n")
    with pytest.raises(UserError):
        cli("~logger", *CHEAP, *words, "workers=0")


@pytest.mark.slow
def test_a_second_process_is_refused(cli: Cli, tmp_path: Path) -> None:
    words = [*SLOW, "workers=1", "hydra.run.dir=run"]
    with started(tmp_path, "search", *words) as process:
        wait(process, lambda: whole_lines(tmp_path / "run"), 2)
        message = refused(cli(*words))
        assert f"is in use by process {process.pid} on " in message
        assert process.poll() is None
        process.kill()
    assert len(journal(tmp_path / "run")) >= 2


@pytest.mark.parametrize(
    ("kind", "write", "call"),
    [(RunDir, "begin", 1), (Journal, "append", 14), (RunDir, "save_result", 1)],
)
def test_a_full_disk(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, kind: type[Any], write: str, call: int
) -> None:
    assert cli(*CHEAP, "hydra.run.dir=whole").code == 0
    real, calls = getattr(kind, write), itertools.count(1)

    def full(self: object, *given: object) -> None:
        if next(calls) == call:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(self, *given)

    monkeypatch.setattr(kind, write, full)
    assert "No space left on device" in refused(cli(*CHEAP, "hydra.run.dir=run"))
    assert not list(Path("run").glob(".*"))
    assert write != "append" or len(journal(Path("run"))) == 13
    assert cli(*CHEAP, "hydra.run.dir=run").code == 0
    assert outcome(Path("run")) == outcome(Path("whole"))
