"""Matrices of teacher and best student that the similarity proxies compare, as a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from diswot.proxies.diswot import Relation, Semantic
from diswot.runs.files import replacing
from diswot.scoring.runtime import forward

if TYPE_CHECKING:
    from pathlib import Path

    from diswot.proxies.base import Summary
    from diswot.scoring.setup import Setup


_ROWS = 256
_KINDS = {"relation": "relation", "maps": "semantic", "gradient": "semantic"}
"""Names of the matrices in the file, by those that proxies give them."""

Matrices = dict[str, np.ndarray[Any, np.dtype[np.float32]]]


def save_similarity(path: Path, setup: Setup, arch: str) -> None:
    """Write what `similarity_matrices` gives; no file is left where there is nothing to compare.

    Raises:
        OSError: The disk is full or the folder cannot be written; ``path`` is unchanged.
    """
    matrices = similarity_matrices(setup, arch)
    if not matrices:
        path.unlink(missing_ok=True)
        return
    with replacing(path, f".{path.name}.tmp") as file:
        np.savez(file, allow_pickle=False, **matrices)


def similarity_matrices(setup: Setup, arch: str) -> Matrices:
    """What the run's DisWOT proxies compare, from the weights that were scored.

    The student runs once more, as it did to be scored, so scores follow from the matrices up to
    the rounding to float32. ``relation`` is ``(B, B)``; ``semantic`` holds images ``(B, B)``,
    classes ``(K, K)`` or, of the channel form, the gradient ``(K, C)``, of at most 256 rows. There
    are none where no such proxy ran or a network gives numbers that are not finite.
    """
    proxies = {n: p for n, p in setup.proxies.items() if isinstance(p, Semantic | Relation)}
    if not proxies:
        return {}
    scorer = setup.scorer
    student: dict[str, Summary] = {}
    try:
        with scorer.runtime.reproducible(), torch.no_grad():
            network = scorer.network(setup.space.parse(arch))
            batch = scorer.runtime.place_batch(scorer.batch)
            outputs = forward(network, {}, batch, scorer.runtime).outputs
            for name, proxy in proxies.items():
                student[name] = proxy.summarize(outputs, batch, network)
    except RuntimeError:  # out of memory, where the proxies kept less of the pass
        return {}
    matrices: Matrices = {}
    for side, summaries in (("teacher", scorer.teacher), ("student", student)):
        for name in reversed(proxies):  # of two that give one kind the first counts
            for key, matrix in summaries[name].items():
                matrices[f"{_KINDS[key]}_{side}"] = matrix[:_ROWS].cpu().float().numpy()
    return matrices if all(np.isfinite(matrix).all() for matrix in matrices.values()) else {}
