"""Distillers that read several stages, or a memory, against other people's code, in float64."""

from typing import Any

import numpy as np
import pytest
import torch
from distiller_helpers import built
from test_distiller_golden import CLOSE, GOLDEN, RECORDED
from torch import Tensor, nn

from diswot.distillers import Distiller, Step
from diswot.distillers.contrast import CRD
from diswot.distillers.functional import margin_of_batch_norm
from diswot.models.outputs import NetworkOutputs

ENTRIES = {entry["name"]: entry for entry in RECORDED}
NOTHING = torch.zeros(8, 1, dtype=torch.float64)


@pytest.fixture(scope="module")
def arrays() -> dict[str, Tensor]:
    with np.load(GOLDEN / "losses.npz", allow_pickle=False) as stored:
        return {name: torch.from_numpy(stored[name]).double() for name in stored.files}


def outputs(tensors: list[Tensor]) -> NetworkOutputs:
    """Maps as stages, which are preactivations too; vectors as the embedding."""
    maps = tuple(tensor for tensor in tensors if tensor.ndim == 4)
    vectors = [tensor for tensor in tensors if tensor.ndim == 2]
    return NetworkOutputs(maps, maps, vectors[0] if vectors else NOTHING, NOTHING)


def step(**changes: Tensor) -> Step:
    given = {name: torch.zeros(8, dtype=torch.int64) for name in ("labels", "indices")}
    weights = {"teacher_weight": NOTHING, "student_weight": NOTHING}
    return Step(epoch=100, **{**given, **weights, **changes})


def compare(
    entry: dict[str, Any], arrays: dict[str, Tensor], distiller: Distiller, at: Step
) -> None:
    """Value and gradients of a connected distiller."""
    taught = [arrays[f"in/{name}"] for name in entry["other_inputs"]]
    seen = {n: arrays[f"in/{n}"].clone().requires_grad_() for n in entry["student_inputs"]}
    value = distiller(outputs(taught), outputs(list(seen.values())), at)
    assert value.item() == pytest.approx(entry["value"], rel=CLOSE)
    gradients = torch.autograd.grad(value, list(seen.values()))
    for name, gradient in zip(seen, gradients, strict=True):
        along = (gradient * arrays[f"probe/{name}"]).sum().item()
        assert gradient.norm().item() == pytest.approx(entry["grad_norm"][name], rel=CLOSE)
        assert along == pytest.approx(entry["grad_dot_probe"][name], rel=CLOSE)


def connected(name: str, entry: dict[str, Any], arrays: dict[str, Tensor]) -> Distiller:
    distiller, given = built(name), [entry["other_inputs"], entry["student_inputs"]]
    distiller.connect(*(outputs([arrays[f"in/{each}"] for each in names]) for names in given))
    return distiller.double()


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("fsp", "FSP@repdistiller_2stage"),
        ("ab", "AB@repdistiller_2stage"),
        ("cka", "RMI_CKA@diswot"),
    ],
)
def test_what_stages_give_is_added(name: str, label: str, arrays: dict[str, Tensor]) -> None:
    """Half the weight a stage is RepDistiller's for ab."""
    distiller = connected(name, ENTRIES[label], arrays)
    assert not list(distiller.parameters())
    compare(ENTRIES[label], arrays, distiller, step())


def test_review(arrays: dict[str, Tensor]) -> None:
    entry = ENTRIES["ReviewKD_full@mdistiller"]
    distiller = connected("reviewkd", entry, arrays)
    state = {
        key.removeprefix("param/reviewkd/abf")
        .replace("/", ".")
        .replace("att_conv.0", "attention"): t
        for key, t in arrays.items()
        if key.startswith("param/reviewkd/")
    }
    distiller.fusions.load_state_dict(state)
    compare(entry, arrays, distiller, step())


def test_contrast(arrays: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    entry = ENTRIES["CRD@mdistiller_call1"]
    kept = {k.removeprefix("param/crd/"): t for k, t in arrays.items() if k.startswith("param/crd")}
    index, places = kept["index"].long(), kept["contrast_idx"].long()
    temperature = kept["contrast/params"][1].item()  # published code keeps it in float32
    distiller = built("crd", width=24, negatives=16, temperature=temperature)
    both = [outputs([arrays[f"in/{name}"]]) for name in ("emb_t128", "emb_s")]
    distiller.connect(*both)
    head = nn.Linear(2, 2)
    distiller.attach(head, head, torch.arange(50) % 2)
    state = {
        "memory_student.rows": kept["contrast/memory_v1"],
        "memory_teacher.rows": kept["contrast/memory_v2"],
        "memory_student.constant": torch.zeros(()),
        "memory_teacher.constant": torch.zeros(()),
        **{f"embed_student.{n}": kept[f"embed_s/linear.{n}"] for n in ("weight", "bias")},
        **{f"embed_teacher.{n}": kept[f"embed_t/linear.{n}"] for n in ("weight", "bias")},
    }
    distiller.double().load_state_dict(state)
    assert torch.equal(places[:, 0], index)
    monkeypatch.setattr(CRD, "others", lambda self, step: places[:, 1:])
    compare(entry, arrays, distiller, step(indices=index))
    constants = [m.constant.item() for m in (distiller.memory_teacher, distiller.memory_student)]
    expected = [entry["extra"][name] for name in ("Z_v1", "Z_v2")]
    assert constants == pytest.approx(expected, rel=1e-6)
    after = distiller.memory_student.rows
    torch.testing.assert_close(after, kept["after1_memory_v1"], rtol=1e-6, atol=1e-7)


def test_margins_are_those_of_the_batch_norm(arrays: dict[str, Tensor]) -> None:
    weight, bias, expected = (arrays[f"param/ofd/{n}"] for n in ("bn_weight", "bn_bias", "margin"))
    margin = margin_of_batch_norm(weight, bias)
    torch.testing.assert_close(margin, expected.flatten(), rtol=1e-5, atol=1e-7)
