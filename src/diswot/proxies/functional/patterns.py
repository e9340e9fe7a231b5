"""Sample-wise activation patterns: which images switch a unit on."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

__all__ = ["distinct_patterns", "sample_patterns"]

Codes = npt.NDArray[np.int64]


def sample_patterns(inputs: Tensor) -> Codes:
    """The distinct patterns of a ReLU's inputs ``(B, ...)``: ``(P, ⌈B/64⌉)``, bits packed.

    A unit's pattern has one bit an image, set where the unit's input is positive. Source: Peng et
    al., "SWAP-NAS: Sample-Wise Activation Patterns for Ultra-fast NAS", ICLR 2024.

    Of three units two are on for the first image alone.

    >>> sample_patterns(torch.tensor([[1.0, 1.0, -1.0], [-1.0, -1.0, 2.0]]))
    array([[1],
           [2]])
    """
    flat = inputs.movedim(1, -1).flatten(1)  # a view in channels_last; the order is free
    on = torch.gt(flat, 0).cpu().numpy()
    packed = np.packbits(on, axis=0, bitorder="little")
    codes = np.zeros((packed.shape[1], 8 * -(-len(packed) // 8)), dtype=np.uint8)
    codes[:, : len(packed)] = packed.T
    return _distinct(codes.view("<i8").astype(np.int64))


def distinct_patterns(codes: Sequence[Codes]) -> int:
    """How many distinct rows there are in arrays of `sample_patterns` of the same images.

    >>> distinct_patterns([np.array([[1], [2]]), np.array([[2], [3]])])
    3
    """
    return len(_distinct(np.concatenate(codes)))


def _distinct(codes: Codes) -> Codes:
    """Distinct rows; words are numbered one by one, which is faster than sorting rows."""
    if codes.shape[1] == 1:
        return np.unique(codes)[:, None]
    number = np.zeros(len(codes), dtype=np.int64)
    for word in codes.T:
        _, position = np.unique(word, return_inverse=True)
        _, number = np.unique(number * len(codes) + position, return_inverse=True)
    _, first = np.unique(number, return_index=True)
    return codes[first]
