"""The Python API is the command line in a function."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import diswot
from diswot.errors import UserError

SMALL = ["data.batch_size=6", "data.image_size=16"]
SEARCH = ["strategy.evaluations=6", "strategy.generation=3", *SMALL]
RANK = [*SMALL, "proxy.diswot.combine=rank"]
CHEAP: dict[str, Any] = {
    **{"space": "s0", "teacher": "none", "proxy": "params", "data": "gaussian"},
    **{"workers": 1, "overrides": SEARCH},
}
"""No network is ever run."""


@pytest.fixture(autouse=True)
def _cheap(monkeypatch: pytest.MonkeyPatch, known_costs: None) -> None:
    """No picture, and no network built only to be counted."""
    monkeypatch.setattr("diswot.reporting.search.plot_search", lambda *_: None)


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of temporary files, and the current one."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.chdir(folder)
    return folder  # type: ignore[return-value]


def test_a_score_is_the_one_of_a_search(tmp_path: Path) -> None:
    proxies = ["diswot", "nwot", "params"]
    same: Any = {"space": "s0", "teacher": "resnet8", "proxy": proxies, "data": "gaussian"}
    same["seed"] = 3
    diswot.find_student(**same, strategy="random", run_dir=tmp_path, overrides=SEARCH, workers=2)
    records = map(json.loads, (tmp_path / "candidates.jsonl").read_text().splitlines())
    for record in list(records)[:3]:
        score = diswot.score_arch(record["arch"], **same, overrides=SMALL)
        assert score.arch == record["arch"]
        assert score.value == record["score"]
        assert score.parts == record["parts"]
        assert {name: {name: value} for name, value in score.others.items()} == record["others"]
        assert (score.cost.params, score.cost.flops) == (record["params"], record["flops"])


def test_nothing_is_left_and_nothing_shown(
    temporary: Path, capfd: pytest.CaptureFixture[str], two_threads: None
) -> None:
    before = torch.random.get_rng_state(), torch.get_num_threads(), torch.is_grad_enabled()
    result = diswot.find_student(**CHEAP, strategy="random", budget={"params": 3e5})
    left = [path for path in temporary.iterdir() if not path.name.startswith("torchinductor_")]
    assert left == []  # torch makes that folder of its own when it is first used
    assert capfd.readouterr() == ("", "")
    assert torch.equal(before[0], torch.random.get_rng_state())
    assert before[1:] == (torch.get_num_threads(), torch.is_grad_enabled())
    assert result.params <= 3e5
    assert result.score == result.params == result.top[0]["params"]
    assert result.summary["evaluated"] == 6
    assert result.config["seed"] == 0

    student = result.build()
    assert sum(p.numel() for p in student.parameters() if p.requires_grad) == result.params
    logits = student(torch.randn(4, 3, 16, 16))
    assert logits.shape == (4, 10)
    logits.square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in student.parameters())
    assert result.build(num_classes=7, in_channels=1)(torch.randn(2, 1, 16, 16)).shape == (2, 7)


def test_not_quiet(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        diswot.find_student(**CHEAP, strategy="random", run_dir=tmp_path, quiet=False)
    assert "has finished before" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"budget": {"bogus": 1}}, "bogus"),
        ({"budget": {"params": None, "flops": -1}}, "budget.flops=-1"),
        ({"overrides": ["="]}, "="),
        ({"bogus": 3}, "bogus"),
    ],
)
def test_wrong_searches(temporary: Path, settings: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        diswot.find_student(**{**CHEAP, "overrides": [], **settings})
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize(
    ("arch", "settings", "message"),
    [
        ("s1:1-1-1", {}, "is not of space s0"),
        ("s0:1-2-1", {}, "allows 1, 3, 5, 7"),
        ("s0:1-1-1", {"proxy": "diswot", "teacher": "none"}, "teacher=none"),
        ("s0:1-1-1", {"proxy": "diswot", "teacher": "resnet8", "overrides": RANK}, "relative to"),
    ],
)
def test_wrong_scores(arch: str, settings: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        diswot.score_arch(arch, **{**CHEAP, "overrides": SMALL, **settings})


TRAINED = [
    *("data.length=96", "data.image_size=16", "data.batch_size=32", "protocol.max_epochs=1"),
    "protocol.schedule.warmup=0",
]


def test_a_student_is_trained_and_loaded(tmp_path: Path) -> None:
    settings: Any = {"overrides": TRAINED, "data": "gaussian", "run_dir": tmp_path / "teacher"}
    alone = diswot.train_student("resnet14", teacher="none", distiller="none", **settings)
    assert alone.summary["teacher"] is None
    settings |= {"overrides": ["student.arch=s0:1-1-1", *TRAINED], "run_dir": tmp_path / "student"}
    settings |= {"weights": tmp_path / "teacher", "distiller": ["kd", "sp"]}
    taught = diswot.train_student("arch", space="s0", teacher="resnet14", **settings)
    assert (taught.summary["student"], taught.summary["distiller"]) == ("s0:1-1-1", ["kd", "sp"])
    assert taught.test_top1 == taught.summary["test_top1"]
    loaded = diswot.load_student(tmp_path / "student")
    images = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert not loaded.training
    assert torch.equal(loaded(images), taught.student(images))


def test_training_keeps_nothing_unless_told_to(temporary: Path) -> None:
    for _ in range(2):  # torch's compiler draws, and makes a folder, when it is first imported
        state = torch.random.get_rng_state()
        taught = diswot.train_student(
            "resnet8", teacher="none", distiller="none", overrides=TRAINED, data="gaussian"
        )
    assert list(temporary.glob("diswot*")) == []
    assert torch.equal(torch.random.get_rng_state(), state)
    assert next(taught.student.parameters()).device.type == "cpu"
    with pytest.raises(UserError, match="distiller kd learns from a teacher"):
        diswot.train_student("resnet8", teacher="none", overrides=TRAINED, data="gaussian")
    assert list(temporary.glob("diswot*")) == []
