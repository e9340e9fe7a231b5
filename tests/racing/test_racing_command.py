"""The command, its API, and what they refuse."""

import json
import re
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from racing_helpers import DATA, SMALL

import diswot
from diswot.cli import main
from diswot.commands import compose
from diswot.config import conf_dir, make, member_node
from diswot.data.base import ImageData
from diswot.errors import UserError
from diswot.racing.setup import _teacher

SEARCH = [
    *("space=s0", "teacher=none", "proxy=params", "data=gaussian", "data.image_size=8"),
    *("strategy=random", "strategy.evaluations=6", "budget.params=4e5", "device=cpu", "workers=1"),
    *("latency.always=true", "latency.repeats=2", "latency.warmup=0"),
]
BRIEF = [*DATA, "rungs=[2]", "seeds=1", "finalists=2", "images=32"]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory of a search."""
    path = tmp_path_factory.mktemp("a search") / "found=it"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("diswot.reporting.search.plot_search", lambda *_: None)
        assert main(["search", *SEARCH, f"hydra.run.dir='{path}'"]) == 0
    return path


@pytest.mark.usefixtures("found")
def test_from_search_to_the_next_command(
    found: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["race", str(found), *BRIEF, "logger=csv"]) == 0
    shown = capfd.readouterr().out
    (run,) = (tmp_path / "runs" / "race").iterdir()
    assert re.fullmatch(r"found_it-kd-brief-seed0-[0-9a-f]{8}", run.name)
    best = json.loads((found / "result.json").read_text())
    result = json.loads((run / "result.json").read_text())
    raced = {each["arch"] for each in result["contestants"]}
    assert raced == {each["arch"] for each in best["top"][:2]}  # ranked by params: with the largest
    assert result["control"] == best["largest"]["arch"]
    logged = pd.read_csv(run / "csv" / "version_0" / "metrics.csv")
    assert sorted(logged["alone/rung"].dropna()) == [1, 1]
    assert result["test_top1"] in [*logged["alone/test_top1"].round(4)]
    known = {each["arch"]: each["latency_ms"] for each in best["top"]}
    assert all(each["latency_ms"] == known[each["arch"]] > 0 for each in result["contestants"])
    assert re.search("MACs [┃ ]+ms [┃ ]+s a training", shown)
    assert "labels alone" in shown
    (line,) = re.findall("^Next: (.*)$", shown, flags=re.MULTILINE)
    words = shlex.split(line)
    named = words[words.index("student=arch") :]
    assert "data.batch_size=16" in named  # of 96 images
    assert {f"student.arch={result['arch']}", "space=s0", "data=gaussian"} <= {*named}
    short = ["data.length=64", "protocol.max_epochs=1", "protocol.schedule.warmup=0"]
    monkeypatch.setattr("diswot.reporting.train.plot_curves", lambda *_: None)
    assert main(["train", *named, *short, "device=cpu", "hydra.run.dir=trained"]) == 0
    capfd.readouterr()
    assert main(["race", *BRIEF, str(found)]) == 0
    assert "has finished before" in capfd.readouterr().out
    kept = (found / "result.json").read_bytes()
    (found / "result.json").write_text(json.dumps({**best, "top": best["top"][::-1]}))
    assert main(["race", *BRIEF, str(found)]) == 0  # the search has grown: another race
    (found / "result.json").write_bytes(kept)
    assert len([*(tmp_path / "runs" / "race").iterdir()]) == 2


WRONG = {
    "run, archs: none is given": [],
    "run, archs: both are given": ["FOUND", "archs=[s0:1-1-1]"],
    "run: nowhere does not exist": ["nowhere"],
    "holds no result.json; give the run directory of a diswot search": ["run=EMPTY"],
    "has not finished; run its command again": ["UNFINISHED"],
    "is the run of a training": ["TRAINED"],
    "is the run of a race": ["RACED"],
    "is the run of a ranking": ["RANKED"],
    "result.json is damaged|result.json: ": ["DAMAGED"],
    "space: none is given": ["archs=[s0:1-1-1]", "teacher=none"],
    "archs: .*s0:9-9-9": ["space=s0", "archs=[s0:9-9-9]", "teacher=none"],
    "teacher: none is given": ["space=s0", "archs=[s0:1-1-1]"],
    "control: .*s1:no": ["FOUND", "control=s1:no"],
    "control=s0:7-7-7 is outside the search's budget: params": ["FOUND", "control=s0:7-7-7"],
    "finalists=11: a search keeps its best 10": ["FOUND", "finalists=11"],
    "rungs=4 is not allowed": ["FOUND", "rungs=4"],
    "protocol.schedule.warmup=1.5: give at most": [
        *("FOUND", "rungs=[2,1]", "protocol=short", "protocol.schedule.warmup=1.5")
    ],
    "keep=2 is not allowed": ["FOUND", "keep=2"],
    "seeds=0 is not allowed": ["FOUND", "seeds=0"],
}


@pytest.mark.parametrize("message", WRONG)
def test_what_is_refused(
    message: str, found: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    places = {"FOUND": found}
    for name, file in (
        *(("EMPTY", None), ("UNFINISHED", "candidates.jsonl"), ("TRAINED", "epochs.jsonl")),
        *(("RACED", "race.jsonl"), ("RANKED", "scores.jsonl"), ("DAMAGED", "result.json")),
    ):
        places[name] = tmp_path / name.lower()
        places[name].mkdir()
        if file:
            (places[name] / file).write_text("{}")
    words = [word.replace("EMPTY", str(places["EMPTY"])) for word in WRONG[message]]
    words = [str(places.get(word, word)) for word in words]
    capfd.readouterr()
    assert main(["race", *words, *DATA, f"hydra.run.dir={tmp_path}/run"]) == 2
    error = capfd.readouterr().err
    assert re.search(message, error), error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_from_python(teacher: list[str]) -> None:
    search = diswot.find_student(
        space="s0", teacher="none", proxy="params", strategy="random", overrides=SEARCH[3:]
    )
    raced = search.race(
        finalists=1, control="none", rungs=[2], seeds=1, images=32, overrides=[*DATA, *teacher]
    )
    assert raced.arch == search.arch
    assert raced.student.training is False
    assert repr(raced).startswith(f"RaceResult(arch={raced.arch!r}, test_top1=")
    assert len(repr(raced)) < 150
    (only,) = raced.contestants
    assert only.gain
    assert raced.summary["distiller"] == ["kd"]
    for wrong, message in {
        "finalists=11": "at most|its best 10",
        "control=s0:7-7-7": "outside the search's budget",
        "archs=[s0:1-1-1]": "both are given",
    }.items():
        with pytest.raises(diswot.UserError, match=message):
            search.race(overrides=[*DATA, *teacher, wrong])
    with pytest.raises(diswot.UserError, match="run, archs: none is given"):
        diswot.race_students(overrides=SMALL[: len(DATA)])


def test_the_next_training_has_the_same_several_teachers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    several = ["teacher=several", "teacher.members=[resnet20,resnet56]", "teacher.weighting=[3,1]"]
    archs = ["space=s0", "archs=[s0:1-1-1]", "control=none"]
    words = [*several, "teacher.weights=embedded", *archs, *BRIEF]
    assert main(["race", *words]) == 0
    (line,) = re.findall("^Next: (.*)$", capfd.readouterr().out, flags=re.MULTILINE)
    assert {*several, "teacher.weights=embedded"} <= {*shlex.split(line)}


def test_the_teacher_of_a_search_keeps_its_input() -> None:
    data = make(compose("race", DATA, None)["data"], "data", ImageData)
    own = {"image_size": 16}
    best: Any = SimpleNamespace(teacher="resnet20", teacher_weights="embedded", teacher_input=own)
    known = [conf_dir()]
    assert _teacher(None, best, data, known)["input"] == own
    given = {"input": {"image_size": 24}}  # as teacher.input.image_size=24 alone
    assert _teacher(given, best, data, known)["input"] == given["input"]
    named = {**member_node("teacher", "resnet20", known), "weights": "embedded"}
    assert _teacher(named, best, data, known)["input"] == own
    other = {**member_node("teacher", "resnet56", known), "weights": "embedded"}
    assert "input" not in _teacher(other, best, data, known)
    best.teacher_input = None
    assert "input" not in _teacher(None, best, data, known)
    with pytest.raises(UserError, match="teacher: none is given"):
        _teacher(given, None, data, known)
