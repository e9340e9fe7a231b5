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

from diswot.distillers import Step
from diswot.distillers.cc import CC
from diswot.distillers.connectors import MeanNetwork, Projection
from diswot.distillers.functional import (
    at,
    cc,
    dist,
    dkd,
    fitnet,
    ickd,
    kd,
    nst,
    pkt,
    rkd,
    sp,
    standardize,
    vid,
)
from diswot.distillers.functional._shapes import one_size
from diswot.models.outputs import NetworkOutputs
from diswot.proxies.functional import ClassGradient, channel_similarity

GOLDEN = Path(__file__).parents[1] / "golden"
CLOSE = 1e-8
TOLD = json.loads((GOLDEN / "losses.json").read_text())["entries"]


def semantic(teacher: Tensor, student: Tensor) -> Tensor:
    """DisWOT's published function: of class gradients ours, of maps ICKD's loss."""
    if teacher.ndim == 4:
        return ickd(teacher, student)
    return -channel_similarity(ClassGradient(teacher), ClassGradient(student))


LOSSES: dict[str, Callable[..., Tensor]] = {
    "KD": kd,
    "DKD": dkd,
    "DIST": dist,
    "FitNet": fitnet,
    "AT": at,
    "SP": sp,
    "README_batch_similarity": sp,
    "CC": cc,
    "RKD": rkd,
    "PKT": pkt,
    "NST": nst,
    "VID": vid,
    "ICKD": ickd,
    "README_channel_similarity": semantic,
}
NAMES = {
    "T": "temperature",
    "p": "power",
    "w_d": "distance_weight",
    "w_a": "angle_weight",
    "distance_weight": "distance_weight",
    "angle_weight": "angle_weight",
    "alpha": "alpha",
    "beta": "beta",
    "gamma": "gamma",
    "tau": "temperature",
}
# What a source says of itself, and no choice here: RKD's distances are never squared and its
# floor, as PKT's and VID's, is ours; the regressors are run below; the batch size is the inputs'.
FIXED = {
    "squared": False,
    "eps": (1e-5, 1e-7, 1e-12),
    "bn_mode": "train",
    "regressor": ...,
    "bsz": 8,
    "mid_channels": 16,
    "init_pred_var": 5.0,
    "log_scale": ...,
}
NOT_OFFERED = {
    "SP@diswot_Similarity_TENSOR_CALL": "maps instead of lists: image 0 alone is compared",
    "README_batch_similarity@diswot_as_written": "raises NameError as published",
    "ICKD@diswot_channels16v32_SILENT_RESHAPE": "regroups the channels of another width",
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


def stored(entry: dict[str, Any], arrays: dict[str, Tensor]) -> dict[str, Tensor]:
    prefix = f"param/{entry.get('aux_params_prefix')}"
    return {k.removeprefix(prefix): t for k, t in arrays.items() if k.startswith(prefix)}


def connected(
    entry: dict[str, Any], teacher: Tensor, student: Tensor, arrays: dict[str, Tensor]
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Inputs and further arguments of a loss after the stored connector, where there is one."""
    state = stored(entry, arrays)
    if "log_scale" in state:
        mean = MeanNetwork(student.shape[1], teacher.shape[1]).double()
        mean.load_state_dict(state)
        teacher, student = one_size(teacher, student)
        return teacher, mean(student), {"log_scale": mean.log_scale}
    if not state:
        return teacher, student, {}
    if "ConvTranspose2d(4, 4)" in entry["hyper"]["regressor"]:
        return teacher, upsampled(state, student), {}
    assert "Conv2d(1, 1)" in entry["hyper"]["regressor"]
    regressor = Projection(student.shape[1], teacher.shape[1], bias=True, relu=True).double()
    regressor.load_state_dict(state)
    return teacher, regressor(student), {}


def upsampled(state: dict[str, Tensor], features: Tensor) -> Tensor:
    """The published regressor for smaller students; ours pools the teacher's map instead."""
    weight, bias = state["conv.weight"], state["conv.bias"]
    mapped = nn.functional.conv_transpose2d(features, weight, bias, stride=2, padding=1)
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
    assert len(COMPARED) == 36


@pytest.mark.parametrize("name", COMPARED)
def test_value_and_gradient(name: str, arrays: dict[str, Tensor]) -> None:
    entry = ENTRIES[name]
    [taught, *labels], [seen] = entry["other_inputs"], entry["student_inputs"]
    original = arrays[f"in/{seen}"].clone().requires_grad_()
    teacher, student, further = connected(entry, arrays[f"in/{taught}"], original, arrays)
    if labels:
        further["labels"] = arrays["in/target"].long()
    loss = partial(LOSSES[str(family(entry))], **settings(entry), **further)
    value = loss(teacher, student)
    [gradient] = torch.autograd.grad(value, original)
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


def test_regrouped_channels_are_refused(arrays: dict[str, Tensor]) -> None:
    entry = ENTRIES["ICKD@diswot_channels16v32_SILENT_RESHAPE"]
    teacher, student = arrays[f"in/{entry['other_inputs'][0]}"], arrays["in/featr_s"]
    with pytest.raises(ValueError, match=r"one width.*\(8, 32, 8, 8\).*\(8, 16, 8, 8\)"):
        ickd(teacher, student)
    regrouped = teacher.reshape(8, 16, 16, 8)
    assert ickd(regrouped, student).item() == pytest.approx(entry["value"], rel=CLOSE)


def test_normalised_logits_are_those_of_norm(arrays: dict[str, Tensor]) -> None:
    """NORM's layer norm over classes divides by the biased deviation: the same but for a scale."""
    logits = arrays["in/logits_t"]
    classes = logits.shape[1]
    normed = nn.functional.layer_norm(logits, (classes,), eps=1e-7)
    ratio = ((classes - 1) / classes) ** 0.5
    assert torch.allclose(standardize(logits), normed * ratio, rtol=1e-5)


def test_embedded_correlations_have_the_form_of_their_source(arrays: dict[str, Tensor]) -> None:
    """Neighbours' products over the embeddings, as the class around the loss has it."""
    distiller = CC(name="cc", width=24).double()
    outputs = [
        NetworkOutputs((), (), arrays[f"in/emb_{one}"], arrays[f"in/logits_{one}"]) for one in "ts"
    ]
    distiller.connect(*outputs)
    distiller.double()
    step = Step(arrays["in/target"].long(), 0, torch.empty(0), torch.empty(0))
    told = distiller.embed_teacher(outputs[0].embedding)
    error = (distiller.embed_student(outputs[1].embedding) - told).abs()
    expected = (error[1:] * error[:-1]).sum() / 7
    assert distiller(*outputs, step).item() == pytest.approx(expected.item(), rel=1e-12)
