"""The readings of DisWOT's two terms, against loops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from proxy_helpers import setup_of

from diswot.proxies import functional

FEATURES = torch.randn(5, 4, 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
WEIGHT = torch.randn(6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def cosines(rows: list[Any]) -> Any:
    unit = np.array([row / np.linalg.norm(row) for row in rows])
    return unit @ unit.T


@pytest.mark.parametrize("rectified", [False, True])
def test_images_by_their_class_maps(rectified: bool) -> None:
    rows = []
    for image in FEATURES.numpy():
        maps = [
            sum(w * channel for w, channel in zip(ws, image, strict=True)) for ws in WEIGHT.numpy()
        ]
        summed = sum(np.maximum(one, 0) for one in maps)
        rows.append(summed.ravel() if rectified else np.concatenate([m.ravel() for m in maps]))
    matrix = functional.image_map_matrix(FEATURES, WEIGHT, rectified=rectified)
    np.testing.assert_allclose(matrix, cosines(rows), rtol=1e-12)


def test_relation_normalised_before_the_product() -> None:
    matrix = functional.relation_matrix(FEATURES, normalise="before")
    np.testing.assert_allclose(matrix, cosines([x.ravel() for x in FEATURES.numpy()]), rtol=1e-12)
    louder = functional.relation_matrix(FEATURES * torch.arange(1.0, 6).view(5, 1, 1, 1))
    assert not torch.allclose(louder, functional.relation_matrix(FEATURES))


@pytest.mark.parametrize("form", ["classes", "images", "images_relu"])
def test_a_form_scores_networks_of_any_width(small_archs: Any, form: str) -> None:
    words = ["space=s1", "teacher=resnet8", "proxy=[diswot,semantic,relation]"]
    forms = [f"proxy.{name}.form={form}" for name in ("diswot", "semantic")]
    setup = setup_of(*words, *forms, "proxy.diswot.normalise=before")
    assert setup.proxies["diswot"].settings() == {
        "form": form,
        "normalise": "before",
        "combine": "sum",
    }
    for measured in [setup.scorer.measure(arch) for arch in small_archs(setup.space, 3)]:
        parts = measured.parts
        assert parts["semantic"] == {"semantic": parts["diswot"]["semantic"]}
        assert -4 <= parts["semantic"]["semantic"] < 0
        assert parts["relation"]["relation"] != parts["diswot"]["relation"]


def test_the_former_name_of_classes() -> None:
    setup = setup_of("space=s1", "teacher=resnet8", "proxy=semantic", "proxy.semantic.form=cam")
    assert setup.proxies["semantic"].settings() == {"form": "classes"}
    auto = setup_of("space=s1", "teacher=resnet8", "proxy=semantic").proxies["semantic"]
    assert auto.settings() == {"form": "images_relu"}
