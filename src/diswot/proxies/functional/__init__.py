"""Pure functions of tensors; the same maths serves proxies and distillation losses."""

from diswot.proxies.functional.nwot import activation_agreement, log_determinant
from diswot.proxies.functional.relation import relation_matrix, relation_similarity
from diswot.proxies.functional.semantic import (
    ClassGradient,
    cam_matrix,
    cam_similarity,
    channel_similarity,
    classifier_gradient,
)

__all__ = [
    "ClassGradient",
    "activation_agreement",
    "cam_matrix",
    "cam_similarity",
    "channel_similarity",
    "classifier_gradient",
    "log_determinant",
    "relation_matrix",
    "relation_similarity",
]
