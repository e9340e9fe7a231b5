"""What distillers gather while they train: margins, and memories of all images."""

from dataclasses import replace

import pytest
import torch
from distiller_helpers import built, pair
from torch import nn

from diswot.distillers.boundaries import RunningMargin
from diswot.distillers.functional import mean_of_negatives
from diswot.errors import UserError


def test_margins_are_the_mean_over_all_maps_so_far() -> None:
    margin, seen = RunningMargin(3), []
    for seed, shape in enumerate([(2, 3, 4, 4), (1, 3, 2, 2), (5, 3, 4, 4)]):
        draw = torch.Generator().manual_seed(seed)
        maps = torch.randn(shape, generator=draw) + torch.tensor([0.0, 1.0, 9.0]).view(1, 3, 1, 1)
        seen.append(maps.transpose(0, 1).flatten(1))
        so_far = mean_of_negatives(torch.cat(seen, dim=1).view(1, 3, 1, -1))
        torch.testing.assert_close(margin(maps), so_far)
    assert margin.mean[2] == 0  # no value there was ever negative
    before = margin.mean.clone()
    assert torch.equal(margin.eval()(maps - 5), before)


def test_noise_is_of_other_classes_and_never_held_out() -> None:
    networks = pair("depth")
    distiller = built("crd", negatives=4000)
    distiller.connect(*networks.outputs())
    classes = torch.tensor([2, 0, -1, 1, 2, -1, 0, 0, 2])
    distiller.attach(networks.teacher.fc, nn.Linear(16, 3), classes)
    step = replace(networks.step(), labels=torch.tensor([0, 1, 2]), indices=torch.tensor([1, 3, 0]))
    places = distiller.others(step)
    assert places.shape == (3, 4000)
    for label, row in enumerate(places):
        allowed = [place for place, kind in enumerate(classes) if kind not in (-1, label)]
        counts = row.bincount(minlength=len(classes))
        assert counts.nonzero().flatten().tolist() == allowed
        assert counts[allowed].min() / 4000 > 0.7 / len(allowed)  # uniform among them
    assert torch.equal(distiller.others(step), places)
    assert not torch.equal(distiller.others(replace(step, epoch=1)), places)


def test_a_memory_follows_its_images_and_keeps_its_constant() -> None:
    networks = pair("depth")
    distiller = networks.connected("crd", width=4, negatives=3, momentum=0.0)
    first = networks.loss(distiller).item()
    constants = distiller.memory_student.constant.item(), distiller.memory_teacher.constant.item()
    embedded = nn.functional.normalize(distiller.embed_student(networks.outputs()[1].embedding))
    torch.testing.assert_close(distiller.memory_student.rows, embedded)
    assert networks.loss(distiller).item() < first  # an image is most like itself
    again = distiller.memory_student.constant.item(), distiller.memory_teacher.constant.item()
    assert again == constants
    assert min(constants) > 0
    assert networks.loss(distiller, epoch=1).isfinite()


def test_several_processes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    networks = pair("depth")
    distiller = networks.connected("crd", negatives=3)
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    with pytest.raises(UserError, match=r"^distiller\.crd keeps .*; give trainer\.devices=1$"):
        networks.loss(distiller)
