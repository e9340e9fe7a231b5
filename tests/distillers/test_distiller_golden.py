"""Losses and their gradients against those of other people's code, in float64."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from diswot.distillers.functional import at, cc, fitnet, kd, nst, pkt, rkd, sp

GOLDEN = Path(__file__).parents[1] / "golden"
CLOSE = 1e-8
TOLD = json.loads((GOLDEN / "losses.json").read_text())["entries"]

LOSSES: dict[str, Callable[..., Tensor]] = {
    "KD": kd,
    "FitNet": fitnet,
    "AT": at,
    "SP": sp,
    "README_batch_similarity": sp,
    "CC": cc,
    "RKD": rkd,
    "PKT": pkt,
    "NST": nst,
}
NAMES = {
    "T": "temperature",
    "p": "power",
    "w_d": "distance_weight",
    "w_a": "angle_weight",
    "distance_weight": "distance_weight",
    "angle_weight": "angle_weight",
}
# What a source says of itself, and no choice here: RKD's distances are never squared and its
# floor, as PKT's, is ours; the regressor is run below; the batch size is that of the inputs.
FIXED = {"squared": False, "eps": (1e-7, 1e-12), "bn_mode": "train", "regressor": ..., "bsz": 8}
NOT_OFFERED = {
    "SP@diswot_Similarity_TENSOR_CALL": "maps instead of lists: image 0 alone is compared",
    "README_batch_similarity@diswot_as_written": "raises NameError as published",
}


def family(entry: dict[str, Any]) -> str | None:
    label = entry["name"].split("@")[0]
    return next((name for name in LOSSES if label == name or label.startswith(f"{name}_")), None)


ENTRIES = {entry["name"]: entry for entry in TOLD if family(entry)}
COMPARED = [name for name in ENTRIES if name not in NOT_OFFERED]


@pytest.fixture(scope="module")
def arrays() -> dict[str, Tensor]:
    with np.load(GOLDEN / "losses.npz", allow_pickle=False) as stored:
        return {name: torch.from_numpy(stored[name]).double() for name in stored.files}


def regressed(entry: dict[str, Any], features: Tensor, arrays: dict[str, Tensor]) -> Tensor:
    """The student's features after the stored regressor, where an entry has one."""
    prefix = f"param/{entry.get('aux_params_prefix')}"
    state = {k.removeprefix(prefix): t for k, t in arrays.items() if k.startswith(prefix)}
    if not state:
        return features
    weight, bias = state["conv.weight"], state["conv.bias"]
    if "ConvTranspose2d(4, 4)" in entry["hyper"]["regressor"]:
        mapped = nn.functional.conv_transpose2d(features, weight, bias, stride=2, padding=1)
    else:
        assert "Conv2d(1, 1)" in entry["hyper"]["regressor"]
        mapped = nn.functional.conv2d(features, weight, bias)
    scale, shift = state["bn.weight"], state["bn.bias"]
    return nn.functional.batch_norm(mapped, None, None, scale, shift, training=True).relu()


def settings(entry: dict[str, Any]) -> dict[str, float]:
    chosen = {}
    for key, value in entry["hyper"].items():
        if key in NAMES:
            chosen[NAMES[key]] = value
        else:
            fixed = FIXED[key]
            assert fixed is ... or value == fixed or (isinstance(fixed, tuple) and value in fixed)
    return chosen


def test_every_loss_is_compared() -> None:
    assert {family(ENTRIES[name]) for name in COMPARED} == set(LOSSES)
    assert set(NOT_OFFERED) <= set(ENTRIES)
    assert len(COMPARED) == 23


@pytest.mark.parametrize("name", COMPARED)
def test_value_and_gradient(name: str, arrays: dict[str, Tensor]) -> None:
    entry = ENTRIES[name]
    [taught], [seen] = entry["other_inputs"], entry["student_inputs"]
    student = arrays[f"in/{seen}"].clone().requires_grad_()
    loss = partial(LOSSES[str(family(entry))], **settings(entry))
    value = loss(arrays[f"in/{taught}"], regressed(entry, student, arrays))
    [gradient] = torch.autograd.grad(value, student)
    along = (gradient * arrays[f"probe/{seen}"]).sum().item()
    assert value.dtype == torch.float64
    assert value.shape == ()
    assert value.item() == pytest.approx(entry["value"], rel=CLOSE)
    assert gradient.norm().item() == pytest.approx(entry["grad_norm"][seen], rel=CLOSE)
    assert along == pytest.approx(entry["grad_dot_probe"][seen], rel=CLOSE)


def test_the_one_image_comparison_is_not_reproduced(arrays: dict[str, Tensor]) -> None:
    entry = ENTRIES["SP@diswot_Similarity_TENSOR_CALL"]
    found = sp(arrays["in/featr_t"], arrays["in/featr_s"]).item()
    assert abs(found / entry["value"] - 1) > 0.5
