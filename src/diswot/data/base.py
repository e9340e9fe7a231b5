"""What every data set of the framework is: settings, a mini-batch and two splits."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypedDict

import torch

from diswot import checks, keys
from diswot.data.batch import MiniBatch, choose
from diswot.data.images import EvalTransform, LabelledImages
from diswot.errors import UserError

__all__ = ["ImageData", "ImageSettings", "LoaderSettings", "Split"]

Split = Literal["train", "test"]


class LoaderSettings(TypedDict, total=False):
    """Settings of all data sets that have a default; see :class:`ImageData`."""

    batch_size: int
    balanced: bool
    num_workers: int
    shuffle_seed: int


class ImageSettings(LoaderSettings):
    """Settings that a data set of stored images asks for; see :class:`ImageData`."""

    image_size: int
    mean: Sequence[float]
    std: Sequence[float]


class ImageData(ABC):
    """Base of all data sets; a member says how to :meth:`load` a split.

    Attributes:
        name: what the data set is called in results.
        num_classes: number of classes.
        in_channels: channels of an image.
        image_size: height and width of an image in pixels.
        batch_size: images of a mini-batch and of a training step.
        balanced: whether a mini-batch takes the classes in turn.
        mean: mean of each channel, of values in [0, 1].
        std: standard deviation of each channel, of values in [0, 1].
        root: where the data lies, if it lies in a folder.
        num_workers: processes that load images; 0 loads in the calling one.
        shuffle_seed: keys order and views of the training images; a mini-batch has a seed of its
            own.
    """

    name: str

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
        shuffle_seed: int = 0,
    ) -> None:
        """Check and keep the settings; images are read later.

        Raises:
            UserError: a setting is outside what is allowed.
        """
        self.name = name
        self.num_classes = checks.whole("data.num_classes", num_classes, 2)
        self.in_channels = checks.whole("data.in_channels", in_channels, 1)
        self.image_size = checks.whole("data.image_size", image_size, 8)
        self.batch_size = checks.whole("data.batch_size", batch_size, 1)
        self.balanced = checks.flag("data.balanced", balanced)
        self.mean = checks.per_channel("data.mean", mean, in_channels)
        self.std = checks.per_channel("data.std", std, in_channels, positive=True)
        self.root = root
        self.num_workers = checks.whole("data.num_workers", num_workers, 0)
        self.shuffle_seed = checks.whole("data.shuffle_seed", shuffle_seed, 0)
        self._splits: dict[Split, LabelledImages] = {}

    @property
    def transform(self) -> EvalTransform:
        """Turns a stored image into what a network is given."""
        return EvalTransform(self.image_size, self.mean, self.std)

    def prepare_data(self) -> None:  # noqa: B027  (most have nothing to fetch)
        """Fetch what is missing, where the data set can and was told to."""

    @abstractmethod
    def load(self, split: Split) -> LabelledImages:
        """Read or index one split; :meth:`prepare_data` has run before.

        Raises:
            UserError: the data is missing or not what it should be.
        """

    def train_dataset(self) -> LabelledImages:
        """Give the training images, without augmentation."""
        return self._split("train")

    def test_dataset(self) -> LabelledImages:
        """Give the test images."""
        return self._split("test")

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
        chosen = choose(images.labels, self.batch_size, balanced=self.balanced, generator=generator)
        stacked = torch.stack([images.image(index) for index in chosen.tolist()])
        return MiniBatch(stacked, images.labels[chosen])

    def _split(self, split: Split) -> LabelledImages:
        if split not in self._splits:
            self.prepare_data()
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
