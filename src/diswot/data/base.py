"""Images by index, the base of all data sets, and files that come with the package."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from io import BytesIO
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.utils.data import Dataset

from diswot import checks, keys
from diswot.errors import UserError

Split = Literal["train", "test"]

_MOST_CHANNELS = 10**5


@dataclass(frozen=True)
class EvalTransform:
    """Resize the short side, cut out the centre, normalise; settings as `ImageData`'s.

    ``crop`` is the share of the resized short side that is kept (ImageNet: 0.875 = 224 / 256).
    """

    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop: float = 1.0

    def __call__(self, image: Tensor) -> Tensor:
        """Turn uint8 (C, H, W) into normalised float32 (C, image_size, image_size)."""
        return self.normalize(self.fit(image))

    def fit(self, image: Tensor) -> Tensor:
        """Turn uint8 (C, H, W) into float32 (C, image_size, image_size) in [0, 1]."""
        image = image.float() / 255
        height, width = image.shape[1:]
        short, target = min(height, width), round(self.image_size / self.crop)
        if short != target:
            size = (target * height // short, target * width // short)
            image = F.interpolate(image[None], size, mode="bilinear", antialias=True)[0]
        top, left = ((side - self.image_size) // 2 for side in image.shape[1:])
        return image[:, top : top + self.image_size, left : left + self.image_size]

    def normalize(self, images: Tensor) -> Tensor:
        """Turn (..., C, H, W) of [0, 1], or uint8, into values of mean 0 and deviation 1."""
        if images.dtype == torch.uint8:
            # By a tensor: CUDA multiplies by the reciprocal of a number, which rounds otherwise.
            images = images.float() / torch.tensor(255.0, device=images.device)
        mean, std = (
            torch.tensor(each, device=images.device)[:, None, None]
            for each in (self.mean, self.std)
        )
        return (images - mean) / std


class LabelledImages(Dataset[tuple[Tensor, int]], ABC):
    """Images by index, with their ``labels``, int64 (N,), at hand without decoding any."""

    def __init__(self, labels: Tensor, transform: EvalTransform) -> None:
        self.labels = labels.to(torch.int64)
        self.transform = transform

    def __len__(self) -> int:
        """Count the images."""
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Give normalised image ``index``, float32 (C, H, W), and its label."""
        return self.image(index), int(self.labels[index])

    @abstractmethod
    def pixels(self, index: int) -> Tensor:
        """Give image ``index`` as it is stored, uint8 (C, H, W)."""

    def image(self, index: int) -> Tensor:
        """Give normalised image ``index``, float32 (C, H, W)."""
        return self.transform(self.pixels(index))

    def fitted(self, indices: Tensor) -> Tensor:
        """Give images ``indices`` (B,) resized and cropped, (B, C, S, S): of [0, 1], or uint8."""
        return torch.stack([self.transform.fit(self.pixels(i)) for i in indices.tolist()])


class ArrayImages(LabelledImages):
    """Images held in memory: uint8 (N, C, H, W)."""

    def __init__(self, images: Tensor, labels: Tensor, transform: EvalTransform) -> None:
        super().__init__(labels, transform)
        self.images = images

    def pixels(self, index: int) -> Tensor:
        """See :class:`LabelledImages`."""
        return self.images[index]

    def fitted(self, indices: Tensor) -> Tensor:
        """As the base class; whole batches of bytes where the stored size is the wanted one."""
        side = self.transform.image_size
        if self.images.shape[2:] == (side, side) and self.transform.crop == 1:
            return self.images[indices]
        return super().fitted(indices)


class ResidentImages(LabelledImages):
    """Images whose fitted form and labels lie on a device, where batches are made of them."""

    def __init__(self, source: LabelledImages, device: torch.device) -> None:
        super().__init__(source.labels.to(device), source.transform)
        self.source = source
        first = source.fitted(torch.arange(1))
        self.images = first.new_empty((len(source), *first.shape[1:]), device=device)
        for part in torch.split(torch.arange(len(source)), 256):
            self.images[part[0] : part[-1] + 1] = source.fitted(part)

    def pixels(self, index: int) -> Tensor:
        """See :class:`LabelledImages`; on the CPU, as stored."""
        return self.source.pixels(index)

    def image(self, index: int) -> Tensor:
        """See :class:`LabelledImages`; on the CPU."""
        return self.source.image(index)

    def fitted(self, indices: Tensor) -> Tensor:
        """See :class:`LabelledImages`; on the device."""
        return self.images[indices]


@dataclass(frozen=True)
class MiniBatch:
    """Normalised images, float32 (B, C, H, W), and class indices, int64 (B,)."""

    images: Tensor
    labels: Tensor


