"""The images of a data set as training and evaluation go through them."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from diswot import _torchvision, checks, keys
from diswot.data.augment import Augmentation, View
from diswot.data.base import ArrayImages, ImageData, LabelledImages, ResidentImages
from diswot.errors import UserError

_torchvision.ensure()

from lightning import LightningDataModule  # noqa: E402  (imports torchvision)

Batch = tuple[Tensor, Tensor, Tensor]
"""Normalised images (B, C, S, S), labels (B,) and indices (B,) within the data set."""

Place = tuple[int, int]
"""Epoch and number of a batch."""

_SHARE = 0.25  # of a GPU's free memory, which the images of a split may take


@dataclass(eq=False)
class Batches(Dataset[Batch]):
    """Batches by (epoch, number): a pure function of the settings, whichever process loads them.

    Attributes:
        chosen: Which of the images of the split are used, int64.
        seed: Keys order and augmentation.
        shuffle: A new order every epoch, and only whole batches; else the given order.
        augment: None: images are evaluated as they are.
        views: Different views of an image; 0: a new one every epoch.
    """

    images: LabelledImages
    chosen: Tensor
    batch_size: int
    seed: int = 0
    shuffle: bool = False
    augment: Augmentation | None = None
    views: int = 0
    _order: tuple[int, Tensor] | None = field(default=None, init=False)

    @property
    def count(self) -> int:
        """Batches of an epoch."""
        whole, rest = divmod(len(self.chosen), self.batch_size)
        return whole + (rest > 0 and not self.shuffle)

    def __getitem__(self, place: Place) -> Batch:
        """Give the batch at (epoch, number)."""
        epoch, number = place
        start = number * self.batch_size
        indices = self._indices(epoch)[start : start + self.batch_size]
        return self.view(indices, self.view_number(epoch))

    def view_number(self, epoch: int) -> int:
        """Which view of the images an epoch shows."""
        return epoch % self.views if self.views else epoch

    def view(self, indices: Tensor, number: int) -> Batch:
        """Give a view of some images."""
        if self.augment is None:
            pixels = self.images.fitted(indices)
        else:
            pixels = self.augment(self.images, indices, View(self.seed, number))
        images = self.images.transform.normalize(pixels)
        return images, self.images.labels[indices], indices

    def _indices(self, epoch: int) -> Tensor:
        if not self.shuffle:
            return self.chosen
        if self._order is None or self._order[0] != epoch:
            draw = keys.generator("order", self.seed, epoch)
            self._order = epoch, self.chosen[torch.randperm(len(self.chosen), generator=draw)]
        return self._order[1]


class EpochSampler(Sampler[Place]):
    """The places of one epoch's batches, ``count``; of several processes each takes its turn.

    ``even`` leaves out the last batches where not every process would get one.
    """

    def __init__(
        self, count: int, *, rank: int = 0, world: int = 1, even: bool = False, epoch: int = 0
    ) -> None:
        self._numbers = range(rank, count - count % world if even else count, world)
        self._epoch = epoch

    def set_epoch(self, epoch: int) -> None:
        """Lightning says before each epoch which one it is; loading the first begins earlier."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[Place]:
        """Give (epoch, number) of every batch."""
        return iter([(self._epoch, number) for number in self._numbers])

    def __len__(self) -> int:
        """Count this process's batches."""
        return len(self._numbers)


class TrainingData(LightningDataModule):
    """Training, validation and test batches of a data set; for arguments see `Batches`.

    ``validation`` is the share of the training images held out to validate with; 0: the test
    images serve, as in the published tables.

    Raises:
        UserError: A share that is not allowed, or no whole batch to train with.
    """

    def __init__(
        self,
        data: ImageData,
        *,
        augment: Augmentation | None = None,
        validation: float = 0.0,
        views: int = 0,
    ) -> None:
        super().__init__()
        checks.number("protocol.validation", validation, low=0, high=0.9)
        self.data = data
        images = data.train_dataset()
        order = torch.randperm(len(images), generator=keys.generator("validation", len(images)))
        first_kept = round(len(images) * validation)
        kept, held_out = order[first_kept:].sort().values, order[:first_kept].sort().values
        if validation and not len(held_out):
            raise UserError(
                f"protocol.validation={validation:g} of {len(images)} images is none; give 0 or a "
                "larger share"
            )
        if len(kept) < data.batch_size:
            raise UserError(
                f"data.batch_size={data.batch_size} is more than the {len(kept)} images of "
                f"{data.name} to train with; give at most {len(kept)}"
            )
        size, seed = data.batch_size, data.shuffle_seed
        self.training = Batches(
            images, kept, size, seed, shuffle=True, augment=augment, views=views
        )
        test_images = data.test_dataset()
        self.test = Batches(test_images, torch.arange(len(test_images)), size)
        self.validation = Batches(images, held_out, size) if validation else self.test
        self.validated_on = "validation" if validation else "test"
        if data.resident is True and augment is not None and not augment.fitted_only:
            raise UserError(
                f"data.resident=true: {type(augment).__name__} of protocol.augment reads images as "
                "they are stored; give auto or false"
            )
        self._finished = 0

    def setup(self, stage: str) -> None:
        """Lightning says where it trains: keep the images there if they are to be."""
        if self.trainer is not None:
            device = self.trainer.strategy.root_device
            every = {self.training, self.validation, self.test}  # some are the same
            there = {images: self.placed(images, device) for images in {b.images for b in every}}
            for batches in every:
                batches.images = there[batches.images]
                batches.chosen = batches.chosen.to(batches.images.labels.device)

    def placed(self, images: LabelledImages, device: torch.device) -> LabelledImages:
        """Images of a split as they are trained on: on the device where ``data.resident`` says so.

        Their views are the same pixels there.
        """
        augment, wanted = self.training.augment, self.data.resident
        if isinstance(images, ResidentImages):
            images = images.source
        if wanted == "auto" and device.type == "cuda" and isinstance(images, ArrayImages):
            taken = images.fitted(torch.arange(1)).nbytes * len(images)
            wanted = taken <= _SHARE * torch.cuda.mem_get_info(device)[0] and (
                augment is None or augment.fitted_only
            )
        return ResidentImages(images, device) if wanted is True else images

    def state_dict(self) -> dict[str, int]:
        """The epochs that a checkpoint at the end of one holds."""
        return {"finished_epochs": self.trainer.current_epoch + 1 if self.trainer else 0}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Go on with the next one."""
        self._finished = state_dict["finished_epochs"]

    def train_dataloader(self) -> DataLoader[Batch]:
        """Give this process's training batches."""
        return self._loader(self.training, even=True)

    def val_dataloader(self) -> DataLoader[Batch]:
        """Give this process's validation batches."""
        return self._loader(self.validation)

    def test_dataloader(self) -> DataLoader[Batch]:
        """Give this process's test batches."""
        return self._loader(self.test)

    def _loader(self, batches: Batches, *, even: bool = False) -> DataLoader[Batch]:
        resident = isinstance(batches.images, ResidentImages)
        trainer, workers = self.trainer, 0 if resident else self.data.num_workers
        rank, world = (trainer.global_rank, trainer.world_size) if trainer else (0, 1)
        epoch = self._finished
        return DataLoader(
            batches,
            batch_size=None,
            sampler=EpochSampler(batches.count, rank=rank, world=world, even=even, epoch=epoch),
            num_workers=workers,
            persistent_workers=workers > 0 and even,
            pin_memory=torch.cuda.is_available() and not resident,
            generator=torch.Generator(),  # not the global one: workers draw nothing
        )
