"""The choice of a mini-batch's images, and the images a data set can be built with."""

import pytest
import torch

from diswot.data import ArrayImages, ImageData


class Numbered(ImageData):
    """Images of one value a piece, so that a mini-batch says which were chosen."""

    labels: torch.Tensor

    def load(self, split: str) -> ArrayImages:
        values = torch.arange(len(self.labels), dtype=torch.uint8)
        images = values[:, None, None, None].expand(-1, 1, 8, 8)
        return ArrayImages(images, self.labels, self.transform)


def chosen(
    labels: torch.Tensor, size: int, *, balanced: bool = True, seed: int = 0
) -> torch.Tensor:
    settings = {"in_channels": 1, "image_size": 8, "mean": [0.0], "std": [1 / 255]}
    data = Numbered(name="n", num_classes=100, batch_size=size, balanced=balanced, **settings)
    data.labels = labels
    batch = data.mini_batch(seed)
    indices = batch.images[:, 0, 0, 0].round().long()
    assert torch.equal(labels[indices], batch.labels)
    return indices


@pytest.mark.parametrize("balanced", [False, True])
def test_chosen_images_are_distinct_and_keyed_by_the_seed(balanced: bool) -> None:
    labels = torch.arange(100) % 7
    first, again, other = (
        chosen(labels, 50, balanced=balanced, seed=seed).tolist() for seed in (0, 0, 1)
    )
    assert len(set(first)) == 50
    assert first == again != other


def test_fewer_images_than_classes_have_distinct_classes() -> None:
    labels = torch.arange(200) % 100
    assert len(labels[chosen(labels, 64)].unique()) == 64


def test_class_without_images_left_is_passed_over() -> None:
    labels = torch.tensor([0] + [1] * 10 + [2] * 10)
    assert torch.bincount(labels[chosen(labels, 9)]).tolist() == [1, 4, 4]


def test_choice_is_the_same_everywhere() -> None:
    assert chosen(torch.arange(100) % 10, 5).tolist() == [68, 79, 70, 52, 74]
