"""Matrices of teacher and best student that the similarity proxies compare, as a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from diswot.proxies.functional import cam_matrix, relation_matrix
from diswot.runs.files import replacing
from diswot.scoring.runtime import forward

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from diswot.models.outputs import Network
    from diswot.scoring.scorer import Scorer
    from diswot.scoring.setup import Setup


_CLASSES = 256

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
    """The matrices of relation similarity and of the cam form, from the weights that were scored.

    Both networks run once more, as they did to be scored, so the search's own scores follow from
    the matrices up to the rounding to float32: ``−‖relation_teacher − relation_student‖²/B²`` is
    the relation part, the same of the semantic matrices, with K², the cam form. They are ``(B, B)``
    and ``(K, K)``, of the first 256 classes; there are none where no proxy compared with a teacher
    or a network gives numbers that are not finite.
    """
    if setup.teacher_network is None:
        return {}
    teacher = _matrices(setup.teacher_network, setup.scorer)
    try:
        student = _matrices(setup.scorer.network(setup.space.parse(arch)), setup.scorer)
    except RuntimeError:  # out of memory, where the proxies kept less of the pass
        return {}
    sides = {"teacher": teacher, "student": student}
    matrices = {f"{kind}_{side}": sides[side][kind] for kind in teacher for side in sides}
    return matrices if all(np.isfinite(matrix).all() for matrix in matrices.values()) else {}


def _matrices(network: nn.Module, scorer: Scorer) -> Matrices:
    """Relation matrix ``(B, B)`` and that of activation maps, ``(K, K)``, of one forward pass."""
    with scorer.runtime.reproducible(), torch.no_grad():
        batch = scorer.runtime.place_batch(scorer.batch)
        outputs = forward(scorer.runtime.place(network), {}, batch, scorer.runtime).outputs
        features = outputs.stages[-1].double()
        weight = cast("Network", network).classifier.weight[:_CLASSES].double()
        pair = {"relation": relation_matrix(features), "semantic": cam_matrix(features, weight)}
    return {kind: matrix.cpu().float().numpy() for kind, matrix in pair.items()}