class ImageData(ABC):
    """Base of all data sets; a member says how to :meth:`load` a split.

    Args:
        name: what the data set is called in results.
        num_classes, in_channels, root: of the images, and the folder they lie in, if any.
        image_size: height and width of an image in pixels.
        mean, std: mean and standard deviation of each channel, of values in [0, 1].
        batch_size: images of a mini-batch and of a training step.
        balanced: a mini-batch takes the classes in turn; their counts differ by at most one.
        num_workers: processes that load images; 0 loads in the calling one.
        resident: images are trained on from the training device's memory, without those
            processes; ``auto``: on a GPU, where a split takes at most a quarter of what is free.
        shuffle_seed: keys order and views of the training images, not the mini-batch.

    Raises:
        UserError: a setting is outside what is allowed.
    """

    own_files: ClassVar[tuple[str, ...]] = ()
    """Settings that name files or folders of the user's: a run notices when these change."""

    crop: float = 1.0
    """Share of the resized short side that the centre crop keeps."""

    def __init__(
        self,
        *,
        name: str,
        num_classes: int,
        in_channels: int,
        image_size: int,
        mean: Sequence[float],
        std: Sequence[float],
        root: Path | None = None,
        batch_size: int = 64,
        balanced: bool = False,
        num_workers: int = 0,
        resident: bool | str = "auto",
        shuffle_seed: int = 0,
    ) -> None:
        self.name = name
        self.num_classes = checks.whole("data.num_classes", num_classes, 2)
        self.in_channels = checks.whole("data.in_channels", in_channels, 1)
        if self.in_channels > _MOST_CHANNELS:
            allowed = f"give at most {_MOST_CHANNELS:,}"
            raise UserError(f"data.in_channels={in_channels} is not allowed; {allowed}")
        self.image_size = checks.whole("data.image_size", image_size, 8)
        self.batch_size = checks.whole("data.batch_size", batch_size, 1)
        self.balanced = checks.flag("data.balanced", balanced)
        self.mean = checks.per_channel("data.mean", mean, in_channels)
        self.std = checks.per_channel("data.std", std, in_channels, positive=True)
        self.root = root
        self.num_workers = checks.whole("data.num_workers", num_workers, 0)
        self.resident = checks.switch("data.resident", resident, "auto")
        self.shuffle_seed = checks.whole("data.shuffle_seed", shuffle_seed, 0)
        self._splits: dict[Split, LabelledImages] = {}

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        return self.in_channels, self.image_size, self.image_size

    @property
    def transform(self) -> EvalTransform:
        """Turns a stored image into what a network is given."""
        return EvalTransform(self.image_size, self.mean, self.std, self.crop)

    @abstractmethod
    def load(self, split: Split) -> LabelledImages:
        """Read or index one split; a `UserError` where it is missing or not what it should be."""

    def train_dataset(self) -> LabelledImages:
        """Give the training images, without augmentation."""
        return self._checked("train")

    def test_dataset(self) -> LabelledImages:
        """Give the test images."""
        return self._checked("test")

    def mini_batch(self, seed: int) -> MiniBatch:
        """Give ``batch_size`` training images; a pure function of the settings and ``seed``.

        Only the chosen images are decoded, and the global random state is left alone.

        Raises:
            UserError: there are fewer training images than ``batch_size``.
        """
        images = self.train_dataset()
        if self.batch_size > len(images):
            raise UserError(
                f"data.batch_size={self.batch_size} is more than the {len(images)} training "
                f"images of {self.name}; give at most {len(images)}"
            )
        generator = keys.generator("mini-batch", seed)
        order = torch.randperm(len(images), generator=generator)
        if self.balanced:
            order = order[_turns(images.labels[order], generator).argsort()]
        chosen = order[: self.batch_size]
        stacked = torch.stack([images.image(index) for index in chosen.tolist()])
        return MiniBatch(stacked, images.labels[chosen])

    def _checked(self, split: Split) -> LabelledImages:
        if split not in self._splits:
            images = self.load(split)
            if not len(images):
                raise UserError(f"data: {self.name} has no {split} images; give at least one")
            low, high = int(images.labels.min()), int(images.labels.max())
            if low < 0 or high >= self.num_classes:
                raise UserError(
                    f"data.num_classes: the {split} labels of {self.name} run from {low} to "
                    f"{high}; allowed are 0 to {self.num_classes - 1}"
                )
            self._splits[split] = images
        return self._splits[split]


def _turns(labels: Tensor, generator: torch.Generator) -> Tensor:
    """Place of every image when classes, in random order, give their images in turn: (N,)."""
    classes, members, counts = torch.unique(labels, return_inverse=True, return_counts=True)
    by_class = members.argsort(stable=True)
    starts = counts.cumsum(0) - counts
    rounds = torch.empty_like(members)
    rounds[by_class] = torch.arange(len(labels)) - starts[members[by_class]]
    class_order = torch.randperm(len(classes), generator=generator)
    return rounds * len(classes) + class_order[members]


def read_asset(name: str, folder: Traversable | None = None) -> bytes:
    """Read a file of ``folder`` (the package's ``assets``), checked against its ``SHA256SUMS``.

    Raises:
        UserError: the file is missing or is not the one that was released.
    """
    folder = folder or files("diswot") / "assets"
    try:
        content = (folder / name).read_bytes()
        lines = (folder / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UserError(f"{folder / name}: cannot be read ({error}); reinstall diswot") from error
    sums = {file: known for known, file in (line.split() for line in lines if line.strip())}
    digest = hashlib.sha256(content).hexdigest()
    if digest != sums.get(name):
        raise UserError(
            f"{folder / name}: its sha256 is {digest}, but SHA256SUMS says "
            f"{sums.get(name, 'nothing about it')}; reinstall diswot"
        )
    return content


def decode(
    file: str | BytesIO, name: str, advice: str, formats: tuple[str, ...] | None = None
) -> Tensor:
    """Decode a file: RGB, uint8 (3, H, W); UserError ``name`` … ``advice`` if it is no image."""
    try:
        with Image.open(file, formats=formats) as image:
            return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        unknown = isinstance(error, UnidentifiedImageError)
        problem = "its header cannot be read" if unknown else error
        raise UserError(f"{name} ({problem}); {advice}") from error
