"""Weights of losses that are measured on the first batch."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from training_helpers import epochs, left, prepared, trained

from diswot.distillers.logits import KD
from diswot.errors import UserError
from diswot.training.callbacks import AtomicCheckpointIO
from diswot.training.module import Distillation

ONE_STEP = ["data.length=32", "protocol.max_epochs=1"]
BALANCED = ["distiller=[kd,sp]", "protocol.balance=0.5"]


def test_every_loss_begins_as_the_same_share(tmp_path: Path, weights: Path) -> None:
    """An epoch of one step records the losses that the weights were measured by."""
    chosen = "distiller=[at,dkd,fitnet,kd,vid]"
    result = trained(tmp_path / "run", weights, *ONE_STEP, chosen, "protocol.balance=0.25")
    [line] = epochs(tmp_path / "run")
    losses, factors = line["losses"], result["loss_weights"]
    assert set(factors) == {"at", "dkd", "fitnet", "kd", "vid"}
    for name, factor in factors.items():
        assert factor * losses[name] == pytest.approx(0.25 * losses["ce"], rel=1e-3), name


def test_a_warm_up_counts_as_over(weights: Path) -> None:
    words = ["distiller=dkd", "protocol.balance=1"]
    short = prepared(weights, *words, "distiller.dkd.warmup=0").module.loss_weights
    assert prepared(weights, *words, "distiller.dkd.warmup=3").module.loss_weights == short


def test_measuring_leaves_everything_as_it_was(weights: Path) -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    one, other = (
        prepared(weights, "distiller=[fitnet,sp]", f"protocol.balance={value}")
        for value in ("1", "null")
    )
    assert torch.equal(torch.get_rng_state(), state)
    assert one.module.loss_weights != other.module.loss_weights
    for name, value in other.module.state_dict().items():
        assert torch.equal(one.module.state_dict()[name], value), name
    assert prepared(weights, "distiller=none", "protocol.balance=1").module.loss_weights == {}


def test_the_weights_given_are_the_same_training(tmp_path: Path, weights: Path) -> None:
    measured = trained(tmp_path / "measured", weights, *BALANCED)["loss_weights"]
    fixed = [f"distiller.{name}.weight={measured[name]}" for name in ("kd", "sp")]
    trained(tmp_path / "fixed", weights, BALANCED[0], *fixed)
    assert left(tmp_path / "fixed") == left(tmp_path / "measured")


def test_stored_logits_are_balanced_too(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["protocol.balance=1", "distiller=kd", "protocol.teacher_cache={views: 1, dir: cache}"]
    live = prepared(weights, *words[:2]).module.loss_weights
    stored = prepared(weights, *words).module.loss_weights
    assert stored == pytest.approx(live, rel=1e-3)


def test_a_run_that_goes_on_has_the_weights_it_began_with(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even where they would be measured otherwise, as on another machine."""

    def other(self: Distillation, *_: object) -> None:
        for distiller in self._losses.values():
            distiller.weight = 1.0

    trained(tmp_path / "whole", weights, *BALANCED)
    save: Callable[..., None] = AtomicCheckpointIO.save_checkpoint

    def stopped(self: AtomicCheckpointIO, *given: object, **named: object) -> None:
        save(self, *given, **named)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(AtomicCheckpointIO, "save_checkpoint", stopped)
        with pytest.raises(KeyboardInterrupt):
            trained(tmp_path / "parts", weights, *BALANCED)
    monkeypatch.setattr(Distillation, "balance", other)
    trained(tmp_path / "parts", weights, *BALANCED)
    assert left(tmp_path / "parts") == left(tmp_path / "whole")


def test_a_run_of_before_goes_on(tmp_path: Path, weights: Path) -> None:
    trained(tmp_path / "run", weights, *ONE_STEP)
    config = tmp_path / "run/config.json"
    assert '"balance"' in config.read_text()
    lines = config.read_text().splitlines(keepends=True)
    config.write_text("".join(line for line in lines if '"balance"' not in line))
    trained(tmp_path / "run", weights, *ONE_STEP)
    with pytest.raises(UserError, match=r"protocol\.balance: \(not set\) → 1"):
        trained(tmp_path / "run", weights, *ONE_STEP, "protocol.balance=1")


def test_a_loss_of_nothing_is_refused(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(KD, "forward", lambda self, t, s, step: s.logits.sum() * 0)
    with pytest.raises(
        UserError, match=r"^protocol\.balance=1: the loss of distiller kd .* is -?0;"
    ):
        prepared(weights, "protocol.balance=1")
    with pytest.raises(UserError, match=r"^protocol\.balance=0 .*positive"):
        prepared(weights, "protocol.balance=0")


def test_a_pair_that_cannot_be_served_is_told_who_can(weights: Path) -> None:
    with pytest.raises(
        UserError, match=r"^distiller\.diswot needs one emb.*; this pair can have "
    ) as caught:
        prepared(
            weights,
            "distiller.diswot.form=channel",
            "distiller=diswot",
            "student.network.widths=[8,8,16,24]",
        )
    assert {"at", "kd", "diswot"} <= set(str(caught.value).rpartition("have ")[2].split(", "))
