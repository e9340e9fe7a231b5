"""Self-distillation: distillers without a teacher."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diswot import keys
from diswot.checks import number, positive
from diswot.distillers import Distiller, Step
from diswot.distillers.exits import Exit
from diswot.distillers.functional import kd
from diswot.distillers.functional.maps import one_size
from diswot.distillers.schedules import Given, at_epoch, scheduled
from diswot.errors import UnfitError
from diswot.models.outputs import NetworkOutputs


class BYOT(Distiller):
    """Be your own teacher: ``Σ_i (1 − α) CE(z_i, y) + α kd(z, z_i) + λ mean_b ‖F − F_i‖²``.

    An `Exit` after each stage i but the last learns from the labels, and from the student's own
    logits z and last map F, which are constants there; F_i is the exit's last map. Exits are
    those of OFA-KD; the paper's bottlenecks may be others.

    Source: Zhang et al., "Be Your Own Teacher: Improve the Performance of Convolutional Neural
    Networks via Self Distillation", ICCV 2019; α, λ and the temperature are those of public code.

    Args:
        alpha: α, from 0 to 1.
        hint_weight: λ.
        temperature: Of kd.
    """

    needs_teacher = False
    reads_classifier = False
    needs_labels = True

    def __init__(
        self,
        *,
        name: str,
        alpha: float = 0.1,
        hint_weight: float = 1e-6,
        temperature: Given = 3.0,
        **weights: float,
    ) -> None:
        super().__init__(name=name, **weights)
        self.alpha = number(f"distiller.{name}.alpha", alpha, low=0, high=1)
        self.hint_weight = number(f"distiller.{name}.hint_weight", hint_weight, low=0)
        self.temperature = scheduled(f"distiller.{name}.temperature", temperature, positive)
        self.exits = nn.ModuleList()

    def connect(self, teacher: NetworkOutputs, student: NetworkOutputs) -> None:
        """Build the exits."""
        self.pairs(student, student)
        maps, classes = student.stages, student.logits.shape[1]
        if len(maps) < 2:
            raise UnfitError(f"distiller.{self.name} needs a student of at least two stages, not 1")
        width = maps[-1].shape[1]
        self.exits.extend(Exit(maps[i:], width, classes) for i in range(len(maps) - 1))

    def forward(self, teacher: NetworkOutputs, student: NetworkOutputs, step: Step) -> Tensor:
        """See `Distiller`."""
        temperature = at_epoch(self.temperature, step.epoch)
        logits, last = student.logits.detach(), student.stages[-1].detach()
        losses = []
        for each, maps in zip(self.exits, student.stages[:-1], strict=True):
            own, left = each(maps)
            hint = torch.sub(*one_size(last, own)).square().sum() / len(own)
            label = F.cross_entropy(left, step.labels)
            taught = kd(logits, left, temperature=temperature)
            losses.append((1 - self.alpha) * label + self.alpha * taught + self.hint_weight * hint)
        return torch.stack(losses).sum()


class SDDropout(Distiller):
    """Two dropouts of the embedding teach each other: ``kd(z_u, z_v) + kd(z_v, z_u)``.

    z_u and z_v are the logits after two independent dropouts u, v of the embedding. Gradients go
    into both, as the divergences of the paper say.

    Source: Lee et al., "Self-Knowledge Distillation via Dropout", 2022.

    Args:
        dropout: Share of the embedding that is dropped, below 1.
        temperature: Of kd.
    """

    needs_teacher = False
    reads_classifier = False

    def __init__(
        self, *, name: str, dropout: float = 0.5, temperature: Given = 4.0, **weights: float
    ) -> None:
        super().__init__(name=name, **weights)
        self.dropout = number(f"distiller.{name}.dropout", dropout, low=0, high=0.99)
        self.temperature = scheduled(f"distiller.{name}.temperature", temperature, positive)

    def forward(self, teacher: NetworkOutputs, student: NetworkOutputs, step: Step) -> Tensor:
        """See `Distiller`."""
        draw = keys.generator(self.name, step.seed)
        one, other = (self._dropped(student, step.student_weight, draw) for _ in range(2))
        temperature = at_epoch(self.temperature, step.epoch)
        return kd(one, other, temperature=temperature) + kd(other, one, temperature=temperature)

    def _dropped(self, student: NetworkOutputs, weight: Tensor, draw: torch.Generator) -> Tensor:
        """Logits ``(B, K)`` after a dropout, whatever the classifier's bias is."""
        embedding = student.embedding
        kept = torch.rand(embedding.shape, generator=draw) >= self.dropout
        change = kept.to(embedding) / (1 - self.dropout) - 1
        return student.logits + (embedding * change) @ weight.T
