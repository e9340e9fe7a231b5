"""The models of timm as a space: every architecture is a candidate under its own name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any

from diswot.checks import flag
from diswot.errors import UserError
from diswot.spaces.base import Space, SpaceSize

if TYPE_CHECKING:
    from torch import nn

    from diswot.models.outputs import Cost

_LEAP = 0.25  # of the mutations lead to any model, the others to one of the same family


@dataclass(frozen=True)
class TimmArch:
    """A model of timm, without a tag of weights; text ``timm:resnet18``."""

    model: str
    space: str = "timm"

    def __str__(self) -> str:
        return f"{self.space}:{self.model}"


class Timm(Space):
    """Models of timm (the extra ``diswot[timm]``), untrained.

    A sample is uniform over the models. A mutation is another model of the same family, those that
    timm defines in one module, or, one in four times, any other. Costs are counted once a machine,
    see `diswot.models.counted.CostTable`. A model that cannot be used (it has no linear
    classifier or no maps) or does not run on images of the data's size is a candidate that fails,
    with the reason. Texts of other models of timm are read too.

    Args:
        models: Patterns of names as of a shell, such as ``resnet*``, or one, of the models to draw
            and list; those of models alone must be known.
        pretrained_only: Only models of which timm publishes weights.

    Raises:
        UserError: Without timm, for an unknown name, or where no model is left.
    """

    def __init__(
        self, *, models: Sequence[str] | str, pretrained_only: bool = False, **space: Any
    ) -> None:
        from diswot.models.counted import CostTable
        from diswot.models.zoo import timm_names

        super().__init__(**space)
        patterns = [models] if isinstance(models, str) else [str(each) for each in models or ()]
        published = flag("space.pretrained_only", pretrained_only)
        self.models = tuple(timm_names(patterns, pretrained_only=published))
        self._costs = CostTable()

    @property
    def size(self) -> SpaceSize:
        """The number of models."""
        return SpaceSize(len(self.models))

    @property
    def embedding_width(self) -> None:
        """Models differ in it."""
        return

    def sample(self, rng: Random) -> TimmArch:
        """Draw a model."""
        return TimmArch(rng.choice(self.models), self.name)

    def mutate(self, arch: TimmArch, rng: Random) -> TimmArch:
        """Draw another model of the family, or any other."""
        from diswot.models.zoo import timm_family

        others = [model for model in self.models if model != arch.model]
        if not others:
            raise UserError(f"space={self.name}: holds a single model: nothing to mutate")
        family = timm_family(arch.model)
        near = [model for model in others if timm_family(model) == family]
        leap = rng.random() < _LEAP
        return TimmArch(rng.choice(others if leap or not near else near), self.name)

    def enumerate(self) -> Iterator[TimmArch]:
        """All models, by name."""
        return (TimmArch(model, self.name) for model in self.models)

    def parse(self, text: str) -> TimmArch:
        """Read ``timm:resnet18``, any model of timm, of `models` or not; UserError for another."""
        from diswot.models.adapter import nearest
        from diswot.models.zoo import is_timm

        space, _, model = text.partition(":")
        if space != self.name or not is_timm(model):
            raise UserError(
                f"arch {text!r} is not of space {self.name}, which reads {self.name}:MODEL of "
                f"timm; nearest: {nearest(model, self.models)}"
            )
        return TimmArch(model, self.name)

    def cost(self, arch: TimmArch, *, num_classes: int, image: tuple[int, int, int]) -> Cost:
        """See `Space`; where it does not run on the image, of one of the model's own size."""
        return self._costs.cost(arch.model, num_classes, image)

    def build(
        self,
        arch: TimmArch,
        *,
        num_classes: int,
        in_channels: int = 3,
        image_size: int | None = None,
    ) -> nn.Module:
        """See `Space`."""
        from diswot.models.zoo import timm_network

        classes, channels, size = num_classes, in_channels, image_size
        return timm_network(arch.model, num_classes=classes, in_channels=channels, image_size=size)
