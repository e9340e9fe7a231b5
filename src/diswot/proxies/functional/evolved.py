"""Formulas that an evolutionary search has found for proxies."""

from collections.abc import Iterable

import torch
from torch import Tensor

__all__ = ["auto_das"]


def auto_das(gradients: Iterable[Tensor], form: str) -> Tensor:
    """``Σ_l ‖s_l‖_F`` (``s0``) or ``Σ_l mean |tanh s_l|`` (``nasbench201``), in float64.

    ``s_l = ln softmax(g_l)`` over the output channels of the gradient ``(C, ...)`` of a layer's
    weights. Source: Sun et al., "Auto-DAS: Automated Proxy Discovery for Training-free
    Distillation-aware Architecture Search", ECCV 2024: the students' proxies its released code
    names as found on S0 (``logsoftmax, no_op, frobenius_norm, normalized_sum``) and on
    NAS-Bench-201 (``logsoftmax, no_op, tanh, l1_norm``).

    With gradients of zeros s is −ln C everywhere.

    >>> auto_das([torch.zeros(2, 8)], "s0") / 4
    tensor(0.6931, dtype=torch.float64)
    >>> auto_das([torch.zeros(2, 8)], "nasbench201")
    tensor(0.6000, dtype=torch.float64)
    """
    logs = [gradient.double().log_softmax(0) for gradient in gradients]
    terms = [s.norm() if form == "s0" else s.tanh().abs().mean() for s in logs]
    return torch.stack(terms).sum()
