"""Similarity matrices as small pictures."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Heat", "heat_maps"]

_SIDE = 128  # pixels at most

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Heat:
    """One matrix as a picture.

    Attributes:
        title: What it is.
        uri: The picture as a ``data:`` URI.
        low: Value of the darkest colour.
        high: Value of the brightest.
        note: What was left out, if anything.
    """

    title: str
    uri: str
    low: float
    high: float
    note: str


def heat_maps(teacher: Matrix, student: Matrix) -> list[Heat]:
    """Teacher and student in the same colours, and where they differ.

    Args:
        teacher: ``(n, n)``, finite.
        student: ``(n, n)``, finite.
    """
    both = np.concatenate([teacher, student])
    low, high = float(both.min()), float(both.max())
    apart = np.abs(teacher - student)
    return [
        _heat("teacher", teacher, low, high),
        _heat("student", student, low, high),
        _heat("|teacher − student|", apart, 0.0, float(apart.max())),
    ]


def _heat(title: str, matrix: Matrix, low: float, high: float) -> Heat:
    block = -(-len(matrix) // _SIDE)
    small = _means(matrix, block)
    note = f"a pixel is the mean of {block}×{block} entries" if block > 1 else ""
    span = high - low
    shares = (small - low) / span if span > 0 else np.zeros_like(small)
    return Heat(title, _uri(np.clip(shares, 0, 1)), low, high, note)


def _means(matrix: Matrix, block: int) -> Matrix:
    """Means of blocks; what is too little for a whole block at the end is left out."""
    whole = len(matrix) // block
    cut = matrix[: whole * block, : whole * block]
    means: Matrix = cut.reshape(whole, block, whole, block).mean((1, 3))
    return means


def _uri(shares: Matrix) -> str:
    from matplotlib import colormaps
    from PIL import Image

    colors = (colormaps["viridis"](np.arange(256))[:, :3] * 255).round().astype(np.uint8)
    image = Image.fromarray((shares * 255).round().astype(np.uint8))
    image.putpalette(colors.tobytes())
    data = io.BytesIO()
    image.save(data, format="png", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}"
