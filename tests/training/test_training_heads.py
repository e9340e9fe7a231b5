"""Layers that a distiller puts before the classifier are merged in what is kept of a student."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.nn.utils.parametrize import is_parametrized
from training_helpers import prepared, trained

from diswot.checkpoint import load_student
from diswot.errors import UserError
from diswot.models.outputs import count_params
from diswot.models.parametrized import plain


@pytest.mark.parametrize("name", ["norm", "simkd"])
def test_the_merged_classifier_gives_the_logits_of_its_layers(name: str, weights: Path) -> None:
    setup = prepared(weights, f"distiller={name}", "student.network.widths=[8,8,16,24]")
    student, distiller = setup.module.student.eval(), setup.module.distillers[name]
    merged = plain(student)
    assert is_parametrized(student.classifier)
    assert not is_parametrized(merged.classifier)
    images, _, _ = setup.batches.test.view(torch.arange(4), 0)
    with torch.no_grad():
        maps = student.outputs(images).stages[-1]
        own = student.classifier.parametrizations.weight.original
        if name == "norm":
            expanded = distiller.expand(maps).mean((2, 3))
            embedding = maps.mean((2, 3)) + distiller.contract(expanded)
            logits = embedding @ own.T + student.classifier.bias
        else:
            teacher = torch.load(weights, weights_only=True)
            embedding = distiller.projector(maps).mean((2, 3))
            logits = embedding @ teacher["fc.weight"].T + teacher["fc.bias"]
        for network in (student, merged):
            torch.testing.assert_close(network(images), logits, atol=1e-5, rtol=1e-5)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(student.classifier.weight, merged.classifier.weight)
    assert count_params(student) == count_params(merged)
    assert plain(merged) is merged


def test_what_is_kept_is_a_student_as_any_other(tmp_path: Path, weights: Path) -> None:
    alone = trained(tmp_path / "alone", weights, "distiller=none", "protocol.max_epochs=1")
    names = load_file(tmp_path / "alone/student.safetensors").keys()
    for name in ("norm", "simkd"):
        run = tmp_path / name
        result = trained(
            run, weights, f"distiller={name}", "protocol.validation=0.4", "data.batch_size=16"
        )
        assert (result["params"], result["flops"]) == (alone["params"], alone["flops"])
        for file in ("student", "best"):
            assert load_file(run / f"{file}.safetensors").keys() == names
        assert not is_parametrized(load_student(run).classifier)
        state = torch.load(run / "last.ckpt", weights_only=True)["state_dict"]
        assert "student.fc.parametrizations.weight.original" in state
    learned = load_file(tmp_path / "simkd/student.safetensors")["fc.bias"]
    assert torch.equal(learned, torch.load(weights, weights_only=True)["fc.bias"])


def test_two_of_them_are_refused(weights: Path) -> None:
    with pytest.raises(UserError, match=r"^distiller\.simkd: another .* weight already"):
        prepared(weights, "distiller=[norm,simkd]")
