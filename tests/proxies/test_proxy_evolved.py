"""Auto-DAS's formulas against numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from proxy_helpers import made
from torch import nn
from torch.nn import functional as F

from diswot.errors import UserError


@pytest.mark.parametrize("form", ["s0", "nasbench201"])
def test_auto_das_written_out(golden: Any, form: str) -> None:
    network, expected = golden.network("plain_c"), 0.0
    weights = [module.weight for module in network.modules() if isinstance(module, nn.Conv2d)]
    loss = F.cross_entropy(network(golden.batch.images), golden.batch.labels)
    for gradient in torch.autograd.grad(loss, weights):
        g = gradient.numpy()
        s = g - np.log(np.exp(g).sum(0))
        expected += np.sqrt((s**2).sum()) if form == "s0" else np.abs(np.tanh(s)).mean()
    score = golden.measured("plain_c", made("auto_das", f"form={form}"))
    assert score == pytest.approx(expected, rel=1e-12)


def test_auto_das_is_next_to_a_measure_of_size(golden: Any) -> None:
    network = golden.network("plain_a")
    weights = [module.weight for module in network.modules() if isinstance(module, nn.Conv2d)]
    size = sum(np.sqrt(w.numel()) * np.log(len(w)) for w in weights)
    assert golden.measured("plain_a", made("auto_das")) == pytest.approx(size, rel=0.05)


def test_other_forms_are_refused() -> None:
    with pytest.raises(UserError, match=r"^proxy\.auto_das\.form=s1.*allowed are s0, nasbench201"):
        made("auto_das", "form=s1")
