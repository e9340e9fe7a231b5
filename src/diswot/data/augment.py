"""Random views of training images, a pure function of (seed, view, image).

An image's draws do not depend on the batch it is in or on the process that loads it, so a view
can be given again: after a restart, or to a teacher whose outputs were stored.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from diswot import _torchvision, checks, keys
from diswot.data.base import LabelledImages


@dataclass(frozen=True)
class View:
    """Which random view is meant: the data's seed and a number, mostly the epoch."""

    seed: int
    number: int


class Augmentation(ABC):
    """Gives random views of stored images."""

    fitted_only: ClassVar[bool] = False
    """Whether images are read by `LabelledImages.fitted` alone, on whatever device that gives."""

    @abstractmethod
    def __call__(self, images: LabelledImages, indices: Tensor, view: View) -> Tensor:
        """Give a view of the images ``indices`` (B,): (B, C, S, S), uint8 or of [0, 1]."""


class PadCropFlip(Augmentation):
    """Pad by ``pad`` black pixels a side, cut out the old size, mirror with probability 1/2.

    Source: Lee et al., "Deeply-Supervised Nets", 2015; He et al., CVPR 2016, section 4.2.
    UserError for a setting that is not allowed. Draws are made on the CPU, wherever the images are,
    so a view has the same pixels there.
    """

    fitted_only = True

    def __init__(self, *, pad: int = 4, flip: bool = True) -> None:
        self.pad = checks.whole("protocol.augment.pad", pad, 0)
        self.flip = checks.flag("protocol.augment.flip", flip)
        self._drawn: tuple[View, torch.device, Tensor] | None = None

    def __call__(self, images: LabelledImages, indices: Tensor, view: View) -> Tensor:
        """See :class:`Augmentation`; the result lies in memory as channels_last."""
        fitted = images.fitted(indices)
        side, device = fitted.shape[-1], fitted.device
        top, left, flipped = self._draws(len(images), view, device)[:, indices]
        padded = F.pad(fitted, (self.pad,) * 4)
        rows = top[:, None] + torch.arange(side, device=device)
        straight = torch.arange(side, device=device).expand(len(indices), -1)
        columns = left[:, None] + torch.where(flipped[:, None] > 0, straight.flip(1), straight)
        batch = torch.arange(len(indices), device=device)[:, None, None]
        cut = padded.permute(0, 2, 3, 1)[batch, rows[:, :, None], columns[:, None, :]]
        return cut.permute(0, 3, 1, 2)

    def _draws(self, count: int, view: View, device: torch.device) -> Tensor:
        """Top, left, mirrored or not of every image: (3, count), kept until the next view."""
        if self._drawn is None or self._drawn[:2] != (view, device):
            draw = keys.generator("augment", view.seed, view.number)
            corner = torch.randint(2 * self.pad + 1, (2, count), generator=draw)
            mirrored = torch.randint(2, (1, count), generator=draw) * int(self.flip)
            self._drawn = view, device, torch.cat([corner, mirrored]).to(device)
        return self._drawn[2]


class RandomResizedCropFlip(Augmentation):
    """Cut out a random share (``scale`` at least) of each image's area, resize, mirror.

    Source: Szegedy et al., CVPR 2015, section 6, as torchvision's ``v2.RandomResizedCrop``.
    UserError for a setting that is not allowed.
    """

    def __init__(self, *, scale: float = 0.08, flip: bool = True) -> None:
        self.scale = checks.number("protocol.augment.scale", scale, low=0.01, high=1)
        self.flip = checks.flag("protocol.augment.flip", flip)

    def __call__(self, images: LabelledImages, indices: Tensor, view: View) -> Tensor:
        """See :class:`Augmentation`."""
        _torchvision.ensure()
        from torchvision.transforms import v2

        side = images.transform.image_size
        crop = v2.RandomResizedCrop(side, scale=(self.scale, 1.0), antialias=True)
        transform = v2.Compose([crop, v2.RandomHorizontalFlip()]) if self.flip else crop
        views = []
        for index in indices.tolist():
            with torch.random.fork_rng(devices=[]):  # v2 draws from the global generator
                torch.manual_seed(keys.stable_hash("augment", view.seed, view.number, index))
                views.append(transform(images.pixels(index)))
        return torch.stack(views)
