"""Distillers that put linear layers before the student's classifier, which merge into it.

The classifier's weight is a function of theirs while the student trains; what is validated,
saved and exported is the plain product, of the student's own shape.
"""

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized, register_parametrization

from diswot.checks import whole
from diswot.distillers import Distiller, Step
from diswot.distillers.functional import fitnet, norm
from diswot.distillers.functional.maps import one_size
from diswot.errors import UnfitError, UserError
from diswot.models.outputs import NetworkOutputs


class _BeforeClassifier(Distiller):
    def last(self, teacher: NetworkOutputs, student: NetworkOutputs) -> tuple[Tensor, Tensor]:
        """The last stages' maps."""
        return self.pairs(teacher, student)[-1]

    def check_pooling(self, outputs: NetworkOutputs, role: str) -> None:
        """Refuse a network whose classifier reads anything but the average of its last map."""
        pooled, read = outputs.stages[-1].mean((2, 3)), outputs.embedding
        if pooled.shape != read.shape or not torch.allclose(pooled, read, rtol=1e-3, atol=1e-4):
            raise UnfitError(
                f"distiller.{self.name} puts a layer between the last stage and the classifier, "
                f"but the {role}'s classifier does not read the average of its last stage's map"
            )

    def replace(self, classifier: nn.Linear, tensor: str, function: nn.Module) -> None:
        """Let a tensor of the student's classifier be a function of what it was."""
        if is_parametrized(classifier, tensor):
            raise UserError(
                f"distiller.{self.name}: another distiller has replaced the classifier's {tensor} "
                "already; give one of them"
            )
        register_parametrization(classifier, tensor, function)


class _Contracted(nn.Module):
    """``W (I + A_c A_e)``, both layers being the distiller's own parameters."""

    def __init__(self, expand: nn.Conv2d, contract: nn.Linear) -> None:
        super().__init__()
        self._layers = expand, contract  # a tuple: they are no part of the student

    def forward(self, weight: Tensor) -> Tensor:
        expand, contract = self._layers
        with torch.autocast(weight.device.type, enabled=False):  # what is saved is this
            return weight + weight @ contract.weight @ expand.weight.flatten(1)


class NORM(_BeforeClassifier):
    """N copies of the teacher's last map are matched by an expanded one, see `functional.norm`.

    A linear layer expands the student's last map to ``copies`` times the teacher's width, another
    contracts it; the map itself is added, as released. Both merge into the classifier:
    ``W (I + A_c A_e)``. The released layers have a BatchNorm each, the released labels' loss reads
    standardised logits, and its weights are tuned to each pair; none of this is here.
    """

    reads_classifier = False

    def __init__(self, *, name: str, copies: int = 8, **weights: float) -> None:
        super().__init__(name=name, **weights)
        self.copies = whole(f"distiller.{name}.copies", copies, least=1)

    def connect(self, teacher: NetworkOutputs, student: NetworkOutputs) -> None:
        """Build the expansion."""
        map_t, map_s = self.last(teacher, student)
        self.check_pooling(student, "student")
        self.expand = nn.Conv2d(map_s.shape[1], self.copies * map_t.shape[1], 1, bias=False)

    def attach(self, teacher: nn.Linear, student: nn.Linear, labels: Tensor) -> None:
        """Build the contraction, and put both before the classifier."""
        self.contract = nn.Linear(self.expand.out_channels, self.expand.in_channels, bias=False)
        self.replace(student, "weight", _Contracted(self.expand, self.contract))

    def forward(self, teacher: NetworkOutputs, student: NetworkOutputs, step: Step) -> Tensor:
        """See `Distiller`."""
        map_t, map_s = self.last(teacher, student)
        return norm(map_t, self.expand(map_s), copies=self.copies)


class _Constant(nn.Module):
    """A tensor that stays what it is, whatever it replaces."""

    value: Tensor

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.register_buffer("value", value.detach().clone(), persistent=False)

    def forward(self, replaced: Tensor) -> Tensor:
        return self.value + 0 * replaced  # which keeps a gradient, of zero, as several devices need


class _Reused(_Constant):
    """The teacher's weight times the projector."""

    def __init__(self, weight: Tensor, projector: nn.Conv2d) -> None:
        super().__init__(weight)
        self._projector = (projector,)  # a tuple: it is no part of the student

    def forward(self, replaced: Tensor) -> Tensor:
        with torch.autocast(replaced.device.type, enabled=False):  # what is saved is this
            return self.value @ self._projector[0].weight.flatten(1) + 0 * replaced


class SimKD(_BeforeClassifier):
    """The teacher's classifier is reused; the loss is ``mean (T − P S)²`` of the last maps.

    The projector P is linear, one of those its paper compares: the product of teacher's classifier
    and projector is a classifier of the student's own shape. The paper's best, three convolutions
    with ReLUs, would stay in the student.

    Source: Chen et al., "Knowledge Distillation with the Reused Teacher Classifier", CVPR 2022.
    """

    def __init__(self, *, name: str, ce_weight: float = 0.0, **weights: float) -> None:
        super().__init__(name=name, ce_weight=ce_weight, **weights)

    def connect(self, teacher: NetworkOutputs, student: NetworkOutputs) -> None:
        """Build the projector."""
        self.check_classes(teacher, student)
        map_t, map_s = self.last(teacher, student)
        self.check_pooling(teacher, "teacher")
        self.check_pooling(student, "student")
        self.projector = nn.Conv2d(map_s.shape[1], map_t.shape[1], 1, bias=False)

    def attach(self, teacher: nn.Linear, student: nn.Linear, labels: Tensor) -> None:
        """Replace the student's classifier."""
        if student.bias is None and teacher.bias is not None:
            raise UserError(
                f"distiller.{self.name}: the student's classifier has no bias to hold the teacher's"
            )
        self.replace(student, "weight", _Reused(teacher.weight, self.projector))
        if student.bias is not None:
            bias = torch.zeros_like(student.bias) if teacher.bias is None else teacher.bias
            self.replace(student, "bias", _Constant(bias))

    def forward(self, teacher: NetworkOutputs, student: NetworkOutputs, step: Step) -> Tensor:
        """See `Distiller`."""
        map_t, map_s = one_size(*self.last(teacher, student))
        return fitnet(map_t, self.projector(map_s))
