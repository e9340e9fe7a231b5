"""Losses and their gradients against those of other people's code, in float64."""

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from diswot.distillers import functional
from diswot.distillers.functional import ickd, sp, standardize
from diswot.distillers.functional.maps import one_size
from diswot.distillers.maps import MeanNetwork, Projection
from diswot.proxies.functional import channel_similarity

GOLDEN = Path(__file__).parents[1] / "golden"
CLOSE = 1e-8
RECORDED = json.loads((GOLDEN / "losses.json").read_text())["entries"]


def semantic(teacher: Tensor, student: Tensor) -> Tensor:
    """DisWOT's published function: of class gradients ours, of maps ICKD's loss."""
    return ickd(teacher, student) if teacher.ndim == 4 else -channel_similarity(teacher, student)


LOSSES: dict[str, Callable[..., Tensor]] = {
    "readme_batch_similarity": sp,
    "readme_channel_similarity": semantic,
    **{name: getattr(functional, name) for name in functional.__all__},
}
"""Ours by the first part of an entry's name, in small letters."""

NAMES = {"T": "temperature", "tau": "temperature", "p": "power"}
NAMES |= {"w_d": "distance_weight", "w_a": "angle_weight"}
NAMES |= {"p1": "power", "p2": "exponent", "co_sponge": "copies"}
"""Our names of settings that are called otherwise in other people's code."""

NOT_OFFERED = {
    "SP@diswot_Similarity_TENSOR_CALL": "maps instead of lists: image 0 alone is compared",
    "README_batch_similarity@diswot_as_written": "raises NameError as published",
    "ICKD@diswot_channels16v32_SILENT_RESHAPE": "regroups the channels of another width",
}
OF_STAGES = ("AB@repdistiller_2stage", "ReviewKD_full@mdistiller", "CRD@mdistiller_call1")
"""Compared as distillers, in ``test_distiller_golden_stages.py``."""


def family(entry: dict[str, Any]) -> str | None:
    label = entry["name"].split("@")[0].lower()
    return next((name for name in LOSSES if f"{label}_".startswith(f"{name}_")), None)


ENTRIES = {entry["name"]: entry for entry in RECORDED if family(entry)}
COMPARED = [name for name in ENTRIES if name not in (*NOT_OFFERED, *OF_STAGES)]


@pytest.fixture(scope="module")
def arrays() -> dict[str, Tensor]:
    with np.load(GOLDEN / "losses.npz", allow_pickle=False) as stored:
        return {name: torch.from_numpy(stored[name]).double() for name in stored.files}


def connected(
    entry: dict[str, Any], teacher: Tensor, student: Tensor, arrays: dict[str, Tensor]
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Inputs and further arguments of a loss after the stored connector, where there is one."""
    prefix = f"param/{entry.get('aux_params_prefix')}"
    state = {k.removeprefix(prefix): t for k, t in arrays.items() if k.startswith(prefix)}
    if not state:
        return teacher, student, {}
    if "margin" in state:
        return teacher, student, {"margin": state["margin"].flatten()}
    widths = student.shape[1], teacher.shape[1]
    if "log_scale" in state:
        mean = MeanNetwork(*widths).double()
        mean.load_state_dict(state)
        teacher, student = one_size(teacher, student)
        return teacher, mean(student), {"log_scale": mean.log_scale}
    if "ConvTranspose2d(4, 4)" in entry["hyper"]["regressor"]:
        # The published regressor for smaller students; ours pools the teacher's map instead.
        weight, bias = state["conv.weight"], state["conv.bias"]
        maps = nn.functional.conv_transpose2d(student, weight, bias, stride=2, padding=1)
        affine = None, None, state["bn.weight"], state["bn.bias"]
        return teacher, nn.functional.batch_norm(maps, *affine, training=True).relu(), {}
    assert "Conv2d(1, 1)" in entry["hyper"]["regressor"]
    regressor = Projection(*widths, bias=True, relu=True).double()
    regressor.load_state_dict(state)
    return teacher, regressor(student), {}


def test_no_entry_is_forgotten() -> None:
    assert set(NOT_OFFERED) <= set(ENTRIES)
    assert len(COMPARED) == 44


@pytest.mark.parametrize("name", COMPARED)
def test_value_and_gradient(name: str, arrays: dict[str, Tensor]) -> None:
    entry = ENTRIES[name]
    [taught, *labels], [seen] = entry["other_inputs"], entry["student_inputs"]
    original = arrays[f"in/{seen}"].clone().requires_grad_()
    teacher, student, further = connected(entry, arrays[f"in/{taught}"], original, arrays)
    if labels:
        further["labels"] = arrays["in/target"].long()
    loss = LOSSES[str(family(entry))]
    hyper = {NAMES.get(key, key): setting for key, setting in entry["hyper"].items()}
    known = {key: hyper[key] for key in inspect.signature(loss).parameters if key in hyper}
    value = loss(teacher, student, **{**known, **further})
    [gradient] = torch.autograd.grad(value, original)
    along = (gradient * arrays[f"probe/{seen}"]).sum().item()
    assert value.dtype == torch.float64
    assert value.shape == ()
    assert value.item() == pytest.approx(entry["value"], rel=CLOSE)
    assert gradient.norm().item() == pytest.approx(entry["grad_norm"][seen], rel=CLOSE)
    assert along == pytest.approx(entry["grad_dot_probe"][seen], rel=CLOSE)


def test_normalised_logits_are_those_of_norm(arrays: dict[str, Tensor]) -> None:
    """NORM's layer norm over classes divides by the biased deviation: the same but for a scale."""
    logits, classes = arrays["in/logits_t"], arrays["in/logits_t"].shape[1]
    normed = nn.functional.layer_norm(logits, (classes,), eps=1e-7)
    assert torch.allclose(standardize(logits), normed * (1 - 1 / classes) ** 0.5, rtol=1e-5)
