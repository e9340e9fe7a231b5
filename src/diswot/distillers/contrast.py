"""Contrast with the images of a memory."""

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from diswot import keys
from diswot.checks import number, positive, whole
from diswot.distillers import Distiller, Step
from diswot.distillers.functional import crd, crd_scores
from diswot.errors import UserError
from diswot.models.outputs import NetworkOutputs


class Memory(nn.Module):
    """Running embeddings ``(images, width)`` of length 1, and the constant scores are divided by.

    The constant, the mean score times ``images``, is that of the first batch for good, as released.
    """

    rows: Tensor
    constant: Tensor

    def __init__(self, images: int, width: int) -> None:
        super().__init__()
        self.register_buffer("rows", (torch.rand(images, width) * 2 - 1) * (3 / width) ** 0.5)
        self.register_buffer("constant", torch.zeros(()))

    def loss(self, anchor: Tensor, places: Tensor, temperature: float) -> Tensor:
        """`functional.crd` of anchors ``(B, width)`` and rows at ``places`` ``(B, 1 + K)``."""
        images = len(self.rows)
        scores = crd_scores(anchor, self.rows[places], temperature=temperature)
        first = scores.detach().mean() * images
        self.constant = torch.where(self.constant > 0, self.constant, first)
        return crd(scores / self.constant, images=images)

    @torch.no_grad()
    def update(self, places: Tensor, embedded: Tensor, momentum: float) -> None:
        """Move the rows at ``places`` ``(B,)`` towards ``embedded`` ``(B, width)``."""
        mixed = self.rows[places] * momentum + embedded * (1 - momentum)
        self.rows[places] = normalize(mixed, dim=1)


class CRD(Distiller):
    """Contrast of an image's embedding with those of other classes, see `functional.crd`.

    Linear embeddings of both networks, of ``width``, are learned. Student's are contrasted with a
    memory of the teacher's for every training image, and teacher's with one of the student's; then
    both memories take in the batch: a row keeps ``momentum`` of itself.

    For every image ``negatives`` images of other classes are drawn, with replacement, by a
    generator keyed by the epoch and the batch. Their rows take 8 · B · (1 + negatives) · width
    bytes in a step.
    """

    reads_classifier = False

    needs_labels = True

    order: Tensor
    starts: Tensor
    sizes: Tensor

    def __init__(
        self,
        *,
        name: str,
        width: int = 128,
        negatives: int = 16384,
        temperature: float = 0.07,
        momentum: float = 0.5,
        **weights: float,
    ) -> None:
        super().__init__(name=name, **weights)
        self.width = whole(f"distiller.{name}.width", width, least=1)
        self.negatives = whole(f"distiller.{name}.negatives", negatives, least=1)
        self.temperature = positive(f"distiller.{name}.temperature", temperature)
        self.momentum = number(f"distiller.{name}.momentum", momentum, low=0, high=1)

    def connect(self, teacher: NetworkOutputs, student: NetworkOutputs) -> None:
        """Build the embeddings."""
        self.embed_student = nn.Linear(student.embedding.shape[1], self.width)
        self.embed_teacher = nn.Linear(teacher.embedding.shape[1], self.width)

    def attach(self, teacher: nn.Linear, student: nn.Linear, labels: Tensor) -> None:
        """Build the memories, and sort the images by class to draw from."""
        self.memory_student = Memory(len(labels), self.width)
        self.memory_teacher = Memory(len(labels), self.width)
        used = labels[labels >= 0]
        sizes = used.bincount(minlength=student.out_features)
        order = labels.argsort(stable=True)[len(labels) - len(used) :]
        for name, tensor in {
            "order": order,
            "sizes": sizes,
            "starts": sizes.cumsum(0) - sizes,
        }.items():
            self.register_buffer(name, tensor, persistent=False)

    def forward(self, teacher: NetworkOutputs, student: NetworkOutputs, step: Step) -> Tensor:
        """See `Distiller`."""
        if torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1:
            raise UserError(
                f"distiller.{self.name} keeps a memory of all images, which several processes do "
                "not share; give trainer.devices=1"
            )
        embedded_s = normalize(self.embed_student(student.embedding), dim=1)
        embedded_t = normalize(self.embed_teacher(teacher.embedding), dim=1)
        places = torch.cat([step.indices.unsqueeze(1), self.others(step)], dim=1)
        loss = self.memory_teacher.loss(embedded_s, places, self.temperature)
        loss = loss + self.memory_student.loss(embedded_t, places, self.temperature)
        self.memory_student.update(step.indices, embedded_s, self.momentum)
        self.memory_teacher.update(step.indices, embedded_t, self.momentum)
        return loss

    def others(self, step: Step) -> Tensor:
        """Images of other classes than each of the step, ``(B, negatives)``."""
        draw = keys.generator("crd", step.epoch, step.indices.tolist())
        shape = len(step.labels), self.negatives
        shares = torch.rand(shape, generator=draw, dtype=torch.float64).to(self.order.device)
        start, size = (each[step.labels].unsqueeze(1) for each in (self.starts, self.sizes))
        # Places in the order by class, the own class skipped.
        drawn = (shares * (len(self.order) - size)).long()
        return self.order[drawn + size * (drawn >= start)]
